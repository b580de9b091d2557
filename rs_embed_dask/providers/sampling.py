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

__all__ = ["Block", "nearest_pixels"]

Coordinates = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# a centre that lies on the border of two pixels up to rounding belongs to the later one
ROUNDING_PX: Final = 1e-7
KEPT: Final = 16
# a coordinate that lies outside every file, for places that its projection does not reach
NOWHERE: Final = 1e15


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of a north-up grid.

    Parameters
    ----------
    crs
        Of the grid.
    corner
        Coordinates of the upper left corner of the whole grid.
    resolution
        Pixel width and height, both positive.
    offset
        Row and column of the grid where the block begins.
    shape
        Rows and columns.
    """

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


def nearest_pixels(block: Block, crs: str, transform: Affine) -> tuple[Indices, Indices]:
    """Return row and column of the pixel of a file under each pixel centre of a block.

    Parameters
    ----------
    block
        Where to.
    crs, transform
        Of the file.

    Returns
    -------
    rows, columns
        Integers, which may lie outside the file. Shapes (H, 1) and (1, W) where both grids run along the same axes,
        (H, W) otherwise; they broadcast to (H, W) in both cases.
    """
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


_LOCK: Final = threading.Lock()


def _centres(block: Block, crs: str) -> tuple[Coordinates, Coordinates]:
    with _LOCK:  # many bands of one scene ask the same at once: one computes, the others take it from the cache
        return _projected(block, crs)


@functools.lru_cache(maxsize=KEPT)
def _projected(block: Block, crs: str) -> tuple[Coordinates, Coordinates]:
    """Return the centres of a block in a file's system: two axes where that is the block's own, else two planes."""
    x, y = block.axes
    transformer = _transformer(block.crs, crs)
    if transformer is None:
        return x, y
    planes = np.meshgrid(x, y)
    moved_x, moved_y = (np.asarray(axis) for axis in transformer.transform(*planes))
    reached = np.isfinite(moved_x) & np.isfinite(moved_y)
    return np.where(reached, moved_x, NOWHERE), np.where(reached, moved_y, NOWHERE)


@functools.lru_cache(maxsize=KEPT)
def _transformer(source: str, target: str) -> Transformer | None:
    """Return what moves coordinates between two systems, or None where they are one."""
    if source == target or CRS.from_user_input(source).equals(CRS.from_user_input(target), ignore_axis_order=True):
        return None
    return Transformer.from_crs(source, target, always_xy=True)
