import datetime as dt

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import LicenceError, ModelInputError, SpecError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.models.olmoearth import _axial, _turning
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample, from_cubes
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models.conftest import cube, months
from tests.models.series_families import pixels, small

GRID = OutputSpec.grid()
SIDE = {"dates": ["2022-03-05", "2022-07-17"]}
VERSIONS = ["nano_v1", "nano_v1_1", "nano_v1_2", "base_v1_3"]


def batch(frames=2, *, days=((2022, 3, 5), (2022, 7, 17)), gsd=10.0):
    images = torch.randn(1, frames, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch({"s2": images}, dates=torch.tensor([days[:frames]]), gsd_m=torch.tensor([gsd]))


def test_variants_and_their_names():
    found = card("olmoearth")
    assert found.variant(None).name == "nano_v1_2"
    plain = {size: found.variant(size).name for size in ("nano", "tiny", "small", "base", "large")}
    assert plain == {size: f"{size}_v1_2" for size in plain} | {"large": "large_v1"}
    assert found.variant("OlmoEarth-v1_3-Base").weights.repo == "allenai/OlmoEarth-v1_3-Base"
    assert ModelSpec.of("olmoearth:tiny_v1:s1").label == "olmoearth-tiny_v1-s1"


def test_the_terms_must_be_accepted(tmp_path):
    with pytest.raises(LicenceError, match="OlmoEarth Artifact License"):
        load_model("olmoearth", weights=tmp_path / "a.pth", device="cpu")


@pytest.mark.parametrize("variant", VERSIONS)
def test_versions_differ_in_tokens_and_in_what_tells_time_and_place(variant):
    model = small("olmoearth", variant=variant)
    base = model.tokens(batch())
    assert base.extra["sentinel2_l2a"].shape == (1, 2, 2, 2, 3 if variant == "nano_v1" else 1, 32)
    far = model.tokens(batch(gsd=20.0)).patches
    assert not torch.allclose(far, base.patches, atol=1e-3)
    year = model.tokens(batch(days=((2022, 3, 5), (2023, 7, 17)))).patches
    relative = variant in {"nano_v1_2", "base_v1_3"}
    assert torch.allclose(year, base.patches, atol=1e-5) != relative
    later = model.tokens(batch(days=((2023, 3, 5), (2023, 7, 17)))).patches
    assert torch.allclose(later, base.patches, atol=1e-3)


@pytest.mark.parametrize("variant", VERSIONS)
def test_hidden_frames_count_for_nothing(variant):
    model = small("olmoearth", variant=variant)
    image = pixels("olmoearth", "s2", 8)["s2"]
    image[1] = np.nan
    day = tuple(map(dt.date.fromisoformat, SIDE["dates"]))
    full = {"s2": pixels("olmoearth", "s2", 8, seed=1)["s2"]}
    samples = [Sample({"s2": image}, day), Sample(full, day)]
    gap, _ = model.embed_samples(samples, GRID)
    alone = model.embed(image[:1], dates=SIDE["dates"][:1], output=GRID).data
    assert gap.values == pytest.approx(alone, abs=3e-6)
    assert gap.notes == ("1 of 2 frames of s2 empty: hidden",)


def test_several_modalities_are_averaged_place_by_place():
    model = small("olmoearth", variant="nano_v1", modality="s2+s1")
    image = pixels("olmoearth", "s2+s1", 8)
    seen = model.tokens(model.prepare([Sample(image, tuple(map(dt.date.fromisoformat, SIDE["dates"])))]))
    parts = [seen.extra[name][0] for name in ("sentinel2_l2a", "sentinel1")]
    grid = model.embed(image, output=GRID, **SIDE).data
    assert grid == pytest.approx(sum(part.mean((2, 3)) for part in parts).permute(2, 0, 1).numpy() / 2, abs=1e-5)
    every = torch.cat([part.flatten(0, -2) for part in parts]).mean(0)
    assert model.embed(image, **SIDE).data == pytest.approx(every.numpy(), abs=1e-5)
    image["s1"][1] = np.nan
    assert np.isfinite(model.embed(image, output=GRID, **SIDE).data).all()


def test_vectors_of_version_1_3():
    kinds = {"tokens": 32, "location": 32, "student": 128}
    image = pixels("olmoearth", "s2", 8)
    made = {}
    for kind, dim in kinds.items():
        model = small("olmoearth", variant="base_v1_3", vectors=kind)
        made[kind] = model.embed(image, output=GRID, **SIDE).data
        assert made[kind].shape == (dim, 2, 2)
        assert card("olmoearth").dim(model.spec) == {32: 768, 128: 128}[dim]
    assert not np.allclose(made["tokens"], made["location"], atol=1e-2)
    model = small("olmoearth", variant="base_v1_3")
    assert made["student"] == pytest.approx(_student(model, made["location"]), abs=1e-5)
    with pytest.raises(SpecError, match=r"vectors = 'student': only version 1\.3"):
        small("olmoearth", vectors="student")


def _student(model, located):
    with torch.inference_mode():
        return model.encoder.attention_pooler.student(torch.from_numpy(located).movedim(0, -1)).movedim(-1, 0).numpy()


def test_turning_keeps_lengths_and_sees_differences_only():
    x = torch.randn(1, 1, 3, 8, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [3.0, 5.0]]])
    near, far = (_turning(_axial(where, 8))(x) for where in (places, places + 7))
    assert torch.allclose(near.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.allclose(near @ near.mT, far @ far.mT, atol=1e-4)
    quarter = _turning(torch.full((1, 1, 1, 1), torch.pi / 2))(torch.tensor([[[[1.0, 0.0]]]]))
    assert quarter[0, 0, 0].tolist() == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("patch_px", [1, 2, 3, 8])
def test_patches_of_any_size(patch_px):
    for variant in ("nano_v1", "nano_v1_2"):
        model = small("olmoearth", variant=variant, patch_px=patch_px)
        found = model.embed(pixels("olmoearth", "s2", 2 * patch_px), output=GRID, **SIDE)
        assert found.shape == (32, 2, 2)


def test_sizes_and_their_limits():
    image = pixels("olmoearth", "s2", 20)
    assert small("olmoearth", max_px=12).embed(image, output=GRID, **SIDE).shape == (32, 3, 3)
    assert small("olmoearth", size_px=28).embed(image, output=GRID, **SIDE).shape == (32, 7, 7)
    with pytest.raises(ModelInputError, match=r"sides = \(25, 25\): not a multiple of patch_px = 4"):
        small("olmoearth", size_px=25).embed(image, **SIDE)


def test_a_frame_has_the_date_of_its_first_day_and_every_item_its_own():
    model = small("olmoearth")
    image = cube(pixels("olmoearth", "s2", 8)["s2"], bands=model.inputs[0].bands, frames=months(2))
    assert from_cubes({"s2": image}, model.inputs).dates == (dt.date(2022, 1, 1), dt.date(2022, 2, 1))


def test_other_grids_are_refused():
    model = small("olmoearth", modality="s2+s1")
    image = pixels("olmoearth", "s2+s1", 8)
    with pytest.raises(ModelInputError, match="the modalities do not cover the same patches"):
        model.embed(image | {"s1": image["s1"][..., :4, :4]}, **SIDE)
