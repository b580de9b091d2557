import gzip
import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import ModelInputError, UnknownNameError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, grid, months, scene
from tests.parity.cases import NUMBERS

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
CONFIG = {"dim": 32, "depth": 2, "heads": 4, "size": 64}
EXTRAS = ("mask_token", "projector.weight", "projector.bias")
NINE = ("red", "green", "blue", "rededge1", "rededge2", "rededge3", "nir", "swir16", "swir22")


def small(**choices):
    return load_model("dofa", **{"weights": "random", "device": "cpu", "config": CONFIG, **choices})


@pytest.fixture(scope="module")
def tensors():
    return {name: value.clone() for name, value in small().encoder.state_dict().items()}


def nine(side, seed=0):
    return scene(1, 9, side, seed)[0]


def radar(side, seed=0):
    return -8 - scene(1, 2, side, seed)[0] / 300


@pytest.mark.parametrize("variant", ["base", "large"])
def test_it_has_the_published_names(variant):
    published = json.loads(gzip.decompress((NUMBERS / "dofa" / "keys.json.gz").read_bytes()))[variant]
    with torch.device("meta"):
        encoder = factory("dofa")(**dict(card("dofa").variant(variant).config))
    assert {name: list(value.shape) for name, value in encoder.state_dict().items()} == published


@pytest.mark.parametrize("form", ["authors", "converted", "safetensors"])
def test_every_form_of_file_loads(tmp_path, tensors, form):
    content = tensors | {name: torch.zeros(2) for name in EXTRAS}
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    if form == "safetensors":
        save_file(content, path)
    elif form == "authors":
        torch.save(content, path)
    else:
        torch.save({name: value for name, value in tensors.items() if not name.startswith("norm.")}, path)
    given = small(weights=path).encoder.state_dict()
    kept = {name for name in tensors if form != "converted" or not name.startswith("norm.")}
    assert given.keys() == tensors.keys()
    assert all(torch.equal(given[name], tensors[name]) for name in kept)
    if form == "converted":
        assert given["norm.weight"].eq(1).all()


def test_wrong_files_are_refused(tmp_path, tensors):
    torch.save({name: value for name, value in tensors.items() if "weight_generator" not in name}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"18 missing: (patch_embed\.weight_generator\.\S+, ){5}\.\.\."):
        small(weights=tmp_path / "a.pth")
    torch.save(tensors | {"patch_embed.proj.weight": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"1 unexpected: patch_embed\.proj\.weight"):
        small(weights=tmp_path / "b.pth")


@pytest.mark.parametrize("side", [20, 64, 150])
@pytest.mark.parametrize("modality", ["s2", "s1"])
def test_modalities_and_sizes(side, modality):
    model = small(modality=modality)
    image = nine(side) if modality == "s2" else radar(side)
    for output, shape in ((GRID, (32, 4, 4)), (OutputSpec.pooled(), (32,)), (MAX, (32,)), (CLS, (32,))):
        assert model.embed(image, output=output).shape == shape


def test_any_bands_with_their_statistics_and_wavelengths():
    image = nine(64)
    few = small(bands=("nir", "red"))
    assert few.inputs[0].values("wavelength_um") == (0.842, 0.665)
    seen = few.prepare([Sample({"s2": image[None, [6, 0]]})]).image[0]
    whole = small().prepare([Sample({"s2": image[None]})]).image[0]
    assert torch.equal(seen, whole[[6, 0]])
    one, turned = few.embed(image[[6, 0]]).data, small(bands=("red", "nir")).embed(image[[0, 6]]).data
    assert one == pytest.approx(turned, abs=1e-5)
    assert not np.allclose(one, small().embed(image).data, atol=1e-2)
    labelled = cube(image[None], bands=NINE, frames=months(1))
    assert few.embed(labelled).data == pytest.approx(one, abs=1e-6)
    with pytest.raises(UnknownNameError, match="band of s2 = 'coastal'"):
        small(bands=("coastal",))
    assert small(modality="s1", bands=("vv",)).embed(radar(64)[1:]).shape == (32,)
    with pytest.raises(ModelInputError, match="9 bands are needed"):
        small().embed(image[:3])


def embedding(encoder):
    """The patch embedding as a function of pixels and wavelengths."""
    return lambda image, waves: encoder.patch_embed(image, waves, partial(encoder._codes, waves))


def test_kernels_follow_wavelengths_and_ignore_order():
    embed = embedding(small().encoder)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    waves = (0.665, 0.56, 0.49)
    with torch.inference_mode():
        known = embed(image, waves)
        turned = embed(image.flip(1), waves[::-1])
        moved = embed(image, tuple(um + 0.1 for um in waves))
    assert torch.allclose(known, turned, atol=1e-5)
    assert not torch.allclose(known, moved, atol=1e-2)


def test_patches_begin_one_pixel_up_and_left():
    embed = embedding(small().encoder)
    waves = (0.665,)
    image = torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        blank = embed(image, waves)
        assert blank.shape == (1, 4, 4, 32)
        for pixel, cell in ((15, 1), (14, 0), (62, 3), (63, None)):
            lit = image.clone()
            lit[..., pixel, pixel] = 1
            changed = (embed(lit, waves) != blank).any(-1).nonzero().tolist()
            assert changed == ([] if cell is None else [[0, cell, cell]])


@pytest.mark.parametrize(
    ("scale", "known"), [("satlas8", (3000 / 3558, 1.0, 4080 / 8160)), ("rs_embed", (0.3, 0.9, 0.408))]
)
def test_the_8_bit_scale_is_an_option(scale, known):
    image = np.zeros((1, 9, 64, 64), np.float32)
    image[0, 0], image[0, 1], image[0, 6] = 3000, 9000, 4080
    seen = small(scale=scale).prepare([Sample({"s2": image})]).image[0, [0, 1, 6], 5, 5]
    mean, std = (114.1099739, 114.81779093, 101.435633), (77.84352553, 69.96844919, 60.29744676)
    wanted = [(255 * share - m) / s for share, m, s in zip(known, mean, std, strict=True)]
    assert seen.tolist() == pytest.approx(wanted, rel=1e-5)


def test_radar_becomes_8_bit_amplitude():
    image = np.stack([np.full((64, 64), -20.0), np.full((64, 64), -10.0)]).astype(np.float32)[None]
    seen = small(modality="s1").prepare([Sample({"s1": image})]).image[0, :, 5, 5].tolist()
    assert seen == pytest.approx([(60 - 88.45542715) / 43.07350145, (189.73666 - 166.36275909) / 64.83126309], rel=1e-4)
    other = small(modality="s1", s1_statistics="labelled").prepare([Sample({"s1": image})]).image[0, :, 5, 5].tolist()
    assert other == pytest.approx(
        [(60 - 166.36275909) / 64.83126309, (189.73666 - 88.45542715) / 43.07350145], rel=1e-4
    )
    assert small(modality="s1", s1_wavelength_um=5.405).inputs[0].values("wavelength_um") == (5.405, 5.405)
    assert small(modality="s1").inputs[0].values("wavelength_um") == (3.75, 3.75)


def test_the_norm_of_the_mean_is_an_option():
    model, other = small(), small(pool_norm="file")
    image = nine(64)
    tokens = model.embed(image, output=GRID).data
    assert np.array_equal(tokens, other.embed(image, output=GRID).data)
    mean = tokens.mean((1, 2))
    plain = (mean - mean.mean()) / np.sqrt(mean.var() + 1e-6)
    assert model.embed(image).data == pytest.approx(plain, abs=1e-5)
    norm = model.encoder.norm
    known = plain * norm.weight.numpy() + norm.bias.numpy()
    assert other.embed(image).data == pytest.approx(known, abs=1e-5)
    assert model.embed(image, output=MAX).data == pytest.approx(tokens.max((1, 2)), abs=1e-6)


def test_a_batch_equals_its_items_and_tiles_their_images():
    model = small()
    images = np.stack([nine(50, seed) for seed in range(3)])[:, None]
    for output in (GRID, OutputSpec.pooled(), CLS):
        alone = np.stack([model.embed(image, output=output).data for image in images])
        assert model.embed(images, output=output).data == pytest.approx(alone, abs=3e-6)
    whole = model.embed(nine(128), output=GRID, prep=InputPrep.tile()).data
    assert whole[:, 4:, :4] == pytest.approx(model.embed(nine(128)[:, 64:, :64], output=GRID).data, abs=3e-6)


def test_tokens_are_in_raster_order_and_on_the_ground():
    model = small()
    image = np.full((9, 64, 64), 2000.0)
    base = model.embed(image, output=GRID).data
    image[:, 16:32, 48:64] += nine(16)
    moved = np.abs(model.embed(image, output=GRID).data - base).sum(0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)
    values = scene(1, 9, 96)
    values[:, 0, :24] = np.nan
    (features,) = model.embed_cubes([{"s2": cube(values, bands=NINE, place=grid(96, 96), frames=months(1))}], GRID)
    assert features.grid.transform == (240, 0, 600_000, 0, -240, 5_700_000)
    assert features.filled_fraction == pytest.approx(1 / 36)
    assert features.notes == ("2.8% of values filled",)


def test_bfloat16_keeps_the_kernels_in_float32():
    full, half = small(), small(dtype="bfloat16")
    image = nine(64)
    one, other = (np.asarray(model.embed(image).data, np.float64) for model in (full, half))
    assert not np.array_equal(one, other)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.999
