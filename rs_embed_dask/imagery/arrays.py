"""The user's own pixels: what an array says of itself, and a cube made of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid_types import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Labelled", "axis_of", "crs_of", "days_of", "grid_of", "one_array", "read_labels"]

_STEP_TOLERANCE: Final = 1e-3
_NAMES: Final = {
    **dict.fromkeys(("lon", "longitude", "easting", "X"), "x"),
    **dict.fromkeys(("lat", "latitude", "northing", "Y"), "y"),
    **dict.fromkeys(("bands", "variable"), "band"),
    **dict.fromkeys(("t", "date"), "time"),
}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pixels of the user's, with whatever the object that holds them says.

    Parameters
    ----------
    values : array_like
        As they were, a Dataset's variables stacked as bands; dimensions in the order (time, band, y, x).
    bands, sensor, grid, frames
        None or empty where the object says nothing.
    """

    values: Any
    bands: tuple[str, ...] = ()
    sensor: str | None = None
    grid: Grid | None = None
    frames: tuple[Span, ...] = ()


def read_labels(values: Any) -> Labelled:
    """Find out what an array says of its own pixels.

    Parameters
    ----------
    values : array_like or DataArray or Dataset
        Anything; a plain array says nothing.

    Returns
    -------
    Labelled
        What it says.

    Raises
    ------
    SpecError
        If its coordinates are not evenly spaced, or its dimensions are not understood.
    """
    if not isinstance(values, xr.DataArray | xr.Dataset):
        return Labelled(values)
    array = one_array(values)
    frames = tuple(Span(day, day + dt.timedelta(days=1)) for day in days_of(array))
    sensor = array.attrs.get("sensor")
    named = None if sensor is None else str(sensor)
    return Labelled(array.data, band_names(array), named, grid_of(array), frames)


def one_array(values: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Bring an xarray object into one form: (time, band, y, x), the time left out where there is none.

    Parameters
    ----------
    values : DataArray or Dataset
        Dimensions named ``longitude``, ``lat``, ``bands``, ``t`` and the like are understood. Variables of a Dataset
        with y and x are its bands.

    Returns
    -------
    DataArray
        A view; nothing is computed.

    Raises
    ------
    SpecError
        If it has no y and x, or a dimension besides the four.
    """
    array = _stacked(values) if isinstance(values, xr.Dataset) else values
    array = array.rename({name: _NAMES[str(name)] for name in array.dims if str(name) in _NAMES})
    if not {"y", "x"} <= set(array.dims):
        reason = "it does not have the dimensions y and x"
        raise SpecError("array", value=array.dims, reason=reason, fix="name its dimensions time, band, y and x")
    lead = [name for name in ("time", "band") if name in array.dims]
    extra = [str(name) for name in array.dims if name not in {*lead, "y", "x"}]
    if extra:
        fix = "name them time, band, y and x, or select one of each"
        reason = f"the dimensions {', '.join(extra)} are not understood"
        raise SpecError("array", value=array.dims, reason=reason, fix=fix)
    array = array.transpose(*lead, "y", "x")
    return array if "band" in array.dims else array.expand_dims("band", axis=len(lead))


def _stacked(values: xr.Dataset) -> xr.DataArray:
    """Stack the image variables of a Dataset as bands, keeping its reference system."""
    images = [n for n, v in values.data_vars.items() if {"y", "x"} <= {_NAMES.get(str(d), str(d)) for d in v.dims}]
    if not images:
        fix = "give a Dataset whose variables have the dimensions y and x"
        raise SpecError("array", value=list(values.data_vars), reason="no variable is an image", fix=fix)
    array = values[images].to_dataarray("band").assign_attrs(values.attrs)
    stated = [v.attrs.get("grid_mapping", v.encoding.get("grid_mapping")) for v in values.variables.values()]
    found = next((name for name in (*stated, "spatial_ref", "crs") if name in values.variables), None)
    return array if found is None else array.assign_coords({"spatial_ref": ((), 0, values.variables[found].attrs)})


def band_names(array: xr.DataArray) -> tuple[str, ...]:
    """Return the names in the ``band`` coordinate; none if it holds numbers or is not there.

    Parameters
    ----------
    array : DataArray
        As `one_array` gives it.

    Returns
    -------
    tuple of str
    """
    if "band" not in array.coords or array.coords["band"].dtype.kind not in "UOT":
        return ()
    return tuple(str(name) for name in np.atleast_1d(array.coords["band"].values))


def days_of(array: xr.DataArray) -> tuple[dt.date, ...]:
    """Return the dates of an array's ``time`` coordinate; none if it has none.

    Parameters
    ----------
    array : DataArray
        With or without ``time``, which may be a dimension or one date.

    Returns
    -------
    tuple of datetime.date
        One for each image.
    """
    if "time" not in array.coords or array.coords["time"].dtype.kind != "M":
        return ()
    days = np.atleast_1d(array.coords["time"].values).astype("datetime64[D]")
    return tuple(day.astype(object) for day in days)


def crs_of(array: xr.DataArray | xr.Dataset) -> str | None:
    """Find the CRS that an xarray object states, in any of the usual ways.

    Parameters
    ----------
    array : DataArray or Dataset
        WKT in the coordinate ``spatial_ref`` or ``crs``, or one of the attributes ``crs`` and ``proj:code``.

    Returns
    -------
    str or None
        WKT or a code; None if it states none.
    """
    named = (array.encoding.get("grid_mapping"), array.attrs.get("grid_mapping"), "spatial_ref", "crs")
    for name in named:
        if name is not None and name in array.coords:
            text = _stated(array.coords[name].attrs, ("crs_wkt", "spatial_ref", "epsg_code"))
            if text:
                return text
    return _stated(array.attrs, ("crs", "crs_wkt", "spatial_ref", "proj:code"))


def _stated(attrs: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    found = next((attrs[name] for name in names if attrs.get(name)), None)
    return None if found is None else str(found).removeprefix("+init=")


def grid_of(array: xr.DataArray) -> Grid | None:
    """Make the grid of an array from its pixel centres and CRS.

    Parameters
    ----------
    array : DataArray
        With coordinates ``y`` and ``x`` of pixel centres, north up.

    Returns
    -------
    Grid or None
        None if it has no coordinates or no CRS.

    Raises
    ------
    SpecError
        If the coordinates are not evenly spaced or run the wrong way.
    """
    crs = crs_of(array)
    if crs is None or "x" not in array.coords or "y" not in array.coords:
        return None
    x, y = axis_of(array, "x"), axis_of(array, "y")
    if x[1] < 0 or y[1] > 0:
        fix = "sort it: array.sortby('x').sortby('y', ascending=False)"
        raise SpecError("array", value=(x[1], y[1]), reason="its rows do not run from north to south", fix=fix)
    return Grid(crs, (x[1], 0.0, x[0], 0.0, y[1], y[0]), (array.sizes["y"], array.sizes["x"]))


def axis_of(array: xr.DataArray, name: str) -> tuple[float, float]:
    """Return the outer edge and the step of an axis of evenly spaced pixel centres.

    Parameters
    ----------
    array : DataArray
        With at least two pixels along the axis.
    name : str
        ``x`` or ``y``.

    Returns
    -------
    (float, float)
        Edge before the first pixel, signed step.

    Raises
    ------
    SpecError
        If there is one pixel only, or the steps differ by more than a thousandth.
    """
    values: npt.NDArray[np.float64] = np.asarray(array.coords[name].values, np.float64)
    fix = "give evenly spaced pixel centres, or pass grid="
    if values.size < 2:  # noqa: PLR2004 - a step needs two
        raise SpecError(
            f"array.{name}", value=values.size, reason="the pixel size cannot be told from one pixel", fix=fix
        )
    step = (values[-1] - values[0]) / (values.size - 1)
    if step == 0 or np.abs(np.diff(values) - step).max() > abs(step) * _STEP_TOLERANCE:
        raise SpecError(f"array.{name}", value=values[:3], reason="its coordinates are not evenly spaced", fix=fix)
    return float(values[0] - step / 2), float(step)
