"""What an xarray object states about its pixels: bands, numbers, dates and place. All who take arrays read it here."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.moments import moment_of_tags, moments_of
from rs_embed_dask.imagery.numbers import MISSING_NAMES, NUMBER_NAMES, Numbers
from rs_embed_dask.imagery.position import Position, crs_of, position_of
from rs_embed_dask.imagery.sensor_types import plain_band_name
from rs_embed_dask.imagery.sensors import sensors
from rs_embed_dask.specs.tables import LAT, LON, X, Y

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Labelled", "Plane", "read_labels"]

_ROLES: Final = {
    "x": LON | X | {"xc", "projection_x_coordinate", "grid_longitude"},
    "y": LAT | Y | {"yc", "projection_y_coordinate", "grid_latitude"},
    "band": ("band", "bands", "variable", "channel", "channels", "wavelength"),
    "time": ("time", "times", "t", "date", "dates", "datetime", "timestamp", "valid_time", "acquisition_time"),
}
_ROLE_OF: Final = {name: role for role, names in _ROLES.items() for name in names}
_AXES: Final = {"X": "x", "Y": "y", "T": "time"}
_NUMBERED: Final = re.compile(r"band_?\d+")
_BANDS: Final = {
    plain_band_name(name) for s in sensors() for band in s.bands for name in (band.common, band.name, *band.aliases)
}
_PER_BAND: Final = frozenset(NUMBER_NAMES) - {"missing_value"}  # of which CF allows several for one band
_DESCRIPTIONS: Final = ("long_name", "descriptions", "description", "band_names")


@dataclass(frozen=True, eq=False)
class Plane:
    """One band of an array: pixels (T, H, W), lazy or not; T is 1 where the band has no time of its own."""

    name: str
    pixels: Any
    numbers: Numbers


@dataclass(frozen=True, eq=False)
class Labelled:
    """An array, with what its labels state about it; row 0 is north wherever the place is known.

    Parameters
    ----------
    planes : tuple of Plane
        One per band, with its own dtype and its own numbers.
    position : Position, optional
        Where the pixels lie; None where no reference system is stated, or neither coordinates nor a transform.
    crs : str, optional
        The reference system, if one is stated.
    sensor : str, optional
        The attribute ``sensor``.
    time : DataArray, optional
        The coordinate that holds the times.
    tags : mapping
        Attributes of the whole array, names in lower case.
    """

    planes: tuple[Plane, ...]
    position: Position | None = None
    crs: str | None = None
    sensor: str | None = None
    time: xr.DataArray | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands; none if one has no name."""
        names = tuple(plane.name for plane in self.planes)
        return names if all(names) else ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, B, H, W)."""
        height, width = self.planes[0].pixels.shape[-2:]
        return max(len(plane.pixels) for plane in self.planes), len(self.planes), height, width

    @property
    def grid(self) -> Grid | None:
        """The grid of the pixels, if their place is stated."""
        if self.position is None:
            return None
        return Grid(self.position.crs, self.position.transform, self.shape[2:])

    @cached_property
    def moments(self) -> tuple[dt.datetime | None, ...]:
        """When each image was taken, in UTC; empty where nothing states it."""
        if self.time is not None:
            return moments_of(self.time)
        tagged = moment_of_tags(self.tags)
        return () if tagged is None else moments_of(xr.DataArray(tagged))

    @property
    def frames(self) -> tuple[Span, ...]:
        """The day of each image, as a span; a missing time raises SpecError."""
        if None in self.moments:
            fix = "drop the image, or pass dates="
            raise SpecError("array.time", value=self.moments.index(None), reason="this image has no time", fix=fix)
        days = [moment.date() for moment in self.moments if moment is not None]
        return tuple(Span(day, day + dt.timedelta(days=1)) for day in days)


def read_labels(values: xr.DataArray | xr.Dataset, *, crs: str | None = None, placed: bool = True) -> Labelled:
    """Return what an array states about its pixels.

    Parameters
    ----------
    values : DataArray or Dataset
        With the dimensions y and x, and time and band where there are several, under any usual name. The variables of
        a Dataset are bands, or have bands.
    crs : str, optional
        The reference system, where the array states none.
    placed : bool, default True
        Whether to look for the place; False where the caller knows it.

    Returns
    -------
    Labelled

    Raises
    ------
    SpecError
        If a dimension is not understood, or labels contradict each other.
    """
    images = tuple(_images(values))
    first = _referenced(images[0], values)
    stated = (crs_of(first) or crs_of(values) or crs) if placed else None
    position = None if stated is None else position_of(first, stated)
    planes = tuple(
        replace(plane, numbers=plane.numbers.beside(stated)) for image in images for plane in _planes(image, values)
    )
    if position is not None:
        rows, columns = (slice(None, None, -1 if flipped else 1) for flipped in position.flipped)
        planes = tuple(replace(plane, pixels=plane.pixels[:, rows, columns]) for plane in planes)
    sensor = next((s for each in (values, *images) if (s := each.attrs.get("sensor")) is not None), None)
    times = (image.coords["time"] for image in images if "time" in image.coords)
    tags = {str(name).lower(): value for name, value in {**images[0].attrs, **values.attrs}.items()}
    return Labelled(planes, position, stated, None if sensor is None else str(sensor), next(times, None), tags)


def _images(values: xr.DataArray | xr.Dataset) -> Iterator[xr.DataArray]:
    """Yield each array of pixels as (time, band, y, x), without the dimensions that it lacks."""
    if isinstance(values, xr.DataArray):
        yield _ordered(values)
        return
    arrays = [values[name] for name in values.data_vars]
    images = [array for array in arrays if {"y", "x"} <= set(_roles(array).values())]
    if not images:
        fix = "give a Dataset whose variables have the dimensions y and x"
        raise SpecError("array", value=list(values.data_vars), reason="no variable is an image", fix=fix)
    for image in images:
        yield _ordered(image)


def _roles(array: xr.DataArray) -> dict[Hashable, str]:
    """Return what each dimension is: x, y, band or time; those that are none of them are left out."""
    roles: dict[Hashable, str] = {}
    for dim in array.dims:
        attrs = array.coords[dim].attrs if dim in array.coords else {}
        names = (str(dim).lower(), str(attrs.get("standard_name", "")).lower())
        role = next((_ROLE_OF[name] for name in names if name in _ROLE_OF), _AXES.get(str(attrs.get("axis"))))
        role = "time" if role is None and _dates_along(array, dim) is not None else role
        if role is not None and role not in roles.values():
            roles[dim] = role
    return roles


def _dates_along(array: xr.DataArray, dim: Hashable) -> Hashable | None:
    """Return the coordinate that holds the times of a dimension with another name."""
    along = (name for name, coord in array.coords.items() if coord.dims == (dim,))
    return next((name for name in along if _ROLE_OF.get(str(name).lower()) == "time"), None)


def _ordered(array: xr.DataArray) -> xr.DataArray:
    roles = _roles(array)
    if not {"y", "x"} <= set(roles.values()):
        reason = "it does not have the dimensions y and x"
        raise SpecError("array", value=array.dims, reason=reason, fix="name its dimensions time, band, y and x")
    extra = [str(name) for name in array.dims if name not in roles]
    if extra:
        fix = "name them time, band, y and x, or select one of each"
        reason = f"the dimensions {', '.join(extra)} are unknown"
        raise SpecError("array", value=array.dims, reason=reason, fix=fix)
    array = _timed(array, next((dim for dim, role in roles.items() if role == "time"), None))
    changed = {dim: role for dim, role in roles.items() if dim != role}
    array = array.drop_vars([role for role in changed.values() if role in array.coords]).rename(changed)
    return array.transpose(*(name for name in ("time", "band") if name in array.dims), "y", "x")


def _timed(array: xr.DataArray, dim: Hashable | None) -> xr.DataArray:
    """Give an array its times as the coordinate of their dimension, or as a scalar named time."""
    if dim is not None:
        name = None if dim in array.coords and str(dim).lower() in _ROLE_OF else _dates_along(array, dim)
        return array if name is None else array.assign_coords({dim: array.coords[name].variable})
    if "time" in array.coords:
        return array
    scalars = (n for n, c in array.coords.items() if c.ndim == 0 and _ROLE_OF.get(str(n).lower()) == "time")
    name = next(scalars, None)
    return array if name is None else array.assign_coords(time=array.coords[name].variable)


def _referenced(image: xr.DataArray, values: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Give an image the grid mapping of the Dataset that it is from, where that is a variable beside it."""
    if not isinstance(values, xr.Dataset):
        return image
    mappings = [v.attrs.get("grid_mapping", v.encoding.get("grid_mapping")) for v in values.variables.values()]
    named = next((name for name in (*mappings, "spatial_ref", "crs") if name in values.variables), None)
    if named is None or named in image.coords:
        return image
    return image.assign_coords({"spatial_ref": ((), 0, values.variables[named].attrs)})


def _planes(image: xr.DataArray, whole: xr.DataArray | xr.Dataset) -> Iterator[Plane]:
    count = image.sizes.get("band", 1)
    shared = {k: v for k, v in whole.attrs.items() if str(k).lower() in MISSING_NAMES}
    units = whole.attrs.get("units")
    if isinstance(units, list | tuple) and len(units) == count:  # our own cubes state one per band
        shared["units"] = units
    pixels = image.data if "time" in image.dims else image.data[None]
    pixels = pixels if "band" in image.dims else pixels[:, None]  # (T, B, H, W)
    numbers = _band_numbers(image)
    for at, name in enumerate(_names(image, count, variable=isinstance(whole, xr.Dataset))):
        own, kept = (
            {
                key: _own(value, at, count, numbers) if str(key).lower() in _PER_BAND else value
                for key, value in of.items()
            }
            for of in ({**shared, **image.attrs}, image.encoding)
        )
        own |= {key: np.ravel(image.coords[key].values)[at] for key in _stated_per_band(image)}
        yield Plane(name, *Numbers.stated(own, kept).reread(pixels[:, at], own))


def _stated_per_band(image: xr.DataArray) -> list[Hashable]:
    return [n for n, c in image.coords.items() if c.dims == ("band",) and str(n).lower() in NUMBER_NAMES]


def _band_numbers(image: xr.DataArray) -> tuple[int, ...] | None:
    """Return the places of the bands in the file that they are from, as rioxarray keeps them in numbered bands."""
    if "band" in image.coords and image.coords["band"].dtype.kind in "iu":
        return tuple(int(number) - 1 for number in np.atleast_1d(image.coords["band"].values))
    return None


def _own(value: Any, at: int, count: int, numbers: Sequence[int] | None) -> Any:
    """Return a band's own entry of an attribute that has one for each band of the array or of its file."""
    if isinstance(value, str | bytes) or np.ndim(value) != 1 or len(value) < count or len(value) == 1:
        return value
    if numbers is not None and min(numbers) >= 0 and max(numbers) < len(value):
        return value[numbers[at]]
    return value[at] if len(value) == count else value


def _names(image: xr.DataArray, count: int, *, variable: bool) -> list[str]:
    """Return the names of an image's bands: of its coordinate, else its descriptions, else its own; else empty."""
    labels = image.coords.get("band")
    if labels is not None and labels.dtype.kind in "UOTS" and labels.size == count:
        return [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(labels.values)]
    own = "" if image.name is None else str(image.name)
    if count == 1 and own and (plain_band_name(own) in _BANDS or (variable and not _NUMBERED.fullmatch(own))):
        return [own]
    described = next((image.attrs[name] for name in _DESCRIPTIONS if name in image.attrs), None)
    numbers = _band_numbers(image)
    entries = [_own(described, at, count, numbers) for at in range(count)]
    names = [name if isinstance(name, str) and (count == 1 or name != described) else "" for name in entries]
    return names if any(plain_band_name(name) in _BANDS for name in names) else [""] * count
