import datetime as dt
import math

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError, NoImageryError
from rs_embed_dask.models.anysat import _buckets, _reordered, scaled
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, months
from tests.models.series_families import pixels, small
from tests.parity.cases import SHARED

GRID, MEAN, CLS = OutputSpec.grid(), OutputSpec.pooled("mean"), OutputSpec.pooled("cls")
SIDE = {"dates": ["2022-03-05", "2022-07-17"]}
REAL = SHARED / "data" / "anysat" / "treesatai_sample.npz"
INSIDE = slice(2, 302)


def made():
    """A sample of TreeSatAI's layout: an aerial image, and a year of optical and of radar images."""
    generator = np.random.default_rng(0)
    first = np.datetime64("2020-01-02")
    radar = generator.gamma(2, 0.05, (60, 2, 6, 6))
    return {
        "aerial": generator.integers(20, 200, (4, 304, 304), dtype=np.uint8),
        "s2": generator.gamma(2, 900, (146, 10, 6, 6)).astype(np.uint16),
        "s2_days": (first + np.arange(146) * 5 // 2).astype("U10"),
        "s1": np.concatenate([radar, radar[:, :1] / radar[:, 1:]], axis=1).astype(np.float32),
        "s1_days": (first + np.arange(60) * 6).astype("U10"),
    }


def samples():
    """The real sample where its folder is there, and always the made one."""
    given = {"made": made()}
    if REAL.exists():
        with np.load(REAL) as stored:
            given["real"] = {name: stored[name] for name in stored.files}
    return given


SAMPLES = samples()


@pytest.fixture(params=SAMPLES)
def sample(request):
    return SAMPLES[request.param]


def given(sample):
    """What the model takes: images by modality, and dates of each."""
    images = {name: sample[name].astype(np.float32) for name in ("s2", "s1")}
    images["aerial"] = sample["aerial"][None, :, INSIDE, INSIDE].astype(np.float32)
    return images, {name: sample[f"{name}_days"].tolist() for name in ("s2", "s1")}


def test_the_sample_has_the_layout_of_the_data_set(sample):
    shapes = {"aerial": (4, 304, 304), "s2": (146, 10, 6, 6), "s1": (60, 3, 6, 6), "s2_days": (146,), "s1_days": (60,)}
    assert {name: sample[name].shape for name in shapes} == shapes
    assert {name: sample[name].dtype.kind for name in shapes} == dict(zip(shapes, "uufUU", strict=True))
    assert (sample["s2_days"][1:] > sample["s2_days"][:-1]).all()


def test_treesatai_goes_through_the_authors_own_contract(sample):
    """The published input is standardised arrays and the days of each series, 1 January being 1."""
    images, dates = given(sample)
    choices = {"scale": "demo", "radar": "linear", "first_day": 1, "patch_px": 3}
    model = small("anysat", modality="s2+s1+aerial", **choices)
    tile = model.embed(images, dates=dates, output=CLS).data
    grid = model.embed(images, dates=dates, output=GRID).data
    assert tile.shape == (64,)
    assert grid.shape == (64, 2, 2)
    assert np.isfinite(grid).all()
    plain = {}
    for inputs in model.inputs:
        mean, std = (np.float32(dict(inputs.per_band)[name])[:, None, None] for name in ("mean", "std"))
        plain[inputs.modality] = torch.from_numpy((images[inputs.modality] - mean) / std)[None]
    batch = Batch({name: plain[name] for name in ("s2", "s1", "aerial")})
    days = {name: [dt.date.fromisoformat(day) for day in listed] for name, listed in dates.items()}
    batch.dates_of = {name: torch.tensor([[(d.year, d.month, d.day) for d in own]]) for name, own in days.items()}
    by_hand = model.tokens(batch)
    assert batch.calendar(model.encoder._day, "s2")[0, 0].item() == days["s2"][0].timetuple().tm_yday
    assert by_hand.cls[0].numpy() == pytest.approx(tile, abs=1e-5)
    assert by_hand.patches[0].permute(2, 0, 1).numpy() == pytest.approx(grid, abs=1e-5)


def test_each_series_of_the_sample_counts():
    images, dates = given([*SAMPLES.values()][-1])
    model = small("anysat", modality="s2+s1+aerial", radar="linear", patch_px=3)
    base = model.embed(images, dates=dates, output=CLS).data
    for name in images:
        other = images | {name: images[name][..., ::-1].copy()}
        assert not np.allclose(model.embed(other, dates=dates, output=CLS).data, base, atol=1e-5)
    for name in dates:
        later = [str(np.datetime64(day) + 9) for day in dates[name]]
        assert not np.allclose(model.embed(images, dates=dates | {name: later}, output=CLS).data, base, atol=1e-5)
    with pytest.raises(ModelInputError, match="dates = 59: there are 60 frames"):
        model.embed(images, dates=dates | {"s1": dates["s1"][1:]})
    with pytest.raises(ModelInputError, match="dates: the model needs it"):
        model.embed(images)


def test_distances_fall_into_four_buckets():
    buckets = _buckets((1, 7), torch.device("cpu"))
    assert buckets[1].tolist() == [7, 3, 4, 5, 5, 6, 6, 6]
    assert set(buckets[0].tolist()) == {7}
    assert _buckets((2, 2), torch.device("cpu"))[1].tolist() == [7, 3, 4, 4, 4]


def test_sub_patches_are_ordered_by_cells_and_back():
    raster = torch.arange(36.0).view(1, 1, 1, 6, 6, 1)  # two cells of three each way
    cells = _reordered(raster, (2, 3, 2, 3))
    assert cells.flatten()[:12].tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14, 3, 4, 5]
    assert torch.equal(_reordered(cells, (2, 2, 3, 3)), raster)


def test_a_dense_grid_is_finer_and_in_place():
    for modality, side, factor in (("s2", 8, 1), ("aerial", 4, 5)):
        model = small("anysat", modality=modality, grid="dense", patch_px=2)
        image = pixels("anysat", modality, side)
        told = SIDE if modality == "s2" else {}
        found = model.embed(image, output=GRID, **told).data
        assert found.shape == (128, side * factor, side * factor)
        patch = small("anysat", modality=modality, patch_px=2).embed(image, output=GRID, **told).data
        assert found[:64, :: 2 * factor, :: 2 * factor] == pytest.approx(patch, abs=1e-6)
    image = cube(pixels("anysat", "s2", 8)["s2"], bands=small("anysat").inputs[0].bands, frames=months(2))
    (features,) = small("anysat", grid="dense", patch_px=2).embed_cubes([{"s2": image}], GRID)
    assert features.grid.resolution_m == 10
    (tiled,) = small("anysat", grid="dense", patch_px=2, max_px=4).embed_cubes([{"s2": image}], GRID, InputPrep.tile())
    assert tiled.values.shape == (128, 8, 8)


def test_its_own_statistics_are_those_of_all_frames():
    model = small("anysat")
    images = torch.rand(2, 3, 10, 4, 4, generator=torch.Generator().manual_seed(0)) * 3000
    found = scaled(images, model.inputs[0])
    assert found.mean((1, 3, 4)).abs().max() < 1e-5
    assert torch.allclose(found.std((1, 3, 4), correction=0), torch.ones(2, 10), atol=1e-5)
    flat = scaled(torch.full((1, 1, 10, 2, 2), 5.0), model.inputs[0])
    assert torch.equal(flat, torch.zeros_like(flat))


def test_radar_in_db_becomes_linear_with_a_ratio():
    model = small("anysat", modality="s1")
    raw = np.stack([np.full((2, 2), -10.0), np.full((2, 2), -13.0)])[None].astype(np.float32)
    seen = model.prepare([Sample({"s1": raw}, (dt.date(2022, 1, 1),))]).images["s1"]
    assert seen[0, 0, :, 0, 0].tolist() == pytest.approx([0.1, 10**-1.3, 10**0.3], rel=1e-5)
    linear = small("anysat", modality="s1", radar="linear")
    assert linear.inputs[0].bands == ("vv", "vh", "ratio")


def test_days_are_counted_as_asked():
    days = {"dates": [dt.date(2020, 1, 1), dt.date(2020, 12, 31)]}
    numbers = {}
    for name, choices in {"0": {}, "1": {"first_day": 1}, "since": {"days_since": "2019-12-01"}}.items():
        encoder = small("anysat", **choices).encoder
        numbers[name] = [encoder._day(day) for day in days["dates"]]
    assert numbers == {"0": [0, 365], "1": [1, 366], "since": [31, 396]}


def test_dates_are_coded_by_sine_and_cosine_in_turn():
    series = small("anysat").encoder.projector_s2["patch_embed"]
    kept = []
    series._pixels = lambda x, code: kept.append(code) or torch.zeros(len(x), 64)
    series(torch.zeros(1, 1, 10, 1, 1), torch.tensor([[100.0]]))
    angles = [100 / 367 ** (2 * i / 4) for i in range(2)]
    known = [f(angle) for angle in angles for f in (math.sin, math.cos)]
    assert kept[0][0, 0].tolist() == pytest.approx(known * 16, abs=1e-6)


def test_empty_frames_are_left_out_of_their_own_series():
    model = small("anysat", modality="s2+s1")
    image = pixels("anysat", "s2+s1", 2)
    image["s2"][1] = np.nan
    found = model.embed(image, **SIDE)
    assert found.meta["notes"] == ["1 of 2 frames of s2 empty: left out"]
    assert found.meta["valid_fraction"] == pytest.approx([1, 2 / 12])
    short = {"s2": image["s2"][:1], "s1": image["s1"]}
    alone = model.embed(short, dates={"s2": SIDE["dates"][:1], "s1": SIDE["dates"]})
    assert found.data == pytest.approx(alone.data, abs=1e-6)
    image["s1"][:] = np.nan
    with pytest.raises(NoImageryError, match="a modality has no frame"):
        model.embed(image, **SIDE)


def test_the_number_of_frames_and_their_days_matter():
    model, image = small("anysat"), pixels("anysat", "s2", 2)
    base = model.embed(image, output=CLS, **SIDE).data
    assert not np.allclose(model.embed(image, output=CLS, dates=["2022-04-05", "2022-07-17"]).data, base, atol=1e-4)
    twice = {"s2": image["s2"].repeat(2, axis=0)}
    days = np.repeat(SIDE["dates"], 2).tolist()
    assert np.isfinite(model.embed(twice, output=CLS, dates=days).data).all()
    assert not np.allclose(model.embed(image, output=MEAN, **SIDE).data, base, atol=1e-4)


def test_what_does_not_fit_is_refused():
    model = small("anysat", modality="s2+aerial")
    image = pixels("anysat", "s2+aerial", 2)
    with pytest.raises(ModelInputError, match="the modalities do not cover the same patches"):
        model.embed(image | {"aerial": image["aerial"][..., :50, :50]}, dates={"s2": SIDE["dates"]})
    with pytest.raises(ModelInputError, match="the model takes one frame"):
        model.embed(image | {"aerial": image["aerial"].repeat(2, axis=0)}, **SIDE)
    with pytest.raises(ModelInputError, match="not a whole number of patches of 20 m"):
        small("anysat", patch_px=2, size_px=3).embed(pixels("anysat", "s2", 3), **SIDE)


def test_modalities_of_which_there_are_no_arrays_are_left_out_as_by_the_authors():
    both, alone = small("anysat", modality="s2+s1"), small("anysat", modality="s2")
    shared = {name: value for name, value in both.encoder.state_dict().items() if not name.startswith("projector_s1")}
    alone.encoder.load_state_dict(shared)
    images = pixels("anysat", "s2+s1", 4)
    with pytest.warns(UserWarning, match=r"anysat: s1: left out; modality= of load_model says so"):
        found = both.embed({"s2": images["s2"]}, output=CLS, **SIDE)
    np.testing.assert_allclose(found.data, alone.embed(images["s2"], output=CLS, **SIDE).data, atol=1e-6)
    assert not np.allclose(found.data, both.embed(images, output=CLS, **SIDE).data, atol=1e-4)
    assert found.meta["modality"] == "s2"
    with pytest.raises(ModelInputError, match="s2 is not there"):
        small("anysat", modality="s2").embed({"s1": images["s1"]}, output=CLS, **SIDE)


def test_a_band_that_is_missing_is_refused_with_the_reason():
    model, labelled = small("anysat"), cube(pixels("anysat", "s2", 2)["s2"]).to_xarray()
    with pytest.raises(ModelInputError, match=r"no swir22, and the authors' code has no rule for a missing band"):
        model.embed(labelled.isel(band=slice(9)), output=CLS)


def test_many_pixels_and_patches_go_in_parts(monkeypatch):
    model, image = small("anysat", patch_px=2), pixels("anysat", "s2", 4)
    whole = model.embed(image, output=GRID, **SIDE).data
    monkeypatch.setattr("rs_embed_dask.models.anysat._VALUES", 800)
    assert model.embed(image, output=GRID, **SIDE).data == pytest.approx(whole, abs=1e-5)
