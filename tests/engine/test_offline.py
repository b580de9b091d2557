"""A service that nobody reaches when a run begins ends it with one message; later outages are for the retries."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from distributed.comm import CommClosedError

import rs_embed_dask as rs
from rs_embed_dask.engine import local, reading, watch
from rs_embed_dask.engine.report import ChunkDone, Delayed, ItemFailed, RunFinished, Waiting
from rs_embed_dask.engine.watch import Watch
from rs_embed_dask.errors import TransientError, UnreachableError
from rs_embed_dask.providers import reach
from rs_embed_dask.providers.retry import RetryPolicy, retried, tell_waits
from tests.engine.test_watch import Connection

COUNT = 1000
SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
PLACES = [rs.PointBuffer(2.0 + n % 40 * 0.01, 50.0 + n // 40 * 0.01, 50) for n in range(COUNT)]


@pytest.fixture
def quick(monkeypatch):
    """As many attempts, without waits that a person would see."""
    monkeypatch.setattr(reach, "PROBE", replace(reach.PROBE, first_wait_s=0.001))
    local._reached.cache_clear()


@pytest.fixture
def nobody():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def offline(kind, address):
    if kind == "stac":
        return rs.open_provider("stac", url=f"{address}/stac")
    return rs.open_provider("earth_engine", endpoint=address, project="p", credentials="tests.nowhere:anonymous")


@pytest.mark.parametrize("kind", ["stac", "earth_engine"])
def test_a_thousand_places_end_with_one_error(threads_client, quick, nobody, tmp_path, kind):
    events = []
    with pytest.raises(UnreachableError) as caught:
        rs.compute_embeddings(
            PLACES,
            ["bandstats"],
            SPAN,
            out=tmp_path / "run.zarr",
            provider=offline(kind, nobody),
            client=threads_client,
            progress=events.append,
        )
    assert caught.value.value == nobody
    assert "it refused the connection, after 4 attempts" in caught.value.reason
    waits = [event.reason for event in events if isinstance(event, Waiting)]
    assert waits == [f"waiting for {nobody}: it refused the connection, attempt {n} of 4" for n in (1, 2, 3)]
    assert not any(isinstance(event, ItemFailed | ChunkDone) for event in events)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].interrupted
    counts = rs.status(tmp_path / "run.zarr").counts["bandstats"]
    assert {status.name: count for status, count in counts.items() if count} == {"PENDING": COUNT}


def test_a_map_ends_with_one_error(threads_client, quick, nobody, tmp_path):
    with pytest.raises(UnreachableError, match="it refused the connection, after 4 attempts"):
        rs.compute_map(
            rs.BBox(2.03, 50.901, 2.05, 50.918),
            ["bandstats"],
            SPAN,
            out=tmp_path / "map.zarr",
            provider=offline("stac", nobody),
            client=threads_client,
            progress=False,
        )
    counts = rs.status(tmp_path / "map.zarr").counts["bandstats"]
    assert {status.name for status, count in counts.items() if count} == {"PENDING"}


def test_a_few_places_without_a_cluster_end_so_too(quick, nobody, monkeypatch):
    monkeypatch.setattr(local, "sleep", lambda _: None)
    with pytest.raises(UnreachableError, match="after 4 attempts"):
        rs.get_embeddings_batch("bandstats", PLACES[:40], SPAN, provider=offline("stac", nobody))
    with pytest.raises(UnreachableError, match="after 4 attempts"):
        rs.inspect_input("bandstats", PLACES[0], SPAN, provider=offline("stac", nobody))


class Cluster(Connection):
    """A client whose workers answer as the test says which hosts they do not reach."""

    def __init__(self, answers, **workers):
        super().__init__(**workers)
        self.answers, self.asked = answers, []

    def run(self, _, hosts, *, workers, on_error):
        assert on_error == "return"
        self.asked.append((hosts, tuple(workers)))
        return {at: self.answers[at] for at in workers}

    def subscribe_topic(self, topic, handler):
        assert topic == reading.WAITS
        self.note = lambda text: handler((0.0, text))


def watched(client, events=None):
    seen = Watch(client, () if events is None else (events.append,), "run.zarr")
    seen.services = ("http://a",)
    return seen


NO = {"http://a": "its name cannot be resolved"}


def test_one_worker_that_reaches_it_is_enough(quick):
    client = Cluster({"one": NO, "two": {}}, one={}, two={})
    seen = watched(client)
    seen.reach()
    seen.reach()
    assert client.asked == [(("http://a",), ("one", "two"))]  # once in a run: what was reached is left to retries


def test_only_those_who_read_are_asked(quick, monkeypatch):
    client = Cluster({"reader": NO, "embedder": {}}, reader={"FETCH": 4}, embedder={"EMBED": 1})
    with pytest.raises(UnreachableError, match="its name cannot be resolved"):
        watched(client).reach()
    assert {workers for _, workers in client.asked} == {("reader",)}


def test_workers_that_leave_meanwhile_say_nothing(quick):
    watched(Cluster({"one": CommClosedError("gone")}, one={})).reach()
    with pytest.raises(UnreachableError):
        watched(Cluster({"one": CommClosedError("gone"), "two": NO}, one={}, two={})).reach()


def test_the_first_worker_that_joins_is_asked(quick, monkeypatch):
    monkeypatch.setattr(watch, "_EVERY_S", 0.0)
    client = Cluster({"late": NO})
    seen = watched(client)
    seen.reach()
    assert seen.look().addresses == frozenset()
    client.workers["late"] = {}
    with pytest.raises(UnreachableError):
        seen.look()


def test_what_reads_wait_for_is_an_event(monkeypatch):
    monkeypatch.setattr(watch, "_EVERY_S", 0.0)
    client, events = Cluster({"one": {}}, one={}), []
    seen = watched(client, events)
    seen.reach()
    client.note("waiting for http://a: it answered 503, attempt 1 of 6")
    client.note("waiting for http://a: it answered 503, attempt 2 of 6")
    seen.look()
    seen.look()
    assert events == [Delayed("waiting for http://a: it answered 503, attempt 2 of 6")]


def failing_read(_):
    """As a task: a read whose service answers only at the second attempt."""
    reading.share_caps()
    faults = [TransientError("STAC API", value="http://a", reason="it answered 503", fix="wait")]

    def request():
        if faults:
            raise faults.pop()
        return "pixels"

    try:
        return retried(request, RetryPolicy(attempts=3, first_wait_s=2.0), wait=lambda _: None)
    finally:
        tell_waits(None)


def test_a_worker_says_why_it_waits(threads_client, monkeypatch):
    monkeypatch.setattr(watch, "_EVERY_S", 0.0)
    monkeypatch.setattr(watch, "check_services", lambda *_, **__: None)
    events = []
    seen = watched(threads_client, events)
    seen.reach()
    assert threads_client.submit(failing_read, 0, pure=False, resources={"FETCH": 1}).result() == "pixels"
    until = time.monotonic() + 20
    while not events and time.monotonic() < until:
        seen.look()
        time.sleep(0.01)
    assert events == [Delayed("waiting for http://a: it answered 503, attempt 1 of 3")]


def test_a_worker_is_not_heard_all_the_time_nor_after_its_end(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr(reading.time, "monotonic", lambda: now[0])
    worker = SimpleNamespace(id="w", status=reading.WorkerStatus.running, log_event=lambda *event: said.append(event))
    note = reading._WorkerNotes(worker)
    note("first")
    note("second")
    now[0] = 102.0
    note("third")
    worker.status = reading.WorkerStatus.closed
    now[0] = 110.0
    note("fourth")
    assert said == [(reading.WAITS, "first"), (reading.WAITS, "third")]
