"""Which asset of an item holds a band, and whether it can be read: by names, and by what a catalogue says of bands."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.frame import FrameRecipe
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensor_types import Sensor, Source, plain_band_name
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.stac.bands import band_of
from rs_embed_dask.providers.stac.items import Asset, StacItem, is_contradictory

__all__ = ["INDEX", "Layer", "absent_band", "asset_for", "contradictions", "unreadable", "with_bands"]

Layer = tuple[str, ...]
INDEX: Final = "#"

_TIFF: Final = re.compile(r"tif|cog")
# what is certainly no GeoTIFF, by media type or else by the name's ending; of anything else the content decides
_FORMATS: Final = (
    (re.compile(r"jp2|jpx|j2k|jpeg ?2000"), "JPEG 2000"),
    (re.compile(r"jpe?g|png|gif|webp"), "a picture"),
    (re.compile(r"netcdf|hdf|zarr|\bnc4?\b|\bh5\b|\bhe5\b"), "an array file"),
    (re.compile(r"json|xml|html|text|pdf|\btxt\b"), "text"),
    (re.compile(r"zip|\btar\b"), "an archive"),
)
_VISIBLE: Final = frozenset({"red", "green", "blue"})
_PICTURES: Final = frozenset({"overview", "thumbnail", "visual"})
_RESOLUTION: Final = re.compile(r"_\d+m$", re.IGNORECASE)


def format_of(asset: Asset) -> str:
    """Return what an asset is if it is certainly not a GeoTIFF, else nothing."""
    return _format(asset.media, asset.href)


@functools.lru_cache(maxsize=4096)  # each asset of a scene is asked about again and again
def _format(media: str, href: str) -> str:
    media, ending = media.lower(), PurePosixPath(urlsplit(href).path).suffix.lower()
    if _TIFF.search(media) or _TIFF.search(ending):
        return ""
    return next((name for text in (media, ending) for pattern, name in _FORMATS if pattern.search(text)), "")


def asset_for(item: StacItem, names: Layer) -> tuple[str, Asset] | None:
    """Return the first asset of an item among `names` that may be a GeoTIFF, with its name."""
    for name in names:
        asset = item.assets.get(name.partition(INDEX)[0])
        if asset is not None and not format_of(asset):
            return name, asset
    return None


def unreadable(item: StacItem, recipe: FrameRecipe) -> ProviderError | None:
    """Return why an item cannot be read that has a band, but in a format of which no part can be read alone."""
    for names in recipe.assets[: len(recipe.bands)]:
        there = [(name, item.assets[name]) for name in names if name in item.assets]
        if there and asset_for(item, names) is None:
            name, asset = there[0]
            return ProviderError(
                f"asset {asset.name or name} of item {item.id}",
                value=asset.href,
                reason=f"it is {format_of(asset)}, not a GeoTIFF of which parts can be read",
                fix="use a catalogue that serves GeoTIFFs, or copy the files and read them with provider='files'",
            )
    return None


def with_bands(item: StacItem, table: Source, *, named: Iterable[str] = ()) -> StacItem:
    """Return an item with its assets under the table's names too, where it says itself which bands they are."""
    # A table's own names, and those of bands that the user named, are never overruled.
    missing = {common: names for common, names in table.assets if asset_for(item, names) is None}
    missing = {common: names for common, names in missing.items() if common not in named}
    if not missing or not any(asset.bands for asset in item.assets.values()):
        return item
    of = sensor(table.sensor)
    choices: dict[str, list[tuple[tuple[bool, bool, float], Asset]]] = {}
    for name, asset in item.assets.items():
        for common, index in _carried(asset, of):
            if common in missing:
                rank = bool(format_of(asset)), len(asset.bands) > 1, asset.gsd or math.inf
                choices.setdefault(common, []).append((rank, replace(asset, name=name, index=index)))
    best = {missing[common][0]: _only_best(each) for common, each in choices.items()}
    return replace(item, assets={**item.assets, **{name: asset for name, asset in best.items() if asset is not None}})


def _carried(asset: Asset, of: Sensor) -> Iterator[tuple[str, int | None]]:
    """Yield the bands of a sensor that an asset says it carries, with their position; none for pictures."""
    bands = [band_of(facts, of) for facts in asset.bands]
    is_picture = asset.roles & _PICTURES or (len(bands) >= len(_VISIBLE) and _VISIBLE.issuperset(bands))
    for index, common in enumerate(() if is_picture else bands, 1):
        if common is not None and bands.count(common) == 1:
            yield common, index if len(bands) > 1 else None


def _only_best(choices: list[tuple[tuple[bool, bool, float], Asset]]) -> Asset | None:
    """Return the readable, single, finest asset; none where two are alike, for nothing says which."""
    best = min(rank for rank, _ in choices)
    assets = [asset for rank, asset in choices if rank == best]
    return assets[0] if len(assets) == 1 else None


def absent_band(items: Iterable[StacItem], recipe: FrameRecipe) -> ProviderError | None:
    """Return the error for a band of which no item at all has an asset, unless no such mission has it."""
    scenes = tuple(items)
    platforms = {str(item.first(recipe.source.properties.platform)).lower().replace("_", "-") for item in scenes}
    for band, names in zip(recipe.bands, recipe.assets, strict=False):
        if not scenes or platforms <= {*band.not_on} or any(asset_for(item, names) for item in scenes):
            continue
        assets = sorted({name for item in scenes for name in item.assets})
        plain = {plain_band_name(alias) for alias in (band.common, band.name, *band.aliases)}
        alike = [name for name in assets if plain_band_name(_RESOLUTION.sub("", name)) in plain]
        return ProviderError(
            f"band {band.common} of {recipe.source.sensor}",
            value=" or ".join(names),
            reason=f"no item, such as {scenes[0].id}, has this asset; there are {', '.join(assets[:20]) or 'none'}",
            fix=f"pass assets={{{band.common!r}: {(alike or ['NAME'])[0]!r}}}, use the source= whose names these are, "
            "or leave the band out",
        )
    return None


def contradictions(items: Iterable[StacItem], recipe: FrameRecipe, grid: Grid) -> tuple[str, ...]:
    """Name the items of which a file's footprint and the item's own box contradict each other about a grid."""
    used = ((item, asset_for(item, names)) for item in items for names in recipe.assets)
    odd = dict.fromkeys(item.id for item, named in used if named and is_contradictory(item, named[1], grid))
    return tuple(
        f"item {name}: footprint and bbox contradict each other, so the file's own header decided" for name in odd
    )
