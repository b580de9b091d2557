"""Earth Search: Element 84's catalogue of open data on AWS, whose files need no signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rs_embed_dask.providers.stac.provider import StacProvider

__all__ = ["EarthSearch"]


@dataclass(frozen=True, repr=False)
class EarthSearch(StacProvider):
    """Reads the collections of Earth Search.

    Parameters
    ----------
    url, source, collections, assets, absent, threads, chunk_px, retry, fallback
        As of `StacProvider`.

    Examples
    --------
    >>> EarthSearch().source
    'earth_search'
    """

    url: str = "https://earth-search.aws.element84.com/v1"

    name: ClassVar[str] = "earth_search"
