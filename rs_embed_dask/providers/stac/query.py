"""What a catalogue is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers.http import KeyedLinks
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.items import Box

__all__ = ["Query"]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. Frozen and hashable: the same query is asked once."""

    url: str
    collections: tuple[str, ...]
    boxes: tuple[Box, ...]
    span: Span
    cloud: str | None = None
    most_cloud: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy, compare=False)
    keyed: KeyedLinks | None = None
