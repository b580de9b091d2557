"""How many pixels the largest place of a run has, and which are too many for one read.

What is read is the square around a place, so parts that lie far apart cost as much as all that lies between them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.coverage import footprint
from rs_embed_dask.preprocess.geometry import native_tile
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.specs.ground import DEGREE_M, local_crs
from rs_embed_dask.store import ItemColumns

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen, Recipe
    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.store import Item

__all__ = ["BYTES_PER_VALUE", "LARGEST_READ_BYTES", "LARGEST_SIDE_PX", "check_extents", "largest_read"]

BYTES_PER_VALUE: Final = 4 + 1
LARGEST_READ_BYTES: Final = 8 * 2**30
LARGEST_SIDE_PX: Final = 4096
_SPARSE: Final = 0.01


def check_extents(items: Sequence[Item], chosen: Sequence[Chosen], *, max_side_px: int) -> None:
    """Refuse places with too many pixels or tiles, and those whose parts lie further apart than a model sees."""
    resolutions = {one.spec.label: one.gsd_m for one in chosen if one.gsd_m is not None}
    if not resolutions:
        return
    columns = ItemColumns.of(items)
    label, finest_m = min(resolutions.items(), key=operator.itemgetter(1))
    largest_m = max((_side_m(place) for place in columns.places.sizes()), default=0.0)
    for one in chosen:
        _check_tiles(items, one, largest_m)
    if largest_m > max_side_px * finest_m:
        for item in items:
            _check_side(item, label, finest_m, max_side_px=max_side_px)
    reaches = {one.spec.label: reach for one in chosen if (reach := one.reach_m) is not None}
    if reaches:
        label, reach_m = min(reaches.items(), key=operator.itemgetter(1))
        for row in columns.places.in_parts():
            _check_parts(items[row], label, reach_m)


def _check_tiles(items: Sequence[Item], one: Chosen, largest_m: float) -> None:
    """Refuse a place that takes more tiles at the model's own scale than are allowed."""
    for inputs, patch, prep in one.views[:1]:
        tile_m = native_tile(inputs, patch, round(largest_m / one.inputs[0][1]) + 1, prep=prep) * one.inputs[0][1]
        if (largest_m / tile_m + 1) ** 2 <= prep.max_tiles:
            return
        for item in items:
            try:
                one.fit(item.spatial)
            except SpecError as error:
                if error.what == "InputPrep.max_tiles":
                    what = f"places[{item.index}] for {one.spec.label}"
                    raise SpecError(what, value=item.spatial, reason=error.reason, fix=error.fix) from error


def _check_side(item: Item, label: str, metres: float, *, max_side_px: int) -> None:
    side_m = _side_m(item.spatial)
    if side_m > max_side_px * metres:
        reason = (
            f"its square has a side of {side_m / 1000:,.1f} km, {side_m / metres:,.0f} px of {metres:g} m for {label}, "
            f"more than {max_side_px:,} px"
        )
        fix = "use compute_map, split it, use a coarser resolution_m, or allow more by max_side_px="
        raise SpecError(f"places[{item.index}]", value=item.spatial, reason=reason, fix=fix)


def _check_parts(item: Item, label: str, reach_m: float) -> None:
    shape = footprint(item.spatial, local_crs(*item.spatial.center))
    near = shapely.union_all(shapely.buffer(shapely.get_parts(shape), reach_m / 2, quad_segs=2))
    groups = shapely.get_num_geometries(near)
    if groups > 1:
        reason = (
            f"its {shapely.get_num_geometries(shape)} parts lie in {groups} groups that are more than "
            f"{reach_m / 1000:,.2f} km apart, which is all that {label} sees at once"
        )
        fix = "split it: give the parts as places of their own, for example with frame.explode(), or use compute_map"
        raise SpecError(f"places[{item.index}]", value=item.spatial, reason=reason, fix=fix)


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
    return sum(len(group.bands) * len(group.spans(temporal)) / group.resolution_m**2 for group in recipe.groups)


def _side_m(spatial: Spatial) -> float:
    """Return the side of the square around a place."""
    if isinstance(spatial, PointBuffer):
        return 2 * spatial.buffer_m
    west, south, east, north = spatial.unwrapped.bounds
    nearest = min(abs(south), abs(north)) if south * north > 0 else 0.0
    width = (east - west) * math.cos(math.radians(nearest))
    return float(DEGREE_M * max(width, north - south))


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
