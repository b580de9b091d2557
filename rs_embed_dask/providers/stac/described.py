"""What a STAC API states of a collection's bands, by the collection and one of its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.numbers import Numbers
from rs_embed_dask.imagery.stated import StatedBand, StatedCollection
from rs_embed_dask.providers.http import KeyedLinks
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.assets import INDEX
from rs_embed_dask.providers.stac.bands import band_facts
from rs_embed_dask.providers.stac.search import sample

__all__ = ["stated_collection"]

_CLOUD: Final = "eo:cloud_cover"
_GSD_M: Final = 10.0


@lru_cache(maxsize=64)
def stated_collection(
    url: str, name: str, retry: RetryPolicy, *, provider: str, keyed: KeyedLinks | None
) -> StatedCollection:
    """Return what is stated of a collection. Raises SpecError where the API has no item of it."""
    collection, item = sample(url, name, retry=retry, keyed=keyed)
    if item is None:
        fix = "check its id, and that the API has it"
        raise SpecError("SensorSpec.collection", value=name, reason="this STAC API has no item of it", fix=fix)
    properties, general = _mapping(item.get("properties")), _mapping(collection.get("item_assets"))
    bands = tuple(
        band
        for key, asset in _mapping(item.get("assets")).items()
        for band in _bands(key, {**_mapping(general.get(key)), **_mapping(asset)}, properties)
    )
    cloud = (_CLOUD,) if _CLOUD in properties else ()
    return StatedCollection(provider, name, bands, cloud, url)


def _bands(key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[StatedBand]:
    """Yield the bands of an asset: by its key, or its key and a number where it has several."""
    facts = band_facts(asset, properties)
    rows = [_mapping(row) for row in _listed(asset.get("raster:bands")) or _listed(asset.get("bands"))]
    count = max(len(facts), len(rows), 1)
    for number in range(count):
        one = facts[number] if number < len(facts) else None
        row = {**asset, **(rows[number] if number < len(rows) else {})}
        named = key if count == 1 else f"{key}{INDEX}{number + 1}"
        size = row.get("spatial_resolution") or row.get("raster:spatial_resolution") or row.get("gsd")
        yield StatedBand(
            named,
            named,
            _numbers(row),
            "" if one is None else one.common,
            None if one is None else one.wavelength_um,
            float(size or properties.get("gsd") or _GSD_M),
            tuple({text for text in (one and one.name, row.get("name")) if text and text != named}),
        )


def _numbers(row: Mapping[str, Any]) -> Numbers:
    """Return what is stated of a band's numbers, in the words of the raster extension or of STAC 1.1."""

    def stated(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) is not None), None)

    return Numbers.stated(
        {
            "scale_factor": stated("scale", "raster:scale"),
            "add_offset": stated("offset", "raster:offset"),
            "nodata": stated("nodata", "raster:nodata"),
            "units": stated("unit", "raster:unit"),
        }
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
