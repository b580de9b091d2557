"""Arrays of the user's as a provider, and files and arrays that are refused."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401 - adds the accessor .rio
import xarray as xr

from rs_embed_dask.errors import ProviderError, SpecError, UnknownNameError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.specs.fetch import FetchSpec
from tests.providers.rasters import GRID, ramp, write, write_grd

JUNE = Span("2022-06-01", "2022-07-01")
DAYS = np.array(["2022-06-03", "2022-06-13T10:30"], "datetime64[ns]")
ROW = Grid(GRID.crs, GRID.transform, (1, 3))


def read(grid=GRID, bands=("red",), which="s2", **fetch):
    return Read(grid, which, bands, (JUNE,), FetchSpec(**fetch))


def labelled(values=None, bands=("B04", "B08")):
    values = np.stack([[ramp(GRID.shape), ramp(GRID.shape, 9000)]] * 2) if values is None else values
    coords = {"time": DAYS, "band": list(bands), "y": GRID.ys, "x": GRID.xs}
    return xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords).rio.write_crs(GRID.crs)


def test_a_labelled_array_is_read_where_it_lies():
    values = labelled().values.copy()
    values[1] += 100
    found = load(Files(labelled(values), sensor="s2"), read(GRID, ("nir", "red")))
    np.testing.assert_array_equal(found.values[0], values[:, ::-1].mean(0))
    assert found.n_obs.min() == 2
    assert [day.day for day in found.dates[0]] == [3, 13]


def test_it_is_reprojected_like_a_file(tmp_path):
    target = Grid("EPSG:32632", (10, 0, 239_700, 0, -10, 5_615_850), (20, 20))
    path = write(tmp_path / "20220603_B04.tif", ramp(GRID.shape))
    from_file = load(Files(path, sensor="s2"), read(target))
    from_array = load(Files(labelled().isel(time=[0]), sensor="s2"), read(target))
    np.testing.assert_array_equal(from_array.values, from_file.values)
    assert from_file.n_obs.sum() > 100


def test_lazy_arrays_are_computed_under_the_grid_only():
    seen = []

    def block(block_info):
        seen.append(block_info[None]["chunk-location"])
        return np.full(block_info[None]["chunk-shape"], 5.0)

    lazy = da.map_blocks(block, chunks=((1, 1), (1, 1), (12, 12), (15, 15)), dtype=float, meta=np.empty((0,) * 4))
    found = load(Files(labelled(lazy), sensor="s2"), read())
    assert found.values.mean() == 5
    del seen[:]
    corner = Grid(GRID.crs, GRID.transform, (4, 4))
    load(Files(labelled(lazy), sensor="s2"), read(corner))
    assert set(seen) == {(0, 0, 0, 0), (1, 0, 0, 0)}


def test_south_up_and_lonlat_arrays_are_understood():
    turned = labelled().isel(y=slice(None, None, -1))
    np.testing.assert_array_equal(
        load(Files(turned, sensor="s2"), read()).values, load(Files(labelled(), sensor="s2"), read()).values
    )
    lonlat = Grid("EPSG:4326", (0.001, 0, 5.3, 0, -0.001, 50.65), (60, 60))
    array = xr.DataArray(
        np.full((60, 60), 1234.0), dims=("lat", "lon"), coords={"lat": lonlat.ys, "lon": lonlat.xs, "time": DAYS[0]}
    )
    found = load(Files(array, sensor="s2", bands=["red"], crs="EPSG:4326"), read())
    assert found.valid_fraction == 1
    assert set(np.unique(found.values)) == {1234.0}


def test_a_dataset_of_bands():
    data = labelled(bands=("red", "SCL")).to_dataset("band")
    data["SCL"] = xr.full_like(data["SCL"], 4)
    data["SCL"][1, :5] = 9
    found = load(Files(data, sensor="s2"), read())
    np.testing.assert_array_equal(found.n_obs[0, :, 0], [1] * 5 + [2] * 19)


def test_a_plain_array_with_a_grid():
    values = np.stack([ramp(GRID.shape), ramp(GRID.shape, 500)])
    files = Files(values, sensor="s2", bands=["B04", "B08"], grid=GRID, dates=["2022-06-05"])
    found = load(files, read(GRID, ("nir",)))
    np.testing.assert_array_equal(found.values[0, 0], values[1])
    assert files.estimate(read()).scenes == 1
    assert files.describe() == {
        "name": "files",
        "sensor": "sentinel-2-l2a",
        "bands": ["B04", "B08"],
        "dates": ["2022-06-05"],
        "rebuild": False,
        "shape": [1, 2, 24, 30],
    }
    with pytest.raises(SpecError, match="arrays"):
        open_provider(files.describe())


def test_images_of_one_day_are_observations_of_their_own():
    values = np.array([1.0, 2.0, 9.0], np.float32).reshape(3, 1, 1, 1) * np.ones((1, 1, 1, 3), np.float32)
    files = Files(values, sensor="s2", bands=["B04"], grid=ROW, dates=["2022-06-05"] * 3)
    found = load(files, read(ROW))
    assert found.values[0, 0, 0, 0] == 2
    assert found.n_obs[0, 0, 0] == 3


@pytest.mark.parametrize(("attrs", "decibels"), [({"units": "dB"}, True), ({"units": "1"}, False), ({}, False)])
def test_r15_an_array_says_whether_it_holds_decibels(attrs, decibels):
    raw = np.full((1, 1, 3), -12.0 if decibels else 0.1, np.float32)
    array = xr.DataArray(raw, dims=("band", "y", "x"), coords={"band": ["VV"], "time": DAYS[0]}, attrs=attrs)
    found = load(Files(array, sensor="s1", grid=ROW), read(ROW, ("vv",), "s1"))
    np.testing.assert_allclose(found.values, -12 if decibels else -10, atol=1e-5)


@pytest.mark.parametrize(("which", "bands"), [("s2", ("nir", "red")), ("s1", ("vv", "vh"))])
def test_our_own_cubes_can_be_read_again(which, bands):
    cube = load(open_provider("synthetic"), read(GRID, bands, which))
    again = load(open_provider("files", source=cube.to_xarray()), read(GRID, bands, which))
    np.testing.assert_allclose(again.values, cube.values, rtol=1e-6)


def test_r14_ground_control_points_are_no_place(tmp_path):
    write_grd(tmp_path / "s1-iw-vv-20220605.tif", ramp((20, 30)))
    with pytest.raises(ProviderError, match=r"4 ground control points.*sentinel-1-rtc"):
        load(Files(tmp_path, sensor="s1"), read(GRID, ("vv",), "s1"))


def spoil_no_crs(folder):
    write(folder / "20220605_B04.tif", ramp((5, 5)), None)


def spoil_text(folder):
    folder.joinpath("20220605_B04.tif").write_text("no raster")


def spoil_several(folder):
    write(folder / "20220605.tif", np.stack([ramp(GRID.shape)] * 3))


def spoil_twice(folder):
    for name in ("20220605_B04", "20220605_red"):
        write(folder / f"{name}.tif", ramp(GRID.shape))


def spoil_quality(folder):
    for day in ("20220605", "20220610"):
        write(folder / f"{day}_B04.tif", ramp(GRID.shape))
    write(folder / "20220605_SCL.tif", ramp(GRID.shape))


def spoil_undated(folder):
    write(folder / "B04.tif", ramp(GRID.shape))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda folder: None, ProviderError, "no raster file with a band of sentinel-2-l2a"),
        (spoil_no_crs, ProviderError, "no coordinate reference system"),
        (spoil_text, ProviderError, "not a raster file that GDAL can read"),
        (spoil_several, SpecError, r"3 bands.*bands="),
        (spoil_twice, SpecError, "both hold the band red"),
        (spoil_quality, SpecError, r"20220610.: it has no SCL.*mask='none'"),
        (spoil_undated, SpecError, r"when it was taken.*dates="),
    ],
)
def test_folders_that_do_not_tell(tmp_path, spoil, error, words):
    inside = tmp_path / "pictures"
    inside.mkdir()
    spoil(inside)
    with pytest.raises(error, match=words):
        load(Files(inside, sensor="s2"), read())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sensor": None}, SpecError, "sensor="),
        ({"sensor": "s3"}, UnknownNameError, "sentinel"),
        ({"bands": ["B04"]}, SpecError, "2 bands and 1 names"),
        ({"bands": ["slope", "height"]}, SpecError, "none is a band"),
        ({"dates": ["2022-06-05"]}, SpecError, "1 dates for 2 scenes"),
        ({"dates": ["2022-06-31", "2022-06-05"]}, SpecError, "Files.dates"),
        ({"crs": "EPSG:1"}, SpecError, "Files.crs"),
        ({"grid": ROW}, SpecError, "grid"),
    ],
)
def test_options_that_do_not_fit_an_array(options, error, words):
    values = np.zeros((2, 2, *GRID.shape), np.float32)
    good = {"sensor": "s2", "bands": ["red", "nir"], "dates": ["2022-06-05", "2022-06-10"], "grid": GRID}
    with pytest.raises(error, match=words):
        Files(values, **{**good, **options})


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (42, SpecError, "neither a path nor an array"),
        ([], SpecError, "neither a path nor an array"),
        (np.zeros((2, 3, 4)), SpecError, "grid="),
        (np.zeros((1, 3)), SpecError, "dimensions"),
        (
            xr.DataArray(np.zeros((2, 3)), dims=("y", "x"), coords={"y": [2, 1], "x": [1, 2, 3]}),
            ProviderError,
            "write_crs",
        ),
        (xr.DataArray(np.zeros((2, 3)), dims=("row", "x")), SpecError, "dimensions y and x"),
        (xr.Dataset({"mean": 3}), SpecError, "no variable is an image"),
    ],
)
def test_sources_that_are_none(source, error, words):
    with pytest.raises(error, match=words):
        Files(
            source,
            sensor="s2",
            bands=["red"],
            dates=["2022-06-05"],
            grid=ROW if getattr(source, "shape", ()) == (1, 3) else None,
        )


def test_missing_bands_files_and_other_sensors_are_named(tmp_path):
    files = Files(write(tmp_path / "20220605_B04.tif", ramp(GRID.shape)), sensor="s2")
    with pytest.raises(SpecError, match="no scene at this place and time has it"):
        load(files, read(GRID, ("red", "nir")))
    with pytest.raises(SpecError, match="files are of sentinel-2-l2a"):
        load(files, read(GRID, ("vv",), "s1"))
    with pytest.raises(ProviderError, match="does not exist"):
        load(Files(tmp_path / "gone_20220605_B04.tif", sensor="s2"), read())
