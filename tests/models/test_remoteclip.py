import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import WeightsError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, factory
from rs_embed_dask.models.clip import QuickGELU
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.conftest import cube, grid, scene
from tests.parity.cases import NUMBERS

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
RGB = ("red", "green", "blue")
VIT = {"size": 64, "patch": 16, "dim": 32, "depth": 2, "heads": 4, "out": 12}
RN50 = {"size": 64, "width": 4, "depths": (1, 1, 1, 1), "heads": 4, "out": 12}
TEXT = ("transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "positional_embedding", "logit_scale")


def small(variant="vitb32", **choices):
    config = RN50 if variant == "rn50" else VIT
    return load_model("remoteclip", variant=variant, config=config, **{"weights": "random", "device": "cpu", **choices})


def tensors(variant):
    return {name: value.contiguous().clone() for name, value in small(variant).encoder.state_dict().items()}


def rgb(height, width=None, seed=0):
    return scene(1, 3, max(height, width or 0), seed)[0][:, :height, : width or height]


@pytest.mark.parametrize("variant", ["vitb32", "vitl14", "rn50"])
class TestEveryVariant:
    def test_has_the_published_names(self, variant):
        published = json.loads(gzip.decompress((NUMBERS / "remoteclip" / "keys.json.gz").read_bytes()))[variant]
        with torch.device("meta"):
            encoder = factory("remoteclip")(**dict(card("remoteclip").variant(variant).config))
        given = {f"visual.{n}": list(v.shape) for n, v in encoder.state_dict().items() if v.is_floating_point()}
        assert given == published

    @pytest.mark.parametrize("form", ["official", "mirror"])
    def test_loads_every_form_of_file(self, variant, form, tmp_path):
        known = tensors(variant)
        whole = {f"visual.{name}": v for name, v in known.items()} | {name: torch.zeros(2) for name in TEXT}
        path = tmp_path / ("a.safetensors" if form == "mirror" else "a.pt")
        if form == "mirror":
            save_file({f"model.{name}": value for name, value in whole.items()}, path)
        else:
            torch.save(whole, path)
        given = small(variant, weights=path).encoder.state_dict()
        assert given.keys() == known.keys()
        assert all(torch.equal(given[name], known[name]) for name in known)

    def test_takes_any_image(self, variant):
        model = small(variant)
        side, wide = (2, 128) if variant == "rn50" else (4, 32)
        for height, width in ((20, 20), (64, 64), (150, 150), (40, 90)):
            image = rgb(height, width)
            tokens = model.embed(image, output=GRID).shape
            assert tokens[0] == wide
            assert max(tokens[1:]) == side
            assert model.embed(image).shape == model.embed(image, output=CLS).shape == (12,)
            assert model.embed(image, output=MAX).shape == (wide,)

    def test_a_batch_equals_its_items(self, variant):
        model = small(variant)
        images = np.stack([rgb(100, seed=seed) for seed in range(3)])[:, None]
        for output in (GRID, OutputSpec.pooled(), MAX):
            alone = np.stack([model.embed(image, output=output).data for image in images])
            assert model.embed(images, output=output).data == pytest.approx(alone, abs=1e-5)

    def test_tiles_equal_their_own_images(self, variant):
        model = small(variant)
        image = rgb(128)
        whole = model.embed(image, output=GRID, prep=InputPrep.tile()).data
        half = whole.shape[1] // 2
        corner = model.embed(image[:, 64:, :64], output=GRID).data
        assert whole[:, half:, :half] == pytest.approx(corner, abs=1e-5)
        quarters = [model.embed(image[:, y : y + 64, x : x + 64]).data for y in (0, 64) for x in (0, 64)]
        known = pytest.approx(np.mean(quarters, axis=0), abs=1e-5)
        assert model.embed(image, prep=InputPrep.tile()).data == known

    def test_gaps_are_filled_and_told_and_grids_lie_on_the_ground(self, variant):
        values = scene(1, 3, 64)
        values[:, 2, :32] = np.nan
        cubes = {"rgb": cube(values, bands=RGB, place=grid(64, 64))}
        (features,) = small(variant).embed_cubes([cubes], GRID)
        assert features.notes == ("16.7% of values filled",)
        cell = 640 / features.values.shape[1]
        assert features.grid.transform == (cell, 0, 600_000, 0, -cell, 5_700_000)
        (part,) = small(variant).embed_cubes([cubes], GRID, crops=[Window(32, 0, 32, 64)])
        assert part.values == pytest.approx(features.values[:, features.values.shape[1] // 2 :], abs=1e-6)
        assert part.grid.transform == (cell, 0, 600_000, 0, -cell, 5_699_680)


def test_lengths():
    found = card("remoteclip_s2rgb")
    assert found is card("remoteclip")
    outputs = (OutputSpec.pooled(), CLS, MAX, GRID)
    for name, own, wide in (("ViT-B-32", 512, 768), ("vitl14", 768, 1024), ("rn50", 1024, 2048)):
        assert [found.dim(ModelSpec("remoteclip", name), output) for output in outputs] == [own, own, wide, wide]
    shapes = [found.grid_shape(ModelSpec("remoteclip", v.name), (90, 90), InputPrep()) for v in found.variants]
    assert shapes == [(7, 7), (16, 16), (7, 7)]


def test_another_models_file_is_refused(tmp_path):
    for variant, other in (("vitb32", "rn50"), ("rn50", "vitb32")):
        torch.save({f"visual.{name}": v for name, v in tensors(other).items()}, tmp_path / "a.pt")
        with pytest.raises(WeightsError, match=rf"{variant}: names in the weights.*missing.*unexpected"):
            small(variant, weights=tmp_path / "a.pt")
    torch.save({name: torch.zeros(2) for name in TEXT}, tmp_path / "text.pt")
    with pytest.raises(WeightsError, match="missing: class_embedding"):
        small(weights=tmp_path / "text.pt")


def test_the_activation_is_an_option():
    assert QuickGELU()(torch.tensor([1.0])).item() == pytest.approx(1 / (1 + np.exp(-1.702)))
    quick, exact = (small(activation=name).embed(rgb(64)).data for name in ("quick_gelu", "gelu"))
    assert 1e-4 < np.linalg.norm(quick - exact) / np.linalg.norm(exact) < 0.1
    assert np.array_equal(quick, small().embed(rgb(64)).data)
    towers = [small("rn50", activation=name).embed(rgb(64)).data for name in ("quick_gelu", "gelu")]
    assert np.array_equal(*towers)


def test_what_the_network_sees():
    image = np.zeros((1, 3, 64, 64), np.float32)
    image[0, 0], image[0, 1], image[0, 2] = 12_000, 5_000, -50
    seen = small().prepare([Sample({"rgb": image})]).image[0, :, 0, 0]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    known = [(value / 255 - m) / s for value, m, s in zip((255, 127, 0), mean, std, strict=True)]
    assert seen.tolist() == pytest.approx(known, rel=1e-6)


def test_the_vector_is_the_projected_class_token():
    model, image = small(), rgb(64)
    seen = []
    model.encoder.ln_post.register_forward_hook(lambda module, inputs, output: seen.append(output))
    vector = model.embed(image).data
    assert seen[0].shape == (1, 32)
    assert vector == pytest.approx((seen[0] @ model.encoder.proj)[0].numpy(), abs=1e-6)
    assert model.embed(image, output=MAX).data == pytest.approx(model.embed(image, output=GRID).data.max((1, 2)))


def test_the_mean_of_a_map_is_what_asks():
    pool = small("rn50").encoder.attnpool
    x = torch.randn(2, 2, 2, 128, generator=torch.Generator().manual_seed(0))
    moved = x.flip(1)  # as many, elsewhere
    assert not torch.allclose(pool(x), pool(moved), atol=1e-3)
    with torch.no_grad():
        pool.positional_embedding[1:] = 0
    assert torch.allclose(pool(x), pool(moved), atol=1e-5)


def test_rectangles():
    image = rgb(64, 96)
    cut = small(rectangle="crop").embed(image).data
    assert cut == pytest.approx(small().embed(image[:, :, 16:80]).data, abs=1e-6)
    padded = np.pad(image, ((0, 0), (0, 32), (0, 0)), mode="symmetric")
    assert small().embed(image).data == pytest.approx(small().embed(padded).data, abs=1e-6)


def test_the_resize_is_an_option():
    pillow, floats = (small(resize=how).embed(rgb(150)).data for how in ("pillow", "float"))
    assert 1e-6 < np.linalg.norm(pillow - floats) < 0.1 * np.linalg.norm(pillow)


def test_tokens_are_in_raster_order():
    model = small()
    image = np.full((3, 64, 64), 1500.0)
    base = model.embed(image, output=GRID).data
    image[:, 16:32, 48:64] += scene(1, 3, 16)[0]
    moved = np.abs(model.embed(image, output=GRID).data - base).sum(0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)
