"""Raster files sorted into scenes, by what their names, folders and tags say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.providers.raster_names import baseline_in, layer_in, layer_named, moment_in
from rs_embed_dask.providers.rasters import Layer, head_of

if TYPE_CHECKING:
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = ["ENDINGS", "NO_DATE", "Shot", "dated", "shots_of"]

ENDINGS: Final = frozenset({".tif", ".tiff", ".vrt", ".jp2"})
NO_DATE: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""The date of a scene of which nothing says when it was taken."""

_DATE_TAGS: Final = ("datetime", "acquisition_datetime", "acquisition_date", "date_acquired", "tifftag_datetime")


@dataclass(frozen=True)
class Shot:
    """A scene and the layers that hold it.

    Parameters
    ----------
    scene : Scene
        Its ``assets`` property lists the layers.
    layers : mapping of str to Layer
        By common name of the band, or name of the quality band.
    """

    scene: Scene
    layers: Mapping[str, Layer]


def shots_of(paths: Sequence[str], sensor: Sensor, bands: tuple[str, ...] | None) -> tuple[Shot, ...]:
    """Sort raster files into scenes.

    Parameters
    ----------
    paths : sequence of str
        Files and folders; folders are searched with all that is in them.
    sensor : Sensor
        Whose bands to look for.
    bands : tuple of str, optional
        Names of the bands of each file with several, in its order.

    Returns
    -------
    tuple of Shot
        In order of name. A scene without a date in names and tags has `NO_DATE`, for the caller to refuse or set.

    Raises
    ------
    ProviderError
        If there is no file, or one lies nowhere.
    SpecError
        If a file with several bands does not name them, or two files hold the same band of the same scene.
    """
    found: dict[tuple[str, str], dict[str, Layer]] = {}
    facts: dict[tuple[str, str], tuple[dt.datetime | None, str | None]] = {}
    for root, path in _files(paths):
        named = layer_in(path.stem, sensor)
        single = named is not None and len(head_of(path).names) == 1
        key = (str(path.parent), named[1] if named is not None and single else path.stem)
        layers = {named[0]: _layer(path, 1)} if named is not None and single else _several(path, sensor, bands)
        for name, layer in layers.items():
            found.setdefault(key, {})[name] = _finer(found.get(key, {}).get(name), layer, name)
        if layers and key not in facts:
            facts[key] = _facts(root, path)
    if not any(found.values()):
        raise ProviderError(
            "files",
            value=[str(path) for path in paths],
            reason=f"no raster file with a band of {sensor.id} was found",
            fix=f"name files by band, such as {sensor.bands[0].name}.tif, or pass bands=",
        )
    return tuple(_shot(key, layers, facts[key]) for key, layers in sorted(found.items()) if layers)


def _files(paths: Sequence[str]) -> list[tuple[Path, Path]]:
    """List raster files, each with the folder or file that it was found under, sorted by name."""
    found: list[tuple[Path, Path]] = []
    for each in paths:
        root = Path(each)
        inside = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS) if root.is_dir() else [root]
        found.extend((root, path) for path in inside)
    return found


def _layer(path: Path, index: int) -> Layer:
    head = head_of(path)
    return Layer(str(path), index, head.crs or "", head.transform, head.shape, head.nodata)


def _several(path: Path, sensor: Sensor, bands: tuple[str, ...] | None) -> dict[str, Layer]:
    """Find out what the bands of a file are: from the user, or from their descriptions."""
    head = head_of(path)
    count = len(head.names)
    names = bands if bands is not None else head.names
    if len(names) != count:
        reason = f"{path.name} has {count} bands and {len(names)} names were given"
        raise SpecError("Files.bands", value=names, reason=reason, fix="name every band of the file, in its order")
    known = {layer_named(name, sensor): i for i, name in enumerate(names, 1) if name}
    layers = {layer: _layer(path, i) for layer, i in known.items() if layer is not None}
    if not layers and (count > 1 or bands is not None):
        raise SpecError(
            "Files.bands",
            value=path.name,
            reason=f"it has {count} bands that neither bands= nor their descriptions name as bands of {sensor.id}",
            fix=f"pass bands=, one name for each of the {count}",
        )
    return layers


def _finer(kept: Layer | None, new: Layer, name: str) -> Layer:
    """Choose among two files of one band the one with smaller pixels."""
    if kept is None:
        return new
    sizes = [abs(layer.transform[0] * layer.transform[4]) for layer in (kept, new)]
    if sizes[0] == sizes[1]:
        files = (Path(kept.path).name, Path(new.path).name)
        fix = "put scenes into folders of their own, or name the files by date"
        raise SpecError("files", value=files, reason=f"both hold the band {name} of one scene", fix=fix)
    return kept if sizes[0] < sizes[1] else new


def _facts(root: Path, path: Path) -> tuple[dt.datetime | None, str | None]:
    """Find date and baseline in the file's name, its folders' up to the root's, and its tags."""
    inside = path.relative_to(root).parts if root != path else ()
    names = [path.name, *reversed(inside[:-1]), root.name]
    tags = dict(head_of(path).tags)
    stated = [tags[tag].replace(":", "-", 2) for tag in _DATE_TAGS if tag in tags]
    moments = (moment for text in (*names, *stated) if (moment := moment_in(text)) is not None)
    baselines = (found for text in names if (found := baseline_in(text)) is not None)
    return next(moments, None), next(baselines, None)


def _shot(key: tuple[str, str], layers: Mapping[str, Layer], facts: tuple[dt.datetime | None, str | None]) -> Shot:
    when, baseline = facts
    properties: dict[str, Any] = {"assets": sorted(layers)}
    if baseline is not None:
        properties["s2:processing_baseline"] = baseline
    folder = Path(key[0]).name
    name = "_".join(part for part in (folder, key[1]) if part)
    return Shot(Scene(name, when or NO_DATE, None, properties), layers)


def dated(shot: Shot, when: dt.datetime) -> Shot:
    """Return a shot with another date.

    Parameters
    ----------
    shot : Shot
        Any.
    when : datetime.datetime
        The date.

    Returns
    -------
    Shot
    """
    return replace(shot, scene=replace(shot.scene, datetime=when))
