"""Grids and windows as values: coordinates, crops, squares, round trips, and bad input."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from affine import Affine
from dask.base import tokenize
from hypothesis import given, strategies as st
from odc.geo.geobox import GeoBox

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid, Window, grid_for
from rs_embed_dask.specs import BBox, PointBuffer

UTM31 = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (20, 31))


class TestGrid:
    def test_bounds_and_centres(self):
        assert UTM31.bounds == (600_000, 5_699_800, 600_310, 5_700_000)
        assert UTM31.resolution_m == 10.0
        assert (UTM31.xs[0], UTM31.xs[-1]) == (600_005, 600_305)
        assert (UTM31.ys[0], UTM31.ys[-1]) == (5_699_995, 5_699_805)
        assert UTM31.epsg == 32631

    def test_odc_geo_agrees(self):
        box = GeoBox(UTM31.shape, Affine(*UTM31.transform), UTM31.crs)
        assert box.crs.epsg == 32631
        assert np.array_equal(box.coordinates["x"].values, UTM31.xs)
        assert np.array_equal(box.coordinates["y"].values, UTM31.ys)

    def test_an_affine_is_understood(self):
        assert Grid(32631, Affine(10, 0, 600_000, 0, -10, 5_700_000), [20, 31]) == UTM31

    def test_travels(self):
        assert Grid.from_json(UTM31.to_json()) == UTM31
        assert pickle.loads(pickle.dumps(UTM31)) == UTM31
        assert hash(Grid.from_dict(UTM31.to_dict())) == hash(UTM31)
        assert tokenize(Grid.from_dict(UTM31.to_dict())) == tokenize(UTM31)
        assert UTM31.to_dict() == {
            "crs": "EPSG:32631",
            "transform": [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_700_000.0],
            "shape": [20, 31],
        }

    def test_square_and_back(self):
        square, window = UTM31.square()
        assert square.shape == (31, 31)
        assert window == Window(5, 0, 20, 31)
        assert square.crop(window) == UTM31

    @given(st.integers(1, 60), st.integers(1, 60))
    def test_a_ramp_survives_the_square(self, rows, cols):
        grid = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (rows, cols))
        square, window = grid.square()
        assert square.shape == (max(rows, cols),) * 2
        ramp = square.ys[:, None] * 1e7 + square.xs
        assert np.array_equal(ramp[window.slices], grid.ys[:, None] * 1e7 + grid.xs)

    @given(st.integers(-5, 15), st.integers(-5, 15), st.integers(1, 20), st.integers(1, 20))
    def test_a_crop_keeps_the_lattice(self, row, col, height, width):
        part = UTM31.crop(Window(row, col, height, width))
        assert part.shape == (height, width)
        assert part.xs.tolist() == [600_005 + 10 * (col + step) for step in range(width)]
        assert part.ys.tolist() == [5_699_995 - 10 * (row + step) for step in range(height)]

    def test_resolution_in_degrees_is_measured(self):
        grid = Grid("EPSG:4326", (0.001, 0, 5, 0, -0.001, 60), (10, 10))
        assert grid.resolution_m == pytest.approx(math.sqrt(55.8 * 111.4), rel=1e-3)
        assert grid.lonlat_boxes[0] == pytest.approx((5, 59.99, 5.01, 60))

    def test_resolution_in_feet_is_metres(self):
        assert Grid("EPSG:2263", (100, 0, 9e5, 0, -100, 2e5), (2, 2)).resolution_m == pytest.approx(30.48006)

    def test_reprs(self):
        assert repr(UTM31) == "Grid(EPSG:32631, 20 x 31 px of 10 m, x 600000 to 600310, y 5699800 to 5700000)"
        assert len(repr(grid_for(PointBuffer(30, 88, 1000), 10))) < 120
        assert Window(1, 2, 3, 4).shape == (3, 4)


POINT = PointBuffer(4.35, 50.85, 1000)
NORTH_UP = (10, 0, 0, 0, -10, 0)
BAD = {
    "resolution zero": (lambda: grid_for(POINT, 0), "0", "above 0", "at most 100000 m"),
    "resolution text": (lambda: grid_for(POINT, "10"), "'10'", "got str", "above 0"),
    "resolution nan": (lambda: grid_for(POINT, math.nan), "nan", "not finite", "above 0"),
    "too many pixels": (lambda: grid_for(POINT, 0.001), "0.001", "2000000 x 2000000", "coarser pixels"),
    "snap zero": (lambda: grid_for(POINT, 10, snap_m=0), "0", "above 0", "give a number"),
    "anchor text": (lambda: grid_for(POINT, 10, anchor_m="15"), "'15'", "got str", "give a number"),
    "crs in degrees": (lambda: grid_for(POINT, 10, crs=4326), "4326", "degrees", "local UTM"),
    "crs unknown": (lambda: grid_for(POINT, 10, crs="EPSG:1"), "EPSG:1", "pyproj", "EPSG code"),
    "crs out of reach": (
        lambda: grid_for(BBox(0, 10, 1, 11), 10, crs="+proj=gnom +lat_0=-80"),
        "gnom",
        "does not cover",
        "UTM",
    ),
    "no place": (lambda: grid_for((4.35, 50.85), 10), "(4.35, 50.85)", "tuple is not a place", "places()"),
    "a transform of text": (lambda: Grid(32631, "abcdef", (1, 1)), "'abcdef'", "six numbers", "(a, 0, c, 0, e, f)"),
    "a short transform": (lambda: Grid(32631, (10, 0, 0), (1, 1)), "(10, 0, 0)", "six numbers", "(a, 0, c, 0, e, f)"),
    "no transform": (lambda: Grid(32631, None, (1, 1)), "None", "six numbers", "(a, 0, c, 0, e, f)"),
    "south up": (lambda: Grid(32631, (10, 0, 0, 0, 10, 0), (1, 1)), "10", "not north up", "flip an image"),
    "turned": (lambda: Grid(32631, (10, 1, 0, 0, -10, 0), (1, 1)), "10, 1", "not north up", "flip an image"),
    "a nan transform": (lambda: Grid(32631, (10, 0, math.nan, 0, -10, 0), (1, 1)), "nan", "not finite", "(a, 0, c"),
    "shape of one": (lambda: Grid(32631, NORTH_UP, (5,)), "(5,)", "two whole numbers", "(rows, columns)"),
    "shape of zero": (lambda: Grid(32631, NORTH_UP, (0, 5)), "0", "[1, 1000000]", "whole number"),
    "shape of floats": (lambda: Grid(32631, NORTH_UP, (5.0, 5)), "5.0", "got float", "whole number"),
    "grid without crs": (lambda: Grid(None, NORTH_UP, (5, 5)), "None", "not a reference system", "EPSG code"),
    "a window without height": (lambda: Window(0, 0, 0, 5), "0", "[1, 1000000]", "whole number"),
    "a window of floats": (lambda: Window(0.5, 0, 1, 5), "0.5", "got float", "whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_with_reason_and_fix(name):
    make, value, reason, fix = BAD[name]
    with pytest.raises(SpecError) as caught:
        make()
    assert value in str(caught.value)
    assert reason in caught.value.reason
    assert fix in caught.value.fix
