"""Scores of a map, computed from its finished blocks as they pass by: seam, lattice, zones and decay.

Histograms and cosines are added up as integers, so that they do not depend on the order of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from rs_embed_dask.engine.positions import PositionSums
from rs_embed_dask.maps.cosine import FIXED, cosines, distances, fixed, units
from rs_embed_dask.specs.base import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Rect
    from rs_embed_dask.maps.windows import Tiling

__all__ = ["DISTANCES", "MapScores", "ScoreSums", "ZoneSums"]

DISTANCES: Final = (1, 2, 4, 8, 16, 32, 64)
"""Tokens between the two vectors of the score *decay*."""

_PER_OCTAVE: Final = 32
_EDGES: Final = np.concatenate([[0.0], 2.0 ** (np.arange(-24 * _PER_OCTAVE, _PER_OCTAVE + 1) / _PER_OCTAVE)])
_INSIDE, _WINDOWS, _BLOCKS = range(3)


@dataclass(frozen=True, repr=False)
class MapScores(Record):
    """How seamless a map is.

    Parameters
    ----------
    tokens : int
        Vectors that were scored.
    neighbours : float, optional
        Median of the cosine distance of neighbours that belong to the same window: the one nearest to both.
    seam_median, seam_p99 : float, optional
        The same of neighbours that belong to different windows, as a multiple: median and 99th percentile. 1 is no
        seam.
    block_median, block_p99 : float, optional
        The same of neighbours in different blocks.
    lattice : float
        Share of the variance of the vectors that their position modulo the stride explains.
    lattice_chance : float
        The share that it would explain of as many independent vectors.
    blocks : int
        Blocks that were scored; in a run, up to 64 blocks of each pass, spread over it, give the score *lattice*.
    zone_tokens : int
        Tokens that two zones share.
    zone_mean, zone_least : float, optional
        Cosine of both zones' vectors there.
    decay : tuple of (float or None)
        Mean cosine of vectors 1, 2, 4, 8, 16, 32 and 64 tokens apart, along rows and columns.
    """

    tokens: int
    lattice: float
    lattice_chance: float
    decay: tuple[float | None, ...]
    neighbours: float | None = None
    seam_median: float | None = None
    seam_p99: float | None = None
    block_median: float | None = None
    block_p99: float | None = None
    zone_tokens: int = 0
    zone_mean: float | None = None
    zone_least: float | None = None
    blocks: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", tuple(self.decay))


class ZoneSums(NamedTuple):
    """Cosines of two zones' vectors on the ground that they share; `merged` adds others."""

    tokens: int = 0
    total: int = 0
    least: float = 1.0

    @classmethod
    def of(cls, one: NDArray[Any], other: NDArray[Any]) -> Self:
        """Compare two zones' vectors of the same places; each (dim, places)."""
        values = 1 - distances(units(one), units(other)).astype(np.float64)
        tokens, total = (int(value) for value in fixed(values))
        return cls(tokens, total, float(np.nanmin(values)) if tokens else 1.0)

    def merged(self, other: ZoneSums) -> ZoneSums:
        """Return the sums of both."""
        return ZoneSums(self.tokens + other.tokens, self.total + other.total, min(self.least, other.least))


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """What the scores of some blocks are made from; ``a + b`` merges."""

    gaps: NDArray[np.int64]
    """Histograms of the distance of neighbours: in one window, in two windows, in two blocks; (3, bins)."""
    decay: NDArray[np.int64]
    """How many pairs, and the sum of their cosines, for each of `DISTANCES`; (distances, 2)."""
    places: PositionSums | None
    """Vectors by their position modulo the stride; None where they were not added up."""

    @classmethod
    def of(
        cls,
        tiling: Tiling,
        rect: Rect,
        vectors: NDArray[Any],
        *,
        owned: NDArray[np.bool_] | None = None,
        right: NDArray[Any] | None = None,
        below: NDArray[Any] | None = None,
    ) -> Self:
        """Add up one block, or any rectangle of whole blocks.

        Parameters
        ----------
        tiling : Tiling
            How the windows lie.
        rect : Rect
            The tokens of the block.
        vectors : (dim, rows, columns) array
            As they are written; NaN where a token has no vector.
        owned : (rows, columns) array of bool, optional
            Tokens that count. Default: all.
        right, below : (dim, rows, k) and (dim, k, columns) array, optional
            The k tokens beyond the right and the lower edge, NaN where another group owns them; one is enough for the
            seam, and more make the decay exact.

        Returns
        -------
        ScoreSums
        """
        values = vectors if owned is None else np.where(owned, vectors, vectors.dtype.type(np.nan))
        unit = units(values)
        gaps, decay = np.zeros((3, len(_EDGES) - 1), np.int64), np.zeros((len(DISTANCES), 2), np.int64)
        for axis, strip, first in ((2, right, rect.left), (1, below, rect.top)):
            along = np.moveaxis(unit, axis, 2)
            beyond = along[:, :, :0] if strip is None else np.moveaxis(units(strip), axis, 2)
            gaps += _gaps(tiling, first, along, beyond)
            for number, distance in enumerate(DISTANCES):
                for one, other, _ in _pairs(along, beyond, distance):
                    decay[number] += fixed(cosines(one, other))
        return cls(gaps, decay, PositionSums.of(_cells(values, rect, tiling.stride)))

    @classmethod
    def none(cls) -> Self:
        """Return the sums of no block."""
        return cls(np.zeros((3, len(_EDGES) - 1), np.int64), np.zeros((len(DISTANCES), 2), np.int64), None)

    @property
    def without_positions(self) -> ScoreSums:
        """The same without the sums by position, which are as large as a window."""
        return replace(self, places=None)

    @classmethod
    def across(
        cls,
        tiling: Tiling,
        edge: int,
        axis: int,
        *,
        before: tuple[NDArray[np.float32], NDArray[np.float32]],
        after: NDArray[np.float32],
    ) -> Self:
        """Compare the first row (axis 1) or column (axis 2) of a block, at `edge`, with the block before it.

        `before` are the first and the last row or column there: one block and one token away.
        """
        first, last = (np.moveaxis(units(one), axis, 2) for one in before)
        own = np.moveaxis(units(after), axis, 2)
        decay = np.zeros((len(DISTANCES), 2), np.int64)
        for distance, one in ((1, last), (tiling.block, first)):
            if distance in DISTANCES:
                decay[DISTANCES.index(distance)] += fixed(cosines(one, own))
        return cls(_gaps(tiling, edge - 1, last, own), decay, None)

    def __add__(self, other: ScoreSums) -> ScoreSums:
        both = [one for one in (self.places, other.places) if one is not None]
        places = both[0] + both[1] if len(both) > 1 else next(iter(both), None)
        return ScoreSums(self.gaps + other.gaps, self.decay + other.decay, places)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what can be stored and merged later."""
        kept: dict[str, NDArray[Any]] = {"gaps": self.gaps, "decay": self.decay}
        if self.places is not None:
            kept |= {"counts": self.places.counts, "sums": self.places.sums, "squares": np.array(self.places.squares)}
        return kept

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Build the sums from `arrays`."""
        places = None
        if "counts" in arrays:
            places = PositionSums(arrays["counts"], arrays["sums"], float(arrays["squares"]))
        return cls(arrays["gaps"], arrays["decay"], places)

    def scores(self, zones: ZoneSums | None = None) -> MapScores:
        """Return the scores of all that has been added up."""
        zones = zones or ZoneSums()
        inside, windows, blocks = ([_quantile(counts, share) for share in (0.5, 0.99)] for counts in self.gaps)
        share, chance = (0.0, 0.0) if self.places is None else self.places.explained
        return MapScores(
            tokens=0 if self.places is None else int(self.places.counts.sum()),
            lattice=share,
            lattice_chance=chance,
            decay=tuple(_mean(count, total) for count, total in self.decay.tolist()),
            neighbours=inside[0],
            seam_median=_ratio(windows[0], inside[0]),
            seam_p99=_ratio(windows[1], inside[1]),
            block_median=_ratio(blocks[0], inside[0]),
            block_p99=_ratio(blocks[1], inside[1]),
            zone_tokens=zones.tokens,
            zone_mean=_mean(zones.tokens, zones.total),
            zone_least=zones.least if zones.tokens else None,
        )


def _pairs(
    along: NDArray[np.float32], beyond: NDArray[np.float32], distance: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], int]]:
    """Yield the vectors of columns that lie a distance apart, and the first of those columns."""
    size, reach = along.shape[2], beyond.shape[2]
    if distance < size:
        yield along[:, :, : size - distance], along[:, :, distance:], 0
    first, stop = max(0, distance - size), min(reach, distance)
    if first < stop:
        start = size - distance
        yield along[:, :, start + first : start + stop], beyond[:, :, first:stop], start + first


def _gaps(tiling: Tiling, first: int, along: NDArray[np.float32], beyond: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count the distances of neighbouring columns; the columns start at `first` on the lattice; (3, bins)."""
    counted = np.zeros((3, len(_EDGES) - 1), np.int64)
    for one, other, column in _pairs(along, beyond, 1):
        later = first + column + 1 + np.arange(one.shape[2])
        # A token belongs to the window with the nearest centre, to the earlier one of two that are equally near.
        border = (later - (tiling.window + tiling.stride + 1) // 2) % tiling.stride == 0
        border &= tiling.stride > 1  # else every token has its own window, and no neighbours lie inside one
        gap = distances(one, other)
        for kind, chosen in ((_INSIDE, ~border), (_WINDOWS, border), (_BLOCKS, later % tiling.block == 0)):
            some = gap[:, chosen]
            counted[kind] += np.histogram(np.minimum(some[np.isfinite(some)], _EDGES[-1]), _EDGES)[0]
    return counted


def _cells(values: NDArray[Any], rect: Rect, stride: int) -> NDArray[Any]:
    """Return the cells of a lattice of strides, NaN outside the rectangle; (rows, columns, dim, stride, stride)."""
    before = rect.top % stride, rect.left % stride
    pad = [(0, 0), *((gap, -(gap + size) % stride) for gap, size in zip(before, rect.shape, strict=True))]
    whole = np.pad(values, pad, constant_values=np.nan)
    cells = whole.reshape(len(whole), whole.shape[1] // stride, stride, whole.shape[2] // stride, stride)
    return cells.transpose(1, 3, 0, 2, 4)


def _quantile(counts: NDArray[np.int64], share: float) -> float | None:
    """Return a quantile of a histogram, as if the values of a bin lay evenly in it."""
    upto = np.cumsum(counts)
    if not upto[-1]:
        return None
    place = share * float(upto[-1])
    number = int(np.searchsorted(upto, place))
    inside = (place - float(upto[number] - counts[number])) / float(counts[number])
    return float(_EDGES[number] + inside * (_EDGES[number + 1] - _EDGES[number]))


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _mean(count: int, total: int) -> float | None:
    return total / FIXED / count if count else None
