"""rs-embed's quickstart and workflow, rebuilt from their description, against the emulator of Earth Engine."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import rs_embed_dask as rs
import rs_embed_dask.compat as rs_embed
from rs_embed_dask.compat.requests import How, ask, items_of, plans_of
from rs_embed_dask.errors import ModelError, SpecError
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.specs.ground import project
from tests.providers.earth_truth import band, nanmedian, seen
from tests.services.earth import world

JUNE = rs_embed.TemporalSpec.range("2022-06-01", "2022-07-01")
S2 = "COPERNICUS/S2_SR_HARMONIZED"
RGB = ("B4", "B3", "B2")


def place(east=430_000.0, north=5_590_000.0, *, buffer_m=320.0):
    (lon,), (lat,) = project("EPSG:32631", "EPSG:4326", [east], [north])
    return rs_embed.PointBuffer(lon=float(lon), lat=float(lat), buffer_m=buffer_m)


PLACE, OTHER = place(), place(434_000.0)


@pytest.fixture
def quiet(served):
    """Without the warnings of what differs on purpose, which a test of its own is about."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            ".*differs from rs-embed on purpose|pixels are true metres|a resize changes what a token covers",
            UserWarning,
        )
        yield served


def test_the_quickstart(quiet):
    embedding = rs_embed.get_embedding(
        "galileo",
        spatial=PLACE,
        temporal=JUNE,
        output=rs_embed.OutputSpec.pooled(),
        backend="gee",
        device="cpu",
    )
    assert isinstance(embedding, rs_embed.Embedding)
    assert embedding.data.shape == (128,)
    assert embedding.data.dtype == np.float32
    assert embedding.meta["model"] == "galileo"
    assert embedding.meta["backend"] == "earth_engine"
    several = rs_embed.get_embeddings_batch("galileo", spatials=[PLACE, OTHER], temporal=JUNE)
    np.testing.assert_allclose(several[0].data, embedding.data, rtol=1e-5, atol=1e-5)
    assert np.abs(several[1].data - several[0].data).max() > 1e-4
    model = rs_embed.Model("galileo", output=rs_embed.OutputSpec.grid(), patch_size=4)
    grid = model.get_embedding(PLACE, temporal=JUNE)
    assert grid.data.dims == ("dim", "y", "x")
    assert grid.data.shape[0] == 128
    assert grid.data.y[0] > grid.data.y[-1]
    assert model.describe()["output"] == ["pooled", "grid"]


def test_a_call_is_what_the_engine_does_with_the_same_choices(quiet):
    compat = rs_embed.get_embedding(
        "rcf", spatial=PLACE, temporal=JUNE, fetch=rs_embed.FetchSpec(scale_m=20, cloudy_pct=50), input_prep="resize"
    )
    own = rs.get_embedding(
        "rcf",
        rs.PointBuffer(PLACE.lon, PLACE.lat, buffer_m=320),
        rs.TemporalSpec.range("2022-06-01", "2022-07-01"),
        provider=quiet.provider(),
        fetch=rs.FetchSpec(resolution_m=20, max_cloud_pct=50),
    )
    np.testing.assert_array_equal(compat.data, own.data)


def test_what_differs_on_purpose_is_said_once(served):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rs_embed.get_embedding("galileo", spatial=PLACE, temporal=JUNE)
        rs_embed.get_embedding("galileo", spatial=OTHER, temporal=JUNE)
    texts = [str(one.message) for one in told]
    assert len(texts) == 2
    assert texts[0].endswith("(docs/migrating.md#pixels)")
    assert texts[1].startswith("galileo differs from rs-embed on purpose. rs-embed feeds raw digital numbers")
    assert texts[1].endswith("(docs/correctness.md#galileo)")
    assert all(one.filename == __file__ for one in told)
    assert rs_embed.reset_runtime()["warnings"] == 2


def test_without_a_span_the_last_full_year_is_used_with_a_warning(quiet):
    with pytest.warns(UserWarning, match=r"temporal was not given: 20\d\d is used"):
        items = items_of([PLACE], None, [ask("rcf")])
    assert items[0].temporal.days >= 365
    with pytest.warns(UserWarning, match="2025 is used"):
        items_of([PLACE], None, [ask("gse")])


def test_a_sensor_says_what_is_read(quiet):
    sensor = rs_embed.SensorSpec(collection=S2, bands=RGB, scale_m=20, cloudy_pct=80, composite="mosaic")
    ((_, plan),) = plans_of([ask("remoteclip", sensor=sensor)], items_of([PLACE], JUNE, []), How())
    (group,) = plan.recipe.groups
    assert (group.sensor, group.resolution_m, group.bands) == ("sentinel-2-l2a", 20.0, ("red", "green", "blue"))
    assert (group.fetch.max_cloud_pct, group.fetch.composite, group.fetch.fill) == (80, "mosaic", None)
    radar = rs_embed.SensorSpec("COPERNICUS/S1_GRD", ("VV", "VH"), orbit="ASCENDING", use_float_linear=False)
    ((_, plan),) = plans_of([ask("terrafm", sensor=radar, modality="s1")], items_of([PLACE], JUNE, []), How())
    assert (plan.request.provider.orbit, plan.request.provider.radar) == ("ascending", "db")
    how = How(backend="synthetic")
    with pytest.raises(SpecError, match="synthetic has no such choice"):
        plans_of([ask("terrafm", sensor=radar, modality="s1")], items_of([PLACE], JUNE, []), how)


def test_images_are_tiled_or_resized_by_rs_embeds_rule(quiet):
    large, small = place(buffer_m=2_400), place(buffer_m=1_120)
    items, asked = items_of([large, small], JUNE, []), ask("satmae")

    def modes(prep):
        return [(rows, plan.request.prep.mode) for rows, plan in plans_of([asked], items, How(prep=prep))]

    assert modes(None) == [([0, 1], "tile")]
    assert modes("resize") == [([0, 1], "resize")]
    assert modes(rs_embed.InputPrepSpec.auto(max_tiles=4)) == [([1], "tile"), ([0], "resize")]
    assert modes("auto") == [([0, 1], "tile")]
    with pytest.raises(SpecError, match="needs 9 tiles"):
        modes(rs_embed.InputPrepSpec(max_tiles=2, max_tiles_hard=8))
    with pytest.warns(UserWarning, match="needs 9 tiles, more than max_tiles=2"):
        modes(rs_embed.InputPrepSpec(max_tiles=2))


def test_frames_follow_the_words(quiet):
    season = rs_embed.TemporalSpec.range("2022-04-01", "2022-07-01")

    def frames(**words):
        ((_, plan),) = plans_of([ask("prithvi", words)], items_of([PLACE], season, []), How())
        return [len(group.frames.spans(season)) for group in plan.recipe.groups]

    assert frames() == [3]
    assert frames(temporal_mode="single") == [1]
    assert frames(n_frames=4) == [4]
    assert frames(max_frames=2) == [2]


def test_a_patch_is_inspected(quiet):
    scenes = [world.s2(("EPSG:32631", 420_000.0, 5_600_040.0), day)[0] for day in ("2022-06-02T10:30:00",)]
    quiet.serve(*scenes)
    sensor = rs_embed.SensorSpec(collection=S2, bands=RGB)
    told = rs_embed.inspect_gee_patch(spatial=PLACE, temporal=JUNE, sensor=sensor, return_array=True)
    grid = grid_for(rs.PointBuffer(PLACE.lon, PLACE.lat, buffer_m=320), 10)
    grid = grid.square()[0]
    clear = ~np.isin(seen(scenes[0].bands["SCL"], grid)[0], (0, 1, 3, 8, 9, 10))
    expected = np.stack([nanmedian(np.where(clear, band(scenes, name, grid), np.nan)) for name in RGB])
    np.testing.assert_allclose(told["array_chw"], expected)
    report = told["report"]
    assert report["band_max"] == pytest.approx(np.nanmax(expected, axis=(1, 2)))
    assert report["finite_frac"] == pytest.approx(np.isfinite(expected).mean())
    assert sum(map(sum, report["band_hist"])) > 0.9 * np.isfinite(expected).sum()
    assert told["sensor"]["bands"] == list(RGB)
    assert json.loads(json.dumps({name: one for name, one in told.items() if name != "array_chw"}))["backend"] == "gee"
    out_of_range = rs_embed.inspect_provider_patch(spatial=PLACE, temporal=JUNE, sensor=sensor, value_range=(0.0, 1.0))
    assert not out_of_range["ok"]
    assert out_of_range["report"]["outside_range_frac"] == pytest.approx((expected > 1).mean())


def test_a_models_input_is_inspected(quiet):
    told = rs_embed.inspect_model_input("prithvi", spatial=PLACE, temporal=JUNE, return_arrays=True, n_frames=2)
    assert told["n_frames"] == 2
    assert [one["start"] for one in told["frames"]] == ["2022-06-01", "2022-06-16"]
    assert [one["empty"] for one in told["frames"]] == [False, False]
    assert told["frames"][0]["array_chw"].shape[0] == 6
    with pytest.raises(SpecError, match="no input imagery"):
        rs_embed.inspect_model_input("gse", spatial=PLACE, temporal=JUNE)


def test_inputs_are_checked_where_the_sensor_asks_for_it(quiet, tmp_path):
    sensor = rs_embed.SensorSpec(S2, RGB, check_input=True, check_raise=False, check_save_dir=str(tmp_path))
    embedding = rs_embed.get_embedding("rcf", spatial=PLACE, temporal=JUNE, sensor=sensor)
    assert embedding.meta["input_checks"]["s2"]["shape"] == (3, 64, 64)
    (picture,) = tmp_path.iterdir()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    flat = rs_embed.SensorSpec(S2, sensor.bands, check_input=True, fill_value=0.0)
    scene = world.s2(("EPSG:32631", 420_000.0, 5_600_040.0), "2022-06-02T10:30:00", holes=2)[0]
    quiet.serve(scene)
    with pytest.raises(ModelError, match="numbers are missing"):
        rs_embed.get_embedding("rcf", spatial=PLACE, temporal=JUNE, sensor=flat)
