"""Raw numbers that wait in half the memory come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.imagery.frame import LOST, RawParts
from rs_embed_dask.imagery.packed import PackedRaw, packed

SHAPE = (1, 2, 150, 70)
"""More numbers than are looked at together."""


def whole_numbers():
    return np.random.default_rng(1).integers(0, 2**16, SHAPE).astype(np.float32)


def with_gaps():
    raw = whole_numbers()
    raw[:, 1, 100:, 3:60] = np.nan
    return raw


@pytest.mark.parametrize("make", [whole_numbers, with_gaps])
def test_whole_numbers_come_back_from_half_the_memory(make):
    raw = make()
    kept = packed(raw.copy())
    assert isinstance(kept, PackedRaw)
    held = kept.numbers.nbytes + (0 if kept.missing is None else kept.missing.nbytes)
    assert held < 0.55 * raw.nbytes
    for rows in (slice(0, 150), slice(90, 140)):
        back = np.empty_like(raw[:, :, rows])
        kept.copy_rows(rows, back)
        np.testing.assert_array_equal(back, raw[:, :, rows])


@pytest.mark.parametrize("value", [0.5, -1, 2**16, LOST, np.inf])
def test_what_is_no_whole_number_of_16_bits_stays_as_it_is(value):
    raw = with_gaps()
    raw[0, 0, 149, 69] = value
    assert packed(raw) is raw


def test_what_was_not_read_takes_no_memory():
    nothing = np.broadcast_to(np.float32(np.nan), SHAPE)
    assert packed(nothing) is nothing


def test_strips_join_parts_of_either_kind():
    first, second = with_gaps(), whole_numbers()
    second[0, 0, 20] = 0.25
    parts = RawParts([[packed(first), first], [second, packed(first)]])
    assert parts.shape == (2, 4, 150, 70)
    whole = np.concatenate([np.concatenate(row, axis=1) for row in ((first, first), (second, first))])
    for rows in (slice(0, 150), slice(10, 30), slice(140, 160)):
        np.testing.assert_array_equal(parts.strip(rows), whole[:, :, rows])
    assert RawParts([[np.ones((1, 1, 2, 2), np.uint8)]]).strip(slice(0, 1)).dtype == np.uint8
