"""One holder at a time, whatever is lost, late, killed or asleep; and what the second run is told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial

import pytest
from obstore.store import MemoryStore as ObjectMemory
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.store import Location, leased
from rs_embed_dask.store.lease import ALL_CHUNKS, Lease, _process_text
from rs_embed_dask.store.swap import LockedKey, NumberedFiles, ObjectKey, lease_cell
from tests.store.lease_schedules import TERM_S, ByWallClock, MemoryCell, Unread, entries, play


@pytest.fixture(autouse=True)
def strangers(monkeypatch):
    """No run may know by the process table that another has ended; tests of that put it back."""
    monkeypatch.setattr("rs_embed_dask.store.lease._has_ended", lambda process: False)


@pytest.mark.parametrize("seed", range(8))
def test_one_run_holds_the_lease_at_a_time(seed):
    outcome = play(seed)
    assert outcome.doubles == 0
    assert outcome.holders > 0
    assert outcome.newcomer_s is not None
    assert outcome.newcomer_s <= 2.5 * TERM_S


def test_chunks_apart_are_held_at_once():
    first, second = (0, 4), (4, None)
    outcomes = [play(seed, ranges=(first, second, second)) for seed in range(3)]
    assert sum(outcome.doubles for outcome in outcomes) == 0
    assert all(outcome.newcomer_s is not None for outcome in outcomes)


@pytest.mark.parametrize("mutant", [ByWallClock, Unread])
def test_the_schedules_find_a_protocol_that_is_wrong(mutant):
    assert sum(play(seed, kind=mutant, steps=300).doubles > 0 for seed in range(12)) > 1


@pytest.fixture(params=["numbered files", "locked key", "locked key in memory", "object"])
def make_cell(request, tmp_path):
    kinds = {
        "numbered files": lambda: NumberedFiles(tmp_path / "record"),
        "locked key": lambda: LockedKey(Location.of(tmp_path / "s"), "key"),
        "locked key in memory": lambda: LockedKey(Location.of(MemoryStore()), "key"),
        "object": lambda: ObjectKey(ObjectMemory(), "key"),
    }
    return kinds[request.param]


def test_every_kind_of_cell_holds_one_run_at_a_time(make_cell, tmp_path):
    outcome = play(3, make_cell=make_cell, steps=150)
    assert outcome.doubles == 0
    assert outcome.holders > 0
    assert outcome.newcomer_s is not None


def test_a_swap_needs_the_last_tag(make_cell):
    cell = make_cell()
    assert cell.read() is None
    first = cell.swap(None, b"one")
    assert cell.read() == (b"one", first)
    assert cell.swap(None, b"another first") is None
    second = cell.swap(first, b"two")
    assert cell.swap(first, b"late") is None
    assert cell.read() == (b"two", second)


def test_of_many_threads_one_swap_wins(make_cell):
    cell = make_cell()
    tag = cell.swap(None, b"0")
    for turn in range(5):
        start, won = threading.Barrier(8), []

        def race(name, start=start, won=won, tag=tag):
            start.wait()
            new = cell.swap(tag, f"{turn} {name}".encode())  # noqa: B023  joined before the next turn
            if new is not None:
                won.append((f"{turn} {name}".encode(), new))  # noqa: B023

        threads = [threading.Thread(target=race, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert cell.read() == won[0]
        tag = won[0][1]


def test_old_numbers_are_pruned(tmp_path):
    cell, tag = NumberedFiles(tmp_path), None
    for number in range(1, 30):
        tag = cell.swap(tag, str(number).encode())
        assert tag == number
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n:012d}" for n in (27, 28, 29)]
    assert NumberedFiles(tmp_path).swap(5, b"one who slept") is None
    assert cell.read() == (b"29", 29)


def lease_of(cell, at, **changes):
    return Lease(cell, "run.zarr", clock=lambda: at[0], seen={}, **changes)


def test_an_entry_that_changes_is_alive_and_one_that_does_not_is_taken_over_after_a_term():
    cell, at = MemoryCell(), [0.0]
    first, second = lease_of(cell, at), lease_of(cell, at)
    assert first.acquire() is None
    for _ in range(20):
        at[0] += TERM_S / 2
        assert first.renew()
        assert second.acquire().owner == first._me.owner
    at[0] += TERM_S - 1
    assert second.acquire() is not None
    assert not first.is_held
    at[0] += 1
    assert second.acquire() is None
    assert second.is_held
    assert not first.renew()
    with pytest.raises(StoreBusyError, match="has taken over"):
        first.check()


def test_a_run_that_stood_still_goes_on_if_nobody_came():
    cell, at = MemoryCell(), [0.0]
    lease = lease_of(cell, at)
    assert lease.acquire() is None
    at[0] += 10 * TERM_S
    assert not lease.is_held
    assert lease.renew()
    assert lease.is_held
    lease.check()


def test_a_lease_that_is_released_is_free_at_once():
    cell, at = MemoryCell(), [0.0]
    first, second = lease_of(cell, at), lease_of(cell, at)
    assert first.acquire() is None
    first.release()
    assert entries(cell) == []
    assert second.acquire() is None
    first.release()
    assert len(entries(cell)) == 1


def test_ranges_that_overlap_exclude_each_other():
    cell, at = MemoryCell(), [0.0]
    held = lease_of(cell, at, chunks=(2, 5))
    assert held.acquire() is None
    for chunks, is_free in [((0, 2), True), ((5, None), True), ((4, 6), False), (ALL_CHUNKS, False), ((0, 3), False)]:
        other = lease_of(cell, at, chunks=chunks)
        assert (other.acquire() is None) is is_free
        other.release()


class Refusing(MemoryCell):
    """A cell whose swaps are refused so many times, as where others change it too."""

    refusals = 0

    def swap(self, tag, content):
        if self.refusals:
            self.refusals -= 1
            return None
        return super().swap(tag, content)


def test_what_a_lease_lets_go_of_is_free(tmp_path):
    cell, at = Refusing(), [0.0]
    first = lease_of(cell, at)
    assert first.acquire() is None
    cell.refusals = 2
    first.narrow((0, 3))
    assert [one["chunks"] for one in entries(cell)] == [[0, 3]]
    assert lease_of(cell, at, chunks=(2, 4)).acquire().owner == first._me.owner
    second = lease_of(cell, at, chunks=(3, None))
    assert second.acquire() is None
    assert first.renew()
    assert sorted(one["chunks"] for one in entries(cell)) == [[0, 3], [3, None]]


def test_what_is_wanted_may_change_while_it_is_waited_for():
    cell, at, wanted = MemoryCell(), [0.0], [ALL_CHUNKS]
    first, second = lease_of(cell, at), lease_of(cell, at)
    assert first.acquire() is None

    def sleep(seconds):
        at[0] += seconds
        first.narrow((0, 3))
        wanted[0] = (3, 6)

    second.choose(lambda: wanted[0], 10, sleep=sleep)
    assert at[0] == 2.0
    assert sorted(one["chunks"] for one in entries(cell)) == [[0, 3], [3, 6]]


def test_what_is_wanted_no_more_once_it_is_held_is_let_go():
    cell, at = MemoryCell(), [0.0]
    answers = iter([ALL_CHUNKS, (0, 2), (0, 2), (0, 2)])
    lease = lease_of(cell, at)
    lease.choose(lambda: next(answers), 0)
    assert [one["chunks"] for one in entries(cell)] == [[0, 2]]
    lease.release()
    answers = iter([ALL_CHUNKS])
    with pytest.raises(StopIteration):
        lease.choose(lambda: next(answers), 0)
    assert entries(cell) == []


def test_the_second_run_is_told_who_and_since_when(tmp_path):
    location = Location.of(tmp_path / "run.zarr")
    with leased(location), pytest.raises(StoreBusyError) as caught, leased(location):
        pass
    assert caught.value.value == str(tmp_path / "run.zarr")
    assert "is writing to it, since 20" in caught.value.reason
    assert "process" in caught.value.reason
    assert "wait=" in caught.value.fix
    with leased(location):
        pass


def test_waiting_for_a_run_that_ends(tmp_path):
    location = Location.of(tmp_path / "run.zarr")
    first, second = (Lease(lease_cell(location), location.name) for _ in range(2))
    assert first.acquire() is None
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        first.release()

    second.wait_for(10, sleep=sleep)
    assert slept == [2.0]
    assert second.is_held


def test_waiting_ends(tmp_path):
    at = [0.0]
    cell = MemoryCell()
    assert lease_of(cell, at).acquire() is None
    with pytest.raises(StoreBusyError, match="is writing to it"):
        lease_of(cell, at).wait_for(5, sleep=lambda seconds: at.__setitem__(0, at[0] + seconds))
    assert at[0] == 5


def test_a_garbled_record_is_an_error_with_a_fix():
    cell = MemoryCell()
    cell.swap(None, b"{}")
    with pytest.raises(StoreError, match="garbled") as caught:
        lease_of(cell, [0.0]).acquire()
    assert ".lease" in caught.value.fix


HOLDER = """
import sys
from rs_embed_dask.store import Location
from rs_embed_dask.store.lease import Lease, lease_cell
location = Location.of(sys.argv[1])
assert Lease(lease_cell(location), location.name).acquire() is None
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_ended_on_this_machine_is_taken_over_at_once(tmp_path, monkeypatch):
    monkeypatch.undo()
    location = Location.of(tmp_path / "run.zarr")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(location.target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match=f"process {process.pid} is writing to it"), leased(location):
            pass
        process.kill()
        process.wait()
    with leased(location) as lease:
        assert lease.is_held


def test_a_process_is_named_so_that_no_other_is(monkeypatch):
    monkeypatch.undo()
    from rs_embed_dask.store.lease import _has_ended

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = _process_text(process.pid)
        assert len(name.split()) == 4
        assert not _has_ended(name)
        process.kill()
    assert _has_ended(name)
    boot, space, number, start = name.split()
    assert not _has_ended(f"other {space} {number} {start}")
    assert not _has_ended(f"{boot} other {number} {start}")
    assert not _has_ended("")


def test_the_lease_is_renewed_in_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("rs_embed_dask.store.lease.Lease", partial(Lease, term_s=0.06))
    location = Location.of(tmp_path / "run.zarr")
    cell = lease_cell(location)
    with leased(location):
        first = cell.read()
        for _ in range(2000):
            if cell.read() != first:
                break
            threading.Event().wait(0.01)
        assert cell.read() != first
    assert json.loads(cell.read()[0])["holders"] == []


def test_a_lease_that_is_lost_ends_the_thread(tmp_path):
    location = Location.of(tmp_path / "run.zarr")
    cell = lease_cell(location)
    with leased(location) as lease:
        content, tag = cell.read()
        record = json.loads(content)
        record["holders"][0] |= {"owner": "another", "who": "somebody"}
        cell.swap(tag, json.dumps(record).encode())
        assert not lease.renew()
        assert replace(lease.lost_to, nonce="").who == "somebody"
        with pytest.raises(StoreBusyError, match="somebody has taken over"):
            lease.check()
    assert json.loads(cell.read()[0])["holders"][0]["owner"] == "another"
