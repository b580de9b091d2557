"""What several reads of one place have in common is stacked once; each read takes its part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import Source, sensor
from rs_embed_dask.providers.protocol import Scene
from rs_embed_dask.providers.stac_items import StacItem, newest, touches
from rs_embed_dask.providers.stac_stack import Layer, asset_for

if TYPE_CHECKING:
    import dask.array as da

    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.providers.assemble import Recipe

__all__ = ["Shared", "around", "loosest", "scene_of", "serving", "touching"]

Box = tuple[float, float, float, float]


def around(grids: Sequence[Grid]) -> tuple[Box, ...]:
    """Return the boxes in degrees that hold grids of one place: one, or two at the antimeridian."""
    boxes = [grid.lonlat_boxes for grid in grids]
    if len({len(each) for each in boxes}) > 1:  # only the larger grid crosses it
        return tuple(dict.fromkeys(box for each in boxes for box in each))
    return tuple(
        (min(b[0] for b in same), min(b[1] for b in same), max(b[2] for b in same), max(b[3] for b in same))
        for same in zip(*boxes, strict=True)
    )


def touching(found: Sequence[StacItem], grid: Grid) -> tuple[StacItem, ...]:
    """Keep the items of which some file reaches into a grid."""
    return tuple(item for item in found if any(touches(item, asset, grid) for asset in item.assets.values()))


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


def scene_of(item: StacItem, cloud: tuple[str, ...], wanted: Iterable[str] = ()) -> Scene:
    """Return an item as a plain scene, with the assets that it has; ``visual#1`` counts as one where wanted."""
    assets = sorted({*item.assets, *(name for name in wanted if asset_for(item, (name,)) is not None)})
    cover = item.first(cloud)
    return Scene(item.id, item.time, None if cover is None else float(cover), {**item.properties, "assets": assets})
