import numpy as np
import pytest
import torch

from rs_embed_dask.errors import WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.preprocess.steps import Percentile
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models.families import pixels, small

GRID, MEAN = OutputSpec.grid(), OutputSpec.pooled("mean")


def test_names_and_lengths():
    found = card("terrafm_b")
    assert found.id == "terrafm"
    assert [found.dim(ModelSpec("terrafm", name)) for name in ("base", "large")] == [768, 1024]
    with pytest.raises(WeightsError, match=r"get it from huggingface\.co/MBZUAI/TerraFM"):
        load_model("terrafm", variant="large", download=False)


def test_the_stem_is_that_of_the_level_unless_chosen():
    image = pixels("terrafm", "s2", 64)["s2"]
    l2a = small("terrafm").embed(image).data
    l1c = small("terrafm", modality="s2l1c").embed(image).data
    assert not np.allclose(l2a, l1c, atol=1e-3)
    assert np.array_equal(small("terrafm", stem="l1c").embed(image).data, l1c)
    assert np.array_equal(small("terrafm", stem="l2a", modality="s2l1c").embed(image).data, l2a)
    radar = pixels("terrafm", "s1", 64)
    chosen = small("terrafm", modality="s1", stem="l1c").embed(radar).data
    assert np.array_equal(chosen, small("terrafm", modality="s1").embed(radar).data)


def test_each_modality_has_its_sensor():
    sensors = {inputs.modality: inputs.sensors[0] for inputs in card("terrafm").inputs}
    assert sensors == {"s2": "sentinel-2-l2a", "s2l1c": "sentinel-2-l1c", "s1": "sentinel-1-rtc"}


def test_the_stems_are_what_the_card_says():
    stems = small("terrafm").encoder.patch_embed
    image = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    x = stems.conv2d_s1(image)[0, :, 1, 2] + stems.s1_embed[0]
    shared = stems.projection
    known = shared.proj3(shared.proj2(shared.norm_input(shared.proj1.weight @ x)))
    assert torch.allclose(stems(image, "s1")[0, 1, 2], known, atol=1e-5)
    assert shared.norm_input.eps == 1e-5
    assert small("terrafm").encoder.norm.eps == 1e-6


def test_optical_images_are_clipped_fractions():
    image = np.full((1, 12, 64, 64), 2500.0, np.float32)
    image[0, 0], image[0, 1] = 12_000, -100
    seen = small("terrafm").prepare([Sample({"s2": image})]).image[0, :, 0, 0]
    assert seen.tolist() == [1, 0] + [0.25] * 10


def test_radar_is_scaled_by_its_own_percentile():
    image = pixels("terrafm", "s1", 64, seed=3)["s1"]
    seen = small("terrafm", modality="s1").prepare([Sample({"s1": image})]).image.numpy()
    power = np.log1p(10 ** (image / 10))
    assert seen == pytest.approx(np.clip(power / np.percentile(power, 99), 0, 1), rel=1e-5)


@pytest.mark.parametrize("percent", [0, 2, 50, 99, 100])
def test_percentiles_are_numpys(percent):
    x = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(0)) + 5
    known = [np.percentile(image, percent) for image in x.numpy()]
    given = x / Percentile(percent).apply(x)
    assert given[:, 0, 0, 0].numpy() == pytest.approx(known, rel=1e-5)
    both = Percentile(98.0, 2.0).apply(x)
    low, high = np.percentile(x[1].numpy(), [2, 98])
    assert both[1].numpy() == pytest.approx((x[1].numpy() - low) / (high - low), abs=1e-5)
    assert Percentile(98.0, 2.0).apply(torch.full((1, 1, 2, 2), 7.0)).eq(0).all()
    assert Percentile(98.0).apply(torch.zeros(1, 1, 2, 2)).eq(0).all()


def test_rectangles_reach_the_positions():
    model = small("terrafm")
    image = torch.randn(1, 1, 12, 48, 96, generator=torch.Generator().manual_seed(0))
    tokens = model.tokens(Batch({"s2": image}))
    assert tokens.patches.shape == (1, 3, 6, 32)
    assert tokens.extra["tokens"].shape == (1, 19, 32)


def test_a_rectangle_is_reflected_or_stretched():
    image = pixels("terrafm", "s2", (64, 32))
    padded = small("terrafm").embed(image, output=GRID).data
    stretched = small("terrafm", rectangle="stretch").embed(image, output=GRID).data
    assert padded.shape == (32, 4, 2)
    assert stretched.shape == (32, 4, 4)


def test_the_vectors_are_those_of_the_tokens():
    model = small("terrafm")
    image = pixels("terrafm", "s2", 64)
    tokens = model.tokens(model.prepare([Sample({"s2": image["s2"]})]))
    assert model.embed(image).data == pytest.approx(tokens.extra["tokens"][0, 0].numpy(), abs=1e-6)
    assert model.embed(image, output=MEAN).data == pytest.approx(
        tokens.extra["tokens"][0, 1:].mean(0).numpy(), abs=1e-6
    )
