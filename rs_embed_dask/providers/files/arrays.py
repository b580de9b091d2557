"""Arrays of the user's as scenes of a sensor: xarray objects by their labels, NumPy arrays with a grid."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyproj import CRS

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.numbers import ATTRS, Numbers
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import source as source_of
from rs_embed_dask.providers.files.folders import NO_DATE
from rs_embed_dask.providers.files.naming import layer_named
from rs_embed_dask.providers.files.rasters import LayerPixels, Spot

if TYPE_CHECKING:
    import numpy.typing as npt

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.labels import Labelled, Plane
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = ["IN_ARRAY", "ArrayHints", "ArraySource", "array_source", "sensor_of"]

IN_ARRAY: Final = f"{ATTRS}, or pass scaling="
"""Where an array of this provider states its unit, or what is passed instead."""
_IMAGE: Final = len("bhw")
_SERIES: Final = len("tbhw")


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Bands in memory, or in lazy arrays, with their place."""

    planes: tuple[Plane, ...] = field(repr=False)
    layers: tuple[str, ...]
    scenes: tuple[Scene, ...]
    crs: str
    transform: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, B, H, W)."""
        return len(self.scenes), len(self.planes), *self.image_shape

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.planes[0].pixels.shape[-2:]
        return height, width

    def take(self, scene: str, layer: str, spot: Spot) -> tuple[LayerPixels, npt.NDArray[np.bool_]] | None:
        """Return the numbers of one layer of one image at some pixels."""
        rows, columns, inside = spot
        if layer not in self.layers or not rows.size:
            return None
        plane = self.planes[self.layers.index(layer)]
        t = next(i for i, each in enumerate(self.scenes) if each.id == scene)
        top, left = int(rows.min()), int(columns.min())
        part = plane.pixels[min(t, len(plane.pixels) - 1), top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        pixels = part.compute(scheduler="sync") if hasattr(part, "compute") else np.asarray(part)
        return LayerPixels(pixels[rows - top, columns - left], plane.numbers), inside


@dataclass(frozen=True)
class ArrayHints:
    """What the user says beside an array."""

    bands: Sequence[str] | None = None
    grid: Grid | None = None
    crs: str | None = None
    dated: bool = False
    scaled: bool = False


def array_source(source: Any, sensor: Sensor, hints: ArrayHints) -> ArraySource:
    """Return an array with its layers, scenes and place."""
    read = _labelled(source, hints) if hasattr(source, "dims") else _plain(source, hints.grid)
    names = tuple(hints.bands) if hints.bands is not None else tuple(plane.name for plane in read.planes)
    if len(names) != len(read.planes) or not any(names):
        reason = f"the array has {len(read.planes)} bands and {len([n for n in names if n])} names were given"
        raise SpecError("Files.bands", value=names, reason=reason, fix="pass bands=, one name for each")
    layers = tuple(layer_named(name, sensor) or "" for name in names)
    if not any(layers):
        fix = f"name them as {', '.join(sensor.band_names[:3])} ... or {sensor.bands[0].name} ..."
        raise SpecError("Files.bands", value=names, reason=f"none is a band of {sensor.id}", fix=fix)
    if not hints.scaled:
        _check_units(read.planes, layers, sensor)
    stated = () if hints.dated else read.moments
    if None in stated:
        _ = read.frames  # says which image has no time
    moments = stated or (None,) * read.shape[0]
    scenes = tuple(_scene(i, when, layers) for i, when in enumerate(moments))
    if hints.grid is not None:
        return ArraySource(read.planes, layers, scenes, hints.grid.crs, hints.grid.transform)
    if read.position is None and read.crs is not None:
        fix = "assign pixel centres to x and y, or pass grid="
        raise SpecError("array", value=read.shape, reason="it has no coordinates that place its pixels", fix=fix)
    if read.position is None:
        raise ProviderError(
            "array",
            value=read.shape,
            reason="it has no coordinate reference system, so the place of its pixels is unknown",
            fix="write one with array.rio.write_crs(...), or pass crs=",
        )
    return ArraySource(read.planes, layers, scenes, read.position.crs, read.position.transform)


def _scene(index: int, when: dt.datetime | None, layers: tuple[str, ...]) -> Scene:
    assets = [layer for layer in layers if layer]
    return Scene(f"image_{index:05d}", when or NO_DATE, None, {"assets": assets, "platform": f"image {index}"})


def _check_units(planes: Sequence[Plane], layers: Sequence[str], sensor: Sensor) -> None:
    """Refuse units that are not understood before anything is read."""
    table = source_of("files", sensor.id)
    for plane, layer in zip(planes, layers, strict=True):
        if layer in sensor.band_names:
            band = sensor.band(layer)
            plane.numbers.scaling(table.scaling(band), band.unit, layer, where=IN_ARRAY)


def _labelled(source: Any, hints: ArrayHints) -> Labelled:
    from rs_embed_dask.imagery.labels import read_labels

    read = read_labels(source, crs=hints.crs, placed=hints.grid is None)
    stated = None if read.position is None else read.position.crs
    if hints.crs is not None and stated is not None and hints.crs != stated:
        same = CRS.from_user_input(hints.crs).equals(CRS.from_user_input(stated), ignore_axis_order=True)
        if not same:
            fix = "leave crs out, or write the right one: array.rio.write_crs(...)"
            raise SpecError("Files.crs", value=hints.crs, reason=f"the array states {stated}", fix=fix)
    if hints.grid is not None:
        _check_shape(read.shape, hints.grid, source)
    return read


def _plain(source: Any, grid: Grid | None) -> Labelled:
    """Return the bands of an array without labels: (T, B, H, W) or (B, H, W)."""
    from rs_embed_dask.imagery.labels import Labelled, Plane

    if grid is None:
        fix = "pass grid=Grid(crs, transform, shape), or an xarray object"
        raise SpecError("Files.grid", reason="a plain array does not state where it lies", fix=fix)
    _check_shape(source.shape, grid, source)
    if len(source.shape) not in {_IMAGE, _SERIES}:
        fix = "give (T, B, H, W) or (B, H, W)"
        raise SpecError("Files.source", value=source, reason=f"it has {len(source.shape)} dimensions", fix=fix)
    if isinstance(source, np.ma.MaskedArray):  # its mask is what is missing
        source = np.ma.filled(source.astype(np.float64), np.nan)
    values = source if len(source.shape) == _SERIES else source.reshape(1, *source.shape)
    return Labelled(tuple(Plane("", values[:, i], Numbers()) for i in range(values.shape[1])))


def _check_shape(shape: Sequence[int], grid: Grid, source: Any) -> None:
    if tuple(shape[-2:]) != grid.shape:
        reason = f"the grid has {grid.shape} pixels"
        raise SpecError("Files.source", value=source, reason=reason, fix="give the grid of this array")


def sensor_of(source: Any) -> str | None:
    """Return the sensor that an array's attributes name, or those of a variable in a Dataset."""
    every = [source, *(source[name] for name in getattr(source, "data_vars", ()))]
    return next((str(s) for each in every if (s := getattr(each, "attrs", {}).get("sensor")) is not None), None)
