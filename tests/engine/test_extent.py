"""Places that are too large for one read, or whose parts lie far apart, are refused before anything is read."""

from __future__ import annotations

import pytest
import shapely
from shapely.affinity import translate

import rs_embed_dask as rs
from rs_embed_dask.engine.plan import Sizes, make_plan
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.watch import Workers
from rs_embed_dask.errors import EngineError, SpecError
from rs_embed_dask.specs import FetchSpec, PointBuffer, Polygon, TemporalSpec
from rs_embed_dask.store import Item

SPAN = TemporalSpec.range("2022-06-01", "2022-07-01")
SQUARE = shapely.box(4.35, 50.85, 4.353, 50.852)


def apart(degrees):
    return shapely.MultiPolygon([SQUARE, translate(SQUARE, degrees)])


def planned(*places, fetch=None, model="bandstats", max_side_px=20_000):
    items = [Item(n, place, SPAN) for n, place in enumerate(places)]
    request = request_of(model, {"provider": "synthetic", "fetch": fetch or FetchSpec()})
    return make_plan(items, request, sizes=Sizes(max_side_px=max_side_px))


def test_parts_far_apart_are_refused_with_their_place_and_the_fix():
    with pytest.raises(SpecError, match=r"places\[1\].*parts lie far apart.*a side of 387 km.*0\.09 km2.*explode"):
        rs.plan([SQUARE, apart(5.5)], ["bandstats"], SPAN, provider="synthetic")


# bytes: (side / 10 m) ^ 2 x 10 bands x 5
@pytest.mark.parametrize(("side_m", "is_read"), [(100_000, True), (140_000, False)])
def test_the_limit_is_that_of_the_pixels(side_m, is_read):
    place = PointBuffer(4.35, 50.85, side_m / 2)
    if is_read:
        assert planned(place).figures.item_bytes == pytest.approx((side_m / 10) ** 2 * 10 * 5, rel=0.01)
    else:
        with pytest.raises(SpecError, match=r"too large for one read.*coarser resolution_m"):
            planned(place)
        assert planned(place, fetch=FetchSpec(resolution_m=60)).figures.item_bytes < 2**29


def test_a_side_of_more_pixels_than_the_bound_is_refused_with_the_numbers():
    reason = (
        r"places\[1\].*side of 41\.0 km, 4,100 px of 10 m for bandstats, more than 4,096 px.*use compute_map, split it"
    )
    with pytest.raises(SpecError, match=reason):
        planned(PointBuffer(4.35, 50.85, 100), PointBuffer(4.35, 50.85, 20_500), max_side_px=4096)
    assert planned(PointBuffer(4.35, 50.85, 20_480), max_side_px=4096).figures.items == 1
    assert planned(PointBuffer(4.35, 50.85, 20_500), fetch=FetchSpec(resolution_m=20), max_side_px=4096)


def test_parts_further_apart_than_the_model_sees_are_refused():
    """RemoteCLIP sees 224 px of 10 m at once: 2.24 km. The parts are 0.3 and 0.02 degrees apart, less their width."""
    reason = r"places\[0\].*its 2 parts lie in 2 groups that are more than 2\.24 km apart.*remoteclip.*split it"
    with pytest.raises(SpecError, match=reason):
        planned(Polygon.from_geometry(apart(0.3)), model="remoteclip")
    with pytest.warns(UserWarning, match="remoteclip"):
        assert planned(Polygon.from_geometry(apart(0.02)), model="remoteclip").figures.items == 1


def test_one_large_place_among_many_sets_what_an_item_needs():
    """The largest is found wherever it stands: prices are of a sample."""
    small = [PointBuffer(4 + n / 1000, 50.85, 60) for n in range(100)]
    small[37] = Polygon.from_geometry(apart(0.3))
    side_m = 111_320 * 0.303 * 0.6315
    assert planned(*small).figures.item_bytes == pytest.approx((side_m / 10) ** 2 * 10 * 5, rel=0.02)


def test_parts_across_the_antimeridian_are_near():
    parts = [shapely.box(179.995, -17, 180, -16.995), shapely.box(-180, -17, -179.995, -16.995)]
    assert planned(Polygon.from_geometry(shapely.MultiPolygon(parts))).figures.item_bytes < 2**24


def test_workers_that_cannot_hold_the_largest_place_are_refused():
    gib, about = 2**30, {"resources": {}, "nthreads": 1}
    two = {
        f"tcp://{n}": {"resources": {}, "nthreads": 1, "memory_limit": limit} for n, limit in enumerate((4 * gib, gib))
    }
    workers = Workers.of(two)
    workers.check_pixels(int(0.79 * gib))
    with pytest.raises(EngineError, match=r"memory of a worker = '?1\.0 GiB.*largest place need 2\.0 GiB.*split"):
        workers.check_pixels(2 * gib)
    Workers.of({"tcp://0": about | {"memory_limit": 0}}).check_pixels(2 * gib)
