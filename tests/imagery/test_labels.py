"""Labels of arrays: names of dimensions and bands, times of every kind, and where the pixels lie."""

from __future__ import annotations

import datetime as dt

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.labels import read_labels

GRID = Grid("EPSG:32631", (10, 0, 664_000, 0, -10, 5_612_000), (6, 8))
DEGREES = Grid("EPSG:4326", (0.25, 0, 4, 0, -0.25, 52), (6, 8))
GEO = {"GeoTransform": "664000.0 10.0 0.0 5612000.0 0.0 -10.0"}
RAMP = np.arange(48.0).reshape(6, 8)


def image(grid=GRID, names=("y", "x")):
    return xr.DataArray(RAMP, dims=names, coords={names[0]: grid.ys, names[1]: grid.xs}, attrs={"crs": grid.crs})


def referenced(array, **attrs):
    return array.assign_coords(spatial_ref=((), 0, {"crs_wkt": GRID.crs, **GEO, **attrs}))


def pixels(array):
    (plane,) = read_labels(array).planes
    return np.asarray(plane.pixels)


@pytest.mark.parametrize(
    "names",
    [
        ("lat", "lon"),
        ("Lat", "Lon"),
        ("LATITUDE", "LONGITUDE"),
        ("northing", "easting"),
        ("Northings", "Eastings"),
        ("Y", "X"),
        ("yc", "xc"),
        ("lats", "lons"),
        ("Latitudes", "Longitudes"),
    ],
)
def test_usual_names_of_dimensions(names):
    read = read_labels(image(names=names))
    assert read.grid == GRID
    np.testing.assert_array_equal(read.planes[0].pixels[0], RAMP)


def test_dimensions_that_attributes_explain():
    array = image(names=("rows", "cols"))
    array.rows.attrs["standard_name"] = "projection_y_coordinate"
    array.cols.attrs["axis"] = "X"
    assert read_labels(array.transpose()).grid == GRID


def test_an_unknown_dimension_with_times_along_it_is_time():
    days = pd.to_datetime(["2022-06-05", "2022-06-15"])
    coords = {"y": GRID.ys, "x": GRID.xs, "acquisition_time": ("scene", days)}
    read = read_labels(xr.DataArray(np.stack([RAMP, RAMP + 100]), dims=("scene", "y", "x"), coords=coords))
    assert read.shape == (2, 1, 6, 8)
    assert [moment.day for moment in read.moments] == [5, 15]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (np.array(["2022-06-05T10:30", "2022-06-06"], "datetime64[s]"), ["2022-06-05T10:30", "2022-06-06T00:00"]),
        (
            pd.to_datetime(["2022-06-05T23:00", "2022-06-06T23:00"]).tz_localize("US/Pacific"),
            ["2022-06-06T06:00", "2022-06-07T06:00"],
        ),
        (["2022-06-05T10:00:00Z", "2022-06-06T01:00+02:00"], ["2022-06-05T10:00", "2022-06-05T23:00"]),
        (["20220605", "20220606T101500"], ["2022-06-05T00:00", "2022-06-06T10:15"]),
        ([20220605, 20220606], ["2022-06-05T00:00", "2022-06-06T00:00"]),
        ([20220605.0, 20220606.0], ["2022-06-05T00:00", "2022-06-06T00:00"]),
        (
            [cftime.Datetime360Day(2022, 6, 5), cftime.Datetime360Day(2022, 6, 6)],
            ["2022-06-05T00:00", "2022-06-06T00:00"],
        ),
        (
            [cftime.DatetimeNoLeap(2022, 6, 5, 10), cftime.DatetimeNoLeap(2022, 6, 6)],
            ["2022-06-05T10:00", "2022-06-06T00:00"],
        ),
        (pd.period_range("2022-06-05", periods=2, freq="D"), ["2022-06-05T12:00", "2022-06-06T12:00"]),
        (
            np.array([dt.date(2022, 6, 5), dt.datetime(2022, 6, 6, 3, tzinfo=dt.UTC)], object),
            ["2022-06-05T12:00", "2022-06-06T03:00"],
        ),
        (
            np.array([pd.Timestamp("2022-06-05", tz="UTC"), np.datetime64("2022-06-06")], object),
            ["2022-06-05T00:00", "2022-06-06T00:00"],
        ),
    ],
)
@pytest.mark.parametrize("name", ["time", "t", "Date"])
def test_times_of_every_kind(times, expected, name):
    array = xr.DataArray(np.zeros((2, 6, 8)), dims=(name, "y", "x"), coords={name: times, "y": GRID.ys, "x": GRID.xs})
    moments = read_labels(array).moments
    assert [m.replace(second=0, microsecond=0) for m in (each + dt.timedelta(seconds=30) for each in moments)] == [
        dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in expected
    ]


def test_numbers_with_a_unit_and_scalars_and_tags_are_times():
    coded = xr.DataArray(
        np.zeros((1, 6, 8)),
        dims=("time", "y", "x"),
        coords={"time": ("time", [19_148], {"units": "days since 1970-01-01"})},
    )
    scalar = xr.DataArray(RAMP, dims=("y", "x"), coords={"date": "2022-06-05"})
    tagged = xr.DataArray(RAMP, dims=("y", "x"), attrs={"ACQUISITION_DATE": "2022-06-05"})
    stamped = xr.DataArray(RAMP, dims=("y", "x"), attrs={"TIFFTAG_DATETIME": "2022:06:05 00:00:00"})
    for array in (coded, scalar, tagged, stamped):
        assert read_labels(array).moments == (dt.datetime(2022, 6, 5, tzinfo=dt.UTC),)
    assert read_labels(xr.DataArray(RAMP, dims=("y", "x"))).moments == ()


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([2022, 2023], "not dates"),
        ([0.5, 1.5], "not dates"),
        (["June", "July"], "not a date"),
        ([cftime.Datetime360Day(2022, 2, 30), cftime.Datetime360Day(2022, 3, 30)], "2022-02-30"),
    ],
)
def test_a_time_axis_that_is_there_is_never_called_absent(times, words):
    array = xr.DataArray(np.zeros((2, 6, 8)), dims=("time", "y", "x"), coords={"time": times})
    read = read_labels(array)
    with pytest.raises(SpecError, match=rf"array\.time.*{words}.*dates="):
        _ = read.moments


def test_a_missing_time_is_named():
    times = np.array(["2022-06-05", "NaT"], "datetime64[ns]")
    read = read_labels(xr.DataArray(np.zeros((2, 6, 8)), dims=("time", "y", "x"), coords={"time": times}))
    assert read.moments[1] is None
    with pytest.raises(SpecError, match="this image has no time"):
        _ = read.frames


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a,
        lambda a: a.isel(y=slice(None, None, -1)),
        lambda a: a.isel(x=slice(None, None, -1)),
        lambda a: a.astype(float).assign_coords(x=a.x.astype("float32"), y=a.y.astype("float32")),
        lambda a: a.assign_coords(x=a.x - 5, y=a.y + 5),  # labels of the upper left corner, as stackstac's
        lambda a: a.assign_coords(x=a.x - 5, y=a.y + 5).isel(y=slice(None, None, -1)),
        lambda a: a.drop_vars(["x", "y"]),
    ],
)
@pytest.mark.parametrize("where", ["spatial_ref", "transform"])
def test_labels_beside_a_transform(spoil, where):
    array = image()
    array = (
        referenced(array)
        if where == "spatial_ref"
        else array.assign_attrs(transform=Affine(10, 0, 664_000, 0, -10, 5_612_000))
    )
    read = read_labels(spoil(array))
    assert read.grid == GRID
    np.testing.assert_array_equal(read.planes[0].pixels[0], RAMP)


def test_slices_keep_the_transform_of_the_whole_and_lie_right():
    array = referenced(image())
    part = read_labels(array.isel(y=slice(2, 5), x=slice(3, None)))
    assert part.grid == Grid(GRID.crs, (10, 0, 664_030, 0, -10, 5_611_980), (3, 5))
    one = read_labels(array.isel(x=[3], y=[2]))
    assert one.grid == Grid(GRID.crs, (10, 0, 664_030, 0, -10, 5_611_980), (1, 1))
    coarse = read_labels(array.coarsen(y=2, x=2).mean())
    assert coarse.grid == Grid(GRID.crs, (20, 0, 664_000, 0, -20, 5_612_000), (3, 4))
    np.testing.assert_array_equal(coarse.planes[0].pixels[0, 0, 0], RAMP[:2, :2].mean())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a.assign_coords(x=a.x + 3), "neither at centres nor at corners"),
        (lambda a: a.assign_coords(x=a.x - 5 + 20), "which edge is not stated"),
        (lambda a: a.assign_coords(x=664_005 + 7.0 * np.arange(8)), "contradict the transform"),
        (
            lambda a: a.drop_vars("spatial_ref").assign_coords(x=664_005 + 10 * np.array([0, 1, 2, 3, 4, 5, 6, 7.4])),
            "evenly",
        ),
        (lambda a: a.drop_vars(["spatial_ref", "x"]), "it has no coordinates"),
        (lambda a: referenced(a, GeoTransform="0 7 7 0 7 -7"), "north-up"),
        (lambda a: a.drop_vars("spatial_ref").assign_attrs(crs="EPSG:4326"), "not longitudes and latitudes"),
    ],
)
def test_contradictions_are_refused(spoil, words):
    with pytest.raises(SpecError, match=words):
        read_labels(spoil(referenced(image())))


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_coordinates_within_rounding(kind):
    fine = Grid("EPSG:4326", (1e-4, 0, 100.1, 0, -1e-4, 50.7), (6, 8))
    array = image(fine)
    array = array.assign_coords(x=fine.xs.astype("float32").astype(kind), y=fine.ys.astype("float32").astype(kind))
    got = read_labels(array).grid
    assert np.abs(got.xs - fine.xs).max() < 1e-5
    assert np.abs(got.ys - fine.ys).max() < 1e-5


@pytest.mark.parametrize(
    ("xs", "left"),
    [
        (np.arange(8) * 0.25 + 200.125, -160),
        (np.arange(8) * 0.25 + 179.125, 179),
        ((np.arange(8) * 0.25 + 359.125) % 360, -1),
        (np.arange(8) * 45 + 22.5, 0),
        (np.arange(8) * 45 - 157.5, -180),
    ],
)
def test_longitudes_from_0_to_360(xs, left):
    array = image(DEGREES).assign_coords(x=xs)
    read = read_labels(array)
    assert read.position.transform[2] == pytest.approx(left)
    assert read.position.transform[0] == pytest.approx(abs(np.diff(xs)[0]))


def test_band_names_come_from_descriptions_where_bands_are_numbered():
    stack = xr.DataArray(
        np.zeros((3, 6, 8)),
        dims=("band", "y", "x"),
        coords={"band": [1, 2, 3]},
        attrs={"long_name": ("B02", "B03", "B04")},
    )
    assert read_labels(stack).bands == ("B02", "B03", "B04")
    assert read_labels(stack.sel(band=[3, 1])).bands == ("B04", "B02")
    assert read_labels(stack.sel(band=2).assign_attrs(long_name="B03")).bands == ("B03",)
    variables = xr.Dataset(
        {
            "band_1": stack[0].drop_vars("band").assign_attrs(long_name="B02"),
            "band_2": stack[1].drop_vars("band").assign_attrs(long_name="B03"),
        }
    )
    assert read_labels(variables).bands == ("B02", "B03")


def test_each_band_keeps_its_own_numbers():
    attrs = {
        "nodatavals": (0, -1),
        "scales": (1e-4, 0.01),
        "offsets": (-0.1, 0.0),
        "units": ("reflectance", "K"),
        "long_name": ("B4", "B10"),
    }
    stack = xr.DataArray(np.zeros((2, 6, 8)), dims=("band", "y", "x"), coords={"band": [1, 2]}, attrs=attrs)
    for array in (stack, stack.sel(band=[2, 1])):
        planes = {plane.name: plane.numbers for plane in read_labels(array).planes}
        assert (planes["B4"].missing, planes["B4"].scale, planes["B4"].offset) == ((0.0,), 1e-4, -0.1)
        assert (planes["B10"].missing, planes["B10"].scale, planes["B10"].units) == ((-1.0,), 0.01, "K")
    along = stack.drop_attrs().assign_coords(band=["red", "nir"], nodata=("band", [7, 9]), unit=("band", ["%", "dB"]))
    assert [(p.numbers.missing, p.numbers.units) for p in read_labels(along).planes] == [((7.0,), "%"), ((9.0,), "dB")]


def test_a_dataset_keeps_the_dtype_of_each_variable():
    data = xr.Dataset(
        {
            "B04": (("time", "y", "x"), np.ones((2, 6, 8), "uint16"), {"_FillValue": 3}),
            "NDVI": (("y", "x"), np.ones((6, 8), "float32")),
            "cube": (("band", "y", "x"), np.ones((2, 6, 8), "int16")),
            "note": ((), 5),
        },
        coords={"band": ["B08", "B11"]},
        attrs={"nodata": 9},
    )
    read = read_labels(data)
    assert read.bands == ("B04", "NDVI", "B08", "B11")
    assert [plane.pixels.dtype.name for plane in read.planes] == ["uint16", "float32", "int16", "int16"]
    assert [plane.numbers.missing for plane in read.planes] == [(3.0, 9.0), (9.0,), (9.0,), (9.0,)]
    assert read.shape == (2, 4, 6, 8)
