"""Two and three writers on one object store, interleaved at every request, frozen and killed: no row is ever wrong."""

from __future__ import annotations

import asyncio
import random
import threading

import numpy as np
import pytest
from obstore.store import MemoryStore as ObjectMemory
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.store import Location, Status, Store, fence, store as store_module, target as target_module
from rs_embed_dask.store.document import Document
from rs_embed_dask.store.fence import FencedStore, OvertakenError, stamped_frame, stamped_json
from rs_embed_dask.store.shards import blank_status, decoded_status
from tests.store.lease_schedules import Run
from tests.store.samples import GRID, POOLED, assert_same, content, fill_store, make_items, make_result, make_store

ROWS = 4


class Stepping(FencedStore):
    """A fence whose every request is a step of the schedule of the thread that made it."""

    def claim(self, stamp):
        self.current = threading.current_thread()
        if isinstance(self.current, Run):
            self.current.pause()
        super().claim(stamp)

    async def _wait(self):
        if isinstance(self.current, Run):
            await asyncio.get_running_loop().run_in_executor(None, self.current.pause)

    async def _put(self, key, value, tag):
        await self._wait()
        return await super()._put(key, value, tag)

    async def _tag_of(self, key):
        await self._wait()
        return await super()._tag_of(key)


class Careless(Stepping):
    """A mutant: data are put whatever is there."""

    async def _put(self, key, value, tag):
        await self._wait()
        if key == self._key:
            return await FencedStore._put(self, key, value, tag)
        return await self.store.put_async(key, value)


def place_of(kind, monkeypatch):
    monkeypatch.setattr(fence, "FencedStore", kind)
    monkeypatch.setattr(target_module, "_AT_ONCE", 1)  # a run has one step at a time
    return ObjectStore(ObjectMemory())


def assert_right(store):
    """Every row that is said to be there has the vector of its own item."""
    status, vectors = store.values("galileo", "status"), store.values("galileo", "embedding")
    for row in np.flatnonzero(status == Status.OK):
        assert vectors[row].tolist() == (np.arange(POOLED.dim) + row).tolist(), f"row {row}"


def writing(target, rng, done):
    """Write some rows of chunk 0, each embedded or failed, again and again until nobody interferes."""
    offsets = sorted(rng.sample(range(ROWS), rng.randint(1, ROWS)))
    status = rng.choice([Status.OK, Status.OK, Status.READ_FAILED])

    def body(run):
        store = Store.open(target, "r+")
        result = make_result(store, POOLED, 0, offsets=offsets, status=status)
        for _ in range(20):
            try:
                store.finish_chunk(0, "galileo", result)
            except StoreBusyError:
                continue
            done.extend(offsets if status is Status.OK else [])
            return

    return body


def interleave(rng, bodies, check, *, p_kill=0.01, p_sleep=0.05):
    """Step runs in random order; some sleep for long, some are killed."""
    runs = [Run(str(number), body) for number, body in enumerate(bodies)]
    asleep = dict.fromkeys(runs, 0)
    try:
        for turn in range(3000):
            alive = [run for run in runs if not run.is_over]
            if not alive:
                break
            ready = [run for run in alive if asleep[run] <= turn] or alive
            run = rng.choice(ready)
            run.step()
            fate = rng.random()
            if fate < p_kill:
                run.kill()
            elif fate < p_sleep:
                asleep[run] = turn + rng.randint(5, 80)
            if turn % 20 == 0:
                check()
        assert all(run.is_over for run in runs)
        assert not [run.error for run in runs if run.error]
    finally:
        for run in runs:
            run.kill()


def play_chunk(seed, kind, monkeypatch):
    rng, target, done = random.Random(seed), place_of(kind, monkeypatch), []
    seen = make_store(target, ROWS, chunk_items=ROWS, models=[POOLED])
    interleave(rng, [writing(target, rng, done) for _ in range(3)], lambda: assert_right(seen))
    assert_right(seen)
    assert set(done) <= set(np.flatnonzero(seen.values("galileo", "status") == Status.OK).tolist())


@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_of_writers_gives_a_wrong_row_or_loses_one(seed, monkeypatch):
    play_chunk(seed, Stepping, monkeypatch)


def test_the_schedules_find_a_fence_that_is_wrong(monkeypatch):
    for seed in range(2, 12):
        try:
            play_chunk(seed, Careless, monkeypatch)
        except AssertionError:
            return
    pytest.fail("no schedule led to a wrong row")


def put(store, key, content):
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(content)))


def test_late_writes_of_an_overtaken_writer_are_refused():
    location = Location.of(ObjectStore(ObjectMemory()))
    first, second = FencedStore(location, "status"), FencedStore(location, "status")
    first.claim(lambda content, mark: (content or b"") + mark.encode())
    put(first, "data", b"first")
    second.claim(lambda content, mark: (content or b"") + mark.encode())
    with pytest.raises(StoreBusyError):
        put(first, "data", b"late, before the second writes")
    put(second, "data", b"second")
    for key in ("data", "status"):
        with pytest.raises(StoreBusyError, match=r"status.*another run has written there"):
            put(first, key, b"late")
    put(second, "status", b"done")
    with pytest.raises(StoreBusyError):
        put(first, "status", b"later")
    assert (location.read("data"), location.read("status")) == (b"second", b"done")
    sync(second.delete("data"))
    sync(second.delete_dir(""))
    assert location.read("data") == b"second"


def adding(target, items, rng, done):
    def body(run):
        store = Store.open(target, "r+")
        for _ in range(20):
            try:
                store.append_items(items)
            except StoreBusyError:
                for _ in range(rng.randint(0, 600)):  # or the two would overtake each other for ever
                    run.pause()
                continue
            done.append([item.key for item in items])
            return

    return body


@pytest.mark.parametrize("seed", range(2))
def test_items_that_are_added_at_once_are_all_there_and_keep_their_rows(seed, monkeypatch):
    rng, target, done = random.Random(seed), place_of(Stepping, monkeypatch), []
    fill_store(make_store(target, 5, models=[POOLED]))
    parts = [make_items(3, first=5), make_items(2, first=6)]
    interleave(
        rng,
        [adding(target, items, rng, done) for items in parts],
        lambda: assert_right(Store.open(target)),
        p_kill=0.002,
    )
    store = Store.open(target)
    keys = store.values("items", "key").tolist()
    assert keys[:5] == [item.key for item in make_items(5)]
    assert [item.key for chunk in range(store.n_chunks) for item in store.items(chunk)] == keys
    for block in done:
        assert any(keys[row : row + len(block)] == block for row in range(5, len(keys)))
    assert len(keys) >= 5 + sum(map(len, done))
    assert_right(store)


def test_a_receipt_keeps_what_others_added(monkeypatch):
    target = place_of(FencedStore, monkeypatch)
    make_store(target)
    first, second = Store.open(target, "r+"), Store.open(target, "r+")
    first.update_receipt(weights={"galileo": {"sha256": "a"}}, note="first")
    second.update_receipt(weights={"rcf": {"sha256": "b"}})
    second.append_items(make_items(1, first=10))
    first.update_receipt(note="again")
    seen = Store.open(target)
    assert seen.receipt == {"weights": {"galileo": {"sha256": "a"}, "rcf": {"sha256": "b"}}, "note": "again"}
    assert seen.n_items == 11


def test_an_overtaken_writer_is_refused(monkeypatch, tmp_path):
    target = place_of(FencedStore, monkeypatch)
    make_store(target)
    with Store.open(target, "r+")._changing() as (inside, document):
        Store.open(target, "r+").update_receipt(a=1)
        with pytest.raises(StoreBusyError, match="another run has written there meanwhile"):
            document.save(inside)
    assert Store.open(target).receipt == {"a": 1}


def test_who_changes_the_receipt_and_is_overtaken_begins_again(monkeypatch):
    target = place_of(FencedStore, monkeypatch)
    make_store(target)
    store, load, left = Store.open(target, "r+"), Document.load, [1, 1]

    def overtaken(location):
        document = load(location)
        if location.storage is not target and left:
            Store.open(target, "r+").update_receipt(**{f"other {left.pop()} {len(left)}": True})
        return document

    monkeypatch.setattr(Document, "load", overtaken)
    monkeypatch.setattr(store_module, "_PAUSE_S", 0.0)
    store.update_receipt(mine=True)
    assert Store.open(target).receipt == store.receipt == {"other 1 1": True, "other 1 0": True, "mine": True}
    monkeypatch.setattr(store_module, "_TRIES", 1)
    left.append(2)
    with pytest.raises(OvertakenError):
        store.update_receipt(more=True)
    assert Store.open(target).receipt.keys() == store.receipt.keys() | {"other 2 0"}


def test_an_object_store_holds_what_a_folder_holds(monkeypatch, tmp_path):
    target = place_of(FencedStore, monkeypatch)
    remote, local = make_store(target, 9), make_store(tmp_path / "s", 9)
    for store in (remote, local):
        fill_store(store)
        store.append_items(make_items(4, first=9))
        store.write_chunk(0, "rcf", make_result(store, GRID, 0, offsets=[1], status=Status.READ_FAILED, reason="503"))
        fill_store(store)
    assert_same(content(remote), content(local))
    assert content(remote)["galileo/embedding"][12].tolist() == [12, 13, 14, 15, 16]
    assert Store.open(target).counts() == Store.open(tmp_path / "s").counts()


def test_rows_of_other_items_are_refused(tmp_path):
    store = make_store(tmp_path / "s")
    result = make_result(store, POOLED, 1)
    result.keys = np.array([item.key for item in make_items(4, first=4)], dtype="uint64")
    store.write_chunk(1, "galileo", result)
    result.keys = np.array([item.key for item in make_items(4, first=3)], dtype="uint64")
    with pytest.raises(StoreError, match="other items in these rows") as caught:
        store.write_chunk(1, "galileo", result)
    assert caught.value.value == "[4, 5, 6, 7]"


def test_items_that_were_matched_with_fewer_rows_are_not_added_twice(tmp_path):
    make_store(tmp_path / "s", 3)
    first, second = (Store.open(tmp_path / "s", "r+") for _ in range(2))
    assert first.append_items(make_items(2, first=3), after=3) == 2
    with pytest.raises(StoreBusyError, match="another run has added 2 items"):
        second.append_items(make_items(2, first=3), after=3)
    assert Store.open(tmp_path / "s").n_items == 5


def test_a_mark_changes_the_bytes_and_not_what_they_mean():
    plain, document = blank_status(7), b'{"attributes": {"a": 1}}'
    first, second = (stamped_frame(plain, mark * 16) for mark in ("01", "02"))
    assert first != second != plain
    assert stamped_frame(first, "02" * 16) == second
    for chunk in (plain, first, second):
        assert decoded_status([chunk], 7).tolist() == [0] * 7
    assert stamped_json(document, "x") != stamped_json(document, "y")
    assert b'"a": 1' in stamped_json(document, "x")
