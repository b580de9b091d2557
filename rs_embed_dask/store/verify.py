"""Whether what a store holds is what was written, and the repair of what is not."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.show.tables import Row, Section, counted, page_html, page_text
from rs_embed_dask.store.check_chunks import ChunkCheck, check_model, check_strays, lost_chunks
from rs_embed_dask.store.check_items import Sound, check_copies, check_items
from rs_embed_dask.store.check_root import check_metadata, check_root
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import ROOT_KEY, Document, Location
from rs_embed_dask.store.fence import fenced
from rs_embed_dask.store.lease import ALL_CHUNKS, leased, seconds_to_wait
from rs_embed_dask.store.store import StoreView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.lease import ChunkRange, Lease
    from rs_embed_dask.store.store import Store

__all__ = ["Damage", "Remedy", "VerifyReport", "has_lost_chunks", "mend_lost_chunks", "verify"]

_MOST_DAMAGES: Final = 40


@dataclass(frozen=True, eq=False, repr=False)
class VerifyReport:
    """What `verify` found.

    Parameters
    ----------
    store : str
        The store's place.
    damages : tuple of Damage
        What is wrong: ``where``, ``reason``, ``remedy``, and the number of ``rows`` that lost their embedding by it.
    checked : dict of str to int
        By model, the rows whose checksum was compared.
    unrecorded : dict of str to int
        By model, the rows that have a status but no checksum, because an earlier version wrote them.
    repaired : bool
        Whether what can be repaired was repaired.
    """

    store: str
    damages: tuple[Damage, ...] = ()
    checked: dict[str, int] = field(default_factory=dict)
    unrecorded: dict[str, int] = field(default_factory=dict)
    repaired: bool = False

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
        """Rows that are to be computed again, over all models."""
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
        return f"repaired; {counted(self.n_rows, 'row')} to compute again: resume(path)" if self.n_rows else "repaired"

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON-ready data."""
        data = asdict(self)
        return data | {"damages": [one | {"remedy": one["remedy"].name.lower()} for one in data["damages"]]}

    def _title(self) -> str:
        return f"Verification of {self.store}"

    def _sections(self) -> list[Section]:
        facts: list[Row] = [("state", self.next_step)]
        facts += [("checked", f"{label}: {counted(count, 'row')}") for label, count in self.checked.items()]
        facts += [
            ("no checksums recorded", f"{label}: {counted(count, 'row')}") for label, count in self.unrecorded.items()
        ]
        rows: list[Row] = [(f"{one.where}: {one.reason}; {one.remedy}",) for one in self.damages[:_MOST_DAMAGES]]
        if len(self.damages) > _MOST_DAMAGES:
            rows.append((f"and {len(self.damages) - _MOST_DAMAGES} more: see .damages",))
        return [Section("", facts), *([Section("Damages", rows)] if rows else [])]

    def __repr__(self) -> str:
        return page_text(self._title(), self._sections())

    def _repr_html_(self) -> str:
        return page_html(self._title(), self._sections())


def verify(path: Target, *, repair: bool = False, wait: float = 0.0) -> VerifyReport:
    """Read all of a store and compare it with its checksums.

    Every chunk of a row that is OK or PARTIAL must be there, decode, and belong to its items; every row must have the
    checksum that was recorded when it was written; the items must agree with their keys, and the metadata with the
    root document.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place.
    repair : bool, default False
        Set damaged rows back to pending, so that `resume` computes them again; make again what the store holds twice
        (metadata, coordinates, keys, the root document); remove files that belong to nothing. The repair holds the
        store's lease. Without a repair the store may be in use; rows that are being written may then look damaged.
    wait : float, default 0
        Seconds to wait, before a repair, while a run writes to the store.

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
    if not repair:
        return _verified(Location.of(path, read_only=True), None)
    check_root(Location.of(path, read_only=True))  # before the lease puts anything there
    location = Location.of(path)
    with leased(location, wait=wait) as lease:
        return _verified(location, lease)


def _verified(location: Location, lease: Lease | None) -> VerifyReport:
    """Check everything; under a lease, mend it."""
    damages: list[Damage] = []

    def settle(findings: Iterable[Finding]) -> None:
        for finding in findings:
            damages.append(finding.damage)
            if lease is not None:
                lease.check()
                _mend(location, finding)

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
        settle(check_model(view, label, keys=sound.keys, counts=counts))
    checked, unrecorded = (
        {label: counts[kind, label] for label in view.labels if counts[kind, label]} for kind in ChunkCheck.COUNTED
    )
    return VerifyReport(location.name, tuple(damages), checked, unrecorded, repaired=lease is not None)


def _mend(location: Location, finding: Finding) -> None:
    if finding.mend is not None:
        with fenced(location, *(finding.fence or (ROOT_KEY, Document.stamped))) as inside:
            finding.mend(inside)


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
    if damages:
        rows = counted(sum(one.rows for one in damages), "row")
        where = ", ".join(one.where for one in damages[:3]) + (", ..." if len(damages) > 3 else "")  # noqa: PLR2004
        message = f"{store.target}: {counted(len(damages), 'file')} missing ({where}); {rows} to compute again"
        warnings.warn(message, stacklevel=3)
    return damages
