"""Which pixel of a file lies under each pixel centre of a grid: exact nearest neighbours, block by block or at once.

The answer for one pixel depends on nothing but that pixel, so however a grid is cut into blocks, the result is the
same. (GDAL's warper approximates within the block it is given, and its answer moves with the cut.)
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS, Transformer

from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.scratch import scratch

__all__ = ["Coordinates", "Gather", "Indices", "TiffBlock", "gathered", "mover", "nearest_pixels", "pixels_under"]

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
        columns = (x * inverse.a + y * inverse.b if inverse.b else x * inverse.a) + inverse.c
        rows = (x * inverse.d + y * inverse.e if inverse.d else y * inverse.e) + inverse.f
    return _floor(rows), _floor(columns)


def _floor(places: Coordinates) -> Indices:
    places += ROUNDING_PX
    return np.floor(places, out=places).astype(np.int64)


def pixels_under(
    grid: Grid, crs: str, *, transform: Affine, shape: tuple[int, int]
) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Return row and column of the pixel of a file under each pixel centre of a grid, and whether the file has it."""
    a, _, c, _, e, f = grid.transform
    indices = nearest_pixels(TiffBlock(grid.crs, (c, f), (a, -e), (0, 0), grid.shape), crs, transform)
    rows, columns = (np.broadcast_to(axis, grid.shape) for axis in indices)
    return rows, columns, (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])


@dataclass(frozen=True, eq=False)
class Gather:
    """Which pixels of a file lie under a block: a window of it, and where in the window each pixel of the block lies.

    Either `at` counts the window's pixels row by row, for each pixel of the block, or `axes` are the window's rows and
    columns under those of the block, where the two have one system: a slice where each follows the last.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    axes: tuple[Indices | slice, Indices | slice] | None
    at: Indices | None
    outside: npt.NDArray[np.bool_] | None
    """Where the file has no pixel; None where it has all."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        held = (*(self.axes or ()), self.at, self.outside)
        return sum(array.nbytes for array in held if isinstance(array, np.ndarray))

    def take(self, window: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the pixels of a block out of those of its window, anything where the file has none."""
        # none lies outside the window; of the modes that do not check first, which copies, "clip" is one
        if self.axes is not None:
            for axis, of in enumerate(self.axes):
                if isinstance(of, slice):
                    window = window[of] if axis == 0 else window[:, of]
                    continue
                shape = (len(of), window.shape[1]) if axis == 0 else (window.shape[0], len(of))
                window = np.take(window, of, axis=axis, out=scratch(shape, window.dtype), mode="clip")
            return window
        assert self.at is not None
        return np.take(window.ravel(), self.at, out=scratch(self.at.shape, window.dtype), mode="clip")


def gathered(block: TiffBlock, crs: str, *, transform: Affine, shape: tuple[int, int]) -> Gather | None:
    """Return which pixels of a file lie under a block; None where none does. What was asked before is kept."""
    key = block, crs, transform, shape
    kept: Gather | None = _KEPT.get(key, lambda: _gathered(block, crs, transform=transform, shape=shape))
    return kept


def _gathered(block: TiffBlock, crs: str, *, transform: Affine, shape: tuple[int, int]) -> Gather | None:
    rows, columns = nearest_pixels(block, crs, transform)
    first, last = _bounds(rows), _bounds(columns)
    if first[0] >= 0 and first[1] <= shape[0] and last[0] >= 0 and last[1] <= shape[1]:
        return _gather(rows, columns, first, last, None)
    there = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
    is_apart = rows.shape != columns.shape  # each axis stands for itself
    if not is_apart:
        there = (there[0] & there[1],) * 2
    if not (there[0].any() and there[1].any()):
        return None
    first, last = _bounds(rows[there[0]]), _bounds(columns[there[1]])
    rows, columns = (np.clip(axis, a, b - 1) for axis, (a, b) in ((rows, first), (columns, last)))
    inside = there[0] & there[1]
    return _gather(rows, columns, first, last, None if inside.all() else ~inside)


def _gather(
    rows: Indices,
    columns: Indices,
    first: tuple[int, int],
    last: tuple[int, int],
    outside: npt.NDArray[np.bool_] | None,
) -> Gather:
    """Count places in the window of `first` and `last` rows and columns."""
    rows -= first[0]
    columns -= last[0]
    if rows.shape != columns.shape:  # each axis stands for itself
        return Gather(first, last, (_sliced(rows.ravel()), _sliced(columns.ravel())), None, outside)
    rows *= last[1] - last[0]
    rows += columns
    return Gather(first, last, None, rows, outside)


def _sliced(indices: Indices) -> Indices | slice:
    """Return a slice in place of indices of which each follows the last."""
    return slice(int(indices[0]), int(indices[-1]) + 1) if (np.diff(indices) == 1).all() else indices


def _bounds(indices: Indices) -> tuple[int, int]:
    """Return the first, and the one after the last."""
    return int(indices.min()), int(indices.max()) + 1


class _Kept:
    """What was worked out last, up to so many bytes. One thread works at a time: many bands of a scene ask the same."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held, self._lock = most_bytes, 0, threading.RLock()
        self._values: OrderedDict[Any, tuple[int, Any]] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._values:
                value = make()
                size = sum(a.nbytes for a in value) if isinstance(value, tuple) else getattr(value, "nbytes", 0)
                self._values[key], self._held = (size, value), self._held + size
            self._values.move_to_end(key)
            value = self._values[key][1]
            while self._held > self._most and len(self._values) > 1:
                _, (size, _) = self._values.popitem(last=False)
                self._held -= size
            return value


_KEPT: Final = _Kept(2**27)  # three resolutions of a scene in another zone, under a place of 20 km
_PLANES: Final = _Kept(2**26)


def _centres(block: TiffBlock, crs: str) -> tuple[Coordinates, Coordinates]:
    """Return the centres of a block in a file's system: two axes where that is the block's own, else two planes."""
    transformer = mover(block.crs, crs)
    return block.axes if transformer is None else _PLANES.get((block, crs), lambda: _moved(block, transformer))


def _moved(block: TiffBlock, transformer: Transformer) -> tuple[Coordinates, Coordinates]:
    moved_x, moved_y = (np.asarray(axis) for axis in transformer.transform(*np.meshgrid(*block.axes)))
    reached = np.isfinite(moved_x) & np.isfinite(moved_y)
    return np.where(reached, moved_x, NOWHERE), np.where(reached, moved_y, NOWHERE)


@functools.lru_cache(maxsize=CACHED_PROJECTIONS)
def mover(source: str, target: str) -> Transformer | None:
    """Return what moves coordinates between two systems, or None where they are one."""
    if source == target or CRS.from_user_input(source).equals(CRS.from_user_input(target), ignore_axis_order=True):
        return None
    return Transformer.from_crs(source, target, always_xy=True)
