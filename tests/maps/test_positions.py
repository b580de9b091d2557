"""Positions: what they explain, when they are taken away, and that taking them away restores the ground."""

from __future__ import annotations

import json
import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest

from rs_embed_dask.engine.positions import PositionSums, decide
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.maps.positions import first_blocks, stratified
from rs_embed_dask.specs.positions import PositionTable

WINDOW, DIM = 6, 5
MODEL = {"model": "galileo", "variant": "nano", "patch_px": 8}


def frame(seed=0, size=1.0):
    """A table: what each position adds, zero on average and of a given mean square."""
    table = np.random.default_rng(seed).normal(size=(DIM, WINDOW, WINDOW))
    table -= table.mean((1, 2), keepdims=True)
    return table * np.sqrt(size / np.square(table).sum(0).mean())


def grounds(count, seed=1, size=1.0):
    """One vector per window, far from zero on average; the mean square of their spread is as given."""
    ground = np.random.default_rng(seed).normal(size=(count, DIM))
    ground -= ground.mean(0)
    return 40 + ground * np.sqrt(size / np.square(ground).sum(1).mean())


def table_of(share=0.5, windows=400, source="measured"):
    return PositionTable(frame().astype(np.float32), "galileo", "nano", 8, windows, share, source)


@pytest.mark.parametrize(("position", "ground"), [(3.0, 1.0), (1.0, 1.0), (0.02, 1.0), (0.0, 1.0)])
def test_the_share_is_the_ratio_of_variances(position, ground):
    windows = grounds(100, size=ground)[:, :, None, None] + frame(size=position)
    sums = PositionSums.of(windows)
    share, chance = sums.explained
    assert share == pytest.approx(position / (position + ground), abs=1e-9)
    assert chance == (WINDOW**2 - 1) / (100 * WINDOW**2 - 1)
    table = sums.table(**MODEL)
    assert table.share == share - chance
    assert table.windows == 100
    np.testing.assert_allclose(table.mean, frame(size=position), atol=1e-6)


def test_removal_restores_the_ground():
    ground = grounds(80)[:, :, None, None]
    windows = ground + frame(size=3.0)
    table = PositionSums.of(windows).table(**MODEL)
    assert decide(table).removed
    np.testing.assert_allclose(windows - table.mean, np.broadcast_to(ground, windows.shape), atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_noise_explains_what_chance_does_and_is_kept(seed):
    windows = np.random.default_rng(seed).normal(size=(64, DIM, WINDOW, WINDOW)).astype(np.float32)
    sums = PositionSums.of(windows)
    assert sums.explained.share > 0.01  # chance alone, 1/64, would have taken them away
    table = sums.table(**MODEL)
    assert abs(table.share) < 0.004
    assert not decide(table).removed


@pytest.mark.parametrize("side", [8, 16])
def test_a_slope_of_the_ground_explains_what_chance_does(side):
    rows, cols = np.indices((side * WINDOW, side * WINDOW)).astype(float)
    windows = np.stack([rows, cols]).reshape(2, side, WINDOW, side, WINDOW).transpose(1, 3, 0, 2, 4)
    sums = PositionSums.of(windows)
    assert sums.explained.share == pytest.approx((WINDOW**2 - 1) / ((side * WINDOW) ** 2 - 1), rel=1e-9)
    assert sums.table(**MODEL).share == pytest.approx(0, abs=1e-12)


def test_merging_in_any_split_equals_all_at_once():
    windows = np.random.default_rng(3).normal(100, 1, size=(60, DIM, WINDOW, WINDOW)).astype(np.float32)
    windows[7, :, 2, 3] = np.nan
    windows[20] = np.nan
    whole = PositionSums.of(windows)
    for cuts in ([1, 2, 59], [30], list(range(1, 60))):
        merged = reduce(add, [PositionSums.of(part) for part in np.split(windows, cuts)])
        np.testing.assert_array_equal(merged.counts, whole.counts)
        np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-14)
        assert merged.explained == pytest.approx(whole.explained, rel=1e-6)
    cells = windows.reshape(10, 6, DIM, WINDOW, WINDOW)
    np.testing.assert_allclose(PositionSums.of(cells).sums, whole.sums, rtol=1e-14)


def test_sums_of_two_models_do_not_merge():
    with pytest.raises(ValueError, match="one model"):
        PositionSums.of(np.zeros((1, 2, 3, 3))) + PositionSums.of(np.zeros((1, 2, 1, 1)))


def test_a_token_without_a_vector_counts_nowhere():
    windows = grounds(80)[:, :, None, None] + frame()
    windows[:5, 2, 1, 1] = np.nan  # one number is missing, so the vector is
    sums = PositionSums.of(windows)
    assert sums.counts[1, 1] == 75
    assert sums.counts.sum() == 80 * 36 - 5
    np.testing.assert_allclose(sums.sums[:, 1, 1], windows[5:, :, 1, 1].sum(0), rtol=1e-12)
    assert sums.table(**MODEL).windows == 75


def test_nothing_seen_is_nothing_removed():
    for windows in (np.full((3, DIM, WINDOW, WINDOW), np.nan), np.zeros((0, DIM, WINDOW, WINDOW))):
        table = PositionSums.of(windows).table(**MODEL)
        assert (table.windows, table.share) == (0, 0.0)
        assert not table.mean.any()
        for mode in ("auto", "removed"):
            decision = decide(table, mode)
            assert not decision.removed
            assert "no windows have a vector at every position" in decision.statement


def test_equal_vectors_explain_nothing():
    assert PositionSums.of(np.full((70, DIM, WINDOW, WINDOW), 1234.567, np.float32)).explained.share == 0.0


def test_the_share_decides_and_the_statement_says_why():
    removed = decide(table_of(0.7432))
    assert removed.removed
    assert removed.statement == (
        "positions removed: they explain 74.3 % of the variance (400 windows of this region; "
        "not comparable with other maps unless you pass its table)"
    )
    assert decide(table_of(0.0101)).removed
    assert decide(table_of(0.01)) == (False, "positions kept: they explain 1 % of the variance, not more than 1 %")
    assert "explain 0 %" in decide(table_of(-0.002)).statement
    assert decide(table_of(), "kept") == (False, "positions kept, as asked")
    assert decide(None) == decide(None, "removed")


def test_few_windows_remove_nothing_unless_asked():
    assert decide(table_of(windows=64)).removed
    few = decide(table_of(windows=63))
    assert not few.removed
    assert "63 windows are too few" in few.statement
    asked = decide(table_of(windows=63), "removed")
    assert asked.removed
    assert "as asked, although 64 windows or more should" in asked.statement


def test_a_table_from_elsewhere_is_named_and_makes_maps_comparable():
    passed = decide(table_of(source="passed"))
    assert passed.statement.endswith("(the table passed, from 400 windows)")
    other = decide(table_of(source="s3://bucket/map.zarr?token=secret"), "removed")
    assert other.statement == "positions removed, as asked (the table of s3://bucket/map.zarr, from 400 windows)"


def test_a_window_of_one_token_has_no_positions():
    table = PositionSums.of(np.random.default_rng(0).normal(size=(100, DIM, 1, 1))).table(**MODEL)
    assert not decide(table, "removed").removed
    assert "one token" in decide(table).statement


def test_an_unknown_mode_is_refused():
    with pytest.raises(UnknownNameError, match="'kept'"):
        decide(None, "keep")


def test_a_table_survives_json_and_pickling():
    table = table_of(source="passed")
    again = PositionTable.from_dict(json.loads(json.dumps(table.to_dict())), table.mean)
    for copy in (again, pickle.loads(pickle.dumps(table))):
        assert copy.to_dict() == table.to_dict()
        np.testing.assert_array_equal(copy.mean, table.mean)
    assert table.digest == table_of(share=0.1, windows=70).digest
    assert table.digest != PositionTable(-table.mean, "galileo", "nano", 8, 400, 0.5).digest


def test_altered_vectors_and_unknown_fields_are_refused():
    facts = table_of().to_dict()
    with pytest.raises(SpecError, match="not those that it was written with"):
        PositionTable.from_dict(facts, -table_of().mean)
    with pytest.raises(SpecError, match="colour"):
        PositionTable.from_dict({**facts, "colour": 1}, table_of().mean)


@pytest.mark.parametrize(
    ("mean", "reason"),
    [
        (np.zeros((3, 4, 5)), "shape"),
        (np.zeros((0, 4, 4)), "shape"),
        (np.full((3, 4, 4), np.nan), "finite"),
        (np.ones((3, 4, 4)), "not zero"),
    ],
)
def test_tables_that_cannot_be_are_refused(mean, reason):
    with pytest.raises(SpecError, match=reason):
        PositionTable(mean, "galileo", "nano", 8, 100, 0.5)


def test_a_table_of_something_else_is_refused():
    own = {**MODEL, "dim": DIM, "window": WINDOW}
    table_of().require(**own)
    for name, value in {"model": "clay", "variant": "tiny", "dim": 6, "window": 12, "patch_px": 16}.items():
        with pytest.raises(SpecError, match=f"PositionTable.{name} .*here it is {value!r}"):
            table_of().require(**{**own, name: value})


def test_the_arrays_of_the_caller_stay_as_they_are():
    mean = frame().astype(np.float32)
    table = PositionTable(mean, "galileo", "nano", 8, 100, 0.5)
    mean[:] = 0
    assert table.mean.any()


# ------------------------------------------------------------------------------------------------------ the first pass
@pytest.mark.parametrize(("window", "blocks"), [(12, 16), (16, 16), (17, 29), (32, 64), (64, 256), (1, 16)])
def test_the_first_pass_has_16_blocks_and_256_windows(window, blocks):
    assert first_blocks(window, 64) == blocks
    assert blocks * (64 // window) ** 2 >= 256


@pytest.mark.parametrize("side", [8, 16, 20, 33])
def test_the_sample_is_spread_over_the_region(side):
    square = [(row + 1000, col + 77) for row in range(side) for col in range(side)]
    for count in (4, 16, 64):
        sample = [index for _, index in stratified({"utm31": square}, count)]
        assert len(set(sample)) == count
        quarters = np.zeros((2, 2), int)
        for row, col in sample:
            quarters[(row - 1000) * 2 // side, (col - 77) * 2 // side] += 1
        assert quarters.min() >= count // 8
        assert quarters.max() <= count // 2


def test_the_sample_is_the_same_whatever_the_order_of_the_blocks():
    square = [(row, col) for row in range(12) for col in range(9)]
    shuffled = [square[i] for i in np.random.default_rng(0).permutation(len(square))]
    assert stratified({"utm31": square}, 16) == stratified({"utm31": shuffled + square}, 16)


def test_groups_are_sampled_by_their_size():
    blocks = {
        "utm32": [(row, col) for row in range(10) for col in range(10)],
        "utm31": [(row, col) for row in range(10) for col in range(30)],
    }
    sample = stratified(blocks, 40)
    assert sum(group == "utm32" for group, _ in sample) in {9, 10, 11}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 16, 24, 30, 97])
def test_a_small_region_is_taken_whole_and_a_longer_sample_goes_on(size):
    blocks = {"utm31": [(0, col) for col in range(size)]}
    whole = stratified(blocks, 100)
    assert sorted(index.col for _, index in whole) == list(range(size))
    assert stratified(blocks, 5) == whole[:5]


def test_windows_that_are_all_alike_give_a_table_of_nothing():
    windows = np.full((70, DIM, WINDOW, WINDOW), 1.1) + np.linspace(0, 0.3, 70)[:, None, None, None]
    table = PositionSums.of(windows.astype(np.float32)).table(**MODEL)
    assert np.abs(table.mean).max() < 1e-12
    assert not decide(table).removed
