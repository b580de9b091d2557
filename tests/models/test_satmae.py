import numpy as np
import pytest
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import scene

GRID = OutputSpec.grid()


@pytest.fixture(scope="module")
def small():
    config = {"dim": 32, "depth": 2, "heads": 4, "size": 64}
    return lambda **choices: load_model("satmae", weights="random", config=config, device="cpu", **choices)


def rgb(side, seed=0):
    return scene(1, 3, side, seed)[0]


@pytest.mark.parametrize("side", [20, 64, 150])
def test_any_image_takes_the_networks_size(small, side):
    model = small()
    assert model.embed(rgb(side)).shape == (32,)
    assert model.embed(rgb(side), output=GRID).shape == (32, 4, 4)


def test_what_the_network_sees(small):
    from rs_embed_dask.preprocess.samples import Sample

    image = np.zeros((1, 3, 64, 64), np.float32)
    image[0, 0], image[0, 1], image[0, 2] = 12_000, 5_000, -50
    seen = small().prepare([Sample({"rgb": image})]).image[0, :, 0, 0]
    mean, std = (0.4182007, 0.4214799, 0.3991276), (0.2877428, 0.2754177, 0.2764018)
    known = [(value / 255 - m) / s for value, m, s in zip((255, 127, 0), mean, std, strict=True)]
    assert seen.tolist() == pytest.approx(known, rel=1e-6)


def test_the_resize_is_an_option(small):
    values = {how: small(resize=how).embed(rgb(150)).data for how in ("pillow", "float", "crop")}
    assert np.linalg.norm(values["pillow"] - values["float"]) < 0.1 * np.linalg.norm(values["pillow"])
    assert not np.allclose(values["pillow"], values["float"], atol=1e-6)
    assert not np.allclose(values["crop"], values["float"], atol=1e-4)


def test_the_norms_epsilon_is_an_option(small):
    assert small(norm_eps=1e-5).encoder.norm.eps == 1e-5
    assert small().encoder.blocks[0].norm1.eps == 1e-6


def test_the_class_token_is_left_out(small):
    model = small()
    image = rgb(64)
    grid = model.embed(image, output=GRID).data
    assert model.embed(image).data == pytest.approx(grid.mean((1, 2)), abs=1e-6)
    assert model.embed(image, output=OutputSpec.pooled("max")).data == pytest.approx(grid.max((1, 2)), abs=1e-6)
    assert not np.allclose(model.embed(image, output=OutputSpec.pooled("cls")).data, grid.mean((1, 2)), atol=1e-2)


def test_tokens_are_in_raster_order(small):
    model = small()
    image = np.full((3, 64, 64), 2000.0)
    base = model.embed(image, output=GRID).data
    image[:, 16:32, 48:64] += scene(1, 3, 16)[0]
    moved = np.abs(model.embed(image, output=GRID).data - base).sum(0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)


def test_a_batch_equals_its_items(small):
    model = small()
    images = np.stack([rgb(150, seed) for seed in range(4)])[:, None]
    together = model.embed(images, output=GRID).data
    alone = np.stack([model.embed(image, output=GRID).data for image in images])
    assert together == pytest.approx(alone, abs=2e-6)


def test_tiles_equal_their_own_images(small):
    model = small()
    image = rgb(128)
    whole = model.embed(image, output=GRID, prep=InputPrep.tile()).data
    assert whole.shape == (32, 8, 8)
    corner = model.embed(image[:, 64:, :64], output=GRID).data
    assert whole[:, 4:, :4] == pytest.approx(corner, abs=2e-6)


def test_bands_in_another_order_are_another_image(small):
    image = rgb(64)
    assert not np.allclose(small().embed(image).data, small().embed(image[::-1]).data, atol=1e-3)


def test_the_published_sizes():
    from rs_embed_dask.models import card, factory

    with torch.device("meta"):
        encoder = factory("satmae")(**dict(card("satmae").variant(None).config))
    assert sum(tensor.numel() for tensor in encoder.state_dict().values()) == 303_301_632
