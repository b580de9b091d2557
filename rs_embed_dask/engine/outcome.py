"""What became of one item in one model's hands, and a chunk's worth of it in the store's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.store import ChunkResult, Status

if TYPE_CHECKING:
    from rs_embed_dask.errors import RsEmbedError
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid

__all__ = ["Outcome", "chunk_result"]

_WHOLE: Final = 0.9


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one item in one model's hands.

    Attributes
    ----------
    status : Status
        How it ended.
    data : numpy.ndarray or None
        Vector (D,) or token grid (D, h, w), float32.
    grid : Grid or None
        Where the tokens of a grid lie.
    error : RsEmbedError or None
        Why there is no data.
    note : str
        What was missing, where there is data.
    valid_fraction : tuple of float
        Share of observed pixels in each frame.
    frames : tuple of Span
        The frames.
    n_obs : int
        Observations that went in: over the frames, the most that any pixel had, added up.
    first, last : date or None
        Days of the first and last observation.
    scenes : tuple of str
        Ids of what was read.
    share, seconds : float
        Part of a batch, and of the time it took.
    """

    status: Status
    data: np.ndarray[Any, Any] | None = None
    grid: Grid | None = None
    error: RsEmbedError | None = None
    note: str = ""
    valid_fraction: tuple[float, ...] = ()
    frames: tuple[Span, ...] = ()
    n_obs: int = 0
    first: date | None = None
    last: date | None = None
    scenes: tuple[str, ...] = ()
    share: float = 0.0
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """Why the status is not OK, as the store keeps it."""
        return self.note if self.error is None else str(self.error)


def judged(valid_fraction: Sequence[float]) -> tuple[Status, str]:
    """Say of an embedded item whether it is whole, and what is missing if not.

    Parameters
    ----------
    valid_fraction : sequence of float
        Share of observed pixels in each frame.

    Returns
    -------
    Status
        PARTIAL where a frame has none, or where more than a tenth of all pixels is missing.
    str
        What is missing, or "".
    """
    shares = np.asarray(valid_fraction, dtype="float64")
    if not len(shares):
        return Status.OK, ""
    empty, mean = int((shares <= 0).sum()), float(shares.mean())
    parts = [f"{empty} of {len(shares)} frames without data"] if empty else []
    if mean < _WHOLE:
        parts.append(f"{100 * (1 - mean):.0f} % of the pixels missing")
    return (Status.PARTIAL, "; ".join(parts)) if parts else (Status.OK, "")


def chunk_result(rows: Sequence[int], outcomes: Sequence[Outcome], frames: int) -> ChunkResult:
    """Put outcomes of one model into the store's terms.

    Parameters
    ----------
    rows : sequence of int
        Offsets inside the chunk.
    outcomes : sequence of Outcome
        One a row.
    frames : int
        Frames that the store has room for.

    Returns
    -------
    ChunkResult
    """
    count = len(rows)
    valid = np.full((count, frames), np.nan, dtype="float32")
    starts = np.full((count, frames), np.datetime64("NaT"), dtype="datetime64[D]")
    ends = starts.copy()
    for i, outcome in enumerate(outcomes):
        shares, spans = outcome.valid_fraction[:frames], outcome.frames[:frames]
        valid[i, : len(shares)] = shares
        starts[i, : len(spans)] = [np.datetime64(span.start, "D") for span in spans]
        ends[i, : len(spans)] = [np.datetime64(span.end, "D") for span in spans]
    is_grid = any(outcome.grid is not None for outcome in outcomes)
    return ChunkResult(
        rows=np.asarray(rows, dtype="int64"),
        status=np.asarray([outcome.status for outcome in outcomes], dtype="uint8"),
        embedding=[outcome.data for outcome in outcomes],
        reason=[outcome.reason for outcome in outcomes],
        valid_fraction=valid,
        n_obs=np.asarray([outcome.n_obs for outcome in outcomes], dtype="int64"),
        first_date=_days([outcome.first for outcome in outcomes]),
        last_date=_days([outcome.last for outcome in outcomes]),
        frame_start=starts,
        frame_end=ends,
        transform=_transforms(outcomes) if is_grid else None,
        crs=[outcome.grid.crs if outcome.grid else "" for outcome in outcomes] if is_grid else None,
        scenes=["\n".join(outcome.scenes) for outcome in outcomes],
    )


def _days(days: Sequence[date | None]) -> np.ndarray[Any, Any]:
    return np.asarray(
        [np.datetime64("NaT") if day is None else np.datetime64(day, "D") for day in days], "datetime64[D]"
    )


def _transforms(outcomes: Sequence[Outcome]) -> np.ndarray[Any, Any]:
    nowhere = (np.nan,) * 6
    return np.asarray([outcome.grid.transform if outcome.grid else nowhere for outcome in outcomes], dtype="float64")
