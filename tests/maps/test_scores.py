"""Scores: steps at known borders, frames of a known share, fields of a known correlation."""

from __future__ import annotations

import json
import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest

from rs_embed_dask.engine.positions import PositionSums
from rs_embed_dask.errors import StoreError
from rs_embed_dask.maps.lattice import Rect, lattice_for
from rs_embed_dask.maps.scores import DISTANCES, MapScores, ScoreSums, ZoneSums
from rs_embed_dask.maps.scoring import BlockEdges, BlockScore, ScoreBook, ZoneSample, zone_sample
from rs_embed_dask.maps.windows import BlockIndex, Tiling
from rs_embed_dask.specs.ground import WGS84, project

TILING = Tiling(window=6, stride=6, block=24)
PLACE = Rect(48, 72, 96, 120)


def turns(angle_y, angle_x=None):
    """Vectors (3, h, w) of length 2 whose direction turns by given steps from row to row, or column to column."""
    y = np.cumsum(angle_y)[:, None]
    x = np.cumsum(angle_y if angle_x is None else angle_x)[None, :]
    return 2 * np.stack([np.cos(y + x), np.sin(y + x), np.zeros_like(y + x)]).astype(np.float32)


def blocks_of(tiling, rect, field, reach=64):
    """Sums of each block of a rectangle, with strips of its right and lower neighbours."""
    size = tiling.block
    for row in range(rect.top // size, rect.bottom // size):
        for col in range(rect.left // size, rect.right // size):
            own = Rect(row * size, col * size, (row + 1) * size, (col + 1) * size)
            right = own._replace(left=own.right, right=own.right + reach) & rect
            below = own._replace(top=own.bottom, bottom=own.bottom + reach) & rect
            strips = [field[:, *part.within(rect)] if 0 not in part.shape else None for part in (right, below)]
            yield ScoreSums.of(tiling, own, field[:, *own.within(rect)], right=strips[0], below=strips[1])


def merged(*arguments, **options):
    return reduce(add, blocks_of(*arguments, **options))


def steps(first, tiling, plain, border):
    """Turns from token to token of 48, larger where the nearest window changes."""
    changes = (np.arange(first, first + 48) - (tiling.window + tiling.stride + 1) // 2) % tiling.stride == 0
    return np.where(changes, border, plain)


@pytest.mark.parametrize("reach", [1, 64])
@pytest.mark.parametrize(("window", "stride"), [(6, 6), (6, 5), (6, 4), (8, 3), (24, 24)])
def test_the_seam_is_the_step_at_the_border_over_the_step_inside(window, stride, reach):
    tiling = Tiling(window=window, stride=stride, block=24)
    turn = [steps(first, tiling, 0.01, 0.03) for first in (PLACE.top, PLACE.left)]
    scores = merged(tiling, PLACE, turns(*turn), reach=reach).scores()
    expected = (1 - np.cos(0.03)) / (1 - np.cos(0.01))
    assert scores.neighbours == pytest.approx(1 - np.cos(0.01), rel=0.02)
    assert scores.seam_median == pytest.approx(expected, rel=0.03)
    assert scores.seam_p99 == pytest.approx(expected, rel=0.03)


def test_a_map_without_borders_has_no_seam():
    turn = np.full(48, 0.01)
    scores = merged(TILING, PLACE, turns(turn)).scores()
    assert scores.seam_median == pytest.approx(1, abs=0.02)
    assert scores.block_p99 == pytest.approx(1, abs=0.02)


def test_the_border_lies_where_the_nearest_window_changes():
    """Against the definition: the window whose centre is nearest to the token's."""
    for window, stride in ((6, 6), (6, 5), (6, 4), (7, 4), (12, 11), (8, 1)):
        centres = np.arange(-40, 80) * stride + window / 2
        nearest = [int(np.argmin(np.abs(token + 0.5 - centres))) for token in range(48, 96)]
        turn = np.r_[0, np.where(np.diff(nearest), 0.4, 0.001)] if stride > 1 else np.full(48, 0.001)
        tiling = Tiling(window=window, stride=stride, block=24)
        rect = Rect(48, 48, 96, 96)
        sums = merged(tiling, rect, turns(turn))
        changes = np.count_nonzero(turn == 0.4)
        assert sums.gaps[1].sum() == 2 * 48 * changes
        assert sums.scores().neighbours == pytest.approx(1 - np.cos(0.001), rel=0.03)


def test_the_block_score_shows_a_step_that_only_blocks_have():
    turn = np.full(48, 0.01)
    turn[24] = 0.05
    scores = merged(Tiling(window=7, stride=7, block=24), PLACE, turns(turn), reach=1).scores()
    assert scores.block_median == pytest.approx((1 - np.cos(0.05)) / (1 - np.cos(0.01)), rel=0.03)
    assert scores.seam_median == pytest.approx(1, abs=0.02)


def test_a_tail_shows_in_the_99th_percentile_alone():
    rng = np.random.default_rng(0)
    turn = rng.uniform(0.01, 0.011, 1200)
    rect = Rect(0, 0, 24, 1200)
    borders = np.flatnonzero((np.arange(1200) % 6 == 0) & (np.arange(1200) > 0))
    turn[borders[::20]] = 0.1
    scores = ScoreSums.of(TILING, rect, turns(np.full(24, 0.0105), turn)).scores()
    assert scores.seam_median == pytest.approx(1, abs=0.05)
    assert scores.seam_p99 > 50


def test_pixel_models_have_no_seam_but_blocks():
    tiling = Tiling(window=1, stride=1, block=24)
    scores = merged(tiling, PLACE, turns(np.full(48, 0.01))).scores()
    assert scores.seam_median is None
    assert scores.lattice == 0
    assert scores.block_median == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.75])
@pytest.mark.parametrize("rect", [PLACE, Rect(24, 24, 72, 96)])
def test_the_lattice_is_the_share_of_the_frame(share, rect):
    tiling = Tiling(window=6, stride=4, block=24)
    rng = np.random.default_rng(1)
    frame, ground = rng.normal(size=(5, 4, 4)), rng.normal(size=(5, rect.shape[0] // 4, rect.shape[1] // 4))
    frame, ground = (values - values.mean((1, 2), keepdims=True) for values in (frame, ground))
    frame, ground = (values / np.sqrt(np.square(values).sum(0).mean()) for values in (frame, ground))
    field = np.sqrt(1 - share) * np.repeat(np.repeat(ground, 4, 1), 4, 2)
    field += np.sqrt(share) * np.tile(frame, (1, *ground.shape[1:]))
    scores = merged(tiling, rect, (10 + field).astype(np.float32)).scores()
    assert scores.lattice == pytest.approx(share, abs=1e-6)
    tokens = rect.shape[0] * rect.shape[1]
    assert (scores.tokens, scores.lattice_chance) == (tokens, 15 / (tokens - 1))


def test_the_lattice_keeps_its_phase_where_blocks_are_not_multiples_of_the_stride():
    tiling = Tiling(window=8, stride=7, block=24)
    rows, cols = np.meshgrid(np.arange(PLACE.top, PLACE.bottom), np.arange(PLACE.left, PLACE.right), indexing="ij")
    field = np.random.default_rng(0).normal(size=(4, 7, 7)).astype(np.float32)[:, rows % 7, cols % 7]
    assert merged(tiling, PLACE, field).scores().lattice == pytest.approx(1, abs=1e-6)


def test_the_decay_is_the_correlation_at_each_distance():
    """Vectors of unit length with a known cosine per token apart, along rows and columns alike."""
    angle = 0.01
    scores = merged(TILING, Rect(0, 0, 72, 72), turns(np.full(72, angle))).scores()
    assert len(scores.decay) == len(DISTANCES)
    np.testing.assert_allclose(scores.decay, np.cos(angle * np.array(DISTANCES)), atol=2e-6)


def test_the_decay_of_a_field_made_by_adding_noise():
    """An autoregressive field: its correlation at distance d is 0.9 to the power d, in many dimensions its cosine."""
    rng = np.random.default_rng(2)
    field = np.empty((64, 24, 240), np.float32)
    field[:, :, 0] = rng.normal(size=(64, 24))
    for col in range(1, 240):
        field[:, :, col] = 0.9 * field[:, :, col - 1] + np.sqrt(1 - 0.81) * rng.normal(size=(64, 24))
    pairs, total = merged(TILING, Rect(0, 0, 24, 240), field).decay.T
    apart = np.array(DISTANCES)
    along, across = 24 * (240 - apart), 240 * np.maximum(24 - apart, 0)
    np.testing.assert_array_equal(pairs, along + across)
    # rows are independent of each other: pairs across them add cosines of about zero
    np.testing.assert_allclose(total / 2**24 / along, 0.9**apart, atol=0.02)


def test_distances_that_do_not_fit_have_no_decay():
    scores = ScoreSums.of(TILING, Rect(0, 0, 24, 24), turns(np.full(24, 0.01))).scores()
    assert scores.decay[-2:] == (None, None)
    assert None not in scores.decay[:-2]


def test_one_token_of_the_neighbour_is_enough_for_64():
    tiling = Tiling(window=8, stride=8, block=64)
    field = turns(np.full(64, 0.0), np.full(128, 0.01))
    strip = field[:, :, 64:65]
    sums = ScoreSums.of(tiling, Rect(0, 0, 64, 64), field[:, :, :64], right=strip)
    assert sums.decay[-1].tolist() == [64, pytest.approx(64 * np.cos(0.64) * 2**24, rel=1e-6)]


def test_merging_in_any_split_equals_all_at_once():
    tiling = Tiling(window=6, stride=5, block=24)
    rect = Rect(24, 48, 120, 144)
    field = np.random.default_rng(3).normal(1, 0.2, size=(7, 96, 96)).astype(np.float32)
    field[:, 20:30, 40:50] = np.nan
    whole = ScoreSums.of(tiling, rect, field)
    parts = list(blocks_of(tiling, rect, field))
    order = np.random.default_rng(0).permutation(len(parts))
    halves = reduce(add, parts[:5]) + reduce(add, parts[5:])
    for sums in (reduce(add, parts), reduce(add, [parts[i] for i in order]), halves):
        np.testing.assert_array_equal(sums.gaps, whole.gaps)
        np.testing.assert_array_equal(sums.decay, whole.decay)
        assert sums.places.explained == pytest.approx(whole.places.explained, rel=1e-9)
    again = reduce(add, parts).scores()
    assert again == reduce(add, list(blocks_of(tiling, rect, field))).scores()


def test_tokens_of_another_zone_and_without_vectors_do_not_count():
    turn = np.full(48, 0.01)
    field = turns(turn)
    field[:, :, 30:] = np.random.default_rng(0).normal(size=(3, 48, 18))
    owned = np.zeros((48, 48), bool)
    owned[:, :30] = True
    field[:, 5, 5] = np.nan
    field[:, 7, 7] = 0  # no direction: no neighbours, and one token of the lattice
    scores = ScoreSums.of(TILING, PLACE, field, owned=owned).scores()
    assert scores.tokens == 48 * 30 - 1
    assert scores.seam_p99 == pytest.approx(1, abs=0.02)
    assert scores.decay[0] == pytest.approx(np.cos(0.01), abs=1e-6)


def test_halves_are_scored_like_floats():
    turn = steps(48, TILING, 0.1, 0.3)
    sums = ScoreSums.of(TILING, PLACE, turns(turn).astype(np.float16)).scores()
    assert sums.seam_median == pytest.approx((1 - np.cos(0.3)) / (1 - np.cos(0.1)), rel=0.03)


def test_positions_removed_remove_seam_and_lattice():
    """A frame that rises across the window, over smooth ground."""
    tiling = Tiling(window=6, stride=6, block=24)
    y, x = np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    phases = np.random.default_rng(0).uniform(0, 6, size=(16, 1, 1))
    ground = 3 + np.sin(2 * np.pi * x / 96 + phases) + np.cos(2 * np.pi * y / 48 + 2 * phases)  # no slope on average
    rise = np.random.default_rng(1).normal(size=(16, 1, 1)) * (np.arange(6)[:, None] + np.arange(6)) / 3
    kept = (ground + np.tile(rise, (1, 16, 16))).astype(np.float32)
    windows = kept.reshape(16, 16, 6, 16, 6).transpose(1, 3, 0, 2, 4)
    table = PositionSums.of(windows).table(model="m", variant="v", patch_px=8)
    removed = kept - np.tile(table.mean, (1, 16, 16))
    rect = Rect(0, 0, 96, 96)
    before, after = (merged(tiling, rect, field).scores() for field in (kept, removed))
    assert before.lattice > 0.1
    assert before.seam_median > 2
    assert after.lattice < 1e-6
    assert after.seam_median < 1.2


# --------------------------------------------------------------------------------------------------------------- zones
def test_zones_are_compared_by_their_cosine():
    one = np.array([[1, 1, 0, np.nan], [0, 1, 1, 1]], np.float32)
    other = np.array([[2, 0, 0, 1], [0, 3, 1, 1]], np.float32)
    sums = ZoneSums.of(one, other)
    assert sums.tokens == 3
    halves = ZoneSums.of(one[:, :1], other[:, :1]).merged(ZoneSums.of(one[:, 1:], other[:, 1:]))
    assert halves == halves.merged(ZoneSums()) == sums
    scores = ScoreSums.of(TILING, PLACE, turns(np.full(48, 0.01))).scores(sums)
    assert scores.zone_mean == pytest.approx((2 + np.sqrt(0.5)) / 3, abs=1e-6)
    assert scores.zone_least == pytest.approx(np.sqrt(0.5), abs=1e-6)


def test_zones_that_share_nothing_have_no_score():
    assert ZoneSums.of(np.full((2, 3), np.nan), np.ones((2, 3))) == ZoneSums()
    scores = ScoreSums.of(TILING, PLACE, turns(np.full(48, 0.01))).scores()
    assert (scores.zone_tokens, scores.zone_mean, scores.zone_least) == (0, None, None)


ZONES = [("utm31", "utm32", 6.0), ("utm60", "utm01", 180.0)]


def near_the_border(group, lon, *, token_m=100.0, block=64):
    """The lattice of a zone, and its block at 47 degrees north on a meridian."""
    lattice = lattice_for(group, token_m, block)
    x, y = (float(value) for value in project(WGS84, lattice.crs, lon, 47.0))
    row, col = lattice.index(x, y)
    return lattice, lattice.rect(row // block, col // block)


def on_the_ground(lattice, rect):
    """Vectors that say where they are: directions from the centre of the earth."""
    lon, lat = (np.radians(value) for value in lattice.lonlat(rect))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]).astype(np.float32)


@pytest.mark.parametrize(("west", "east", "lon"), ZONES)
def test_two_zones_are_compared_on_the_same_ground(west, east, lon):
    samples = []
    for group in (west, east):
        lattice, rect = near_the_border(group, lon)
        steps = [(64 * i, 64 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        around = [Rect(rect.top + i, rect.left + j, rect.bottom + i, rect.right + j) for i, j in steps]
        samples.append(
            reduce(
                lambda one, other: one.merged(other),
                [zone_sample(lattice, one, on_the_ground(lattice, one)) for one in around],
            )
        )
    western, eastern = ({tuple(place[:3]) for place in one.places.tolist()} for one in samples)
    shared = western & eastern
    assert len(shared) > 60
    sums = samples[0].merged(samples[1]).sums
    assert sums.tokens == len(shared)
    # the vectors of one place are at most half a token's diagonal apart
    assert np.arccos(min(1.0, sums.least)) * 6_371_000 < 2 * 71


def test_a_block_far_from_the_border_is_no_sample():
    lattice, rect = near_the_border("utm31", 3.0)
    assert len(zone_sample(lattice, rect, on_the_ground(lattice, rect)).places) == 0


def test_a_zone_that_is_turned_gives_the_cosine_of_its_turn():
    turned = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]], np.float32)
    flat = np.array([1, 0, 0], np.float32)[:, None, None]
    both = []
    for group, turn in (("utm31", np.eye(3, dtype=np.float32)), ("utm32", turned)):
        lattice, rect = near_the_border(group, 6.0)
        both.append(zone_sample(lattice, rect, np.einsum("ij,jrc->irc", turn, np.broadcast_to(flat, (3, 64, 64)))))
    sums = both[0].merged(both[1]).sums
    assert sums.tokens > 0
    assert sums.least == pytest.approx(np.cos(0.3), abs=1e-6)


def test_edges_of_blocks_give_what_whole_strips_give():
    tiling = Tiling(window=7, stride=6, block=24)
    rng = np.random.default_rng(5)
    field = np.cumsum(rng.normal(size=(4, 48, 48)), axis=2).astype(np.float32)
    whole = ScoreSums.none()
    for own in [Rect(48 + i, 72 + j, 72 + i, 96 + j) for i in (0, 24) for j in (0, 24)]:
        scores = {}
        for name, near in (("own", own), ("left", own._replace(left=own.left - 24, right=own.left)),
                           ("above", own._replace(top=own.top - 24, bottom=own.top))):  # fmt: skip
            if near & PLACE == near:
                vectors = field[:, *near.within(PLACE)]
                scores[name] = BlockScore(
                    ScoreSums.of(tiling, near, vectors), ZoneSample.none(), BlockEdges.of(vectors)
                )
        mine = scores["own"].beside(tiling, own, left=scores.get("left"), above=scores.get("above"))
        assert mine.edges is None
        whole += mine.sums
    expected = merged(tiling, PLACE, field, reach=1)
    np.testing.assert_array_equal(whole.gaps, expected.gaps)
    np.testing.assert_array_equal(whole.decay[0], expected.decay[0])
    for name in ("seam_median", "seam_p99", "block_median", "block_p99", "lattice", "tokens"):
        assert getattr(whole.scores(), name) == getattr(expected.scores(), name)


def test_vectors_one_block_apart_are_compared_by_the_first_rows_and_columns():
    tiling = Tiling(window=8, stride=8, block=64)
    first, later = np.array([[1.0], [0.0]], np.float32), np.array([[0.6], [0.8]], np.float32)
    edges = [np.repeat(one, 64, 1)[:, :, None] for one in (first, first, later)]
    sums = ScoreSums.across(tiling, 64, 2, before=(edges[0], edges[1]), after=edges[2])
    assert sums.decay[DISTANCES.index(64)].tolist() == pytest.approx([64, 64 * 0.6 * 2**24], rel=1e-6)
    assert sums.decay[DISTANCES.index(1)].tolist() == pytest.approx([64, 64 * 0.6 * 2**24], rel=1e-6)


def test_the_book_of_scores_survives_storage():
    lattice, rect = near_the_border("utm31", 6.0)
    vectors = on_the_ground(lattice, rect)
    book = ScoreBook()
    tiling = Tiling(window=12, stride=11, block=64)
    first = BlockScore(ScoreSums.of(tiling, rect, vectors), zone_sample(lattice, rect, vectors), None)
    book.add(first, "utm31/0", (3, 4))
    book.add(BlockScore(first.sums.without_positions, ZoneSample.none(), None), "utm31/1", (3, 4))
    again = ScoreBook.from_bytes(book.to_bytes(), "here")
    assert again.scores == book.scores
    assert again.blocks == 2
    assert again.scores.tokens == 64 * 64
    for where in ("utm31/0", "utm31/1"):
        again.add(first, where, BlockIndex(3, 4))  # repaired, it counts as before
    assert again.scores == book.scores
    again.add(first, "utm32/0", BlockIndex(3, 4))
    assert (again.blocks, again.scores.tokens) == (3, 2 * 64 * 64)
    with pytest.raises(StoreError, match="cannot be read"):
        ScoreBook.from_bytes(b"PK nonsense", "here")


# ------------------------------------------------------------------------------------------------------------- records
def test_scores_survive_json_and_sums_survive_storage():
    sums = merged(TILING, PLACE, turns(np.full(48, 0.01), np.full(48, 0.02)))
    scores = sums.scores(ZoneSums(3, 3 * 2**24, 0.9))
    assert MapScores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    stored = {name: np.array(value) for name, value in sums.arrays().items()}
    assert ScoreSums.from_arrays(stored).scores() == pickle.loads(pickle.dumps(sums)).scores() == sums.scores()
