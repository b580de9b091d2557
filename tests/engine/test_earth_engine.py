"""Earth Engine at cluster scale: one request per place, one cap over all workers, and kills that cost nothing (R19)."""

from __future__ import annotations

import os
import signal

import dask
import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

import rs_embed_dask as rs
from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.watch import Options, current_workers
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.store import Status, Store
from tests.engine.fakes import Places, place, plan_of, store_of, until
from tests.engine.processes import Processes
from tests.engine.test_kills import in_thread
from tests.providers.earth_truth import band, nanmedian, seen
from tests.services.earth import world

COUNT, CAP = 20, 3
TILE = ("EPSG:32631", 420_000.0, 5_600_040.0)  # has all places of `Places`
DAYS = ("2022-06-03T10:30:00", "2022-06-08T10:30:00", "2022-06-18T10:30:00")
QUIET = Options(progress=False)
QUICK_LEASES = {
    "distributed.scheduler.locks.lease-timeout": "2s",
    "distributed.scheduler.locks.lease-validation-interval": "200ms",
}


@pytest.fixture(scope="module")
def two_workers():
    """Two worker processes that both read and embed. Leases of a killed one end soon, and not after half a minute."""
    shared = {"host": "127.0.0.1", "memory_limit": 0, "dashboard": False, "nthreads": 8}
    workers = {
        f"both-{n}": {"cls": Nanny, "options": shared | {"name": f"earth-{n}", "resources": {"FETCH": 6, "EMBED": 1}}}
        for n in range(2)
    }
    where = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set(QUICK_LEASES),
        SpecCluster(workers=workers, scheduler={"cls": Scheduler, "options": where}) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(two_workers):
    with Client(two_workers, set_as_default=False) as connected:
        connected.wait_for_workers(2, timeout=60)
        yield connected


@pytest.fixture
def scenes(earth):
    made = [world.s2(TILE, day)[0] for day in DAYS]
    earth.serve(*made)
    return made


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path)
    yield made
    made.close()


def means(scenes, index):
    """What the model makes of an item: means of the clear pixels' median."""
    grid = grid_for(place(index), 10)
    clear = np.stack([~np.isin(seen(s.bands["SCL"], grid)[0], (0, 1, 3, 8, 9, 10)) for s in scenes])
    stacks = (np.where(clear, band(scenes, name, grid), np.nan) for name in ("B2", "B3", "B4"))
    return [np.nanmean(nanmedian(stack).astype(np.float32)) for stack in stacks]


def assert_right(target, scenes):
    store = Store.open(target)
    found = store.values("means", "embedding")
    np.testing.assert_allclose(found, [means(scenes, index) for index in range(COUNT)], rtol=1e-6)
    counts = store.counts()["means"]
    assert counts.get(Status.OK, 0) + counts.get(Status.PARTIAL, 0) == COUNT


def finished(store):
    counts = store.counts()["means"]
    return counts.get(Status.OK, 0) + counts.get(Status.PARTIAL, 0)


def test_r19_requests_are_places_and_never_more_at_once_than_the_cap(earth, scenes, client, tmp_path):
    earth.set(latency_s=0.05)
    plan = plan_of(Places(COUNT), earth.provider(at_once=CAP))
    report = run_plan(plan, store_of(plan, tmp_path / "run.zarr"), client, options=QUIET)
    assert report.is_over
    said = earth.report()
    assert said["counts"] == {"discovery": 4, "algorithms": 2, "pixels": COUNT}
    assert said["statuses"] == {"200": COUNT + 6}
    assert 1 < said["peak"] <= CAP
    assert_right(tmp_path / "run.zarr", scenes)


def test_r19_a_killed_worker_costs_the_requests_that_it_had_in_flight(earth, scenes, client, tmp_path):
    earth.set(latency_s=0.1)
    plan = plan_of(Places(COUNT), earth.provider(at_once=CAP), chunk_items=4)
    store = store_of(plan, tmp_path / "run.zarr")
    thread, done = in_thread(plan, store, client, QUIET)
    until(lambda: finished(store) >= 4)
    address, *_ = current_workers(client)
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
    thread.join(90)
    assert done["report"].is_over
    said = earth.report()
    assert said["counts"]["pixels"] <= COUNT + 12  # at most what its tasks had read and not yet embedded
    assert said["peak"] <= CAP + CAP  # what it had sent goes on at the service until it is answered
    assert_right(tmp_path / "run.zarr", scenes)


def test_a_killed_client_resumes_with_the_requests_that_are_left(earth, scenes, client, processes, tmp_path):
    earth.set(latency_s=0.1)
    plan = plan_of(Places(COUNT), earth.provider(at_once=CAP), chunk_items=4)
    store = store_of(plan, tmp_path / "run.zarr")
    processes.client(plan, tmp_path / "run.zarr", client.scheduler.address)
    until(lambda: finished(store) >= 8)
    processes.kill("client")
    until(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0)
    until(lambda: not any(client.run(lambda dask_worker: len(dask_worker.state.all_running_tasks)).values()))
    left = COUNT - finished(store)
    earth.forget()
    earth.set(latency_s=0.0)
    report = run_plan(plan, store, client, options=QUIET)
    assert 0 < report.totals.reads == earth.counts("pixels") <= left
    assert_right(tmp_path / "run.zarr", scenes)
    earth.forget()
    assert run_plan(plan, store, client, options=QUIET).totals.reads == 0
    assert earth.report()["counts"] == {}


def test_the_public_call_embeds_places_by_two_models_with_a_request_each(earth, scenes, client, tmp_path):
    """``backend="gee"`` in rs-embed's words; two models of one sensor share the request of a place."""
    earth.set(latency_s=0.02)
    provider = earth.provider(at_once=CAP)
    assert rs.open_provider("gee", **{k: v for k, v in provider.describe().items() if k != "name"}) == provider
    span = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
    places = [place(index) for index in range(6)] + [rs.PointBuffer(60.0, 10.0, 40)]
    options = {"client": client, "progress": False, "fetch": rs.FetchSpec(max_cloud_pct=80)}
    earth.forget()
    found = rs.compute_embeddings(
        places, ["rcf", "bandstats"], span, backend=provider, out=tmp_path / "run.zarr", **options
    )
    assert earth.counts("pixels") == len(places)
    assert earth.report()["peak"] <= CAP
    assert found["rcf"].embedding.to_pandas().shape[0] == len(places)
    for model in ("rcf", "bandstats"):
        assert np.isfinite(found[model].embedding.values[:6]).all()
        assert (found[model].status.values[:6] != Status.NO_DATA).all()
        assert found[model].status.values[6] == Status.NO_DATA
        assert set(found[model].first_date.values[:6].astype("datetime64[D]").astype(str)) == {DAYS[0][:10]}
        assert set(found[model].last_date.values[:6].astype("datetime64[D]").astype(str)) == {DAYS[2][:10]}
    again = rs.compute_embeddings(
        places, ["rcf", "bandstats"], span, provider=provider, out=tmp_path / "run.zarr", **options
    )
    assert earth.counts("pixels") == len(places)
    np.testing.assert_array_equal(again["rcf"].embedding.values, found["rcf"].embedding.values)
