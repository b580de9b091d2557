"""What DINOv3, Panopticon and Copernicus-FM promise, for each of their modalities."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import LicenceError, WeightsError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import _arguments
from rs_embed_dask.models import card, factory
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models import any_channels
from tests.models.any_channels import CONFIGS, KEYS, MODALITIES, SIDE, UNUSED, pixels, small, tensors
from tests.models.conftest import cube, grid, months
from tests.models.file_promises import FilePromises
from tests.models.image_promises import ImagePromises

GRID, MEAN, MAX, CLS = OutputSpec.grid(), *(OutputSpec.pooled(name) for name in ("mean", "max", "cls"))


@pytest.mark.parametrize("model", CONFIGS)
def test_the_names_are_the_published_ones(model):
    found = card(model).variant(None)
    with torch.device("meta"):
        encoder = factory(model)(**_arguments(card(model), ModelSpec(model), {}))
    given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    assert given == next(iter(KEYS[model].values()))
    assert found.params == pytest.approx(sum(map(np.prod, given.values())) / 1e6, rel=0.01)


def test_the_largest_dinov3_has_gates_and_no_bias_of_queries():
    with torch.device("meta"):
        encoder = factory("dinov3sat")(**_arguments(card("dinov3sat"), ModelSpec("dinov3sat", "vit7b16"), {}))
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["blocks.39.mlp.fc1.weight"] == shapes["blocks.39.mlp.fc3.weight"] == (8192, 4096)
    assert "blocks.0.attn.qkv.bias" not in shapes
    assert "blocks.0.attn.proj.bias" in shapes
    assert sum(map(np.prod, shapes.values())) / 1e6 == pytest.approx(6716, rel=0.001)


@pytest.mark.parametrize("model", CONFIGS)
class TestFiles(FilePromises):
    family, models = any_channels, tuple(CONFIGS)

    @staticmethod
    def official(model):
        content = tensors(model) | {name: torch.zeros(2) for name in UNUSED[model]}
        return {"model": content, "epoch": 3} if model == "copernicusfm" else content


def converted(known, *, gated=False):
    """The names that transformers publishes DINOv3 under: queries, keys and values apart, keys without a bias."""
    mlp = (
        {"fc1": "gate_proj", "fc3": "up_proj", "fc2": "down_proj"} if gated else {"fc1": "up_proj", "fc2": "down_proj"}
    )
    made = {}
    for name, value in known.items():
        new = name.replace("patch_embed.proj", "embeddings.patch_embeddings").replace("blocks.", "layer.")
        new = new.replace("cls_token", "embeddings.cls_token").replace("storage_tokens", "embeddings.register_tokens")
        new = new.replace("attn.proj", "attention.o_proj").replace("ls1.gamma", "layer_scale1.lambda1")
        new = new.replace("ls2.gamma", "layer_scale2.lambda1")
        for ours, theirs in mlp.items():
            new = new.replace(f"mlp.{ours}.", f"mlp.{theirs}.")
        if "qkv" not in new:
            made[new] = value
            continue
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            if letter != "k" or value.dim() > 1:
                made[new.replace("attn.qkv", f"attention.{letter}_proj")] = part.clone()
    return made | {"embeddings.mask_token": torch.zeros(1, 1, 32)}


@pytest.mark.parametrize("variant", ["vitl16", "vit7b16"])
def test_the_hugging_face_form_of_dinov3_loads(variant, tmp_path):
    known = {name: value.clone() for name, value in small("dinov3sat", variant=variant).encoder.state_dict().items()}
    image = pixels("dinov3sat", "rgb", 64)
    wanted = small("dinov3sat", variant=variant).embed(image, output=CLS).data
    for form in ("model.layer.", "layer."):
        content = converted(known, gated=variant == "vit7b16")
        save_file({name.replace("layer.", form, 1): v for name, v in content.items()}, tmp_path / "a.safetensors")
        loaded = small("dinov3sat", variant=variant, weights=tmp_path / "a.safetensors")
        assert loaded.embed(image, output=CLS).data == pytest.approx(wanted, abs=1e-6)
    content.pop("layer.1.attention.k_proj.weight")
    save_file(content, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: blocks\.1\.attn\.qkv\.weight"):
        small("dinov3sat", variant=variant, weights=tmp_path / "b.safetensors")
    original = {n.replace("fc1", "w1").replace("fc3", "w2").replace("fc2", "w3"): v for n, v in known.items()}
    if variant == "vit7b16":
        torch.save(original, tmp_path / "c.pth")
        loaded = small("dinov3sat", variant=variant, weights=tmp_path / "c.pth")
        assert loaded.embed(image, output=CLS).data == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("model", "modality"), MODALITIES)
class TestEveryModality(ImagePromises):
    family, side = any_channels, SIDE

    def test_takes_any_image(self, model, modality):
        loaded = small(model, modality=modality)
        for side in (20, 64, (90, 50)):
            image = pixels(model, modality, side)
            for output in (MEAN, MAX, CLS):
                assert loaded.embed(image, output=output, **SIDE).shape == (32,)
            shape = loaded.embed(image, output=GRID, **SIDE).shape
            assert shape == ((32, 4, 4) if isinstance(side, int) else (32, 4, 3))
            found = card(model).grid_shape(loaded.spec, (side, side) if isinstance(side, int) else side, InputPrep())
            assert found == shape[1:]


@pytest.mark.parametrize("model", CONFIGS)
def test_gaps_are_filled_and_told_and_grids_lie_on_the_ground(model):
    loaded = small(model)
    side, name, bands = loaded.inputs[0].size_px, loaded.inputs[0].modality, loaded.inputs[0].bands
    cell, values = side // 4, pixels(model, loaded.inputs[0].modality, side)[loaded.inputs[0].modality]
    values[:, 0, : side // 2] = np.nan
    image = cube(values, bands=bands, place=grid(side, side), frames=months(1))
    (features,) = loaded.embed_cubes([{name: image}], GRID)
    assert features.filled_fraction == pytest.approx(0.5 / len(bands))
    assert "values filled" in features.notes[0]
    assert features.grid.transform == (10 * cell, 0, 600_000, 0, -10 * cell, 5_700_000)
    (part,) = loaded.embed_cubes([{name: image}], GRID, crops=[Window(cell, 0, 2 * cell, side)])
    assert part.values == pytest.approx(features.values[:, 1:3], abs=1e-5)
    assert part.grid.transform[5] == 5_700_000 - 10 * cell


def test_the_licence_of_dinov3_must_be_accepted(tmp_path):
    torch.save(tensors("dinov3sat"), tmp_path / "a.pth")
    with pytest.raises(LicenceError, match="DINOv3 License"):
        small("dinov3sat", weights=tmp_path / "a.pth", accept_licence=False)
