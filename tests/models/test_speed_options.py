"""What may be chosen for speed changes no embedding beyond its rounding."""

import shutil

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import SpecError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import all_cards, card, factory
from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.prithvi import _places
from rs_embed_dask.models.wavelengths import WavePatches
from rs_embed_dask.specs import OutputSpec
from tests.models import any_channels, later_families, series_families
from tests.models.conftest import SMALL
from tests.models.families import CONFIGS, SIDE, pixels

VIT = {"dim": 64, "depth": 2, "heads": 4}
SWIN = {"dim": 16, "depths": (2, 2), "heads": (2, 4), "window": 4, "classes": 20}
RESNET = {"width": 8, "depths": (1, 1, 1, 1)}
CASES = {
    "galileo": ("s2", {"dim": 32, "depth": 2, "heads": 4}),
    "satmae": ("rgb", {**SMALL, "depth": 2}),
    "satmaepp": ("rgb", SMALL),
    "satmaepp:s2_10b_vitl8": ("s2_10b", {**VIT, "size": 32, "group_dim": 16}),
    "scalemae": ("rgb", {**VIT, "size": 64}),
    "remoteclip:vitb32": ("rgb", {**VIT, "size": 64, "out": 32}),
    "remoteclip:rn50": ("rgb", {**RESNET, "size": 64, "heads": 4, "out": 32}),
    "wildsat:vitb16": ("rgb", {**VIT, "size": 64, "classes": 20}),
    "wildsat:resnet50": ("rgb", {**RESNET, "size": 64, "classes": 20}),
    "wildsat:swint": ("rgb", {**SWIN, "size": 64}),
    "dofa": ("s2", {**VIT, "size": 64, "wave_dim": 32}),
    **{model: (card(model).inputs[0].modality, config) for model, config in CONFIGS.items()},
}
LATER = {
    **{name: (later_families, modality) for name, modality in {"agrifm": "s2", "croma": "s2+s1", "thor": "s2"}.items()},
    "satvision": (later_families, "modis"),
    **dict.fromkeys(("olmoearth", "presto", "anysat"), (series_families, "s2")),
    "fomo": (series_families, card("fomo").inputs[0].modality),
    **{name: (any_channels, modality) for name, modality in any_channels.MODALITIES[::-1]},
}
IN_THEIR_OWN_FILE = ("tessera_encoder",)
# torch imports a module of its own that it has deprecated when it compiles for the first time
QUIET = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")


def loaded(name, **choices):
    return load_model(name, weights="random", device="cpu", config=CASES[name][1], **choices)


def embedded(model, name, **given):
    return model.embed(pixels(model.card.id, CASES[name][0], 64), **{**SIDE, **given}).data


def cosine(one, other):
    one, other = one.astype(np.float64), other.astype(np.float64)
    return (one @ other) / np.linalg.norm(one) / np.linalg.norm(other)


def test_every_model_with_weights_is_here():
    here = {name.partition(":")[0] for name in (*CASES, *LATER, *IN_THEIR_OWN_FILE)}
    assert here == {c.id for c in all_cards() if c.variant(None).weights}


@pytest.mark.parametrize("name", LATER)
def test_so_it_is_for_the_later_families(name):
    family, modality = LATER[name]
    images = family.pixels(name, modality, 64 if name != "presto" else 3)
    frames = len(next(iter(images.values())))
    side = getattr(family, "told", lambda _: SIDE | {"dates": SIDE["dates"] * frames})(images)
    exact, cast = family.small(name, modality=modality), family.small(name, modality=modality, dtype="bfloat16")
    for pooling in exact.card.poolings:
        output = OutputSpec.pooled(pooling)
        one, other = (model.embed(images, output=output, **side).data for model in (exact, cast))
        assert not np.array_equal(one, other)
        assert cosine(one, other) >= 0.999


@pytest.mark.parametrize("name", CASES)
def test_half_of_the_bits_is_the_same_direction(name):
    exact, cast = loaded(name), loaded(name, dtype="bfloat16")
    assert (exact.dtype, cast.dtype) == (torch.float32, torch.bfloat16)
    for pooling in exact.card.poolings:
        output = OutputSpec.pooled(pooling)
        one, other = embedded(exact, name, output=output), embedded(cast, name, output=output)
        assert other.dtype == np.float32
        assert not np.array_equal(one, other)
        assert cosine(one, other) >= 0.999


def test_a_cpu_is_exact_unless_told():
    assert loaded("satmae").dtype == torch.float32
    assert loaded("satmae", dtype="float32").dtype == torch.float32


@QUIET
def test_a_compiled_network_gives_the_same_or_says_what_it_lacks(monkeypatch):
    plain = loaded("satmae")
    if shutil.which("g++"):
        fast = loaded("satmae", compile=True)
        assert embedded(fast, "satmae") == pytest.approx(embedded(plain, "satmae"), abs=1e-5)
        assert [block._compiled_call_impl is not None for block in fast.encoder.blocks] == [True, True]
        assert list(fast.encoder.state_dict()) == list(plain.encoder.state_dict())
        assert fast.spec == plain.spec
        assert fast.weights_info == plain.weights_info
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with pytest.raises(SpecError, match=r"compile = True: nothing can be compiled here .*install a C\+\+ compiler"):
        loaded("satmae", compile=True)


def test_compiling_is_no_option_of_a_card():
    for one in all_cards():
        assert "compile" not in {option.name for option in one.options}


def kernels(patches, um):
    """What the patches keep for one wavelength: any image has them made."""
    image, told = torch.ones(1, 1, patches.kernel[1], patches.kernel[1]), (um,)
    more = (lambda: sincos(torch.tensor(told), patches.wave_dim),) if isinstance(patches, WavePatches) else ()
    found = patches(image, told, *more)
    return found if patches._cache is None else patches._cache[1][0]


@pytest.mark.parametrize(("name", "part"), [("dofa", "patch_embed"), ("clay", "patch_embedding")])
class TestKernelsAreKept:
    def test_until_something_changes(self, name, part):
        model = loaded(name)
        first = embedded(model, name)
        patches = model.encoder.get_submodule(part)
        kept = patches._cache[1][0]
        assert np.array_equal(embedded(model, name), first)
        assert patches._cache[1][0] is kept
        with torch.no_grad():
            patches.weight_generator.fc_weight.weight.neg_()
        changed = embedded(model, name)
        assert np.abs(changed - first).max() > 1e-3
        fresh = loaded(name)
        fresh.encoder.load_state_dict(model.encoder.state_dict())
        assert np.array_equal(embedded(fresh, name), changed)

    def test_by_wavelengths_and_device(self, name, part):
        patches = loaded(name).encoder.get_submodule(part)
        with torch.inference_mode():
            red, green = (kernels(patches, um) for um in (0.66, 0.56))
            assert not torch.equal(red, green)
            assert torch.equal(kernels(patches, 0.66), red)
            here = patches._state((0.66,))
            assert patches.to("meta")._state((0.66,)) != here

    def test_not_where_a_gradient_is_wanted(self, name, part):
        patches = loaded(name).encoder.get_submodule(part).requires_grad_()
        kernels(patches, 0.66).sum().backward()
        assert patches.weight_generator.fc_weight.weight.grad is not None
        assert patches._cache is None


def test_a_table_that_is_kept_serves_training_too():
    with torch.inference_mode():
        table = _places((2, 3, 3, 32), 4, torch.device("cpu"))
    assert table.shape == (2, 3, 3, 32)
    assert not table.is_inference()
    assert _places((2, 3, 3, 32), 4, torch.device("cpu")) is table


@pytest.mark.parametrize("name", ["remoteclip:rn50", "wildsat:resnet50"])
def test_the_order_of_channels_in_memory_changes_nothing(name):
    model = loaded(name)
    convolutions = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convolutions)
    before = embedded(model, name)
    model.encoder.to(memory_format=torch.contiguous_format)
    assert embedded(model, name) == pytest.approx(before, rel=1e-4, abs=1e-5)


def test_random_weights_do_not_depend_on_the_order_of_channels():
    own = factory("remoteclip")(body="resnet", **CASES["remoteclip:rn50"][1])
    own.load_state_dict(loaded("remoteclip:rn50").encoder.state_dict())
    assert own.layer1[0].conv2.weight.is_contiguous()
