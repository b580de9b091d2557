"""Plans: reads merged across models, sizes, prices, words for people, and requests that cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.inputs import input_facts
from rs_embed_dask.engine.plan import Sizes, make_plan
from rs_embed_dask.engine.recipe import choose
from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import PlanError, SpecError, UnknownNameError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs import (
    BBox,
    FetchSpec,
    ModelSpec,
    OutputSpec,
    PointBuffer,
    SensorSpec,
    TemporalSpec,
)
from rs_embed_dask.store import Item
from tests.engine.fakes import Numbers, Places

YEAR = TemporalSpec.year(2022)
MADE = Synthetic()


def plan(models, provider=MADE, items=None, sizes=None, **changes):
    return make_plan(items or Places(100, YEAR), Request(models, provider, **changes), sizes=sizes)


def reads(made):
    return [(group.sensor, group.resolution_m, group.bands) for group in made.recipe.groups]


def test_models_that_want_the_same_pixels_share_one_read():
    made = plan(["bandstats", {"id": "bandstats", "name": "three", "options": {"bands": ("red", "nir", "coastal")}}])
    (group,) = made.recipe.groups
    assert group.bands[-1] == "coastal"
    assert len(group.bands) == 11
    assert [(need.label, len(need.bands)) for need in group.needs] == [("bandstats", 10), ("three", 3)]
    assert made.figures.reads == 100


def test_frames_of_another_policy_come_of_the_same_read():
    made = plan(["bandstats", "rcf"])
    assert made.recipe.visits(["bandstats", "rcf"]) == ((0, 1),)
    assert made.figures.reads == 100
    assert [group.frames for group in made.recipe.groups] == [Frames("equal", days=30, cap=12), Frames("single")]
    assert [layout.frames for layout in made.layouts] == [12, 1]


def test_two_modalities_are_two_reads():
    made = plan(["galileo:nano:s1+s2"], PlanetaryComputer())
    assert [sensor for sensor, _, _ in reads(made)] == ["sentinel-2-l2a", "sentinel-1-rtc"]
    assert made.recipe.needs("galileo-nano-s1-s2")[0][1].modality == "s2"
    assert made.recipe.models[0].nbytes == 4_160_000


def test_what_is_read_in_place_of_a_cards_first_choice_is_said():
    there = plan(["galileo:nano:s1+s2"], PlanetaryComputer())
    assert there.outlook.instead == (
        "galileo-nano-s1-s2: sentinel-2-l2a in place of sentinel-2-l1c, which planetary_computer does not have",
        "galileo-nano-s1-s2: sentinel-1-rtc in place of sentinel-1-grd, which planetary_computer does not have",
    )
    assert "instead" in str(there)
    assert plan(["galileo"]).outlook.instead == ()  # the synthetic landscape has all
    chosen = plan(["galileo"], sensors=SensorSpec("sentinel-2-l2a"))
    assert chosen.outlook.instead == ("galileo: sentinel-2-l2a in place of sentinel-2-l1c, as asked for",)
    facts = [input_facts(one)["inputs"]["s2"] for one in choose(chosen.request)]
    assert [(one["sensor"], one["in_place_of"]) for one in facts] == [("sentinel-2-l2a", "sentinel-2-l1c")]


@pytest.mark.parametrize("model", ["galileo", "presto", "satmaepp:s2_10b_vitl8"])
def test_a_level_that_is_asked_for_is_read_or_refused(model):
    spec = ModelSpec.of(model)
    for level, sensor in (("L1C", "sentinel-2-l1c"), ("L2A", "sentinel-2-l2a")):
        asked = replace(spec, options={"level": level})
        made = plan([asked], EarthEngine())
        assert reads(made)[0][0] == sensor
        assert made.outlook.instead == ()
        (facts,) = (input_facts(one)["inputs"] for one in choose(made.request))
        assert all("in_place_of" not in one for one in facts.values())
    assert reads(plan([replace(spec, options={"level": "L2A"})], PlanetaryComputer()))[0][0] == "sentinel-2-l2a"
    with pytest.raises(PlanError, match=r"sentinel-2-l1c.*does not serve Level-1C.*read sentinel-2-l2a"):
        plan([replace(spec, options={"level": "L1C"})], PlanetaryComputer())
    with pytest.raises(SpecError, match="use one of 'any', 'L1C', 'L2A'"):
        plan([replace(spec, options={"level": "L3"})])


def test_the_request_goes_before_the_card():
    made = plan("rcf", fetch=FetchSpec(resolution_m=20, max_cloud_pct=10, composite="clearest", mask="none"))
    (group,) = made.recipe.groups
    assert (group.resolution_m, group.fetch.max_cloud_pct, group.fetch.composite) == (20, 10, "clearest")
    assert plan("rcf", output=OutputSpec.grid(scale_m=30)).recipe.groups[0].resolution_m == 30
    assert plan("rcf").recipe.groups[0].fetch.max_cloud_pct == 30


def test_a_sensor_of_the_users_choice():
    made = plan("rcf", sensors=SensorSpec("COPERNICUS/S2_HARMONIZED", resolution_m=60))
    assert reads(made)[0][:2] == ("sentinel-2-l1c", 60)


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        (SensorSpec("landsat-c2-l2"), "no model of the request reads it"),
        (
            SensorSpec("sentinel-2-l2a", bands=("B04", "B03")),
            r"bands of rcf .*the model takes other bands.*ModelSpec\('rcf'",
        ),
    ],
)
def test_a_sensor_that_fits_no_model(sensors, message):
    with pytest.raises(PlanError, match=message):
        plan("rcf", sensors=sensors)


def test_a_sensor_that_the_provider_lacks():
    with pytest.raises(PlanError, match="numbers does not have it"):
        plan("rcf", Numbers(), sensors=SensorSpec("sentinel-2-l1c"))
    with pytest.raises(PlanError, match=r"galileo: modality s1 at numbers.*has none of its sensors"):
        plan("galileo:nano:s1", Numbers())


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ([], PlanError, "nothing to compute"),
        (["rcf", "rcf"], PlanError, "would share one group of the store"),
        (["rfc"], UnknownNameError, "did you mean 'rcf'"),
        (["galileo:huge"], UnknownNameError, "variant of galileo"),
        ([ModelSpec("rcf", options={"features": "many"})], SpecError, "rcf: features"),
    ],
)
def test_models_that_cannot_be_run(models, error, message):
    with pytest.raises(error, match=message):
        plan(models)


def test_a_pooling_that_a_model_lacks():
    with pytest.raises(SpecError, match=r"rcf: pooling = 'cls'"):
        plan("rcf", output=OutputSpec.pooled("cls"))


def test_no_places_is_no_plan():
    with pytest.raises(PlanError, match="there is no place to embed"):
        make_plan([], Request("rcf", MADE))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "8"])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(PlanError, match="an integer of at least 1"):
        Sizes(chunk_items=size)
    with pytest.raises(PlanError, match="an integer of at least 1"):
        Sizes(batch_items=size)


def test_grids_are_as_large_as_the_largest_item():
    items = [Item(0, PointBuffer(lon=4, lat=50, buffer_m=80), YEAR), Item(1, BBox(4, 50, 4.01, 50.002), YEAR)]
    made = plan("rcf", items=items, output=OutputSpec.grid())
    rows, columns = made.layouts[0].grid_shape
    assert rows == 4  # 226 m of latitude and the lean of the grid, in cells of 80 m
    assert columns == 10
    assert plan("rcf", items=items).layouts[0].grid_shape is None


def test_chunks_are_bounded_by_bytes_and_are_many_for_a_short_run():
    assert plan("rcf", items=Places(10_000, YEAR)).chunk_items == 256
    assert plan("rcf", items=Places(100, YEAR)).chunk_items == 13
    assert plan("rcf", items=Places(3, YEAR)).chunk_items == 8
    large = [Item(0, PointBuffer(lon=4, lat=50, buffer_m=2560), YEAR)] * 1000
    assert plan("bandstats", items=large).chunk_items == 8  # 157 MB of pixels per item
    assert plan("rcf", sizes=Sizes(chunk_items=50)).chunk_items == 50


def test_the_price_is_scaled_from_a_few_places():
    made = plan("rcf", items=Places(1000, TemporalSpec.range("2022-06-01", "2022-07-01")))
    figures = made.figures
    assert figures.sampled == 16
    assert (figures.items, figures.reads, figures.batches) == (1000, 1000, {"rcf": 32})
    assert figures.scenes == 6000
    assert figures.decoded_bytes == 1000 * 8 * 8 * 10 * 5
    assert figures.store_bytes == 1000 * 512 * 4
    assert plan("rcf", PlanetaryComputer()).figures.requests > 100
    assert [figures.part({"rcf": items / 1000}, 1).batches["rcf"] for items in (0, 1, 500, 501)] == [0, 1, 16, 17]


def test_a_plan_asks_no_provider_and_loads_no_torch(monkeypatch):
    for name in ("search", "cube"):
        monkeypatch.setattr(Synthetic, name, None)
    assert plan(["rcf", "galileo:nano"]).figures.reads == 200


def test_words_and_json():
    made = plan(["rcf"])
    text = str(made)
    assert text.startswith("Plan\n  items     100 in 8 chunks of 13\n  provider  synthetic")
    assert "read      sentinel-2-l2a at 10 m: blue, green, red" in text
    assert "model     rcf: 512 per item, 4 batches" in text
    assert max(len(line) for line in text.splitlines()) < 160
    assert "<td" in made._repr_html_()
    data = json.loads(json.dumps(made.to_dict()))
    assert data["request"]["models"][0]["id"] == "rcf"
    assert data["figures"]["reads"] == 100
    assert made.to_dict() == plan(["rcf"]).to_dict()
    assert repr(made).count("\n") == 0
    assert "Places" not in repr(made)


def test_a_request_survives_json():
    request = Request(
        ["rcf", "galileo:nano"], MADE, output=OutputSpec.grid(20), sensors=(SensorSpec("sentinel-2-l1c"),)
    )
    again = Request.from_dict(json.loads(json.dumps(request.to_dict())))
    assert again == request
    assert again.labels == ("rcf", "galileo-nano")


def test_the_number_of_frames_can_be_chosen():
    span = TemporalSpec.range("2022-06-01", "2022-09-01")
    place = rs.PointBuffer(4.5, 50.7, 80)
    asked = {"provider": "synthetic", "n_frames": 4}
    planned = rs.plan(place, ["galileo:nano", "bandstats"], span, **asked)
    assert [layout.frames for layout in planned.layouts] == [4, 4]
    assert [frame.days for frame in planned.recipe.groups[0].frames.spans(span)] == [23, 23, 23, 23]
    assert planned.request.to_dict()["n_frames"] == 4
    assert "n_frames" not in rs.plan(place, "rcf", span, provider="synthetic").request.to_dict()
    with pytest.raises(PlanError, match=r"n_frames of rcf = 4: the model takes at most 1"):
        rs.plan(place, "rcf", span, **asked)
    with pytest.raises(SpecError, match="n_frames"):
        rs.plan(place, "bandstats", span, provider="synthetic", n_frames=0)
