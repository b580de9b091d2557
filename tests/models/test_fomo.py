from dataclasses import replace

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError, SpecError, UnknownNameError
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import OutputSpec
from tests.models.series_families import pixels, small

GRID = OutputSpec.grid()


def test_every_channel_has_its_key():
    keys = {key: one.modality for one in card("fomo").inputs for key in one.values("key")}
    assert sorted(keys) == [*range(16), *range(17, 37)]
    assert all(len(one.values("key")) == len(one.bands) for one in card("fomo").inputs)


def test_the_key_chooses_the_code_and_the_order_does_not_matter():
    image = pixels("fomo", "s2", 64)["s2"]
    pair = small("fomo", bands=("red", "nir")).embed(image[:, [3, 7]]).data
    turned = small("fomo", bands=("nir", "red")).embed(image[:, [7, 3]]).data
    assert pair == pytest.approx(turned, abs=2e-6)
    swapped = small("fomo", bands=("red", "nir")).embed(image[:, [7, 3]]).data
    assert not np.allclose(pair, swapped, atol=1e-4)
    with pytest.raises(UnknownNameError, match="band of s2 = 'cirrus'"):
        small("fomo", bands=("cirrus",))


def test_scales():
    image = pixels("fomo", "s2", 64)
    plain, bright = small("fomo"), small("fomo", scale="reflectance")
    seen = [model.prepare([Sample(image)]).image[0, 1, 0, 0].item() for model in (plain, bright)]
    raw = float(image["s2"][0, 1, 0, 0])
    assert seen == pytest.approx([(raw - 884.29673756) / 1155.15170768, raw / 10_000], abs=1e-6)


def test_a_smaller_image_takes_the_first_positions():
    image = torch.randn(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    model = small("fomo")
    given = {"s2": replace(model.inputs[0], per_band=(("key", (6, 16)),))}
    tokens = model.tokens(Batch({"s2": image}, given))
    assert tokens.patches.shape == (1, 2, 2, 2, 32)
    with torch.inference_mode():
        model.encoder.pos_embedding[0, 5:] *= -1
        assert torch.equal(model.tokens(Batch({"s2": image}, given)).patches, tokens.patches)
        model.encoder.pos_embedding[0, 4] *= -1
        assert not torch.allclose(model.tokens(Batch({"s2": image}, given)).patches, tokens.patches, atol=1e-3)
    wide = Batch({"s2": torch.zeros(1, 1, 2, 80, 80)}, given)
    with pytest.raises(ModelInputError, match="patches = 25: the model knows 16 positions"):
        model.tokens(wide)
    assert small("fomo", size_px=32).embed(pixels("fomo", "s2", 70), output=GRID).shape == (32, 2, 2)
    with pytest.raises(SpecError, match="size_px = 80: not a choice"):
        small("fomo", size_px=80)


def test_channels_may_be_kept_apart():
    model = small("fomo")
    tokens = model.tokens(Batch({"s2": torch.randn(1, 1, 12, 64, 64)}, {"s2": model.inputs[0]}))
    apart = tokens.extra["grid_concat"].unflatten(1, (32, 12))  # d * C + channel
    assert torch.allclose(apart.mean(2).permute(0, 2, 3, 1), tokens.patches.mean(3), atol=1e-5)
    assert torch.equal(apart[0, :, 5, 1, 2], tokens.patches[0, 1, 2, 5])
