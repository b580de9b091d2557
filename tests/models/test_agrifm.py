import numpy as np
import pytest
import torch

from rs_embed_dask.errors import WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.agrifm import _Halving, folded
from rs_embed_dask.models.swin import WindowAttention, offsets
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models.later_families import pixels, small, tensors

GRID = OutputSpec.grid()
S2 = frozenset({"sentinel-2-l2a"})


def film(frames, side=128, seed=0):
    return pixels("agrifm", "s2", side, seed, frames)["s2"]


def test_b8_is_the_fourth_band():
    (inputs,) = card("agrifm").inputs
    assert inputs.bands[2:5] == ("red", "nir", "rededge1")
    scale = inputs.steps[0]
    assert (scale.mean[3], scale.std[3]) == (5207.452475253116, 2973.5178530908756)
    image = np.full((1, 10, 128, 128), 12_000, np.float32)  # cloud: nothing is clipped
    seen = small("agrifm").prepare([Sample({"s2": image})]).images["s2"][0, 0, :, 5, 5]
    assert seen.numpy() == pytest.approx((12_000 - np.array(scale.mean)) / np.array(scale.std), rel=1e-5)


def test_frames_are_a_choice():
    found = card("agrifm")
    (wanted,) = found.inputs_for(ModelSpec("agrifm"), S2)
    assert wanted.frames.n == 32
    (wanted,) = found.inputs_for(ModelSpec("agrifm", options={"frames": 8}), S2)
    assert wanted.frames.n == 8


@pytest.mark.parametrize(("frames", "dim"), [(1, 32), (2, 32), (12, 32), (32, 32), (33, 64)])
def test_takes_any_number_of_frames(frames, dim):
    model, given = small("agrifm"), film(frames, 32)
    assert model.embed(given).shape == (dim,)
    assert model.embed(given, output=GRID).shape == (dim, 4, 4)


def test_the_order_of_frames_counts_and_their_dates_do_not():
    model, given = small("agrifm"), film(12)
    one = model.embed(given, dates=[f"2022-{month:02}-05" for month in range(1, 13)]).data
    assert model.embed(given).data == pytest.approx(one)
    assert not np.allclose(model.embed(given[::-1]).data, one, atol=1e-3)


def test_a_single_frame_is_filled_up_with_zeros():
    encoder = small("agrifm").encoder
    frame = torch.randn(1, 1, 10, 64, 64, generator=torch.Generator().manual_seed(0))
    filled = torch.cat([frame, torch.zeros(1, 3, 10, 64, 64)], dim=1)
    one, four = (encoder(Batch({"s2": x})).patches for x in (frame, filled))
    assert torch.allclose(one, four, atol=1e-6)


def test_empty_frames_are_left_out_or_zeros():
    given = film(12)
    given[4:8] = np.nan
    left = np.concatenate([given[:4], given[8:]])
    assert small("agrifm").embed(given).data == pytest.approx(small("agrifm").embed(left).data, abs=1e-5)
    model = small("agrifm", missing="zero")
    found = model.embed(given)
    assert found.meta["notes"][0] == "4 of 12 frames of s2 empty: hidden"
    mean = np.array(card("agrifm").inputs[0].steps[0].mean, np.float32)
    given[4:8] = mean[:, None, None]
    assert found.data == pytest.approx(model.embed(given).data, abs=1e-5)
    assert not np.allclose(found.data, small("agrifm").embed(left).data, atol=1e-3)


def test_frames_are_averaged_in_pairs_and_an_odd_one_with_zeros():
    halving = _Halving(2).requires_grad_(requires_grad=False)
    x = torch.randn(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    halves = torch.stack([(x[:, 0] + x[:, 1]) / 2, x[:, 2] / 2], dim=1)
    corners = torch.cat([halves[:, :, r, c] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))], dim=-1)
    assert torch.allclose(halving(x)[:, :, 0, 0], halving.reduction(halving.norm(corners)), atol=1e-6)


def test_time_is_put_into_channels():
    x = torch.arange(12.0).view(1, 2, 1, 2, 3)  # (B, D, h, w, C)
    assert folded(x)[0, 0, 1].tolist() == [3, 9, 4, 10, 5, 11]


def test_bias_of_a_shorter_window_is_the_first_rows_of_the_whole():
    attention = WindowAttention(4, 1, (3, 2, 2)).requires_grad_(requires_grad=False)
    attention.relative_position_bias_table.normal_(generator=torch.Generator().manual_seed(0))
    whole = attention.bias((3, 2, 2))
    assert torch.equal(attention.bias((2, 2, 2)), whole[:, :8, :8])
    assert offsets((3, 2, 2), torch.device("cpu")).shape == (12, 12)


def test_other_names_of_the_stem(tmp_path):
    known = tensors("agrifm")
    for prefix in ("", "encoder.", "module.encoder."):
        stem = {f"{prefix}S2_patch_emd.proj.weight": "weights", f"{prefix}S2_patch_emd.proj.bias": "bias"}
        content = {f"{prefix}{name}": value for name, value in known.items() if "S2_patch" not in name}
        content |= {new: known[f"S2_patch_emd.{old}"] for new, old in stem.items()}
        torch.save({"state_dict": content}, tmp_path / "a.pth")
        given = small("agrifm", weights=tmp_path / "a.pth").encoder.state_dict()
        assert all(torch.equal(given[name], value) for name, value in known.items())


def test_a_file_that_loads_nothing_is_an_error(tmp_path):
    torch.save({f"net.{name}": value for name, value in tensors("agrifm").items()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"missing: S2_patch_emd\.weights.*unexpected: net\.S2_patch_emd"):
        small("agrifm", weights=tmp_path / "a.pth")
    torch.save({"encoder.HLSL30_patch_emd.weights": torch.zeros(2)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="missing"):
        small("agrifm", weights=tmp_path / "b.pth")


def test_smaller_patches_are_a_choice(tmp_path):
    torch.save(tensors("agrifm", patch_px=16), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"S2_patch_emd\.weights \(4, 10, 4, 2, 2\) for \(4, 10, 4, 4, 4\)"):
        small("agrifm", weights=tmp_path / "a.pth")
    model = small("agrifm", weights=tmp_path / "a.pth", patch_px=16)
    assert model.embed(film(4), output=GRID).shape == (32, 8, 8)
