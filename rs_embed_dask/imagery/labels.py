"""Cubes as labelled xarray objects: pixel centres, bands, frames, dates and the reference system."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pyproj import CRS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.imagery.grid_types import Grid

__all__ = ["coordinates", "label_cube"]


def coordinates(grid: Grid) -> dict[Hashable, Any]:
    """Return the coordinates of a grid's pixel centres and its CRS as rioxarray and GDAL read it.

    Parameters
    ----------
    grid : Grid
        North up.

    Returns
    -------
    dict
        ``y``, ``x`` and ``spatial_ref`` for an xarray object.
    """
    a, b, c, d, e, f = grid.transform
    attrs = {**_described(grid.crs), "GeoTransform": " ".join(str(n) for n in (c, a, b, f, d, e))}
    return {"y": ("y", grid.ys), "x": ("x", grid.xs), "spatial_ref": ((), np.int64(0), attrs)}


@lru_cache(maxsize=64)
def _described(name: str) -> dict[str, Any]:
    """Return the attributes that describe a reference system; slow to make, and few are needed."""
    crs = CRS.from_user_input(name)
    return {**crs.to_cf(), "spatial_ref": crs.to_wkt()}


def _day_or_none(day: dt.date | None) -> np.datetime64:
    """Return a date for an array of dates; not-a-time for None."""
    return np.datetime64("NaT", "ns") if day is None else np.datetime64(day, "ns")


def label_cube(cube: Cube) -> xr.DataArray:
    """Return a cube as a labelled array; see `Cube.to_xarray`.

    Parameters
    ----------
    cube : Cube
        Pixels in memory.

    Returns
    -------
    xarray.DataArray
        Dimensions (time, band, y, x). ``time`` is the middle of each frame.
    """
    frames, dates = cube.read.frames, cube.dates
    coords: dict[Hashable, Any] = {
        "time": ("time", np.array([span.midpoint for span in frames], "datetime64[ns]")),
        "band": ("band", list(cube.bands)),
        **coordinates(cube.read.grid),
        "frame_start": ("time", np.array([span.start for span in frames], "datetime64[ns]")),
        "frame_end": ("time", np.array([span.end for span in frames], "datetime64[ns]")),
        "first_date": ("time", np.array([_day_or_none(d and d[0]) for d in dates])),
        "last_date": ("time", np.array([_day_or_none(d and d[1]) for d in dates])),
        "unit": ("band", list(cube.units)),
        "n_obs": (("time", "y", "x"), cube.n_obs),
    }
    attrs = {"sensor": cube.read.sensor, "scenes": list(cube.scenes), "grid_mapping": "spatial_ref"}
    return xr.DataArray(cube.values, dims=("time", "band", "y", "x"), coords=coords, name="pixels", attrs=attrs)
