"""Places however they come: every form gives the same specs, and bad rows are named by their index."""

from __future__ import annotations

import json
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs import BBox, PointBuffer, Polygon
from rs_embed_dask.specs.places import places

SQUARE = shapely.box(4.25, 50.75, 4.5, 51)
TRIANGLE = shapely.Polygon([(5, 50), (5.25, 50), (5, 50.25)])
POINT = shapely.Point(4.375, 50.875)
AS_SPECS = [Polygon.from_geometry(SQUARE), Polygon.from_geometry(TRIANGLE)]
POINT_SPEC = PointBuffer(4.375, 50.875, 500)


def collection(*shapes, **more):
    features = [{"type": "Feature", "properties": {"n": i}, "geometry": g} for i, g in enumerate(map(mapping, shapes))]
    return {"type": "FeatureCollection", "features": features, **more}


def mapping(shape):
    return None if shape is None else shapely.geometry.mapping(shape)


def frame(*shapes, crs=4326, index=None):
    return gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=list(shapes), crs=crs, index=index)


class TestForms:
    @pytest.mark.parametrize("spec", [POINT_SPEC, BBox(4, 50, 5, 51), AS_SPECS[0]])
    def test_a_spec_stays_itself(self, spec):
        assert places(spec) == [spec]
        assert places([spec, spec])[1] is spec
        assert places(spec.to_dict()) == [spec]

    @pytest.mark.parametrize(
        "source",
        [
            [SQUARE, TRIANGLE],
            (SQUARE, TRIANGLE),
            (shape for shape in (SQUARE, TRIANGLE)),
            [mapping(SQUARE), {"type": "Feature", "geometry": mapping(TRIANGLE)}],
            collection(SQUARE, TRIANGLE),
            frame(SQUARE, TRIANGLE),
            frame(SQUARE, TRIANGLE).geometry,
            [SimpleNamespace(__geo_interface__=mapping(SQUARE)), AS_SPECS[1]],
        ],
        ids=["list", "tuple", "generator", "mappings", "collection", "frame", "series", "interface"],
    )
    def test_polygons(self, source):
        assert places(source) == AS_SPECS

    @pytest.mark.parametrize(
        "source",
        [
            POINT,
            [POINT],
            (4.375, 50.875),
            [4.375, 50.875],
            np.array([4.375, 50.875], np.float32),
            (np.float32(4.375), np.float32(50.875)),
            pd.Series({"lon": 4.375, "lat": 50.875}),
            [(4.375, 50.875)],
            np.array([[4.375, 50.875]], np.float32),
            [np.array([4.375, 50.875])],
            [[4.375, 50.875]],
            mapping(POINT),
            {"type": "Feature", "geometry": mapping(POINT), "properties": None},
            collection(POINT),
            frame(POINT),
            shapely.Point(4.375, 50.875, 120),
        ],
    )
    def test_points(self, source):
        assert places(source, buffer_m=500) == [POINT_SPEC]

    def test_kinds_may_be_mixed(self):
        box = BBox(4, 50, 5, 51)
        assert places([SQUARE, POINT, box, POINT_SPEC], buffer_m=500) == [AS_SPECS[0], POINT_SPEC, box, POINT_SPEC]

    def test_ten_thousand_points_keep_their_order(self):
        pairs = [(index / 100, 10 + index / 1000) for index in range(10_000)]
        made = places(pairs, buffer_m=100)
        assert [(spec.lon, spec.lat) for spec in made] == pairs

    def test_two_pairs_are_two_places(self):
        expected = [PointBuffer(4.5, 50.5, 100), PointBuffer(5.5, 51.5, 100)]
        for pairs in (((4.5, 50.5), (5.5, 51.5)), [[4.5, 50.5], [5.5, 51.5]], np.array([[4.5, 50.5], [5.5, 51.5]])):
            assert places(pairs, buffer_m=100) == expected

    def test_a_multipolygon_is_one_place(self):
        both = shapely.MultiPolygon([SQUARE, TRIANGLE])
        assert places([both]) == [Polygon.from_geometry(both)]


class TestCrs:
    UTM = shapely.box(600_000, 5_690_000, 600_300, 5_690_200)

    def test_a_frame_brings_its_own(self):
        (spec,) = places(frame(self.UTM, crs=32631))
        assert spec == Polygon.from_geometry(self.UTM, crs=32631)
        assert spec.geometry.bounds == pytest.approx(
            tuple(frame(self.UTM, crs=32631).to_crs(4326).total_bounds), abs=1e-9
        )

    def test_shapes_take_the_one_given(self):
        assert places([self.UTM], crs=32631) == [Polygon.from_geometry(self.UTM, crs=32631)]
        point = shapely.Point(600_000, 5_690_000)
        assert places(point, "EPSG:32631", buffer_m=50) == [PointBuffer(600_000, 5_690_000, 50, crs=32631)]

    def test_the_same_one_twice_is_no_conflict(self):
        assert places(frame(SQUARE), crs="OGC:CRS84") == [AS_SPECS[0]]

    def test_a_frame_without_one_takes_the_one_given(self):
        assert places(frame(SQUARE, crs=None), crs=4326) == [AS_SPECS[0]]

    @pytest.mark.parametrize("name", ["urn:ogc:def:crs:EPSG::32631", "EPSG:32631"])
    def test_old_geojson_names_its_own(self, name):
        source = collection(self.UTM, crs={"type": "name", "properties": {"name": name}})
        assert places(source) == [Polygon.from_geometry(self.UTM, crs=32631)]

    @pytest.mark.parametrize("crs", ["EPSG:4979", "EPSG:9707", "OGC:CRS84h"])
    def test_heights_of_degrees_are_dropped(self, crs):
        """WGS 84 with ellipsoidal height, and with a height above sea level."""
        high = shapely.Point(4.375, 50.875, 120)
        assert places(gpd.GeoDataFrame(geometry=[high], crs=crs), buffer_m=500) == [POINT_SPEC]
        assert places(gpd.GeoDataFrame(geometry=[high], crs=crs), "EPSG:4326", buffer_m=500) == [POINT_SPEC]
        assert places([SQUARE], crs) == AS_SPECS[:1]

    def test_a_compound_system_counts_by_its_horizontal_part(self):
        """Dutch RD New with Amsterdam heights is RD New."""
        tower = shapely.Point(155_000, 463_000, 5)  # the origin of RD, at Amersfoort
        (spec,) = places(gpd.GeoDataFrame(geometry=[tower], crs="EPSG:7415"), buffer_m=50)
        assert spec == PointBuffer(155_000, 463_000, 50, crs="EPSG:28992")
        assert spec.center == pytest.approx((5.38721, 52.15517), abs=2e-3)


def table(**columns):
    return pd.DataFrame(columns)


class TestTables:
    @pytest.mark.parametrize(
        ("lon", "lat"),
        [
            ("lon", "lat"),
            ("Longitude", "Latitude"),
            ("lng", "LAT"),
            ("decimalLongitude", "decimalLatitude"),
            ("Longitude (deg)", "Latitude (deg)"),
            ("LON_WGS84", "LAT_WGS84"),
            ("centroid_lon", "centroid.lat"),
            ("longitudes", "lats"),
            ("\ufefflon", " lat "),
            ("\u00ef\u00bb\u00bflon", "lat"),
        ],
    )
    def test_longitudes_and_latitudes(self, lon, lat):
        frame = table(name=["a"], **{lat: [50.875], lon: np.array([4.375], np.float32)})
        assert places(frame, buffer_m=500) == [POINT_SPEC]

    @pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
    def test_a_csv_of_coordinates_is_a_table_of_points(self, tmp_path, mark):
        path = tmp_path / "towns.csv"
        path.write_text(f"{mark}id,lon,lat\na,4.375,50.875\nb,5,50\n", encoding="utf-8")
        assert places(path, buffer_m=500) == [PointBuffer(4.375, 50.875, 500), PointBuffer(5, 50, 500)]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_csv_of_a_spreadsheet(self, tmp_path, encoding):
        path = tmp_path / "towns.csv"
        path.write_text("lon,lat,name\n4.375,50.875,Brüssel\n", encoding=encoding)
        assert places(pd.read_csv(path), buffer_m=500) == [POINT_SPEC]
        assert places(pd.read_csv(path, encoding="latin-1"), buffer_m=500) == [POINT_SPEC]

    def test_plain_names_come_before_others(self):
        frame = table(**{"lon": [4.375], "centroid_lon": [1.0], "lat": [50.875], "lat (deg)": [2.0]})
        assert places(frame, buffer_m=500) == [POINT_SPEC]

    def test_a_csv_with_semicolons_is_read_as_its_error_says(self, tmp_path):
        path = tmp_path / "towns.csv"
        path.write_text("lon;lat\n4,375;50,875\n", encoding="utf-8-sig")
        assert places(pd.read_csv(path, sep=";", decimal=","), buffer_m=500) == [POINT_SPEC]
        path.write_text("lon;lat\n4.375;50.875\n", encoding="utf-8-sig")
        with pytest.raises(SpecError, match=r"were not separated. Fix: read it with pandas.read_csv\(path, sep=';'\)"):
            places(pd.read_csv(path), buffer_m=500)

    def test_x_and_y_take_the_crs_given(self):
        frame = table(x=[600_000.0], Y=[5_690_000.0])
        assert places(frame, 32631, buffer_m=50) == [PointBuffer(600_000, 5_690_000, 50, crs=32631)]

    def test_a_frame_of_geometries_without_geopandas(self):
        assert places(table(n=[1, 2], where=[SQUARE, TRIANGLE]), 4326) == AS_SPECS
        assert places(table(where=[None, SQUARE]).iloc[1:], 4326) == AS_SPECS[:1]
        assert places(pd.DataFrame({"where": frame(SQUARE, TRIANGLE).geometry})) == AS_SPECS

    def test_the_only_geometries_of_a_frame_without_an_active_one(self):
        bare = frame(SQUARE, TRIANGLE).rename(columns={"geometry": "field"})
        assert places(gpd.GeoDataFrame(pd.DataFrame(bare))) == AS_SPECS
        dropped = frame(SQUARE, TRIANGLE).assign(field=lambda own: own.geometry).drop(columns="geometry")
        assert places(dropped) == AS_SPECS

    def test_the_active_geometry_counts_with_its_own_crs(self):
        """The centroids are in degrees and the outlines in metres, each with its own reference system."""
        both = frame(TestCrs.UTM, crs=32631).assign(middle=gpd.GeoSeries([POINT], crs=4326))
        assert places(both) == [Polygon.from_geometry(TestCrs.UTM, crs=32631)]
        assert places(both.set_geometry("middle"), buffer_m=500) == [POINT_SPEC]

    def test_geoparquet_keeps_its_primary_geometry(self, tmp_path):
        both = frame(SQUARE).assign(middle=gpd.GeoSeries([POINT], crs=4326))
        both.to_parquet(tmp_path / "both.parquet")
        assert places(tmp_path / "both.parquet") == AS_SPECS[:1]


class TestFiles:
    def test_geojson_with_a_byte_order_mark(self, tmp_path):
        path = tmp_path / "windows.geojson"
        path.write_text(json.dumps(collection(SQUARE, TRIANGLE)), encoding="utf-8-sig")
        assert places(path) == AS_SPECS

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_well_known_text_in_a_csv(self, tmp_path, encoding):
        path = tmp_path / "fields.csv"
        path.write_text(f'WKT,id\n"{SQUARE.wkt}",a\n', encoding=encoding)
        assert places(path, 4326) == AS_SPECS[:1]
        with pytest.raises(SpecError, match=r"the file does not state its crs.*pass crs=.*GeoPackage") as caught:
            places(path)
        assert caught.value.value == str(path)

    def test_geojson(self, tmp_path):
        path = tmp_path / "places.geojson"
        path.write_text(json.dumps(collection(SQUARE, TRIANGLE)), encoding="utf-8")
        assert places(path) == AS_SPECS
        assert places(str(path)) == AS_SPECS

    def test_one_geometry_and_one_feature(self, tmp_path):
        path = tmp_path / "place.json"
        for content in (mapping(SQUARE), {"type": "Feature", "geometry": mapping(SQUARE), "properties": {}}):
            path.write_text(json.dumps(content), encoding="utf-8")
            assert places(path) == AS_SPECS[:1]

    @pytest.mark.parametrize("name", ["places.gpkg", "places.shp", "places.fgb", "places.geojson"])
    def test_what_geopandas_wrote(self, tmp_path, name):
        path = tmp_path / name
        frame(SQUARE, TRIANGLE).to_file(path)
        made = places(path)
        assert len(made) == 2
        assert sorted(spec.area_m2 for spec in made) == pytest.approx(sorted(spec.area_m2 for spec in AS_SPECS))

    def test_geojson_in_metres_as_gdal_writes_it(self, tmp_path):
        path = tmp_path / "metres.geojson"
        frame(TestCrs.UTM, crs=32631).to_file(path, driver="GeoJSON", RFC7946="NO")
        (spec,) = places(path)
        assert spec.area_m2 == pytest.approx(60_000, rel=1e-3)


def broken(tmp_path, name, content=b""):
    path = tmp_path / name
    path.write_bytes(content)
    return path


BOW_TIE = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
LINE = shapely.LineString([(0, 0), (1, 1)])
MANY = [SQUARE, BOW_TIE, TRIANGLE, None, LINE]

# what is given | part of what | part of the value | part of the reason | part of the fix
BAD = {
    "nothing": (lambda: places([]), "places", "[]", "no places", "at least one"),
    "a number": (lambda: places(5), "places", "5", "int does not hold places", "GeoDataFrame"),
    "none": (lambda: places(None), "places", "None", "NoneType does not hold places", "GeoDataFrame"),
    "numbers": (lambda: places([4.3, 50.8, 9]), "places[0] place", "4.3", "float is not a place", "BBox"),
    "a triple": (lambda: places([(4.3, 50.8, 9)]), "places[0] place", "50.8", "tuple is not a place", "pair"),
    "a list without buffer": (lambda: places([4.3, 50.8]), "point", "POINT (4.3", "no extent", "buffer_m="),
    "a table of nothing": (lambda: places(table(a=[1], b=[2])), "places", "columns a, b", "neither", "lon and lat"),
    "a table of lon": (lambda: places(table(lon=[1])), "places", "columns lon", "neither", "lon and lat"),
    "a table with two of lon": (
        lambda: places(table(lon=[1], Longitude=[2], lat=[3])),
        "places",
        "columns lon, Longitude, lat",
        "several columns may be meant (lon, Longitude)",
        "keep one pair",
    ),
    "x and y": (lambda: places(table(x=[1], y=[2]), buffer_m=9), "places", "x, y", "which reference", "pass crs="),
    "degrees in metres": (
        lambda: places(table(lon=[1], lat=[2]), 32631, buffer_m=9),
        "places.crs",
        "EPSG:32631",
        "projected",
        "name the columns x and y",
    ),
    "a decimal comma": (
        lambda: places(table(lon=["4,35"], lat=["50,85"]), buffer_m=9),
        "places[0] (index 0) longitude",
        "4,35",
        "got str",
        "number",
    ),
    "a gap in a table": (
        lambda: places(table(lon=[4.0, np.nan], lat=[50.0, 51.0]), buffer_m=9),
        "places[1] (index 1) longitude",
        "nan",
        "not finite",
        "number",
    ),
    "text in a table": (
        lambda: places(table(wkt=[SQUARE.wkt])),
        "places",
        "columns wkt",
        "text does not state its crs",
        "geopandas.GeoSeries.from_wkt(frame['wkt'], crs=",
    ),
    "two geometries": (
        lambda: places(
            gpd.GeoDataFrame({"a": gpd.GeoSeries([SQUARE], crs=4326), "b": gpd.GeoSeries([POINT], crs=4326)})
        ),
        "places",
        "GeoDataFrame",
        "2 columns hold geometries (a, b) and none is the active one",
        "frame.set_geometry('a')",
    ),
    "shapes in a table": (lambda: places(table(a=[SQUARE])), "places", "DataFrame", "not state its crs", "pass crs="),
    "a point without buffer": (lambda: places(POINT), "point", "POINT (4.375", "no extent", "buffer_m="),
    "points without buffer": (lambda: places([SQUARE, POINT]), "places[1] point", "POINT", "no extent", "buffer_m="),
    "a bad buffer": (lambda: places(POINT, buffer_m=-1), "PointBuffer.buffer_m", "-1", "above 0", "at most"),
    "a swapped pair": (
        lambda: places([(40.1, -120)], buffer_m=9),
        "places[0] PointBuffer.lat",
        "-120",
        "[-90",
        "first",
    ),
    "a pair of text": (lambda: places([("a", 1)], buffer_m=9), "places[0] longitude", "'a'", "got str", "number"),
    "a line": (lambda: places([LINE]), "places[0] geometry", "LINESTRING", "a LineString is not a place", "buffer it"),
    "points in one": (lambda: places(shapely.MultiPoint([(0, 0)])), "geometry", "MULTIPOINT", "MultiPoint", "explode"),
    "an empty point": (lambda: places([shapely.Point()]), "places[0]", "POINT EMPTY", "empty", "is_empty"),
    "an empty line": (lambda: places([shapely.LineString()]), "places[0]", "LINESTRING EMPTY", "empty", "is_empty"),
    "a bow tie": (lambda: places([BOW_TIE]), "places[0] Polygon.wkt", "POLYGON", "not simple", "make_valid"),
    "many bad rows": (lambda: places(MANY), "places[1]", "POLYGON", "2 more bad rows: 3, 4", "make_valid"),
    "a bad row of a frame": (
        lambda: places(frame(SQUARE, LINE, index=["a", "b"])),
        "places[1] (index 'b') geometry",
        "LINESTRING",
        "not a place",
        "buffer it",
    ),
    "a missing row": (lambda: places(frame(SQUARE, None)), "places[1] (index 1)", "None", "missing", "drop the row"),
    "a frame without crs": (
        lambda: places(frame(SQUARE, crs=None)),
        "places",
        "GeoDataFrame",
        "not state its crs",
        "crs=",
    ),
    "two crs": (lambda: places(frame(SQUARE), crs=32631), "places.crs", "EPSG:32631", "states EPSG:4326", "to_crs"),
    "a bad crs": (lambda: places([SQUARE], crs="moon"), "places.crs", "'moon'", "pyproj", "EPSG"),
    "no features": (lambda: places({"type": "FeatureCollection"}), "places", "Collection", "no list", "'features'"),
    "no type": (
        lambda: places({"coordinates": []}),
        "geometry",
        "coordinates",
        "not a GeoJSON",
        "type and coordinates",
    ),
    "no geometry": (lambda: places({"type": "Feature"}), "geometry", "None", "missing", "drop the row"),
    "a bad type": (lambda: places({"type": "Circle", "coordinates": []}), "geometry", "Circle", "GeoJSON", "type"),
    "bad coordinates": (lambda: places({"type": "Polygon", "coordinates": 5}), "geometry", "5", "GeoJSON", "type"),
    "no coordinates": (lambda: places({"type": "MultiPolygon"}), "geometry", "Multi", "GeoJSON", "coordinates"),
    "a polygon of nothing": (
        lambda: places({"type": "Polygon"}),
        "Polygon",
        "Polygon",
        "'wkt' is missing",
        "add 'wkt'",
    ),
    "no file": (lambda: places("nowhere.geojson"), "places", "nowhere.geojson", "no such file", "check the path"),
}

BAD_FILES = {
    "half.geojson": (b'{"type": "Feat', "not JSON", "complete and UTF-8"),
    "latin.geojson": (b'{"type": "\xe9"}', "not JSON", "complete and UTF-8"),
    "sequence.geojson": (b'{"type": "Feature"}\n{"type": "Feature"}', "not JSON (Extra data", "rename it to .geojsonl"),
    "list.json": (b"[1, 2]", "not GeoJSON", "FeatureCollection"),
    "object.json": (b'{"a": 1}', "not GeoJSON", "FeatureCollection"),
    "empty.gpkg": (b"", "geopandas cannot read it", "GeoPackage"),
    "table.parquet": (b"nothing", "geopandas cannot read it", "GeoParquet"),
    "towns.csv": (
        b"id,east,north\na,4.375,50.875\n",
        "a table without geometries, with the columns id, east, north",
        "places(pandas.read_csv(path), buffer_m",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_source_is_named_with_reason_and_fix(name):
    make, what, value, reason, fix = BAD[name]
    with pytest.raises(SpecError) as caught:
        make()
    error = caught.value
    assert error.what.startswith(what)
    assert value in str(error)
    assert reason in error.reason
    assert fix in error.fix


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_with_reason_and_fix(tmp_path, name):
    content, reason, fix = BAD_FILES[name]
    with pytest.raises(SpecError) as caught:
        places(broken(tmp_path, name, content))
    assert name in str(caught.value.value)
    assert reason in caught.value.reason
    assert fix in caught.value.fix


def test_a_directory_is_no_vector_file(tmp_path):
    (tmp_path / "folder.geojson").mkdir()
    with pytest.raises(SpecError, match="Is a directory"):
        places(tmp_path / "folder.geojson")


def test_an_unknown_field_in_a_row_keeps_its_class():
    with pytest.raises(UnknownNameError, match=r"places\[1\] BBox field = 'minlong'.*did you mean 'minlon'"):
        places([SQUARE, {"type": "BBox", "minlong": 4}])


def test_without_geopandas_the_fix_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "geopandas", None)
    with pytest.raises(SpecError, match="pip install geopandas, or save the places as GeoJSON"):
        places(broken(tmp_path, "places.gpkg"))
