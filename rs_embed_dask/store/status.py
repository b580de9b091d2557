"""What became of every item: counts, reasons, frames without data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from rs_embed_dask.store.codes import RETRYABLE, Status
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.frames import FrameGaps, frame_gaps
from rs_embed_dask.store.store import Store

if TYPE_CHECKING:
    from rs_embed_dask.store.target import Target
    from rs_embed_dask.store.view import StoreView

__all__ = ["FAILURES", "ReasonCount", "StatusReport", "reasons", "status", "status_table"]

FAILURES: Final = (Status.READ_FAILED, Status.MODEL_FAILED, Status.INVALID, Status.NO_DATA, Status.PARTIAL)
"""The statuses whose reasons are worth a line, the worst first."""

_NAME: Final = re.compile(r"(?=\S*\d)\S{5,}")
"""A word of an id, a date or a coordinate; short ones such as 503 tell reasons apart."""

_EXAMPLES: Final = 5


@dataclass(frozen=True)
class ReasonCount:
    """How many items share a reason.

    Parameters
    ----------
    label : str
        The model.
    status : Status
        What became of them.
    reason : str
        The reason of the first of them; the others' may differ in ids, dates and coordinates.
    count : int
        How many.
    items : tuple of int
        Rows of the first few.
    """

    label: str
    status: Status
    reason: str
    count: int
    items: tuple[int, ...]


def reasons(store: StoreView, label: str) -> list[ReasonCount]:
    """Group the items of a model that are not wholly well by status and reason.

    Reasons that differ only in ids, dates or coordinates are one group.

    Parameters
    ----------
    store : StoreView
    label : str
        The model.

    Returns
    -------
    list of ReasonCount
        The worst status first, then the most frequent reason.
    """
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
    """List every item of every model.

    Parameters
    ----------
    store : StoreView

    Returns
    -------
    pandas.DataFrame
        One row an item and model: ``item``, ``id``, ``lon``, ``lat``, ``start``, ``end``, ``model``, ``status`` (a
        categorical), ``reason``, ``valid_fraction`` (mean over frames), ``n_obs``, ``first_date``, ``last_date``.
    """
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
        from rs_embed_dask.store.status_text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from rs_embed_dask.store.status_html import as_html

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
