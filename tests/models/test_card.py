import json
import subprocess
import sys

import pytest

from rs_embed_dask import models
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import Card, Inputs, Option, Variant, all_cards, card
from rs_embed_dask.preprocess.inputs import When
from rs_embed_dask.preprocess.steps import Clip, Resize, Standard, ValueSpan
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.conftest import TEN, Mirror, mirror_card


def test_listing_models_loads_no_torch():
    code = (
        "import sys; from rs_embed_dask.models import all_cards; all_cards(); "
        "print([m for m in ('torch', 'dask', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_four_models_are_there():
    assert {found.id for found in all_cards()} >= {"bandstats", "galileo", "rcf", "satmae"}
    assert card("SatMAE_RGB") is card("satmae")


@pytest.mark.parametrize("found", all_cards(), ids=lambda found: found.id)
class TestEveryCard:
    def test_is_json_and_says_what_it_is(self, found):
        told = json.loads(json.dumps(found.describe()))
        assert told["id"] == found.id
        assert all(told[name] for name in ("title", "citation", "code_licence", "source", "notes"))

    def test_has_a_statistic_a_band(self, found):
        for inputs in found.inputs:
            for step in inputs.steps:
                lengths = {len(value) for value in vars(step).values() if isinstance(value, tuple)}
                assert lengths <= {len(inputs.bands)}
            assert all(len(values) == len(inputs.bands) for _, values in inputs.per_band)

    def test_names_bands_and_sensors_that_exist(self, found):
        for inputs in found.inputs:
            for name in inputs.sensors:
                known = sensor(name)
                assert set(inputs.bands) <= set(known.band_names)
                assert {known.band(band).unit for band in inputs.bands} == inputs.units

    def test_has_sizes_of_whole_patches(self, found):
        for inputs in found.inputs:
            sizes = [size for size in (inputs.size_px, inputs.max_px) if size]
            assert all(size % (inputs.patch_px or found.patch_px) == 0 for size in sizes)

    def test_has_options_that_work(self, found):
        found.chosen(())
        for option in found.options:
            for value in option.choices or (option.default,):
                spec = ModelSpec(found.id, options={option.name: value})
                assert found.chosen(spec.options)[option.name] == value
                assert found.resolved_inputs(spec) or found.kind == "product"

    def test_has_lengths_and_shapes(self, found):
        for variant in found.variants:
            spec = ModelSpec(found.id, variant.name)
            assert found.dim(spec, OutputSpec.grid()) > 0
            for pooling in found.poolings:
                assert found.dim(spec, OutputSpec.pooled(pooling)) > 0
            assert found.named(OutputSpec.pooled()) == OutputSpec.pooled(found.poolings[0])
            assert found.named(OutputSpec.grid()) == OutputSpec.grid()
            assert found.grid_shape(spec, (64, 64), InputPrep.resize())[0] > 0

    def test_states_the_terms_of_its_weights(self, found):
        for variant in found.variants:
            if variant.weights is not None:
                assert variant.weights.licence not in {"", "unknown"}
                assert variant.weights.repo or variant.weights.url


def test_what_a_model_reads():
    available = frozenset({"sentinel-2-l2a", "sentinel-1-rtc"})
    both = card("galileo").inputs_for(ModelSpec.of("galileo:nano:s1+s2"), available)
    assert [(one.modality, one.sensor, one.resolution_m) for one in both] == [
        ("s2", "sentinel-2-l2a", 10),
        ("s1", "sentinel-1-rtc", 10),
    ]
    assert both[0].bands == TEN
    assert both[0].frames.cap == 12
    better = card("galileo").inputs_for(ModelSpec("galileo"), available | {"sentinel-2-l1c"})
    assert better[0].sensor == "sentinel-2-l1c"


def test_a_provider_without_the_sensor():
    with pytest.raises(SpecError, match=r"galileo: modality s1.*the provider has none.*sentinel-2-l2a"):
        card("galileo").inputs_for(ModelSpec("galileo", modality="s1"), frozenset({"sentinel-2-l2a"}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: card("galilo"), "did you mean 'galileo'"),
        (lambda: load_model("galileo:huge"), "variant of galileo = 'huge'.*base, nano, tiny"),
        (lambda: load_model("galileo", modality="s3"), "modality of galileo = 's3'.*s2"),
        (lambda: load_model("galileo", patch=8), "option of galileo = 'patch'.*patch_px"),
        (lambda: load_model("rcf", bands=("red", "nirr")), "band of s2 = 'nirr'.*'nir'"),
    ],
)
def test_names_that_nobody_knows(call, message):
    with pytest.raises(UnknownNameError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_model("galileo", patch_px=9), "patch_px = 9: not a choice.*1, 2, 3"),
        (lambda: load_model("galileo", max_px="96"), "max_px = '96': not a int"),
        (lambda: load_model("rcf", features=True), "features = True"),
        (lambda: load_model("rcf", features=0), "rcf"),
        (lambda: card("bandstats").dim(ModelSpec("bandstats"), OutputSpec.pooled("cls")), "pooling = 'cls'.*mean"),
    ],
)
def test_choices_that_are_not_there(call, message):
    with pytest.raises(SpecError, match=message):
        call()


def test_lengths_follow_options():
    assert card("rcf").dim(ModelSpec("rcf", options={"features": 100})) == 200
    assert card("bandstats").dim(ModelSpec("bandstats", options={"bands": ("red", "nir")})) == 18
    assert [card("galileo").dim(ModelSpec("galileo", name)) for name in ("nano", "tiny", "base")] == [128, 192, 768]


def test_lengths_may_differ_by_output():
    told = Card("clip", "", (), (Variant("b", 512, dims=(("grid", 768), ("max", 768))),), 32)
    spec = ModelSpec("clip")
    assert told.dim(spec, OutputSpec.pooled()) == 512
    assert told.dim(spec, OutputSpec.pooled("max")) == 768
    assert told.dim(spec, OutputSpec.grid()) == 768


def test_options_change_inputs():
    inputs = Inputs(
        "rgb",
        ("sentinel-2-l2a",),
        ("red", "green"),
        steps=(Standard((1.0, 2.0), (3.0, 4.0)), Resize("bicubic")),
        per_band=(("wavelength_um", (0.66, 0.56)),),
        size_px=224,
        when=(When("scale", "raw", (("steps", (Clip(0, 1),)), ("size_px", 96))),),
    )
    assert inputs.resolved({"scale": "raw"}).steps == (Clip(0, 1),)
    assert inputs.resolved({"scale": "raw"}).size_px == 96
    assert inputs.resolved({"scale": "card"}).resize == Resize("bicubic")
    cut = inputs.only(("green",), "")
    assert cut.steps[0] == Standard((2.0,), (4.0,))
    assert cut.values("wavelength_um") == (0.56,)


def test_galileo_states_its_scaling():
    (s2,) = card("galileo").resolved_inputs(ModelSpec("galileo"))
    (step,) = s2.steps
    assert isinstance(step, ValueSpan)
    assert step.mean[0] == 1395.3408730676722
    assert step.float64


def test_a_model_of_ones_own(registered):
    registered(mirror_card())
    assert card("looking-glass").id == "mirror"
    assert models.factory("mirror") is Mirror
    assert isinstance(load_model("looking-glass").encoder, Mirror)
    assert "mirror" in {found.id for found in all_cards()}


def test_models_of_other_packages(monkeypatch):
    class Point:
        def __init__(self, found):
            self.load = lambda: found

    module = type("plugin", (), {"CARD": mirror_card(), "build": Mirror})
    for found in (module, (mirror_card(), Mirror)):
        models._plugins.cache_clear()
        monkeypatch.setattr(models, "entry_points", lambda group, found=found: [Point(found)] if group else [])
        assert models.factory("looking-glass") is Mirror
        assert card("mirror").title == "Mirror"
    models._plugins.cache_clear()


def test_an_option_of_a_decimal_takes_a_whole_number():
    assert Option("bias", 1.0).check(2, "rcf") == 2.0
    assert isinstance(Option("bias", 1.0).check(2, "rcf"), float)
