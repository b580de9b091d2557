"""Collections that no table has: scale, offset, unit and nodata from what Earth Engine or a STAC API states of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import rs_embed_dask as rs
import rs_embed_dask.compat as rs_embed
from rs_embed_dask.compat.requests import How, ask, items_of, plans_of
from rs_embed_dask.compat.settings import forget
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.compat.conftest import TILE
from tests.compat.test_calls import JUNE, OTHER, PLACE, S2, quiet
from tests.providers.conftest import new_process, plain
from tests.providers.earth_truth import band, nanmedian
from tests.services.catalog import Scene as Item
from tests.services.earth import world
from tests.services.earth.rasters import Pattern, Scene
from tests.services.scenes import CORNER, layer, when

__all__ = ["new_process", "plain", "quiet"]
pytestmark = pytest.mark.filterwarnings("ignore:a resize changes what a token covers")

DAYS = ("2022-06-03T10:30:00", "2022-06-13T10:30:00", "2022-06-23T10:30:00")
BANDS = {"B": 0.48, "G": 0.56, "R": 0.65, "N": 0.83}


def made(collection, low, high, *, dtype="<u2", divisor=1, **properties):
    """Scenes of four bands whose numbers are between `low` and `high`."""
    return [
        Scene(
            collection,
            f"one_{day[:10]}",
            world.millis(day),
            {
                name: world.tile(TILE, 10, Pattern(world.seed(name, day), low, high, divisor=divisor), dtype=dtype)
                for name in BANDS
            },
            properties,
        )
        for day in DAYS
    ]


def truth(scenes, names, place=PLACE):
    """The median of the raw numbers over a place: (C, H, W)."""
    grid = grid_for(rs.PointBuffer(place.lon, place.lat, buffer_m=place.buffer_m), 10).square()[0]
    return np.stack([nanmedian(band(scenes, name, grid)) for name in names])


def document(rows, *schema):
    summaries = {"gsd": [10.0], "eo:bands": rows, "gee:schema": [{"name": name} for name in schema]}
    return {"type": "Collection", "summaries": summaries}


WAVES = {"R": 0.6646, "N": 0.8328, "G": 0.5598, "B": 0.4924}
PACKED = {"gee:scale": 2.75e-05, "gee:offset": -0.2}


def publish(earth, scenes, rows, *schema):
    """Serve scenes, and what the catalogue says of their collection; return its id."""
    earth.serve(*scenes)
    collection = scenes[0].collection
    folder, name = collection.partition("/")[0], collection.replace("/", "_")
    earth.publish({f"{folder}/{name}.json": document(rows, *schema)})
    return collection


def patch_of(sensor, place=PLACE):
    told = rs_embed.inspect_provider_patch(spatial=place, temporal=JUNE, sensor=sensor, return_array=True)
    return told["array_chw"]


def test_scale_and_offset_are_those_of_the_data_catalogue(quiet):
    scenes = made("MADE/UP/SCALED", 7000, 30_000)
    sensor = rs_embed.SensorSpec(publish(quiet, scenes, [{"name": name} | PACKED for name in BANDS]), ("R", "G", "B"))
    told = r"MADE/UP/SCALED is in no table here.*R \(x 2.75e-05 \+ -0.2\).*neither limited nor masked"
    with pytest.warns(UserWarning, match=told) as warned:
        rs_embed.get_embedding("remoteclip", spatial=PLACE, temporal=JUNE, sensor=sensor)
    assert [one.filename for one in warned if "no table" in str(one.message)] == [__file__]
    physical = truth(scenes, ("R", "G", "B")) * 2.75e-5 - 0.2
    np.testing.assert_allclose(patch_of(sensor), physical, atol=1e-6)
    seen = rs_embed.inspect_model_input("remoteclip", spatial=PLACE, temporal=JUNE, sensor=sensor, return_arrays=True)
    np.testing.assert_allclose(seen["frames"][0]["array_chw"], physical * 10_000, rtol=1e-5, atol=1e-2)


def test_a_model_that_takes_any_bands_knows_them_by_their_wavelengths(quiet):
    scenes = made("MADE/UP/WAVES", 7000, 30_000)
    rows = [{"name": name, "center_wavelength": WAVES[name]} | PACKED for name in BANDS]
    sensor = rs_embed.SensorSpec(publish(quiet, scenes, rows), ("R", "N"))
    with pytest.warns(UserWarning, match="MADE/UP/WAVES"):
        embedding = rs_embed.get_embedding("rcf", spatial=PLACE, temporal=JUNE, sensor=sensor, features=8)
    pixels = (truth(scenes, ("R", "N")) * 2.75e-5 - 0.2) * 10_000
    expected = rs.load_model("rcf", features=8, bands=("red", "nir")).embed(pixels.astype("f4"))
    np.testing.assert_allclose(embedding.data, expected.data, rtol=1e-4, atol=1e-4)
    swapped = rs_embed.SensorSpec(sensor.collection, ("N", "R", "G"))
    with pytest.raises(rs_embed.RSEmbedError, match="they are nir, red, green, and remoteclip takes others"):
        rs_embed.get_embedding("remoteclip", spatial=PLACE, temporal=JUNE, sensor=swapped)


def test_without_a_statement_numbers_are_taken_as_they_are_and_that_is_said(quiet):
    scenes = made("projects/me/assets/mine", 100, 9000)
    quiet.serve(*scenes)
    sensor = rs_embed.SensorSpec("projects/me/assets/mine", ("R", "G", "B"))
    with pytest.warns(UserWarning, match=r"R \(as it is\), G \(as it is\), B \(as it is\)"):
        seen = rs_embed.inspect_model_input("satmae", spatial=PLACE, temporal=JUNE, sensor=sensor, return_arrays=True)
    np.testing.assert_allclose(seen["frames"][0]["array_chw"], truth(scenes, ("R", "G", "B")))
    np.testing.assert_array_equal(patch_of(sensor), truth(scenes, ("R", "G", "B")))


@pytest.mark.parametrize(("limit", "count"), [(30, 1), (60, 2), (100, 3)])
def test_clouds_are_limited_where_the_catalogue_names_their_property(quiet, limit, count):
    scenes = [
        Scene(one.collection, one.index, one.time_ms, one.bands, {"CLOUD_COVER": cover})
        for one, cover in zip(made("MADE/UP/CLOUDY", 1, 9000), (10.0, 50.0, 90.0), strict=True)
    ]
    sensor = rs_embed.SensorSpec(
        publish(quiet, scenes, [{"name": name} for name in BANDS], "CLOUD_COVER"), ("R",), cloudy_pct=limit
    )
    with pytest.warns(UserWarning, match="its clouds are not masked"):
        pixels = patch_of(sensor)
    np.testing.assert_allclose(pixels, truth(scenes[:count], ("R",)))


def test_a_band_beside_those_of_a_table_can_be_inspected(quiet):
    scene = world.s2(TILE, DAYS[0])[0]
    quiet.serve(scene)
    quiet.publish({"COPERNICUS/COPERNICUS_S2_SR_HARMONIZED.json": document([{"name": "SCL"}, {"name": "B4"}])})
    with pytest.warns(UserWarning, match="SCL"):
        classes = patch_of(rs_embed.SensorSpec(S2, ("SCL",)))
    np.testing.assert_array_equal(classes, truth([scene], ("SCL",)))


def test_an_export_reads_it_as_each_model_takes_it(quiet, tmp_path):
    rows = [{"name": name, "center_wavelength": WAVES[name]} | PACKED for name in BANDS]
    sensor = rs_embed.SensorSpec(publish(quiet, made("MADE/UP/SCENES", 7000, 30_000), rows), ("R", "G", "B"))
    common = {"temporal": JUNE, "sensor": sensor}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "MADE/UP/SCENES is in no table", UserWarning)
        rs_embed.export_batch(
            spatials=[PLACE, OTHER],
            models=["remoteclip", "bandstats"],
            target=rs_embed.ExportTarget.combined(str(tmp_path / "run")),
            config=rs_embed.ExportConfig(show_progress=False),
            **common,
        )
        result = rs_embed.load_export(tmp_path / "run.npz")
        for name in ("remoteclip", "bandstats"):
            single = rs_embed.get_embedding(name, spatial=OTHER, **common)
            np.testing.assert_allclose(result.embedding(name)[1], single.data, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_read_or_matched_is_refused_in_one_sentence(quiet):
    rows = [{"name": name, "gee:units": "K"} for name in BANDS]
    name = publish(quiet, made("MADE/UP/WARM", 1, 9000), rows)

    def planned(model, *bands, collection=name, backend="auto"):
        sensor = rs_embed.SensorSpec(collection, bands)
        plans_of([ask(model, sensor=sensor)], items_of([PLACE], JUNE, []), How(backend=backend))

    with pytest.raises(UnknownNameError, match=r"band of MADE/UP/WARM = 'red'.*use one of B, G, N, R"):
        planned("remoteclip", "red", "G", "B")
    with pytest.raises(SpecError, match="does not say which bands these are, and remoteclip takes 3"):
        planned("remoteclip", "R", "G")
    with pytest.raises(SpecError, match="units of R of MADE/UP/WARM = 'K'"):
        planned("remoteclip", "R", "G", "B")
    with pytest.raises(SpecError, match="synthetic describes no other collections"):
        planned("remoteclip", "R", "G", "B", backend="synthetic")


def stac_scene(name, day, number):
    """Two bands of one file with a scale, and a third by itself with a nodata that no file states."""
    rows = [{"scale": 0.0001, "offset": -0.1, "nodata": 0} for _ in range(2)]
    pair = np.full((2, 120, 120), number)
    pair[1] += 1000
    pair[0, :60] = 0
    alone = np.full((120, 120), number + 500)
    alone[:, :60] = 9999
    bands = [{"name": "first"}, {"name": "second"}]
    layers = (
        layer("pair", pair, **{"raster:bands": rows, "eo:bands": bands}),
        layer("alone", alone, **{"raster:bands": [{"scale": 0.5, "nodata": 9999, "unit": "%"}]}),
    )
    return Item(name, "made-up", when(day), "EPSG:32631", layers, {"gsd": 10})


def test_scale_offset_and_nodata_are_those_of_raster_bands(plain):
    service = plain(*(stac_scene(f"s{n}", f"2022-06-0{n}T10:00:00", 2000 * n) for n in (1, 2, 3)))
    provider = StacProvider(service.url, source="planetary_computer")
    east, north = CORNER[0] + 600, CORNER[1] - 600
    place = rs_embed.BBox(east - 320, north - 320, east + 320, north + 320, "EPSG:32631")
    before = rs_embed.use(provider=provider, weights="random")
    try:
        sensor = rs_embed.SensorSpec("made-up", ("first", "pair#2", "alone"))
        told = r"first \(x 0.0001 \+ -0.1\), pair#2 \(x 0.0001 \+ -0.1\), alone \(x 0.5 %\)"
        with pytest.warns(UserWarning, match=told):
            pixels = patch_of(sensor, place)
        assert pixels.shape == (3, 64, 64)
        np.testing.assert_allclose(pixels[0, -1, -1], 4000 * 1e-4 - 0.1, rtol=1e-5)
        np.testing.assert_allclose(pixels[1, -1, -1], 5000 * 1e-4 - 0.1, rtol=1e-5)
        np.testing.assert_allclose(pixels[2, -1, -1], 4500 * 0.5, rtol=1e-5)
        assert np.isnan(pixels[:, :32, :32]).all()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pixels are true metres|.*differs from rs-embed on", UserWarning)
            seen = rs_embed.inspect_model_input(
                "remoteclip", spatial=place, temporal=JUNE, sensor=sensor, return_arrays=True
            )
        image = seen["frames"][0]["array_chw"]
        np.testing.assert_allclose(image[:, -1, -1], [3000, 4000, 4500 * 0.5 * 100], rtol=1e-5)
        with pytest.raises(SpecError, match="has no item of it"):
            patch_of(rs_embed.SensorSpec("nowhere", ("a",)), place)
    finally:
        rs_embed.use(provider=before.provider, weights=before.weights)
        forget()
