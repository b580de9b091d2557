from __future__ import annotations

import shapely
from hypothesis import given, settings, strategies as st

from rs_embed_dask.specs import BBox, PointBuffer
from rs_embed_dask.specs.columns import PlaceList
from rs_embed_dask.specs.ground import utm_zones
from rs_embed_dask.store.items import footprints

POINTS = st.builds(
    PointBuffer,
    lon=st.floats(-180, 180),
    lat=st.floats(-84, 84),
    buffer_m=st.sampled_from([0.5, 10.0, 260.0, 1500.0, 2500.0, 40_000.0]),
)


@settings(max_examples=30)
@given(st.lists(POINTS, max_size=12))
def test_many_outlines_are_each_places_own(places):
    for place, outline in zip(places, footprints(PlaceList(places)), strict=True):
        assert shapely.equals_exact(outline, place.geometry, tolerance=1e-9)


def test_zones_of_many_places_have_their_exceptions():
    zones = {
        (-180.0, 0.0): 1,
        (180.0, 0.0): 1,
        (179.9, 0.0): 60,
        (5.32, 60.39): 32,
        (5.32, 64.0): 31,
        (2.99, 60.0): 31,
        (8.9, 72.0): 31,
        (9.0, 84.0): 33,
        (20.9, 80.0): 33,
        (41.9, 80.0): 37,
        (-0.1, -60.0): 30,
    }
    assert utm_zones(*zip(*zones, strict=True)).tolist() == list(zones.values())


def test_across_the_antimeridian_and_boxes():
    places = [
        PointBuffer(lon=180.0, lat=5.0, buffer_m=500),
        PointBuffer(lon=-179.999, lat=65.0, buffer_m=500),
        BBox(1, 2, 3, 4),
    ]
    found = footprints(PlaceList(places))
    assert [one.geom_type for one in found] == ["MultiPolygon", "MultiPolygon", "Polygon"]
    for place, outline in zip(places, found, strict=True):
        assert shapely.equals_exact(outline, place.geometry, tolerance=1e-9)
