"""Frames in which an item saw nothing: "2 of 12 frames empty: 2020-12, 2021-01"."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.store.codes import Status
from rs_embed_dask.store.fields import NO_DAY

if TYPE_CHECKING:
    from rs_embed_dask.store.view import StoreView

__all__ = ["FrameGaps", "frame_gaps", "frame_name"]

_LOOKED_AT: Final = tuple(int(code) for code in (Status.OK, Status.PARTIAL, Status.NO_DATA, Status.MODEL_FAILED))
_MOST_NAMES: Final = 8


@dataclass(frozen=True)
class FrameGaps:
    """The empty frames of one model and source.

    Parameters
    ----------
    label : str
        The model.
    source : str
        What the frames are of, such as ``"optical"``; empty where the model has one source.
    frames : int
        Number of frames, over all spans.
    items : int
        Number of items that were read.
    empty : tuple of (str, int)
        Each empty frame, by date, with the number of items that saw nothing in it.
    """

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
    """Find the frames of a model in which some item saw nothing.

    Parameters
    ----------
    store : StoreView
    label : str
        The model.

    Returns
    -------
    list of FrameGaps
        One a source that has an empty frame. A frame whose share is NaN does not exist for that item.
    """
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
