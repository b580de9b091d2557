"""What the numbers of optical files mean, and what bands are called (R1-R5)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rs_embed_dask.errors import ProviderError, UnknownNameError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.services.reads import cube, only, read
from tests.services.scenes import S2_10M, S2_20M, S2_60M, layer, s2_scene


@pytest.mark.parametrize(
    ("baseline", "date", "dn"),
    [
        ("02.12", "2022-06-05", 1500),
        ("03.01", "2022-06-05", 1500),
        ("04.00", "2022-06-05", 2500),
        ("05.09", "2022-06-05", 2500),
        ("05.00", "2018-06-05", 2500),
        ("03.01", "2023-06-05", 1500),
    ],
)
def test_r01_the_offset_goes_by_each_items_own_baseline(plain, baseline, date, dn):
    service = plain(s2_scene("a", f"{date}T10:00:00", dn=dn, baseline=baseline))
    got = cube(service, read(frames=(Span(f"{date[:4]}-06-01", f"{date[:4]}-07-01"),)))
    assert only(got.values) == 1500


def test_r01_the_offset_goes_before_the_median(plain):
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", dn=1000, baseline="03.01"),
        s2_scene("b", "2022-06-10T10:00:00", dn=2200, baseline="04.00"),
        s2_scene("c", "2022-06-15T10:00:00", dn=1400, baseline="03.01"),
    )
    assert only(cube(service).values) == 1200


def test_r01_an_item_without_a_baseline_is_an_error_not_a_guess(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00"), edit=lambda i: i["properties"].pop("s2:processing_baseline"))
    with pytest.raises(ProviderError, match=r"scene a.*no processing baseline"):
        cube(service)


@pytest.mark.parametrize("nodata", [None, 0])
def test_r02_zero_is_missing_with_or_without_a_tag(plain, nodata):
    values = np.full((120, 120), 1800)
    values[20:40] = 0
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", baseline="04.00", layers=[layer("B04", values, nodata=nodata)])
    )
    got = cube(service)
    assert np.isnan(got.values[0, 0, :20]).all()
    assert only(got.values[0, 0, 20:]) == 800
    np.testing.assert_array_equal(got.n_obs[0, :, 0], [0] * 20 + [1] * 20)


def test_r02_negative_reflectance_is_kept(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=950, baseline="04.00"))
    got = cube(service)
    assert only(got.values) == -50
    assert got.n_obs.all()


def test_r03_contradicting_metadata_changes_nothing(plain):
    def lie(item):
        for asset in item["assets"].values():
            asset["raster:bands"] = [{"scale": 0.5, "offset": -0.1, "nodata": 1500, "data_type": "int8"}]
        item["properties"]["earthsearch:boa_offset_applied"] = False

    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=1500), edit=lie)
    assert only(cube(service).values) == 1500


def test_r03_the_table_of_the_endpoint_decides(plain):
    """The same file means 2500 at Earth Search, where the offset is off already, and 1500 at Planetary Computer."""

    def as_earth_search(item):
        item["assets"] |= {"red": item["assets"]["B04"], "scl": item["assets"]["SCL"]}

    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=2500, baseline="04.00"), edit=as_earth_search)
    assert only(cube(service).values) == 1500
    assert only(load(StacProvider(service.url, source="earth_search"), read()).values) == 2500


def all_bands():
    names = (*S2_10M, *S2_20M, *S2_60M)
    return s2_scene("a", "2022-06-05T10:00:00", bands=names, dn={name: 1000 + 10 * i for i, name in enumerate(names)})


def test_r04_bands_by_any_name_of_them(plain):
    service = plain(all_bands())
    got = cube(service, read("B02", "green", "B4", "B8A", "B01"))
    assert got.bands == ("blue", "green", "red", "nir08", "coastal")
    assert [only(got.values[0, i]) for i in range(5)] == [1000, 1010, 1020, 1070, 1100]


@pytest.mark.parametrize("name", ["B10", "cirrus", "B99"])
def test_r04_bands_that_are_not_there_are_refused(name):
    with pytest.raises(UnknownNameError, match="sentinel-2-l1c" if name != "B99" else "B99"):
        read(name)


def test_r04_an_asset_of_several_bands_is_not_a_band(plain):
    service = plain(all_bands())
    with pytest.raises(ProviderError, match="no band swir16"):
        cube(service, read("red", "swir16"), assets={"swir16": "visual"}, absent="error")


@pytest.mark.parametrize("order", list(itertools.permutations(("B12", "B8A", "B02"))))
def test_r05_the_order_is_that_of_the_request(plain, order):
    numbers = {"B02": 1000, "B8A": 1070, "B12": 1090}
    got = cube(plain(all_bands()), read(*order))
    assert [only(got.values[0, i]) for i in range(3)] == [numbers[name] for name in order]
