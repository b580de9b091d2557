"""How many pixels the largest place of a run has, and which are too many for one read.

What is read is the square around a place, so parts that lie far apart cost as much as all that lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.store import ItemColumns

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.store import Item

__all__ = ["BYTES_PER_VALUE", "LARGEST_READ_BYTES", "largest_read"]

BYTES_PER_VALUE: Final = 4 + 1
LARGEST_READ_BYTES: Final = 8 * 2**30
_METRES_PER_DEGREE: Final = 111_320.0
_SPARSE: Final = 0.01


def largest_read(items: Sequence[Item], recipe: Recipe) -> int:
    """Return the bytes of the largest place's pixels, roughly; refuse a place with too many for one read."""
    columns = ItemColumns.of(items)
    values = {span: _values_per_m2(recipe, span) for span in {id(span): span for span in columns.spans}.values()}
    side_m = max((_side_m(place) for place in columns.places.sizes()), default=0.0)
    nbytes = side_m**2 * max(values.values(), default=0.0) * BYTES_PER_VALUE
    if nbytes > LARGEST_READ_BYTES:
        for item in items:  # only now, because a million of them take seconds
            _check(item, values[item.temporal])
    return round(nbytes)


def _check(item: Item, values: float) -> None:
    side_m = _side_m(item.spatial)
    nbytes = side_m**2 * values * BYTES_PER_VALUE
    if nbytes > LARGEST_READ_BYTES:
        raise _too_large(item, side_m, nbytes)


def _values_per_m2(recipe: Recipe, temporal: TemporalSpec) -> float:
    """Return how many numbers all reads of one item hold for each square metre."""
    return sum(len(group.bands) * len(group.frames.spans(temporal)) / group.resolution_m**2 for group in recipe.groups)


def _side_m(spatial: Spatial) -> float:
    """Return the side of the square around a place."""
    if isinstance(spatial, PointBuffer):
        return 2 * spatial.buffer_m
    west, south, east, north = spatial.unwrapped.bounds
    nearest = min(abs(south), abs(north)) if south * north > 0 else 0.0
    width = (east - west) * math.cos(math.radians(nearest))
    return float(_METRES_PER_DEGREE * max(width, north - south))


def _too_large(item: Item, side_m: float, nbytes: float) -> SpecError:
    area_m2 = item.spatial.area_m2
    sizes = f"the square around it, which is read, has a side of {side_m / 1000:,.0f} km and {nbytes / 2**30:,.0f} GiB"
    if area_m2 < _SPARSE * side_m**2:
        reason = f"its parts lie far apart: {sizes} of pixels, of which it fills {area_m2 / 1e6:,.2f} km2"
        fix = "give its parts as places of their own, for example with frame.explode(), and average their vectors"
    else:
        reason = f"it is too large for one read: {sizes} of pixels"
        fix = "split it into smaller places, or use a coarser resolution_m"
    return SpecError(f"places[{item.index}]", value=item.spatial, reason=reason, fix=fix)
