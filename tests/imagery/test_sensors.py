"""The tables: what each provider calls a band, and what the numbers in its files mean."""

from __future__ import annotations

import itertools

import pytest

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensor_tables import SOURCES
from rs_embed_dask.imagery.sensors import mask_of, sensor, sensors, source, sources_of
from rs_embed_dask.preprocess.steps import names
from rs_embed_dask.specs.fetch import MASKS, FetchSpec

S2_L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S2_EE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
COMMON = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22")


def assets(provider, name):
    return tuple(names[0] for _, names in source(provider, name).assets)


def test_r4_sentinel_2_bands_by_every_catalogues_name():
    assert sensor("sentinel-2-l2a").band_names == COMMON
    assert tuple(band.name for band in sensor("sentinel-2-l2a").bands) == S2_L2A
    assert assets("planetary_computer", "sentinel-2-l2a") == S2_L2A
    assert assets("earth_engine", "sentinel-2-l2a") == S2_EE
    assert assets("earth_search", "sentinel-2-l2a") == COMMON
    for name in (S2_L2A, S2_EE, COMMON):
        assert sensor("sentinel-2-l2a").common(name) == COMMON


@pytest.mark.parametrize("name", ["B10", "b10", "cirrus"])
def test_r4_the_missing_cirrus_band_names_level_1c(name):
    with pytest.raises(UnknownNameError, match="sentinel-2-l1c"):
        sensor("sentinel-2-l2a").band(name)
    assert sensor("sentinel-2-l1c").band(name).common == "cirrus"


def test_r5_band_order_is_the_users():
    assert sensor("s2").common(["B12", "B8A", "B09", "red"]) == ("swir22", "nir08", "nir09", "red")


@pytest.mark.parametrize(("twice", "common"), [(["B04", "red"], "red"), (["B8A", "B08", "nir08"], "nir08")])
def test_a_band_named_twice_is_refused(twice, common):
    with pytest.raises(SpecError, match=common):
        sensor("s2").common(twice)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("COPERNICUS/S2_SR_HARMONIZED", "sentinel-2-l2a"),
        ("COPERNICUS/S2_HARMONIZED", "sentinel-2-l1c"),
        ("Sentinel-2-L2A", "sentinel-2-l2a"),
        ("sentinel_1_rtc", "sentinel-1-rtc"),
        ("COPERNICUS/S1_GRD_FLOAT", "sentinel-1-grd"),
        ("LANDSAT/LC09/C02/T1_L2", "landsat-c2-l2"),
        ("NASA/HLS/HLSS30/v002", "hls2-s30"),
        ("modis-09A1-061", "modis-09a1"),
        ("MODIS/061/MOD09A1", "modis-09a1"),
    ],
)
def test_a_sensor_is_found_by_any_collection_id(name, known):
    assert sensor(name).id == known


def test_unknown_names_suggest_known_ones():
    with pytest.raises(UnknownNameError, match="sentinel-2-l2a"):
        sensor("sentinel-2-l2")
    with pytest.raises(UnknownNameError, match="'red'"):
        sensor("s2").band("rad")
    with pytest.raises(UnknownNameError, match="scl"):
        sensor("s2").mask("fmask")
    with pytest.raises(UnknownNameError, match="planetary_computer"):
        source("planetary_computr", "s2")


@pytest.mark.parametrize("provider", ["planetary_computer", "earth_search"])
def test_r14_catalogued_grd_is_refused_and_rtc_is_the_fix(provider):
    with pytest.raises(SpecError, match=r"not backscatter.*sentinel-1-rtc"):
        source(provider, "sentinel-1-grd")


def test_r14_earth_engine_serves_calibrated_grd():
    assert source("earth_engine", "sentinel-1-grd").collection == "COPERNICUS/S1_GRD"


@pytest.mark.parametrize(
    ("provider", "collection", "rule"),
    [
        ("planetary_computer", "sentinel-2-l2a", "s2_baseline"),
        ("earth_search", "sentinel-2-l2a", "none"),
        ("earth_search", "sentinel-2-c1-l2a", "s2_baseline"),
        ("earth_engine", "COPERNICUS/S2_SR_HARMONIZED", "none"),
        ("earth_engine", "COPERNICUS/S2_HARMONIZED", "none"),
    ],
)
def test_r1_r3_one_table_decides_the_offset_of_each_collection(provider, collection, rule):
    found = source(provider, collection)
    assert found.collection == collection
    scaling = found.scaling(sensor(found.sensor).band("red"))
    assert (scaling.offset_rule, scaling.scale, scaling.offset, scaling.nodata) == (rule, 1, 0, 0)


def test_r13_r15_radar_is_power_here_and_decibels_there():
    power = source("planetary_computer", "sentinel-1-rtc").scaling(sensor("s1").band("VV"))
    assert (power.encoding, power.nodata, power.above) == ("linear", -32768, 0)
    assert source("earth_engine", "sentinel-1-grd").scaling(sensor("sentinel-1-grd").band("vv")).encoding == "db"
    assert assets("planetary_computer", "sentinel-1-rtc") == ("vv", "vh", "hh", "hv")
    assert assets("earth_engine", "sentinel-1-grd") == ("VV", "VH", "HH", "HV")
    assert {band.unit for band in sensor("s1").bands} == {"db"}


def test_r16_landsat_scales_reflectance_and_temperature():
    landsat, served = sensor("landsat-c2-l2"), source("planetary_computer", "landsat-c2-l2")
    reflectance, heat = served.scaling(landsat.band("red")), served.scaling(landsat.band("lwir11"))
    assert (reflectance.scale, reflectance.offset, reflectance.nodata) == (0.275, -2000, 0)
    assert (heat.scale, heat.offset, heat.nodata) == (0.00341802, 149.0, 0)
    assert landsat.band("lwir11").unit == "kelvin"
    assert served.asset("lwir11") == ("lwir11", "lwir")  # OLI/TIRS, then TM and ETM+
    assert landsat.band("SR_B5").common == landsat.band("nir").common == "nir08"


def test_r17_the_same_key_is_another_band_in_the_two_hls_collections():
    assert sensor("hls2-s30").band("B05").common == "rededge1"
    assert sensor("hls2-l30").band("B05").common == "nir08"
    assert source("planetary_computer", "hls2-s30").asset("nir08") == ("B8A",)
    assert source("planetary_computer", "hls2-l30").asset("nir08") == ("B05",)
    for name in ("hls2-s30", "hls2-l30"):
        here, there = (
            source(p, name).scaling(sensor(name).band("red")) for p in ("planetary_computer", "earth_engine")
        )
        assert (here.scale, here.nodata, there.scale) == (1, -9999, 10_000)


def test_r18_modis_numbers_have_a_valid_range():
    scaling = source("planetary_computer", "modis-09a1").scaling(sensor("modis").band("red"))
    assert (scaling.scale, scaling.nodata, scaling.above, scaling.at_most) == (1, -28672, -101, 16_000)
    assert assets("planetary_computer", "modis-09a1")[:2] == ("sur_refl_b01", "sur_refl_b02")


def test_wavelengths_follow_the_names_across_sensors():
    wavelengths = {}
    for band in itertools.chain.from_iterable(each.bands for each in sensors() if each.kind == "optical"):
        wavelengths.setdefault(band.common, []).append(band.wavelength_um)
    for common, found in wavelengths.items():
        assert max(found) - min(found) < 0.08 * max(found), common
    assert 0.44 < min(wavelengths["coastal"]) < max(wavelengths["blue"]) < min(wavelengths["green"]) < 0.57


def test_every_source_serves_bands_and_masks_that_its_sensor_has():
    assert len(SOURCES) == len({(each.provider, each.collection) for each in SOURCES})
    for each in SOURCES:
        of = sensor(each.sensor)
        assert {common for common, _ in each.assets} == set(of.band_names)
        assert {name for name, _ in each.masks} <= {mask.name for mask in of.masks}
        assert {name for name, _ in each.mask_collections} <= {name for name, _ in each.masks}


def test_every_mask_of_the_specs_belongs_to_a_sensor_and_back():
    assert {mask.name for each in sensors() for mask in each.masks} == set(MASKS) - {"none"}
    for each in sensors():
        assert each.default_mask == "none" or each.mask(each.default_mask)


def test_r6_the_masked_classes_of_scl():
    rule, asset = mask_of(None, source("planetary_computer", "s2"))
    assert (rule.name, rule.classes, asset) == ("scl", (0, 1, 3, 8, 9, 10), "SCL")
    assert mask_of("none", source("planetary_computer", "s2")) is None
    chosen, asset = mask_of("scl:3,8", source("planetary_computer", "s2"))
    assert (chosen.name, chosen.classes, asset) == ("scl", (3, 8), "SCL")


@pytest.mark.parametrize("mask", ["scl:", "scl:cloud", "scl:3,,8", "scl:12", "scl:-1", "fmask:3"])
def test_r6_classes_that_are_none_are_refused(mask):
    with pytest.raises(SpecError, match=r"FetchSpec\.mask = '.*only scl has any.*Fix: write mask='scl:0,1,3,8,9,10'"):
        FetchSpec(mask=mask)


def test_a_mask_that_a_provider_lacks():
    assert mask_of("qa60", source("earth_engine", "s2"))[1] == "QA60"
    with pytest.raises(SpecError, match=r"planetary_computer does not serve the band QA60.*scl"):
        mask_of("qa60", source("planetary_computer", "s2"))
    assert mask_of(None, source("planetary_computer", "s1")) is None


def test_a_provider_without_tables_serves_nothing():
    assert sources_of("nobody") == ()
    assert {each.sensor for each in sources_of("synthetic")} == {
        each.id for each in sensors() if each.kind != "product"
    }
