"""Compositing against NumPy: medians, mosaics, clearest scenes, counts, dates, repeats, order."""

from __future__ import annotations

import datetime as dt
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.imagery.composite import _sorted, composite_frame, frame_of, median
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import Scene, observations, ordered, solar_day
from rs_embed_dask.specs.fetch import COMPOSITES

NAN = np.nan


def scene(day, name=None, platform="sentinel-2a", **properties):
    when = dt.datetime.fromisoformat(f"2022-06-{day:02d}T10:30:00+00:00")
    return Scene(name or f"s{day}", when, None, {"platform": platform, **properties})


def stack(*rows):
    """Scenes of one band and one row of pixels."""
    return np.array(rows, np.float32)[:, None, None, :]


def row(values):
    return values.reshape(-1)


def reference(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmedian(values, axis=0)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31])
def test_the_median_equals_numpys(n):
    rng = np.random.default_rng(n)
    values = rng.normal(2000, 900, (n, 3, 13, 9)).astype(np.float32)
    seen = rng.random((n, 13, 9)) < 0.5
    expected = reference(np.where(seen[:, None], values, NAN))
    found = median(values, seen)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_the_median_of_a_large_stack_is_cut_without_a_trace(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2, 40, 40)).astype(np.float32)
    seen = rng.random((5, 40, 40)) < 0.7
    whole = median(values.copy(), seen)
    monkeypatch.setattr("rs_embed_dask.imagery.composite._VALUES_AT_ONCE", 100)
    np.testing.assert_array_equal(median(values, seen), whole)


def test_median_and_counts():
    scenes = [scene(3), scene(8), scene(13), scene(18)]
    values, counts, used = composite_frame(
        stack([1, NAN, 5, NAN], [2, NAN, 7, NAN], [9, 4, NAN, NAN], [NAN] * 4), scenes, lon=4.0
    )
    np.testing.assert_array_equal(row(values), [2, 4, 6, NAN])
    np.testing.assert_array_equal(row(counts), [3, 1, 2, 0])
    np.testing.assert_array_equal(used, [2, 2, 2, 0])
    assert counts.dtype == np.uint16


def test_mosaic_takes_the_newest_valid_pixel():
    values, counts, used = composite_frame(
        stack([1, 1, 1, NAN], [2, NAN, 2, NAN], [3, NAN, NAN, NAN]),
        [scene(3), scene(8), scene(13)],
        lon=4.0,
        how="mosaic",
    )
    np.testing.assert_array_equal(row(values), [3, 1, 2, NAN])
    np.testing.assert_array_equal(row(counts), [3, 1, 2, 0])
    np.testing.assert_array_equal(used, [1, 1, 1])


def test_clearest_takes_the_scene_with_most_valid_pixels_and_fills_its_gaps():
    values, counts, used = composite_frame(
        stack([1, 1, NAN, NAN], [2, 2, 2, NAN], [3, NAN, NAN, 3]),
        [scene(3), scene(8), scene(13)],
        lon=4.0,
        how="clearest",
    )
    np.testing.assert_array_equal(row(values), [2, 2, 2, 3])
    np.testing.assert_array_equal(row(counts), [3, 2, 1, 1])
    np.testing.assert_array_equal(used, [0, 3, 1])


def test_equally_clear_scenes_go_by_age():
    values, _, used = composite_frame(
        stack([1, NAN], [2, NAN], [NAN, 3]), [scene(3), scene(8), scene(1)], lon=4.0, how="clearest"
    )
    np.testing.assert_array_equal(row(values), [1, 3])
    np.testing.assert_array_equal(used, [1, 0, 1])


@pytest.mark.parametrize("how", COMPOSITES)
def test_r11_a_frame_without_scenes_or_valid_pixels_is_missing_not_zero(how):
    nothing_seen = composite_frame(stack([NAN, NAN]), [scene(8)], lon=4.0, how=how)
    no_scenes = composite_frame(np.empty((0, 1, 1, 2), np.float32), [], lon=4.0, how=how)
    for values, counts, used in (nothing_seen, no_scenes):
        np.testing.assert_array_equal(row(values), [NAN, NAN])
        np.testing.assert_array_equal(row(counts), [0, 0])
        assert not used.any()


@pytest.mark.parametrize("how", COMPOSITES)
def test_r8_tiles_of_one_pass_count_once(how):
    scenes = [scene(3, "a-tile1"), scene(3, "b-tile2"), scene(8, "c-tile1")]
    values, counts, used = composite_frame(
        stack([10, 10, NAN, NAN], [11, NAN, 11, NAN], [30, 30, 30, NAN]), scenes, lon=4.0, how=how
    )
    np.testing.assert_array_equal(row(counts), [2, 2, 2, 0])
    expected = {"median": [20, 20, 20.5], "mosaic": [30, 30, 30], "clearest": [10, 10, 11]}[how]
    np.testing.assert_array_equal(row(values)[:3], expected)
    assert used.tolist() == {"median": [2, 1, 3], "mosaic": [0, 0, 3], "clearest": [2, 1, 0]}[how]


def test_r8_other_platforms_and_directions_are_other_observations():
    same = [scene(3, "a", "sentinel-2a"), scene(3, "b", "Sentinel-2A")]
    assert observations(same, lon=4.0) == ((0, 1),)
    assert len(observations([scene(3, "a", "sentinel-2a"), scene(3, "b", "sentinel-2b")], lon=4.0)) == 2
    orbits = [scene(3, "a", **{"sat:orbit_state": way}) for way in ("ascending", "descending")]
    assert len(observations(orbits, lon=4.0)) == 2


def test_the_solar_day_does_not_change_within_a_pass_over_the_pacific():
    before = dt.datetime(2022, 6, 3, 23, 59, 58, tzinfo=dt.UTC)
    after = dt.datetime(2022, 6, 4, 0, 0, 4, tzinfo=dt.UTC)
    assert solar_day(before, -170.0) == solar_day(after, -170.0) == dt.date(2022, 6, 3)
    assert solar_day(before, 175.0) == dt.date(2022, 6, 4)
    scenes = [Scene("a", before, None, {"platform": "x"}), Scene("b", after, None, {"platform": "x"})]
    assert observations(scenes, lon=-170.0) == ((0, 1),)


@pytest.mark.parametrize("how", COMPOSITES)
def test_r9_r12_the_order_of_scenes_does_not_matter(how):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 2, 6, 5)).astype(np.float32)
    values[np.broadcast_to(rng.random((4, 1, 6, 5)) < 0.4, values.shape)] = NAN
    scenes = [scene(3, "a"), scene(3, "b"), scene(8, "c"), scene(13, "d")]
    image, counts, used = composite_frame(values, scenes, lon=4.0, how=how)
    for order in itertools.permutations(range(4)):
        again = composite_frame(values[list(order)], [scenes[i] for i in order], lon=4.0, how=how)
        np.testing.assert_array_equal(again[0], image)
        np.testing.assert_array_equal(again[1], counts)
        np.testing.assert_array_equal(again[2], used[list(order)])


@pytest.mark.parametrize("how", ["median", "mosaic"])
def test_r9_blocks_give_what_the_whole_gives(how):
    rng = np.random.default_rng(4)
    values = rng.normal(size=(5, 2, 8, 10)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = NAN
    scenes = [scene(d) for d in (3, 8, 13, 18, 23)]
    whole, counts, used = composite_frame(values.copy(), scenes, lon=4.0, how=how)
    parts = [composite_frame(values[..., s], scenes, lon=4.0, how=how) for s in (slice(0, 3), slice(3, 10))]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts], -1), whole)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts], -1), counts)
    np.testing.assert_array_equal(sum(part[2] for part in parts), used)


def test_a_pixel_is_whole_or_missing():
    values = np.array([[[[1.0, NAN]], [[2.0, 2.0]]]], np.float32)  # (1, 2, 1, 2)
    found, counts, _ = composite_frame(values, [scene(3)], lon=4.0)
    np.testing.assert_array_equal(found[:, 0], [[1, NAN], [2, NAN]])
    np.testing.assert_array_equal(counts, [[1, 0]])


def test_r16_a_band_that_a_scene_does_not_have_spoils_nothing():
    values = np.array([[[[1.0]], [[NAN]]], [[[3.0]], [[4.0]]]], np.float32)  # (2, 2, 1, 1)
    present = np.array([[True, False], [True, True]])
    found, counts, _ = composite_frame(values, [scene(3), scene(8)], lon=4.0, present=present)
    np.testing.assert_array_equal(found.ravel(), [2, 4])
    assert counts.item() == 2
    nothing = np.zeros((2, 2), bool)
    assert composite_frame(values, [scene(3), scene(8)], lon=4.0, present=nothing)[1].item() == 0


def test_frames_are_half_open():
    frames = [Span("2022-06-01", "2022-06-08"), Span("2022-06-08", "2022-06-15")]
    assert [frame_of(scene(day), frames) for day in (1, 7, 8, 14, 15)] == [0, 0, 1, 1, None]


def test_scenes_are_ordered_by_time_and_id_and_counted_once():
    scenes = [scene(8, "b"), scene(3, "z"), scene(8, "a"), scene(3, "z")]
    assert [each.id for each in ordered(scenes)] == ["z", "a", "b"]
    assert Scene("n", dt.datetime(2022, 6, 1)).datetime.tzinfo is dt.UTC  # noqa: DTZ001 - no zone is what is tested


def test_an_unknown_way_is_refused():
    with pytest.raises(UnknownNameError, match="median"):
        composite_frame(stack([1]), [scene(3)], lon=4.0, how="mean")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    data=st.lists(
        st.lists(st.one_of(st.just(NAN), st.floats(-500, 16_000, width=32)), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    ),
    how=st.sampled_from(COMPOSITES),
)
def test_every_composite_lies_among_its_observations(data, how):
    values = stack(*data)
    found, counts, used = composite_frame(values.copy(), [scene(i + 1) for i in range(len(data))], lon=4.0, how=how)
    seen = np.isfinite(values[:, 0, 0]).sum(0)
    np.testing.assert_array_equal(row(counts), seen)
    for value, column in zip(row(found), values[:, 0, 0].T, strict=True):
        valid = column[np.isfinite(column)]
        assert np.isnan(value) == (valid.size == 0)
        assert valid.size == 0 or valid.min() <= value <= valid.max()
    assert used.sum() == (seen.sum() if how == "median" else (seen > 0).sum())


@pytest.mark.parametrize("n", range(1, 13))
def test_comparisons_sort_any_number_of_layers(n):
    every = np.array(list(itertools.product((0, 1), repeat=n)), np.float32).T.reshape(n, 1, -1)
    # what sorts all zeros and ones sorts everything
    np.testing.assert_array_equal(np.stack(_sorted(every.copy())), np.sort(every, axis=0))
