"""Which pixel of a file lies under each pixel centre of a grid: exact nearest neighbours, block by block or at once.

The answer for one pixel depends on nothing but that pixel, so however a grid is cut into blocks, the result is the
same. (GDAL's warper approximates within the block it is given, and its answer moves with the cut.)
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS, Transformer

from rs_embed_dask.imagery.grid import Grid

__all__ = ["Coordinates", "Indices", "TiffBlock", "mover", "nearest_pixels", "pixels_under"]

Coordinates = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# a centre that lies on the border of two pixels up to rounding belongs to the later one
ROUNDING_PX: Final = 1e-7
CACHED_PROJECTIONS: Final = 16
# a coordinate that lies outside every file, for places that its projection does not reach
NOWHERE: Final = 1e15


@dataclass(frozen=True, slots=True)
class TiffBlock:
    """A rectangle of a north-up grid."""

    crs: str
    corner: tuple[float, float]
    resolution: tuple[float, float]
    offset: tuple[int, int]
    shape: tuple[int, int]

    @property
    def axes(self) -> tuple[Coordinates, Coordinates]:
        """Pixel centres along x, shape (W,), and along y, shape (H,)."""
        row, column = self.offset
        columns = np.arange(column, column + self.shape[1], dtype=np.float64)
        rows = np.arange(row, row + self.shape[0], dtype=np.float64)
        return self.corner[0] + self.resolution[0] * (columns + 0.5), self.corner[1] - self.resolution[1] * (rows + 0.5)


def nearest_pixels(block: TiffBlock, crs: str, transform: Affine) -> tuple[Indices, Indices]:
    """Return row and column of the pixel of a file under each pixel centre of a block."""
    x, y = _centres(block, crs)
    inverse = ~transform
    if x.ndim == 1 and not (inverse.b or inverse.d):
        columns, rows = (x * inverse.a + inverse.c)[None, :], (y * inverse.e + inverse.f)[:, None]
    else:
        if x.ndim == 1:
            x, y = np.meshgrid(x, y)
        columns = x * inverse.a + y * inverse.b + inverse.c
        rows = x * inverse.d + y * inverse.e + inverse.f
    return np.floor(rows + ROUNDING_PX).astype(np.int64), np.floor(columns + ROUNDING_PX).astype(np.int64)


def pixels_under(
    grid: Grid, crs: str, *, transform: Affine, shape: tuple[int, int]
) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Return row and column of the pixel of a file under each pixel centre of a grid, and whether the file has it."""
    a, _, c, _, e, f = grid.transform
    indices = nearest_pixels(TiffBlock(grid.crs, (c, f), (a, -e), (0, 0), grid.shape), crs, transform)
    rows, columns = (np.broadcast_to(axis, grid.shape) for axis in indices)
    return rows, columns, (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])


_LOCK: Final = threading.Lock()


def _centres(block: TiffBlock, crs: str) -> tuple[Coordinates, Coordinates]:
    with _LOCK:  # many bands of one scene ask the same at once: one computes, the others take it from the cache
        return _projected(block, crs)


@functools.lru_cache(maxsize=CACHED_PROJECTIONS)
def _projected(block: TiffBlock, crs: str) -> tuple[Coordinates, Coordinates]:
    """Return the centres of a block in a file's system: two axes where that is the block's own, else two planes."""
    x, y = block.axes
    transformer = mover(block.crs, crs)
    if transformer is None:
        return x, y
    planes = np.meshgrid(x, y)
    moved_x, moved_y = (np.asarray(axis) for axis in transformer.transform(*planes))
    reached = np.isfinite(moved_x) & np.isfinite(moved_y)
    return np.where(reached, moved_x, NOWHERE), np.where(reached, moved_y, NOWHERE)


@functools.lru_cache(maxsize=CACHED_PROJECTIONS)
def mover(source: str, target: str) -> Transformer | None:
    """Return what moves coordinates between two systems, or None where they are one."""
    if source == target or CRS.from_user_input(source).equals(CRS.from_user_input(target), ignore_axis_order=True):
        return None
    return Transformer.from_crs(source, target, always_xy=True)
