"""Two worker processes read what one process reads, and each asks for its own token once (R9, R22, R26)."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster

from rs_embed_dask.engine.watch import current_workers
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.scenes import seam_scenes

JUNE = Span("2022-06-01", "2022-07-01")


@pytest.fixture
def seam(azure):
    return azure(*seam_scenes())


@pytest.fixture
def client(seam):
    """Workers are started after the service, whose address they take from the environment."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


def reads():
    for n in range(6):
        where = Grid("EPSG:32631", (10.0, 0.0, 707_500.0 + 170 * n, 0.0, -10.0, 5_709_500.0 - 90 * n), (40, 50))
        for how in ("median", "mosaic"):
            yield Read(where, "sentinel-2-l2a", ("red",), (JUNE,), FetchSpec(mask="none", composite=how))


def test_r09_two_processes_give_what_one_gives(seam, client):
    provider = PlanetaryComputer(seam.url)
    places = list(reads())
    alone = [load(provider, place) for place in places]
    seam.forget_calls()
    workers = list(current_workers(client))
    futures = [client.submit(load, provider, place, workers=workers[n % 2]) for n, place in enumerate(places)]
    together = client.gather(futures)
    for one, other in zip(alone, together, strict=True):
        assert np.isfinite(one.values).all()
        np.testing.assert_array_equal(other.values, one.values)
        np.testing.assert_array_equal(other.n_obs, one.n_obs)
        assert other.scenes == one.scenes
        assert other.dates == one.dates
    assert seam.counts()["token"] == 2

    lazy = provider.cube(places[0])
    np.testing.assert_array_equal(client.compute(lazy.pixels.data).result(), alone[0].values)
    assert seam.counts()["token"] == 2
