"""Bad input to the specs: the class, and that value, reason and fix are in the message."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import shapely

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs import (
    BBox,
    FetchSpec,
    InputPrep,
    ModelSpec,
    OutputSpec,
    PointBuffer,
    Polygon,
    SensorSpec,
    TemporalSpec,
    resolution_of,
    spans,
    spatial_from_dict,
)
from rs_embed_dask.specs.places import places

NAN, INF = math.nan, math.inf
BOW_TIE = [(0, 0), (1, 1), (1, 0), (0, 1)]
RING_ROUND_THE_POLE = [(0, 85), (90, 85), (180, 85), (-90, 85)]
OVERLAP = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)])

# what is made | part of the value | part of the reason | part of the fix
SPATIAL = {
    "longitude": (lambda: BBox(200, 0, 201, 1), "200", "[-180, 180]", "write -160 for the same meridian"),
    "longitude far off": (lambda: BBox(5e5, 0, 6e5, 1), "500000.0", "[-180, 180]", "pass crs="),
    "latitude": (lambda: BBox(0, -91, 1, 1), "-91", "[-90, 90]", "longitude comes first"),
    "south above north": (lambda: BBox(0, 2, 1, 1), "2", "below maxlat, 1", "swap minlat and maxlat"),
    "no height": (lambda: BBox(0, 1, 1, 1), "1", "below maxlat", "swap"),
    "no width": (lambda: BBox(1, 0, 1, 1), "1", "no width", "PointBuffer"),
    "no width at the antimeridian": (lambda: BBox(180, 0, -180, 1), "-180", "no width", "PointBuffer"),
    "west of east in metres": (lambda: BBox(6e5, 0, 5e5, 1, crs=32631), "600000", "smallest x", "swap"),
    "text": (lambda: BBox("a", 0, 1, 1), "'a'", "got str", "give a number"),
    "bool": (lambda: BBox(True, 0, 1, 1), "True", "got bool", "give a number"),
    "numpy bool": (lambda: BBox(0, np.bool_(True), 1, 1), "True", "got bool", "give a number"),
    "none": (lambda: BBox(None, 0, 1, 1), "None", "got NoneType", "give a number"),
    "nan": (lambda: BBox(0, NAN, 1, 1), "nan", "not finite", "give a number"),
    "infinite": (lambda: BBox(0, 0, INF, 1), "inf", "not finite", "give a number"),
    "the whole world": (lambda: places(BBox(-180, -80, 180, 80)), "BBox(-180", "1,000,000 km2", "compute_map"),
    "a touched pole": (lambda: BBox(0, 89, 1, 90), "90", "pole", "beside the pole"),
    "an enclosed pole": (lambda: BBox(-1e5, -1e5, 1e5, 1e5, crs=3413), "-100000", "pole", "leave the pole out"),
    "an unknown crs": (lambda: BBox(0, 0, 1, 1, crs="EPSG:999999"), "EPSG:999999", "pyproj", "EPSG code"),
    "a crs of nonsense": (lambda: BBox(0, 0, 1, 1, crs="mars"), "mars", "pyproj", "EPSG code"),
    "no crs": (lambda: BBox(0, 0, 1, 1, crs=None), "None", "not a reference system", "EPSG code"),
    "a geocentric crs": (lambda: BBox(0, 0, 1, 1, crs=4978), "4978", "no map coordinates", "geographic"),
    "a vertical crs": (lambda: PointBuffer(0, 0, 1, crs=5773), "5773", "no map coordinates", "geographic"),
    "out of reach": (lambda: BBox(0, 0, 1e9, 1e9, crs=32631), "1000000000", "outside the reach", "order (x, y)"),
    "buffer zero": (lambda: PointBuffer(0, 0, 0), "0", "above 0", "give a number above 0"),
    "buffer negative": (lambda: PointBuffer(0, 0, -5), "-5", "above 0", "at most 100000 m"),
    "buffer huge": (lambda: PointBuffer(0, 0, 100_001), "100001", "at most 100000 m", "give a number"),
    "buffer text": (lambda: PointBuffer(0, 0, "1 km"), "'1 km'", "got str", "above 0"),
    "swapped point": (lambda: PointBuffer(40.1, -120.2, 10), "-120.2", "[-90, 90]", "longitude comes first"),
    "a square over the pole": (lambda: PointBuffer(0, 89.99, 5000), "89.99", "pole", "smaller buffer"),
    "a point out of reach": (lambda: PointBuffer(1e9, 1e9, 10, crs=32631), "1000000000", "outside", "order (x, y)"),
    "no text": (lambda: Polygon("POLYGON ((0 0, 1"), "POLYGON ((0 0, 1", "not well-known text", "last point"),
    "polygon number": (lambda: Polygon(5), "5", "got int", "from_geometry"),
    "point text": (lambda: Polygon("POINT (1 2)"), "POINT (1 2)", "got a Point", "use PointBuffer"),
    "line text": (lambda: Polygon("LINESTRING (0 0, 1 1)"), "LINESTRING", "got a LineString", "buffer it"),
    "empty polygon": (lambda: Polygon("POLYGON EMPTY"), "POLYGON EMPTY", "empty", "three corners"),
    "bow tie": (lambda: Polygon.from_coordinates(BOW_TIE), "POLYGON", "not simple (Self-inter", "make_valid"),
    "parts that overlap": (lambda: Polygon.from_geometry(OVERLAP), "MULTIPOLYGON", "parts overlap", "make_valid"),
    "two corners": (lambda: Polygon.from_coordinates([(0, 0), (1, 1), (0, 0)]), "(1.0, 1.0)", "2 distinct", "three"),
    "a corner of three": (lambda: Polygon.from_coordinates([(0, 0, 0)]), "(0, 0, 0)", "a pair", "(x, y) pairs"),
    "a corner of text": (lambda: Polygon.from_coordinates([(0, "n")]), "'n'", "got str", "give a number"),
    "corner latitude": (lambda: Polygon.from_coordinates([(0, 0), (1, 0), (1, 95)]), "95", "[-90, 90]", "degrees"),
    "corner longitude": (lambda: Polygon.from_coordinates([(0, 0), (190, 0), (1, 9)]), "190", "[-180, 180]", "-170"),
    "corner nan": (lambda: Polygon("POLYGON ((0 0, 1 0, 1 nan, 0 0))"), "nan", "not finite", "give a number"),
    "ring round the pole": (lambda: Polygon.from_coordinates(RING_ROUND_THE_POLE), "85", "pole", "split the area"),
    "no shapely": (lambda: Polygon.from_geometry("POINT"), "'POINT'", "got str", "shapely Polygon"),
    "too large a polygon": (lambda: places(shapely.box(0, 0, 20, 20)), "Polygon(4 corners", "km2", "compute_map"),
    "no dictionary": (lambda: BBox.from_dict([1, 2]), "[1, 2]", "got list", "to_dict()"),
    "a field too few": (lambda: BBox.from_dict({"minlon": 1}), "'minlon': 1", "'minlat' is missing", "add 'minlat'"),
    "no JSON": (lambda: BBox.from_json("{"), "'{'", "not JSON", "to_json()"),
    "JSON none": (lambda: BBox.from_json(None), "None", "not JSON", "to_json()"),
}

TEMPORAL = {
    "a year of text": (lambda: TemporalSpec.year("2022"), "'2022'", "got str", "whole number"),
    "a year of float": (lambda: TemporalSpec.year(2022.0), "2022.0", "got float", "whole number"),
    "a year too early": (lambda: TemporalSpec.year(1971), "1971", "[1972, 2100]", "whole number"),
    "a year too late": (lambda: TemporalSpec.year(2101), "2101", "[1972, 2100]", "whole number"),
    "a year of bool": (lambda: TemporalSpec.of(True), "True", "got bool", "whole number"),
    "no such day": (lambda: TemporalSpec.range("2022-02-30", "2022-03-01"), "2022-02-30", "no such date", "month"),
    "no such month": (lambda: TemporalSpec.range("2022-13-01", "2023-03-01"), "2022-13-01", "no such date", "month"),
    "another notation": (lambda: TemporalSpec.range("01/06/2022", "x"), "01/06/2022", "not an ISO date", "YYYY-MM-DD"),
    "no dashes": (lambda: TemporalSpec.range("20220601", "x"), "20220601", "not an ISO date", "YYYY-MM-DD"),
    "a number": (lambda: TemporalSpec.range(20220601, "x"), "20220601", "got int", "YYYY-MM-DD"),
    "start missing": (lambda: TemporalSpec("range", end="2022-01-01"), "None", "got NoneType", "YYYY-MM-DD"),
    "NaT": (lambda: TemporalSpec.range(pd.NaT, "2022-01-01"), "NaT", "expected a day", "YYYY-MM-DD"),
    "numpy NaT": (lambda: TemporalSpec.range(np.datetime64("NaT"), "x"), "None", "expected a day", "YYYY-MM-DD"),
    "a time of day": (
        lambda: TemporalSpec.range(dt.datetime(2022, 6, 1, 12, tzinfo=dt.UTC), "x"),
        "12:00",
        "whole days",
        ".date()",
    ),
    "a time of day in text": (lambda: TemporalSpec.range("2022-06-01T12:00:00", "x"), "12:00", "time of day", "YYYY"),
    "a time of day of UTC in text": (
        lambda: TemporalSpec.range("2022-06-01 12:00:00.5Z", "x"),
        "12:00",
        "time of day",
        "write its day",
    ),
    "a day before Landsat": (lambda: TemporalSpec.range("1969-07-20", "2022-01-01"), "1969", "1972 and 2100", "1972"),
    "end before start": (lambda: TemporalSpec.range("2022-09-01", "2022-06-01"), "2022-09-01", "2022-06-01", "swap"),
    "no days": (lambda: TemporalSpec.range("2022-06-01", "2022-06-01"), "2022-06-01", "not part", "day after"),
    "a year with a start": (
        lambda: TemporalSpec("year", 2022, start="2022-01-01"),
        "2022-01-01",
        "neither start",
        "range(",
    ),
    "a range with a year": (lambda: TemporalSpec("range", 2022), "2022", "not take a year", "TemporalSpec.range"),
    "no span": (lambda: TemporalSpec.of("summer"), "'summer'", "str is not a span", "TemporalSpec.year"),
    "other counts": (lambda: spans([2020, 2021], 5), "2", "2 spans for 5 places", "one for each"),
    "a bad span in a list": (lambda: spans([2020, None], 2), "None", "NoneType is not a span", "TemporalSpec.year"),
    "span no dictionary": (lambda: TemporalSpec.from_dict(3), "3", "got int", "to_dict()"),
    "span no mode": (lambda: TemporalSpec.from_dict({"year": 2022}), "None", "expected a name", "range, year"),
}

REQUESTS = {
    "resolution zero": (lambda: FetchSpec(resolution_m=0), "0", "above 0", "m"),
    "resolution coarse": (lambda: FetchSpec(scale_m=1e6), "1000000", "at most 100000 m", "give"),
    "two resolutions": (lambda: FetchSpec(resolution_m=10, scale_m=20), "20", "was given too", "resolution_m only"),
    "two clouds": (lambda: FetchSpec(max_cloud_pct=1, cloudy_pct=2), "2", "was given too", "max_cloud_pct only"),
    "cloud above 100": (lambda: FetchSpec(max_cloud_pct=101), "101", "[0, 100]", "30 for 30 %"),
    "cloud below 0": (lambda: FetchSpec(max_cloud_pct=-1), "-1", "[0, 100]", "30 for 30 %"),
    "cloud text": (lambda: FetchSpec(max_cloud_pct="30"), "'30'", "got str", "percentage"),
    "fill list": (lambda: FetchSpec(fill=[0]), "[0]", "got list", "'card', 'none' or a number"),
    "fill nan": (lambda: FetchSpec(fill=NAN), "nan", "not finite", "'card', 'none' or a number"),
    "crs in degrees": (lambda: FetchSpec(crs=4326), "4326", "degrees", "local UTM"),
    "crs in feet": (lambda: FetchSpec(crs=2263), "2263", "another unit", "local UTM"),
    "no collection": (lambda: SensorSpec(""), "''", "empty", "sentinel-2-l2a"),
    "bands as text": (lambda: SensorSpec("s2", "red"), "'red'", "a list", "['red', 'green', 'blue']"),
    "no bands": (lambda: SensorSpec("s2", []), "[]", "empty", "leave bands out"),
    "a band twice": (lambda: SensorSpec("s2", ["red", "red"]), "'red', 'red'", "twice", "once"),
    "a band of number": (lambda: SensorSpec("s2", [4]), "4", "got int", "['red', 'green', 'blue']"),
    "a pooled grid": (lambda: OutputSpec("grid", "max"), "'max'", "not pooled", "OutputSpec.pooled"),
    "scale negative": (lambda: OutputSpec.grid(scale_m=-10), "-10", "above 0", "give a number"),
    "scales that differ": (
        lambda: resolution_of(FetchSpec(scale_m=10), OutputSpec.grid(scale_m=20)),
        "20",
        "resolution_m = 10",
        "one of the two",
    ),
    "tile zero": (lambda: InputPrep.tile(0), "0", "[1, 65536]", "whole number"),
    "tile float": (lambda: InputPrep.tile(224.0), "224.0", "got float", "whole number"),
    "a resized tile": (lambda: InputPrep("resize", 224), "224", "not cut tiles", "InputPrep.tile"),
    "a stride with gaps": (lambda: InputPrep.tile(64, 65), "65", "leaves gaps", "at most tile_px"),
    "no tiles": (lambda: InputPrep.tile(64, max_tiles=0), "0", "[1, 1000000]", "whole number"),
    "two tile sizes": (lambda: InputPrep.tile(64, tile_size=32), "32", "was given too", "tile_px only"),
    "no model": (lambda: ModelSpec.of(5), "5", "int does not name a model", "galileo:nano"),
    "an empty model": (lambda: ModelSpec.of(":nano"), "':nano'", "id:variant:modality", "galileo:nano"),
    "four parts": (lambda: ModelSpec.of("a:b:c:d"), "'a:b:c:d'", "id:variant:modality", "galileo:nano"),
    "a model with a slash": (lambda: ModelSpec("a/b"), "'a/b'", "letters, digits", "model id"),
    "a name that is taken": (lambda: ModelSpec("m", name="items"), "'items'", "own table", "another name"),
    "a name with a plus": (lambda: ModelSpec("m", name="s1+s2"), "'s1+s2'", "name of a group", "'-' instead"),
    "a device of dreams": (lambda: ModelSpec("m", device="tpu"), "'tpu'", "no such device", "'cpu'"),
    "a licence of text": (lambda: ModelSpec("m", accept_licence="yes"), "'yes'", "True or False", "read the licence"),
    "options of text": (lambda: ModelSpec("m", options="patch"), "'patch'", "names and values", "{'patch_px': 8}"),
    "an option of set": (lambda: ModelSpec("m", options={"a": {1}}), "{1}", "JSON", "number, string"),
    "an option of nan": (lambda: ModelSpec("m", options={"a": NAN}), "nan", "not finite", "number"),
    "weights of number": (lambda: ModelSpec("m", weights=3), "3", "got int", "'random'"),
}

UNKNOWN = {
    "place type": (lambda: spatial_from_dict({"type": "Circle"}), "'Circle'", "BBox, PointBuffer, Polygon"),
    "place field": (lambda: BBox.from_dict({"minlong": 1}), "'minlong'", "did you mean 'minlon'"),
    "span field": (lambda: TemporalSpec.from_dict({"mode": "year", "years": 1}), "'years'", "did you mean 'year'"),
    "span mode": (lambda: TemporalSpec("month", 2022), "'month'", "range, year"),
    "mask": (lambda: FetchSpec(mask="SCL"), "'SCL'", "did you mean 'scl'"),
    "composite": (lambda: FetchSpec(composite="medain"), "'medain'", "did you mean 'median'"),
    "fill": (lambda: FetchSpec(fill="zero"), "'zero'", "card, none"),
    "output mode": (lambda: OutputSpec("vector"), "'vector'", "grid, pooled"),
    "pooling": (lambda: OutputSpec.pooled("avg"), "'avg'", "cls, max, mean"),
    "prep mode": (lambda: InputPrep("tiles"), "'tiles'", "did you mean 'tile'"),
    "dtype": (lambda: ModelSpec("m", dtype="float23"), "'float23'", "'float32'"),
    "model field": (lambda: ModelSpec.of({"id": "m", "varient": "x"}), "'varient'", "did you mean 'variant'"),
}

BAD = {**SPATIAL, **TEMPORAL, **REQUESTS}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_with_reason_and_fix(name):
    make, value, reason, fix = BAD[name]
    with pytest.raises(SpecError) as caught:
        make()
    error = caught.value
    head, _, advice = str(error).partition(". Fix: ")
    assert value in head
    assert reason in error.reason
    assert fix in advice
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_named_with_what_is_known(name):
    make, value, fix = UNKNOWN[name]
    with pytest.raises(UnknownNameError) as caught:
        make()
    assert value in str(caught.value)
    assert caught.value.reason == "unknown name"
    assert fix in caught.value.fix
    assert isinstance(caught.value, LookupError)
