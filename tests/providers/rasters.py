"""Small rasters for the tests of the files provider."""

from __future__ import annotations

import warnings

import numpy as np
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from rs_embed_dask.imagery.grid import Grid

GRID = Grid("EPSG:32631", (10, 0, 664_000, 0, -10, 5_612_000), (24, 30))


def write(path, values, grid=GRID, **how):
    """Write (H, W) or (B, H, W) where a grid lies; `names` and `tags` are kept."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    names, tags = how.pop("names", None), how.pop("tags", {})
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    place = {} if grid is None else {"crs": grid.crs, "transform": Affine(*grid.transform)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **place, **how) as file:
            file.write(values)
            file.update_tags(**tags)
            for index, name in enumerate(names or (), 1):
                file.set_band_description(index, name)
    return path


def ramp(shape, start=1, dtype=np.uint16):
    """Numbers that are all different, so that a shift by one pixel shows."""
    return (np.arange(start, start + shape[0] * shape[1]) % 60_000 + 1).reshape(shape).astype(dtype)


def write_grd(path, values):
    """Write a raster as Sentinel-1 GRD files are: no reference system, ground control points only."""
    height, width = values.shape
    corners = [(0, 0, 4.0, 51.0), (0, width, 4.2, 51.0), (height, 0, 4.0, 50.9), (height, width, 4.2, 50.9)]
    points = [GroundControlPoint(row=r, col=c, x=x, y=y) for r, c, x, y in corners]
    return write(path, values, None, gcps=points, crs="EPSG:4326")
