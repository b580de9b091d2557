"""A frame from the parts in which it was read: strip by strip it is what it is at once, bit for bit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from rs_embed_dask.imagery import frame
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.frame import LOST, RawParts, make_frame, recipe_for
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.specs import FetchSpec
from tests.services.scenes import grid

RANDOM = np.random.default_rng(3)
JUNE = Span(dt.date(2022, 6, 1), dt.date(2022, 7, 1))


def scenes(n):
    properties = {"s2:processing_baseline": "04.00", "s2:mgrs_tile": "31UFS", "platform": "Sentinel-2A"}
    days = (dt.datetime(2022, 6, 1 + 5 * number, 10, tzinfo=dt.UTC) for number in range(n))
    return [Scene(f"S{number}", day, 0.0, properties) for number, day in enumerate(days)]


def recipe(how):
    read = Read(grid(size=9), "sentinel-2-l2a", ("B02", "B04"), (JUNE,), FetchSpec(mask="scl", composite=how))
    return recipe_for(read, source("planetary_computer", "sentinel-2-l2a"))


def raw(n):
    numbers = RANDOM.integers(0, 4000, (n, 3, 9, 9)).astype(np.float32)
    numbers[:, 2] = RANDOM.choice([4, 8], (n, 9, 9))
    numbers[RANDOM.random(numbers.shape) < 0.1] = np.nan
    return numbers


@pytest.mark.parametrize("how", ["median", "mosaic", "clearest"])
@pytest.mark.parametrize("n", [1, 4])
def test_parts_and_strips_give_the_whole_bit_for_bit(monkeypatch, how, n):
    whole = raw(n)
    if n > 1:
        whole[2, 1] = LOST
    kept = whole.copy()
    expected = make_frame(whole, scenes(n), recipe(how))
    np.testing.assert_array_equal(whole, kept)  # what others may hold too is not worked on
    monkeypatch.setattr(frame, "_VALUES_AT_ONCE", n * 3 * 9 * 2)
    parts = RawParts([[whole[k : k + 1, :2], whole[k : k + 1, 2:]] for k in range(n)])
    got = make_frame(parts, scenes(n), recipe(how))
    for name in ("values", "n_obs", "used", "lost"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    assert got.lost.tolist() == [k == 2 for k in range(n)]
    assert np.isfinite(got.values).any()
