"""The builder of the real catalogue, on a tiny imitation of the real data folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.crs import CRS

from tests.services import real_imagery


def cube(path, times, **bands):
    path.parent.mkdir(exist_ok=True)
    x, y = 600_005.0 + 10 * np.arange(6), 5_700_005.0 - 10 * np.arange(5)
    values = {
        name.replace("_", "-"): (("t", "y", "x"), np.asarray(v, "uint16").view("int16")) for name, v in bands.items()
    }
    xr.Dataset(values, coords={"t": np.array(times, "M8[ns]"), "y": y, "x": x}).to_netcdf(path, engine="netcdf4")


def flat(*numbers):
    return np.broadcast_to(np.array(numbers, "uint16")[:, None, None], (len(numbers), 5, 6))


@pytest.fixture
def catalogue(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    radar = {"S1_SIGMA0_VV": flat(3000, 0), "S1_SIGMA0_VH": flat(1000, 1000)}
    cube(data / real_imagery.MONTHLY, ["2020-11-01", "2020-12-01"], S2_L2A_B04=flat(1500, 65_535), **radar)
    scl = np.full((1, 5, 6), 4)
    scl[0, 0] = 9
    for path in real_imagery.OPTICAL_DATES:
        cube(data / path, ["2023-04-05"], S2_L2A_B04=flat(40_000), S2_L2A_SCL=scl)
    cube(data / real_imagery.RADAR_DATES, ["2023-04-06"], S1_SIGMA0_VV=flat(3000))
    folder = data / real_imagery.GRANULE
    folder.mkdir(parents=True)
    known = {
        "datetime": "2020-02-19T11:34:25Z",
        "platform": "sentinel-2a",
        "eo:cloud_cover": 4.0,
        "s2:processing_baseline": "02.14",
        "s2:datastrip_id": "x",
        "s2:generation_time": "2020-02-19T12:39:47Z",
        "s2:product_uri": "x.SAFE",
    }
    (folder / f"{folder.name}.json").write_text(json.dumps({"properties": known}))
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": CRS.from_epsg(32_629), "nodata": 0}
    for band, pixel in (("B04", 100.0), ("B01", 600.0)):
        place = rasterio.Affine(pixel, 0, 200_000, 0, -pixel, 3_300_000)
        with rasterio.open(folder / f"{band}.tif", "w", height=6, width=6, transform=place, **profile) as file:
            file.write(np.full((1, 6, 6), 77, "uint16"))
    out = real_imagery.build(data, tmp_path / "out")
    return out, {item["id"]: item for item in json.loads((out / "items.json").read_text())["features"]}


def values(catalogue, name, asset):
    out, items = catalogue
    with rasterio.open(out / "blobs" / items[name]["assets"][asset]["href"].removeprefix("blob:")) as file:
        return file.read(1), file


def test_months_without_optical_data_have_no_item(catalogue):
    assert {name for name in catalogue[1] if "monthly" in name} == {
        "S2_31UFS_202011_monthly",
        "S1_31UFS_202011_monthly",
        "S1_31UFS_202012_monthly",
    }


def test_a_month_says_that_it_is_one(catalogue):
    about = catalogue[1]["S2_31UFS_202011_monthly"]["properties"]
    assert about["datetime"] is None
    assert (about["start_datetime"], about["end_datetime"]) == ("2020-11-01T00:00:00Z", "2020-11-30T23:59:59Z")
    assert about["eo:cloud_cover"] == 0
    assert "SCL" not in catalogue[1]["S2_31UFS_202011_monthly"]["assets"]


def test_radar_is_linear_power_with_the_real_nodata(catalogue):
    vv, file = values(catalogue, "S1_31UFS_202011_monthly", "vv")
    np.testing.assert_allclose(10 * np.log10(vv), 20 * np.log10(3000) - 83, atol=1e-5)
    assert file.nodata == -32_768
    assert (values(catalogue, "S1_31UFS_202012_monthly", "vv")[0] == -32_768).all()


def test_dates_keep_their_numbers_and_clouds(catalogue):
    red, _ = values(catalogue, "S2_belgium0_20230405", "B04")
    assert (red == 40_000).all()
    assert catalogue[1]["S2_belgium1_20230405"]["properties"]["eo:cloud_cover"] == 20
    assert catalogue[1]["S2_belgium0_20230405"]["assets"]["B04"]["proj:transform"] == [
        10,
        0,
        600_000,
        0,
        -10,
        5_700_010,
    ]


def test_the_granule_keeps_its_three_resolutions(catalogue):
    item = catalogue[1]["S2A_29RKH_20200219_0_L2A"]
    assert item["properties"]["proj:epsg"] == 32_629
    assert [item["assets"][band]["proj:transform"][0] for band in ("B04", "B01")] == [100, 600]
    assert (values(catalogue, "S2A_29RKH_20200219_0_L2A", "B01")[0] == 77).all()
