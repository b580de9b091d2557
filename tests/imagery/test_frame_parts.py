"""A frame from the layers that were read: strip by strip it is what it is at once, bit for bit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from rs_embed_dask.imagery import frame
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.frame import make_frame, recipe_for
from rs_embed_dask.imagery.layers import LOST, RawLayer, RawLayers
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
def test_layers_and_strips_give_the_whole_bit_for_bit(monkeypatch, how, n):
    whole = raw(n)
    if n > 1:
        whole[2, 1] = LOST
    kept = whole.copy()
    expected = make_frame(whole, scenes(n), recipe(how))
    np.testing.assert_array_equal(whole, kept)  # what others may hold too is not worked on
    monkeypatch.setattr(frame, "_VALUES_AT_ONCE", n * 3 * 9 * 2)
    layers = RawLayers(tuple(tuple(RawLayer(layer) for layer in scene) for scene in whole))
    into = np.empty((2, 9, 9), np.float32)
    got = make_frame(layers, scenes(n), recipe(how), into=into)
    assert got.values is into
    for name in ("values", "n_obs", "used", "lost"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    assert got.lost.tolist() == [k == 2 for k in range(n)]
    assert np.isfinite(got.values).any()


def test_the_clearest_scene_is_that_of_the_whole_image(monkeypatch):
    monkeypatch.setattr(frame, "_VALUES_AT_ONCE", 1)
    whole = np.full((2, 3, 9, 9), 1500, np.float32)
    whole[1, :2], whole[:, 2] = 2500, 4
    whole[0, 2, :3] = 8  # a cloud over three rows of the first scene
    got = make_frame(whole, scenes(2), recipe("clearest"))
    assert np.unique(got.values).tolist() == [1500.0]  # of the second everywhere, less the offset of its baseline
    assert got.used.tolist() == [0, 81]


@pytest.mark.parametrize(("how", "n", "strips"), [("median", 1, 9), ("clearest", 4, 1), ("median", 4, 9)])
def test_only_what_is_composited_pixel_by_pixel_is_made_in_strips(monkeypatch, how, n, strips):
    made, composited = [], frame._composited
    monkeypatch.setattr(frame, "_composited", lambda *given: made.append(1) or composited(*given))
    monkeypatch.setattr(frame, "_VALUES_AT_ONCE", 1)
    make_frame(raw(n), scenes(n), recipe(how))
    assert len(made) == strips
