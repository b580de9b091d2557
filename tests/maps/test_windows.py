"""Windows, tiles and blending: each pixel once, each window once, blocks equal to one array."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.blend import divided, summed, weights_of
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.windows import BlockIndex, Tiles, Tiling
from tests.maps.stream import Stream, encode, pixels_of

PATCH = 2
TILINGS = [
    Tiling(window=4, stride=4, block=8, patch_px=PATCH),
    Tiling(window=4, stride=3, block=8, patch_px=PATCH),
    Tiling(window=6, stride=5, block=8, patch_px=PATCH),
    Tiling(window=8, stride=3, block=8, patch_px=PATCH),
    Tiling(window=1, stride=1, block=8, patch_px=PATCH),
    Tiling(window=10, stride=8, block=8, patch_px=PATCH, rim=1),
    Tiling(window=4, stride=4, block=8, patch_px=PATCH, least_margin=3),
]
SHAPES = {
    "one block": [(3, 4)],
    "a square": [(i, j) for i in (2, 3, 4) for j in (5, 6, 7)],
    "an L": [(2, 2), (3, 2), (4, 2), (4, 3)],
    "a gamma": [(2, 2), (2, 3), (2, 4), (3, 2)],
    "a step": [(2, 4), (3, 3), (4, 2)],
    "a hole": [(i, j) for i in (1, 2, 3) for j in (1, 2, 3) if (i, j) != (2, 2)],
    "islands": [(1, 1), (1, 3), (4, 2)],
}


def one_array(tiling, blocks):
    """The same map by way of one array that holds everything around the blocks."""
    size = tiling.block
    rows, cols = [row for row, _ in blocks], [col for _, col in blocks]
    inner = Rect(min(rows) * size, min(cols) * size, (max(rows) + 1) * size, (max(cols) + 1) * size)
    starts = (
        range(tiling.reaching(inner.top), inner.bottom, tiling.stride),
        range(tiling.reaching(inner.left), inner.right, tiling.stride),
    )
    over = Rect(starts[0][0], starts[1][0], inner.bottom + tiling.window, inner.right + tiling.window)
    pixels = pixels_of(over, PATCH)
    windows = [Rect(row, col, row + tiling.window, col + tiling.window) for row in starts[0] for col in starts[1]]
    vectors = np.stack([encode(pixels[:, *window.within(over, PATCH)], PATCH) for window in windows])
    whole = divided(summed(vectors, starts, over=over, weights=weights_of(tiling)))
    rect = {
        block: Rect(block[0] * size, block[1] * size, (block[0] + 1) * size, (block[1] + 1) * size) for block in blocks
    }
    return {block: whole[:, *rect[block].within(over)] for block in blocks}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tiling", TILINGS, ids=repr)
def test_blocks_equal_one_array_and_windows_run_once(tiling, shape):
    blocks = SHAPES[shape]
    stream = Stream(Tiles.of(tiling, blocks)).run()
    expected = one_array(tiling, blocks)
    assert set(stream.blocks) == set(blocks)
    for block in blocks:
        assert np.isfinite(stream.blocks[block]).all()
        np.testing.assert_allclose(stream.blocks[block], expected[block], rtol=1e-6, atol=1e-6)
    assert set(stream.windows.values()) == {1}


@pytest.mark.parametrize("tiling", TILINGS, ids=repr)
def test_a_rectangle_reads_each_pixel_once(tiling):
    stream = Stream(Tiles.of(tiling, SHAPES["a square"])).run()
    assert set(np.unique(stream.reads)) == {0, 1}


@pytest.mark.parametrize("tiling", TILINGS, ids=repr)
def test_regions_that_share_a_block_agree_to_the_bit(tiling):
    a = Stream(Tiles.of(tiling, SHAPES["a square"])).run()
    b = Stream(Tiles.of(tiling, [(3, 6), (3, 7), (3, 8), (9, 9)])).run()
    for block in ((3, 6), (3, 7)):
        np.testing.assert_array_equal(a.blocks[block], b.blocks[block])


def test_only_windows_that_reach_a_wanted_block_run():
    tiling = Tiling(window=4, stride=2, block=8)
    tiles = Tiles.of(tiling, [(1, 1)])
    assert tiles.order == (BlockIndex(0, 0), BlockIndex(0, 1), BlockIndex(1, 0), BlockIndex(1, 1))
    assert tiles.starts(BlockIndex(0, 0)) == (range(6, 8, 2), range(6, 8, 2))
    assert tiles.starts(BlockIndex(0, 1)) == (range(6, 8, 2), range(8, 16, 2))
    assert tiles.starts(BlockIndex(1, 1)) == (range(8, 16, 2), range(8, 16, 2))
    assert tiles.field(BlockIndex(1, 1)) == Rect(8, 8, 18, 18)
    assert tiles.source(BlockIndex(1, 1)) == Rect(10, 10, 18, 18)
    assert tiles.source(BlockIndex(0, 0)) == Rect(6, 6, 10, 10)


def test_overlap_becomes_whole_tokens_and_is_stated():
    tiling = Tiling.of(12, 1 / 12, block=64)
    assert (tiling.stride, tiling.overlap, tiling.margin) == (11, pytest.approx(1 / 12), 11)
    rounded = Tiling.of(14, 1 / 6, block=64)
    assert (rounded.stride, rounded.overlap) == (12, pytest.approx(1 / 7))
    assert Tiling.of(12, 0, block=64).margin == 8
    assert Tiling.of(1, 0, block=64).margin == 0


@pytest.mark.parametrize("overlap", [1, -0.1, float("nan"), "half"])
def test_overlaps_that_cannot_be_are_refused(overlap):
    with pytest.raises(SpecError, match="overlap"):
        Tiling.of(12, overlap, block=64)


def test_a_missing_token_weighs_nothing():
    vectors = np.ones((1, 1, 2, 2), np.float32)
    vectors[0, 0, 0, 1] = np.nan
    total = summed(vectors, (range(1), range(1)), over=Rect(0, 0, 2, 2), weights=weights_of(Tiling(2, 2, 8)))
    blended = divided(total)[0]
    assert np.isnan(blended[0, 1])
    assert blended[0, 0] == blended[1, 1] == 1


@pytest.mark.parametrize("tiling", [one for one in TILINGS if one.window > 1 and not one.rim], ids=repr)
def test_positions_removed_after_blending_equal_positions_removed_before(tiling):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(3, tiling.window, tiling.window)).astype(np.float32)
    blocks = SHAPES["an L"]
    kept = Stream(Tiles.of(tiling, blocks)).run().blocks
    removed = Stream(Tiles.of(tiling, blocks), model=lambda w, p: encode(w, p) - table).run().blocks
    alone = Stream(Tiles.of(tiling, blocks), model=lambda w, p: np.broadcast_to(table, encode(w, p).shape)).run().blocks
    for block in blocks:
        np.testing.assert_allclose(removed[block], kept[block] - alone[block], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_any_set_of_blocks_is_covered(seed):
    rng = np.random.default_rng(seed)
    blocks = [(int(i), int(j)) for i, j in np.argwhere(rng.random((6, 6)) < rng.uniform(0.1, 0.9)) + 2] or [(2, 2)]
    tiling = TILINGS[seed % len(TILINGS)]
    stream = Stream(Tiles.of(tiling, blocks)).run()
    expected = one_array(tiling, blocks)
    for block in blocks:
        np.testing.assert_allclose(stream.blocks[block], expected[block], rtol=1e-6, atol=1e-6)
    assert set(stream.windows.values()) == {1}
    # a pixel in the inner corner of a region may be read by two tiles, none by more
    assert stream.reads.max() <= 2
    assert (stream.reads == 2).sum() < 0.1 * (stream.reads > 0).sum()


def test_a_rim_gives_surroundings_and_no_vectors():
    tiling = Tiling(window=10, stride=8, block=8, rim=1)
    assert tiling.margin == 2
    assert weights_of(tiling)[:, 0].max() == 0
    assert weights_of(tiling)[1:-1, 1:-1].min() == 1


@pytest.mark.parametrize("sizes", [{"window": 18, "stride": 3}, {"window": 4, "stride": 5}, {"window": 4, "rim": 2}])
def test_windows_that_leave_gaps_or_reach_too_far_are_refused(sizes):
    with pytest.raises(SpecError, match="Tiling"):
        Tiling(**{"stride": 1, "block": 8} | sizes)
