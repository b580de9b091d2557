import argparse
import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import UnknownNameError, WeightsError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.conftest import TEN, cube, grid, months, scene
from tests.parity.cases import NUMBERS

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
RGB = {"dim": 32, "depth": 2, "heads": 4, "size": 64, "patch": 16}
S2 = {"dim": 32, "depth": 2, "heads": 4, "size": 32, "patch": 8, "group_dim": 8}
EXTRAS = ("decoder_embed.weight", "mask_token", "proj_up_conv.weight", "proj_up_norm.bias", "up_block1.0.weight")


def small(variant="s2_10b", **choices):
    config = RGB if variant.startswith("rgb") else S2
    more = choices.pop("config", {})
    given = {"weights": "random", "device": "cpu", **choices}
    return load_model("satmaepp", variant=variant, config=config | more, **given)


def tensors(variant):
    return {name: value.clone() for name, value in small(variant).encoder.state_dict().items()}


def bands_of(variant):
    return 3 if variant.startswith("rgb") else 10


VARIANTS = ["rgb", "s2_10b", "rgb_finetuned", "s2_10b_finetuned"]


@pytest.mark.parametrize("variant", VARIANTS)
class TestEveryVariant:
    def test_has_the_published_names(self, variant):
        found = card("satmaepp").variant(variant)
        published = json.loads(gzip.decompress((NUMBERS / "satmaepp" / "keys.json.gz").read_bytes()))[found.name]
        with torch.device("meta"):
            encoder = factory("satmaepp")(**dict(found.config))
        given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
        assert given == {name: shape for name, shape in published.items() if not name.startswith("head.")}

    @pytest.mark.parametrize("form", ["flat", "model", "module", "safetensors"])
    def test_loads_every_form_of_file(self, variant, form, tmp_path):
        known = tensors(variant)
        extras = {name: torch.zeros(2) for name in (*EXTRAS, "head.weight")}
        path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
        if form == "safetensors":
            save_file(known | extras, path)
        elif form == "flat":
            torch.save(known | extras, path)
        else:
            prefix = "module." if form == "module" else ""
            inside = {prefix + name: value for name, value in (known | extras).items()}
            torch.save({"model": inside, "args": argparse.Namespace(lr=1), "epoch": 3}, path)
        given = small(variant, weights=path).encoder.state_dict()
        assert given.keys() == known.keys()
        assert all(torch.equal(given[name], known[name]) for name in known)

    def test_takes_any_image(self, variant):
        model = small(variant)
        side = len(model.encoder.pos_embed[0]) - 1
        for pixels in (20, 64, 90):
            image = scene(1, bands_of(variant), pixels)[0]
            assert model.embed(image, output=GRID).shape == (32, int(side**0.5), int(side**0.5))
            assert model.embed(image).shape == model.embed(image, output=MAX).shape == (32,)
            assert model.embed(image, output=CLS).shape == (32,)

    def test_a_batch_equals_its_items(self, variant):
        model = small(variant)
        images = np.stack([scene(1, bands_of(variant), 50, seed)[0] for seed in range(3)])[:, None]
        for output in (GRID, OutputSpec.pooled(), MAX):
            alone = np.stack([model.embed(image, output=output).data for image in images])
            assert model.embed(images, output=output).data == pytest.approx(alone, abs=2e-6)

    def test_tiles_equal_their_own_images(self, variant):
        model = small(variant)
        side = model.inputs[0].size_px
        image = scene(1, bands_of(variant), 2 * side)[0]
        whole = model.embed(image, output=GRID, prep=InputPrep.tile()).data
        corner = model.embed(image[:, side:, :side], output=GRID).data
        half = whole.shape[1] // 2
        assert whole[:, half:, :half] == pytest.approx(corner, abs=2e-6)


def test_a_variant_brings_its_modality_and_a_modality_its_variant():
    found = card("satmaepp")
    assert card("satmae++") is card("satmaepp_rgb") is found
    assert small("s2_10b").inputs[0].bands == TEN
    assert found.variant_for(ModelSpec("satmaepp", modality="s2_10b")).name == "s2_10b_vitl8"
    assert found.variant_for(ModelSpec("satmaepp")).name == "rgb_vitl16"
    assert [found.patch(ModelSpec("satmaepp", variant)) for variant in ("rgb", "s2_10b")] == [16, 8]
    assert found.grid_shape(ModelSpec("satmaepp", modality="s2_10b"), (96, 96), InputPrep.resize()) == (12, 12)
    assert load_model("satmaepp", modality="s2_10b", weights="random", config=S2, device="cpu").inputs[0].size_px == 32
    with pytest.raises(UnknownNameError, match="modality of satmaepp rgb_vitl16 = 's2_10b'"):
        small("rgb", modality="s2_10b")


def test_the_other_variants_file_is_refused(tmp_path):
    torch.save(tensors("rgb"), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"s2_10b_vitl8: names in the weights.*missing: channel_embed"):
        small("s2_10b", weights=tmp_path / "a.pth")
    torch.save(tensors("s2_10b"), tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"missing: (channel_cls_embed|fc_norm)"):
        small("s2_10b_finetuned", weights=tmp_path / "b.pth")


def test_what_the_networks_see():
    image = np.full((1, 10, 32, 32), 1000.0, np.float32)
    image[0, 0], image[0, 1] = 5000, -900
    seen = small().prepare([Sample({"s2_10b": image})]).image[0, :, 0, 0]
    red = int((1000 - (1136.26026392 - 2 * 965.23119807)) / (4 * 965.23119807) * 255)
    assert (seen[:3] * 255).round().tolist() == [255, 0, red]
    rgb = small("rgb").prepare([Sample({"rgb": np.full((1, 3, 64, 64), 5000.0, np.float32)})]).image[0, :, 0, 0]
    assert rgb[0].item() == pytest.approx((127 / 255 - 0.4182007) / 0.2877428, rel=1e-6)


def test_bytes_are_cut_in_float64_unless_asked_otherwise():
    """Of all whole numbers up to 10 000 in any band, one comes out another byte in float32."""
    image = np.full((1, 10, 32, 32), 1000.0, np.float32)
    image[0, 3, 5] = 2209
    exact, single = (small(scaling=how).prepare([Sample({"s2_10b": image})]).image for how in ("float64", "float32"))
    levels = ((exact - single) * 255).round()[0]
    assert levels[3, 5].abs().eq(1).all()
    assert levels.abs().sum() == 32


def test_tokens_are_group_by_group_and_a_grid_joins_them():
    model = small()
    image = torch.randn(2, 1, 10, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = model.tokens(Batch({"s2_10b": image}))
    assert tokens.extra["tokens"].shape == (2, 1 + 3 * 16, 32)
    flat = tokens.extra["tokens"][:, 1:].unflatten(1, (3, 4, 4))
    assert torch.equal(tokens.patches[:, 2, 1, 0], flat[:, 0, 2, 1])
    pixels = scene(1, 10, 32)[0]
    mean, most = (small(over=how).embed(pixels, output=GRID).data for how in ("mean", "max"))
    assert (most >= mean - 1e-6).all()
    assert not np.allclose(most, mean, atol=1e-3)
    assert model.embed(pixels).data == pytest.approx(mean.mean((1, 2)), abs=1e-6)
    assert model.embed(pixels, output=MAX).data == pytest.approx(most.max((1, 2)), abs=1e-6)


def test_groups_have_their_own_bands():
    model = small()
    base = torch.zeros(1, 1, 10, 32, 32)
    patches = [embed.proj.weight.shape[1] for embed in model.encoder.patch_embed]
    assert patches == [4, 4, 2]
    seen = []
    for band in range(10):
        image = base.clone()
        image[:, :, band] = 1
        with torch.inference_mode():
            maps = [
                embed(image[:, 0, list(g)])
                for embed, g in zip(model.encoder.patch_embed, model.encoder.groups, strict=True)
            ]
            blank = [
                embed(base[:, 0, list(g)])
                for embed, g in zip(model.encoder.patch_embed, model.encoder.groups, strict=True)
            ]
        seen.append([i for i in range(3) if not torch.equal(maps[i], blank[i])])
    assert seen == [[0], [0], [0], [1], [1], [1], [0], [1], [2], [2]]


def test_tokens_are_in_raster_order():
    model = small()
    image = np.full((10, 32, 32), 1500.0)
    base = model.embed(image, output=GRID).data
    image[:, 8:16, 24:32] += scene(1, 10, 8)[0]
    moved = np.abs(model.embed(image, output=GRID).data - base).sum(0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)


def test_the_mean_of_a_fine_tuned_network_goes_through_its_norm():
    for variant in ("rgb_finetuned", "s2_10b_finetuned"):
        model = small(variant)
        image = scene(1, bands_of(variant), 64)[0]
        tokens = model.embed(image, output=GRID).data
        norm = model.encoder.fc_norm
        with torch.inference_mode():
            known = norm(torch.from_numpy(tokens.mean((1, 2)))).numpy()
        assert model.embed(image).data == pytest.approx(known, abs=1e-5)


def test_only_fine_tuning_gives_the_class_token_a_position():
    image = torch.zeros(1, 1, 10, 32, 32)
    for variant, moves in (("s2_10b", False), ("s2_10b_finetuned", True)):
        model = small(variant)
        before = model.tokens(Batch({"s2_10b": image})).cls
        with torch.no_grad():
            model.encoder.pos_embed[:, 0] += 1
        after = model.tokens(Batch({"s2_10b": image})).cls
        assert torch.equal(before, after) is not moves


def test_the_centre_is_cut_out_as_upstream_does():
    model = small(resize="crop", config={"size": 96})
    image = scene(1, 10, 109)[0]
    whole = load_model("satmaepp:s2_10b", weights="random", config=S2 | {"size": 96}, device="cpu")
    assert model.embed(image).data == pytest.approx(whole.embed(image[:, 6:102, 6:102]).data, abs=2e-6)


def test_gaps_are_filled_and_told_and_grids_lie_on_the_ground():
    values = scene(1, 10, 64)
    values[:, 2, :16] = np.nan
    place = grid(64, 64)
    (features,) = small().embed_cubes([{"s2_10b": cube(values, place=place, frames=months(1))}], GRID)
    assert features.filled_fraction == pytest.approx(0.025)
    assert features.notes == ("2.5% of values filled",)
    assert features.grid.transform == (160, 0, 600_000, 0, -160, 5_700_000)
    (part,) = small().embed_cubes([{"s2_10b": cube(values, place=place)}], GRID, crops=[Window(16, 0, 32, 64)])
    assert part.values.shape == (32, 2, 4)
    assert part.grid.transform == (160, 0, 600_000, 0, -160, 5_699_840)


def test_the_norms_epsilon_is_an_option():
    assert small("rgb", norm_eps=1e-5).encoder.norm.eps == 1e-5
    assert small("rgb").encoder.norm.eps == 1e-6
