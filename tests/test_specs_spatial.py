"""Places: coordinates, the antimeridian, areas and sizes against independent geodesy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, strategies as st
from pyproj import CRS, Geod, Transformer

from rs_embed_dask.specs import BBox, PointBuffer, Polygon, spatial_from_dict

GEOD = Geod(ellps="WGS84")

LONS = st.floats(-180, 180, allow_nan=False)
LATS = st.floats(-88, 88, allow_nan=False)
POINTS = st.builds(PointBuffer, lon=LONS, lat=LATS, buffer_m=st.floats(1, 20_000))
BOXES = st.builds(
    lambda lon, lat, width, height: BBox(lon, lat, lon + width, lat + height),
    st.floats(-180, 175),
    st.floats(-85, 80),
    st.floats(1e-4, 4),
    st.floats(1e-4, 4),
)
CORNERS = [(4.3, 50.8), (4.5, 50.8), (4.4, 50.9)]


def equal_area_m2(shape):
    """Area in a cylindrical equal-area projection: another road to the same number."""
    to_equal_area = Transformer.from_crs(4326, 6933, always_xy=True)
    dense = shapely.segmentize(shape, 0.05)
    return shapely.transform(dense, to_equal_area.transform, interleaved=False).area


def perimeter_m(shape):
    return GEOD.geometry_area_perimeter(shape)[1]


def test_rs_embed_spelling():
    box = BBox(minlon=-88.3, minlat=40.0, maxlon=-88.1, maxlat=40.2)
    assert (box.minlon, box.minlat, box.maxlon, box.maxlat, box.crs) == (-88.3, 40.0, -88.1, 40.2, "EPSG:4326")
    point = PointBuffer(lon=-88.2, lat=40.1, buffer_m=1120)
    assert (point.lon, point.lat, point.buffer_m) == (-88.2, 40.1, 1120.0)


def test_numbers_become_floats_whatever_their_type():
    box = BBox(np.float32(1), np.int64(2), 3, 4.5)
    assert [type(value) for value in (box.minlon, box.minlat, box.maxlon, box.maxlat)] == [float] * 4
    assert box == BBox(1.0, 2.0, 3.0, 4.5)


def test_negative_zero_is_zero():
    assert BBox(-0.0, -0.0, 1, 1).to_json() == BBox(0, 0, 1, 1).to_json()


class TestBBox:
    def test_center_boxes_and_geometry(self):
        box = BBox(4.25, 50.75, 4.75, 51.0)
        assert box.center == (4.5, 50.875)
        assert box.lonlat_boxes == ((4.25, 50.75, 4.75, 51.0),)
        assert box.geometry.equals(shapely.box(4.25, 50.75, 4.75, 51.0))

    @pytest.mark.parametrize(
        "box",
        [BBox(4, 50, 5, 51), BBox(-70, -0.5, -69, 0.5), BBox(20, 80, 40, 84), BBox(100, -75, 101, -74)],
    )
    def test_area(self, box):
        assert box.area_m2 == pytest.approx(equal_area_m2(box.geometry), rel=1e-6)

    def test_areas_of_all_zones_add_up_to_the_earth(self):
        zones = [(-89.9999999, -60), (-60, -20), (-20, 0), (0, 35), (35, 60), (60, 89.9999999)]
        areas = [360 * BBox(0, south, 1, north).area_m2 for south, north in zones]
        assert sum(areas) == pytest.approx(510_065_621.724e6, rel=1e-9)

    def test_across_the_antimeridian(self):
        box = BBox(minlon=179, minlat=-18, maxlon=-178, maxlat=-16)
        assert box.center == (-179.5, -17.0)
        assert box.lonlat_boxes == ((179.0, -18.0, 180.0, -16.0), (-180.0, -18.0, -178.0, -16.0))
        west, east = box.geometry.geoms
        assert west.equals(shapely.box(179, -18, 180, -16))
        assert east.equals(shapely.box(-180, -18, -178, -16))
        assert box.area_m2 == pytest.approx(3 * BBox(0, -18, 1, -16).area_m2, rel=1e-12)

    @pytest.mark.parametrize(
        ("west", "east", "boxes"),
        [
            (180, -179, ((-180.0, 0.0, -179.0, 1.0),)),
            (179, -180, ((179.0, 0.0, 180.0, 1.0),)),
            (179, 180, ((179.0, 0.0, 180.0, 1.0),)),
        ],
    )
    def test_touching_the_antimeridian_is_no_crossing(self, west, east, boxes):
        box = BBox(west, 0, east, 1)
        assert box.lonlat_boxes == boxes
        assert box.geometry.geom_type == "Polygon"
        assert box.area_m2 == pytest.approx(BBox(0, 0, 1, 1).area_m2, rel=1e-12)

    def test_in_a_projected_system(self):
        box = BBox(500_000, 5_600_000, 510_000, 5_620_000, crs=32631)
        lon, lat = Transformer.from_crs(32631, 4326, always_xy=True).transform(505_000, 5_610_000)
        assert box.crs == "EPSG:32631"
        assert box.center == pytest.approx((lon, lat), abs=2e-3)
        assert box.area_m2 == pytest.approx(10_000 * 20_000 / 0.9996**2, rel=1e-5)
        assert box.own_bounds == (500_000, 5_600_000, 510_000, 5_620_000)

    def test_in_another_geographic_system_across_the_antimeridian(self):
        box = BBox(179, -18, -179, -16, crs="EPSG:4167")
        (west, _, edge, _), (_, _, east, _) = box.lonlat_boxes
        assert (west, edge, east) == pytest.approx((179, 180, -179), abs=1e-4)

    def test_in_grads(self):
        box = BBox(0, 54, 1, 55, crs="EPSG:4807")
        assert box.center == pytest.approx((2.337 + 0.45, 54.5 * 0.9), abs=0.01)

    @given(BOXES)
    def test_round_trip(self, box):
        assert BBox.from_json(box.to_json()) == box
        assert spatial_from_dict(box.to_dict()) == box


class TestPointBuffer:
    @pytest.mark.parametrize("lat", [-89, -85, -80, -45, 0, 30, 60, 72, 84, 86, 89])
    @pytest.mark.parametrize("lon", [-180, -87.001, 0.001, 3, 8.999, 42, 179.999])
    def test_sides_are_true_metres(self, lon, lat):
        point = PointBuffer(lon=lon, lat=lat, buffer_m=1000)
        assert perimeter_m(point.unwrapped) == pytest.approx(8000, rel=2e-3)
        assert point.area_m2 == pytest.approx(4e6, rel=4e-3)

    @given(POINTS)
    def test_the_point_lies_in_the_middle(self, point):
        lon, lat = point.center
        assert (lon, lat) == (point.lon, point.lat)
        turns = (lon, lon - 360, lon + 360)
        assert any(point.unwrapped.contains(shapely.Point(turn, lat)) for turn in turns)
        middle = point.unwrapped.envelope.centroid
        assert GEOD.inv(lon, lat, middle.x, middle.y)[2] < 0.6 * point.buffer_m + 1

    @given(POINTS)
    def test_round_trip(self, point):
        assert PointBuffer.from_json(point.to_json()) == point

    @given(POINTS)
    def test_boxes_cover_the_geometry(self, point):
        boxes = shapely.union_all([shapely.box(*box) for box in point.lonlat_boxes])
        assert boxes.buffer(1e-9).covers(point.geometry)
        assert len(point.lonlat_boxes) == (2 if point.geometry.geom_type == "MultiPolygon" else 1)

    def test_in_a_projected_system(self):
        point = PointBuffer(3_950_000, 3_100_000, 500, crs="EPSG:3035")
        lon, lat = Transformer.from_crs(3035, 4326, always_xy=True).transform(3_950_000, 3_100_000)
        assert point.center == pytest.approx((lon, lat), abs=1e-12)
        assert point.area_m2 == pytest.approx(1e6, rel=2e-3)

    def test_across_the_antimeridian(self):
        point = PointBuffer(lon=-179.9999, lat=-16.5, buffer_m=500)
        (west, _, edge, _), (start, _, east, _) = point.lonlat_boxes
        assert (edge, start) == (180.0, -180.0)
        assert 180 - west == pytest.approx(0.0047 - 0.0001, abs=2e-4)
        assert east + 180 == pytest.approx(0.0047 + 0.0001, abs=2e-4)
        assert point.geometry.geom_type == "MultiPolygon"
        assert point.area_m2 == pytest.approx(1e6, rel=4e-3)


class TestPolygon:
    def test_from_coordinates_and_geometry_and_text_agree(self):
        made = Polygon.from_coordinates(CORNERS)
        assert made == Polygon.from_geometry(shapely.Polygon(CORNERS))
        assert made == Polygon("POLYGON ((4.3 50.8, 4.5 50.8, 4.4 50.9, 4.3 50.8))")
        assert made.center == pytest.approx((4.4, 50.85))
        assert made.own_bounds == (4.3, 50.8, 4.5, 50.9)

    def test_blanks_and_heights_do_not_matter(self):
        flat = Polygon("POLYGON((0 0,1 0,1 1,0 0))")
        assert flat == Polygon("  POLYGON Z ((0 0 5, 1 0 5, 1 1 5, 0 0 5)) ")
        assert flat.to_dict()["wkt"] == "POLYGON ((0 0, 1 0, 1 1, 0 0))"

    def test_area_with_a_hole(self):
        shape = shapely.box(4, 50, 5, 51) - shapely.box(4.25, 50.25, 4.75, 50.75)
        expected = BBox(4, 50, 5, 51).area_m2 - BBox(4.25, 50.25, 4.75, 50.75).area_m2
        assert Polygon.from_geometry(shape).area_m2 == pytest.approx(expected, rel=1e-6)

    def test_an_edge_over_180_degrees_goes_the_short_way(self):
        polygon = Polygon.from_coordinates([(179, -18), (-178, -18), (-178, -16), (179, -16)])
        box = BBox(179, -18, -178, -16)
        assert polygon.geometry.equals(box.geometry)
        assert polygon.lonlat_boxes == box.lonlat_boxes
        assert polygon.center == box.center
        assert polygon.area_m2 == pytest.approx(box.area_m2, rel=1e-6)

    def test_halves_cut_at_the_antimeridian_are_one_place(self):
        halves = BBox(179, -18, -178, -16).geometry
        polygon = Polygon.from_geometry(halves)
        assert polygon.lonlat_boxes == ((179.0, -18.0, 180.0, -16.0), (-180.0, -18.0, -178.0, -16.0))
        assert polygon.center == (-179.5, -17.0)
        assert polygon.geometry.equals(halves)

    @pytest.mark.parametrize("hole", [(-179.5, -179.0), (179.25, 179.75), (179.5, -179.5)])
    def test_a_hole_near_the_antimeridian_stays_in_its_shell(self, hole):
        shell = [(179, -18), (-178, -18), (-178, -16), (179, -16)]
        ring = [(hole[0], -17.5), (hole[1], -17.5), (hole[1], -16.5), (hole[0], -16.5)]
        polygon = Polygon.from_geometry(shapely.Polygon(shell, [ring]))
        cut = BBox(hole[0], -17.5, hole[1], -16.5).area_m2
        assert polygon.area_m2 == pytest.approx(BBox(179, -18, -178, -16).area_m2 - cut, rel=1e-6)

    def test_in_a_projected_system(self):
        square = Polygon.from_geometry(shapely.box(500_000, 5_600_000, 501_000, 5_601_000), crs=32631)
        assert square.area_m2 == pytest.approx(1e6 / 0.9996**2, rel=1e-6)

    def test_two_parts_are_one_place(self):
        both = shapely.MultiPolygon([shapely.box(4, 50, 4.1, 50.1), shapely.box(4.3, 50, 4.4, 50.1)])
        polygon = Polygon.from_geometry(both)
        assert polygon.lonlat_boxes == ((4.0, 50.0, 4.4, 50.1),)
        assert polygon.area_m2 == pytest.approx(2 * BBox(4, 50, 4.1, 50.1).area_m2, rel=1e-6)

    @given(st.lists(st.tuples(st.floats(-5, 5), st.floats(40, 50)), min_size=3, max_size=8, unique=True))
    def test_round_trip_of_any_hull(self, corners):
        hull = shapely.MultiPoint(corners).convex_hull
        if hull.geom_type == "Polygon" and hull.area > 1e-6:
            polygon = Polygon.from_geometry(hull)
            assert Polygon.from_json(polygon.to_json()) == polygon
            assert polygon.geometry.equals(hull)


class TestCrs:
    @pytest.mark.parametrize(
        ("given", "name"),
        [
            (4326, "EPSG:4326"),
            ("epsg:4326", "EPSG:4326"),
            ("OGC:CRS84", "EPSG:4326"),
            ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"),
            ("WGS84", "EPSG:4326"),
            (CRS(4326), "EPSG:4326"),
            (CRS(4326).to_wkt(), "EPSG:4326"),
        ],
    )
    def test_one_name_for_one_system(self, given, name):
        assert BBox(0, 0, 1, 1, crs=given).crs == name

    def test_a_system_without_a_code_round_trips(self):
        own = "+proj=laea +lat_0=45 +lon_0=10 +datum=WGS84 +units=m +type=crs"
        box = BBox(-5000, -5000, 5000, 5000, crs=own)
        assert BBox.from_json(box.to_json()) == box
        assert box.center == pytest.approx((10, 45), abs=1e-3)
        assert box.area_m2 == pytest.approx(1e8, rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (BBox(4.25, 50.75, 4.5, 51), "BBox(4.25, 50.75, 4.5, 51)"),
        (BBox(0, 0, 9, 9, crs=32631), "BBox(0, 0, 9, 9, crs='EPSG:32631')"),
        (PointBuffer(-88.2, 40.1, 1120), "PointBuffer(-88.2, 40.1, buffer_m=1120)"),
        (PointBuffer(1 / 3, 2 / 3, 10), "PointBuffer(0.333333333, 0.666666667, buffer_m=10)"),
        (Polygon.from_coordinates(CORNERS), "Polygon(3 corners around 4.4, 50.85)"),
    ],
)
def test_reprs(spec, text):
    assert repr(spec) == text


def test_places_are_values():
    same = PointBuffer(1, 2, 3), PointBuffer(lon=1.0, lat=2.0, buffer_m=3.0)
    assert len(set(same)) == 1
    assert BBox(0, 0, 1, 1) != BBox(0, 0, 1, 2)
    assert math.isclose(PointBuffer(0, 0, 100_000).area_m2, 4e10, rel_tol=4e-3)
