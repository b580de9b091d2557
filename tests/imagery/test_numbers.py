"""What is stated of numbers: missing values, scale, offset and unit, against conversions known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.numbers import Numbers
from rs_embed_dask.imagery.sensors import sensor, source

PACKED = {"scale_factor": 1e-4, "add_offset": -0.1}
LOWEST = float(np.finfo(np.float32).min)


def scaling(which, name, attrs, encoding=None):
    band = sensor(which).band(name)
    return Numbers.stated(attrs, encoding).scaling(source("files", which).scaling(band), band.unit)


@pytest.mark.parametrize(
    ("which", "band", "attrs", "encoding", "expected"),
    [
        ("sentinel-2-l2a", "red", {}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {"scale_factor": 1.0, "add_offset": 0.0}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {"units": "1"}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {"units": "Digital Number"}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", PACKED, {}, (1, -1000, "linear", "none")),
        ("sentinel-2-l2a", "red", {"scale_factor": "0.0001", "add_offset": "-0.1"}, {}, (1, -1000, "linear", "none")),
        ("sentinel-2-l2a", "red", {"scale_factor": 1e-4}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {"scale_factor": np.float32(1e-4)}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {}, PACKED, (10_000, 0, "linear", "none")),
        ("sentinel-2-l2a", "red", {"units": "reflectance"}, {}, (10_000, 0, "linear", "none")),
        ("sentinel-2-l2a", "red", {"units": "reflectance (unitless)"}, {}, (10_000, 0, "linear", "none")),
        ("sentinel-2-l2a", "red", {"units": "%"}, {}, (100, 0, "linear", "none")),
        ("sentinel-2-l2a", "red", {"units": "percent", "scale_factor": 0.01}, {}, (1, 0, "linear", "s2_baseline")),
        ("sentinel-2-l2a", "red", {"unit": "reflectance_e4"}, {}, (1, 0, "linear", "none")),
        ("sentinel-2-l2a", "red", {"units": "1e-4"}, {}, (1, 0, "linear", "none")),
        ("landsat-c2-l2", "red", {}, {}, (0.275, -2000, "linear", "none")),
        ("landsat-c2-l2", "red", {"scale_factor": 2.75e-5, "add_offset": -0.2}, {}, (0.275, -2000, "linear", "none")),
        ("landsat-c2-l2", "red", {"units": "reflectance"}, {}, (10_000, 0, "linear", "none")),
        (
            "landsat-c2-l2",
            "lwir11",
            {"scale_factor": 0.00341802, "add_offset": 149.0},
            {},
            (0.00341802, 149, "linear", "none"),
        ),
        ("hls2-l30", "lwir11", {"scale_factor": 0.01}, {}, (0.01, 273.15, "linear", "none")),
        ("hls2-l30", "lwir11", {"units": "degC", "scale_factor": 0.01}, {}, (0.01, 273.15, "linear", "none")),
        ("hls2-l30", "lwir11", {"units": "K"}, {}, (1, 0, "linear", "none")),
        ("sentinel-1-rtc", "vv", {}, {}, (1, 0, "linear", "none")),
        ("sentinel-1-rtc", "vv", {"units": "dB"}, {}, (1, 0, "db", "none")),
        ("sentinel-1-rtc", "vv", {"units": "dB", "scale_factor": 0.01}, {}, (0.01, 0, "db", "none")),
        ("sentinel-1-grd", "vv", {"units": "linear power"}, {}, (1, 0, "linear", "none")),
    ],
)
def test_what_is_stated_decides_the_conversion(which, band, attrs, encoding, expected):
    made = scaling(which, band, attrs, encoding)
    assert (made.scale, made.offset, made.encoding, made.offset_rule) == expected
    assert made.nodata is None


def test_limits_of_the_table_follow_the_scale():
    made = scaling("modis-09a1", "red", {"units": "reflectance"})
    assert (made.above, made.at_most) == pytest.approx((-0.0101, 1.6))
    assert (scaling("modis-09a1", "red", {}).above, scaling("modis-09a1", "red", {}).at_most) == (-101, 16_000)


@pytest.mark.parametrize(
    ("which", "band", "units"),
    [
        ("sentinel-2-l2a", "red", "W m-2 sr-1 um-1"),
        ("sentinel-2-l2a", "red", "dB"),
        ("landsat-c2-l2", "lwir11", "reflectance"),
        ("sentinel-1-rtc", "vv", "amplitude"),
    ],
)
def test_units_that_do_not_fit_are_refused(which, band, units):
    with pytest.raises(SpecError, match=r"attrs\['units'\]"):
        scaling(which, band, {"units": units})


def test_several_scales_for_one_band_are_refused():
    with pytest.raises(SpecError, match="several for one band"):
        Numbers.stated({"scales": (0.1, 0.2, 0.3)})


@pytest.mark.parametrize(
    ("raw", "attrs", "encoding", "missing"),
    [
        (np.array([0, 5, 65535], "uint16"), {}, {}, [1, 0, 0]),
        (np.array([0, 5, 65535], "uint16"), {"_FillValue": 65535}, {}, [0, 0, 1]),
        (np.array([0, 5, 65535], "uint16"), {}, {"_FillValue": 65535}, [0, 0, 1]),
        (np.array([0, 5, 65535], "uint16"), {"nodata": -9999}, {}, [1, 0, 0]),  # it cannot occur, so it says nothing
        (np.array([0, 5, 65535], "uint16"), {"nodata": np.nan}, {}, [1, 0, 0]),
        (np.array([0, 5, 65535], "uint16"), {"nodatavals": (None,)}, {}, [1, 0, 0]),
        (np.array([0, 5, 65535], "uint16"), {"missing_value": [5, 65535]}, {}, [0, 1, 1]),
        (np.array([0, 5, 65535], "uint16"), {"missing_value": 5, "_FillValue": 65535}, {}, [0, 1, 1]),
        (np.array([0, 5, 65535], "float32"), {}, {}, [0, 0, 0]),
        (np.array([0, 5, 65535], "float32"), {"nodata": 65535}, {}, [0, 0, 1]),
        (np.array([-9999, 5, np.nan], "float32"), {"nodata": "-9999"}, {}, [1, 0, 1]),
        (np.array([LOWEST, 5, 0], "float32"), {"_FillValue": -3.4028234663852886e38}, {}, [1, 0, 0]),
        (np.array([LOWEST, 5, 0], "float32"), {"nodata": "-3.40282e+38"}, {}, [0, 0, 0]),
        (np.array([1e300, 5, 0]), {"_FillValue": 1e300}, {}, [1, 0, 0]),
        (np.array([0, 5, 200], "int16"), {"valid_range": [1, 100]}, {}, [1, 0, 1]),
        (np.array([0, 5, 200], "int16"), {"valid_range": "{1,100}"}, {}, [1, 0, 1]),
        (np.array([-7, 5, 200], "int16"), {"valid_min": 0}, {}, [1, 0, 0]),
        # decoded values: 0.0 is the number 1000, and limits are those of the packed numbers
        (np.array([0.0, 0.1, 0.9], "float32"), {}, {"_FillValue": 0, **PACKED}, [0, 0, 0]),
        (np.array([0.0, 0.1, 0.95], "float32"), {"valid_max": 10_000}, {"_FillValue": 0, **PACKED}, [0, 0, 1]),
        # missing is told before the scale is applied
        (np.array([0, 5, 1000], "uint16"), {"_FillValue": 1000, **PACKED}, {}, [0, 0, 1]),
    ],
)
def test_missing_numbers_become_nan(raw, attrs, encoding, missing):
    values = Numbers.stated(attrs, encoding).cleared(raw, 0)
    np.testing.assert_array_equal(np.isnan(values), np.array(missing, bool))
    assert values.dtype == np.float32
    kept = ~np.isnan(values)
    np.testing.assert_array_equal(values[kept], raw[kept].astype(np.float32))


def doubt(which, name, values, attrs=None):
    band, numbers = sensor(which).band(name), Numbers.stated(attrs or {})
    values = np.asarray(values)
    made = numbers.scaling(source("files", which).scaling(band), band.unit)
    found = numbers.doubt(numbers.cleared(values), values.dtype, scaling=made, unit=band.unit)
    return "" if found is None else " ".join(found)


@pytest.mark.parametrize(
    ("which", "band", "values", "attrs", "words"),
    [
        ("sentinel-2-l2a", "red", np.linspace(0, 0.4, 50), {}, "as fractions are"),
        ("sentinel-2-l2a", "red", np.append(np.linspace(0, 0.4, 50), 65535.0), {}, "as fractions are"),
        ("sentinel-2-l2a", "red", np.arange(9, dtype="uint8"), {}, "8-bit"),
        ("sentinel-2-l2a", "red", np.linspace(0, 0.4, 50), {"units": "1"}, "as fractions are"),
        ("sentinel-2-l2a", "red", np.arange(3000, 3050, dtype="uint16"), {"units": "reflectance"}, "'reflectance'"),
        ("sentinel-2-l2a", "red", np.arange(3000, 3050.0), {"scale_factor": 1000}, "scale 1000"),
        ("sentinel-2-l2a", "red", np.linspace(0, 0.4, 50), {"scale_factor": 1e-4}, "drop scale_factor"),
        ("sentinel-2-l2a", "red", np.linspace(0, 0.4, 50), PACKED, "drop scale_factor"),
        ("sentinel-1-rtc", "vv", np.linspace(-20, -5, 50), {}, "'dB'"),
        ("sentinel-1-rtc", "vv", np.linspace(-20, -5, 50), {"units": "linear"}, "'linear'"),
        ("sentinel-1-grd", "vv", np.linspace(0.01, 0.3, 50), {}, "none is negative"),
        ("hls2-l30", "lwir11", np.linspace(10, 20, 50), {"units": "K"}, "middle value is 15 kelvin"),
        ("landsat-c2-l2", "lwir11", np.linspace(280, 300, 50), {}, "sensor's own"),
        ("landsat-c2-l2", "red", np.linspace(500, 3000, 50), {}, "sensor's own"),
    ],
)
def test_numbers_that_cannot_be_what_they_are_taken_for(which, band, values, attrs, words):
    said = doubt(which, band, values, attrs)
    assert words in said
    assert "attrs['units']" in said
    assert "scaling=" not in said  # which only some callers have


def test_remedies_name_what_the_caller_has_and_correct_what_is_stated():
    band, stated = sensor("sentinel-2-l2a").band("red"), Numbers.stated({"units": "reflectance"})
    values = np.arange(3000, 3050.0, dtype="float32")
    made = stated.scaling(source("files", "sentinel-2-l2a").scaling(band), band.unit)
    _, fix = stated.doubt(values, values.dtype, scaling=made, unit=band.unit, where="HERE")
    assert fix == "correct their unit ('reflectance' for 0 to 1, '%', 'reflectance_e4' or 'DN') in HERE"
    packed = Numbers.stated({"scale_factor": 1000})
    made = packed.scaling(source("files", "sentinel-2-l2a").scaling(band), band.unit)
    assert packed.doubt(values, values.dtype, scaling=made, unit=band.unit)[1].startswith("state their unit")
    with pytest.raises(SpecError, match=r"units of red = 'm/s'.*in HERE"):
        Numbers.stated({"units": "m/s"}).scaling(
            source("files", "sentinel-2-l2a").scaling(band), band.unit, "red", where="HERE"
        )


@pytest.mark.parametrize(
    ("which", "band", "values", "attrs"),
    [
        ("sentinel-2-l2a", "red", np.linspace(0, 9000, 50), {}),
        ("sentinel-2-l2a", "red", np.zeros(5), {}),
        ("sentinel-2-l2a", "red", np.full(5, np.nan), {}),
        ("sentinel-2-l2a", "red", np.array([0.0, 1.0, 2.0]), {}),
        ("sentinel-2-l2a", "red", np.arange(3, dtype="uint16"), {}),
        ("sentinel-2-l2a", "red", np.full(9, 65535, "uint16"), {}),
        ("landsat-c2-l2", "red", np.arange(8000, 9000.0), {}),
        ("sentinel-2-l2a", "red", np.linspace(0, 1.2, 50), {"units": "reflectance"}),
        ("sentinel-2-l2a", "red", np.arange(50, dtype="uint8"), {"scale_factor": 0.004}),
        ("sentinel-1-rtc", "vv", np.linspace(0.01, 3, 50), {}),
        ("sentinel-1-rtc", "vv", np.linspace(-20, -5, 50), {"units": "dB"}),
        ("sentinel-1-grd", "vv", np.linspace(-20, 3, 50), {}),
        ("hls2-l30", "lwir11", np.arange(2000, 2500, dtype="int16"), {}),
    ],
)
def test_plausible_numbers_are_not_doubted(which, band, values, attrs):
    assert not doubt(which, band, values, attrs)


@pytest.mark.parametrize(
    ("raw", "attrs", "expected"),
    [
        # the same 16 bits: -1 is 65535, and -25536 is 40000
        (np.array([-1, -25_536, 3], np.int16), {"_Unsigned": "true", "_FillValue": np.int16(-1)}, [np.nan, 40_000, 3]),
        (np.array([-1, -25_536, 3], np.int16), {"_Unsigned": "true", "_FillValue": 65_535}, [np.nan, 40_000, 3]),
        (np.array([-1, -25_536, 3], np.int16), {"_unsigned": True, "valid_max": -25_537}, [np.nan, np.nan, 3]),
        (np.array([255, 200, 3], np.uint8), {"_Unsigned": "false", "_FillValue": np.uint8(255)}, [np.nan, -56, 3]),
        (np.array([-1, -25_536, 3], np.int16), {"_Unsigned": "false", "_FillValue": -1}, [np.nan, -25_536, 3]),
        (np.array([65_535, 3], np.uint16), {"_Unsigned": "true", "_FillValue": 65_535}, [np.nan, 3]),
        (np.array([-1.0, 3.0], np.float32), {"_Unsigned": "true", "_FillValue": -1.0}, [np.nan, 3]),
    ],
)
def test_the_sign_that_netcdf_states_is_honoured(raw, attrs, expected):
    reread, numbers = Numbers.stated(attrs).reread(raw, attrs)
    np.testing.assert_array_equal(numbers.cleared(reread), np.array(expected, np.float32))
