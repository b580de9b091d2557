"""Raster files sorted into scenes, by their names, folders and tags."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError, SpecError, UnknownNameError
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensor_types import plain_band_name
from rs_embed_dask.imagery.sensors import Sensor
from rs_embed_dask.providers.geotiff import pixels_under

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid import Grid

__all__ = ["NO_DATE", "SceneFiles", "dated", "gather", "layer_named", "read_layer", "scenes_in"]

_DAY: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<gap>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=gap)(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:[T_]?(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_DAY_OF_YEAR: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<doy>[0-3]\d{2})(?:T(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_BASELINE: Final = re.compile(r"_N(\d{2})(\d{2})_")
_TOKENS: Final = re.compile(r"[\s_\-.]+")
_NOON: Final = dt.time(12)


def moment_in(text: str) -> dt.datetime | None:
    """Find a date in a name: ``20220605``, ``2022-06-05``, ``20220605T103629``, ``2022156`` and the like."""
    for match in _DAY.finditer(text):
        try:
            day = dt.date(int(match["y"]), int(match["m"]), int(match["d"]))
        except ValueError:  # such as 31 June
            continue
        return _moment(day, match["time"])
    for match in _DAY_OF_YEAR.finditer(text):
        first, number = dt.date(int(match["y"]), 1, 1), int(match["doy"])
        day = first + dt.timedelta(days=number - 1)
        if number >= 1 and day.year == first.year:
            return _moment(day, match["time"])
    return None


def _moment(day: dt.date, time: str | None) -> dt.datetime:
    at = _NOON if time is None else dt.time(int(time[:2]), int(time[2:4]), int(time[4:6]))
    return dt.datetime.combine(day, at, tzinfo=dt.UTC)


def baseline_in(text: str) -> str | None:
    """Find a Sentinel-2 processing baseline in a product's name."""
    match = _BASELINE.search(text)
    return None if match is None else f"{match[1]}.{match[2]}"


def layer_named(name: str, sensor: Sensor) -> str | None:
    """Return the layer that a band name means: a band's common name, or a quality band's name."""
    for mask in sensor.masks:
        if plain_band_name(name) == plain_band_name(mask.band):
            return mask.band
    try:
        return sensor.band(name).common
    except UnknownNameError:
        return None


def layer_in(stem: str, sensor: Sensor) -> tuple[str, str] | None:
    """Find the layer in a file's name, and the rest of the name."""
    words = _TOKENS.split(stem)
    for at in range(len(words) - 1, -1, -1):
        layer = layer_named(words[at], sensor) if words[at] else None
        if layer is not None:
            rest = [word for word in (*words[:at], *words[at + 1 :]) if not re.fullmatch(r"\d{2,3}m", word)]
            return layer, "_".join(rest)
    return None


@dataclass(frozen=True)
class RasterLayer:
    """One band of one file."""

    path: str
    index: int
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    nodata: float | None


@dataclass(frozen=True)
class Head:
    """What a file states beside its pixels."""

    crs: str | None
    gcps: int
    transform: tuple[float, ...]
    shape: tuple[int, int]
    nodata: float | None
    names: tuple[str | None, ...]
    tags: tuple[tuple[str, str], ...]


@lru_cache(maxsize=65_536)
def _head(path: str, _modified_ns: int) -> Head:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # head_of raises a better error
            with rasterio.open(path) as file:
                return Head(
                    crs=file.crs.to_wkt() if file.crs else None,
                    gcps=len(file.gcps[0]),
                    transform=tuple(file.transform)[:6],
                    shape=file.shape,
                    nodata=None if file.nodata is None else float(file.nodata),
                    names=tuple(file.descriptions),
                    tags=tuple(sorted((key.lower(), value) for key, value in file.tags().items())),
                )
    except RasterioIOError as error:
        reason = f"it is not a raster file that GDAL can read ({error})"
        raise ProviderError("raster file", value=path, reason=reason, fix="check the file, or take it out") from error


def head_of(path: Path) -> Head:
    """Return what a file states beside its pixels; one without a reference system is refused."""
    try:
        modified = path.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise ProviderError("raster file", value=str(path), reason="it does not exist", fix="check the path") from error
    head = _head(str(path), modified)
    if head.crs is None:
        points = (
            f" but {head.gcps} ground control points, as uncalibrated GRD files of Sentinel-1 have" if head.gcps else ""
        )
        raise ProviderError(
            "raster file",
            value=path.name,
            reason=f"it has no coordinate reference system{points}, so the place of its pixels is unknown",
            fix="warp it to a map projection first, or read sentinel-1-rtc" if head.gcps else "assign it one first",
        )
    return head


def gather(
    grid: Grid, crs: str, *, transform: Sequence[float], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Find the pixel under each pixel centre of a grid."""
    rows, columns, inside = pixels_under(grid, crs, transform=Affine(*transform), shape=shape)
    return rows[inside], columns[inside], inside


def read_layer(layer: RasterLayer, grid: Grid) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
    """Read the pixels of a file under a grid, nearest neighbours."""
    rows, columns, inside = gather(grid, layer.crs, transform=layer.transform, shape=layer.shape)
    if not rows.size:
        return None
    top, left = int(rows.min()), int(columns.min())
    window = Window(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
    try:
        with rasterio.open(layer.path) as file:
            pixels = file.read(layer.index, window=window)
    except RasterioIOError as error:
        fault = str(error.__cause__ or error)
        reason = f"its pixels cannot be read: {fault}"
        raise ProviderError(
            f"file {Path(layer.path).name}", value=layer.path, reason=reason, fix="replace it"
        ) from error
    return pixels[rows - top, columns - left], inside


ENDINGS: Final = frozenset({".tif", ".tiff", ".vrt", ".jp2"})
NO_DATE: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""The date of a scene that has none."""

_DATE_TAGS: Final = ("datetime", "acquisition_datetime", "acquisition_date", "date_acquired", "tifftag_datetime")


@dataclass(frozen=True)
class SceneFiles:
    """A scene and the layers that hold it."""

    scene: Scene
    layers: Mapping[str, RasterLayer]


def scenes_in(paths: Sequence[str], sensor: Sensor, bands: tuple[str, ...] | None) -> tuple[SceneFiles, ...]:
    """Sort raster files into scenes."""
    scenes: dict[tuple[str, str], dict[str, RasterLayer]] = {}
    facts: dict[tuple[str, str], tuple[dt.datetime | None, str | None]] = {}
    for root, path in _files(paths):
        named = layer_in(path.stem, sensor)
        single = named is not None and len(head_of(path).names) == 1
        key = (str(path.parent), named[1] if named is not None and single else path.stem)
        layers = {named[0]: _layer(path, 1)} if named is not None and single else _several(path, sensor, bands)
        for name, layer in layers.items():
            scenes.setdefault(key, {})[name] = _finer(scenes.get(key, {}).get(name), layer, name)
        if layers and key not in facts:
            facts[key] = _facts(root, path)
    if not any(scenes.values()):
        raise ProviderError(
            "files",
            value=[str(path) for path in paths],
            reason=f"no raster file with a band of {sensor.id} was found",
            fix=f"name files by band, such as {sensor.bands[0].name}.tif, or pass bands=",
        )
    return tuple(_scene_files(key, layers, facts[key]) for key, layers in sorted(scenes.items()) if layers)


def _files(paths: Sequence[str]) -> list[tuple[Path, Path]]:
    """List raster files, each with the folder or file that it was found under, sorted by name."""
    files: list[tuple[Path, Path]] = []
    for each in paths:
        root = Path(each)
        inside = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS) if root.is_dir() else [root]
        files.extend((root, path) for path in inside)
    return files


def _layer(path: Path, index: int) -> RasterLayer:
    head = head_of(path)
    return RasterLayer(str(path), index, head.crs or "", head.transform, head.shape, head.nodata)


def _several(path: Path, sensor: Sensor, bands: tuple[str, ...] | None) -> dict[str, RasterLayer]:
    """Name the bands of a file: as the user did, or from their descriptions."""
    head = head_of(path)
    count = len(head.names)
    names = bands if bands is not None else head.names
    if len(names) != count:
        reason = f"{path.name} has {count} bands and {len(names)} names were given"
        raise SpecError("Files.bands", value=names, reason=reason, fix="name every band of the file, in its order")
    indices = {layer_named(name, sensor): i for i, name in enumerate(names, 1) if name}
    layers = {layer: _layer(path, i) for layer, i in indices.items() if layer is not None}
    if not layers and (count > 1 or bands is not None):
        raise SpecError(
            "Files.bands",
            value=path.name,
            reason=f"it has {count} bands that neither bands= nor their descriptions name as bands of {sensor.id}",
            fix=f"pass bands=, one name for each of the {count}",
        )
    return layers


def _finer(old: RasterLayer | None, new: RasterLayer, name: str) -> RasterLayer:
    """Choose among two files of one band the one with smaller pixels."""
    if old is None:
        return new
    sizes = [abs(layer.transform[0] * layer.transform[4]) for layer in (old, new)]
    if sizes[0] == sizes[1]:
        files = (Path(old.path).name, Path(new.path).name)
        fix = "put scenes into folders of their own, or name the files by date"
        raise SpecError("files", value=files, reason=f"both hold the band {name} of one scene", fix=fix)
    return old if sizes[0] < sizes[1] else new


def _facts(root: Path, path: Path) -> tuple[dt.datetime | None, str | None]:
    """Find date and baseline in the file's name, its folders' up to the root's, and its tags."""
    inside = path.relative_to(root).parts if root != path else ()
    names = [path.name, *reversed(inside[:-1]), root.name]
    tags = dict(head_of(path).tags)
    stated = [tags[tag].replace(":", "-", 2) for tag in _DATE_TAGS if tag in tags]
    moments = (moment for text in (*names, *stated) if (moment := moment_in(text)) is not None)
    baselines = (baseline for text in names if (baseline := baseline_in(text)) is not None)
    return next(moments, None), next(baselines, None)


def _scene_files(
    key: tuple[str, str], layers: Mapping[str, RasterLayer], facts: tuple[dt.datetime | None, str | None]
) -> SceneFiles:
    when, baseline = facts
    properties: dict[str, Any] = {"assets": sorted(layers)}
    if baseline is not None:
        properties["s2:processing_baseline"] = baseline
    folder = Path(key[0]).name
    name = "_".join(part for part in (folder, key[1]) if part)
    return SceneFiles(Scene(name, when or NO_DATE, None, properties), layers)


def dated(files: SceneFiles, when: dt.datetime) -> SceneFiles:
    """Return a scene with another date."""
    return replace(files, scene=replace(files.scene, datetime=when))
