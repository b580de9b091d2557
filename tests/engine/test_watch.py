"""An eye on the cluster: lost workers, resources that are waited for, a scheduler that is gone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from distributed.comm import CommClosedError

from rs_embed_dask.engine import watch
from rs_embed_dask.engine.report import Waiting, WorkerLost
from rs_embed_dask.engine.watch import Watch
from rs_embed_dask.errors import EngineError


class Connection:
    """A client whose cluster the test makes up."""

    def __init__(self, **workers):
        self.status, self.workers = "running", workers

    @property
    def scheduler(self):
        workers = {
            name: {"resources": resources, "nthreads": 1, "memory_limit": 0} for name, resources in self.workers.items()
        }
        return SimpleNamespace(identity=lambda: {"workers": workers})

    def sync(self, function):
        return function()

    def register_plugin(self, plugin):
        """Take a plugin for workers."""


@pytest.fixture
def seen(monkeypatch):
    """A watch on two workers, the events it emits, and a clock that runs fast."""
    ticks = iter(range(0, 100_000, 3))
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    events = []
    client = Connection(reader={"FETCH": 4}, embedder={"EMBED": 1})
    return Watch(client, (events.append,), "run.zarr"), client, events


def test_a_lost_worker_is_told_and_its_resource_waited_for(seen):
    watched, client, events = seen
    del client.workers["embedder"]
    assert watched.look().addresses == {"reader"}
    watched.look()
    assert events == [WorkerLost("embedder", 1), Waiting("no worker has EMBED now; the run continues when one joins")]
    assert watched.placement.embed == {"EMBED": 1 / 64}
    client.workers["gpu"] = {"GPU": 1}
    watched.look()
    assert watched.placement.embed == {"GPU": 1 / 64}
    assert watched.lost == 1


def test_no_worker_at_all_is_told_once(seen):
    watched, client, events = seen
    client.workers = {}
    watched.look()
    watched.look()
    assert events[2:] == [Waiting("there is no worker; the run continues when one joins")]


def test_a_connection_that_mends_is_no_error(seen):
    watched, client, _ = seen
    states = iter(["connecting", "connecting", "running"])
    type(client).status = property(lambda self: next(states), lambda self, value: None)
    try:
        watched.check()
    finally:
        del type(client).status


@pytest.mark.parametrize("status", ["closed", "closing", "connecting"])
def test_a_scheduler_that_is_gone(seen, status):
    watched, client, _ = seen
    client.status = status
    with pytest.raises(EngineError, match=r"Dask scheduler: it is gone.*Fix: start a cluster and resume run.zarr"):
        watched.look()


def test_workers_come_from_the_scheduler_whatever_the_client_last_heard(threads_client, monkeypatch):
    """The client's periodic update asks for no workers; it may land between a question and its answer."""

    async def update(n_workers=0):
        threads_client._scheduler_identity = await threads_client.scheduler.identity(n_workers=0)

    monkeypatch.setattr(threads_client, "_update_scheduler_info", update)
    assert threads_client.scheduler_info(n_workers=-1)["workers"] == {}
    watched = Watch(threads_client, (), "run.zarr")
    assert watched.workers.resources == {"FETCH": 8, "EMBED": 2}
    assert watched.workers.threads == 16
    assert len(watched.workers.addresses) == 2


@pytest.mark.parametrize("step", ["register_plugin", "sync"])
def test_a_scheduler_that_is_gone_before_the_first_question(monkeypatch, step):
    monkeypatch.setattr(watch, "_HANGS", True)

    def broken(_):
        raise CommClosedError

    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    client = Connection()
    setattr(client, step, broken)
    with pytest.raises(EngineError, match=r"Dask scheduler: it is gone"):
        Watch(client, (), "run.zarr")


@pytest.mark.parametrize("step", ["register_plugin", "sync"])
def test_a_worker_that_leaves_during_the_first_question_is_no_error(monkeypatch, step):
    monkeypatch.setattr(watch, "_HANGS", True)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    client, asked = Connection(reader={"FETCH": 4}), []
    answer = getattr(client, step)

    def once_broken(argument):
        asked.append(argument)
        if len(asked) == 1:
            raise CommClosedError
        return answer(argument)

    setattr(client, step, once_broken)
    assert Watch(client, (), "run.zarr").workers.addresses == {"reader"}
    assert len(asked) == 2
