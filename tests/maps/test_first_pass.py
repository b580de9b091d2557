"""The first pass measures positions in one span; its pixels serve that span alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.maps import compute as computing
from rs_embed_dask.maps.compute import compute
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.maps.topup import store_for
from rs_embed_dask.store import BlockKey, BlockResult, Status
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-06-12")
AUGUST = rs.TemporalSpec.range("2022-08-01", "2022-08-12")
BORDER = rs.BBox(5.995, 50.901, 6.005, 50.905)


@pytest.fixture(scope="module")
def windowed():
    """A model in windows of 16 x 16 tokens whose edges show in its vectors, and which costs next to nothing."""
    card = models.card("rcf")
    inputs = tuple(replace(one, native=False, size_px=64) for one in card.inputs)
    rs.register_model(replace(card, id="windowed_rcf", aliases=(), inputs=inputs), models.factory("rcf"))
    return {"id": "windowed_rcf", "options": {"bands": ("red", "nir"), "features": 4, "patch_px": 4}}


def run_of(model, spans, positions="removed"):
    request = request_of(model, {"provider": rs.open_provider("synthetic", cloud=0.0)})
    return MapRun(Region.of(BORDER), MapRequest(request, spans, dtype="float32", positions=positions))


def test_pixels_of_the_first_pass_are_not_taken_for_those_of_another_span(
    threads_client, tmp_path, windowed, monkeypatch
):
    """In the western zone June is done, without a vector: the first pass takes August, the main pass June first."""
    path, alone, main = tmp_path / "both.zarr", tmp_path / "june.zarr", []
    store = store_for(run_of(windowed, (JUNE, AUGUST)), path)
    for at in store.asked("windowed_rcf", "utm31", 0):
        store.write_block(BlockKey("windowed_rcf", "utm31", 0, *at), BlockResult(Status.NO_DATA, reason="sea"))
    stream = computing.stream

    def noted(cluster, work, job, *, first, **options):
        main.append((work.lattice.group, job.temporal, first is not None and bool(first.pixels)))
        return stream(cluster, work, job, first=first, **options)

    monkeypatch.setattr(computing, "stream", noted)
    compute(run_of(windowed, (JUNE, AUGUST)), path, client=threads_client)
    assert main == [("utm31", AUGUST, True), ("utm32", JUNE, False), ("utm32", AUGUST, True)]
    table = MapStore.open(path).table("windowed_rcf")
    assert np.abs(table.mean).max() > 0.01
    compute(run_of(windowed, (JUNE,), table), alone, client=threads_client)
    here, there = (open_map(one)["windowed_rcf"]["utm32"].embedding.values for one in (path, alone))
    assert np.isfinite(there).any()
    np.testing.assert_allclose(here[0], there[0], rtol=1e-6, atol=1e-6)
    assert np.nanmax(np.abs(here[1] - here[0])) > 0.01
