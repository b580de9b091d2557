"""Grids of places: zones known from atlases, transforms known by hand, sizes measured on the ellipsoid."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given, settings, strategies as st
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.specs import BBox, PointBuffer, Polygon
from rs_embed_dask.specs.ground import local_crs, scale_error
from tests.imagery.geodetic import GEOD, covers, ground_error, transformer

POINTS = st.builds(PointBuffer, lon=st.floats(-180, 180), lat=st.floats(-88, 88), buffer_m=st.floats(5, 5000))


class TestProjection:
    @pytest.mark.parametrize(
        ("place", "lon", "lat", "crs"),
        [
            ("Brussels", 4.35, 50.85, "EPSG:32631"),
            ("Urbana", -88.2, 40.1, "EPSG:32616"),
            ("Nairobi", 36.82, -1.29, "EPSG:32737"),
            ("Quito", -78.47, -0.18, "EPSG:32717"),
            ("on the equator", 0.5, 0.0, "EPSG:32631"),
            ("Bergen, in 31 by longitude", 5.32, 60.39, "EPSG:32632"),
            ("Stavanger", 5.73, 58.97, "EPSG:32632"),
            ("south of band V", 5.0, 55.99, "EPSG:32631"),
            ("north of band V", 5.0, 64.0, "EPSG:32631"),
            ("west edge of 32V", 3.0, 60.0, "EPSG:32632"),
            ("just west of 32V", 2.999, 60.0, "EPSG:32631"),
            ("Longyearbyen", 15.65, 78.22, "EPSG:32633"),
            ("31X", 8.9, 75.0, "EPSG:32631"),
            ("33X", 9.0, 75.0, "EPSG:32633"),
            ("35X", 21.0, 75.0, "EPSG:32635"),
            ("37X", 33.0, 75.0, "EPSG:32637"),
            ("37X, its east", 41.9, 75.0, "EPSG:32637"),
            ("38X", 42.0, 75.0, "EPSG:32638"),
            ("north limit", 10.0, 84.0, "EPSG:32633"),
            ("south limit", 10.0, -80.0, "EPSG:32732"),
            ("Suva", 178.44, -18.14, "EPSG:32760"),
            ("Taveuni, over the line", -179.95, -16.8, "EPSG:32701"),
            ("180 itself", 180.0, 10.0, "EPSG:32601"),
            ("-180", -180.0, 10.0, "EPSG:32601"),
        ],
    )
    def test_known_places(self, place, lon, lat, crs):
        assert local_crs(lon, lat) == crs
        assert grid_for(PointBuffer(lon, lat, 100), 10).crs == crs

    @settings(max_examples=30)
    @given(st.floats(-179.99, 179.99), st.floats(-79.9, 83.9))
    def test_the_register_of_epsg_agrees_outside_norway(self, lon, lat):
        exceptional = (56 <= lat < 64 and 0 <= lon < 12) or (lat >= 72 and 0 <= lon < 42)
        if not exceptional and 1e-6 < lon % 6 < 6 - 1e-6 and abs(lat) > 1e-6:
            around = AreaOfInterest(lon, lat, lon, lat)
            found = {f"EPSG:{info.code}" for info in query_utm_crs_info("WGS 84", around)}
            assert local_crs(lon, lat) in found

    @pytest.mark.parametrize(("lat", "true_at"), [(84.001, 86), (89.9, 86), (-80.001, -81), (-83, -83), (-88, -86)])
    def test_polar_stereographic_past_the_limits(self, lat, true_at):
        grid = grid_for(PointBuffer(30, lat, 1000), 10)
        assert f"+proj=stere +lat_0={90 if lat > 0 else -90} +lat_ts={true_at} " in grid.crs
        assert grid.epsg is None
        assert GEOD.inv(*grid.center_lonlat, 30, lat)[2] < 7.1


class TestGroundSize:
    LATS = (-89.5, -87, -84.01, -83.99, -82, -80.01, -79.9, -60, -30, -0.01, 0, 15, 45, 59.9, 63.99, 71.9)
    NORTH = (72.01, 78, 83.99, 84.01, 85, 87, 89.5)

    @pytest.mark.parametrize("lat", LATS + NORTH)
    def test_within_a_fifth_of_a_percent_at_every_latitude(self, lat):
        lons = (-180, -177, -174.0001, -6, 0, 2.9999, 3, 5.9999, 8.9999, 9, 20.9999, 41.9999, 90, 179.9999)
        grids = [grid_for(PointBuffer(lon, lat, 1120), 10) for lon in lons]
        assert {grid.shape for grid in grids} == {(224, 224)}
        assert max(ground_error(grid) for grid in grids) < 0.002

    @given(POINTS, st.sampled_from([3, 10, 20, 30, 500]))
    def test_anywhere(self, point, resolution):
        grid = grid_for(point, resolution)
        side = max(1, math.floor(2 * point.buffer_m / resolution + 0.5))
        assert grid.shape == (side, side)
        assert ground_error(grid) < 0.002
        lon, lat = grid.center_lonlat
        assert GEOD.inv(lon, lat, point.lon, point.lat)[2] <= resolution * math.sqrt(0.5) * 1.002

    @pytest.mark.parametrize("lat", [-75, -20, 0, 40, 60, 70])
    @pytest.mark.parametrize("lon", [0, 3, 6, 9])
    def test_the_largest_buffer(self, lon, lat):
        grid = grid_for(PointBuffer(lon, lat, 100_000), 100)
        assert grid.shape == (2000, 2000)
        assert scale_error(grid.crs, grid.bounds) < 0.002

    @pytest.mark.parametrize(
        "box",
        [BBox(-6, -4, 3, 4), BBox(-5, 45, 6, 53), BBox(0, 56, 12, 63), BBox(0, 80, 60, 86), BBox(10, -86, 40, -79)],
    )
    def test_places_wider_than_a_zone_get_a_projection_of_their_own(self, box):
        grid = grid_for(box, 100)
        assert "+proj=stere" in grid.crs
        assert scale_error(grid.crs, grid.bounds) < 0.002
        assert covers(grid, box)

    @pytest.mark.parametrize(
        "place",
        [
            BBox(-100, 50, -60, 52),
            BBox(-180, 83, 180, 83.2),
            Polygon.from_geometry(shapely.MultiPolygon([shapely.box(2, 48, 3, 49), shapely.box(-53, 4, -52, 5)])),
            Polygon.from_geometry(shapely.MultiPolygon([shapely.box(2, 48, 3, 49), shapely.box(-157, 20, -156, 21)])),
        ],
    )
    def test_a_place_too_wide_for_any_projection_is_refused(self, place):
        with pytest.raises(SpecError, match=r"no projection is true over it to 0.2 %. Fix: split it"):
            grid_for(place, 100)


class TestLattice:
    def test_a_point_known_by_hand(self):
        # 500 km east and 5 000 km north lies on the central meridian of zone 31 at 45.153 north
        lon, lat = transformer(32631, 4326).transform(500_003, 5_000_004)
        grid = grid_for(PointBuffer(lon, lat, 20), 10)
        assert grid == Grid("EPSG:32631", (10, 0, 499_980, 0, -10, 5_000_020), (4, 4))
        assert grid.xs.tolist() == [499_985, 499_995, 500_005, 500_015]
        assert grid.ys.tolist() == [5_000_015, 5_000_005, 4_999_995, 4_999_985]

    def test_a_box_on_the_lattice_is_taken_exactly(self):
        grid = grid_for(BBox(600_000, 5_690_000, 600_310, 5_690_200, crs=32631), 10)
        assert grid == Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_690_200), (20, 31))

    def test_a_box_off_the_lattice_is_covered_by_whole_pixels(self):
        grid = grid_for(BBox(600_001, 5_690_009, 600_301, 5_690_191, crs=32631), 10)
        assert grid.bounds == (600_000, 5_690_000, 600_310, 5_690_200)

    def test_a_box_of_degrees_whose_rounding_is_not_exact(self):
        to_degrees = transformer(32631, 4326)
        corners = [to_degrees.transform(x, y) for x, y in [(500_000, 5_600_000), (500_400, 5_600_000)]]
        box = BBox(corners[0][0], corners[0][1], corners[1][0], corners[1][1] + 1e-4)
        assert grid_for(box, 10).bounds[0] == 500_000

    @given(POINTS, st.sampled_from([10, 20, 30, 60, 500]))
    def test_corners_lie_on_multiples_of_the_resolution(self, point, resolution):
        grid = grid_for(point, resolution)
        a, b, left, d, e, top = grid.transform
        assert (a, b, d, e) == (resolution, 0, 0, -resolution)
        assert left % resolution == 0
        assert top % resolution == 0

    def test_a_coarser_lattice(self):
        grid = grid_for(PointBuffer(4.353, 50.851, 1120), 10, snap_m=60)
        assert grid.shape == (224, 224)
        assert (grid.transform[2] % 60, grid.transform[5] % 60) == (0, 0)

    def test_the_lattice_of_landsat(self):
        grid = grid_for(PointBuffer(4.353, 50.851, 1500), 30, anchor_m=15)
        assert grid.shape == (100, 100)
        assert (grid.transform[2] % 30, grid.transform[5] % 30) == (15, 15)

    @pytest.mark.parametrize(("buffer_m", "side"), [(1, 1), (4, 1), (5, 1), (12.5, 3), (14.9, 3), (1120, 224)])
    def test_sides_are_rounded_half_up_and_never_empty(self, buffer_m, side):
        assert grid_for(PointBuffer(4, 50, buffer_m), 10).shape == (side, side)

    def test_neighbours_share_their_lattice(self):
        one, other = (grid_for(PointBuffer(4.35 + step, 50.85, 500), 10) for step in (0, 0.01))
        assert (one.transform[2] - other.transform[2]) % 10 == 0

    @given(st.floats(-179, 178), st.floats(-70, 70), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
    def test_a_box_is_covered_with_less_than_a_pixel_to_spare(self, west, south, width, height):
        box = BBox(west, south, west + width, south + height)
        grid = grid_for(box, 100)
        assert covers(grid, box)
        to_grid = transformer(4326, grid.crs)
        points = shapely.get_coordinates(shapely.segmentize(box.unwrapped, 0.002))
        x, y = to_grid.transform(points[:, 0], points[:, 1])
        left, bottom, right, top = grid.bounds
        spare = (x.min() - left, right - x.max(), y.min() - bottom, top - y.max())
        assert all(-0.1 < part < 100.1 for part in spare)

    def test_a_polygon_has_the_grid_of_its_extent(self):
        box = shapely.box(600_000, 5_690_000, 600_300, 5_690_200)
        corner = Polygon.from_geometry(box - shapely.box(600_100, 5_690_100, 600_300, 5_690_200), crs=32631)
        assert grid_for(corner, 10) == grid_for(BBox(*box.bounds, crs=32631), 10)
