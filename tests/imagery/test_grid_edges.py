"""Grids across the antimeridian, round a pole, and in one projection for all places."""

from __future__ import annotations

import math

import pytest

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.specs import BBox, PointBuffer
from tests.imagery.geodetic import GEOD, covers, ground_error, lonlat, transformer

UTM31 = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (20, 31))


class TestAntimeridian:
    def test_a_box_across_it_is_one_grid(self):
        box = BBox(179.9, -16.6, -179.9, -16.4)
        grid = grid_for(box, 10)
        assert grid.crs in {"EPSG:32701", "EPSG:32760"}
        width = GEOD.inv(179.9, -16.5, -179.9, -16.5)[2]
        assert grid.shape[1] * 10 == pytest.approx(width, rel=0.02)
        assert covers(grid, box)
        (west, _, edge, _), (start, _, east, _) = grid.lonlat_boxes
        assert (edge, start) == (180, -180)
        assert (west, east) == pytest.approx((179.9, -179.9), abs=5e-3)

    @pytest.mark.parametrize("lon", [179.999, -179.999])
    @pytest.mark.parametrize("lat", [-60, -16.5, 0, 71, 85])
    def test_a_point_beside_it(self, lon, lat):
        grid = grid_for(PointBuffer(lon, lat, 5000), 10)
        assert grid.shape == (1000, 1000)
        assert ground_error(grid) < 0.002
        assert len(grid.lonlat_boxes) == 2

    def test_away_from_it_there_is_one_box(self):
        assert len(UTM31.lonlat_boxes) == 1
        west, south, east, north = UTM31.lonlat_boxes[0]
        corners = [lonlat(UTM31, x, y) for x in UTM31.bounds[::2] for y in UTM31.bounds[1::2]]
        assert west == pytest.approx(min(lon for lon, _ in corners), abs=1e-9)
        assert north == pytest.approx(max(lat for _, lat in corners), abs=1e-9)
        assert south < north
        assert west < east

    def test_a_grid_over_the_pole_reaches_round_it(self):
        polar = grid_for(PointBuffer(0, 89.5, 1000), 10).crs
        over = Grid(polar, (100, 0, -5000, 0, -100, 5000), (100, 100))
        ((west, south, east, north),) = over.lonlat_boxes
        assert (west, east, north) == (-180, 180, 90)
        assert south == pytest.approx(90 - 5000 * math.sqrt(2) / 111_694, abs=1e-3)


class TestParityMode:
    @pytest.mark.parametrize("lat", [0, 40, 60, 78])
    def test_pixels_are_mercator_metres(self, lat):
        grid = grid_for(PointBuffer(-88.2, lat, 1120), 10, crs="EPSG:3857")
        assert (grid.crs, grid.shape, grid.transform[0]) == ("EPSG:3857", (224, 224), 10.0)
        x, y = transformer(4326, 3857).transform(-88.2, lat)
        assert abs(grid.transform[2] + 1120 - x) <= 5
        assert abs(grid.transform[5] - 1120 - y) <= 5
        left, bottom, right, top = grid.bounds
        (west, south), (east, _) = lonlat(grid, left, (top + bottom) / 2), lonlat(grid, right, (top + bottom) / 2)
        side = GEOD.inv(west, south, east, south)[2]
        assert side == pytest.approx(2240 * math.cos(math.radians(lat)), rel=4e-3)

    def test_a_box(self):
        grid = grid_for(BBox(0, 0, 0.01, 0.01), 10, crs=3857)
        assert grid.bounds == (0, 0, 1120, 1120)  # 0.01 degree is 1113.19 Mercator metres

    def test_one_projection_for_all(self):
        grid = grid_for(PointBuffer(-120, 45, 500), 10, crs=5070)
        assert (grid.crs, grid.shape, grid.epsg) == ("EPSG:5070", (100, 100), 5070)

    def test_across_the_edge_of_the_map(self):
        with pytest.raises(SpecError, match="lies across the edge of its map"):
            grid_for(BBox(179.9, -16.6, -179.9, -16.4), 10, crs=3857)
