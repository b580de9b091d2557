from __future__ import annotations

import shapely
from hypothesis import given, settings, strategies as st

from rs_embed_dask.specs import BBox, PointBuffer
from rs_embed_dask.specs.columns import PlaceList
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
