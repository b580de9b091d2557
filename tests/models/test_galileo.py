import datetime as dt

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.positions import plane, sincos
from rs_embed_dask.models.vit import resample_kernel
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, grid, months, scene
from tests.parity.cases import NUMBERS

GRID = OutputSpec.grid()


def months_batch(images, month, gsd=10.0):
    count, frames = next(iter(images.values())).shape[:2]
    dates = torch.tensor([2022, month, 15]).expand(count, frames, 3)
    return Batch(images, dates=dates, gsd_m=torch.full((count,), gsd))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_tables_of_the_published_file_are_these_formulas():
    known = np.load(NUMBERS / "galileo" / "parity.npz")
    time = sincos(torch.arange(24), 32, spread=0.25)
    assert np.allclose(time.numpy(), known["constant/pos_embed"], atol=2e-6)


def test_a_plane_has_columns_first():
    code = plane((3, 5), 16, torch.tensor([1.0, 2.0]))
    assert code.shape == (2, 3, 5, 16)
    assert torch.equal(code[0, 0, :, :8], code[0, 2, :, :8])
    assert torch.equal(code[0, :, 0, 8:], code[0, :, 4, 8:])
    assert torch.allclose(code[1, 1, 1], code[0, 2, 2])


def test_a_resampled_kernel_sees_the_resized_patch():
    kernel = normal(4, 3, 8, 8)
    small = resample_kernel(kernel, 4)
    assert small.shape == (4, 3, 4, 4)
    patch = normal(1, 3, 8, 8, seed=1)
    shrunk = torch.nn.functional.interpolate(patch, (4, 4), mode="bicubic", antialias=True)
    back = torch.einsum("dcij,bcij->bd", small, shrunk)
    fine = torch.nn.functional.interpolate(shrunk, (4, 4))
    assert torch.allclose(back, torch.einsum("dcij,bcij->bd", small, fine))
    flat = torch.ones(1, 3, 8, 8)
    constant = torch.einsum("dcij->d", kernel.sum((2, 3), keepdim=True).expand(-1, -1, 1, 1))
    assert resample_kernel(kernel, 8) is kernel
    assert constant.shape == (4,)
    assert flat.sum() == 192


@pytest.mark.parametrize("modality", ["s2", "s1", "s2+s1"])
@pytest.mark.parametrize("frames", [1, 4])
def test_modalities_and_frames(galileo, modality, frames):
    model = galileo(modality=modality)
    data = {"s2": scene(frames), "s1": -scene(frames, 2) / 200}
    given = {name: data[name] for name in modality.split("+")}
    days = [f"2022-{month:02}-10" for month in range(1, frames + 1)]
    pooled = model.embed(given, dates=days).data
    tokens = model.embed(given, dates=days, output=GRID).data
    assert pooled.shape == (32,)
    assert tokens.shape == (32, 4, 4)
    assert tokens.mean((1, 2)) == pytest.approx(pooled, abs=1e-5)


@pytest.mark.parametrize("patch_px", [1, 2, 4, 8])
def test_patches_of_any_size(galileo, patch_px):
    data = galileo(patch_px=patch_px).embed(scene(1, side=16), dates=["2022-06-01"], output=GRID).data
    assert data.shape == (32, 16 // patch_px, 16 // patch_px)


def test_a_batch_equals_its_items(galileo):
    model = galileo()
    generator = np.random.default_rng(3)
    samples = [
        Sample(
            {"s2": scene(3, seed=i)},
            dates=tuple(dt.date(2022, int(month), 10) for month in generator.integers(1, 13, 3)),
            resolution_m=float(generator.choice([5, 10, 20])),
        )
        for i in range(5)
    ]
    samples[2].pixels["s2"][1] = np.nan
    samples[4].pixels["s2"][:2] = np.nan
    together = model.embed_samples(samples, GRID)
    for sample, features in zip(samples, together, strict=True):
        (alone,) = model.embed_samples([sample], GRID)
        assert features.values == pytest.approx(alone.values, abs=2e-6)
        assert features.notes == alone.notes
    assert len({features.values.tobytes() for features in together}) == 5


def test_months_places_in_time_and_ground_size_matter(galileo):
    model = galileo()
    image = {"s2": normal(1, 2, 10, 16, 16)}
    outputs = [
        model.tokens(batch).patches
        for batch in (months_batch(image, 3), months_batch(image, 9), months_batch(image, 3, gsd=20.0))
    ]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)
    turned = model.tokens(months_batch({"s2": image["s2"].flip(1)}, 3)).patches
    assert not torch.allclose(outputs[0], turned, atol=1e-3)


def test_a_resize_changes_the_ground_size(galileo):
    image = np.full((1, 10, 30, 30), 1500.0, np.float32)
    model = galileo()
    resized = model.embed(image, dates=["2022-06-01"], resolution_m=16.0).data
    as_is = model.embed(np.full((1, 10, 32, 32), 1500.0), dates=["2022-06-01"], resolution_m=15.0).data
    assert resized == pytest.approx(as_is, abs=1e-6)


def test_a_hidden_frame_is_not_attended_and_keeps_its_place(galileo):
    model = galileo()
    image = normal(1, 3, 10, 16, 16)
    batch = months_batch({"s2": image}, 6)
    batch.visible = {"s2": torch.tensor([[True, False, True]])}
    one = model.tokens(batch)
    other_pixels = image.clone()
    other_pixels[:, 1] = 99.0
    batch.images = {"s2": other_pixels}
    assert torch.equal(one.patches, model.tokens(batch).patches)
    without = months_batch({"s2": image[:, [0, 2]]}, 6)
    assert not torch.allclose(one.patches, model.tokens(without).patches, atol=1e-4)
    hidden = one.extra["space_time"][0, :, :, 1]
    assert torch.equal(hidden, model.encoder.norm.bias.expand_as(hidden))


def test_a_mask_equals_leaving_tokens_out(galileo):
    model = galileo()
    image = normal(2, 3, 10, 16, 16)
    alone = months_batch({"s2": image[:1]}, 6)
    alone.visible = {"s2": torch.tensor([[True, False, True]])}
    mixed = months_batch({"s2": image}, 6)
    mixed.visible = {"s2": torch.tensor([[True, False, True], [True, True, True]])}
    assert torch.allclose(model.tokens(alone).patches, model.tokens(mixed).patches[:1], atol=1e-6)


def test_a_month_without_optical_data_still_has_radar(galileo):
    model = galileo(modality="s2+s1")
    optical, radar = scene(3), -scene(3, 2, seed=5) / 200
    optical[1] = np.nan
    cubes = {"s2": cube(optical), "s1": cube(radar, bands=("vv", "vh"), sensor="sentinel-1-rtc")}
    (features,) = model.embed_cubes([cubes])
    assert features.notes == ("1 of 3 frames of s2 empty: hidden",)
    assert features.valid_fraction.tolist() == pytest.approx([1, 2 / 12, 1])
    radar[:] = np.nan
    optical[:] = np.nan
    cubes = {"s2": cube(optical), "s1": cube(radar, bands=("vv", "vh"), sensor="sentinel-1-rtc")}
    assert type(model.embed_cubes([cubes])[0]).__name__ == "NoImageryError"


def test_other_groups_may_be_hidden(galileo):
    model = galileo()
    image = normal(1, 2, 10, 16, 16)
    batch = months_batch({"s2": image}, 6)
    batch.visible = {"S2_SWIR": torch.zeros(1, 2, dtype=torch.bool)}
    one = model.tokens(batch)
    changed = image.clone()
    changed[:, :, 8:] += 3
    batch.images = {"s2": changed}
    assert torch.equal(one.patches, model.tokens(batch).patches)


def test_maps_weather_and_places_count_in_every_patch(galileo):
    model = galileo()
    batch = months_batch({"s2": normal(1, 2, 10, 16, 16)}, 6)
    batch.images = {**batch.images, "space": normal(1, 16, 16, 16), "time": normal(1, 2, 6), "static": normal(1, 18)}
    tokens = model.tokens(batch)
    parts = tokens.extra
    shapes = {"space_time": (1, 2, 2, 2, 7, 32), "space": (1, 2, 2, 3, 32), "time": (1, 2, 3, 32), "static": (1, 4, 32)}
    assert {name: tuple(parts[name].shape) for name in shapes} == shapes
    seen = parts["space_time"][0, 0, 0][:, 1:6].flatten(0, 1)
    there = torch.cat([seen, parts["space"][0, 0, 0], parts["time"][0].flatten(0, 1), parts["static"][0]])
    assert torch.allclose(tokens.patches[0, 0, 0], there.mean(0), atol=1e-5)
    everything = [parts["space_time"][0][..., 1:6, :].reshape(-1, 32), parts["space"][0].reshape(-1, 32)]
    everything += [parts["time"][0].reshape(-1, 32), parts["static"][0]]
    assert torch.allclose(tokens.pooled[0], torch.cat(everything).mean(0), atol=1e-5)


def test_too_many_frames(galileo):
    with pytest.raises(ModelInputError, match=r"frames = 25.*24 positions"):
        galileo().tokens(months_batch({"s2": normal(1, 25, 10, 8, 8)}, 6))


def test_tiles_of_a_large_image_are_a_map(galileo):
    model = galileo(max_px=32)
    image = cube(scene(1, side=72), place=grid(72, 72), frames=months(1))
    (features,) = model.embed_cubes([{"s2": image}], GRID, InputPrep.tile())
    assert features.grid.shape == (9, 9)
    assert features.grid.resolution_m == 80
    (first,) = model.embed_cubes([{"s2": cube(image.values[..., :32, :32])}], GRID)
    assert features.values[:, :4, :4] == pytest.approx(first.values, abs=2e-6)


def test_size_limits(galileo):
    assert galileo().embed(scene(1, side=200), dates=["2022-06-01"], output=GRID).shape == (32, 12, 12)
    assert galileo(max_px=200).embed(scene(1, side=200), dates=["2022-06-01"], output=GRID).shape == (32, 25, 25)
    assert galileo().embed(scene(1, side=3), dates=["2022-06-01"], output=GRID).shape == (32, 1, 1)


def test_the_place_may_be_a_token(galileo):
    model = galileo(location=True)
    days = ["2022-06-01"]
    here, there = (model.embed(scene(1), dates=days, place=place).data for place in ((3.0, 51.0), (-70.0, -33.0)))
    assert not np.allclose(here, there, atol=1e-4)
    with pytest.raises(ModelInputError, match="place: the model needs it"):
        model.embed(scene(1), dates=days)
    batch = months_batch({"s2": normal(1, 1, 10, 8, 8)}, 6)
    whole = torch.zeros(1, 18)
    whole[0, 1:4] = torch.tensor([0.0, -1.0, 0.0])  # latitude 0, longitude -90
    batch.images = {**batch.images, "static": whole}
    batch.visible = {name: torch.tensor([False]) for name in ("LS", "DW_static", "WC_static")}
    given = galileo().tokens(batch)
    batch.images, batch.visible = {"s2": batch.images["s2"]}, {}
    batch.lonlat = torch.tensor([[-90.0, 0.0]])
    assert torch.allclose(model.tokens(batch).pooled, given.pooled, atol=1e-6)
