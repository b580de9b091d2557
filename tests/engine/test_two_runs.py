"""Two runs on one store: the same request, top-ups that overlap, and one that is killed."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreBusyError, StoreError, UnknownNameError
from rs_embed_dask.store import Location, Status, Store, leased
from tests.engine.caller import MODEL, call
from tests.engine.fakes import until


def said(process):
    """The last line of a process that has ended."""
    return process.stdout.read().strip().splitlines()[-1]


def assert_undisturbed(out, count, client):
    """All places are there once, and each has the vector that a run alone gives it."""
    store = Store.open(out)
    assert store.counts() == {MODEL: {Status.OK: count}}
    alone = call(out.parent / "alone.zarr", range(count), client)
    keys = Store.open(out.parent / "alone.zarr").values("items", "key")
    order = [keys.tolist().index(key) for key in store.values("items", "key")]
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(store.values(MODEL, "embedding"), alone[MODEL]["embedding"].to_numpy()[order])


def test_one_run_is_killed_and_two_come_to_finish_it(start, threads_client, tmp_path):
    out = tmp_path / "run.zarr"
    first = start(out, 0, 40)
    until(lambda: Store.exists(out) and Store.open(out).counts()[MODEL].get(Status.OK), 300)
    first.kill()
    first.wait()
    both = [start(out, 0, 40), start(out, 0, 40)]
    ends = sorted(said(process) for process in both)
    assert ends[-1] == "done"
    assert ends[0] == "done" or "is writing to it, since" in ends[0]
    assert_undisturbed(out, 40, threads_client)


def test_top_ups_that_overlap_wait_for_each_other(start, threads_client, tmp_path):
    out = tmp_path / "run.zarr"
    call(out, range(6), threads_client)
    both = [start(out, 0, 14, 300), start(out, 9, 20, 300)]
    assert [said(process) for process in both] == ["done", "done"]
    assert_undisturbed(out, 20, threads_client)
    assert Store.open(out).receipt["weights"].keys() == {MODEL}


def test_a_store_that_is_leased_is_refused_at_once_and_read_by_all(threads_client, tmp_path):
    out = tmp_path / "run.zarr"
    call(out, range(6), threads_client)
    with leased(Location.of(out)):
        assert call(out, range(6), threads_client)["items"].sizes["item"] == 6
        assert rs.status(out).is_finished
        assert rs.resume(out, progress=False).chunks == 0
        for act in (
            lambda: call(out, range(7), threads_client),
            lambda: rs.resume(out, only="ok", client=threads_client, progress=False),
        ):
            with pytest.raises(StoreBusyError, match=r"process \d+ is writing to it, since 20") as caught:
                act()
            assert caught.value.value == str(out)
    assert Store.open(out).n_items == 6
    call(out, range(7), threads_client)
    assert Store.open(out).n_items == 7


def test_runs_on_chunks_apart_go_on_at_once(threads_client, tmp_path):
    out = tmp_path / "run.zarr"
    call(out, range(12), threads_client)
    with leased(Location.of(out), chunks=(1, 3)):
        report = rs.resume(out, only="ok", chunks=(0, 1), client=threads_client, progress=False)
        with pytest.raises(StoreBusyError, match="its chunks 1 to 2"):
            rs.resume(out, only="ok", chunks=(2, 4), client=threads_client, progress=False)
    assert report.chunks == 1
    assert report.counts[MODEL][Status.OK] == 4


def test_a_run_that_was_overtaken_stops(threads_client, tmp_path, monkeypatch):
    out = tmp_path / "run.zarr"
    call(out, range(4), threads_client)

    def overtaken(self):
        raise self._busy(self._me, "has taken over")

    monkeypatch.setattr("rs_embed_dask.store.lease.Lease.check", overtaken)
    with pytest.raises(StoreBusyError, match="has taken over"):
        call(out, range(8), threads_client)
    monkeypatch.undo()
    assert Store.open(out).counts()[MODEL] == {Status.OK: 4, Status.PENDING: 4}
    call(out, range(8), threads_client)
    assert_undisturbed(out, 8, threads_client)


def test_a_call_that_is_refused_leaves_nothing_behind(threads_client, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not empty and holds no store"):
        call(tmp_path, range(2), threads_client)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UnknownNameError):
        call(tmp_path / "run.zarr", range(2), threads_client, fetch=rs.FetchSpec(mask="no such mask"))
    assert not (tmp_path / "run.zarr").exists()
