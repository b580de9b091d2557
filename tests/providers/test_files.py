"""Files and arrays of the user's: which pixels, which dates, which numbers."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import numpy as np
import pytest
import xarray as xr
from dask.base import compute
from pyproj import Transformer

from rs_embed_dask.errors import NoImageryError, ProviderError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid, Window
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.assemble import lazy_cube
from rs_embed_dask.providers.files.naming import baseline_in, layer_in, moment_in
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.providers.tiff import read_layout
from rs_embed_dask.specs.fetch import FetchSpec
from tests.providers.rasters import GRID, ramp, write

JUNE = Span("2022-06-01", "2022-07-01")
COARSE = Grid(GRID.crs, (20, 0, 664_000, 0, -20, 5_612_000), (12, 15))


def read(grid=GRID, bands=("red",), *spans, which="s2", **fetch):
    return Read(grid, which, bands, spans or (JUNE,), FetchSpec(**fetch))


def test_one_file_on_its_own_grid_comes_back_as_it_is(tmp_path):
    values = ramp(GRID.shape)
    path = write(tmp_path / "S2_20220605_B04.tif", values)
    found = load(Files(path, sensor="s2"), read())
    np.testing.assert_array_equal(found.values[0, 0], values)
    assert found.dates == ((dt.date(2022, 6, 5),) * 2,)
    assert found.n_obs.min() == 1


def test_r9_another_utm_zone_is_gathered_exactly(tmp_path):
    large = Grid(GRID.crs, (10, 0, 663_000, 0, -10, 5_613_000), (230, 240))
    values = ramp(large.shape)
    path = write(tmp_path / "2022-06-05_B04.tif", values, large)
    target = Grid("EPSG:32632", (10, 0, 239_500, 0, -10, 5_616_200), (90, 70))
    x, y = Transformer.from_crs(target.crs, large.crs, always_xy=True).transform(*np.meshgrid(target.xs, target.ys))
    rows, columns = np.floor((5_613_000 - y) / 10).astype(int), np.floor((x - 663_000) / 10).astype(int)
    found = load(Files(path, sensor="s2"), read(target))
    assert (rows.min(), rows.max()) > (0, 80)
    np.testing.assert_array_equal(found.values[0, 0], values[rows, columns])


def test_r9_blocks_give_what_the_whole_gives(tmp_path):
    path = write(tmp_path / "20220605_B04.tif", ramp(GRID.shape))
    files = Files(path, sensor="s2")
    wanted = read(Grid("EPSG:32632", (10, 0, 239_600, 0, -10, 5_615_900), (40, 50)), mask="none")
    (here,) = files._near("s2", wanted.grid, JUNE)
    fetch = files._fetch([here])
    lazy = lazy_cube(wanted, files.table, scenes=[here.scene], fetch=fetch, block_px=16)
    pixels, counts = compute(lazy.pixels.data, lazy.n_obs.data, scheduler="threads")
    whole = load(files, wanted)
    np.testing.assert_array_equal(pixels, whole.values)
    np.testing.assert_array_equal(counts, whole.n_obs)
    assert 0 < whole.valid_fraction < 1


def test_r7_bands_of_three_resolutions_land_on_one_grid(tmp_path):
    fine, coarse = ramp(GRID.shape), ramp((12, 15), 7000)
    folder = tmp_path / "S2A_31UFS_20220605_0_L2A"
    write(folder / "B04.tif", fine)
    write(folder / "B8A.tif", coarse, COARSE)
    write(folder / "B01.tif", ramp((4, 5), 9000), Grid(GRID.crs, (60, 0, 664_000, 0, -60, 5_612_000), (4, 5)))
    found = load(Files(folder, sensor="s2"), read(GRID, ("B01", "B04", "B8A")))
    np.testing.assert_array_equal(found.values[0, 0], np.kron(ramp((4, 5), 9000), np.ones((6, 6))))
    np.testing.assert_array_equal(found.values[0, 1], fine)
    np.testing.assert_array_equal(found.values[0, 2], np.kron(coarse, np.ones((2, 2))))
    np.testing.assert_array_equal(
        load(Files(folder, sensor="s2"), read(COARSE, ("B04",))).values[0, 0], fine[1::2, 1::2]
    )


def test_r6_the_20_m_mask_cuts_along_20_m_edges(tmp_path):
    quality = np.full((12, 15), 4, np.uint8)
    quality[3, 4], quality[7, 8] = 9, 3
    write(tmp_path / "20220605_B04.tif", ramp(GRID.shape))
    write(tmp_path / "20220605_SCL.tif", quality, COARSE)
    found = load(Files(tmp_path, sensor="s2"), read())
    bad = np.kron(np.isin(quality, (3, 9)), np.ones((2, 2), bool)).astype(bool)
    np.testing.assert_array_equal(found.n_obs[0] == 0, bad)
    np.testing.assert_array_equal(np.isnan(found.values[0, 0]), bad)
    assert load(Files(tmp_path, sensor="s2"), read(mask="none")).valid_fraction == 1


def test_a_folder_of_dates_is_composited_and_split_into_frames(tmp_path):
    for day, level in ((3, 1000), (13, 3000), (23, 2000)):
        write(tmp_path / f"202206{day:02d}" / "B04.tif", np.full(GRID.shape, level, np.uint16))
    half = (Span("2022-06-01", "2022-06-11"), Span("2022-06-11", "2022-06-21"), Span("2022-06-26", "2022-06-30"))
    files = Files(tmp_path, sensor="s2")
    assert load(files, read()).values[0, 0, 0, 0] == 2000
    assert load(files, read(composite="mosaic")).values[0, 0, 0, 0] == 2000
    found = load(files, read(GRID, ("red",), *half))
    assert found.values[:2, 0, 0, 0].tolist() == [1000, 3000]
    assert np.isnan(found.values[2]).all()
    assert found.n_obs[:, 0, 0].tolist() == [1, 1, 0]
    assert found.dates[2] is None


def test_two_neighbouring_spans_hold_each_scene_once(tmp_path):
    for index, name in enumerate(("20220630T235959_B04", "20220701T000000_B04")):
        write(tmp_path / f"{name}.tif", np.full(GRID.shape, 1000 + index, np.uint16))
    files = Files(tmp_path, sensor="s2")
    june, july, both = (
        Span("2022-06-01", "2022-07-01"),
        Span("2022-07-01", "2022-08-01"),
        Span("2022-06-01", "2022-08-01"),
    )
    assert [len(files.search("s2", GRID, span, fetch=FetchSpec())) for span in (june, july, both)] == [1, 1, 2]
    cube = load(files, read(GRID, ("red",), june, july))
    assert cube.values[:, 0, 0, 0].tolist() == [1000, 1001]
    assert cube.n_obs[:, 0, 0].tolist() == [1, 1]


def test_an_array_keeps_the_last_fraction_of_a_day():
    days = np.array(["2022-06-30T23:59:59.999999999", "2022-07-01"], "datetime64[ns]")
    array = np.stack([np.full((1, *GRID.shape), level, np.uint16) for level in (1000, 1001)])
    labelled = xr.DataArray(array, dims=("time", "band", "y", "x"), attrs={"crs": GRID.crs})
    labelled = labelled.assign_coords(time=days, band=["B04"], y=GRID.ys, x=GRID.xs)
    files = Files(labelled, sensor="s2")
    cube = load(files, read(GRID, ("red",), Span("2022-06-01", "2022-07-01"), Span("2022-07-01", "2022-08-01")))
    assert cube.values[:, 0, 0, 0].tolist() == [1000, 1001]
    assert cube.n_obs[:, 0, 0].tolist() == [1, 1]


def test_two_halves_of_one_day_count_once(tmp_path):
    west, east = ramp(GRID.shape), ramp(GRID.shape, 5000)
    shifted = Grid(GRID.crs, (10, 0, 664_150, 0, -10, 5_612_000), GRID.shape)
    write(tmp_path / "west" / "20220605_B04.tif", west)
    write(tmp_path / "east" / "20220605_B04.tif", east, shifted)
    found = load(Files(tmp_path, sensor="s2"), read(Grid(GRID.crs, GRID.transform, (24, 45))))
    assert found.n_obs.min() == found.n_obs.max() == 1
    np.testing.assert_array_equal(found.values[0, 0, :, 30:], east[:, 15:])


@pytest.mark.parametrize(
    ("folder", "offset"),
    [
        ("S2A_MSIL2A_20220605T103629_N0509_R008_T31UFS_20220605T182400.SAFE", 1000),
        ("S2A_MSIL2A_20220605T103629_N0301_R008_T31UFS_20220605T182400.SAFE", 0),
        ("S2A_31UFS_20220605_0_L2A", 0),
    ],
)
def test_r1_the_products_name_tells_the_baseline(tmp_path, folder, offset):
    values = ramp(GRID.shape, 900)
    write(tmp_path / folder / "T31UFS_20220605T103629_B04_10m.tif", values)
    found = load(Files(tmp_path, sensor="s2"), read())
    np.testing.assert_array_equal(found.values[0, 0], values.astype(int) - offset)


def test_r1_the_user_can_tell_the_baseline(tmp_path):
    path = write(
        tmp_path / "20220605_B04.tif", np.array([[0, 950, 1500]], np.uint16), Grid(GRID.crs, GRID.transform, (1, 3))
    )
    found = load(Files(path, sensor="s2", baseline="04.00"), read(Grid(GRID.crs, GRID.transform, (1, 3))))
    np.testing.assert_array_equal(found.values.ravel(), [np.nan, -50, 500])


@pytest.mark.parametrize(
    ("dtype", "raw", "how", "options", "missing"),
    [
        (np.uint16, [0, 5, 65535], {}, {}, [True, False, False]),
        (np.uint16, [0, 5, 65535], {"nodata": 65535}, {}, [False, False, True]),
        (np.uint16, [0, 5, 65535], {"nodata": 0}, {"nodata": 65535}, [False, False, True]),
        (np.float32, [0, 5, np.nan], {}, {}, [False, False, True]),
    ],
)
def test_r2_what_means_missing(tmp_path, dtype, raw, how, options, missing):
    row = Grid(GRID.crs, GRID.transform, (1, 3))
    path = write(tmp_path / "20220605_B04.tif", np.array([raw], dtype), row, **how)
    found = load(Files(path, sensor="s2", **options), read(row))
    np.testing.assert_array_equal(np.isnan(found.values.ravel()), missing)


def test_a_place_beside_the_files_has_no_imagery(tmp_path):
    files = Files(write(tmp_path / "20220605_B04.tif", ramp(GRID.shape)), sensor="s2")
    beside = Grid(GRID.crs, (10, 0, 700_000, 0, -10, 5_612_000), (5, 5))
    assert files.search("s2", beside, JUNE, fetch=FetchSpec()) == ()
    with pytest.raises(NoImageryError):
        load(files, read(beside))
    with pytest.raises(NoImageryError, match="2021"):
        load(files, read(GRID, ("red",), Span("2021-06-01", "2021-07-01")))


def test_several_bands_by_description_or_by_list(tmp_path):
    stack = np.stack([ramp(GRID.shape, k * 1000) for k in range(3)])
    named = write(tmp_path / "a_20220605.tif", stack, names=["B8", "Blue", "elevation"])
    found = load(Files(named, sensor="s2"), read(GRID, ("blue", "nir")))
    np.testing.assert_array_equal(found.values[0], stack[[1, 0]])
    plain = write(tmp_path / "b_20220605.tif", stack)
    found = load(Files(plain, sensor="s2", bands=["red", "", "B12"]), read(GRID, ("swir22", "red")))
    np.testing.assert_array_equal(found.values[0], stack[[2, 0]])


def test_the_finer_of_two_files_of_one_band_counts(tmp_path):
    write(tmp_path / "T31_20220605_B04_20m.tif", ramp((12, 15), 9), COARSE)
    write(tmp_path / "T31_20220605_B04_10m.tif", ramp(GRID.shape))
    np.testing.assert_array_equal(load(Files(tmp_path, sensor="s2"), read()).values[0, 0], ramp(GRID.shape))


def test_dates_from_tags_and_by_hand(tmp_path):
    tagged = write(tmp_path / "B04.tif", ramp(GRID.shape), tags={"ACQUISITION_DATE": "2022-06-09"})
    assert load(Files(tagged, sensor="s2"), read()).dates[0][0] == dt.date(2022, 6, 9)
    given = Files(tagged, sensor="s2", dates="2022-06-21")
    assert load(given, read()).dates[0][0] == dt.date(2022, 6, 21)


def test_r13_radar_files_hold_power(tmp_path):
    power = np.full(GRID.shape, 0.01, np.float32)
    power[0, :3] = [0, -32768, np.nan]
    path = write(tmp_path / "s1_20220605_vv.tif", power, nodata=-32768)
    found = load(Files(path, sensor="s1"), read(GRID, ("vv",), which="s1"))
    np.testing.assert_allclose(found.values[0, 0, 1:], -20, atol=1e-5)
    assert np.isnan(found.values[0, 0, 0, :3]).all()
    assert (found.n_obs == 0).sum() == 3


def test_a_scaling_of_ones_own(tmp_path):
    path = write(tmp_path / "20220605_B04.tif", np.full(GRID.shape, 0.25, np.float32))
    files = Files(path, sensor="s2", scaling={"scale": 10_000.0})
    assert load(files, read()).values.mean() == 2500
    assert open_provider(json.loads(json.dumps(files.describe()))) == files


def test_it_is_small_and_describes_itself(tmp_path):
    files = Files([str(tmp_path), tmp_path / "more"], sensor="s2", bands=["red", "nir"], dates=["2022-06-05"], nodata=0)
    assert len(pickle.dumps(files)) < 1000
    assert open_provider(json.loads(json.dumps(files.describe()))) == files == pickle.loads(pickle.dumps(files))
    assert files.sensors() == {"sentinel-2-l2a"}
    assert files.estimate(read()).requests == 16  # eight scenes in 30 days, of red and of the mask


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("S2A_29RKH_20200219_0_L2A", "2020-02-19T12:00"),
        ("T32ULC_20230601T103629_B02_10m.jp2", "2023-06-01T10:36:29"),
        ("scene 2022-06-05.tif", "2022-06-05T12:00"),
        ("2022_06_05_red", "2022-06-05T12:00"),
        ("HLS.S30.T13TDE.2022156T173709.v2.0.B02", "2022-06-05T17:37:09"),
        ("MOD09A1.A2022153.h18v04.061", "2022-06-02T12:00"),
        ("20220231_20220301", "2022-03-01T12:00"),
        ("tile_12345678", None),
        ("B04", None),
        ("120220605", None),
    ],
)
def test_dates_in_names(name, moment):
    expected = None if moment is None else dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
    assert moment_in(name) == expected


@pytest.mark.parametrize(
    ("stem", "layer"),
    [
        ("T32ULC_20230601T103629_B8A_20m", ("nir08", "T32ULC_20230601T103629")),
        ("iw-vv", ("vv", "iw")),
        ("SCL", ("SCL", "")),
        ("2022_red", ("red", "2022")),
        ("AOT", None),
        ("elevation", None),
    ],
)
def test_layers_in_names(stem, layer):
    assert layer_in(stem, sensor("s1" if "vv" in stem else "s2")) == layer
    assert baseline_in(stem) is None


def test_windows_of_a_grid_read_alike(tmp_path):
    files = Files(write(tmp_path / "20220605_B04.tif", ramp(GRID.shape)), sensor="s2")
    window = Window(-2, 25, 10, 12)
    found = load(files, read(GRID.crop(window)))
    np.testing.assert_array_equal(found.values[0, 0, 2:, :5], ramp(GRID.shape)[:8, 25:])
    assert found.n_obs.sum() == 8 * 5


def spoil_pixels(path):
    """Overwrite the first block of a file, and leave its head."""
    data = bytearray(path.read_bytes())
    layout = read_layout(lambda offset, length: bytes(data[offset : offset + length]))
    offset, length = int(layout.offsets[0, 0, 0]), int(layout.counts[0, 0, 0])
    data[offset : offset + length] = b"\xa5" * length
    path.write_bytes(data)


def test_a_file_that_cannot_be_read_costs_its_date_and_is_named(tmp_path):
    for day, value in ((5, 1000), (15, 2000), (25, 4000)):
        write(tmp_path / f"202206{day:02}_B04.tif", np.full(GRID.shape, value, "uint16"), compress="deflate")
    files = Files(tmp_path, sensor="s2")
    assert np.unique(load(files, read()).values) == 2000
    spoil_pixels(tmp_path / "20220615_B04.tif")
    found = load(files, read())
    assert np.unique(found.values) == 2500
    assert len(found.scenes) == 2
    (lost,) = found.lost
    assert lost.startswith("file 20220615_B04.tif: its pixels cannot be read: ")


def test_where_no_file_can_be_read_the_read_fails(tmp_path):
    spoil_pixels(write(tmp_path / "20220605_B04.tif", ramp(GRID.shape), compress="deflate"))
    with pytest.raises(ProviderError, match=r"file 20220605_B04.tif.*cannot be read"):
        load(Files(tmp_path, sensor="s2"), read())
