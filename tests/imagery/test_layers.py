"""Raw numbers that wait as they are in the file come back as 32-bit floats, NaN where they are missing."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.imagery.layers import LOST, RawLayer, RawLayers

RANDOM = np.random.default_rng(1)
SHAPE = (150, 70)
WHOLE = RANDOM.integers(0, 2**16, SHAPE).astype(np.uint16)
GAPS = RANDOM.random(SHAPE) < 0.2
FRACTIONS = np.where(GAPS, np.nan, RANDOM.normal(size=SHAPE)).astype(np.float32)


def with_gaps(numbers):
    return np.where(GAPS, np.float32(np.nan), numbers.astype(np.float32))


KINDS = {
    "whole": (RawLayer.of(WHOLE, None), WHOLE.astype(np.float32)),
    "nothing missing": (RawLayer.of(WHOLE, np.zeros(SHAPE, bool)), WHOLE.astype(np.float32)),
    "with gaps": (RawLayer.of(WHOLE, GAPS), with_gaps(WHOLE)),
    "signed": (RawLayer.of((WHOLE - 40_000.0).astype(np.int32), GAPS), with_gaps(WHOLE - 40_000.0)),
    "fractions": (RawLayer.of(FRACTIONS, None), FRACTIONS),
    "lost": (RawLayer.filled(LOST, SHAPE), np.full(SHAPE, LOST)),
}


@pytest.mark.parametrize(("layer", "expected"), KINDS.values(), ids=KINDS)
def test_numbers_come_back_in_any_rows(layer, expected):
    for rows in (slice(0, 150), slice(90, 140), slice(149, 200)):
        back = np.empty_like(expected[rows])
        layer.copy_rows(rows, back)
        np.testing.assert_array_equal(back, expected[rows])


def test_sixteen_bits_wait_in_half_the_memory_and_one_number_in_none():
    held = RawLayer.of(WHOLE, GAPS)
    assert held.numbers.nbytes + held.missing.nbytes < 0.6 * WHOLE.size * 4
    assert RawLayer.of(WHOLE, np.zeros(SHAPE, bool)).missing is None
    assert RawLayer.filled(LOST, SHAPE).numbers.strides == (0, 0)


def test_strips_join_layers_of_any_type():
    chosen = [KINDS[name] for name in ("with gaps", "fractions", "lost", "signed", "whole", "nothing missing")]
    table = RawLayers(tuple(tuple(layer for layer, _ in chosen[at : at + 3]) for at in (0, 3)))
    assert table.shape == (2, 3, *SHAPE)
    whole = np.stack([np.stack([values for _, values in chosen[at : at + 3]]) for at in (0, 3)])
    for rows in (slice(0, 150), slice(10, 30), slice(140, 160)):
        np.testing.assert_array_equal(table.strip(rows), whole[:, :, rows])


def test_blocks_of_any_type_are_joined_and_lost_where_one_is():
    whole, gaps, part = (KINDS[name] for name in ("whole", "with gaps", "fractions"))
    joined = RawLayer.joined([[whole[0], gaps[0]], [part[0], gaps[0]]])
    back = np.empty((300, 140), np.float32)
    joined.copy_rows(slice(None), back)
    np.testing.assert_array_equal(back, np.block([[whole[1], gaps[1]], [part[1], gaps[1]]]))
    lost = RawLayer.joined([[whole[0], KINDS["lost"][0]]])
    assert lost.numbers.shape == (150, 140)
    assert (lost.numbers == LOST).all()
    assert RawLayer.joined([[whole[0]]]) is whole[0]
