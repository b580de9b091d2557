"""Pixels that the user already has: GeoTIFFs, folders of them, xarray objects and NumPy arrays."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensor_types import DB, KELVIN, REFLECTANCE
from rs_embed_dask.imagery.sensors import Scaling, Sensor, Source, mask_of, sensor as sensor_named, source as source_of
from rs_embed_dask.providers.files.rasters import NO_DATE, SceneFiles, dated, gather, layer_named, read_layer, scenes_in
from rs_embed_dask.providers.registry import Estimate, Pace, estimate_read
from rs_embed_dask.specs.ground import crs_text
from rs_embed_dask.specs.when import day

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = ["ArraySource", "FileFetch", "Files", "array_source"]

_IMAGE: Final = len("bhw")
_SERIES: Final = len("tbhw")
Spot = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pixels in memory, or in a lazy array, with their place."""

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
        """Return the numbers of one layer of one image at some pixels."""
        rows, columns, inside = spot
        if layer not in self.layers or not rows.size:
            return None
        t = next(i for i, each in enumerate(self.scenes) if each.id == scene)
        top, left = int(rows.min()), int(columns.min())
        part = self.values[t, self.layers.index(layer), top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        pixels = part.compute(scheduler="sync") if hasattr(part, "compute") else np.asarray(part)
        return pixels[rows - top, columns - left], inside


def array_source(
    source: Any, sensor: Sensor, bands: Sequence[str] | None, *, grid: Grid | None, crs: str | None
) -> ArraySource:
    """Return an array with its layers, scenes and place."""
    values, place, days, labels = _unlabelled(source, grid, crs)
    values = values if len(values.shape) != _IMAGE else values.reshape(1, *values.shape)  # (T, B, H, W)
    if len(values.shape) != _SERIES:
        fix = "give (T, B, H, W) or (B, H, W)"
        raise SpecError("Files.source", value=values, reason=f"it has {len(values.shape)} dimensions", fix=fix)
    names = tuple(bands) if bands is not None else labels
    if len(names) != values.shape[1]:
        reason = f"the array has {values.shape[1]} bands and {len(names)} names were given"
        raise SpecError("Files.bands", value=names, reason=reason, fix="pass bands=, one name for each")
    layers = tuple(layer_named(name, sensor) or "" for name in names)
    if not any(layers):
        fix = f"name them as {', '.join(sensor.band_names[:3])} ... or {sensor.bands[0].name} ..."
        raise SpecError("Files.bands", value=names, reason=f"none is a band of {sensor.id}", fix=fix)
    moments = days or (None,) * values.shape[0]
    scenes = tuple(_scene(i, when, layers) for i, when in enumerate(moments))
    where, transform = place
    return ArraySource(values, layers, scenes, where, transform, _in_decibels(source))


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
            raise SpecError("Files.grid", reason="a plain array does not state where it lies", fix=fix)
        if tuple(source.shape[-2:]) != grid.shape:
            reason = f"the grid has {grid.shape} pixels"
            raise SpecError("Files.source", value=source, reason=reason, fix="give the grid of this array")
        return source, (grid.crs, grid.transform), (), ()
    from rs_embed_dask.imagery.cube import axis_of, band_names, crs_of, one_array

    array = one_array(source)
    if grid is not None:
        place: tuple[str, tuple[float, ...]] = (grid.crs, grid.transform)
    else:
        stated = crs or crs_of(array) or crs_of(source)
        if stated is None:
            raise ProviderError(
                "array",
                value=array.dims,
                reason="it has no coordinate reference system, so the place of its pixels is unknown",
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
    """Whether an xarray object states that its numbers are decibels, by an attribute or the ``unit`` coordinate."""
    units = [str(getattr(source, "attrs", {}).get(name, "")).lower() for name in ("units", "unit")]
    if "unit" in getattr(source, "coords", {}):
        units.extend(str(unit).lower() for unit in np.atleast_1d(source.coords["unit"].values))
    return "db" in units


@dataclass(frozen=True)
class FileFetch:
    """Brings the raw numbers of files or arrays on a grid."""

    scenes: Mapping[str, SceneFiles]
    array: ArraySource | None
    sensor: Sensor
    nodata: float | None

    def __call__(
        self, scenes: Sequence[Scene], grid: Grid, assets: tuple[tuple[str, ...], ...]
    ) -> npt.NDArray[np.float32]:
        """Return the raw numbers of some scenes on a grid, NaN where there are none."""
        out = np.full((len(scenes), len(assets), *grid.shape), np.nan, np.float32)
        spot = None
        if self.array is not None:
            spot = gather(grid, self.array.crs, transform=self.array.transform, shape=self.array.image_shape)
        for i, scene in enumerate(scenes):
            for j, names in enumerate(assets):
                layer = self.scenes[scene.id].layers.get(names[0])
                if self.array is not None and spot is not None:
                    pixels = self.array.take(scene.id, names[0], spot)
                else:
                    pixels = None if layer is None else read_layer(layer, grid)
                if pixels is not None:
                    raw, inside = pixels
                    out[i, j][inside] = self._cleared(raw, names[0], None if layer is None else layer.nodata)
        return out

    def _cleared(self, raw: npt.NDArray[Any], name: str, nodata: float | None) -> npt.NDArray[np.float32]:
        """Replace nodata by NaN: the user's number, else the file's, else the table's for whole numbers."""
        values = raw.astype(np.float32)
        if name not in self.sensor.band_names:
            return values
        missing = self.nodata if self.nodata is not None else nodata
        if missing is None and raw.dtype.kind in "iu":
            missing = source_of("files", self.sensor.id).scaling(self.sensor.band(name)).nodata
        if missing is not None:
            values[raw == missing] = np.nan
        return values


_DISK: Final = Pace(latency_s=0.002, bytes_per_s=300e6, requests_per_asset=1.0, at_once=4)
_UNITS: Final = (REFLECTANCE, DB, KELVIN)
_NOON: Final = dt.time(12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Files:
    """The provider of the user's own files and arrays.

    Parameters
    ----------
    source : path, sequence of paths, DataArray, Dataset or ndarray
        A GeoTIFF, a folder (with the folders in it), several of these, or an array (T, B, H, W) or (B, H, W).
    sensor : str
        What took them. Default: the array's attribute ``sensor``.
    bands : sequence of str, optional
        Names of the bands of an array, or of each file with several, in their order; quality bands such as ``SCL`` too.
        Default: from file names, band descriptions or the array's ``band`` coordinate.
    dates : date, str, or sequence of them, optional
        When the images were taken: one for each scene in order of file name, or for each image of an array. Default:
        from file names, folders, tags or the array's ``time`` coordinate.
    grid : Grid, optional
        Where the pixels of an array lie. Needed for a NumPy array.
    crs : str, optional
        Reference system of an xarray object that does not state its own.
    baseline : str, optional
        Processing baseline of Sentinel-2 numbers, such as ``05.09``; from 04.00 on 1000 is taken off. Default: from the
        product's name, else the numbers are taken as they are.
    nodata : float, optional
        The number that means missing. Default: the file's, else the sensor's if the numbers are whole.
    scaling : Scaling or mapping, optional
        From the numbers to canonical units, instead of the sensor's table.

    Raises
    ------
    SpecError
        If it is none of these, or the sensor, bands, dates or place are not known.
    UnknownNameError
        If the sensor is not in the tables.

    Examples
    --------
    >>> grid = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_600_000), (8, 8))
    >>> pixels = np.ones((1, 2, 8, 8), "uint16")
    >>> files = Files(pixels, sensor="sentinel-2-l2a", bands=("red", "nir"), dates="2022-06-05", grid=grid)
    >>> files.sensors()
    frozenset({'sentinel-2-l2a'})
    """

    source: Any = field(repr=False)
    sensor: str | None = None
    bands: Sequence[str] | None = None
    dates: Any = None
    grid: Grid | None = None
    crs: str | None = None
    baseline: str | None = None
    nodata: float | None = None
    scaling: Scaling | Mapping[str, Any] | None = None
    _array: ArraySource | None = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str] = "files"

    def __post_init__(self) -> None:
        paths = _paths(self.source)
        named = self.sensor if paths or self.sensor else getattr(self.source, "attrs", {}).get("sensor")
        if named is None:
            raise SpecError(
                "Files.sensor", reason="nothing states which sensor took the pixels", fix="pass sensor='sentinel-2-l2a'"
            )
        scaling = Scaling(**self.scaling) if isinstance(self.scaling, Mapping) else self.scaling
        changed: dict[str, Any] = {
            "sensor": sensor_named(named).id,
            "source": self.source if paths is None else paths,
            "bands": None if self.bands is None else tuple(self.bands),
            "dates": None if self.dates is None else _days(self.dates),
            "crs": None if self.crs is None else crs_text("Files.crs", self.crs),
            "scaling": scaling,
        }
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        if paths is None:
            object.__setattr__(
                self, "_array", array_source(self.source, self._of, self.bands, grid=self.grid, crs=self.crs)
            )
            self._scenes()

    @property
    def _of(self) -> Sensor:
        return sensor_named(str(self.sensor))

    def sensors(self) -> frozenset[str]:
        """Return the id of the one sensor that took the pixels."""
        return frozenset({self._of.id})

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:  # noqa: ARG002 - files state no cloud cover
        """List the scenes that touch a grid, in order of time; another sensor raises `SpecError`. See `Provider`."""
        return ordered(each.scene for each in self._near(sensor, grid, span))

    def scenes(self) -> tuple[Scene, ...]:
        """List all scenes, wherever and whenever they are, with the layers that each has as ``assets``."""
        return ordered(each.scene for each in self._scenes())

    def _near(self, sensor: str, grid: Grid, span: Span) -> list[SceneFiles]:
        """Find the scenes of a span that touch a grid."""
        if sensor_named(sensor).id != self.sensor:
            fix = f"open files of {sensor} with sensor={sensor!r}"
            raise SpecError("sensor", value=sensor, reason=f"these files are of {self.sensor}", fix=fix)
        scenes = [each for each in self._scenes() if span.start <= each.scene.datetime.date() < span.end]
        return [each for each in scenes if self._array is not None or _touches(each, grid)]

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read; see `Provider`. A band that no scene has raises `SpecError`."""
        from rs_embed_dask.providers.assemble import lazy_cube

        scenes = self._near(read.sensor, read.grid, read.span)
        there = {name for each in scenes for name in each.scene.properties["assets"]}
        for band in read.bands if scenes else ():
            if band not in there:
                fix = f"read some of {', '.join(sorted(there))}, or name the bands with bands="
                raise SpecError("band of files", value=band, reason="no scene at this place and time has it", fix=fix)
        table = replace(self.table, masks=tuple((rule, band) for rule, band in self.table.masks if band in there))
        _check_quality(scenes, read.fetch.mask, table)
        fetch = FileFetch({each.scene.id: each for each in scenes}, self._array, self._of, self.nodata)
        return lazy_cube(read, table, scenes=[each.scene for each in scenes], fetch=fetch)

    @property
    def table(self) -> Source:
        """How the numbers become canonical: the sensor's table, or `scaling` for every band.

        Missing numbers are NaN before the table sees them, so it names none.
        """
        standard = source_of(self.name, self._of.id)
        if self._array is not None and self._array.decibels and self.scaling is None:
            return replace(standard, scalings=tuple((unit, Scaling(encoding="db")) for unit in _UNITS))
        if isinstance(self.scaling, Scaling):
            return replace(standard, scalings=tuple((unit, self.scaling) for unit in _UNITS))
        return replace(standard, scalings=tuple((unit, replace(each, nodata=None)) for unit, each in standard.scalings))

    def _scenes(self) -> list[SceneFiles]:
        """List all scenes with their dates."""
        if self._array is None:
            scenes = list(scenes_in(self.source, self._of, None if self.bands is None else tuple(self.bands)))
        else:
            scenes = [SceneFiles(scene, {}) for scene in self._array.scenes]
        if self.dates is not None:
            if len(self.dates) != len(scenes):
                reason = f"{len(self.dates)} dates for {len(scenes)} scenes"
                raise SpecError("Files.dates", value=self.dates, reason=reason, fix="give one for each scene")
            scenes = [dated(s, dt.datetime.combine(d, _NOON)) for s, d in zip(scenes, self.dates, strict=True)]
        for each in scenes:
            if each.scene.datetime == NO_DATE:
                fix = "name files by date, such as 20220605_B04.tif, or pass dates="
                raise SpecError("Files.dates", value=each.scene.id, reason="nothing states when it was taken", fix=fix)
        if self.baseline is None:
            return scenes
        stated = {"s2:processing_baseline": self.baseline}
        return [replace(s, scene=replace(s.scene, properties={**s.scene.properties, **stated})) for s in scenes]

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read."""
        if self._array is None:
            return estimate_read(read, self.table, _DISK)
        days = [each.scene.datetime.date() for each in self._scenes()]
        return Estimate(scenes=sum(read.span.start <= each < read.span.end for each in days))

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider; an array cannot be described so."""
        options: dict[str, Any] = {
            "name": self.name,
            "sensor": self.sensor,
            "crs": self.crs,
            "baseline": self.baseline,
            "nodata": self.nodata,
            "bands": None if self.bands is None else list(self.bands),
            "dates": None if self.dates is None else [each.isoformat() for each in self.dates],
            "scaling": asdict(self.scaling) if isinstance(self.scaling, Scaling) else None,
        }
        options = {name: value for name, value in options.items() if value is not None}
        if self._array is None:
            return {**options, "source": list(self.source)}
        return {**options, "rebuild": False, "shape": list(self._array.shape)}


def _paths(source: Any) -> tuple[str, ...] | None:
    """Return the paths that a source names; None if it is an array."""
    if isinstance(source, str | os.PathLike):
        return (str(Path(source)),)
    if hasattr(source, "shape") or hasattr(source, "data_vars"):
        return None
    if isinstance(source, Sequence) and source and all(isinstance(each, str | os.PathLike) for each in source):
        return tuple(str(Path(each)) for each in source)
    fix = "give a path, a list of paths, an xarray object or a NumPy array"
    raise SpecError("Files.source", value=source, reason="it is neither a path nor an array", fix=fix)


def _days(dates: Any) -> tuple[dt.date, ...]:
    each = dates if isinstance(dates, Iterable) and not isinstance(dates, str) else [dates]
    return tuple(day("Files.dates", one) for one in each)


def _check_quality(scenes: Sequence[SceneFiles], name: str | None, table: Source) -> None:
    """Refuse scenes without the quality band that others have: which of their pixels are clouds is unknown."""
    chosen = mask_of(name, table) if scenes else None
    lacking = [s.scene.id for s in scenes if chosen is not None and chosen[1] not in s.scene.properties["assets"]]
    if lacking and chosen is not None:
        reason = f"it has no {chosen[1]}, which other scenes have"
        fix = "add it, take the scene out, or pass mask='none'"
        raise SpecError("mask of files", value=lacking[0], reason=reason, fix=fix)


def _touches(files: SceneFiles, grid: Grid) -> bool:
    """Return whether some file of a scene has a pixel under the grid."""
    return any(
        gather(grid, layer.crs, transform=layer.transform, shape=layer.shape)[0].size
        for layer in {layer.transform: layer for layer in files.layers.values()}.values()
    )
