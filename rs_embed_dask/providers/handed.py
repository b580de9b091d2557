"""Bytes of files that cross from one read to the next, so that reads that lie side by side fetch each of them once.

Files are made of tiles of their own, which no cut of a map follows. Of the tiles that several reads need, the read in
which a tile begins fetches it, and hands it on to the right and below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from rs_embed_dask.providers.kept import ByteCache, File, Piece
from rs_embed_dask.providers.retry import deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.providers.geotiff import GeoTiff, TiffTile
    from rs_embed_dask.providers.registry import Provider

__all__ = ["Before", "Extent", "HandedBytes", "HandedTile", "HandsOn", "extent_of", "fetched_first"]

_OVERHEAD: Final = 200
_DIGITS: Final = 3  # of a pixel: a corner that is off by rounding lies on the border


class Extent(NamedTuple):
    """Where something lies: first row and column, and those after the last, in pixels of a grid or lattice."""

    top: int
    left: int
    bottom: int
    right: int


class Before(NamedTuple):
    """Whether there are reads on the left and above, which fetch what begins there."""

    left: bool = False
    above: bool = False

    def has(self, extent: Extent) -> bool:
        """Return whether one of them fetches what has this extent in the grid's own pixels."""
        return (self.left and extent.left < 0) or (self.above and extent.top < 0)


@dataclass(frozen=True, slots=True)
class HandedTile:
    """One compressed tile of a file, and where it lies."""

    file: File
    piece: Piece
    extent: Extent


@dataclass(frozen=True)
class HandedBytes:
    """Compressed tiles of files."""

    tiles: tuple[HandedTile, ...] = ()
    seconds: float = 0.0
    """How long it took to fetch them; none for what was handed on."""

    def __sizeof__(self) -> int:
        return sum(len(tile.piece.data) + _OVERHEAD for tile in self.tiles)

    @classmethod
    def joined(cls, parts: Iterable[HandedBytes]) -> Self:
        """Return the tiles of several, each once."""
        return cls(tuple({(tile.file, tile.piece.start): tile for part in parts for tile in part.tiles}.values()))

    def moved(self, rows: int, cols: int) -> Self:
        """Return them with their places counted from elsewhere."""
        by = (rows, cols, rows, cols)
        places = [Extent(*(a + b for a, b in zip(tile.extent, by, strict=True))) for tile in self.tiles]
        return replace(self, tiles=tuple(replace(t, extent=e) for t, e in zip(self.tiles, places, strict=True)))

    def to_the_right(self, of: Extent, most_bytes: float = math.inf) -> Self:
        """Return those that reach beyond the right edge of an extent, as many as there is room for."""
        return self._some(
            most_bytes, (t for t in self.tiles if t.extent.right > of.right and _meet(t.extent[::2], of[::2]))
        )

    def below(self, of: Extent, most_bytes: float = math.inf) -> Self:
        """Return those that reach below an extent, as many as there is room for."""
        return self._some(
            most_bytes, (t for t in self.tiles if t.extent.bottom > of.bottom and _meet(t.extent[1::2], of[1::2]))
        )

    def _some(self, most_bytes: float, tiles: Iterable[HandedTile]) -> Self:
        kept, total = [], 0
        for tile in tiles:
            total += len(tile.piece.data)
            if total > most_bytes:
                break
            kept.append(tile)
        return replace(self, tiles=tuple(kept), seconds=0.0)

    def cache(self) -> ByteCache:
        """Return them for a read to take from."""
        cache = ByteCache()
        for tile in self.tiles:
            cache.put(tile.file, [tile.piece])
        return cache


@runtime_checkable
class HandsOn(Protocol):
    """A provider whose reads of neighbouring places can hand on bytes to each other."""

    def first_bytes(self, reads: Sequence[Read], before: Before) -> HandedBytes:
        """Fetch what reads of one grid need and no read before them fetches, as far as it can be fetched."""


def fetched_first(provider: Provider, reads: Sequence[Read], before: Before) -> HandedBytes:
    """Fetch the bytes that begin in a place, within the provider's deadline; none where it cannot hand them on."""
    if not isinstance(provider, HandsOn):
        return HandedBytes()
    with deadline(getattr(getattr(provider, "retry", None), "deadline_s", math.inf)):
        return provider.first_bytes(reads, before)


def extent_of(file: GeoTiff, tile: TiffTile, grid: Grid) -> Extent | None:
    """Return where a tile lies in a grid's own pixels; None where the grid's projection does not reach it."""
    a, _, left, _, e, top = grid.transform
    x, y = file.corners(tile, grid.crs)
    cols, rows = np.round((x - left) / a, _DIGITS), np.round((y - top) / e, _DIGITS)
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return None
    first, last = (math.floor(rows.min()), math.floor(cols.min())), (math.ceil(rows.max()), math.ceil(cols.max()))
    return Extent(*first, *last)


def _meet(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two ranges along one axis share a pixel."""
    return one[0] < other[1] and other[0] < one[1]
