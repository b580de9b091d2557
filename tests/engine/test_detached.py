"""Detached runs: who submits may leave, a driver that is killed goes on elsewhere, and a cancelled run continues."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from zarr.storage import MemoryStore

import rs_embed_dask as rs
from rs_embed_dask.engine import detached
from rs_embed_dask.engine.leaving import LeavingWorker
from rs_embed_dask.engine.watch import current_workers
from rs_embed_dask.errors import (
    EngineError,
    LicenceError,
    PlanError,
    RsEmbedError,
    SpecError,
    StoreBusyError,
    StoreError,
    UnknownNameError,
)
from rs_embed_dask.store import Location, Status, Store, leased
from tests.engine.caller import MODEL, SPAN, call, place
from tests.engine.fakes import die, until
from tests.engine.faulty import Faulty

COUNT, FIRST, CHUNK = 12, 8, 4
SEED = {"seed": 3}


@dataclass(frozen=True)
class Held(Faulty):
    """A provider that reads what lies far east, such as the last place, of the third chunk, once a file is there."""

    go: str = ""
    east: float = 4 + (COUNT - 1.5) * 0.05
    name = "held"

    def cube(self, read):
        if read.grid.center_lonlat[0] > self.east:
            until(Path(self.go).exists)
        return self.provider.cube(read)


@pytest.fixture
def go(tmp_path):
    """The file for which the last read waits; none waits for it when the test is over."""
    yield tmp_path / "go"
    (tmp_path / "go").touch()


@pytest.fixture
def held(go):
    return Held(rs.open_provider("synthetic", **SEED), (), go=str(go))


@pytest.fixture
def connect(nannies):
    """Clients by address, as another machine has them."""
    made = []

    def one():
        made.append(Client(nannies.scheduler_address, set_as_default=False))
        made[-1].wait_for_workers(2, timeout=60)
        return made[-1]

    yield one
    for client in made:
        client.close()


def submitted(out, client, provider, count=COUNT, **options):
    return rs.submit(
        rs.compute_embeddings,
        [place(number) for number in range(count)],
        MODEL,
        SPAN,
        out=out,
        client=client,
        provider=provider,
        chunk_items=CHUNK,
        **options,
    )


def n_ok(out):
    return Store.open(out).counts()[MODEL].get(Status.OK, 0)


def driver_of(client, run):
    """The address of the worker that has a run's driver."""
    (address,) = drivers(client)
    assert run.status().state == "running"
    return address


def drivers(client):
    """The addresses of the workers that have the driver of a run."""
    return [at for at, keys in client.processing().items() if any(str(key).startswith(detached.DRIVER) for key in keys)]


@pytest.fixture(scope="session")
def undisturbed(threads_client, tmp_path_factory):
    """The vectors of a run that nobody disturbs."""
    tree = call(tmp_path_factory.mktemp("alone") / "run.zarr", range(COUNT), threads_client)
    return tree[MODEL]["embedding"].to_numpy()


def assert_whole(out, undisturbed):
    store = Store.open(out)
    assert store.counts() == {MODEL: {Status.OK: COUNT}}
    np.testing.assert_array_equal(store.values(MODEL, "embedding"), undisturbed)


def test_a_part_is_submitted_and_the_rest_computed_elsewhere(connect, threads_client, undisturbed, tmp_path):
    out, provider = tmp_path / "run.zarr", rs.open_provider("synthetic", **SEED)
    run = submitted(out, connect(), provider, part=(2, 2))
    assert run.wait(timeout=120).state == "stopped"
    assert Store.open(out).counts()[MODEL] == {Status.PENDING: CHUNK, Status.OK: 2 * CHUNK}
    call(out, range(COUNT), threads_client, part=(1, 2))
    assert run.status().state == "complete"
    np.testing.assert_array_equal(Store.open(out).values(MODEL, "embedding"), undisturbed)


def test_who_submits_may_leave_and_another_gets_the_result(connect, held, go, undisturbed, tmp_path):
    first, out = connect(), tmp_path / "run.zarr"
    run = submitted(out, first, held)
    assert repr(run) == f"DetachedRun({str(out)!r} on {first.scheduler.address})"
    until(lambda: n_ok(out) == FIRST)
    with pytest.raises(StoreBusyError, match="on that cluster already"):
        submitted(out, first, held)
    first.close()
    again = rs.DetachedRun(out, connect())
    assert again == run
    status = again.wait(timeout=0)
    assert (status.state, status.done, status.total, status.problems) == ("running", FIRST, COUNT, ())
    assert [one.chunks for one in status.holders] == [(0, None)]
    go.touch()
    end = again.wait(120)
    assert (end.state, end.share, end.holders) == ("complete", 1.0, ())
    assert_whole(out, undisturbed)
    assert again.client.list_datasets() == ()
    assert again.wait() == again.status() or again.status().state == "complete"


def test_a_driver_whose_worker_is_killed_goes_on_elsewhere(connect, held, go, undisturbed, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    run = submitted(out, client, held)
    until(lambda: n_ok(out) == FIRST)
    (holder,) = run.status().holders
    address = driver_of(client, run)
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
    until(lambda: [one.owner for one in run.status().holders] not in ([], [holder.owner]))
    go.touch()
    assert run.wait(120).state == "complete"
    assert_whole(out, undisturbed)


def test_a_driver_whose_worker_leaves_in_order_goes_on_elsewhere(held, go, undisturbed, tmp_path):
    out, resources = tmp_path / "run.zarr", {"FETCH": 4, "EMBED": 1}
    how = {"processes": False, "worker_class": LeavingWorker, "resources": resources, "protocol": "tcp"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=6, dashboard_address="127.0.0.1:0", **how) as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        run = submitted(out, client, held)
        until(lambda: n_ok(out) == FIRST)
        address = driver_of(client, run)
        (leaver,) = (worker for worker in cluster.workers.values() if worker.address == address)
        cluster.loop.add_callback(leaver.close_gracefully)
        until(lambda: drivers(client) not in ([], [address]))
        go.touch()
        assert run.wait(120).state == "complete"
        until(lambda: leaver.status.name == "closed")
    assert_whole(out, undisturbed)


def test_a_cancelled_run_stops_in_order_and_the_same_call_continues_it(connect, held, go, undisturbed, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    run = submitted(out, client, held)
    until(lambda: n_ok(out) == FIRST)
    run.cancel()
    end = run.wait(120)
    assert (end.state, end.done, end.holders) == ("stopped", FIRST, ())
    run.cancel()
    go.touch()
    assert submitted(out, client, held).wait(120).state == "complete"
    assert_whole(out, undisturbed)


def test_what_was_cancelled_is_resumed_from_here(connect, held, go, undisturbed, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    run = submitted(out, client, held)
    until(lambda: n_ok(out) == FIRST)
    run.cancel()
    assert run.wait(120).state == "stopped"
    go.touch()
    report = rs.resume(out, provider=rs.open_provider("synthetic", **SEED), client=client, progress=False)
    assert (report.chunks, report.is_over) == ((COUNT - FIRST) // CHUNK, True)
    assert_whole(out, undisturbed)


def nothing():
    """A store that is there."""


def test_a_driver_waits_for_whoever_holds_the_lease_and_can_be_cancelled_meanwhile(connect, threads_client, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    provider = rs.open_provider("synthetic", **SEED)
    call(out, range(2), threads_client)
    with leased(Location.of(out)):
        with pytest.raises(StoreBusyError, match="is writing to it"):
            submitted(out, client, provider)
        errand = rs.api.embeddings_errand([place(0), place(1)], MODEL, SPAN, out=out, provider=provider)
        run = detached.begin(detached.Errand(nothing, errand.job), Location.of(out), client)
        until(lambda: any(client.processing().values()))
        run.cancel()
        until(lambda: not client.list_datasets())
    assert run.status().state == "complete"


def unlicensed(**given):
    """A driver that ends by an error."""
    raise LicenceError("terms", reason="they were not accepted", fix="accept them")


def test_the_error_that_ended_a_run_is_raised_by_whoever_waits(connect, threads_client, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    call(out, range(2), threads_client)
    run = detached.begin(detached.Errand(nothing, unlicensed), Location.of(out), client)
    for waiting in (run, rs.DetachedRun(out, connect())):
        with pytest.raises(LicenceError, match="they were not accepted"):
            waiting.wait(120)
    status = run.status()
    assert (status.state, status.done) == ("failed", 2)
    assert "they were not accepted" in status.problems[0]
    assert submitted(out, client, rs.open_provider("synthetic", **SEED), count=3).wait(120).state == "complete"
    assert n_ok(out) == 3


def deadly(**given):
    """A driver that ends its process, as a lack of memory does."""
    die()


def test_a_driver_that_loses_each_worker_ends_the_run(connect, threads_client, tmp_path):
    client, out = connect(), tmp_path / "run.zarr"
    call(out, range(2), threads_client)
    run = detached.begin(detached.Errand(nothing, deadly), Location.of(out), client)
    with pytest.raises(EngineError, match="its worker was lost each time before anything more was stored"):
        run.wait(90)
    assert run.status().state == "failed"
    until(lambda: len(current_workers(client)) == 2)


MAP = {"models": MODEL, "temporal": SPAN, "preview": False}
REGION, BETWEEN = rs.BBox(2.0, 50.9, 2.02, 50.91), 2.0
"""Two blocks, and a meridian between their centres."""


@pytest.fixture(scope="module")
def undisturbed_map(threads_client, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "map.zarr"
    provider = rs.open_provider("synthetic", **SEED)
    return vectors(rs.compute_map(REGION, out=out, client=threads_client, progress=False, provider=provider, **MAP))


def vectors(tree):
    """All vectors of a map, which has some."""
    values = tree[MODEL]["utm31"]["embedding"].to_numpy()
    assert np.isfinite(values).any()
    return values


def test_a_map_is_submitted_by_the_same_verb(connect, undisturbed_map, tmp_path):
    client, out = connect(), tmp_path / "map.zarr"
    provider = rs.open_provider("synthetic", **SEED)
    end = rs.submit(rs.compute_map, REGION, out=out, client=client, provider=provider, **MAP).wait(120)
    assert (end.state, end.unit, end.done, end.total) == ("complete", "block", 2, 2)
    np.testing.assert_array_equal(vectors(rs.open_map(out)), undisturbed_map)


def test_a_map_that_is_cancelled_between_its_blocks_is_continued(connect, held, go, undisturbed_map, tmp_path):
    client, out = connect(), tmp_path / "map.zarr"
    late = replace(held, east=BETWEEN)
    run = rs.submit(rs.compute_map, REGION, out=out, client=client, provider=late, **MAP)
    until(lambda: out.exists() and run.status().done == 1)
    run.cancel()
    end = run.wait(120)
    assert (end.state, end.done, end.total, end.holders) == ("stopped", 1, 2, ())
    go.touch()
    report = rs.resume(out, provider=held.provider, client=client, progress=False)
    assert (report.counts, report.is_over) == ({MODEL: {Status.OK: 1}}, True)
    assert not rs.verify(out).damages
    np.testing.assert_array_equal(vectors(rs.open_map(out)), undisturbed_map)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"out": None}, SpecError, "a detached run needs a store"),
        ({"out": "memory://run.zarr"}, SpecError, "cannot reach a store in memory"),
        ({"out": MemoryStore()}, SpecError, "cannot reach a store in memory"),
        ({"client": None}, SpecError, "needs a cluster that is there when this process has ended"),
        ({"client": "tcp://127.0.0.1:1"}, SpecError, r"a distributed.Client is needed"),
        ({"models": "galileoo"}, UnknownNameError, "galileo"),
        ({"verb": rs.plan}, SpecError, "not a verb that can be submitted"),
        ({"ids": ["a", "a"]}, SpecError, "a"),
        ({"no_such": 1}, UnknownNameError, "no_such"),
        ({"wait": -1}, SpecError, "seconds"),
        ({"progress": "loud"}, SpecError, "no such way to show progress"),
        ({"models": "satmae"}, RsEmbedError, "licence"),
        ({"provider": Held(rs.open_provider("synthetic"), (threading.Lock(),))}, PlanError, "cannot be sent"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(changes, error, match, connect, tmp_path):
    given = {"out": tmp_path / "run.zarr", "client": connect(), "provider": "synthetic", "models": MODEL} | changes
    verb, models = given.pop("verb", rs.compute_embeddings), given.pop("models")
    with pytest.raises(error, match=match):
        rs.submit(verb, [place(0), place(1)], models, SPAN, **given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_worker_does_not_see_is_refused(connect, monkeypatch, tmp_path):
    monkeypatch.setattr(detached, "_sees", lambda mark: False)
    with pytest.raises(SpecError, match=f"do not see, or may not write to, this machine's folder {tmp_path}"):
        submitted(tmp_path / "run.zarr", connect(), "synthetic")
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_ends_with_this_process_is_warned_of(threads_client, tmp_path):
    with pytest.warns(UserWarning, match="the cluster's scheduler is part of this process"):
        run = submitted(tmp_path / "run.zarr", threads_client, "synthetic", count=4)
    assert run.wait(120).state == "complete"
    with pytest.raises(StoreError):
        rs.DetachedRun(tmp_path / "none.zarr", threads_client).status()
