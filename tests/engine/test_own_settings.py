"""Settings of one model of a request: they give what the same settings of the whole request would give."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.local import embed_items
from rs_embed_dask.errors import PlanError, SpecError
from rs_embed_dask.specs import FetchSpec, InputPrep, ModelSpec, SensorSpec

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
PLACE = rs.PointBuffer(4.5, 50.7, buffer_m=160)


def vectors(*models, **options):
    (result,) = embed_items(rs.plan(PLACE, list(models), JUNE, provider="synthetic", **options))
    return {label: outcome.data for label, outcome in result.outcomes.items()}


def test_each_model_has_its_own_pixels_and_its_own_fit():
    own = {
        "plain": ModelSpec("bandstats", name="plain"),
        "coarse": ModelSpec("bandstats", name="coarse", fetch=FetchSpec(resolution_m=20)),
        "other": ModelSpec("bandstats", name="other", sensor=SensorSpec("sentinel-2-l1c")),
    }
    together = vectors(*own.values())
    alone = {
        "plain": vectors("bandstats"),
        "coarse": vectors("bandstats", fetch=FetchSpec(resolution_m=20)),
        "other": vectors("bandstats", sensor=SensorSpec("sentinel-2-l1c")),
    }
    for label, expected in alone.items():
        np.testing.assert_array_equal(together[label], expected["bandstats"])
    assert not np.allclose(together["plain"], together["coarse"])
    assert not np.allclose(together["plain"], together["other"])


def test_a_model_that_resizes_is_not_changed_by_one_that_sees_around_the_place():
    galileo = {"weights": "random", "variant": "nano", "options": {"patch_px": 8}}
    place = rs.PointBuffer(4.5, 50.7, buffer_m=100)

    def one(model, **options):
        planned = rs.plan(place, model, JUNE, provider="synthetic", **options)
        (result,) = embed_items(planned)
        return result.outcomes["small"].data

    small = ModelSpec("galileo", name="small", prep="resize", **galileo)
    wide = ModelSpec("galileo", name="wide", **galileo)
    alone = one(ModelSpec("galileo", name="small", **galileo), prep="resize")
    np.testing.assert_array_equal(one([wide, small]), alone)
    assert not np.allclose(one(ModelSpec("galileo", name="small", **galileo)), alone)


def test_a_models_own_words_go_before_those_of_the_request():
    one = ModelSpec("rcf", fetch={"resolution_m": 20}, prep="tile", sensor="sentinel-2-l1c")
    assert (one.fetch, one.prep, one.sensor) == (
        FetchSpec(resolution_m=20),
        InputPrep("tile"),
        (SensorSpec("sentinel-2-l1c"),),
    )
    assert ModelSpec.from_dict(one.to_dict()) == one
    assert "fetch" not in ModelSpec("rcf").to_dict()
    asked = FetchSpec(resolution_m=60, max_cloud_pct=10, mask="none")
    planned = rs.plan(PLACE, [one, "bandstats"], JUNE, provider="synthetic", fetch=asked, prep="resize")
    first, second = planned.recipe.groups
    assert (first.sensor, first.resolution_m, first.fetch.max_cloud_pct, first.fetch.mask) == (
        "sentinel-2-l1c",
        20,
        10,
        "none",
    )
    assert (second.sensor, second.resolution_m, second.fetch.max_cloud_pct) == ("sentinel-2-l2a", 60, 10)
    assert [entry.prep.mode for entry in planned.recipe.models] == ["tile", "resize"]
    assert rs.plan(PLACE, one, JUNE, provider="synthetic").recipe.models[0].key == (
        rs.plan(PLACE, "rcf", JUNE, provider="synthetic").recipe.models[0].key
    )  # one network for both


def test_what_a_model_cannot_be_told():
    with pytest.raises(PlanError, match="no model of the request reads it"):
        rs.plan(PLACE, ModelSpec("rcf", sensor="landsat-c2-l2"), JUNE, provider="synthetic")
    with pytest.raises(SpecError, match=r"ModelSpec.fetch = 20: it is a int. Fix: give FetchSpec"):
        ModelSpec("rcf", fetch=20)


def test_the_meta_says_what_the_model_was_given():
    spec = ModelSpec("galileo", variant="nano", weights="random", options={"patch_px": 8})
    meta = rs.get_embedding(spec, PLACE, JUNE, provider="synthetic").meta
    (source,) = meta["inputs"].values()
    assert (source["sensor"], source["resolution_m"], source["size_px"]) == ("sentinel-2-l1c", 10.0, 96)
    assert source["bands"][:3] == ["blue", "green", "red"]
    assert meta["options"]["patch_px"] == 8
    assert (meta["prep"], meta["input_px"], meta["tiles"]) == ("auto", [32, 32], 1)
    layout = rs.plan(PLACE, spec, JUNE, provider="synthetic").layouts[0]
    assert layout.attrs["inputs"] == meta["inputs"]
    assert layout.attrs["options"] == meta["options"]
    assert layout.attrs["frames"] == {"policy": "months", "cap": 12}


def test_inputs_are_checked_where_it_is_asked_for():
    dark = rs.load_model("bandstats")
    pixels = np.full((1, 10, 8, 8), 900.0, "float32")
    (report,) = dark.check_input(pixels)
    assert report["s2"]["issues"] == [f"s2: bands {list(range(10))} are constant"]
    plain = rs.get_embedding("bandstats", PLACE, JUNE, provider="synthetic")
    asked = rs.get_embedding("bandstats", PLACE, JUNE, provider="synthetic", check_input=True)
    assert "input_checks" not in plain.meta
    checks = asked.meta["input_checks"]["s2"]
    assert checks["shape"][0] == 10
    assert len(checks["band_mean"]) == 10
    assert min(checks["band_mean"]) > 0
    np.testing.assert_array_equal(plain.data, asked.data)
    with pytest.raises(SpecError, match="check_input"):
        rs.plan(PLACE, "rcf", JUNE, provider="synthetic", check_input="yes")
