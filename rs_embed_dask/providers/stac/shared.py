"""The stack that several reads of one place share: which items and layers it has, and the part of each read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rs_embed_dask.providers.assemble import FrameRecipe
from rs_embed_dask.providers.stac.read import Layer
from rs_embed_dask.providers.stac.search import StacItem

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["Shared"]


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
        """Take one read's items and layers out of the stack: (n, a, H, W) of (N, A, H, W)."""
        rows = {item.id: row for row, item in enumerate(self.items)}
        columns = {names: column for column, names in enumerate(self.layers)}
        taken = raw
        if tuple(items) != self.items:
            taken = taken[[rows[item.id] for item in items]]
        if tuple(layers) != self.layers:
            taken = taken[:, [columns[names] for names in layers]]
        return taken
