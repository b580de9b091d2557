"""Copernicus-Embed: cells of a quarter of a degree round the globe, in one large GeoTIFF without a missing value."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.grid import Grid, centres, grid_for
from rs_embed_dask.products.field import ProductField
from rs_embed_dask.products.mirror import Mirror, damaged, mirror_of
from rs_embed_dask.providers.geotiff import GeoTiff, open_geotiff
from rs_embed_dask.providers.nearest import pixels_under
from rs_embed_dask.providers.registry import Estimate
from rs_embed_dask.specs.ground import DEGREE_M, WGS84

if TYPE_CHECKING:
    from rs_embed_dask.models import Card
    from rs_embed_dask.specs import ModelSpec, Spatial, TemporalSpec

__all__ = ["Copernicus", "cells_of", "make"]

STEP: Final = 0.25
WEST: Final = -180.125
NORTH: Final = 90.125
ROWS: Final = 721
COLUMNS: Final = 1440
TRANSFORM: Final = Affine(STEP, 0.0, WEST, 0.0, -STEP, NORTH)
_EXACT: Final = 1e-9
_ONE_AT_A_TIME: Final = threading.Lock()


def make(card: Card, spec: ModelSpec, provider: object = None) -> Copernicus:  # noqa: ARG001 - the door of every product
    """Make the reader of a request."""
    options = card.chosen(spec.options)
    area = options["weighting"] == "area"
    return Copernicus(mirror_of(options), str(options["file"]), int(options["dim"]), area=area)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Copernicus:
    """Reads the product."""

    mirror: Mirror
    file: str
    dim: int = 768
    area: bool = False

    name = "copernicus"
    native_m = None

    @property
    def place(self) -> str:
        """Where it is read."""
        return self.mirror.href(self.file)

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the cells that a place touches, in degrees; its local UTM grid where a resolution or CRS is given."""
        if resolution_m is not None or crs is not None:
            return grid_for(spatial, resolution_m or STEP * DEGREE_M, crs=crs)
        return cells_of(spatial.unwrapped.bounds)

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:  # noqa: ARG002 - one layer for all times
        """Read the vectors of a grid; see `Reader`."""
        rows, columns, _ = pixels_under(grid, WGS84, transform=TRANSFORM, shape=(ROWS, COLUMNS))
        # a grid may cross the antimeridian, and the last block of a map reaches beyond the south pole
        cells, where = np.unique(np.clip(rows, 0, ROWS - 1) * COLUMNS + columns % COLUMNS, return_inverse=True)
        vectors = self._vectors(cells // COLUMNS, cells % COLUMNS)  # (n, D)
        vectors[(vectors == 0).all(axis=1)] = np.nan
        if not np.isfinite(vectors).any():
            reason, fix = "every cell there is empty (ocean, mostly)", "choose a place on land"
            raise NoImageryError(f"{self.name}: place", value=grid.center_lonlat, reason=reason, fix=fix)
        values = np.ascontiguousarray(vectors.T)[:, where.reshape(grid.shape)]
        values[:, (rows < 0) | (rows >= ROWS)] = np.nan
        weights = np.cos(np.radians(centres(grid)[1])) if self.area and grid.crs == WGS84 else None
        return ProductField(values, grid, None, (self.file,), weights)

    def estimate(self, grid: Grid) -> Estimate:  # noqa: ARG002 - the same for every place
        """Estimate the cost of a read: nearly always none, for blocks of 64 degrees are cached once they were read."""
        return Estimate(1, 1, 1_000_000)

    def _vectors(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of n cells, (n, D), block by block of the file."""
        file = self._opened()
        down, across = file.layout.block_height, file.layout.block_width
        vectors = np.empty((len(rows), self.dim), np.float32)
        blocks = np.stack([rows // down, columns // across], axis=1)
        for block in np.unique(blocks, axis=0):
            here = (blocks == block).all(axis=1)
            corner = int(block[0]) * down, int(block[1]) * across
            vectors[here] = self._from_block(file, corner, rows[here] - corner[0], columns=columns[here] - corner[1])
        return vectors

    def _opened(self) -> GeoTiff:
        file = open_geotiff(self.mirror.href(self.file), access=self.mirror.access)
        size = (file.layout.height, file.layout.width)
        if size != (ROWS, COLUMNS) or not file.transform.almost_equals(TRANSFORM, 1e-9):
            raise damaged(file.href, f"it has {size} cells from {file.transform.c:g}, {file.transform.f:g} on")
        if file.bands != self.dim:
            raise damaged(file.href, f"it has {file.bands} bands; options={{'dim': {file.bands}}} takes a file like it")
        return file

    def _from_block(
        self, file: GeoTiff, corner: tuple[int, int], rows: NDArray[np.int64], *, columns: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Take cells out of a block, which is decoded once and cached as an array that can be memory-mapped."""
        top, left = corner
        layout = file.layout
        window = (top, min(top + layout.block_height, ROWS)), (left, min(left + layout.block_width, COLUMNS))
        cache = self.mirror.cache

        def write(path: Path) -> None:
            with _ONE_AT_A_TIME:  # a block of the real file takes 200 MB
                cache.check(self.file, (window[0][1] - top) * (window[1][1] - left) * self.dim * 4)
                values = file.raw(*window, access=self.mirror.access).astype(np.float32, copy=False)
                with path.open("wb") as out:
                    np.save(out, np.ascontiguousarray(np.moveaxis(values, 0, -1)))

        def look(path: Path) -> NDArray[np.float32]:
            block = np.load(path, mmap_mode="r", allow_pickle=False)
            return np.array(block[rows, columns], np.float32)

        tail = f"{self.file.rpartition('/')[2]}-{top}-{left}.npy"
        return cache.use(self.mirror.cached_name(tail, (self.file, file.head[0].size)), write, look)


def cells_of(bounds: tuple[float, float, float, float]) -> Grid:
    """Return the cells that a box of (west, south, east, north) touches; its east may lie beyond 180."""
    west, south, east, north = bounds
    first = math.floor((west - WEST) / STEP + _EXACT)
    last = max(first, math.ceil((east - WEST) / STEP - _EXACT) - 1)
    top = max(0, math.floor((NORTH - north) / STEP + _EXACT))
    bottom = min(ROWS - 1, max(top, math.ceil((NORTH - south) / STEP - _EXACT) - 1))
    transform = (STEP, 0.0, WEST + first * STEP, 0.0, -STEP, NORTH - top * STEP)
    return Grid(WGS84, transform, (bottom - top + 1, last - first + 1))
