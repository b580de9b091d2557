"""Columns of places hold the same places as lists, and answer the same."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.columns import PlaceList, PointColumn, ShapeColumn
from rs_embed_dask.specs.places import check_places, place_column, places

POINTS = np.array([[4.35, 50.85], [-0.0, 0.1], [179.999, -65.5], [1 / 3, 2 / 3]])
UTM = np.array([[500_000.0, 5_600_000.0], [500_123.25, 5_600_000.5]])
SHAPES = [
    shapely.box(4, 50, 4.1, 50.1),
    shapely.Polygon([(0, 0, 5), (1 / 3, 0, 5), (0.1, 0.7, 5)]),
    shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]),
]


def frame(shapes, crs="EPSG:4326", index=None):
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs, index=index)


@pytest.mark.parametrize(
    ("source", "kind", "options"),
    [
        (frame(shapely.points(POINTS)), PointColumn, {"buffer_m": 250}),
        (frame(shapely.points(UTM), "EPSG:32631"), PointColumn, {"buffer_m": 99.5}),
        (POINTS, PointColumn, {"buffer_m": 250}),
        (POINTS.astype("float32"), PointColumn, {"buffer_m": 250}),
        (np.array([[4, 50], [5, 51]]), PointColumn, {"buffer_m": 250}),
        (np.array(SHAPES, dtype=object), ShapeColumn, {}),
        (frame(SHAPES), ShapeColumn, {}),
        (frame(shapely.points(UTM)[:1].tolist() * 2, "EPSG:32631").buffer(50), ShapeColumn, {}),
    ],
)
def test_a_column_is_its_list(source, kind, options):
    column, listed = place_column(source, **options), places(source, **options)
    assert isinstance(column, kind)
    check_places(column)
    assert list(column) == listed
    assert [column[row] for row in range(len(column))] == listed
    assert column.json_lines() == [place.to_json() for place in listed] == PlaceList(listed).json_lines()
    np.testing.assert_allclose(column.centers(), PlaceList(listed).centers(), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(column.buffers(), PlaceList(listed).buffers())
    assert list(column.take(slice(1, None))) == listed[1:]
    assert list(column.take(np.array([1, 0]))) == [listed[1], listed[0]]
    assert {(type(one), one.area_m2) for one in column.sizes()} <= {(type(one), one.area_m2) for one in listed}


def test_one_place_stands_for_all_of_its_size():
    mixed = places([(1, 2), (3, 4)], buffer_m=10) + places([(1, 2)], buffer_m=20) + places(SHAPES[:2])
    assert list(PlaceList(mixed).sizes()) == [mixed[0], *mixed[2:]]
    assert list(place_column(POINTS, buffer_m=5).sizes()) == places(POINTS[:1], buffer_m=5)


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        (np.array([[4.0, 50.0], [4.0, 91.0]]), {"buffer_m": 10}, "places\\[1\\].*latitudes lie"),
        (np.array([[4.0, 50.0], [np.nan, 1.0]]), {"buffer_m": 10}, "places\\[1\\]"),
        (np.array([[4.0, 50.0], [4.0, 89.9999]]), {"buffer_m": 100}, "places\\[1\\].*reaches a pole"),
        (np.array([[4.0, 50.0]]), {}, "a point has no extent"),
        (np.array([[4.0, 50.0]]), {"buffer_m": -1}, "buffer_m"),
        (np.empty((0, 2)), {"buffer_m": 10}, "no places"),
        (np.zeros((2, 3)), {"buffer_m": 10}, "is not a place"),
        (frame(shapely.points([[4.0, 50.0], [400.0, 1.0]]), index=["a", "b"]), {"buffer_m": 10}, "index 'b'"),
    ],
)
def test_a_bad_row_is_named(source, options, reason):
    for make in (place_column, places):
        with pytest.raises(SpecError, match=reason):
            make(source, **options)


def test_a_polygon_that_crosses_itself_is_named_when_it_is_needed():
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    source = frame([SHAPES[0], bow], index=["field", "bow"])
    column = place_column(source)
    for act in (lambda: check_places(column), lambda: places(source)):
        with pytest.raises(SpecError, match=r"places\[1\] \(index 'bow'\).*not simple"):
            act()
