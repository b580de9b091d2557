"""A crash at any instant leaves every chunk complete or pending, and every store finished or known as unfinished."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Status, Store, verify
from tests.store.faults import CrashedError, crash_at, crashes
from tests.store.samples import (
    GRID,
    POOLED,
    REQUEST,
    assert_same,
    content,
    fill_store,
    make_items,
    make_result,
    make_store,
)

ROOT = Path(__file__).resolve().parents[2]


def state_of(store, layout, chunk):
    """The rows of a chunk, each as bytes of all its arrays."""
    columns = [store.values(layout.label, field.name, store.span(chunk)) for field in layout.fields]
    return [tuple(np.asarray(column[row]).tobytes() for column in columns) for row in range(len(columns[0]))]


def changed(store, layout, *, status, offsets=None):
    result = make_result(store, layout, 0, offsets=offsets, status=status, reason=f"now {status.name}")
    if result.embedding is not None:
        result.embedding = [one + 1000 for one in result.embedding]
    return result


@pytest.fixture(params=["fresh", "retry of two rows", "all again", "a failure over a success"])
def writing(request, tmp_path):
    """A way to make a store before the write, the write, and whether it can crash half way."""
    layout = GRID

    def before(path):
        store = make_store(path, 4, models=[layout])
        if request.param != "fresh":
            store.write_chunk(0, layout.label, make_result(store, layout, 0))
        if request.param == "retry of two rows":
            failed = make_result(store, layout, 0, offsets=[1, 2], status=Status.READ_FAILED, reason="HTTP 503")
            store.write_chunk(0, layout.label, failed)
        return store

    def write(store):
        if request.param == "fresh":
            result = make_result(store, layout, 0)
        elif request.param == "retry of two rows":
            result = changed(store, layout, status=Status.PARTIAL, offsets=[1, 2])
        elif request.param == "all again":
            result = changed(store, layout, status=Status.OK)
        else:
            result = changed(store, layout, status=Status.MODEL_FAILED)
        store.write_chunk(0, layout.label, result)

    return layout, before, write


def test_a_chunk_is_whole_or_pending_after_a_crash_at_every_step(writing, tmp_path):
    layout, before, write = writing
    old = state_of(before(tmp_path / "old"), layout, 0)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    finished = Store.open(tmp_path / "new", "r+")
    write(finished)
    new = state_of(finished, layout, 0)
    steps = []
    shutil.copytree(tmp_path / "old", tmp_path / "s")
    store = Store.open(tmp_path / "s", "r+")
    for step in crashes(lambda: write(store)):
        seen = Store.open(tmp_path / "s")
        status = seen.values(layout.label, "status")
        for row, now in enumerate(state_of(seen, layout, 0)):
            assert now in (old[row], new[row]) or status[row] == Status.PENDING, f"row {row} after step {step}"
            assert old[row] != new[row] or now == old[row], f"untouched row {row} after step {step}"
        steps.append(step)
        shutil.rmtree(tmp_path / "s")
        shutil.copytree(tmp_path / "old", tmp_path / "s")
    assert len(steps) >= len(layout.fields)
    assert state_of(Store.open(tmp_path / "s"), layout, 0) == new


def test_a_write_after_a_crash_gives_what_an_undisturbed_one_gives(writing, tmp_path):
    _, before, write = writing
    undisturbed = before(tmp_path / "new")
    write(undisturbed)
    store = before(tmp_path / "s")
    for _ in crashes(lambda: write(store)):
        # The next, longer attempt starts from what the crash left.
        pass
    assert_same(content(Store.open(tmp_path / "s")), content(undisturbed))


def test_the_status_is_written_last_and_once_where_nothing_was_there(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    with crash_at(1000) as passed:
        store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    assert passed[-1] == "set galileo/status/c/0"
    assert sum("status" in one for one in passed) == 1
    assert "set galileo/embedding/c/0/0" in passed


def only_the_copy_is_missing(path):
    """Whether the root document was committed and its copy, which is written after it, was not."""
    return [one.where for one in verify(path).damages] == ["zarr.json.copy"]


def test_a_store_whose_making_was_cut_short_is_never_taken_for_one(tmp_path):
    path = MemoryStore()

    def make():
        return Store.create(path, items=make_items(6), models=[POOLED], request=REQUEST, chunk_items=4)

    count = 0
    for count, _ in enumerate(crashes(make), start=1):  # noqa: B007  the count is used below
        if Store.exists(path):
            assert only_the_copy_is_missing(path)
            break
        with pytest.raises(StoreError, match=r"cut short|no store"):
            Store.open(path)
    assert count > 50
    made = Store.open(path, "r+")
    undisturbed = make_store(tmp_path / "other", 6, models=[POOLED])
    assert_same(content(made), content(undisturbed))
    assert [one.spatial for one in made.items(1)] == [one.spatial for one in make_items(6)[4:]]


def test_a_store_cut_short_is_made_anew_for_another_request(tmp_path):
    with pytest.raises(CrashedError), crash_at(40):
        make_store(tmp_path / "s", 6, models=[POOLED, GRID])
    store = make_store(tmp_path / "s", 3, models=[GRID])
    names = [".lease", "items", "rcf", "zarr.json", "zarr.json.copy"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == names
    assert store.n_items == 3


def test_an_append_that_is_cut_short_changes_nothing(tmp_path):
    path = MemoryStore()
    fill_store(make_store(path, 6, models=[POOLED]))
    for step in crashes(lambda: Store.open(path, "r+").append_items(make_items(5, first=6))):
        store = Store.open(path)
        if only_the_copy_is_missing(path):
            break
        assert store.n_items == 6
        assert store.counts() == {"galileo": {Status.OK: 6}}
        if step % 10 == 9:
            assert xr.open_zarr(path, group="galileo").sizes["item"] == 6
    store = Store.open(path, "r+")
    assert store.n_items == 11
    assert [one.id for one in store.items(2)] == ["place-8", "place-9", "place-10"]
    fill_store(store)
    assert_same(content(store), content(filled(tmp_path / "other", 11)))


def filled(path, count):
    store = make_store(path, count, models=[POOLED])
    fill_store(store)
    return store


def test_an_append_after_a_longer_one_was_cut_short(tmp_path):
    path = tmp_path / "s"
    fill_store(make_store(path, 6, models=[POOLED]))
    with pytest.raises(CrashedError), crash_at(30) as passed:
        Store.open(path, "r+").append_items(make_items(9, first=6))
    assert "set items/key/zarr.json" in passed
    store = Store.open(path, "r+")
    assert store.append_items(make_items(1, first=6)) == 1
    assert store.values("items", "id").tolist() == [f"place-{row}" for row in range(7)]
    assert xr.open_zarr(path, group="galileo")["id"].values.tolist() == [f"place-{row}" for row in range(7)]
    assert store.pending("galileo").tolist() == [1]


def test_a_model_whose_adding_is_cut_short_is_out_of_sight():
    path = MemoryStore()
    fill_store(make_store(path, 6, models=[POOLED]))
    before = content(Store.open(path))
    for step in crashes(lambda: Store.open(path, "r+").add_models([GRID])):
        store = Store.open(path)
        if only_the_copy_is_missing(path):
            break
        assert store.labels == ("galileo",)
        if step % 10 == 9:
            assert set(xr.open_datatree(path, engine="zarr").children) == {"items", "galileo"}
    store = Store.open(path, "r+")
    assert_same({name: values for name, values in content(store).items() if name in before}, before)
    assert store.labels == ("galileo", "rcf")
    assert store.pending("rcf").tolist() == [0, 1]
    assert store.pending("galileo").size == 0


def test_adding_a_model_that_is_there_destroys_nothing(tmp_path):
    store = filled(tmp_path / "s", 6)
    before = content(store)
    with pytest.raises(StoreError, match="two models have one label"):
        store.add_models([replace(POOLED, dim=7)])
    assert_same(content(Store.open(tmp_path / "s")), before)


WRITER = """
import sys
from rs_embed_dask.store import Store, verify
from tests.store.samples import make_result
store = Store.open(sys.argv[1], "r+")
for chunk in store.pending("rcf"):
    store.write_chunk(int(chunk), "rcf", make_result(store, store.layout("rcf"), int(chunk)))
    print(chunk, flush=True)
"""


def run_and_kill(path, after):
    """Start a writing process and kill it once it has said so many chunks; the rest is cut where it happens to be."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        said = [int(process.stdout.readline()) for _ in range(after)]
        process.send_signal(signal.SIGKILL)
    return said


def test_killed_writers_leave_a_store_that_goes_on(tmp_path):
    path, count = tmp_path / "s", 240
    make_store(path, count, models=[GRID])
    undisturbed = make_store(tmp_path / "other", count, models=[GRID])
    said = []
    for after in (1, 17):
        said += run_and_kill(path, after)
        seen = Store.open(path)
        pending = set(seen.pending("rcf").tolist())
        assert not pending & set(said), "a chunk that was said to be written is pending"
        assert pending
        for chunk in set(range(seen.n_chunks)) - pending:
            fresh = make_result(seen, GRID, chunk)
            np.testing.assert_array_equal(seen.values("rcf", "n_obs", seen.span(chunk)), fresh.n_obs)
    store = Store.open(path, "r+")
    for chunk in store.pending("rcf").tolist():
        store.write_chunk(chunk, "rcf", make_result(store, GRID, chunk))
    fill_store(undisturbed)
    assert_same(content(Store.open(path)), content(undisturbed))
