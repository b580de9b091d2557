"""What became of every item: counts, reasons, frames without data."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import DONE, NO_DAY, RETRYABLE, STATUS_COLOURS, Status
from rs_embed_dask.store.store import Store

if TYPE_CHECKING:
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.store import StoreView

__all__ = [
    "FAILURES",
    "FrameGaps",
    "ReasonCount",
    "StatusReport",
    "as_html",
    "as_text",
    "counted",
    "frame_gaps",
    "frame_name",
    "next_step",
    "reasons",
    "status",
    "status_name",
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
        plural = "frame" if self.frames == 1 else "frames"
        return f"{source}{len(self.empty)} of {self.frames} {plural} empty: {', '.join(names)}{tail}"


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
    """Find the frames of a model in which some item saw nothing."""
    layout = store.layout(label)
    sources = list(layout.attrs.get("frame_sources") or [""] * layout.frames)
    rows = np.flatnonzero(np.isin(store.values(label, "status"), _LOOKED_AT))
    valid = store.values(label, "valid_fraction")[rows]  # (n, frames)
    if not (valid == 0).any():
        return []
    starts, ends = (_days(store.values(label, name)[rows]) for name in ("frame_start", "frame_end"))
    found = []
    for source in dict.fromkeys(sources):
        columns = [number for number, name in enumerate(sources[: layout.frames]) if name == source]
        names = _names(starts[:, columns], ends[:, columns])
        seen = np.isfinite(valid[:, columns])
        empty = Counter(names[valid[:, columns] == 0].tolist())
        if empty:
            items = int(seen.any(axis=1).sum())
            frames = len(set(names[seen].tolist()))
            found.append(FrameGaps(label, source, frames, items, tuple(sorted(empty.items()))))
    return found


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


_BAR: Final = 24
_MOST_LINES: Final = 12


def status_name(code: Status) -> str:
    """Write a status as it is read: ``read failed``."""
    return code.name.lower().replace("_", " ")


def counted(count: int, noun: str) -> str:
    """Write a number of things: ``1 model``, ``2,000 models``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def next_step(report: StatusReport) -> str:
    """Say what can be done now, in one line."""
    pending = sum(counts.get(Status.PENDING, 0) for counts in report.counts.values())
    if pending:
        return f"{pending:,} still to compute: run the same request again, or resume(path)"
    if report.n_retryable:
        return f"finished; {counted(report.n_retryable, 'failure')} may be retried with resume(path)"
    return "finished"


def as_text(report: StatusReport) -> str:
    """Write a status report as lines of text."""
    store = report.store
    sizes = f"{counted(store.n_items, 'item')}, {counted(len(store.labels), 'model')}"
    lines = [
        f"Store {store.location.name}",
        f"{sizes}, made {store.created}; {next_step(report)}",
    ]
    width = max(len(label) for label in store.labels)
    for label, counts in report.counts.items():
        listed = ", ".join(f"{count:,} {status_name(code)}" for code, count in sorted(counts.items(), key=_by_worth))
        lines.append(f"  {label:<{width}}  {_bar(counts, store.n_items)}  {listed}")
    if report.failures:
        lines.append("Reasons")
        lines += [f"  {_reason_line(one)}" for one in report.failures[:_MOST_LINES]]
        if len(report.failures) > _MOST_LINES:
            lines.append(f"  and {len(report.failures) - _MOST_LINES} more reasons: see .failures")
    if report.gaps:
        lines.append("Frames without data")
        lines += [f"  {one.label}: {one}" for one in report.gaps]
    return "\n".join(lines)


def _by_worth(pair: tuple[Status, int]) -> tuple[bool, int]:
    return pair[0] is Status.PENDING, int(pair[0])


def _bar(counts: dict[Status, int], total: int) -> str:
    done = sum(count for code, count in counts.items() if code in DONE)
    share = done / total
    filled = int(share * _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%} done"


def _reason_line(one: ReasonCount) -> str:
    rows = ", ".join(str(row) for row in one.items)
    more = ", ..." if one.count > len(one.items) else ""
    word = "item" if one.count == 1 else "items"
    return (
        f"{one.label}: {one.count:,} {status_name(one.status)}: {one.reason or 'no reason given'} ({word} {rows}{more})"
    )


_MOST_ROWS: Final = 20
_STYLE: Final = """
.rse{font:13px/1.45 system-ui,sans-serif;max-width:60em;border:1px solid #8884;border-radius:8px}
.rse{padding:12px 16px;margin:4px 0}.rse h4{margin:0 0 2px;font-size:14px}
.rse h5{margin:12px 0 4px;font-size:12px;letter-spacing:.04em;text-transform:uppercase;opacity:.7}
.rse .path{font-family:ui-monospace,monospace;font-size:12px;opacity:.75;word-break:break-all}
.rse .bar{display:flex;height:14px;min-width:16em;border-radius:7px;overflow:hidden;background:#8883}
.rse .bar span{min-width:2px}.rse table{border-collapse:collapse;width:100%;background:none}
.rse td{padding:3px 10px 3px 0;text-align:left;vertical-align:middle;background:none;border:0}
.rse td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.rse td.w{white-space:nowrap}.rse .dot{display:inline-block;width:9px;height:9px;border-radius:50%;margin:0 5px 0 0}
.rse .key{margin-right:14px;white-space:nowrap}.rse code{font-size:12px;background:none;color:inherit}
"""


def as_html(report: StatusReport) -> str:
    """Write a status report as one HTML element with its own style."""
    store = report.store
    rows = "".join(_model_row(label, counts) for label, counts in report.counts.items())
    parts = [
        f"<style>{_STYLE}</style><div class='rse'>",
        f"<h4>{counted(store.n_items, 'item')} &times; {counted(len(store.labels), 'model')}</h4>",
        f"<div class='path'>{html.escape(store.location.name)}</div>",
        f"<div>made {html.escape(store.created)} &middot; {html.escape(next_step(report))}</div>",
        f"<h5>Models</h5><table>{rows}</table>",
        f"<div style='margin-top:6px'>{_legend(report)}</div>",
        _failures(report),
        _gaps(report),
        "</div>",
    ]
    return "".join(parts)


def _dot(code: Status) -> str:
    return f"<span class='dot' style='background:{STATUS_COLOURS[code]}'></span>"


def _model_row(label: str, counts: dict[Status, int]) -> str:
    order = sorted(counts.items(), key=lambda pair: (pair[0] is Status.PENDING, int(pair[0])))
    spans = "".join(
        f"<span style='flex:{count};background:{STATUS_COLOURS[code]}' title='{count:,} {status_name(code)}'></span>"
        for code, count in order
    )
    listed = " &middot; ".join(f"{count:,} {status_name(code)}" for code, count in order)
    bar = f"<td style='width:45%'><div class='bar'>{spans}</div></td>"
    return f"<tr><td><b>{html.escape(label)}</b></td>{bar}<td>{listed}</td></tr>"


def _legend(report: StatusReport) -> str:
    used = {code for counts in report.counts.values() for code in counts}
    return "".join(f"<span class='key'>{_dot(code)}{status_name(code)}</span>" for code in Status if code in used)


def _failures(report: StatusReport) -> str:
    if not report.failures:
        return ""
    rows = "".join(
        f"<tr><td class='n'>{one.count:,}</td><td class='w'>{_dot(one.status)}{status_name(one.status)}</td>"
        f"<td>{html.escape(one.label)}</td><td><code>{html.escape(one.reason or 'no reason given')}</code></td></tr>"
        for one in report.failures[:_MOST_ROWS]
    )
    more = len(report.failures) - _MOST_ROWS
    tail = f"<div>and {more} more reasons: see <code>.failures</code></div>" if more > 0 else ""
    return f"<h5>Reasons</h5><table>{rows}</table>{tail}"


def _gaps(report: StatusReport) -> str:
    if not report.gaps:
        return ""
    rows = "".join(
        f"<tr><td><b>{html.escape(one.label)}</b></td><td>{html.escape(str(one))}</td></tr>" for one in report.gaps
    )
    return f"<h5>Frames without data</h5><table>{rows}</table>"


FAILURES: Final = (Status.READ_FAILED, Status.MODEL_FAILED, Status.INVALID, Status.NO_DATA, Status.PARTIAL)
"""The statuses whose reasons are worth a line, the worst first."""

_NAME: Final = re.compile(r"(?=\S*\d)\S{5,}")
"""A word of an id, a date or a coordinate; short ones such as 503 tell reasons apart."""

_EXAMPLES: Final = 5


@dataclass(frozen=True)
class ReasonCount:
    """How many items share a reason."""

    label: str
    status: Status
    reason: str
    count: int
    items: tuple[int, ...]


def reasons(store: StoreView, label: str) -> list[ReasonCount]:
    """Group the items of a model that are not wholly well by status and reason."""
    # Reasons that differ only in ids, dates or coordinates are one group.
    codes = store.values(label, "status")
    rows = np.flatnonzero(np.isin(codes, [int(code) for code in FAILURES]))
    if not len(rows):
        return []
    texts = store.values(label, "reason")
    groups: dict[tuple[int, str], list[int]] = {}
    for row in rows.tolist():
        groups.setdefault((int(codes[row]), _NAME.sub("#", str(texts[row]))), []).append(row)
    found = [
        ReasonCount(label, Status(code), str(texts[members[0]]), len(members), tuple(members[:_EXAMPLES]))
        for (code, _), members in groups.items()
    ]
    return sorted(found, key=lambda one: (FAILURES.index(one.status), -one.count, one.reason))


def status_table(store: StoreView) -> pd.DataFrame:
    """List every item of every model."""
    places = {name: store.values(ITEMS, name) for name in ("item", "id", "lon", "lat", "start", "end")}
    tables = []
    for label in store.labels:
        valid = store.values(label, "valid_fraction")
        seen = np.isfinite(valid)
        mean = np.where(seen, valid, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        columns: dict[str, Any] = {
            **{name: places[name] for name in ("item", "lon", "lat")},
            "id": places["id"].astype(object),
            "start": _dates(places["start"]),
            "end": _dates(places["end"]),
            "model": label,
            "status": _named(store.values(label, "status")),
            "reason": store.values(label, "reason").astype(object),
            "valid_fraction": np.where(seen.any(axis=1), mean, np.nan),
            "n_obs": store.values(label, "n_obs"),
            "first_date": _dates(store.values(label, "first_date")),
            "last_date": _dates(store.values(label, "last_date")),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _named(codes: np.ndarray[Any, Any]) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes, pd.Index([code.name.lower() for code in Status]))


def _dates(days: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Read stored days as dates, in the nanoseconds that pandas 2 wants."""
    known = days != np.iinfo("int32").min
    dates = np.where(known, days, 0).astype("datetime64[D]").astype("datetime64[ns]")
    return np.where(known, dates, np.datetime64("NaT", "ns"))


@dataclass(frozen=True, eq=False, repr=False)
class StatusReport:
    """What became of every item of a store, at the time it was asked.

    Parameters
    ----------
    store : StoreView
        Where it was read from; ``table`` reads it again.
    counts : dict of dict
        By model and status, the number of items.
    failures : tuple of ReasonCount
        Items that are not wholly well, grouped by reason.
    gaps : tuple of FrameGaps
        Frames in which some item saw nothing.
    """

    store: StoreView
    counts: dict[str, dict[Status, int]]
    failures: tuple[ReasonCount, ...]
    gaps: tuple[FrameGaps, ...]

    @classmethod
    def of(cls, store: StoreView) -> StatusReport:
        """Read the report of an open store."""
        failures = [one for label in store.labels for one in reasons(store, label)]
        gaps = [one for label in store.labels for one in frame_gaps(store, label)]
        return cls(store, store.counts(), tuple(failures), tuple(gaps))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.store.n_items

    @property
    def is_finished(self) -> bool:
        """Whether no item is pending for any model."""
        return not any(counts.get(Status.PENDING) for counts in self.counts.values())

    @property
    def n_retryable(self) -> int:
        """Number of failures that another try may mend, over all models."""
        return sum(counts.get(code, 0) for counts in self.counts.values() for code in RETRYABLE)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every item of every model; see `status_table`."""
        return status_table(self.store)

    def __repr__(self) -> str:

        return as_text(self)

    def _repr_html_(self) -> str:

        return as_html(self)


def status(path: Target) -> StatusReport:
    """Tell what became of every item of a store.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place; it may be written to at the same time.

    Returns
    -------
    StatusReport

    Raises
    ------
    StoreError
        If there is no store, or one that cannot be read.

    Examples
    --------
    >>> status("run.zarr").table.query("status == 'read_failed'")  # doctest: +SKIP
    """
    return StatusReport.of(Store.open(path))
