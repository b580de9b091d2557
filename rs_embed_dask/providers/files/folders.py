"""Files sorted into scenes: one per product, or per folder and name; what is not a band is passed over and listed."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.moments import moment_of_tags
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.providers.files.naming import (
    FileProduct,
    baseline_in,
    is_aside,
    is_picture,
    layer_in,
    layer_named,
    moment_in,
    product_of,
    scene_folder,
)
from rs_embed_dask.providers.files.rasters import RasterLayer, head_of, layer_of

if TYPE_CHECKING:
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = [
    "DATES_FIX",
    "ENDINGS",
    "NO_DATE",
    "FilesPassedOverWarning",
    "SceneFiles",
    "dated",
    "option_fix",
    "scenes_in",
]

ENDINGS: Final = frozenset({".tif", ".tiff", ".vrt", ".jp2"})
NO_DATE: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""The date of a scene that has none."""

_MOST_LISTED: Final = 5


def option_fix(name: str, value: object) -> str:
    """Say how an option of this provider is passed, in Python and on the command line."""
    typed = shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    return f"pass {name}={value!r} (on the command line --provider-option {typed})"


DATES_FIX: Final = f"name files by date, such as 20220605_B04.tif, or {option_fix('dates', '2022-06-05')}"


class FilesPassedOverWarning(UserWarning):
    """Raster files of a folder cannot be read as bands, and are not part of any known product."""


@dataclass(frozen=True)
class SceneFiles:
    """A scene and the layers that hold it."""

    scene: Scene
    layers: Mapping[str, RasterLayer]


@dataclass
class _Sorting:
    """Scenes as they are found: layers by scene and name, one path of each scene, and what was passed over."""

    layers: dict[tuple[str, str], dict[str, RasterLayer]] = field(default_factory=dict)
    first: dict[tuple[str, str], tuple[Path, Path, FileProduct | None]] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    faults: dict[str, ProviderError | SpecError] = field(default_factory=dict)


def scenes_in(
    paths: Sequence[str], sensor: Sensor, bands: tuple[str, ...] | None
) -> tuple[tuple[SceneFiles, ...], dict[str, str]]:
    """Sort raster files into scenes; also return the files passed over, each with the reason."""
    sorting = _Sorting()
    for root, path in _files(paths):
        _sort(sorting, root, path, sensor=sensor, bands=bands)
    if not sorting.layers:
        raise _nothing(paths, sensor, sorting)
    if sorting.faults:
        name, fault = next(iter(sorting.faults.items()))
        warnings.warn(
            f"{len(sorting.faults)} raster files are not read, the first of them {Path(name).name}: {fault.reason}.",
            FilesPassedOverWarning,
            stacklevel=2,
        )
    scenes = [_scene_files(key, layers, *sorting.first[key]) for key, layers in sorted(sorting.layers.items())]
    return _told_apart(scenes), sorting.passed


def _sort(sorting: _Sorting, root: Path, path: Path, *, sensor: Sensor, bands: tuple[str, ...] | None) -> None:
    """Add one file to its scene, or to what is passed over."""
    chosen = root == path  # what the user names is a fault where it cannot be read
    if not chosen and is_aside(path.relative_to(root).parts):
        sorting.passed[str(path)] = "it is hidden, or describes other files"
        return
    product = product_of(path)
    if product is not None and product.sensor != sensor.id:
        other = f", read it with sensor={product.sensor!r}" if product.sensor else ""
        sorting.passed[str(path)] = f"its product is {product.level}, not {sensor.id}{other}"
        return
    named = layer_in(path.stem, sensor)
    if named is None and is_picture(path.stem) and not chosen:
        sorting.passed[str(path)] = "it is a picture"
        return
    try:
        layers = _layers(path, named, sensor=sensor, bands=bands)
    except (ProviderError, SpecError) as error:
        if chosen or (named is not None and isinstance(error, ProviderError)):
            raise
        sorting.passed[str(path)] = error.reason
        sorting.faults[str(path)] = error
        return
    if not layers:
        sorting.passed[str(path)] = f"neither its name nor its descriptions name a band of {sensor.id}"
        return
    key = _key(path, product, named if len(head_of(path).images) == 1 else None)
    for name, layer in layers.items():
        scene = sorting.layers.setdefault(key, {})
        scene[name] = _finer(scene.get(name), layer, name, sorting.passed)
    sorting.first.setdefault(key, (root, path, product))


def _key(path: Path, product: FileProduct | None, named: tuple[str, str] | None) -> tuple[str, str]:
    """Return what the files of one scene share: the product, else the folder and the rest of the name."""
    rest = path.stem if named is None else named[1]
    if product is not None:
        return "", product.name if not product.tiled else f"{product.name}_{rest}"
    return str(scene_folder(path)), rest


def _nothing(paths: Sequence[str], sensor: Sensor, sorting: _Sorting) -> ProviderError | SpecError:
    if sorting.faults:
        return next(iter(sorting.faults.values()))
    listed = [f"{Path(path).name} ({reason})" for path, reason in sorting.passed.items()]
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    found = f"; passed over: {', '.join(listed[:_MOST_LISTED])}{more}" if listed else ""
    return ProviderError(
        "files",
        value=[str(path) for path in paths],
        reason=f"no raster file with a band of {sensor.id} was found{found}",
        fix=f"name files by band, such as {sensor.bands[0].name}.tif, or {option_fix('bands', [sensor.bands[0].name])}",
    )


def _files(paths: Sequence[str]) -> list[tuple[Path, Path]]:
    """List raster files, each with the folder or file that it was found under, sorted by name."""
    files: list[tuple[Path, Path]] = []
    for each in paths:
        root = Path(each)
        inside = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS) if root.is_dir() else [root]
        files.extend((root, path) for path in inside)
    return files


def _layers(
    path: Path, named: tuple[str, str] | None, *, sensor: Sensor, bands: tuple[str, ...] | None
) -> dict[str, RasterLayer]:
    """Name the bands of a file: by its own name if it has one image, as the user did, or from its descriptions."""
    head = head_of(path)
    images = head.images
    if named is not None and len(images) == 1:
        return {named[0]: layer_of(path, images[0])}
    every = tuple(range(1, len(head.names) + 1))
    names, indices = (head.names, every) if bands is None else (bands, images if len(bands) == len(images) else every)
    if len(names) != len(indices):
        reason = f"{path.name} has {len(every)} bands and {len(names)} names were given"
        raise SpecError("Files.bands", value=names, reason=reason, fix="name every band of the file, in its order")
    known = {i: layer for i, name in zip(indices, names, strict=True) if name and (layer := layer_named(name, sensor))}
    layers = {layer: layer_of(path, i, alpha=head.alpha not in known) for i, layer in known.items()}
    if not layers and (len(every) > 1 or bands is not None):
        raise SpecError(
            "Files.bands",
            value=path.name,
            reason=f"it has {len(every)} bands that neither bands= nor their descriptions name as bands of {sensor.id}",
            fix=f"{option_fix('bands', [sensor.bands[0].name])}, with one name for each of the {len(every)}",
        )
    return layers


def _finer(old: RasterLayer | None, new: RasterLayer, name: str, passed: dict[str, str]) -> RasterLayer:
    """Choose among two files of one band the one with smaller pixels."""
    if old is None:
        return new
    sizes = [abs(layer.transform[0] * layer.transform[4]) for layer in (old, new)]
    files = (Path(old.path).name, Path(new.path).name)
    if sizes[0] == sizes[1] and files[0] == files[1] and product_of(Path(new.path)) is not None:
        passed[new.path] = f"it is the same file of the same product as {old.path}"
        return old
    if sizes[0] == sizes[1]:
        fix = "put scenes into folders of their own, or name the files by date"
        raise SpecError("files", value=files, reason=f"both hold the band {name} of one scene", fix=fix)
    finer, coarser = (old, new) if sizes[0] < sizes[1] else (new, old)
    passed[coarser.path] = f"{Path(finer.path).name} has the band {name} in finer pixels"
    return finer


def _scene_files(
    key: tuple[str, str], layers: Mapping[str, RasterLayer], root: Path, path: Path, product: FileProduct | None
) -> SceneFiles:
    when, baseline = _facts(root, path, product)
    properties: dict[str, Any] = {"assets": sorted(layers)}
    if baseline is not None:
        properties["s2:processing_baseline"] = baseline
    folder = Path(key[0]).name
    name = "_".join(part for part in (folder, key[1]) if part)
    return SceneFiles(Scene(name, when or NO_DATE, None, properties), layers)


def _facts(root: Path, path: Path, product: FileProduct | None) -> tuple[dt.datetime | None, str | None]:
    """Find date and baseline in the names of file, product and folders up to the root's, and in the file's tags."""
    inside = path.relative_to(root).parts if root != path else ()
    names = [path.name, *([product.name] if product is not None else []), *reversed(inside[:-1]), root.name]
    stated = moment_of_tags(dict(head_of(path).tags))
    texts = names if stated is None else [*names, stated]
    moments = (moment for text in texts if (moment := moment_in(text)) is not None)
    baselines = (baseline for text in names if (baseline := baseline_in(text)) is not None)
    return next(moments, None), next(baselines, None)


def _told_apart(scenes: Sequence[SceneFiles]) -> tuple[SceneFiles, ...]:
    """Give the scenes of folders that have one name a number."""
    ids = [each.scene.id for each in scenes]
    return tuple(
        each if ids.count(name) == 1 else replace(each, scene=replace(each.scene, id=f"{name}_{ids[:at].count(name)}"))
        for at, (name, each) in enumerate(zip(ids, scenes, strict=True))
    )


def dated(files: SceneFiles, when: dt.datetime) -> SceneFiles:
    """Return a scene with another date."""
    return replace(files, scene=replace(files.scene, datetime=when))
