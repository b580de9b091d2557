"""Vector files as people bring them: archives, layers, sequences, other formats, edges of the map."""

from __future__ import annotations

import json
import shutil

import geopandas as gpd
import pytest
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import Polygon
from rs_embed_dask.specs.places import places

SQUARE = shapely.box(4.25, 50.75, 4.5, 51)
OTHER = shapely.box(5.25, 50.75, 5.5, 51)
SPEC = Polygon.from_geometry(SQUARE)


def frame(shape=SQUARE):
    return gpd.GeoDataFrame({"n": [1]}, geometry=[shape], crs=4326)


def feature(shape=SQUARE):
    return {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}


def is_square(made):
    return len(made) == 1 and made[0].unwrapped.equals(SQUARE)


def test_a_shapefile_without_its_prj_needs_the_crs(tmp_path):
    frame().to_file(tmp_path / "a.shp")
    (tmp_path / "a.prj").unlink()
    with pytest.raises(SpecError, match=r"the file does not state its crs.*pass crs=.*GeoPackage") as caught:
        places(tmp_path / "a.shp")
    assert caught.value.value == str(tmp_path / "a.shp")
    assert is_square(places(tmp_path / "a.shp", 4326))


def test_a_zipped_shapefile(tmp_path):
    (tmp_path / "shapes").mkdir()
    frame().to_file(tmp_path / "shapes" / "a.shp")
    assert is_square(places(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "shapes")))


def test_a_layer_that_is_left_out_is_named(tmp_path):
    frame().to_file(tmp_path / "two.gpkg", layer="first")
    frame(OTHER).to_file(tmp_path / "two.gpkg", layer="second")
    with pytest.warns(UserWarning, match="More than one layer found in 'two.gpkg': 'first'.*'second'"):
        assert is_square(places(tmp_path / "two.gpkg"))


def test_a_sequence_of_features(tmp_path):
    path = tmp_path / "a.geojsonl"
    path.write_text(f"{json.dumps(feature())}\n{json.dumps(feature(OTHER))}", encoding="utf-8")
    assert [spec.unwrapped.bounds for spec in places(path)] == [SQUARE.bounds, OTHER.bounds]


@pytest.mark.parametrize("name", ["a.kml", "my fields #1.gpkg"])
def test_other_formats_and_odd_names(tmp_path, name):
    frame().to_file(tmp_path / name)
    assert is_square(places(tmp_path / name))


def test_the_direction_of_a_ring_does_not_matter(tmp_path):
    clockwise = shapely.Polygon([(4.25, 50.75), (4.25, 51), (4.5, 51), (4.5, 50.75)])
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature(clockwise)]}), encoding="utf-8")
    assert is_square(places(path))


def test_halves_cut_at_the_antimeridian_are_one_place_and_180_is_the_end(tmp_path):
    halves = shapely.MultiPolygon([shapely.box(179.9, -17, 180, -16.9), shapely.box(-180, -17, -179.9, -16.9)])
    (spec,) = places(feature(halves))
    assert spec.unwrapped.bounds == pytest.approx((179.9, -17, 180.1, -16.9))
    path = tmp_path / "east.geojson"
    path.write_text(json.dumps(feature(shapely.box(179.9, -17, 180.1, -16.9))), encoding="utf-8")
    with pytest.raises(SpecError, match=r"Polygon\.x = 180\.1.*-179\.9"):
        places(path)
