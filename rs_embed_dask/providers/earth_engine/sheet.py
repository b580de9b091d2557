"""Many small places in one request: side by side on a sheet, where each is moved pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from rs_embed_dask.imagery.grid import Grid, Window
from rs_embed_dask.providers.earth_engine.image import image_of
from rs_embed_dask.providers.earth_engine.orders import BYTES_PER_VALUE
from rs_embed_dask.providers.earth_engine.read import ask, fetched
from rs_embed_dask.providers.earth_engine.session import TooMuchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.providers.earth_engine.orders import Order

__all__ = ["MOST_PLACES", "Sheet", "replies_of", "requests_of"]

MOST_PLACES: Final = 64
"""Most places of one request: its expression grows with them, not only its bytes."""

_CRS: Final = "EPSG:32631"
_CORNER: Final = (500_000.0, 5_000_000.0)
_GAP_PX: Final = 1
_MARGIN_PX: Final = 0.25  # less than the gap, so that no rounding cuts a pixel off or lets in a neighbour's


@dataclass(frozen=True)
class Sheet:
    """A grid of no particular ground, and where on it each place lies."""

    slots: tuple[Window, ...]

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]]) -> Self:
        """Lay out places in rows of about the width of a square, the tallest first."""
        width = max(*(columns for _, columns in shapes), math.isqrt(sum((r + 1) * (c + 1) for r, c in shapes)) + 1)
        slots: dict[int, Window] = {}
        top = left = tallest = 0
        for number in sorted(range(len(shapes)), key=lambda number: -shapes[number][0]):
            rows, columns = shapes[number]
            if left + columns > width:
                top, left, tallest = top + tallest + _GAP_PX, 0, 0
            slots[number] = Window(top, left, rows, columns)
            left, tallest = left + columns + _GAP_PX, max(tallest, rows)
        return cls(tuple(slots[number] for number in range(len(shapes))))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return max(s.row + s.height for s in self.slots), max(s.col + s.width for s in self.slots)

    def grid(self, step: float) -> Grid:
        """Return its pixels, of the size that those of the places have."""
        left, top = _CORNER
        return Grid(_CRS, (step, 0.0, left, 0.0, -step, top), self.shape)

    def image(self, orders: Sequence[Order], grid: Grid) -> Any:
        """Return one image of all orders, each moved from its ground to its slot."""
        import ee

        moved = []
        for slot, order in zip(self.slots, orders, strict=True):
            part, margin = grid.crop(slot), _MARGIN_PX * grid.transform[0]
            here, there = (ee.Projection(one.crs, list(one.transform)) for one in (order.grid, part))
            left, bottom, right, top = part.bounds
            edges = [left - margin, bottom - margin, right + margin, top + margin]
            frame = ee.Geometry.Rectangle(edges, proj=grid.crs, geodesic=False)
            image = image_of(order, order.settings.table(order.sensor))
            moved.append(image.changeProj(here, there).clip(frame))
        return ee.ImageCollection.fromImages(moved).mosaic()


def requests_of(shape: tuple[int, int], depth: int, limit_bytes: int) -> float:
    """Return how many requests a place of so many bands takes, or its share of a sheet."""
    share = math.prod(side + _GAP_PX for side in shape) * depth * BYTES_PER_VALUE / limit_bytes
    return max(1 / MOST_PLACES, share if share < 1 else math.ceil(share))


def replies_of(orders: Sequence[Order]) -> list[NDArray[np.float32] | None]:
    """Return the pixels of some orders of the same layers, None for those that want requests of their own."""
    if len(orders) == 1:
        return [None]
    first, sheet = orders[0], Sheet.of([order.grid.shape for order in orders])
    size = math.prod(sheet.shape) * first.depth * BYTES_PER_VALUE
    if len(orders) <= MOST_PLACES and size <= first.settings.limit_bytes:
        grid = sheet.grid(first.grid.resolution_m)
        what = f"earth_engine: {first.sensor} at {len(orders)} places"
        with suppress(TooMuchError):
            pixels = ask(
                first.settings.access,
                lambda: fetched(sheet.image(orders, grid), grid, depth=first.depth),
                what=what,
            )
            return [pixels[:, *slot.slices] for slot in sheet.slots]
    middle = len(orders) // 2
    return [*replies_of(orders[:middle]), *replies_of(orders[middle:])]
