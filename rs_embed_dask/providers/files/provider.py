"""LayerPixels that the user already has: GeoTIFFs, folders of them, xarray objects and NumPy arrays."""

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
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.frame import harmonise
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.layers import LOST
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensor_types import DB, KELVIN, REFLECTANCE
from rs_embed_dask.imagery.sensors import Scaling, Sensor, Source, mask_of, sensor as sensor_named, source as source_of
from rs_embed_dask.providers.checks import Trial
from rs_embed_dask.providers.files.arrays import IN_ARRAY, ArrayHints, ArraySource, array_source, sensor_of
from rs_embed_dask.providers.files.folders import DATES_FIX, NO_DATE, SceneFiles, dated, option_fix, scenes_in
from rs_embed_dask.providers.files.rasters import LayerPixels, Spot, gather, read_layer
from rs_embed_dask.providers.registry import Estimate, estimate_read
from rs_embed_dask.providers.retry import ReadState
from rs_embed_dask.specs.ground import WGS84, crs_text, project
from rs_embed_dask.specs.when import day

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = ["FileFetch", "Files"]


@dataclass(frozen=True)
class FileFetch:
    """Brings the numbers of files or arrays on a grid, in working units: each file and band by what it states."""

    scenes: Mapping[str, SceneFiles]
    array: ArraySource | None
    table: Source
    nodata: float | None = None
    scaling: Scaling | None = None
    state: ReadState = field(default_factory=ReadState, compare=False, repr=False)

    def __call__(
        self, scenes: Sequence[Scene], grid: Grid, assets: tuple[tuple[str, ...], ...]
    ) -> npt.NDArray[np.float32]:
        """Return the numbers of some scenes on a grid, NaN where there are none, `LOST` in unreadable files."""
        out = np.full((len(scenes), len(assets), *grid.shape), np.nan, np.float32)
        spot = None
        if self.array is not None:
            spot = gather(grid, self.array.crs, transform=self.array.transform, shape=self.array.image_shape)
        for i, scene in enumerate(scenes):
            for j, names in enumerate(assets):
                try:
                    taken = self._take(scene, names[0], grid, spot)
                except ProviderError as fault:
                    self.state.lose(scene.id, fault)
                    out[i, j] = LOST
                    continue
                if taken is not None:
                    pixels, inside = taken
                    values = self._working(pixels, names[0], scene)
                    if pixels.shown is not None:
                        values[~pixels.shown] = np.nan
                    out[i, j][inside] = values
        return out

    def _take(
        self, scene: Scene, name: str, grid: Grid, spot: Spot | None
    ) -> tuple[LayerPixels, npt.NDArray[np.bool_]] | None:
        if self.array is not None and spot is not None:
            return self.array.take(scene.id, name, spot)
        layer = self.scenes[scene.id].layers.get(name)
        return None if layer is None else read_layer(layer, grid)

    def _working(self, pixels: LayerPixels, name: str, scene: Scene) -> npt.NDArray[np.float32]:
        """Return the numbers of a band in working units, NaN where missing; those of a quality band as they are."""
        of = sensor_named(self.table.sensor)
        if name not in of.band_names:
            quality: npt.NDArray[np.float32] = pixels.raw.astype(np.float32)
            return quality
        band, raw, numbers = of.band(name), pixels.raw, pixels.numbers
        if raw.dtype.kind not in "biuf":
            fix = "convert them first, complex radar images to calibrated backscatter"
            raise SpecError(f"numbers of {name}", value=str(raw.dtype), reason="they are not real numbers", fix=fix)
        table = self.table.scaling(band)
        if self.nodata is not None:
            numbers = replace(numbers, missing=(self.nodata,))
        values = numbers.cleared(raw, table.nodata if self.nodata is None else None)
        scaling, doubt = self.scaling, None
        if scaling is None:
            where = IN_FILE if self.array is None else IN_ARRAY
            scaling = numbers.scaling(table, band.unit, name, where=where)
            doubt = numbers.doubt(values, raw.dtype, scaling=scaling, unit=band.unit, where=where)
        if doubt is not None:
            raise SpecError(f"numbers of {name} in {scene.id}", value=str(raw.dtype), reason=doubt[0], fix=doubt[1])
        source = replace(self.table, scalings=((band.common, scaling),))
        working: npt.NDArray[np.float32] = harmonise(values[None, None, None], source, bands=[band], scenes=[scene])
        return working.ravel()


IN_FILE: Final = "the unit of the file's band, or pass scaling="
_UNITS: Final = (REFLECTANCE, DB, KELVIN)
_NOON: Final = dt.time(12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Files:
    """The provider of the user's own files and arrays.

    Parameters
    ----------
    source : path, sequence of paths, DataArray, Dataset or ndarray
        A GeoTIFF, a folder (with the folders in it), several of these, or an array (T, B, H, W) or (B, H, W). What they
        state of their numbers, masks, times and place is honoured; ``docs/your-data.md`` lists what is understood.
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
        Reference system of an xarray object that does not state its own; one that contradicts it raises `SpecError`.
    baseline : str, optional
        Processing baseline of Sentinel-2 numbers, such as ``05.09``; from 04.00 on 1000 is taken off, unless an offset
        or a unit is stated. Default: from the product's name, else the numbers are taken as they are.
    nodata : float, optional
        The number that means missing. Default: those that are stated, else the sensor's if the numbers are whole.
    scaling : Scaling or mapping, optional
        From the numbers to canonical units, instead of what is stated and of the sensor's table.

    Raises
    ------
    SpecError
        If it is none of these, the sensor, bands, dates or place are not known, labels contradict each other, or
        numbers plainly are not in the unit that is stated (fractions where nothing is).
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
        named = self.sensor if paths or self.sensor else sensor_of(self.source)
        if named is None:
            own = "pass sensor='sentinel-2-l2a', or state it in attrs['sensor']"
            fix = own if paths is None else option_fix("sensor", "sentinel-2-l2a")
            raise SpecError("Files.sensor", value=None, reason="nothing states which sensor took the pixels", fix=fix)
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
            hints = ArrayHints(
                self.bands, self.grid, self.crs, dated=self.dates is not None, scaled=scaling is not None
            )
            object.__setattr__(self, "_array", array_source(self.source, self._of, hints))
            self._scenes()

    @property
    def _of(self) -> Sensor:
        return sensor_named(str(self.sensor))

    def sensors(self) -> frozenset[str]:
        """Return the id of the one sensor that took the pixels."""
        return frozenset({self._of.id})

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time; another sensor raises `SpecError`. See `Provider`."""
        return ordered(each.scene for each in self._near(sensor, grid, span, fetch.orbit))

    def scenes(self) -> tuple[Scene, ...]:
        """List all scenes, wherever and whenever they are, with the layers that each has as ``assets``."""
        return ordered(each.scene for each in self._scenes())

    @property
    def trial(self) -> Trial:
        """The middle, day and first band of the first scene, to see whether it can be read."""
        first = self._scenes()[0]
        layer = self._array or next(iter(first.layers.values()))
        rows, columns = layer.shape[-2:]
        a, b, c, d, e, f = layer.transform[:6]
        x, y = a * columns / 2 + b * rows / 2 + c, d * columns / 2 + e * rows / 2 + f
        lon, lat = map(float, project(layer.crs, WGS84, x, y))
        taken = first.scene.datetime.date()
        band = next(name for name in first.scene.properties["assets"] if name in self._of.band_names)
        return Trial(lon, lat, Span(taken, taken + dt.timedelta(days=1)), self._of.id, band)

    def _near(self, sensor: str, grid: Grid, span: Span, orbit: str | None = None) -> list[SceneFiles]:
        """Find the scenes of a span that touch a grid; no file states its direction of flight, so none is chosen."""
        if orbit is not None:
            fix = "open the files of one direction alone, and leave orbit out; or give arrays to Model.embed"
            raise SpecError("FetchSpec.orbit", value=orbit, reason="files do not state it", fix=fix)
        if sensor_named(sensor).id != self.sensor:
            fix = f"open files of {sensor} with sensor={sensor!r}"
            raise SpecError("sensor", value=sensor, reason=f"these files are of {self.sensor}", fix=fix)
        scenes = [each for each in self._scenes() if span.start <= each.scene.datetime.date() < span.end]
        return [each for each in scenes if self._array is not None or _touches(each, grid)]

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read; see `Provider`. A band that no scene has raises `SpecError`."""
        from rs_embed_dask.providers.assemble import STATE, lazy_cube

        scenes = self._near(read.sensor, read.grid, read.span, read.fetch.orbit)
        there = {name for each in scenes for name in each.scene.properties["assets"]}
        for band in read.bands if scenes else ():
            if band not in there:
                fix = f"read some of {', '.join(sorted(there))}, or name the bands with bands="
                raise SpecError("band of files", value=band, reason="no scene at this place and time has it", fix=fix)
        table = replace(self.table, masks=tuple((rule, band) for rule, band in self.table.masks if band in there))
        _check_quality(scenes, read.fetch.mask, table)
        fetch = self._fetch(scenes)
        cube = lazy_cube(read, table, scenes=[each.scene for each in scenes], fetch=fetch)
        cube.encoding[STATE] = fetch.state
        return cube

    def _fetch(self, scenes: Sequence[SceneFiles]) -> FileFetch:
        scaling = self.scaling if isinstance(self.scaling, Scaling) else None
        standard = source_of(self.name, self._of.id)
        return FileFetch({each.scene.id: each for each in scenes}, self._array, standard, self.nodata, scaling)

    @property
    def table(self) -> Source:
        """The sensor's table for numbers that `FileFetch` has brought to working units already."""
        return replace(source_of(self.name, self._of.id), scalings=tuple((unit, Scaling()) for unit in _UNITS))

    @property
    def passed_over(self) -> dict[str, str]:
        """The raster files that are not read, each with the reason: pictures, quality files, files of other sensors."""
        return {} if self._array is not None else dict(self._sorted()[1])

    def _sorted(self) -> tuple[tuple[SceneFiles, ...], dict[str, str]]:
        return scenes_in(self.source, self._of, None if self.bands is None else tuple(self.bands))

    def _scenes(self) -> list[SceneFiles]:
        """List all scenes with their dates."""
        if self._array is None:
            scenes = list(self._sorted()[0])
        else:
            scenes = [SceneFiles(scene, {}) for scene in self._array.scenes]
        if self.dates is not None:
            if len(self.dates) != len(scenes):
                reason = f"{len(self.dates)} dates for {len(scenes)} scenes"
                raise SpecError("Files.dates", value=self.dates, reason=reason, fix="give one for each scene")
            scenes = [dated(s, dt.datetime.combine(d, _NOON)) for s, d in zip(scenes, self.dates, strict=True)]
        for each in scenes:
            if each.scene.datetime == NO_DATE:
                reason = "nothing states when it was taken"
                raise SpecError("Files.dates", value=each.scene.id, reason=reason, fix=DATES_FIX)
        if self.baseline is None:
            return scenes
        stated = {"s2:processing_baseline": self.baseline}
        return [replace(s, scene=replace(s.scene, properties={**s.scene.properties, **stated})) for s in scenes]

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read."""
        if self._array is None:
            return estimate_read(read, self.table, requests_per_asset=1.0)
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
