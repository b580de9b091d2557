"""Tiles of several projections brought to one grid, once, each pixel from its own tile by nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.crs import WGS84, project
from rs_embed_dask.providers.sampling import Block, nearest_pixels

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid import Grid

__all__ = ["Tile", "centres", "mosaic"]

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]


class Tile(Protocol):
    """One file of a product."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def crs(self) -> str:
        """Its projection."""

    @property
    def transform(self) -> Affine:
        """From (column, row) to (x, y); row 0 may be north or south."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def is_final(self) -> bool:
        """Whether a pixel of its own that has no vector stays without, though another tile may have one there."""

    def owns(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Mask:
        """Say which places are this tile's where several overlap."""

    def read(self, rows: Numbers, columns: Numbers) -> NDArray[np.float32]:
        """Return the decoded vectors (D, n) of n pixels, NaN where there is none."""


def centres(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of every pixel centre, (h, w) each; longitudes in [-180, 180)."""
    lon, lat = project(grid.crs, WGS84, *np.meshgrid(grid.xs, grid.ys))
    return (lon + 180.0) % 360.0 - 180.0, lat


def mosaic(grid: Grid, tiles: Sequence[Tile], dim: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Bring tiles to a grid.

    A pixel takes the vector under its centre: of the tile that it belongs to, or of the first other one that has a
    vector there, where its own does not reach it or is not final. Nothing is interpolated, and no pixel goes through
    two projections.

    Parameters
    ----------
    grid : Grid
        Where to.
    tiles : sequence of Tile
        In a fixed order.
    dim : int
        Length of a vector.

    Returns
    -------
    values : ndarray of float32 (dim, h, w)
        NaN where no tile has a vector.
    names : tuple of str
        The tiles that gave one.
    """
    values = np.full((dim, *grid.shape), np.nan, np.float32)
    open_ = np.ones(grid.shape, dtype=bool)
    used: dict[str, None] = {}
    spots = [_spot(grid, tile) for tile in tiles]
    lon, lat = centres(grid)
    for is_own in (True, False):
        for tile, (rows, columns, inside) in zip(tiles, spots, strict=True):
            wanted = open_ & inside & (tile.owns(lon, lat) == is_own)
            if not wanted.any():
                continue
            mine = wanted.copy()
            vectors = tile.read(rows[wanted], columns[wanted])
            there = np.isfinite(vectors).all(axis=0)
            if there.any():
                used[tile.name] = None
            wanted[wanted] = there
            values[:, wanted] = vectors[:, there]
            open_ &= ~(mine if is_own and tile.is_final else wanted)
    return values, tuple(used)


def _spot(grid: Grid, tile: Tile) -> tuple[Any, Any, Mask]:
    """Return row, column and whether they lie in the tile, for every pixel centre of a grid."""
    a, _, c, _, e, f = grid.transform
    block = Block(grid.crs, (c, f), (a, -e), (0, 0), grid.shape)
    found = nearest_pixels(block, tile.crs, tile.transform)
    rows, columns = (np.broadcast_to(axis, grid.shape) for axis in found)
    height, width = tile.shape
    return rows, columns, (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
