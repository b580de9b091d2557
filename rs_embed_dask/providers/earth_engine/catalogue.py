"""What Earth Engine's public data catalogue states of a collection's bands: scale, offset, unit, wavelength."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from rs_embed_dask.imagery.numbers import Numbers
from rs_embed_dask.imagery.stated import StatedBand, StatedCollection
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.bands import band_facts

__all__ = ["CATALOGUE", "stated_collection"]

CATALOGUE: Final = "https://earthengine-stac.storage.googleapis.com/catalog"
_OWN: Final = ("projects/", "users/")  # assets of users, which the catalogue does not list
_CLOUD: Final = ("CLOUDY_PIXEL_PERCENTAGE", "CLOUD_COVER", "CLOUD_COVERAGE")
_GSD_M: Final = 10.0


@lru_cache(maxsize=256)
def stated_collection(catalogue: str, name: str, retry: RetryPolicy) -> StatedCollection:
    """Return what is stated of a collection: no bands where the catalogue does not list it."""
    document = {} if name.startswith(_OWN) else _document(catalogue, name, retry)
    summaries = _mapping(document.get("summaries"))
    rows = summaries.get("eo:bands")
    listed = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    sizes = summaries.get("gsd")
    size = next(iter(sizes), _GSD_M) if isinstance(sizes, list) else _GSD_M
    facts = band_facts({"eo:bands": listed}, {})
    bands = tuple(
        StatedBand(one.name, one.name, _numbers(row), one.common, one.wavelength_um, float(row.get("gsd") or size))
        for row, one in zip(listed, facts, strict=True)
        if one.name
    )
    schema = summaries.get("gee:schema")
    properties = {_mapping(row).get("name") for row in schema} if isinstance(schema, list) else set()
    return StatedCollection("earth_engine", name, bands, tuple(one for one in _CLOUD if one in properties))


def _document(catalogue: str, name: str, retry: RetryPolicy) -> Mapping[str, Any]:
    from rs_embed_dask.providers.stac.search import document

    return document(catalogue, f"{catalogue}/{name.partition('/')[0]}/{name.replace('/', '_')}.json", retry=retry)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(row: Mapping[str, Any]) -> Numbers:
    named = {"scale_factor": "gee:scale", "add_offset": "gee:offset", "units": "gee:units"}
    return Numbers.stated({ours: row.get(theirs) for ours, theirs in named.items()})
