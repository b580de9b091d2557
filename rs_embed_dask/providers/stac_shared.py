"""What several reads of one place have in common is stacked once; each read takes its part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import Source, sensor
from rs_embed_dask.providers.stac_items import StacItem, newest
from rs_embed_dask.providers.stac_stack import Layer

if TYPE_CHECKING:
    import dask.array as da

    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.providers.assemble import Recipe

__all__ = ["Shared", "loosest", "serving"]


def loosest(reads: Sequence[Read]) -> tuple[Span, FetchSpec]:
    """Return the time and the cloud limit that let every scene in that some read wants."""
    limits = [read.fetch.max_cloud_pct for read in reads]
    known = [limit for limit in limits if limit is not None]
    limit = max(known) if len(known) == len(limits) else None
    whole = Span(min(read.span.start for read in reads), max(read.span.end for read in reads))
    return whole, replace(reads[0].fetch, max_cloud_pct=limit)


def serving(found: Sequence[StacItem], read: Read, known: Source) -> tuple[StacItem, ...]:
    """Return the items that one read wants, as if it had been searched for alone."""
    limit = read.fetch.max_cloud_pct if sensor(known.sensor).kind == "optical" else None

    def wanted(item: StacItem) -> bool:
        cover = item.first(known.properties.cloud)
        clear = limit is None or (cover is not None and float(cover) <= limit)
        return clear and any(span.start <= item.time.date() < span.end for span in read.frames)

    return newest([item for item in found if wanted(item)], known.properties)


@dataclass(frozen=True)
class Shared:
    """The items and layers of a stack.

    Parameters
    ----------
    items : tuple of StacItem
        Along its first axis.
    layers : tuple of tuple of str
        Along its second: the names of the assets that may carry each.
    """

    items: tuple[StacItem, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, wanted: Sequence[Sequence[StacItem]], recipes: Sequence[Recipe]) -> Self:
        """Take what some read wants, each item and layer once."""
        items = {item.id: item for each in wanted for item in each}
        layers = dict.fromkeys(names for recipe in recipes for names in recipe.assets)
        return cls(tuple(sorted(items.values(), key=lambda item: (item.time, item.id))), tuple(layers))

    def part(self, raw: da.Array, items: Sequence[StacItem], layers: Sequence[Layer]) -> da.Array:
        """Take one read's items and layers out of the stack: (n, a, H, W) of (N, A, H, W)."""
        rows = {item.id: row for row, item in enumerate(self.items)}
        columns = {names: column for column, names in enumerate(self.layers)}
        taken = raw
        if tuple(items) != self.items:
            taken = taken[[rows[item.id] for item in items]]
        if tuple(layers) != self.layers:
            taken = taken[:, [columns[names] for names in layers]]
        return taken
