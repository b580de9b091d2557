"""SIGKILL of workers that read, embed or write, and items that kill theirs; `tests/chaos` strikes the rest."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.report import ChunkLost, WorkerLost
from rs_embed_dask.engine.watch import Options, current_workers, stop_profiler
from rs_embed_dask.errors import EngineError
from rs_embed_dask.store import Status, Store
from rs_embed_dask.store.durable import PARTIAL
from tests.engine.fakes import Means, Numbers, Places, expected, plan_of, reads_of, store_of, until

COUNT = 48
QUIET = Options(progress=False)
PROFILED = [] if sys.version_info < (3, 12) else ["profile", "profile-cycle"]


@pytest.fixture(autouse=True)
def marks(tmp_path):
    """Where the provider leaves a mark for each read."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def plan_for(tmp_path, held=(), **changes):
    return plan_of(Places(COUNT), Numbers(str(tmp_path / "marks"), held=held), **changes)


def kill_worker(client, resource):
    """Kill the worker process that has a resource; its nanny, in this process, brings it back."""
    workers = current_workers(client)
    (address,) = [address for address, worker in workers.items() if resource in worker["resources"]]
    pid = client.run(os.getpid, workers=[address])[address]
    assert pid in {child.pid for child in psutil.Process().children(recursive=True)}
    os.kill(pid, signal.SIGKILL)


def in_thread(plan, store, client, options):
    """Run a plan beside the test, which watches and kills."""
    done = {}

    def run():
        try:
            done["report"] = run_plan(plan, store, client, options=options)
        except EngineError as error:
            done["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread, done


def assert_undisturbed(target, count=COUNT, missing=()):
    store = Store.open(target)
    np.testing.assert_array_equal(store.values("means", "embedding"), expected(count, missing))
    counts = store.counts()["means"]
    assert counts.get(Status.OK) == count - len(missing)
    assert Status.PENDING not in counts


def test_a_killed_fetch_worker(killable, marks, tmp_path):
    plan = plan_for(tmp_path, held=(20,))
    store, events = store_of(plan, tmp_path / "run.zarr"), []
    thread, done = in_thread(plan, store, killable, Options(progress=events.append))
    until(lambda: reads_of(marks, 20))
    kill_worker(killable, "FETCH")
    (marks / "go").touch()
    thread.join(60)
    assert done["report"].is_over
    assert len(reads_of(marks, 20)) == 2
    assert_undisturbed(tmp_path / "run.zarr")


def test_the_profiler_is_off_where_python_can_hang_in_it(killable, tmp_path):
    """On workers that come back after a kill too; they are asked once both are there."""
    stop_profiler(killable)
    kill_worker(killable, "FETCH")
    until(lambda: len(profiled(killable)) == 2)
    until(lambda: all(kinds == PROFILED for kinds in profiled(killable).values()))


def profiled(client):
    def kinds(dask_worker):
        return sorted(kind for kind in dask_worker.periodic_callbacks if kind.startswith("profile"))

    found = client.run(kinds, on_error="ignore")
    return found if all(isinstance(one, list) for one in found.values()) else {}


def test_a_killed_embedder(killable, marks, tmp_path):
    plan = plan_for(tmp_path, held=(20,))
    store, events = store_of(plan, tmp_path / "run.zarr"), []
    thread, done = in_thread(plan, store, killable, Options(progress=events.append))
    until(lambda: store.counts()["means"].get(Status.OK, 0) >= 8)
    kill_worker(killable, "EMBED")
    cut_short = tmp_path / "run.zarr" / "means" / "embedding" / f"0.56{PARTIAL}"  # as a killed write leaves it
    cut_short.touch()
    until(lambda: any(isinstance(event, WorkerLost) for event in events))
    (marks / "go").touch()
    thread.join(60)
    assert done["report"].is_over
    assert done["report"].workers_lost == 1
    assert_undisturbed(tmp_path / "run.zarr")
    assert not cut_short.exists()


class Crashing(Store):
    """A store whose process dies once, between the data and the status of chunk 2."""

    def finish_chunk(self, chunk, label, result, *, only=None):
        if chunk == 2:
            status = self._array(label, "status")
            self._arrays[f"{label}/status"] = Trap(status, Path(self.target).parent / "crashed")
        super().finish_chunk(chunk, label, result, only=only)


class Trap:
    """A status array that kills its process before the first write."""

    def __init__(self, array, mark):
        self.array, self.mark = array, mark

    def __getattr__(self, name):
        return getattr(self.array, name)

    def __getitem__(self, rows):
        return self.array[rows]

    def __setitem__(self, rows, values):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.array[rows] = values


def test_a_crash_between_data_and_status(killable, tmp_path):
    plan = plan_for(tmp_path)
    store = store_of(plan, tmp_path / "run.zarr", Crashing)
    report = run_plan(plan, store, killable, options=QUIET)
    assert (tmp_path / "crashed").exists()
    assert report.counts["means"][Status.OK] == COUNT
    assert_undisturbed(tmp_path / "run.zarr")


@pytest.mark.parametrize(("stage", "chunk_items"), [("read", 2), ("embedding", 1)])
def test_an_item_that_kills_its_workers_is_found_and_written_down(
    killable, nannies, monkeypatch, tmp_path, *, stage, chunk_items
):
    monkeypatch.setattr(nannies.scheduler, "allowed_failures", 0)
    killer = ((5, "kill"),)
    provider = Numbers(str(tmp_path / "marks"), faults=killer if stage == "read" else ())
    model = Means(killer if stage == "embedding" else ())
    plan = plan_of(Places(8), provider, {"means": model}, chunk_items=chunk_items)
    store, events = store_of(plan, tmp_path / "run.zarr"), []
    report = run_plan(plan, store, killable, options=Options(progress=events.append))
    assert report.failed == 1
    assert report.failures[0].index == 5
    assert f"its {stage} kills the worker it runs on" in report.failures[0].reason
    assert any(isinstance(event, ChunkLost) for event in events)
    assert_undisturbed(tmp_path / "run.zarr", 8, missing=[5])
