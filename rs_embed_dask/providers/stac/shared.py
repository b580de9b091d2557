"""Which items serve the reads of one place, and the stack that the reads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import flies
from rs_embed_dask.imagery.sensors import Source, sensor
from rs_embed_dask.providers.assemble import FrameRecipe
from rs_embed_dask.providers.stac.assets import Layer
from rs_embed_dask.providers.stac.items import Box, StacItem, newest, touches

if TYPE_CHECKING:
    import dask.array as da

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = ["Shared", "around", "is_wanted", "serving", "spanning", "touching"]


@dataclass(frozen=True)
class Shared:
    """The items and layers of a stack."""

    items: tuple[StacItem, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, items_per_read: Sequence[Sequence[StacItem]], recipes: Sequence[FrameRecipe]) -> Self:
        """Collect what any read needs, each item and layer once."""
        items = {item.id: item for each in items_per_read for item in each}
        layers = dict.fromkeys(names for recipe in recipes for names in recipe.assets)
        return cls(tuple(sorted(items.values(), key=lambda item: (item.time, item.id))), tuple(layers))

    def part(self, raw: da.Array, items: Sequence[StacItem], layers: Sequence[Layer]) -> da.Array:
        """Take one read's items and layers out of the table: (n, a, I, J) of (N, A, I, J)."""
        rows = {item.id: row for row, item in enumerate(self.items)}
        columns = {names: column for column, names in enumerate(self.layers)}
        taken = raw
        if tuple(items) != self.items:
            taken = taken[[rows[item.id] for item in items]]
        if tuple(layers) != self.layers:
            taken = taken[:, [columns[names] for names in layers]]
        return taken


def around(grids: Sequence[Grid]) -> tuple[Box, ...]:
    """Return the boxes in degrees that hold grids of one place: one, or two at the antimeridian."""
    boxes = [grid.lonlat_boxes for grid in grids]
    if len({len(each) for each in boxes}) > 1:  # only the larger grid crosses it
        return tuple(dict.fromkeys(box for each in boxes for box in each))
    return tuple(
        (min(b[0] for b in same), min(b[1] for b in same), max(b[2] for b in same), max(b[3] for b in same))
        for same in zip(*boxes, strict=True)
    )


def touching(items: Sequence[StacItem], grid: Grid) -> tuple[StacItem, ...]:
    """Keep the items of which some file reaches into a grid, and those of which that is unknown."""
    return tuple(
        item for item in items if item.fault or any(touches(item, asset, grid) for asset in item.assets.values())
    )


def spanning(reads: Sequence[Read]) -> Span:
    """Return the span that holds every scene that any of the reads needs."""
    return Span(min(read.span.start for read in reads), max(read.span.end for read in reads))


def serving(items: Sequence[StacItem], read: Read, table: Source) -> tuple[StacItem, ...]:
    """Return the items that one read needs, as if it had been searched for alone."""

    def matches(item: StacItem) -> bool:
        return bool(item.fault) or (
            is_wanted(item, table, read.fetch) and any(item.time.date() in span for span in read.frames)
        )

    return newest([item for item in items if matches(item)], table.properties)


def is_wanted(item: StacItem, table: Source, fetch: FetchSpec) -> bool:
    """Return whether an item is of the orbit that is asked for and passes the cloud limit; an unknown one does not."""
    if not flies(item.first(table.properties.orbit), fetch.orbit):
        return False
    if fetch.max_cloud_pct is None or sensor(table.sensor).kind != "optical":
        return True
    cover = item.number(table.properties.cloud)
    return cover is not None and cover <= fetch.max_cloud_pct
