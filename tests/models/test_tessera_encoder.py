import datetime as dt

import numpy as np
import pytest
import torch
import xarray as xr

from rs_embed_dask.errors import ModelInputError, NoImageryError, SpecError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.date_choice import chosen, drawn, split, spread
from rs_embed_dask.models.tessera_encoder import _Gru, coded, stored_radar
from rs_embed_dask.specs import OutputSpec

GRID = OutputSpec.grid()
SIZES = {"dim": 16, "depth": 1, "heads": 2, "hidden": 24}
FRAMES = {"s2": 11, "s1-asc": 4, "s1-desc": 3}
BANDS = {"s2": 10, "s1-asc": 2, "s1-desc": 2}
ALL = tuple(FRAMES)


def small(variant="v2-nano", **choices):
    config = SIZES | ({"out": 130} if variant.startswith("v1.1") else {})
    return load_model("tessera_encoder", variant=variant, weights="random", device="cpu", config=config, **choices)


def pixels(side=3, names=ALL, seed=0):
    """Images (T, C, H, W) of each modality, without gaps."""
    generator = np.random.default_rng(seed)
    ranges = {"s2": (200, 4000)}
    shapes = {name: (FRAMES[name], BANDS[name], side, side) for name in names}
    return {n: generator.uniform(*ranges.get(n, (-20, -5)), shape).astype(np.float32) for n, shape in shapes.items()}


def days(names=ALL, first=0):
    start = dt.date(2022, 1, 3)
    return {name: [start + dt.timedelta(first + 20 * i) for i in range(FRAMES[name])] for name in names}


def grid(model, images, **more):
    """Vectors (H, W, D)."""
    return np.moveaxis(model.embed(images, output=GRID, dates=days(images), **more).data, 0, -1)


@pytest.mark.parametrize(
    ("rule", "count", "numbers"),
    [
        (spread, 0, [-1] * 8),
        (spread, 3, [0, 1, 2, 0, 1, 1, 1, 2]),
        (spread, 6, [0, 1, 2, 3, 4, 5, 2, 3]),
        (spread, 8, list(range(8))),
        (split, 0, [-1]),
        (split, 3, [0, 1, 2, 0, 1, 2, 0, 1]),
        (split, 6, [0, 1, 2, 3, 4, 5, 1, 4]),
        (split, 7, [0, 1, 2, 3, 4, 5, 6, 3]),
        (split, 16, list(range(16))),
    ],
)
def test_dates_are_padded_by_the_version_s_rule(rule, count, numbers):
    assert rule(count).tolist() == numbers


def test_of_more_than_256_dates_as_many_are_taken():
    assert spread(512).tolist() == list(range(1, 512, 2))
    assert split(511).tolist() == [int(step * 510 / 255) for step in range(256)]
    assert len(spread(300)) == len(split(300)) == 256


def test_only_valid_dates_are_chosen():
    valid = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    numbers, lengths = chosen(valid, "split")
    assert lengths.tolist() == [8, 1, 8]
    assert numbers[0].tolist() == [1, 3, 4, 1, 3, 4, 1, 3]
    assert numbers[1, 0] == 5  # the row of zeros behind the last date
    assert numbers[2].tolist() == [0, 1, 2, 3, 4, 1, 3, 4]


def test_forty_dates_are_drawn_with_repeats_only_where_there_are_fewer():
    candidates = np.ones((2, 50), bool)
    candidates[1, 3:] = False
    rows = drawn(candidates, np.random.RandomState(3))
    assert len(set(rows[0])) == 40
    assert set(rows[1]) <= {0, 1, 2}
    assert (np.diff(rows, axis=1) >= 0).all()


def test_radar_is_stored_as_the_authors_do():
    decibels = torch.tensor([[-14.0, -25.1], [-30.0, torch.nan], [-10.001, 60.0]])
    assert stored_radar(decibels).tolist() == [[4400, 0], [0, 0], [5999, 32767]]


def test_codes_are_of_the_largest_number():
    codes, scale = coded(torch.tensor([[1.0, -127.0, 2.5, 3.5], [0, 0, 0, 0]]))
    assert codes.tolist() == [[1, -127, 2, 4], [0, 0, 0, 0]]
    assert scale[0] == 1


def test_the_recurrence_is_the_authors():
    gru = _Gru(3)
    generator = torch.Generator().manual_seed(0)
    for parameter in gru.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    x = torch.randn(2, 4, 3, generator=generator)
    own = {name.removeprefix("gru_cell."): value for name, value in gru.named_parameters()}
    state, states = torch.zeros(2, 3), []
    for step in x.unbind(1):
        r, z = (
            torch.sigmoid(step @ own[f"W_i{g}.weight"].T + state @ own[f"W_h{g}.weight"].T + own[f"b_{g}"])
            for g in "rz"
        )
        new = torch.tanh(step @ own["W_ih.weight"].T + (r * state) @ own["W_hh.weight"].T + own["b_h"])
        state = (1 - z) * state + z * new
        states.append(state)
    assert torch.allclose(gru(x), torch.stack(states, 1), atol=1e-6)


@pytest.mark.parametrize("variant", ["v2-nano", "v2-teacher", "v1.1-mpc", "v1.0-qat"])
def test_each_pixel_is_encoded_alone(variant):
    model, images = small(variant), pixels()
    images["s2"][2:, :, 1, 2] = np.nan  # so that it is of another group
    images["s1-asc"][:, :, 0, 0] = np.nan
    whole = grid(model, images)
    if variant == "v1.0-qat":  # draws are those of the place
        assert np.array_equal(whole, grid(model, images))
        return
    for row, column in ((1, 2), (0, 0), (2, 2)):
        one = {name: values[..., row : row + 1, column : column + 1] for name, values in images.items()}
        assert whole[row, column] == pytest.approx(grid(model, one)[0, 0], abs=2e-6)


def test_a_pixel_that_neither_sensor_saw_is_nan_and_left_out_of_the_mean():
    model, images = small(), pixels()
    for values in images.values():
        values[:, :, 1, 1] = np.nan
    vectors = grid(model, images)
    assert np.isnan(vectors[1, 1]).all()
    assert np.isfinite(vectors).sum() == 8 * 128
    pooled = model.embed(images, dates=days()).data
    assert pooled == pytest.approx(np.nanmean(vectors, axis=(0, 1)), abs=1e-6)


def test_nothing_at_all_is_refused():
    with pytest.raises(NoImageryError):
        small().embed({name: np.full_like(values, np.nan) for name, values in pixels().items()}, dates=days())


def test_scene_classes_mask_as_nan_does():
    images, masked = pixels(), pixels()
    classes = np.tile(np.arange(11, dtype=np.float32).reshape(-1, 1, 1, 1), (1, 1, 3, 3))
    masked["s2"][[0, 1, 2, 3, 8, 9]] = np.nan
    with_classes = {"s2": images.pop("s2"), "scl": classes, **images}
    told = {"dates": days() | {"scl": days()["s2"]}, "output": GRID}
    found = small(modality="s2+scl+s1-asc+s1-desc").embed(with_classes, **told).data
    assert np.array_equal(found, np.moveaxis(grid(small(), masked), -1, 0))


def test_what_the_offset_leaves_below_zero_is_taken_as_stored():
    model, stored, ours = small(), pixels(), pixels()
    stored["s2"][4], ours["s2"][4] = 700, -300
    assert np.array_equal(grid(model, stored), grid(model, ours))


def test_an_orbit_or_a_sensor_may_be_missing():
    images = pixels(names=("s2", "s1-desc"))
    found = grid(small(modality="s2+s1-desc"), images)
    empty = images | {"s1-asc": np.full((4, 2, 3, 3), np.nan, np.float32)}
    assert np.array_equal(found, grid(small(), {name: empty[name] for name in ALL}))
    alone = grid(small(modality="s2"), {"s2": images["s2"]})
    assert not np.allclose(alone, found)
    radar = grid(small(modality="s1-desc"), {"s1-desc": images["s1-desc"]})
    assert np.isfinite(radar).all()


def test_orbits_have_statistics_of_their_own_and_days_count():
    model, images = small(), pixels()
    turned = {"s2": images["s2"], "s1-asc": images["s1-desc"], "s1-desc": images["s1-asc"]}
    dates = days() | {"s1-asc": days()["s1-desc"], "s1-desc": days()["s1-asc"]}
    swapped = model.embed(turned, output=GRID, dates=dates).data
    whole = model.embed(images, output=GRID, dates=days()).data
    assert not np.allclose(swapped, whole, atol=1e-4)
    assert not np.allclose(model.embed(images, output=GRID, dates=days(first=1)).data, whole, atol=1e-4)


def test_the_first_numbers_of_a_student_s_vector_and_their_codes():
    images = pixels()
    whole, cut = grid(small(), images), grid(small(dimensions=16), images)
    assert np.array_equal(cut, whole[..., :16])
    rounded = grid(small(dimensions=16, rounding="int8"), images)
    scale = np.abs(cut).max(-1, keepdims=True) / 127
    assert rounded == pytest.approx(np.rint(cut / scale) * scale, abs=1e-6)


@pytest.mark.parametrize("variant", ["v1.1-aws", "v1.0-early", "v2-teacher"])
def test_other_versions_have_no_prefixes(variant):
    with pytest.raises(SpecError, match="no vector by itself"):
        small(variant, dimensions=16)


def test_draws_follow_from_the_seed_and_the_place():
    images = pixels()
    model = small("v1.0-qat")
    here = grid(model, images, place=(3.0, 51.0))
    assert np.array_equal(here, grid(model, images, place=(3.0, 51.0)))
    assert not np.allclose(here, grid(model, images, place=(3.1, 51.0)), atol=1e-4)
    assert not np.allclose(here, grid(small("v1.0-qat", seed=1), images, place=(3.0, 51.0)), atol=1e-4)
    both = {name: np.stack([values, values]) for name, values in images.items()}
    batch = model.embed(both, output=GRID, dates=days(), place=[(3.1, 51.0), (3.0, 51.0)]).data
    assert np.moveaxis(batch[1], 0, -1) == pytest.approx(here, abs=2e-6)


def test_v1_draws_from_clouds_where_nothing_is_clear_and_leaves_out_what_was_never_stored():
    model = small("v1.0-qat", modality="s2+scl")
    s2 = pixels(names=("s2",))["s2"]
    s2[:, :, 0, 0] = 0
    told = {"dates": {name: days()["s2"] for name in ("s2", "scl")}, "output": GRID}
    found = model.embed({"s2": s2, "scl": np.full((11, 1, 3, 3), 9, np.float32)}, **told).data
    assert np.isnan(found[:, 0, 0]).all()
    assert np.isfinite(found).sum() == 8 * 128
    with pytest.raises(NoImageryError):
        small("v1.0-qat", modality="s2").embed({"s2": np.full_like(s2, np.nan)}, dates={"s2": days()["s2"]})


def test_each_modality_may_bring_its_own_dates():
    images = pixels()
    labelled = {
        name: xr.DataArray(values, {"time": np.array(days()[name], "datetime64[ns]")}, ("time", "band", "y", "x"))
        for name, values in images.items()
    }
    model = small()
    assert np.array_equal(model.embed(labelled, output=GRID).data, np.moveaxis(grid(model, images), -1, 0))
    with pytest.raises(ModelInputError, match="dates"):
        model.embed(images)


def test_checkpoints_load_by_their_official_names(tmp_path):
    state = small().encoder.state_dict()
    torch.save({"model": state, "args": {"latent_dim": 4}}, tmp_path / "student.pt")
    loaded = load_model("tessera_encoder", weights=tmp_path / "student.pt", config=SIZES, device="cpu")
    assert np.array_equal(grid(loaded, pixels()), grid(small(), pixels()))
    old = {f"_orig_mod.{name}": value for name, value in small("v1.0-qat").encoder.state_dict().items()}
    torch.save({"model_state": old | {"_orig_mod.projector.0.bias": torch.zeros(3)}}, tmp_path / "old.pt")
    load_model("tessera_encoder", variant="v1.0-qat", weights=tmp_path / "old.pt", config=SIZES, device="cpu")
    with pytest.raises(WeightsError):
        load_model("tessera_encoder", variant="v1.0-early", weights=tmp_path / "old.pt", config=SIZES, device="cpu")


def test_students_with_scaled_keys_have_blocks_of_their_own_names():
    model = load_model("tessera_encoder", weights="random", device="cpu", config=SIZES | {"qk_norm": True})
    names = set(model.encoder.state_dict())
    assert "s2_backbone.transformer_encoder.0.q_norm.weight" in names
    assert np.isfinite(grid(model, pixels())).all()


@pytest.mark.parametrize("variant", ["v2-nano", "v1.1-mpc", "v1.0-qat"])
def test_half_of_the_bits_is_the_same_direction(variant):
    exact, cast = (grid(small(variant, dtype=dtype), pixels()) for dtype in ("float32", "bfloat16"))
    assert not np.array_equal(exact, cast)
    lengths = np.linalg.norm(exact, axis=-1) * np.linalg.norm(cast, axis=-1)
    assert ((exact * cast).sum(axis=-1) / lengths).min() >= 0.999
