import math

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import UnknownNameError, WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.positions import alibi
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.preprocess.steps import OwnSpan
from rs_embed_dask.specs import OutputSpec
from tests.models.later_families import pixels, small, tensors

GRID = OutputSpec.grid()


def images(side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, 1, count, side, side, generator=generator) for name, count in (("s2", 12), ("s1", 2))}


def test_modalities():
    found = card("croma")
    assert found.modality_names(None) == ("s2",)
    assert found.modality_names("s1+s2") == ("s2", "s1")
    assert found.variant("croma_large").dim == 1024
    with pytest.raises(UnknownNameError):
        found.modality_names("rgb")


def test_only_the_parts_in_use_are_built_and_loaded(tmp_path):
    whole = tensors("croma", modality="s2+s1")
    assert {name.partition(".")[0] for name in tensors("croma", modality="s1")} == {"s1_encoder", "s1_GAP_FFN"}
    torch.save(whole, tmp_path / "a.pt")
    alone = small("croma", modality="s1", weights=tmp_path / "a.pt").encoder.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in alone.items())
    torch.save(tensors("croma"), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"missing: s1_encoder"):
        small("croma", modality="s2+s1", weights=tmp_path / "b.pt")


def test_a_patch_is_read_channel_row_column():
    encoder = small("croma", modality="s1").encoder
    seen = []
    encoder.s1_encoder.linear_input.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    image = images()["s1"]
    encoder(Batch({"s1": image}))
    assert torch.equal(seen[0][1, 2, 3], image[1, 0, :, 16:24, 24:32].flatten())


def test_vectors_are_the_authors():
    given = images()
    joint = small("croma", modality="s2+s1")
    tokens = joint.tokens(Batch(given))
    extra = tokens.extra
    for name, role in (("s2", "optical"), ("s1", "SAR")):
        alone = small("croma", modality=name)
        found = alone.tokens(Batch({name: given[name]}))
        assert torch.allclose(found.patches, extra[f"{role}_encodings"], atol=1e-5)
        assert torch.allclose(found.after(found.patches.mean((1, 2))), extra[f"{role}_GAP"], atol=1e-5)
    assert torch.allclose(extra["joint_GAP"], tokens.patches.mean((1, 2)), atol=1e-6)
    made = pixels("croma", "s2", 32)
    vector, grid = (small("croma").embed(made, output=output).data for output in (OutputSpec.pooled(), GRID))
    assert not np.allclose(vector, grid.mean((1, 2)), atol=1e-2)


def test_radar_asks_and_the_optical_image_answers():
    given = images()
    layers = small("croma", modality="s2+s1").encoder.joint_encoder
    radar, optical = (torch.randn(1, 2, 2, 32, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    attend, across, feed = layers.layers[0].children()
    bias = alibi(torch.cartesian_prod(torch.arange(2), torch.arange(2)), 4)
    x = radar.flatten(1, 2)
    x = x + attend(x, bias)
    x = x + across(x, bias, optical.flatten(1, 2))
    known = layers.norm_out(x + feed(x)).view(1, 2, 2, 32)
    assert torch.allclose(layers(radar, optical), known, atol=1e-6)
    one = small("croma", modality="s2+s1").tokens(Batch(given))
    moved = small("croma", modality="s2+s1").tokens(Batch(given | {"s2": given["s2"] + 1}))
    assert not torch.allclose(one.patches, moved.patches, atol=1e-3)
    assert torch.allclose(one.extra["SAR_GAP"], moved.extra["SAR_GAP"])


def test_cross_attention_written_out():
    attention = small("croma", modality="s2+s1").encoder.joint_encoder.layers[0][1]
    x, context = (torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    bias = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(2))
    normed, seen = attention.input_norm(x)[0], attention.input_norm(context)[0]
    heads = []
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        q, k, v = (
            (y @ w.weight.T)[:, part]
            for y, w in ((normed, attention.to_q), (seen, attention.to_k), (seen, attention.to_v))
        )
        heads.append((q @ k.T / math.sqrt(8) + bias[head]).softmax(-1) @ v)
    assert torch.allclose(attention(x, bias, context)[0], attention.to_out(torch.cat(heads, -1)), atol=1e-5)


def test_bias_is_a_slope_times_the_distance():
    places = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    for heads in (16, 12, 3):
        bias = alibi(places, heads)
        assert bias.shape == (heads, 2, 2)
        assert bias[:, 0, 0].eq(0).all()
    assert (-alibi(places, 16)[:, 0, 1] / 5).tolist() == pytest.approx([2 ** (-(i + 1) / 2) for i in range(16)])
    assert (-alibi(places, 3)[:, 1, 0] / 5).tolist() == pytest.approx([2**-4, 2**-8, 2**-2])


def test_each_band_of_each_image_is_scaled_by_its_own():
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 400 + 1000
    x[1, 2] = 7
    band = x[0, 1]
    low, width = band.mean() - 2 * band.std(), 4 * band.std()
    known = ((band - low) / width).clamp(0, 1)
    assert torch.allclose(OwnSpan().apply(x)[0, 1], known, atol=1e-5)
    levels = OwnSpan(byte=True).apply(x) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert (levels[0, 1] - (known * 255).floor()).abs().max() <= 1
    assert OwnSpan().apply(x)[1, 2].eq(0.5).all()


def test_eight_bits_are_a_choice():
    image = pixels("croma", "s2", 32)["s2"]
    seen = [small("croma", eight_bit=chosen).prepare([Sample({"s2": image})]).image.numpy() for chosen in (True, False)]
    assert 0 < np.abs(seen[0] - seen[1]).max() <= 1 / 255 + 1e-6
