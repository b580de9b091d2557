"""An array of the user's as scenes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.crs import crs_text
from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.providers.raster_names import layer_named
from rs_embed_dask.providers.shots import NO_DATE

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = ["Held", "held"]

_IMAGE: Final = len("bhw")
_SERIES: Final = len("tbhw")
Spot = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Held:
    """Pixels in memory, or in a lazy array, with their place.

    Parameters
    ----------
    values : array_like (T, B, H, W)
        NumPy or Dask.
    layers : tuple of str
        Layer of each band; empty for a band that the sensor does not have.
    scenes : tuple of Scene
        The T images.
    crs : str
        Reference system.
    transform : tuple of float
        From (column, row) of pixel corners to coordinates.
    decibels : bool
        Whether the array says that it holds decibels.
    """

    values: Any = field(repr=False)
    layers: tuple[str, ...]
    scenes: tuple[Scene, ...]
    crs: str
    transform: tuple[float, ...]
    decibels: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, B, H, W)."""
        return tuple(self.values.shape)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.shape[2], self.shape[3]

    def take(self, scene: str, layer: str, spot: Spot) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """Return the numbers of one layer of one image at some pixels.

        Parameters
        ----------
        scene : str
            Id of the image.
        layer : str
            Its name.
        spot : (rows, columns, inside)
            As `rasters.gather` gives them.

        Returns
        -------
        (ndarray (P,), ndarray of bool (H, W)) or None
            None if the layer is not there, or no pixel lies inside.
        """
        rows, columns, inside = spot
        if layer not in self.layers or not rows.size:
            return None
        t = next(i for i, each in enumerate(self.scenes) if each.id == scene)
        top, left = int(rows.min()), int(columns.min())
        part = self.values[t, self.layers.index(layer), top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        pixels = part.compute(scheduler="sync") if hasattr(part, "compute") else np.asarray(part)
        return pixels[rows - top, columns - left], inside


def held(source: Any, sensor: Sensor, bands: Sequence[str] | None, *, grid: Grid | None, crs: str | None) -> Held:
    """Find out what an array holds and where.

    Parameters
    ----------
    source : DataArray, Dataset or ndarray
        (T, B, H, W) or (B, H, W).
    sensor : Sensor
        What took it.
    bands : sequence of str, optional
        Names of its bands.
    grid : Grid, optional
        Where it lies.
    crs : str, optional
        Its reference system, if it does not state one.

    Returns
    -------
    Held

    Raises
    ------
    ProviderError
        If an xarray object has no reference system.
    SpecError
        If bands or place are not known, or do not fit the shape.
    """
    values, place, days, said = _unlabelled(source, grid, crs)
    values = values if len(values.shape) != _IMAGE else values.reshape(1, *values.shape)  # (T, B, H, W)
    if len(values.shape) != _SERIES:
        fix = "give (T, B, H, W) or (B, H, W)"
        raise SpecError("Files.source", value=values, reason=f"it has {len(values.shape)} dimensions", fix=fix)
    names = tuple(bands) if bands is not None else said
    if len(names) != values.shape[1]:
        reason = f"the array has {values.shape[1]} bands and {len(names)} names are known"
        raise SpecError("Files.bands", value=names, reason=reason, fix="pass bands=, one name for each")
    layers = tuple(layer_named(name, sensor) or "" for name in names)
    if not any(layers):
        fix = f"name them as {', '.join(sensor.band_names[:3])} ... or {sensor.bands[0].name} ..."
        raise SpecError("Files.bands", value=names, reason=f"none is a band of {sensor.id}", fix=fix)
    moments = days or (None,) * values.shape[0]
    scenes = tuple(_scene(i, when, layers) for i, when in enumerate(moments))
    where, transform = place
    return Held(values, layers, scenes, where, transform, _in_decibels(source))


def _scene(index: int, when: dt.datetime | None, layers: tuple[str, ...]) -> Scene:
    assets = [layer for layer in layers if layer]
    return Scene(f"image_{index:05d}", when or NO_DATE, None, {"assets": assets, "platform": f"image {index}"})


def _unlabelled(
    source: Any, grid: Grid | None, crs: str | None
) -> tuple[Any, tuple[str, tuple[float, ...]], tuple[dt.datetime | None, ...], tuple[str, ...]]:
    """Return pixels, (reference system, transform), dates and band names of an array."""
    if not hasattr(source, "dims"):
        if grid is None:
            fix = "pass grid=Grid(crs, transform, shape), or an xarray object"
            raise SpecError("Files.grid", reason="a plain array does not say where it lies", fix=fix)
        if tuple(source.shape[-2:]) != grid.shape:
            reason = f"the grid has {grid.shape} pixels"
            raise SpecError("Files.source", value=source, reason=reason, fix="give the grid of this array")
        return source, (grid.crs, grid.transform), (), ()
    from rs_embed_dask.imagery.arrays import axis_of, band_names, crs_of, one_array

    array = one_array(source)
    if grid is not None:
        place: tuple[str, tuple[float, ...]] = (grid.crs, grid.transform)
    else:
        stated = crs or crs_of(array) or crs_of(source)
        if stated is None:
            raise ProviderError(
                "array",
                value=array.dims,
                reason="it has no coordinate reference system, so nobody knows where its pixels lie",
                fix="write one with array.rio.write_crs(...), or pass crs=",
            )
        (left, width), (top, height) = axis_of(array, "x"), axis_of(array, "y")
        place = (crs_text("array crs", stated), (width, 0.0, left, 0.0, height, top))
    times = np.atleast_1d(array.coords["time"].values) if "time" in array.coords else np.array([])
    moments = tuple(_moment(time) for time in times) if times.dtype.kind == "M" else ()
    return array.data, place, moments, band_names(array)


def _moment(time: Any) -> dt.datetime | None:
    if np.isnat(time):
        return None
    moment: dt.datetime = time.astype("datetime64[us]").astype(object)
    return moment.replace(tzinfo=dt.UTC)


def _in_decibels(source: Any) -> bool:
    """Tell whether an xarray object says that its numbers are decibels: an attribute, or the ``unit`` of our own."""
    said = [str(getattr(source, "attrs", {}).get(name, "")).lower() for name in ("units", "unit")]
    if "unit" in getattr(source, "coords", {}):
        said.extend(str(unit).lower() for unit in np.atleast_1d(source.coords["unit"].values))
    return "db" in said
