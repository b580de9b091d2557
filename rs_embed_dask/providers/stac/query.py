"""What a catalogue is asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers.http import KeyedLinks
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.items import Box
from rs_embed_dask.providers.vicinity import Board

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
    board: Board | None = field(default=None, compare=False)
    """Where the processes of a run leave the answer for each other."""

    @property
    def digest(self) -> str:
        """A name that is the same for the same query, in any process."""
        asked = (
            self.url,
            self.collections,
            self.boxes,
            str(self.span.start),
            str(self.span.end),
            self.cloud,
            self.most_cloud,
        )
        return hashlib.blake2b(repr(asked).encode(), digest_size=8).hexdigest()
