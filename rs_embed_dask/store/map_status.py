"""The outcome of every block of a map: counts, reasons, what was done to positions, and the scores so far."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from rs_embed_dask.errors import printable
from rs_embed_dask.show.tables import Section, counted, page_html, page_text
from rs_embed_dask.specs.ground import side_text
from rs_embed_dask.store.document import MAP, Location, kind_of
from rs_embed_dask.store.layout import Status
from rs_embed_dask.store.map_layout import BlockKey
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.status import FAILURES, Outcomes, StatusReport, reason_pattern, shown_counts, shown_model
from rs_embed_dask.store.store import Store
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rs_embed_dask.show.tables import Counts
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.map_store import MapView
    from rs_embed_dask.store.services import StorageOptions

__all__ = ["BlockReasons", "MapStatus", "block_reasons", "status"]

_MOST_READ: Final = 1000
_MOST_ROWS: Final = 20
_SHARE: Final = re.compile(r"\d+(?= %)")
_SHOWN: Final = ("seam_median", "seam_p99", "lattice", "zone_mean")


@dataclass(frozen=True)
class BlockReasons:
    """How many blocks share a reason; `example` is one of them, as group, row and column."""

    label: str
    status: Status
    reason: str
    count: int
    example: tuple[str, int, int]


@dataclass(frozen=True, eq=False, repr=False)
class MapStatus(Outcomes):
    """The outcome of every block of a map, at the time of the call.

    Parameters
    ----------
    store : MapView
        Where it was read from; ``table`` reads it again.
    counts : dict of dict
        By model and status, the number of blocks, over all groups and spans.
    failures : tuple of BlockReasons
        Blocks that are not OK, grouped by reason; of more than 1,000 blocks of a model the first 1,000.
    """

    store: MapView
    counts: dict[str, dict[Status, int]]
    failures: tuple[BlockReasons, ...]

    @classmethod
    def of(cls, store: MapView) -> MapStatus:
        """Read the status of an open map."""
        return cls(store, store.counts(), tuple(one for label in store.labels for one in block_reasons(store, label)))

    @property
    def n_blocks(self) -> int:
        """Number of blocks, over all models, groups and spans."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def positions(self) -> dict[str, str]:
        """What was done to positions, by model."""
        return {label: facts["statement"] for label, facts in self.store.receipt.get("positions", {}).items()}

    @property
    def tokens(self) -> dict[str, str]:
        """What a token covers on the ground, by model."""
        return {label: self._token(label) for label in self.store.labels}

    def _token(self, label: str) -> str:
        (crs, *_) = (group.crs for group in self.store.groups(label))
        return side_text(self.store.layout(label).token_m, crs)

    @property
    def frames(self) -> dict[str, list[str]]:
        """The acquisitions that are the frames of a model, one line for each group and span; only where they are."""
        kept = self.store.receipt.get("acquisitions", {})
        return {
            label: [
                f"{counted(len(days), 'acquisition')} in {group}, {days[0][0]} to {days[-1][0]}"
                for group, spans in groups.items()
                for days in spans.values()
            ]
            for label, groups in kept.items()
        }

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every block that was asked for: model, group, start and end of the span, row, column, status, reason."""
        return pd.DataFrame(list(_rows(self.store)), columns=list(self.columns))

    @property
    def what(self) -> str:
        """What is counted."""
        return "blocks"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of ``table``."""
        return "model", "group", "start", "end", "row", "col", "status", "reason"

    @property
    def next_step(self) -> str:
        """What can be done now, in one line."""
        pending = sum(counts.get(Status.PENDING, 0) for counts in self.counts.values())
        if pending:
            return f"{counted(pending, 'block')} still to compute: run the same request again, or resume(path)"
        if self.n_retryable:
            return f"finished; {counted(self.n_retryable, 'failure')} may be retried with resume(path)"
        return "finished"

    def _sections(self) -> list[Section]:
        document = self.store.document
        spans = ", ".join(f"{first} to {stop}" for first, stop in document.spans)
        facts = (
            ("size", f"{counted(self.n_blocks, 'block')}, {counted(len(self.store.labels), 'model')}"),
            ("spans", spans),
            ("made", document.created),
            ("state", self.next_step),
        )
        models = [shown_model(label, counts) for label, counts in self.counts.items()]
        reasons: list[tuple[str | Counts, ...]] = [_reason_row(one) for one in self.failures[:_MOST_ROWS]]
        tokens = [(label, f"{size} of ground") for label, size in self.tokens.items()]
        frames = [(label, text) for label, texts in self.frames.items() for text in texts]
        positions = list(self.positions.items())
        scores = [(label, _score_text(facts)) for label, facts in self.store.receipt.get("scores", {}).items()]
        sections = [
            Section("Models", models),
            Section("Tokens", tokens),
            Section("Frames", frames),
            Section("Reasons", reasons),
            Section("Positions", positions),
            Section("Scores", scores),
        ]
        return [Section("", facts), *(section for section in sections if section.rows)]

    def _title(self) -> str:
        return f"Map {self.store.location.name}"

    def __repr__(self) -> str:
        return page_text(self._title(), self._sections())

    def _repr_html_(self) -> str:
        return page_html(self._title(), self._sections())


def _blocks(store: MapView, label: str) -> Iterator[tuple[BlockKey, Status]]:
    """Go through the blocks that were asked for, with what became of them."""
    for group in store.groups(label):
        statuses = store.statuses(label, group.group)
        for time in range(len(store.spans)):
            for row, col in store.asked(label, group.group, time):
                yield BlockKey(label, group.group, time, row, col), statuses[time].get((row, col), Status.PENDING)


def _reason(store: MapView, key: BlockKey) -> str:
    one = next(one for one in store.layout(key.label).data_fields if one.name == "reason")
    return printable(str(store.block(key).read(one)))


def block_reasons(store: MapView, label: str) -> list[BlockReasons]:
    """Group the blocks of a model that are not OK by status and reason."""
    groups: dict[tuple[Status, str], list[tuple[BlockKey, str]]] = defaultdict(list)
    listed = ((key, code) for key, code in _blocks(store, label) if code in FAILURES)
    for _, (key, code) in zip(range(_MOST_READ), listed, strict=False):
        text = _reason(store, key)
        groups[code, _SHARE.sub("#", reason_pattern(text))].append((key, text))
    counted_ = [
        BlockReasons(label, code, some[0][1], len(some), (some[0][0].group, some[0][0].row, some[0][0].col))
        for (code, _), some in groups.items()
    ]
    return sorted(counted_, key=lambda one: (FAILURES.index(one.status), -one.count, one.reason))


def _rows(store: MapView) -> Iterator[tuple[Any, ...]]:
    for label in store.labels:
        for key, code in _blocks(store, label):
            start, end = store.spans[key.time]
            reason = _reason(store, key) if code in FAILURES else ""
            yield label, key.group, start.isoformat(), end.isoformat(), key.row, key.col, code.name.lower(), reason


def _reason_row(one: BlockReasons) -> tuple[str, Counts, str]:
    group, row, col = one.example
    where = f"such as row {row}, column {col} of {group}"
    return one.label, shown_counts({one.status: one.count}), f"{one.reason or 'no reason given'} ({where})"


def _score_text(facts: dict[str, Any]) -> str:
    there = [f"{name.replace('_', ' ')} {facts[name]:.4g}" for name in _SHOWN if facts.get(name) is not None]
    return ", ".join([*there, f"from {counted(facts['blocks'], 'block')}"])


def status(path: Target, *, storage_options: StorageOptions | None = None) -> StatusReport | MapStatus:
    """Report the outcome of every item of a store, or of every block of a map.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place; it may be written to at the same time.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Returns
    -------
    StatusReport or MapStatus

    Raises
    ------
    StoreError
        If there is no store, or one that cannot be read.

    Examples
    --------
    >>> status("run.zarr").table.query("status == 'read_failed'")  # doctest: +SKIP
    """
    place = located(path, storage_options)
    if kind_of(Location.of(place, read_only=True)) == MAP:
        return MapStatus.of(MapStore.open(place))
    return StatusReport.of(Store.open(place))
