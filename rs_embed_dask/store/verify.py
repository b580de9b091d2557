"""Whether what a store holds is what was written, and the repair of what is not."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.show.tables import Row, Section, counted, page_html, page_text
from rs_embed_dask.store.check_chunks import ChunkCheck, check_leftovers, check_model, check_strays, lost_chunks
from rs_embed_dask.store.check_items import Sound, check_copies, check_items
from rs_embed_dask.store.check_map import check_group, check_map_model, check_map_root, lost_blocks
from rs_embed_dask.store.check_root import check_metadata, check_root, check_table
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import MAP, ROOT_KEY, Document, Location, kind_of
from rs_embed_dask.store.fence import fenced
from rs_embed_dask.store.lease import ALL_CHUNKS, leased, seconds_to_wait
from rs_embed_dask.store.map_store import MapView
from rs_embed_dask.store.target import located
from rs_embed_dask.store.view import StoreView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.lease import ChunkRange, Lease
    from rs_embed_dask.store.map_store import MapStore
    from rs_embed_dask.store.services import StorageOptions
    from rs_embed_dask.store.store import Store

__all__ = ["Damage", "Remedy", "VerifyReport", "has_lost_chunks", "mend_lost_blocks", "mend_lost_chunks", "verify"]

_MOST_DAMAGES: Final = 40


@dataclass(frozen=True, eq=False, repr=False)
class VerifyReport:
    """What `verify` found.

    Parameters
    ----------
    store : str
        The store's place.
    damages : tuple of Damage
        What is wrong: ``where``, ``reason``, ``remedy``, and the number of ``rows``, or blocks of a map, that lost
        their embedding by it.
    checked : dict of str to int
        By model, the rows or blocks whose checksum was compared.
    unrecorded : dict of str to int
        By model, the rows that have a status but no checksum, because an earlier version wrote them.
    repaired : bool
        Whether what can be repaired was repaired.
    unit : str
        What is counted: "row", or "block" of a map.
    """

    store: str
    damages: tuple[Damage, ...] = ()
    checked: dict[str, int] = field(default_factory=dict)
    unrecorded: dict[str, int] = field(default_factory=dict)
    repaired: bool = False
    unit: str = "row"

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages

    @property
    def is_lasting(self) -> bool:
        """Whether something is wrong that no repair mends, or that was not repaired."""
        return any(not self.repaired or one.remedy is Remedy.RESTORE for one in self.damages)

    @property
    def n_rows(self) -> int:
        """Rows, or blocks, that are to be computed again, over all models."""
        return sum(one.rows for one in self.damages)

    @property
    def next_step(self) -> str:
        """What can be done now, in one line."""
        if self.is_sound:
            return "sound"
        if any(one.remedy is Remedy.RESTORE for one in self.damages):
            return "damaged, in part beyond repair: see below"
        if not self.repaired:
            return "damaged: verify(path, repair=True), then resume(path)"
        return (
            f"repaired; {counted(self.n_rows, self.unit)} to compute again: resume(path)" if self.n_rows else "repaired"
        )

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON-ready data."""
        data = asdict(self)
        return data | {"damages": [one | {"remedy": one["remedy"].name.lower()} for one in data["damages"]]}

    def _title(self) -> str:
        return f"Verification of {self.store}"

    def _sections(self) -> list[Section]:
        facts: list[Row] = [("state", self.next_step)]
        facts += [("checked", f"{label}: {counted(count, self.unit)}") for label, count in self.checked.items()]
        facts += [
            ("no checksums recorded", f"{label}: {counted(count, self.unit)}")
            for label, count in self.unrecorded.items()
        ]
        rows: list[Row] = [(f"{one.where}: {one.reason}; {one.remedy}",) for one in self.damages[:_MOST_DAMAGES]]
        if len(self.damages) > _MOST_DAMAGES:
            rows.append((f"and {len(self.damages) - _MOST_DAMAGES} more: see .damages",))
        return [Section("", facts), *([Section("Damages", rows)] if rows else [])]

    def __repr__(self) -> str:
        return page_text(self._title(), self._sections())

    def _repr_html_(self) -> str:
        return page_html(self._title(), self._sections())


def verify(
    path: Target, *, repair: bool = False, wait: float = 0.0, storage_options: StorageOptions | None = None
) -> VerifyReport:
    """Read all of a store, or of a map, and compare it with its checksums.

    Every chunk of a row that is OK or PARTIAL must be there, decode, and belong to its items; every row must have the
    checksum that was recorded when it was written; the items must agree with their keys, and the metadata with the
    root document. Of a map, every block must have its files and its checksum, the coordinates must be those of their
    groups, and no file may lie where no block was asked for. Coverage, the tables of positions and the sums of the
    scores must decode; previews are not read.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place.
    repair : bool, default False
        Set damaged rows or blocks back to pending, so that `resume` computes them again; make again what the store
        holds twice (metadata, coordinates, keys, the root document); remove files that belong to nothing. The repair
        holds the store's lease. Without a repair the store may be in use; what is being written may then look damaged.
    wait : float, default 0
        Seconds to wait, before a repair, while a run writes to the store.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Returns
    -------
    VerifyReport
        Prints what is wrong and what to do; ``is_sound`` says whether nothing is.

    Raises
    ------
    StoreError
        If there is no store, or if its root document is damaged beyond repair.
    StoreBusyError
        If it is to be repaired while a run writes to it; the message states who, and since when.

    Examples
    --------
    >>> report = verify("run.zarr", repair=True)  # doctest: +SKIP
    >>> report.is_sound  # doctest: +SKIP
    False
    """
    wait = seconds_to_wait(wait)
    place = located(path, storage_options)
    reading = Location.of(place, read_only=True)
    is_map = kind_of(reading) == MAP
    verified = _verified_map if is_map else _verified
    if not repair:
        return verified(reading, None)
    (check_map_root if is_map else check_root)(reading)  # before the lease puts anything there
    location = Location.of(place)
    with leased(location, wait=wait) as lease:
        return verified(location, lease)


def _settling(location: Location, lease: Lease | None) -> tuple[list[Damage], Callable[[Iterable[Finding]], None]]:
    """Return a list of damages, and what puts findings into it; under a lease, each is mended."""
    damages: list[Damage] = []

    def settle(findings: Iterable[Finding]) -> None:
        for finding in findings:
            damages.append(finding.damage)
            if lease is not None:
                lease.check()
                _mend(location, finding)

    return damages, settle


def _verified_map(location: Location, lease: Lease | None) -> VerifyReport:
    """Check everything of a map; under a lease, mend it."""
    damages, settle = _settling(location, lease)
    document, findings = check_map_root(location)
    settle(findings)
    settle(check_metadata(location, document))
    settle(check_leftovers(location))
    view = MapView(location, document)
    counts: Counter[tuple[str, str]] = Counter()
    for label in view.labels:
        settle(check_map_model(view, label))
        for group in view.groups(label):
            settle(check_group(view, label, group, counts=counts))
    checked = {label: counts["checked", label] for label in view.labels if counts["checked", label]}
    return VerifyReport(location.name, tuple(damages), checked, repaired=lease is not None, unit="block")


def _verified(location: Location, lease: Lease | None) -> VerifyReport:
    """Check everything; under a lease, mend it."""
    damages, settle = _settling(location, lease)
    document, findings = check_root(location)
    settle(findings)
    settle(check_metadata(location, document))
    settle(check_strays(location, document))
    # Read by the document at hand: what stands on the disk is damaged where it differs.
    view = StoreView(location, document)
    sound = Sound(np.zeros(document.n_items, dtype="uint64"))
    settle(check_items(view, document, sound=sound))
    counts: Counter[tuple[str, str]] = Counter()
    for label in view.labels:
        settle(check_copies(view, document, label, sound=sound))
        settle(check_table(partial(view.table, label), label))
        settle(check_model(view, label, keys=sound.keys, counts=counts))
    checked, unrecorded = (
        {label: counts[kind, label] for label in view.labels if counts[kind, label]} for kind in ChunkCheck.COUNTED
    )
    return VerifyReport(location.name, tuple(damages), checked, unrecorded, repaired=lease is not None)


def _mend(location: Location, finding: Finding) -> None:
    if finding.mend is not None:
        with fenced(location, *(finding.fence or (ROOT_KEY, Document.stamped))) as inside:
            finding.mend(inside)


def mend_lost_blocks(store: MapStore) -> list[Damage]:
    """Set the blocks of a map whose vectors are missing back to pending, and warn; its lease must be held."""
    damages = []
    for label in store.labels:
        for finding in list(lost_blocks(store, label)):
            damages.append(finding.damage)
            _mend(store.location, finding)
    _warn(store.target, damages, "block")
    return damages


def has_lost_chunks(store: StoreView, labels: Iterable[str], *, chunks: ChunkRange = ALL_CHUNKS) -> bool:
    """Whether files of embedded rows are missing; they are listed, not read."""
    return any(True for label in labels for _ in lost_chunks(store, label, chunks))


def mend_lost_chunks(store: Store, *, chunks: ChunkRange = ALL_CHUNKS) -> list[Damage]:
    """Set the rows of chunks whose files are missing back to pending, and warn; their lease must be held."""
    damages = []
    for label in store.labels:
        for finding in lost_chunks(store, label, chunks):
            damages.append(finding.damage)
            _mend(store.location, finding)
    _warn(store.target, damages, "row")
    return damages


def _warn(place: object, damages: list[Damage], unit: str) -> None:
    if not damages:
        return
    again = counted(sum(one.rows for one in damages), unit)
    where = ", ".join(one.where for one in damages[:3]) + (", ..." if len(damages) > 3 else "")  # noqa: PLR2004
    message = f"{place}: {counted(len(damages), 'file')} missing ({where}); {again} to compute again"
    warnings.warn(message, stacklevel=4)
