"""Reads and cubes: validation, selection, labels, arrays of the user's."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import numpy as np
import pytest
import rioxarray  # noqa: F401 - adds the accessor .rio
import xarray as xr
from dask.base import tokenize

from rs_embed_dask.errors import RsEmbedError, SpecError, UnknownNameError
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.labels import read_labels
from rs_embed_dask.specs.fetch import FetchSpec

GRID = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (3, 4))
MAY, JUNE, JULY = (Span(f"2022-0{m}-01", f"2022-0{m + 1}-01") for m in (5, 6, 7))
READ = Read(GRID, "COPERNICUS/S2_SR_HARMONIZED", ("B8A", "B4", "blue"), (MAY, JUNE), FetchSpec(max_cloud_pct=30))


def cube(read=READ):
    shape = (len(read.frames), len(read.bands), *read.grid.shape)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    counts = np.ones((shape[0], *shape[2:]), np.uint16)
    values[1, :, 0, 0], counts[1, 0, 0] = np.nan, 0
    dates = ((dt.date(2022, 5, 3), dt.date(2022, 5, 28)), None)[: len(read.frames)]
    return Cube(values, counts, read, ("a", "b"), dates)


def test_a_read_keeps_ids_and_common_names():
    assert READ.sensor == "sentinel-2-l2a"
    assert READ.bands == ("nir08", "red", "blue")
    assert READ.units == ("reflectance_e4",) * 3
    assert READ.span == Span("2022-05-01", "2022-07-01")


def test_a_read_survives_json_pickle_and_dask():
    again = Read.from_dict(json.loads(READ.to_json()))
    assert again == READ == pickle.loads(pickle.dumps(READ))
    assert hash(again) == hash(READ)
    assert tokenize(again) == tokenize(READ) != tokenize(Read(GRID, "s2", ("red",), (MAY,)))
    assert len(pickle.dumps(READ)) < 1500


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sensor": "sentinel-9"}, UnknownNameError, "sentinel-1-grd"),
        ({"bands": ("B10",)}, UnknownNameError, "sentinel-2-l1c"),
        ({"bands": ("red", "B04")}, SpecError, "more than once"),
        ({"bands": ()}, SpecError, "bands"),
        ({"bands": "red"}, SpecError, "bands"),
        ({"frames": ()}, SpecError, "frames"),
        ({"frames": (JUNE, MAY)}, SpecError, "order"),
        ({"frames": (MAY, Span("2022-05-31", "2022-06-05"))}, SpecError, "before"),
    ],
)
def test_a_read_refuses(change, error, words):
    fields = {"grid": GRID, "sensor": "s2", "bands": ("red",), "frames": (MAY,), **change}
    with pytest.raises(error, match=words):
        Read(**fields)


@pytest.mark.parametrize("part", ["values", "n_obs"])
def test_shapes_must_fit_the_read(part):
    good = {"values": cube().values, "n_obs": cube().n_obs}
    with pytest.raises(SpecError, match=rf"Cube\.{part}"):
        Cube(**{**good, part: good[part][..., 1:]}, read=READ)


def test_valid_fraction_counts_observed_pixels():
    np.testing.assert_allclose(cube().valid_fraction, [1, 11 / 12])
    assert cube().valid_fraction.dtype == np.float32
    assert cube().nbytes == 2 * 3 * 12 * 4 + 2 * 12 * 2


def test_select_takes_bands_by_any_name_in_the_order_asked():
    part = cube().select(bands=["B02", "nir08"], frames=[JUNE])
    np.testing.assert_array_equal(part.values, cube().values[1:, [2, 0]])
    np.testing.assert_array_equal(part.n_obs, cube().n_obs[1:])
    assert (part.bands, part.read.frames, part.dates) == (("blue", "nir08"), (JUNE,), (None,))
    assert cube().select().read == READ


def test_select_of_everything_copies_nothing():
    whole = cube()
    assert np.shares_memory(whole.select(bands=READ.bands).values, whole.values)


@pytest.mark.parametrize(("wanted", "words"), [({"bands": ["B12"]}, "swir22"), ({"frames": [JULY]}, "2022-07-01")])
def test_select_names_what_is_not_there(wanted, words):
    with pytest.raises(RsEmbedError, match=words):
        cube().select(**wanted)


def test_labels_are_pixel_centres_and_a_reference_system():
    array = cube().to_xarray()
    assert array.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(array.x, [600_005, 600_015, 600_025, 600_035])
    np.testing.assert_array_equal(array.y, [5_699_995, 5_699_985, 5_699_975])
    assert array.rio.crs.to_epsg() == 32631
    assert array.spatial_ref.attrs["GeoTransform"] == "600000.0 10.0 0.0 5700000.0 0.0 -10.0"  # as GDAL orders it
    assert list(array.band.values) == ["nir08", "red", "blue"]
    np.testing.assert_array_equal(array.time.values.astype("datetime64[D]").astype(str), ["2022-05-16", "2022-06-16"])
    np.testing.assert_array_equal(
        array.frame_end.values.astype("datetime64[D]").astype(str), ["2022-06-01", "2022-07-01"]
    )
    assert str(array.first_date.values[0].astype("datetime64[D]")) == "2022-05-03"
    assert np.isnat(array.last_date.values[1])
    np.testing.assert_array_equal(array.n_obs, cube().n_obs)


def test_r28_labels_write_to_zarr_and_come_back(tmp_path):
    array = cube().to_xarray()
    array.to_zarr(tmp_path / "cube.zarr", consolidated=False, zarr_format=2)
    again = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False)["pixels"]
    np.testing.assert_array_equal(again.values, array.values)
    assert again.rio.crs == array.rio.crs
    json.dumps(array.attrs)


def test_labels_are_read_back():
    array = cube().to_xarray()
    labelled = read_labels(array)
    np.testing.assert_array_equal(np.stack([plane.pixels for plane in labelled.planes], 1), array.values)
    assert labelled.grid == GRID
    assert (labelled.bands, labelled.sensor) == (READ.bands, READ.sensor)
    assert [span.start for span in labelled.frames] == [MAY.midpoint, JUNE.midpoint]


def test_a_dataset_has_one_variable_per_band():
    data = cube().to_xarray().drop_vars("n_obs").to_dataset(dim="band").rename({"y": "lat", "x": "lon"})
    labelled = read_labels(data)
    planes = {plane.name: plane.pixels for plane in labelled.planes}
    np.testing.assert_array_equal(np.stack([planes[band] for band in READ.bands], 1), cube().values)
    assert labelled.grid == GRID


def test_rows_run_from_north_to_south_whatever_the_labels_do():
    array = cube().to_xarray()
    turned = read_labels(array.isel(y=slice(None, None, -1), x=slice(None, None, -1)))
    np.testing.assert_array_equal(np.stack([plane.pixels for plane in turned.planes], 1), array.values)
    assert turned.grid == GRID


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a.assign_coords(x=[0, 10, 20, 31]), "evenly spaced"),
        (lambda a: a.isel(x=[0]).drop_vars("spatial_ref").assign_attrs(crs="EPSG:32631"), "one pixel"),
        (lambda a: a.rename(y="row"), "dimensions y and x"),
        (lambda a: a.expand_dims("member"), "member"),
    ],
)
def test_arrays_that_do_not_say_plainly_where_they_lie(spoil, words):
    with pytest.raises(SpecError, match=words):
        read_labels(spoil(cube().to_xarray()))


def test_a_cube_pickles_to_little_more_than_its_pixels():
    large = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (64, 64))
    values = np.ones((1, 3, 64, 64), np.float32)
    whole = Cube(values, np.ones((1, 64, 64), np.uint16), Read(large, "s2", READ.bands, (MAY,)))
    assert len(pickle.dumps(whole)) < whole.nbytes + 2000
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.values, whole.values)
    assert again.read == whole.read
