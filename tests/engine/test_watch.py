"""An eye on the cluster: lost workers, resources that are waited for, a scheduler that is gone."""

from __future__ import annotations

import pytest

from rs_embed_dask.engine import watch
from rs_embed_dask.engine.report import Waiting, WorkerLost
from rs_embed_dask.engine.watch import Watch
from rs_embed_dask.errors import EngineError


class Connection:
    """A client whose cluster the test makes up."""

    def __init__(self, **workers):
        self.status, self.workers = "running", workers

    def scheduler_info(self, n_workers):
        return {"workers": {name: {"resources": resources} for name, resources in self.workers.items()}}


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
