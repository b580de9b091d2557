"""Other sensors, footprints, assets and collections; the cube as a dataset (R16-R20, R28)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import PlanError, ProviderError, SpecError
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.models import card
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs.ground import WGS84, project
from tests.models import series_families
from tests.services.catalog import Scene
from tests.services.fixtures import forget_answers
from tests.services.reads import JULY, JUNE, cube, only, provider, read
from tests.services.scenes import CORNER, FOOTPRINTS, flat, grid, layer, s2_scene, transform, when


def landsat(name, bands, **properties):
    layers = tuple(flat(b, dn, pixel=30.0) for b, dn in bands.items())
    return Scene(
        name, "landsat-c2-l2", when("2022-06-05T10:00:00"), "EPSG:32631", layers, {"eo:cloud_cover": 1.0, **properties}
    )


CLEAR, CLOUDY = 21_824, 22_280
COARSE = {"where": grid(size=20, pixel=30.0, offset=(300.0, 300.0))}


def test_r16_landsat_reflectance_and_temperature(plain):
    service = plain(landsat("lc", {"red": 10_000, "coastal": 9_000, "lwir11": 44_000, "qa_pixel": CLEAR}))
    got = cube(service, read("red", "coastal", "lwir11", sensor="landsat-c2-l2", **COARSE))
    assert only(got.values[0, 0]) == pytest.approx(1e4 * (10_000 * 2.75e-5 - 0.2), abs=1e-3)
    assert only(got.values[0, 1]) == pytest.approx(1e4 * (9_000 * 2.75e-5 - 0.2), abs=1e-3)
    assert only(got.values[0, 2]) == pytest.approx(44_000 * 0.00341802 + 149.0, abs=1e-3)
    assert got.units == ("reflectance_e4", "reflectance_e4", "kelvin")


def test_r16_quality_bits_mask_and_zero_is_missing(plain):
    quality = np.full((40, 40), CLEAR)
    quality[10:15] = CLOUDY
    quality[15:20] = 1  # fill
    red = np.full((40, 40), 10_000)
    red[20:25] = 0
    layers = (layer("red", red, pixel=30.0), layer("qa_pixel", quality, pixel=30.0, nodata=1))
    scene = Scene("lc", "landsat-c2-l2", when("2022-06-05T10:00:00"), "EPSG:32631", layers, {"eo:cloud_cover": 1.0})
    got = cube(plain(scene), read("red", sensor="landsat-c2-l2", **COARSE))
    np.testing.assert_array_equal(got.n_obs[0, :, 0], [0] * 15 + [1] * 5)


def test_r16_a_band_that_a_mission_lacks_is_missing_or_an_error_by_choice(plain):
    bands = {"red": 10_000, "lwir": 44_000, "qa_pixel": CLEAR}
    service = plain(landsat("lt", bands, platform="LANDSAT_5"))
    wanted = read("coastal", "red", "lwir11", sensor="landsat-c2-l2", **COARSE)
    got = cube(service, wanted)
    assert np.isnan(got.values[0, 0]).all()
    assert only(got.values[0, 2]) == pytest.approx(44_000 * 0.00341802 + 149.0, abs=1e-3)
    assert only(got.n_obs) == 1
    with pytest.raises(ProviderError, match=r"item lt: it has no band coastal.*absent='nan'"):
        cube(service, wanted, absent="error")
    forget_answers()
    with pytest.raises(
        ProviderError, match=r"band coastal of landsat-c2-l2 = 'coastal': no item, such as lc, has this asset"
    ):
        cube(plain(landsat("lc", bands, platform="landsat-8")), wanted)


@pytest.mark.parametrize(
    ("sensor", "collection", "numbers"),
    [
        ("hls2-s30", "hls2-s30", {"B8A": 3000, "B05": 1500, "B04": 800}),
        ("hls2-l30", "hls2-l30", {"B05": 3000, "B04": 800}),
    ],
)
def test_r17_the_same_key_is_another_band(plain, sensor, collection, numbers):
    layers = tuple(flat(b, dn, pixel=30.0, dtype="int16", nodata=-9999) for b, dn in numbers.items())
    layers += (flat("Fmask", 64, pixel=30.0, dtype="uint8"),)
    about = {"eo:cloud_cover": 1.0}
    service = plain(Scene("h", collection, when("2022-06-05T10:00:00"), "EPSG:32631", layers, about))
    got = cube(service, read("nir08", "red", sensor=sensor, **COARSE))
    assert [only(got.values[0, i]) for i in range(2)] == [3000, 800]
    if sensor == "hls2-s30":
        assert only(cube(service, read("rededge1", sensor=sensor, **COARSE)).values) == 1500


def test_r18_modis_without_an_epsg_code_beside_an_hdf_file(plain):
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:32631", sinusoidal, always_xy=True).transform(600_000.0, 5_700_000.0)
    pixel = 463.3127165275
    place = transform((x - 40 * pixel, y + 40 * pixel), pixel)
    red = np.full((80, 80), 1234)
    red[:40] = -28_672
    values = {"sur_refl_b01": ("int16", red), "sur_refl_state_500m": ("uint16", np.full((80, 80), 8))}
    layers = tuple(
        dataclasses.replace(layer(name, v, dtype=kind, nodata=-28_672 if kind == "int16" else None), transform=place)
        for name, (kind, v) in values.items()
    )

    def eight_days(item):
        item["properties"] |= {
            "datetime": None,
            "start_datetime": "2022-06-02T00:00:00Z",
            "end_datetime": "2022-06-09T23:59:59Z",
        }
        item["assets"] = {"hdf": {"href": "https://example.org/a.hdf", "type": "application/x-hdf"}, **item["assets"]}
        assert item["properties"]["proj:epsg"] is None

    scene = Scene("MOD09A1.1", "modis-09A1-061", when("2022-06-02T00:00:00"), sinusoidal, layers)
    service = plain(scene, edit=eight_days)
    where = Grid("EPSG:32631", (500.0, 0.0, 596_000.0, 0.0, -500.0, 5_704_000.0), (16, 16))
    got = cube(service, read("red", sensor="modis-09a1", where=where))
    assert only(got.values[0, 0, 9:]) == 1234
    assert np.isnan(got.values[0, 0, :7]).all()
    assert got.dates[0][0].isoformat() == "2022-06-05"


@pytest.mark.parametrize("edit", FOOTPRINTS.values(), ids=FOOTPRINTS)
def test_r19_however_the_footprint_is_stated_the_cube_is_the_same(plain, edit):
    ramp = 1000 + np.arange(14_400).reshape(120, 120) % 5000
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None, layers=[layer("B04", ramp)]), edit=edit
    )
    np.testing.assert_array_equal(cube(service, read(mask="none")).values[0, 0], ramp[20:60, 20:60])


def test_r20_an_asset_of_several_bands_by_index_or_not_at_all(plain):
    visual = np.stack([np.full((120, 120), n, "uint8") for n in (10, 20, 30)])
    scene = s2_scene("a", "2022-06-05T10:00:00", bands=(), layers=[layer("visual", visual, dtype="uint8")])
    service = plain(scene)
    assets = {"red": "visual#1", "green": "visual#2", "blue": "visual#3"}
    got = cube(service, read("blue", "red"), assets=assets)
    assert [only(got.values[0, i]) for i in range(2)] == [30, 10]
    with pytest.raises(ProviderError, match=r"asset visual of item a.*has 3 bands"):
        cube(service, read("red"), assets={"red": "visual"})


def test_r28_the_cube_goes_to_zarr_and_comes_back_without_links(plain, tmp_path):
    import json

    import xarray as xr

    bands = {"bands": ("B04", "B05")}
    service = plain(s2_scene("a", "2022-06-05T10:00:00", **bands), s2_scene("b", "2022-07-05T10:00:00", dn=17, **bands))
    lazy = provider(service).cube(read("red", "B05", frames=(JUNE, JULY)))
    assert not [name for name, v in lazy.variables.items() if v.dtype == object]
    json.dumps(lazy.attrs)
    loaded = lazy.compute(scheduler="sync")
    loaded.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    again = xr.open_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.pixels, loaded.pixels)
    everything = b"".join(p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file())
    assert b"http://" not in everything
    assert b"blob" not in everything


def test_scenes_without_the_masks_layer_are_left_out_or_refused(plain):
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", dn=1000), s2_scene("b", "2022-06-10T10:00:00", dn=2000, scl=None)
    )
    got = cube(service)
    assert only(got.values) == 1000
    assert got.scenes == ("a",)
    forget_answers()
    bare = plain(s2_scene("b", "2022-06-10T10:00:00", dn=2000, scl=None))
    with pytest.raises(ProviderError, match=r"mask scl = 'b'.*FetchSpec\(mask='none'\)"):
        cube(bare)
    assert only(cube(bare, read(mask="none")).values) == 2000


def test_collections_may_have_other_names(plain):
    scene = dataclasses.replace(s2_scene("a", "2022-06-05T10:00:00"), collection="my-s2")
    service = plain(scene)
    mine = StacProvider(service.url, source="planetary_computer", collections={"s2": "my-s2"})
    assert mine.sensors() == {"sentinel-2-l2a"}
    assert only(load(mine, read()).values) == 1500
    with pytest.raises(SpecError, match=r"landsat-c2-l2.*made without it"):
        mine.cube(read("red", sensor="landsat-c2-l2"))


def test_a_region_is_read_in_blocks_and_equals_its_parts(plain):
    noise = np.random.default_rng(1).integers(1000, 5000, (2600, 300)).astype("uint16")
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=(), scl=None, layers=[layer("B04", noise)]))
    where = Grid("EPSG:32631", (10.0, 0.0, CORNER[0] + 100, 0.0, -10.0, CORNER[1] - 1000), (2300, 200))
    lazy = provider(service).cube(read(where=where, mask="none"))
    assert lazy.pixels.data.numblocks == (1, 1, 3, 1)
    got = lazy.pixels.data.compute(scheduler="threads", num_workers=2)
    np.testing.assert_array_equal(got[0, 0], noise[100:2400, 10:210])


def test_heights_have_no_time_and_are_the_same_in_every_frame(plain):
    heights = np.arange(1600, dtype=np.float32).reshape(40, 40) - 20
    place = layer("data", heights, pixel=30.0, dtype="float32")
    service = plain(Scene("DEM", "cop-dem-glo-30", when("2021-04-22T00:00:00"), "EPSG:32631", (place,)))
    wanted = read("elevation", sensor="cop-dem-glo-30", frames=(JUNE, JULY), **COARSE)
    got = cube(service, wanted)
    assert got.read == wanted
    assert got.units == ("m",)
    np.testing.assert_array_equal(got.values[0, 0], heights[10:30, 10:30])
    np.testing.assert_array_equal(got.values[1], got.values[0])
    assert only(got.n_obs) == 1


def test_the_four_bands_of_an_aerial_photograph_lie_in_one_file(plain):
    values = np.arange(4 * 1600, dtype=np.uint8).reshape(4, 40, 40)
    image = layer("image", values, pixel=30.0, dtype="uint8")
    service = plain(Scene("m_1", "naip", when("2022-06-05T00:00:00"), "EPSG:32631", (image,)))
    got = cube(service, read("nir", "red", sensor="naip", **COARSE))
    np.testing.assert_array_equal(got.values[0], values[[3, 0], 10:30, 10:30].astype(np.float32))
    assert got.units == ("byte", "byte")


def test_anysat_sees_one_square_in_two_resolutions(plain):
    values = np.random.default_rng(0).integers(20, 200, (4, 1200, 1200), dtype=np.uint8)
    bands = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    ramps = [layer(name, 1000 + np.arange(14_400).reshape(120, 120) % 5000 + n) for n, name in enumerate(bands)]
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", bands=(), layers=ramps),
        Scene("m", "naip", when("2022-06-05"), "EPSG:32631", (layer("image", values, pixel=1.0, dtype="uint8"),)),
    )
    centre = project("EPSG:32631", WGS84, CORNER[0] + 600, CORNER[1] - 600)
    place, inputs = rs.PointBuffer(*map(float, centre), 40), {one.modality: one for one in card("anysat").inputs}
    cubes = {}
    for name, of in (("s2", "sentinel-2-l2a"), ("naip", "naip")):
        where = grid_for(place, inputs[name].resolution_m)
        cubes[name] = cube(service, read(*inputs[name].bands, where=where, sensor=of, mask="none"))
    columns, rows = ((cubes["naip"].read.grid.xs - CORNER[0]) // 1, (CORNER[1] - cubes["naip"].read.grid.ys) // 1)
    np.testing.assert_array_equal(
        cubes["naip"].values[0], values[:, rows.astype(int)[:, None], columns.astype(int)].astype(np.float32)
    )
    model = series_families.small("anysat", modality="s2+naip")
    both = model.embed(cubes, output=rs.OutputSpec.grid())
    assert both.data.shape == (64, 8, 8)
    with pytest.warns(UserWarning, match="naip: left out"):
        alone = model.embed({"s2": cubes["s2"]}, output=rs.OutputSpec.grid())
    assert np.abs(both.data.values - alone.data.values).max() > 1e-3


@pytest.mark.parametrize("modality", ["s3", "s5p_no2"])
def test_swaths_are_refused_with_the_reason(modality):
    spec, place = rs.ModelSpec("copernicusfm", modality=modality, weights="random"), rs.PointBuffer(4.5, 51, 500)
    for name in ("planetary_computer", "earth_search"):
        with pytest.raises(PlanError, match=r"NetCDF swaths, .*which are no rasters.*earth_engine, or give arrays"):
            rs.plan([place], [spec], rs.TemporalSpec.year(2022), provider=name)


def test_what_serves_them_is_said_before_a_read():
    served = {
        ("terramind", "dem"): {"planetary_computer", "earth_engine"},
        ("copernicusfm", "dem"): {"planetary_computer", "earth_engine"},
        ("clay", "naip"): {"planetary_computer", "earth_engine"},
        ("olmoearth", "landsat"): {"earth_engine"},
        ("copernicusfm", "s3"): {"earth_engine"},
        ("copernicusfm", "s5p_so2"): {"earth_engine"},
        ("presto", "era5"): {"earth_engine"},
        ("presto", "srtm"): {"earth_engine"},
        ("presto", "dw"): set(),
        ("fomo", "dem"): set(),
        ("thor", "olci"): set(),
        ("anysat", "naip"): {"planetary_computer", "earth_engine"},
        ("anysat", "l8"): {"earth_engine"},
        ("anysat", "spot"): set(),
        ("satvision", "modis"): set(),
    }
    told = rs.can_run(rs.PointBuffer(-100.0, 40.0, 500), 2022, models=sorted({model for model, _ in served}))
    for (model, modality), providers in served.items():
        verdicts = [one for one in told.verdicts if (one.model, one.modality) == (model, modality)]
        assert {one.provider for one in verdicts if one.ok} == providers, (model, modality)
        if not providers:
            why = "no public catalogue has MOD021KM" if model == "satvision" else "no provider serves it"
            assert all(one.reason.startswith(why) for one in verdicts)
