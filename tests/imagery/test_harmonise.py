"""From raw numbers to working units, against closed forms."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.frame import baseline_of, finish, harmonise, spoilt
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import sensor, source

PC = source("planetary_computer", "sentinel-2-l2a")
RED = (sensor("s2").band("red"),)


def scene(name="a", day="2022-06-05", **properties):
    return Scene(name, dt.datetime.fromisoformat(day), None, properties)


def one(raw, where, band, **properties):
    """One pixel of one band of one scene."""
    of = sensor(where.sensor)
    stack = np.asarray(raw).reshape(1, 1, 1, -1)
    return harmonise(stack, where, bands=[of.band(band)], scenes=[scene(**properties)]).ravel()


def test_r1_the_offset_follows_each_scenes_baseline_whatever_its_date():
    truth = np.array([[1200, 3400]], np.uint16)
    raw = np.stack([truth, truth + 1000, truth + 1000])[:, None]
    scenes = [
        scene("old", "2022-03-01", **{"s2:processing_baseline": "03.01"}),
        scene("new", "2022-02-01", **{"s2:processing_baseline": "04.00"}),
        scene("reprocessed", "2018-07-01", **{"s2:processing_baseline": "05.00"}),
    ]
    found = harmonise(raw, PC, bands=RED, scenes=scenes)
    assert found.dtype == np.float32
    for each in found:
        np.testing.assert_array_equal(each[0], truth)


@pytest.mark.parametrize(
    ("stated", "baseline"),
    [
        ({"s2:processing_baseline": "02.12"}, 2.12),
        ({"s2:processing_baseline": "05.10"}, 5.10),
        ({"s2:processing_baseline": "N0509"}, 5.09),
        ({"s2:processing_baseline": "0510"}, 5.10),
        ({"s2:processing_baseline": 5.09}, 5.09),
        ({"s2:processing_baseline": 5.1}, 5.10),
        ({"s2:processing_baseline": "5.1"}, 5.10),
        ({"s2:processing_baseline": 400}, 4.0),
        ({"s2:processing_baseline": 4}, 4.0),
        ({"s2:processing_baseline": "00.01"}, 0.01),
        ({"processing:version": "05.11"}, 5.11),
        ({"s2:product_uri": "S2A_MSIL2A_20220605T1_N0400_R108_T31UFS_20220605T2.SAFE"}, 4.0),
        ({"s2:processing_baseline": "unknown"}, None),
        ({}, None),
    ],
)
def test_r1_a_baseline_is_read_from_where_the_catalogue_has_it(stated, baseline):
    assert baseline_of(scene(**stated), PC) == pytest.approx(baseline)


def test_r1_a_scene_without_a_baseline_is_an_error_where_the_offset_depends_on_it():
    with pytest.raises(ProviderError, match=r"scene a: .*no processing baseline"):
        one([1500], PC, "red")
    assert one([1500], source("files", "s2"), "red") == 1500


def test_r3_metadata_that_contradicts_the_table_changes_nothing():
    lying = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}], "earthsearch:boa_offset_applied": False}
    assert one([1500], source("earth_search", "sentinel-2-l2a"), "red", **lying) == 1500
    lying = {**lying, "s2:processing_baseline": "05.10"}
    assert one([1500], source("earth_search", "sentinel-2-c1-l2a"), "red", **lying) == 500


def test_r2_zero_is_nodata_and_dark_pixels_are_negative():
    found = one(np.array([0, 1, 950, 1000, 65535], np.uint16), PC, "red", **{"s2:processing_baseline": "04.00"})
    np.testing.assert_array_equal(found, [np.nan, -999, -50, 0, 64535])


def test_r13_radar_power_drops_nodata_and_what_has_no_logarithm():
    where = source("planetary_computer", "sentinel-1-rtc")
    raw = np.array([0.1, 0.0, -0.01, -32768, np.nan, np.inf], np.float32)
    found = one(raw, where, "vv")
    np.testing.assert_array_equal(found, np.array([0.1, *[np.nan] * 5], np.float32))
    db = finish(found.reshape(1, 1, -1), [sensor("s1").band("vv")]).ravel()
    np.testing.assert_allclose(db[0], -10, atol=1e-6)
    assert np.isnan(db[1:]).all()


def test_r15_decibels_become_power_and_decibels_again():
    where = source("earth_engine", "sentinel-1-grd")
    found = one(np.array([-10.0, 0.0, -25.0], np.float32), where, "vh")
    np.testing.assert_allclose(found, [0.1, 1.0, 10**-2.5], rtol=1e-6)
    back = finish(found.reshape(1, 1, -1), [sensor("sentinel-1-grd").band("vh")]).ravel()
    np.testing.assert_allclose(back, [-10, 0, -25], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "band", "raw", "canonical"),
    [
        ("landsat-c2-l2", "red", [0, 7273, 43636], [np.nan, 7273 * 0.275 - 2000, 43636 * 0.275 - 2000]),
        ("landsat-c2-l2", "lwir11", [0, 44000], [np.nan, 44000 * 0.00341802 + 149]),
        ("hls2-l30", "red", [-9999, -12, 804], [np.nan, -12, 804]),
        ("hls2-l30", "lwir11", [-9999, 2150], [np.nan, 21.5 + 273.15]),
        ("hls2-s30", "nir08", [-9999, 3100], [np.nan, 3100]),
        ("modis-09a1", "red", [-28672, -101, -100, 16000, 16001], [np.nan, np.nan, -100, 16000, np.nan]),
    ],
)
def test_r16_r17_r18_other_sensors_numbers(name, band, raw, canonical):
    kind = np.uint16 if name.startswith("landsat") else np.int16
    found = one(np.array(raw, kind), source("planetary_computer", name), band)
    np.testing.assert_allclose(found, np.array(canonical), rtol=1e-6, atol=1e-3)


def test_bands_of_different_scalings_stand_side_by_side():
    where, of = source("planetary_computer", "landsat-c2-l2"), sensor("landsat-c2-l2")
    raw = np.array([10_000, 44_000], np.uint16).reshape(1, 2, 1, 1)
    found = harmonise(raw, where, bands=[of.band("red"), of.band("lwir11")], scenes=[scene()])
    np.testing.assert_allclose(found.ravel(), [750, 44_000 * 0.00341802 + 149], rtol=1e-6)


def test_nothing_that_was_given_is_changed():
    raw = np.array([[[[0.0, 1500.0]]]], np.float32)
    kept = raw.copy()
    harmonise(raw, PC, bands=RED, scenes=[scene(**{"s2:processing_baseline": "05.10"})])
    np.testing.assert_array_equal(raw, kept)


def test_r6_scl_classes():
    quality = np.arange(12, dtype=np.uint8)
    found = spoilt(quality, sensor("s2").mask("scl"))
    np.testing.assert_array_equal(np.flatnonzero(found), [0, 1, 3, 8, 9, 10])


def test_missing_quality_spoils():
    found = spoilt(np.array([4.0, np.nan, 9.0], np.float32), sensor("s2").mask("scl"))
    np.testing.assert_array_equal(found, [False, True, True])


@pytest.mark.parametrize(
    ("name", "mask", "clear", "bad"),
    [
        ("s2", "qa60", [0, 1 << 9], [1 << 10, 1 << 11, 3 << 10]),
        ("hls2-s30", "fmask", [0, 1 << 4, 1 << 5, 1 << 6, 1], [1 << 1, 1 << 2, 1 << 3, 255, (1 << 3) | (1 << 6)]),
        ("landsat", "qa_pixel", [1 << 6, 1 << 7, 21824], [1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 22280]),
        ("modis", "state", [0, 3, 1 << 3, 1 << 8, 2 << 8], [1, 2, 1 << 2, 3 << 8, 1 << 10]),
    ],
)
def test_bit_masks(name, mask, clear, bad):
    rule = sensor(name).mask(mask)
    assert not spoilt(np.array(clear, np.uint16), rule).any()
    assert spoilt(np.array(bad, np.uint16), rule).all()
    assert spoilt(np.array(bad, np.float32), rule).all()


def test_a_score_below_its_threshold_spoils():
    found = spoilt(np.array([0.59, 0.6, 1.0, np.nan], np.float32), sensor("s2").mask("cloud_score_plus"))
    np.testing.assert_array_equal(found, [True, False, False, True])


def test_finish_leaves_reflectance_alone():
    values = np.array([[[-50.0, np.nan]]], np.float32)
    assert finish(values, RED) is values
