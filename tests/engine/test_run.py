"""Whole runs on a cluster of threads: results, failures of single items, retries, resume, interruption."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from distributed import Client, LocalCluster
from zarr.storage import MemoryStore

import rs_embed_dask as rs
from rs_embed_dask.engine.driver import Driver, Jobs, run_plan
from rs_embed_dask.engine.embedder import is_resident, release
from rs_embed_dask.engine.estimate import Figures
from rs_embed_dask.engine.graph import SharedValue, read_task
from rs_embed_dask.engine.receipts import Times
from rs_embed_dask.engine.report import (
    ChunkDone,
    ChunkLost,
    ChunkReceipt,
    ItemFailed,
    ModelLoaded,
    Retried,
    RunFinished,
    RunReport,
    RunStarted,
)
from rs_embed_dask.engine.stages import Unit
from rs_embed_dask.engine.watch import InFlight, Options
from rs_embed_dask.errors import EngineError, StoreError, WeightsError
from rs_embed_dask.store import Status, Store
from tests.engine.fakes import Means, Numbers, Places, expected, plan_of, reads_of, store_of, until

QUIET = Options(progress=False)


def values(store, label="means", name="embedding"):
    return store.values(label, name)


def test_a_run_stores_every_item_once_and_counts_it(threads_client, tmp_path):
    events = []
    plan = plan_of(Places(20), Numbers(str(tmp_path / "marks")))
    (tmp_path / "marks").mkdir()
    store = store_of(plan, tmp_path / "run.zarr")
    report = run_plan(plan, store, threads_client, options=Options(progress=events.append))
    np.testing.assert_array_equal(values(store), expected(20))
    assert store.counts() == {"means": {Status.OK: 20}}
    assert len(reads_of(tmp_path / "marks")) == 20
    assert report.counts == {"means": {Status.OK: 20}}
    assert (report.chunks, report.totals.reads, report.totals.scenes, report.failed) == (3, 20, 20, 0)
    assert report.totals.read_bytes == 20 * (3 * 64 * 4 + 64 * 2)
    assert report.weights == {"means": {"path": "none", "licence": "CC0"}}
    profiled = threads_client.run(lambda dask_worker: "profile" in dask_worker.periodic_callbacks)
    assert set(profiled.values()) == {sys.version_info >= (3, 12)}
    assert 3 <= report.totals.batches["means"] <= 20
    kinds = [type(event) for event in events]
    assert kinds[0] is RunStarted
    assert kinds[-1] is RunFinished
    assert kinds.count(ChunkDone) == 3
    assert kinds.count(ModelLoaded) == 1
    assert [event.left for event in events if isinstance(event, ChunkDone)] == [2, 1, 0]


def test_chunks_that_take_long_are_written_in_parts(threads_client, tmp_path, monkeypatch):
    """At 1.25 s an item, four are written at once: what a killed worker loses is seconds of work."""
    monkeypatch.setattr(RunReport, "item_seconds", 1.25)
    events = []
    plan = plan_of(Places(20), Numbers())
    store = store_of(plan, tmp_path / "run.zarr")
    report = run_plan(plan, store, threads_client, options=Options(progress=events.append))
    np.testing.assert_array_equal(values(store), expected(20))
    done = [event for event in events if isinstance(event, ChunkDone)]
    assert [event.items for event in done] == [4] * 5
    assert sorted(event.chunk for event in done) == [0, 0, 1, 1, 2]
    assert done[-1].left == 0
    assert (report.chunks, report.totals.reads) == (3, 20)
    assert not rs.verify(tmp_path / "run.zarr").damages


def test_parts_are_longer_where_chunks_are_fewer_than_devices(threads_client, tmp_path, monkeypatch):
    """At 5 s an item one would be written at once, and the parts of the only chunk follow one another."""
    monkeypatch.setattr(RunReport, "item_seconds", 5.0)
    events = []
    plan = plan_of(Places(8), Numbers())
    run_plan(plan, store_of(plan, tmp_path / "run.zarr"), threads_client, options=Options(progress=events.append))
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert (started.workers, started.chunks) == (2, 1)
    assert [event.items for event in events if isinstance(event, ChunkDone)] == [4, 4]


def test_what_an_item_takes_is_known_from_earlier_runs_and_then_from_this_one():
    report = RunReport(replace(Figures.nothing(), items=4, times=Times(embed_seconds=6.0)))
    assert report.item_seconds == 1.5
    receipt = ChunkReceipt(
        0, counts={"means": Counter({Status.OK: 3, Status.NO_DATA: 1}), "other": Counter({Status.OK: 4})}
    )
    receipt.totals.embed_seconds = {"means": 3.0, "other": 5.0}
    receipt.totals.batches = {"means": 1.0, "other": 1.0}
    report.add(receipt)
    assert report.item_seconds == 2.0
    assert RunReport(Figures.nothing()).item_seconds == 0.0


def test_a_worker_that_reads_and_embeds_loads_its_models_meanwhile(threads_client):
    """By its resources: what a task needs that embeds, and the workers have EMBED, not GPU."""
    recipe = plan_of(Places(1), Numbers()).recipe
    unit, parcel = Unit(0, Places(1)[0], recipe.labels), SharedValue.of(recipe)
    (visit,), ((_, key),) = recipe.visits(recipe.labels), [(entry.label, entry.key) for entry in recipe.models]
    for needed, is_loaded in (("GPU",), False), (("EMBED",), True), ((), True):
        release()
        (read,) = threads_client.submit(read_task, parcel, unit, visit, needed, pure=False).result()
        assert (read.status, is_resident(key)) == (Status.OK, is_loaded)
    release()


def test_quality_is_stored_beside_the_vectors(threads_client, tmp_path):
    plan = plan_of(Places(3), Numbers())
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, threads_client, options=QUIET)
    assert values(store, name="n_obs").tolist() == [2, 2, 2]
    assert values(store, name="valid_fraction").tolist() == [[1.0]] * 3
    assert values(store, name="scenes").tolist() == ["scene-0", "scene-1", "scene-2"]
    june = np.datetime64("2022-06-01").astype(int)
    assert values(store, name="first_date").tolist() == [june] * 3
    assert values(store, name="frame_start").tolist() == [[june]] * 3
    assert values(store, name="frame_end").tolist() == [[june + 30]] * 3


def test_a_finished_store_is_left_alone(threads_client, tmp_path):
    plan = plan_of(Places(5), Numbers())
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, threads_client, options=QUIET)
    events = []
    report = run_plan(plan, store, None, options=Options(progress=events.append))
    assert [type(event) for event in events] == [RunFinished]
    assert report.chunks == 0
    assert "nothing was left to do" in str(report)


def test_a_call_for_the_same_places_in_an_array_makes_no_key(threads_client, tmp_path, monkeypatch):
    points = np.array([[4.0, 50.0], [4.1, 50.0], [4.2, 50.0], [4.3, 50.0]])

    def call(count):
        options = {"provider": "synthetic", "buffer_m": 80, "client": threads_client, "progress": False}
        june = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
        return rs.compute_embeddings(points[:count], "bandstats", june, out=tmp_path / "run.zarr", **options)

    call(3)
    topped_up = call(4)["bandstats"]["embedding"].to_numpy()
    monkeypatch.setattr("rs_embed_dask.store.items._keys", None)
    np.testing.assert_array_equal(call(4)["bandstats"]["embedding"].to_numpy(), topped_up)
    with pytest.raises(TypeError, match="not callable"):
        call(3)


def test_one_items_failure_is_its_own(threads_client, tmp_path):
    faults = ((1, "none"), (2, "lasting"), (4, "bug"), (5, "access"))
    models = {"means": Means(((7, "raise"), (9, "error"))), "other": Means()}
    events = []
    plan = plan_of(Places(12), Numbers(faults=faults), models)
    store = store_of(plan, tmp_path / "run.zarr")
    report = run_plan(plan, store, threads_client, options=Options(progress=events.append))
    failed = {1: Status.NO_DATA, 2: Status.READ_FAILED, 4: Status.READ_FAILED, 5: Status.READ_FAILED}
    status = [failed.get(number, Status.OK) for number in range(12)]
    assert values(store, "other", "status").tolist() == status
    status[7] = status[9] = Status.MODEL_FAILED
    assert values(store, "means", "status").tolist() == status
    np.testing.assert_array_equal(values(store, "other"), expected(12, failed))
    np.testing.assert_array_equal(values(store, "means"), expected(12, [*failed, 7, 9]))
    reasons = values(store, "means", "reason").tolist()
    assert reasons[0] == ""
    assert reasons[1].startswith("imagery = 1: nothing was taken there")
    assert reasons[2].startswith("tile = 2: it is corrupt")
    assert "numbers: sentinel-2-l2a at" in reasons[4]
    assert "KeyError: 'B04'" in reasons[4]
    assert "means: it raised RuntimeError: an image of nothing" in reasons[7]
    assert reasons[9].startswith("pixels: too dark")
    assert report.failed == 8
    assert {event.index for event in events if isinstance(event, ItemFailed)} == {2, 4, 5, 7, 9}


def test_passing_faults_are_tried_again(threads_client, tmp_path):
    faults, events = ((3, "transient:2"), (6, "transient:9")), []
    plan = plan_of(Places(8), Numbers(str(tmp_path), faults=faults))
    store = store_of(plan, tmp_path / "run.zarr")
    report = run_plan(plan, store, threads_client, options=Options(progress=events.append))
    np.testing.assert_array_equal(values(store), expected(8, [6]))
    assert values(store, name="reason")[6].startswith("transient: numbers: service = 429: too many requests")
    assert "(after 3 tries)" in values(store, name="reason")[6]
    assert sorted((event.index, event.tries) for event in events if isinstance(event, Retried)) == [(3, 3), (6, 3)]
    assert report.totals.retries == 4
    assert [len(reads_of(tmp_path, number)) for number in (3, 6, 7)] == [3, 3, 1]


def test_what_failed_can_be_taken_up_alone(threads_client, tmp_path):
    plan = plan_of(Places(12), Numbers(str(tmp_path), faults=((2, "lasting"), (9, "none"))))
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, threads_client, options=QUIET)
    for mark in tmp_path.glob("read-*"):
        mark.unlink()
    again = plan_of(Places(12), Numbers(str(tmp_path)))
    run_plan(again, store, threads_client, options=Options(progress=False, only={Status.READ_FAILED}))
    assert [name.split("-")[1] for name in reads_of(tmp_path)] == ["2"]
    np.testing.assert_array_equal(values(store), expected(12, [9]))
    run_plan(again, store, threads_client, options=Options(progress=False, only={Status.NO_DATA}))
    np.testing.assert_array_equal(values(store), expected(12))


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_own_error(threads_client, tmp_path):
    broken = WeightsError("weights", value="x.pt", reason="the file is truncated", fix="fetch it again")
    events = []
    (tmp_path / "marks").mkdir()
    plan = plan_of(Places(20), Numbers(str(tmp_path / "marks")), {"means": broken})
    store = store_of(plan, tmp_path / "run.zarr")
    with pytest.raises(WeightsError, match="truncated"):
        run_plan(plan, store, threads_client, options=Options(progress=events.append))
    assert events[-1].interrupted
    assert store.counts() == {"means": {Status.PENDING: 20}}
    assert not reads_of(tmp_path / "marks"), "models are loaded before the first read"


def test_models_that_no_worker_can_hold_end_the_run_before_it_begins(threads_client, tmp_path):
    (tmp_path / "marks").mkdir()
    plan = plan_of(Places(8), Numbers(str(tmp_path / "marks")))
    (entry,) = plan.recipe.models
    plan = replace(plan, recipe=replace(plan.recipe, models=(replace(entry, nbytes=2**50),)))
    store = store_of(plan, tmp_path / "run.zarr")
    with pytest.raises(EngineError, match=r"memory of a worker.*need 1048576\.0 GiB"):
        run_plan(plan, store, threads_client, options=QUIET)
    assert store.counts() == {"means": {Status.PENDING: 8}}
    assert not reads_of(tmp_path / "marks")


def test_results_in_memory_are_written_by_the_client(threads_client):
    plan = plan_of(Places(20), Numbers(faults=((4, "none"),)))
    store = store_of(plan, MemoryStore())
    run_plan(plan, store, threads_client, options=QUIET)
    np.testing.assert_array_equal(values(store), expected(20, [4]))


def test_the_window_bounds_what_is_in_flight(threads_client, tmp_path):
    most = []

    class Spy(Driver):
        def _submit(self, job, jobs):
            super()._submit(job, jobs)
            most.append(len(self._flying))

    plan = plan_of(Places(64), Numbers(), chunk_items=8)
    store = store_of(plan, tmp_path / "run.zarr")
    options = Options(progress=False, window=InFlight(chunks=2))
    Spy(plan, store, threads_client, options=options, listeners=()).run(Jobs(np.arange(8)))
    assert max(most) == 2
    assert len(most) == 8
    assert store.counts() == {"means": {Status.OK: 64}}


def test_nothing_is_left_on_the_scheduler(threads_client, tmp_path):
    plan = plan_of(Places(16), Numbers())
    run_plan(plan, store_of(plan, tmp_path / "run.zarr"), threads_client, options=QUIET)
    until(lambda: threads_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0)


def test_ctrl_c_stores_what_is_finished_and_says_how_to_go_on(threads_client, tmp_path, request):
    # A shell that starts the suite in the background has it ignore Ctrl-C.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (tmp_path / "marks").mkdir()
    held = Numbers(str(tmp_path / "marks"), held=tuple(range(16, 24)))
    plan = plan_of(Places(24), held)
    store = store_of(plan, tmp_path / "run.zarr")
    events = []

    def press(event):
        events.append(event)
        if isinstance(event, ChunkDone) and event.left == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stop:
        run_plan(plan, store, threads_client, options=Options(progress=press))
    (tmp_path / "marks" / "go").touch()
    assert "resume(" in stop.value.__notes__[0]
    assert events[-1].interrupted
    assert store.counts() == {"means": {Status.OK: 16, Status.PENDING: 8}}
    run_plan(plan, store, threads_client, options=QUIET)
    np.testing.assert_array_equal(values(store), expected(24))


def test_an_error_nobody_foresaw_costs_one_item(threads_client, tmp_path):
    events = []
    plan = plan_of(Places(16), Numbers(faults=((5, "odd"),)))
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, threads_client, options=Options(progress=events.append))
    np.testing.assert_array_equal(values(store), expected(16, [5]))
    assert values(store, name="status")[5] == Status.READ_FAILED
    assert values(store, name="reason")[5].startswith("read: its task raised OddError: nobody foresaw this")
    assert [event.attempt for event in events if isinstance(event, ChunkLost)] == [1, 3, 4]


def test_a_closed_client_is_refused(tmp_path):
    plan = plan_of(Places(2), Numbers())
    store = store_of(plan, tmp_path / "run.zarr")
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        client = Client(cluster, set_as_default=False)
        client.close()
        with pytest.raises(EngineError, match="not connected"):
            run_plan(plan, store, client, options=QUIET)


def test_a_store_that_cannot_be_written_ends_the_run(threads_client, tmp_path):
    plan = plan_of(Places(2), Numbers())
    store_of(plan, tmp_path / "run.zarr")
    with pytest.raises(StoreError, match="opened for reading"):
        run_plan(plan, Store.open(tmp_path / "run.zarr"), threads_client, options=QUIET)


def test_batches_form_across_tasks_and_chunks_while_the_device_is_busy(threads_client, tmp_path):
    plan = plan_of(Places(128), Numbers(), {"means": Means(batch_s=0.8)}, chunk_items=8, batch_items=16)
    store = store_of(plan, tmp_path / "run.zarr")
    report = run_plan(plan, store, threads_client, options=QUIET)
    assert 8 <= report.totals.batches["means"] <= 32  # one an item would be 128
    np.testing.assert_array_equal(values(store), expected(128))
