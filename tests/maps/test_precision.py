"""Precision: what each type stores, refuses and loses."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.maps.precision import NODATA, PRECISIONS, Loss, decode, encode


def vectors(dim=64, size=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(dim, 9, 7)) * size).astype(np.float32)


def cosine_loss(before, after):
    one, other = before.astype(np.float64), after.astype(np.float64)
    return 1 - (one * other).sum(0) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)


def test_float32_loses_nothing():
    stored = encode(vectors(), "float32")
    np.testing.assert_array_equal(stored.values, vectors())
    assert stored.scale is None
    assert stored.loss == Loss(63, 0, 0.0)


def test_float16_keeps_eleven_bits():
    stored = encode(vectors(), "float16")
    assert stored.values.dtype == np.float16
    np.testing.assert_allclose(decode(stored.values), vectors(), rtol=2**-11)
    assert 0 < stored.loss.mean < stored.loss.worst < 2**-23


@pytest.mark.parametrize("value", [65504.0, -65504.0])
def test_float16_holds_its_largest_number(value):
    stored = encode(np.full((2, 1, 1), value, np.float32), "float16")
    np.testing.assert_array_equal(decode(stored.values), value)


@pytest.mark.parametrize("value", [65505.0, -70000.0, np.inf])
def test_float16_refuses_what_it_cannot_hold(value):
    values = np.array([np.nan, 1, value], np.float32).reshape(1, 1, 3)
    with pytest.raises(SpecError, match=r'numbers reach .* and float16 holds 65,504 at most\. Fix: .*dtype="float32"'):
        encode(values, "float16")


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("dim", [1, 16, 768])
def test_int8_is_off_by_at_most_half_a_step(dim, size):
    values = vectors(dim, size)
    stored = encode(values, "int8")
    assert (stored.values.dtype, stored.scale.dtype) == (np.int8, np.float16)
    assert stored.scale.shape == (9, 7)
    step = np.abs(values).max(axis=0) / 127
    assert (np.abs(stored.values.astype(int)).max(axis=0)[step > 2**-14] == 127).all()
    assert (stored.scale >= step * (1 - 1e-6)).all()
    # the scale is rounded up to float16, whose numbers of this size are 2^-10, or 2^-24, apart
    assert (np.abs(decode(stored.values, stored.scale) - values) <= (step * (1 + 2**-10) + 2**-24) * 0.5001).all()


def test_the_loss_is_that_of_the_cosine():
    for dtype in ("float16", "int8"):
        stored = encode(vectors(), dtype)
        lost = cosine_loss(vectors(), decode(stored.values, stored.scale))
        assert stored.loss.mean == pytest.approx(lost.mean(), rel=1e-3, abs=1e-10)
        assert stored.loss.worst == pytest.approx(lost.max(), rel=1e-3, abs=1e-10)
    # half a step of 1/127 of the longest number, evenly distributed: a known order of magnitude
    assert 1e-5 < encode(vectors(), "int8").loss.mean < 1e-4


def test_int8_codes_are_symmetric():
    ramp = np.linspace(-1, 1, 255, dtype=np.float32)[:, None, None]
    codes = encode(ramp, "int8").values[:, 0, 0]
    np.testing.assert_array_equal(codes, -codes[::-1])
    assert (codes.min(), codes.max()) == (-127, 127)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_what_is_missing_stays_missing(dtype):
    values = vectors()
    values[:, 2, 3] = np.nan
    values[5, 4, 4] = np.nan
    stored = encode(values, dtype)
    after = decode(stored.values, stored.scale)
    assert np.isnan(after[:, 2, 3]).all()
    assert np.isnan(after[5, 4, 4])
    assert stored.loss.tokens == 61
    if dtype == "int8":
        assert (stored.values[:, 2, 3] == NODATA).all()
        assert (stored.values[:, 4, 4] == NODATA).all()
        assert (stored.values == NODATA).sum() == 2 * 64
        assert np.isnan(stored.scale).sum() == 2


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_vector_of_zeros_stays_one_and_loses_nothing(dtype):
    values = vectors()
    values[:, 0, 0] = 0
    stored = encode(values, dtype)
    assert not decode(stored.values, stored.scale)[:, 0, 0].any()
    assert stored.loss.tokens == 62


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_vector_that_vanishes_has_lost_everything(dtype):
    values = vectors()
    values[:, 1, 1] *= np.float32(1e-12)
    loss = encode(values, dtype).loss
    assert loss.worst == 1.0
    assert loss.mean == pytest.approx(1 / 63, rel=0.01)


def test_int8_refuses_what_its_scale_cannot_hold():
    encode(np.full((2, 1, 1), 65504.0 * 127, np.float32), "int8")
    for value in (65600.0 * 127, np.inf):
        with pytest.raises(SpecError, match=r'int8 holds 8,319,008 at most\. Fix: .*dtype="float32"'):
            encode(np.full((2, 1, 1), value, np.float32), "int8")


def test_nothing_at_all_is_stored_too():
    for dtype in PRECISIONS:
        stored = encode(np.full((3, 2, 2), np.nan, np.float32), dtype)
        assert np.isnan(decode(stored.values, stored.scale)).all()
        assert stored.loss == Loss()
        assert stored.loss.mean == 0


def test_losses_merge_to_the_same_in_any_split_and_order():
    values = vectors()
    whole = encode(values, "int8").loss
    parts = [encode(values[:, row : row + 1], "int8").loss for row in range(9)]
    assert reduce(add, parts) == reduce(add, parts[::-1]) == whole
    assert Loss.from_json(whole.to_json()) == whole


def test_int8_without_its_scale_and_unknown_types_are_refused():
    with pytest.raises(SpecError, match="scale per token"):
        decode(np.zeros((2, 1, 1), np.int8))
    with pytest.raises(UnknownNameError, match="float16"):
        encode(vectors(), "float64")
