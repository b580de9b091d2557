import math

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError, SpecError
from rs_embed_dask.models import card
from rs_embed_dask.models.satvision import build
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models.later_families import EMISSIVE, pixels, small

GRID = OutputSpec.grid()


def attention(window=3):
    return small("satvision", config={"window": window}).encoder.layers[1]["blocks"][0].attn


def test_bands_and_units():
    (inputs,) = card("satvision").inputs
    assert inputs.bands == tuple(f"B{n:02}" for n in (1, 2, 3, 6, 7, 21, 26, 27, 28, 29, 30, 31, 32, 33))
    image = np.full((1, 14, 128, 128), 50.0, np.float32)
    low, high = (np.array(values) for values in (inputs.steps[0].low, inputs.steps[0].high))
    image[0, EMISSIVE] = (low + 2 * (high - low))[list(EMISSIVE), None, None]
    seen = small("satvision").prepare([Sample({"modis": image})]).image[0, :, 5, 5]
    known = np.where(np.isin(np.arange(14), EMISSIVE), 2.0, 0.5)  # nothing is clipped
    assert seen.numpy() == pytest.approx(known, abs=1e-5)


def test_fractions_are_refused():
    image = pixels("satvision", "modis", 128)["modis"]
    image[:, [i for i in range(14) if i not in EMISSIVE]] /= 100
    with pytest.raises(ModelInputError, match=r"percent is needed.*multiply the reflectances by 100"):
        small("satvision").embed(image)
    image[:, [i for i in range(14) if i not in EMISSIVE]] = 0  # night
    assert np.isfinite(small("satvision").embed(image).data).all()


def test_no_public_catalogue_has_it():
    with pytest.raises(SpecError, match=r"no public catalogue has MOD021KM.*collections=.*give arrays"):
        card("satvision").inputs_for(ModelSpec("satvision"), frozenset({"modis-09a1"}))


def test_shrinking_is_antialiased_and_after_the_scaling():
    image = np.full((1, 14, 256, 256), 50.0, np.float32)
    image[0, 0, :, ::2] = 0
    seen = small("satvision").prepare([Sample({"modis": image})]).image[0, 0]
    assert seen[:, 2:-2].numpy() == pytest.approx(0.25, abs=1e-5)


def test_attention_written_out():
    attend = attention()
    x = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(0))
    bias = attend.bias((3, 3))
    q, k, v = (x[0] @ attend.qkv.weight.T).chunk(3, dim=-1)
    q, v = q + attend.q_bias, v + attend.v_bias
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        angles = torch.nn.functional.normalize(q[:, part], dim=-1) @ torch.nn.functional.normalize(k[:, part], dim=-1).T
        scale = attend.logit_scale[head].exp().clamp(max=100)
        heads.append((angles * scale + bias[head]).softmax(-1) @ v[:, part])
    assert torch.allclose(attend(x, bias[None])[0], attend.proj(torch.cat(heads, -1)), atol=1e-5)


def test_bias_is_made_from_offsets_on_a_log_scale():
    attend = attention()
    bias = attend.bias((3, 3))
    offset = torch.tensor([[1.0, -0.5]])  # two rows up, one column to the right, in parts of a window's side less one
    coded = offset.sign() * (8 * offset.abs() + 1).log2() / math.log2(8)
    known = 16 * attend.cpb_mlp(coded)[0].sigmoid()
    assert torch.allclose(bias[:, 2 * 3 + 0, 0 * 3 + 1], known, atol=1e-5)
    assert attend.bias((1, 1)).isfinite().all()


def test_the_scale_of_angles_is_limited():
    attend = attention()
    x = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for scale in (math.log(100), 9.0):
        attend.logit_scale.data[:] = scale
        found.append(attend(x, attend.bias((3, 3))[None]))
    assert torch.allclose(*found)


def test_every_sixth_block_has_a_third_norm():
    with torch.device("meta"):
        giant = build()
    third = {name for name in giant.state_dict() if name.endswith("norm3.weight")}
    assert third == {f"layers.2.blocks.{i}.norm3.weight" for i in range(5, 42, 6)}
    assert not any("norm3" in name for name in small("satvision", config={"norm_period": 0}).encoder.state_dict())


def test_windows_shrink_with_the_image():
    model = small("satvision", size_px=64)
    assert model.embed(pixels("satvision", "modis", 64), output=GRID).shape == (32, 2, 2)
    tokens = model.tokens(Batch({"modis": torch.zeros(1, 1, 14, 32, 32)}))
    assert tokens.patches.shape == (1, 1, 1, 32)
    assert {name: tuple(one.shape[1:]) for name, one in tokens.extra.items()} == {
        "grid_before_norm": (1, 1, 32),
        "stage1": (4, 4, 8),
        "stage2": (2, 2, 16),
        "stage3": (1, 1, 32),
    }


def test_a_grid_may_be_before_the_norm():
    image = pixels("satvision", "modis", 128)
    normed, bare = (small("satvision", ending=ending) for ending in ("norm", "none"))
    assert bare.embed(image).data == pytest.approx(normed.embed(image).data, abs=1e-5)
    assert normed.embed(image).data == pytest.approx(normed.embed(image, output=GRID).data.mean((1, 2)), abs=1e-5)
    grid = torch.from_numpy(bare.embed(image, output=GRID).data).permute(1, 2, 0)
    known = bare.encoder.norm(grid).permute(2, 0, 1).numpy()
    assert normed.embed(image, output=GRID).data == pytest.approx(known, abs=1e-5)
