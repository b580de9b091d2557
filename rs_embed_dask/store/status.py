"""The outcome of every item: counts, reasons, frames without data."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from rs_embed_dask.errors import printable
from rs_embed_dask.show.tables import Counts, Row, Section, ShareBar, counted, page_html, page_text
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import CENSUS, DONE, NO_DAY, RETRYABLE, STATUS_COLOURS, Status
from rs_embed_dask.store.parts import parts_done

if TYPE_CHECKING:
    from rs_embed_dask.store.view import StoreView

__all__ = [
    "FAILURES",
    "FrameGaps",
    "Outcomes",
    "ReasonCount",
    "SceneCensus",
    "StatusReport",
    "frame_gaps",
    "frame_name",
    "reason_pattern",
    "reasons",
    "scene_census",
    "shown_counts",
    "shown_model",
    "status_table",
]

_LOOKED_AT: Final = tuple(int(code) for code in (Status.OK, Status.PARTIAL, Status.NO_DATA, Status.MODEL_FAILED))
_MOST_NAMES: Final = 8


@dataclass(frozen=True)
class FrameGaps:
    """The empty frames of one model and source."""

    label: str
    source: str
    frames: int
    items: int
    empty: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        everywhere = all(count == self.items for _, count in self.empty)
        shown = (
            self.empty if len(self.empty) <= _MOST_NAMES else sorted(self.empty, key=lambda one: -one[1])[:_MOST_NAMES]
        )
        names = [name if everywhere else f"{name} ({count} of {self.items} items)" for name, count in shown]
        more = len(self.empty) - len(names)
        tail = f" and {more} more" if more else ""
        source = f"{self.source}: " if self.source else ""
        frames = counted(self.frames, "frame")
        return f"{source}{len(self.empty)} of {frames} empty: {', '.join(names)}{tail}"


def frame_name(start: np.datetime64, end: np.datetime64, number: int) -> str:
    """Name a frame: a year, a month or its first and last day; its number where it has no dates.

    Parameters
    ----------
    start, end : numpy.datetime64[D]
        First day, and the day after the last.
    number : int
        Its place among the item's frames.

    Examples
    --------
    >>> frame_name(np.datetime64("2020-12-01"), np.datetime64("2021-01-01"), 0)
    '2020-12'
    """
    if np.isnat(start) or np.isnat(end):
        return f"frame {number + 1}"
    for unit in ("Y", "M"):
        first = start.astype(f"datetime64[{unit}]")
        if first.astype("datetime64[D]") == start and (first + 1).astype("datetime64[D]") == end:
            return str(first)
    return f"{start} to {end - np.timedelta64(1, 'D')}"


def frame_gaps(store: StoreView, label: str) -> list[FrameGaps]:
    """Find the frames of a model in which some item has no data."""
    layout = store.layout(label)
    sources = list(layout.attrs.get("frame_sources") or [""] * layout.frames)
    rows = np.flatnonzero(np.isin(store.values(label, "status"), _LOOKED_AT))
    valid = store.values(label, "valid_fraction")[rows]  # (n, frames)
    if not (valid == 0).any():
        return []
    starts, ends = (_days(store.values(label, name)[rows]) for name in ("frame_start", "frame_end"))
    gaps = []
    for source in dict.fromkeys(sources):
        columns = [number for number, name in enumerate(sources[: layout.frames]) if name == source]
        names = _names(starts[:, columns], ends[:, columns])
        has_frame = np.isfinite(valid[:, columns])
        empty = Counter(names[valid[:, columns] == 0].tolist())
        if empty:
            items = int(has_frame.any(axis=1).sum())
            frames = len(set(names[has_frame].tolist()))
            gaps.append(FrameGaps(label, source, frames, items, tuple(sorted(empty.items()))))
    return gaps


def _days(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    dates = values.astype("datetime64[D]")
    dates[values == NO_DAY] = np.datetime64("NaT")
    return dates


def _names(starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Name every item's frames; (n, frames). Few differ, so each distinct frame is named once."""
    numbers = np.broadcast_to(np.arange(starts.shape[1]), starts.shape)
    keys = np.stack([starts.astype("int64"), ends.astype("int64"), numbers], axis=-1).reshape(-1, 3)  # (n * frames, 3)
    distinct, where = np.unique(keys, axis=0, return_inverse=True)
    pairs = [
        (np.datetime64(int(first), "D"), np.datetime64(int(last), "D"), int(number)) for first, last, number in distinct
    ]
    named = np.array([frame_name(*pair) for pair in pairs], dtype=object)
    return named[np.asarray(where).reshape(-1)].reshape(starts.shape)


@dataclass(frozen=True)
class SceneCensus:
    """The days with scenes of one model's items, beside the days on which satellites must have passed."""

    label: str
    items: int
    n_days: int
    n_expected: int
    short: int

    def __str__(self) -> str:
        total = f"scenes on {self.n_days:,} days, at least {self.n_expected:,} passes expected"
        few = f"; {self.short} of {counted(self.items, 'item')} with fewer than expected" if self.short else ""
        return total + few


def scene_census(store: StoreView, label: str) -> SceneCensus | None:
    """Compare what the catalogue has with what the orbits promise; None where no item can be compared."""
    days, expected = _census(store, label)
    rows = (days >= 0) & (expected >= 0)
    if not rows.any():
        return None
    days, expected = days[rows], expected[rows]
    return SceneCensus(label, len(days), int(days.sum()), int(expected.sum()), int((days < expected).sum()))


def _census(store: StoreView, label: str) -> tuple[np.ndarray[Any, Any], ...]:
    """Return days with scenes and expected passes of all items, -1 where they are not known."""
    unknown = np.full(store.n_items, -1)
    return tuple(store.values(label, one.name) if store.has(label, one.name) else unknown for one in CENSUS)


FAILURES: Final = (Status.READ_FAILED, Status.MODEL_FAILED, Status.INVALID, Status.NO_DATA, Status.PARTIAL)
"""The statuses whose reasons are reported, the worst first."""

_NAME: Final = re.compile(r"(?=\S*\d)\S{5,}")
"""A word of an id, a date or a coordinate; shorter ones such as 503 distinguish reasons."""

_EXAMPLES: Final = 5
_MOST_REASONS: Final = 20


def reason_pattern(text: str) -> str:
    """Return a reason without what tells one item from another."""
    return _NAME.sub("#", text)


@dataclass(frozen=True)
class ReasonCount:
    """How many items share a reason."""

    label: str
    status: Status
    reason: str
    count: int
    items: tuple[int, ...]


def reasons(store: StoreView, label: str) -> list[ReasonCount]:
    """Group the items of a model that are not OK by status and reason."""
    # Reasons that differ only in ids, dates or coordinates are one group.
    codes = store.values(label, "status")
    rows = np.flatnonzero(np.isin(codes, [int(code) for code in FAILURES]))
    if not len(rows):
        return []
    texts = store.values(label, "reason")
    groups: dict[tuple[int, str], list[int]] = {}
    for row in rows.tolist():
        groups.setdefault((int(codes[row]), reason_pattern(str(texts[row]))), []).append(row)
    groups_counted = [
        ReasonCount(label, Status(code), str(texts[members[0]]), len(members), tuple(members[:_EXAMPLES]))
        for (code, _), members in groups.items()
    ]
    return sorted(groups_counted, key=lambda one: (FAILURES.index(one.status), -one.count, one.reason))


def status_table(store: StoreView) -> pd.DataFrame:
    """List every item of every model."""
    places = {name: store.values(ITEMS, name) for name in ("item", "id", "lon", "lat", "start", "end")}
    tables = []
    for label in store.labels:
        valid = store.values(label, "valid_fraction")
        has_frame = np.isfinite(valid)
        mean = np.where(has_frame, valid, 0).sum(axis=1) / np.maximum(has_frame.sum(axis=1), 1)
        columns: dict[str, Any] = {
            **{name: places[name] for name in ("item", "lon", "lat")},
            "id": _shown_texts(places["id"]),
            "start": _dates(places["start"]),
            "end": _dates(places["end"]),
            "model": label,
            "status": _named(store.values(label, "status")),
            "reason": _shown_texts(store.values(label, "reason")),
            "valid_fraction": np.where(has_frame.any(axis=1), mean, np.nan),
            "n_obs": store.values(label, "n_obs"),
            **{one.name: _whole(values) for one, values in zip(CENSUS, _census(store, label), strict=True)},
            "first_date": _dates(store.values(label, "first_date")),
            "last_date": _dates(store.values(label, "last_date")),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _whole(numbers: np.ndarray[Any, Any]) -> Any:
    """Return whole numbers as pandas holds them, NA for -1."""
    return pd.arrays.IntegerArray(numbers.astype("int32"), numbers < 0)


def _shown_texts(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return stored texts as a table may print them."""
    shown = np.empty(len(texts), dtype=object)
    shown[:] = [printable(str(each)) for each in texts]
    return shown


def _named(codes: np.ndarray[Any, Any]) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes, pd.Index([code.name.lower() for code in Status]))


def _dates(days: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert stored days to dates, in the nanoseconds that pandas 2 needs."""
    has_date = days != NO_DAY
    dates = np.where(has_date, days, 0).astype("datetime64[D]").astype("datetime64[ns]")
    return np.where(has_date, dates, np.datetime64("NaT", "ns"))


class Outcomes:
    """How many items or blocks of each model have which status."""

    counts: dict[str, dict[Status, int]]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is pending for any model."""
        return not any(counts.get(Status.PENDING) for counts in self.counts.values())

    @property
    def n_retryable(self) -> int:
        """Number of failures that another try may fix, over all models."""
        return sum(counts.get(code, 0) for counts in self.counts.values() for code in RETRYABLE)


@dataclass(frozen=True, eq=False, repr=False)
class StatusReport(Outcomes):
    """The outcome of every item of a store, at the time of the call.

    Parameters
    ----------
    store : StoreView
        Where it was read from; ``table`` reads it again.
    counts : dict of dict
        By model and status, the number of items.
    failures : tuple of ReasonCount
        Items that are not OK, grouped by reason.
    gaps : tuple of FrameGaps
        Frames in which some item has no data.
    census : tuple of SceneCensus
        Days with scenes in the catalogue beside the passes that orbits promise, where both are known.
    parts : tuple of bool
        Of a store that is computed in parts, whether each is complete, in their order; empty for others.
    """

    store: StoreView
    counts: dict[str, dict[Status, int]]
    failures: tuple[ReasonCount, ...]
    gaps: tuple[FrameGaps, ...]
    census: tuple[SceneCensus, ...] = ()
    parts: tuple[bool, ...] = ()

    @classmethod
    def of(cls, store: StoreView) -> StatusReport:
        """Read the report of an open store."""
        failures = [one for label in store.labels for one in reasons(store, label)]
        gaps = [one for label in store.labels for one in frame_gaps(store, label)]
        census = tuple(one for label in store.labels if (one := scene_census(store, label)) is not None)
        return cls(store, store.counts(), tuple(failures), tuple(gaps), census, parts_done(store))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.store.n_items

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every item of every model; see `status_table`."""
        return status_table(self.store)

    @property
    def what(self) -> str:
        """What is counted."""
        return "items"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of ``table`` in the order in which they are printed."""
        return (
            *("item", "id", "lon", "lat", "start", "end", "model", "status", "valid_fraction", "n_obs"),
            *("n_days", "n_expected", "first_date", "last_date", "reason"),
        )

    @property
    def next_step(self) -> str:
        """What can be done now, in one line."""
        pending = sum(counts.get(Status.PENDING, 0) for counts in self.counts.values())
        if pending:
            return f"{pending:,} still to compute: run the same request again, or resume(path)"
        if self.n_retryable:
            return f"finished; {counted(self.n_retryable, 'failure')} may be retried with resume(path)"
        return "finished"

    def _title(self) -> str:
        return f"Store {self.store.location.name}"

    def _sections(self) -> list[Section]:
        facts = (
            ("size", f"{counted(self.n_items, 'item')}, {counted(len(self.store.labels), 'model')}"),
            ("made", self.store.created),
            *([("parts", _parts_text(self.parts))] if self.parts else []),
            ("state", self.next_step),
        )
        models = [shown_model(label, counts) for label, counts in self.counts.items()]
        reasons: list[Row] = [_reason_row(one) for one in self.failures[:_MOST_REASONS]]
        if len(self.failures) > _MOST_REASONS:
            reasons.append(("", "", f"and {len(self.failures) - _MOST_REASONS} more: see .failures"))
        decided = self.store.receipt.get("positions", {})
        positions = [(label, facts["statement"]) for label, facts in decided.items()]
        gaps = [(one.label, str(one)) for one in self.gaps]
        sections = [Section("Models", models), *self._made_of(), Section("Reasons", reasons)]
        sections += [Section("Frames without data", gaps), Section("Positions", positions)]
        sections.append(Section("Scenes in the catalogue", [(one.label, str(one)) for one in self.census]))
        return [Section("", facts), *(section for section in sections if section.rows)]

    @property
    def tokens(self) -> dict[str, str]:
        """What a token covers on the ground, by model; where a resize changes it, the model's own size too."""
        return self._stated("token")

    @property
    def frames(self) -> dict[str, str]:
        """What the frames of a span are, by model."""
        return self._stated("frames")

    def _stated(self, name: str) -> dict[str, str]:
        outputs = self.store.receipt.get("outputs", {})
        return {label: printable(str(facts[name])) for label, facts in outputs.items() if name in facts}

    def _made_of(self) -> list[Section]:
        tokens = [(label, f"{size} of ground") for label, size in self.tokens.items()]
        return [Section("Tokens", tokens), Section("Frames", list(self.frames.items()))]

    def __repr__(self) -> str:
        return page_text(self._title(), self._sections())

    def _repr_html_(self) -> str:
        return page_html(self._title(), self._sections())


def shown_counts(counts: dict[Status, int]) -> Counts:
    """Order counts by status, pending last."""
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] is Status.PENDING, pair[0]))
    return Counts(tuple((count, code.words, STATUS_COLOURS[code]) for code, count in ordered))


def shown_model(label: str, counts: dict[Status, int]) -> tuple[str, ShareBar, Counts]:
    """Return the row of a model: how much is done, and what became of it."""
    done = sum(count for code, count in counts.items() if code in DONE)
    return label, ShareBar(shown_counts(counts), done / max(1, sum(counts.values()))), shown_counts(counts)


def _parts_text(parts: tuple[bool, ...]) -> str:
    """Say how many parts there are, and which are complete."""
    if all(parts):
        return f"{len(parts)}, all complete"
    numbers = [str(number) for number, is_done in enumerate(parts, 1) if is_done]
    more = f" and {len(numbers) - _MOST_NAMES} more" if len(numbers) > _MOST_NAMES else ""
    return f"{len(parts)}, complete: {', '.join(numbers[:_MOST_NAMES]) or 'none'}{more}"


def _reason_row(one: ReasonCount) -> tuple[str, Counts, str]:
    rows = ", ".join(map(str, one.items)) + (", ..." if one.count > len(one.items) else "")
    noun = "item" if one.count == 1 else "items"
    return one.label, shown_counts({one.status: one.count}), f"{one.reason or 'no reason given'} ({noun} {rows})"
