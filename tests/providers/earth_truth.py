"""The right answers, worked out with NumPy and pyproj from the rasters that the emulator serves."""

from __future__ import annotations

import numpy as np
import pyproj

from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.earth.world import PLACES

JUNE = Span("2022-06-01", "2022-07-01")
DAYS = ("2022-06-02T10:30:00", "2022-06-07T10:30:00", "2022-06-12T10:30:00", "2022-06-17T10:30:00")
NONE = FetchSpec(mask="none")


def spot(place="brussels", *, size=(24, 20), pixel=10.0, offset=(1200.0, 3000.0)):
    """A grid `offset` metres right of and below a tile's corner."""
    crs, left, top = PLACES[place] if isinstance(place, str) else place
    return Grid(crs, (pixel, 0.0, left + offset[0], 0.0, -pixel, top - offset[1]), size)


def read(grid, bands, fetch=NONE, *, sensor="s2", frames=(JUNE,)):
    return Read(grid, sensor, bands, frames, fetch)


def seen(raster, grid):
    """What a grid sees of a raster: the number and validity of the pixel that holds each centre."""
    xs, ys = np.meshgrid(grid.xs, grid.ys)
    if grid.crs != raster.crs:
        xs, ys = pyproj.Transformer.from_crs(grid.crs, raster.crs, always_xy=True).transform(xs, ys)
    step_x, _, left, _, step_y, top = raster.transform
    column, row = np.floor((xs - left) / step_x).astype(int), np.floor((ys - top) / step_y).astype(int)
    inside = (column >= 0) & (column < raster.shape[1]) & (row >= 0) & (row < raster.shape[0])
    if isinstance(raster.numbers, np.ndarray):
        numbers = raster.numbers[np.clip(row, 0, None) % raster.shape[0], np.clip(column, 0, None) % raster.shape[1]]
    else:
        column, row = column + round(left / step_x), row + round(top / step_y)
        numbers, inside = raster.numbers(column, row), inside & ~raster.numbers.masked(column, row)
    if raster.nodata is not None:
        inside = inside & (numbers != raster.nodata)
    return np.asarray(numbers).astype(raster.dtype), inside


def band(scenes, name, grid):
    """Stack one band of some scenes: (N, H, W) of numbers as float32 has them, NaN where there is nothing."""
    found = [seen(scene.bands[name], grid) for scene in scenes]
    return np.stack(
        [np.where(valid, numbers.astype(np.float32), np.nan).astype(np.float64) for numbers, valid in found]
    )


def nanmedian(stack):
    """The median of what is there, the mean of the middle two of an even number; NaN where nothing is."""
    known = np.isfinite(stack).any(0)
    with np.errstate(all="ignore"):
        return np.where(known, np.ma.median(np.ma.masked_invalid(stack), axis=0).filled(np.nan), np.nan)


def newest(stack):
    """The last image of a stack, in order of time, that has a number."""
    made = np.full(stack.shape[1:], np.nan)
    for image in stack:
        made = np.where(np.isfinite(image), image, made)
    return made


def pixels_of(listed, collection):
    """Those of some lists of scenes that belong to a collection."""
    return [scene for each in listed for scene in each if scene.collection == collection]


def same(found, wanted):
    np.testing.assert_array_equal(found, np.asarray(wanted, np.float32))
