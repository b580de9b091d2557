"""What DINOv3, Panopticon and Copernicus-FM each do: keys, positions, channels, codes, maps."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rs_embed_dask.errors import SpecError, UnknownNameError, WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.copernicusfm import NAMES
from rs_embed_dask.models.dinov3sat import _turned
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models.any_channels import SIDE, pixels, small, tensors, vectors

GRID, MEAN, MAX, CLS = OutputSpec.grid(), *(OutputSpec.pooled(name) for name in ("mean", "max", "cls"))


def test_keys_have_no_bias_whatever_the_file_holds(tmp_path):
    known, image = tensors("dinov3sat"), pixels("dinov3sat", "rgb", 64)
    one = small("dinov3sat", weights="random").embed(image, output=GRID).data
    known["blocks.0.attn.qkv.bias"][32:64] += 5
    torch.save(known, tmp_path / "a.pth")
    assert small("dinov3sat", weights=tmp_path / "a.pth").embed(image, output=GRID).data == pytest.approx(one, abs=1e-6)
    known["blocks.0.attn.qkv.bias"][:32] += 5
    torch.save(known, tmp_path / "b.pth")
    assert not np.allclose(small("dinov3sat", weights=tmp_path / "b.pth").embed(image, output=GRID).data, one, atol=0.1)


def test_patches_turn_by_their_place_and_other_tokens_do_not():
    encoder = small("dinov3sat").encoder
    turns = encoder._turns((2, 3))
    assert turns.shape == (2, 6, 16)
    angle = 2 * np.pi * np.array([-0.5, -2 / 3])[:, None] / 100 ** (np.arange(4) / 4)
    assert turns[0, 0].numpy() == pytest.approx(np.cos(np.tile(angle.ravel(), 2)), abs=1e-6)
    x = torch.randn(1, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    made = _turned(turns, x)
    assert torch.equal(made[:, :, :2], x[:, :, :2])
    assert made[0, 1, 2, 3].item() == pytest.approx(
        (x[0, 1, 2, 3] * turns[0, 0, 3] - x[0, 1, 2, 11] * turns[1, 0, 3]).item(), abs=1e-6
    )
    assert torch.allclose(made.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


@pytest.mark.parametrize("side", [64, 50, 90])
def test_eight_bits_are_resized_as_torch_does(side):
    model = small("dinov3sat")
    image = pixels("dinov3sat", "rgb", side)["rgb"]
    seen = model.prepare([Sample({"rgb": image})]).image
    byte = torch.from_numpy(image / 40).floor().clamp(0, 255).byte()
    known = functional.interpolate(byte, size=(64, 64), mode="bilinear", antialias=True).float() / 255
    scale = np.array([[0.43, 0.411, 0.296], [0.213, 0.156, 0.143]])[:, :, None, None]
    assert seen.numpy() == pytest.approx((known.numpy() - scale[0]) / scale[1], abs=1e-5)
    given = small("dinov3sat", scale="bytes").prepare([Sample({"rgb": byte.float().numpy()})]).image
    assert torch.equal(given, seen)
    full = small("dinov3sat", scale="dn10000").prepare([Sample({"rgb": image * 4})]).image
    assert full.mean() > 0


def plain_channel_attention(stem, image, ids):
    """What the authors compute: a key and a value for every channel of every patch."""
    fusion, conv = stem.chnfus, stem.conv3d["conv3d"]
    count, channels = image.shape[:2]
    maps = functional.conv3d(image[:, None], conv.weight, conv.bias, stride=(1, stem.patch, stem.patch))
    seen = maps.flatten(3).permute(0, 3, 2, 1) + torch.stack([stem._code(one) for one in ids])  # (B, L, C, D)
    seen = seen.flatten(0, 1)
    query = fusion.get_parameter("query").expand(len(seen), -1, -1)
    parts = (query, fusion["xattn"]["inproj_k"](seen), fusion["xattn"]["inproj_v"](seen))
    q, k, v = (part.unflatten(-1, (stem.heads, -1)).transpose(1, 2) for part in parts)
    out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert out.shape == (len(seen), 1, stem.dim)
    assert channels == len(ids)
    return stem.proj(out).view(count, -1, stem.proj.out_features)


def test_channels_are_attended_to_as_published():
    stem = small("panopticon").encoder.patch_embed
    image = torch.randn(2, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    ids = (664.9, -2.0, -10.0)
    with torch.inference_mode():
        made, turned = stem(image, ids), stem(image.flip(1), ids[::-1])
        known = plain_channel_attention(stem, image, ids)
    assert made.shape == (2, 2, 3, 32)
    assert torch.allclose(made.flatten(1, 2), known, atol=1e-5)
    assert torch.allclose(made, turned, atol=1e-5)


def test_codes_of_channels():
    stem = small("panopticon").encoder.patch_embed
    known = {name: value.detach() for name, value in stem.chnfus["chnemb"].items()}
    angle = 664 * 10000 ** (-np.arange(24) / 24)
    assert stem._code(664.9).numpy() == pytest.approx(np.concatenate([np.sin(angle), np.cos(angle)]), abs=1e-3)
    for one, (transmit, receive, orbit) in {-2: (0, 1, None), -4: (1, 0, None), -7: (1, 1, 0), -9: (0, 0, 1)}.items():
        either = known["embed_orbit"].mean(0) if orbit is None else known["embed_orbit"][orbit]
        wanted = torch.cat([known["embed_transmit"][transmit], known["embed_receive"][receive], either])
        assert torch.equal(stem._code(float(one)), wanted)


def test_orbits_and_bands_of_panopticon():
    image = pixels("panopticon", "s1", 56)
    made = [small("panopticon", modality="s1", orbit=name).embed(image).data for name in ("any", "ascending")]
    assert not np.allclose(*made, atol=1e-3)
    whole = pixels("panopticon", "s2", 56)["s2"]
    few = small("panopticon", bands=("nir", "red"))
    assert few.inputs[0].values("channel_id") == (827, 664)
    assert few.embed(whole[:, [7, 3]]).data == pytest.approx(
        small("panopticon", bands=("red", "nir")).embed(whole[:, [3, 7]]).data, abs=1e-5
    )
    with pytest.raises(UnknownNameError, match="band of s2 = 'cirrus'"):
        small("panopticon", bands=("cirrus",))


def test_what_copernicus_fm_is_told():
    image = pixels("copernicusfm", "s2", 64)
    model, quiet = small("copernicusfm"), small("copernicusfm", metadata=())
    base = model.embed(image, **SIDE).data
    for change in ({"dates": ["2022-07-18"]}, {"place": (3.5, 51.0)}, {"resolution_m": 20.0}):
        assert not np.allclose(model.embed(image, **(SIDE | change)).data, base, atol=1e-4)
        assert quiet.embed(image, **(SIDE | change)).data == pytest.approx(quiet.embed(image).data, abs=1e-7)
    assert not np.allclose(model.embed(image).data, base, atol=1e-4)


def test_days_are_from_1970_and_hours_count():
    model = small("copernicusfm", metadata=("dates",))
    image = torch.zeros(1, 1, 12, 64, 64)
    first, second = (
        model.encoder._metadata_code(Batch({"s2": image}, dates=torch.tensor([[day]])), 16)
        for day in ((1970, 1, 2), (1970, 1, 1, 24))
    )
    assert torch.allclose(first, second)


def test_maps_known_by_name_need_their_vector(tmp_path):
    with pytest.raises(WeightsError, match=r"copernicusfm dem: language.*language=PATH"):
        small("copernicusfm", modality="dem", config={"language": ""})
    torch.save({NAMES["dem"]: torch.zeros(7)}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match="no vector of 2048 numbers for 'Copernicus Digital Elevation Model'"):
        small("copernicusfm", modality="dem", config={"language": str(tmp_path / "short.pt")})
    torch.save(vectors(), tmp_path / "a.pt")
    image = pixels("copernicusfm", "s5p_no2", 20)
    told, known = (
        small("copernicusfm", modality="s5p_no2", config={"language": source}).embed(image, **SIDE).data
        for source in (str(tmp_path / "a.pt"), vectors())
    )
    assert np.array_equal(told, known)
    other = small("copernicusfm", modality="s5p_co").embed({"s5p_co": image["s5p_no2"]}, **SIDE).data
    assert not np.allclose(told, other, atol=1e-3)


@pytest.mark.parametrize("modality", ["s2l1c", "s5p_co", "s5p_o3", "s5p_so2"])
def test_other_modalities_run(modality):
    image = pixels("copernicusfm", modality, 30)
    assert small("copernicusfm", modality=modality).embed(image, output=GRID, **SIDE).shape == (32, 4, 4)


def test_sizes_of_patches_by_modality_and_option():
    shapes = {name: small("copernicusfm", modality=name).patch for name in ("s2", "s3", "s5p_o3", "dem")}
    assert shapes == {"s2": 16, "s3": 8, "s5p_o3": 4, "dem": 64}
    assert card("copernicusfm").resolved_inputs(ModelSpec("copernicusfm", modality="dem"))[0].size_px == 960
    finer = small("copernicusfm", patch_px=8, size_px=64)
    assert finer.embed(pixels("copernicusfm", "s2", 30), output=GRID, **SIDE).shape == (32, 8, 8)
    with pytest.raises(SpecError, match="patch_px = 7: not a choice"):
        small("copernicusfm", patch_px=7)


def test_missing_pixels_are_the_mean_and_corners_stay():
    model = small("copernicusfm")
    image = np.full((1, 12, 32, 32), np.nan, np.float32)
    image[..., 0, 0] = 1000
    seen = model.prepare([Sample({"s2": image})]).image
    assert seen[0, :, 40, 40].numpy() == pytest.approx(0, abs=1e-6)
    scale = model.inputs[0].steps[0]
    assert seen[0, :, 0, 0].numpy() == pytest.approx((1000 - np.array(scale.mean)) / scale.std, abs=1e-5)
    edges = small("copernicusfm", resize="edges")
    image = np.random.default_rng(0).uniform(0, 3000, (1, 12, 32, 32)).astype(np.float32)
    assert not torch.equal(edges.prepare([Sample({"s2": image})]).image, model.prepare([Sample({"s2": image})]).image)


def test_grids_may_be_normed():
    image = pixels("copernicusfm", "s2", 64)
    plain, normed = small("copernicusfm"), small("copernicusfm", normed=True)
    tokens = torch.from_numpy(plain.embed(image, output=GRID, **SIDE).data).permute(1, 2, 0)
    known = plain.encoder.get_submodule("norm")(tokens).permute(2, 0, 1)
    assert normed.embed(image, output=GRID, **SIDE).data == pytest.approx(known.detach().numpy(), abs=1e-5)
    assert normed.embed(image, **SIDE).data == pytest.approx(plain.embed(image, **SIDE).data, abs=1e-6)


def test_cutting_bands_cuts_the_alternatives_too():
    (inputs,) = card("copernicusfm").resolved_inputs(ModelSpec("copernicusfm", options={"resize": "edges"}))
    assert len(inputs.bands) == len(inputs.steps[0].mean) == 12
    assert isinstance(inputs, Inputs)
