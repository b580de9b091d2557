"""A request in parts: processes that compute one store at once, one that is killed, and what is refused meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from zarr.storage import MemoryStore

import rs_embed_dask as rs
from rs_embed_dask.engine.report import RunStarted
from rs_embed_dask.errors import SpecError, StoreBusyError, StoreMismatchError
from rs_embed_dask.store import Location, Part, Status, Store, parts
from rs_embed_dask.store.lease import holders_of
from tests.chaos.verdict import judge
from tests.engine.caller import MODEL, call
from tests.engine.fakes import until

COUNT = 30  # in chunks of 4


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is refused here is refused at once."""
    monkeypatch.setattr(parts, "PATIENCE_S", 0.0)


@pytest.fixture(scope="module")
def whole(threads_client, tmp_path_factory):
    """The store of a run that was not in parts."""
    out = tmp_path_factory.mktemp("whole") / "run.zarr"
    call(out, range(COUNT), threads_client)
    return out


def files(out):
    """Every file of a store but its lease and its root document, which has times and the receipt."""
    paths = (path for path in out.rglob("*") if path.is_file() and ".lease" not in path.parts)
    names = {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in names.items() if name not in {"zarr.json", "zarr.json.copy"}}


def assert_whole(out, whole):
    assert judge(Store.open(out), Store.open(whole)).is_clean
    assert files(out) == files(whole)
    assert rs.status(out).is_finished


def test_two_processes_at_once_of_which_one_is_killed(start, threads_client, whole, tmp_path):
    out = tmp_path / "run.zarr"
    first, second = start(out, 0, COUNT, 60, part="1/2"), start(out, 0, COUNT, 60, part="2/2")
    assert first.stdout.readline() == "stored\n"
    until((tmp_path / "run.zarr.begun-2").exists)
    assert second.stdout.readline() == "done\n"
    assert [holder.chunks for holder in holders_of(Location.of(out))] == [(0, 4)]
    assert Store.open(out).counts(chunks=(4, 8))[MODEL] == {Status.OK: COUNT - 16}
    assert Store.open(out).counts(chunks=(0, 4))[MODEL][Status.PENDING] > 0
    for act in (
        lambda: call(out, range(COUNT), threads_client),
        lambda: call(out, range(COUNT), threads_client, part=(1, 2)),
        lambda: rs.resume(out, client=threads_client, progress=False),
    ):
        with pytest.raises(StoreBusyError, match=f"process {first.pid} is writing its chunks 0 to 3"):
            act()
    assert rs.resume(out, client=threads_client, part=(2, 2)).chunks == 0
    first.kill()
    first.wait()
    tree = call(out, range(COUNT), threads_client, part=(1, 2))
    assert np.isfinite(tree[MODEL].embedding).all()
    assert_whole(out, whole)
    assert holders_of(Location.of(out)) == ()


def test_two_parts_of_one_process_hold_their_leases_at_once(threads_client, whole, tmp_path):
    out, both = tmp_path / "run.zarr", threading.Barrier(2, timeout=60)

    def run(number):
        def progress(event):
            if isinstance(event, RunStarted):
                both.wait()
                begun.append(sorted(holder.chunks for holder in holders_of(Location.of(out))))
                both.wait()

        call(out, range(COUNT), threads_client, part=(number, 2), progress=progress, wait=60)

    begun = []
    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert begun == [[(0, 4), (4, 8)]] * 2
    assert_whole(out, whole)


def test_a_part_looks_for_room_just_as_another_has_made_the_store(threads_client, whole, tmp_path, monkeypatch):
    out, look = tmp_path / "run.zarr", Store.check_vacant

    def looked_at_too_late(target):
        monkeypatch.setattr(Store, "check_vacant", look)
        call(out, range(COUNT), threads_client, part=(1, 2))
        look(target)

    monkeypatch.setattr(Store, "check_vacant", looked_at_too_late)
    call(out, range(COUNT), threads_client, part=(2, 2))
    assert_whole(out, whole)


@pytest.fixture(scope="module")
def begun(threads_client, tmp_path_factory):
    """A store of which the second of two parts is computed."""
    out = tmp_path_factory.mktemp("begun") / "run.zarr"
    tree = call(out, range(COUNT), threads_client, part=(2, 2))
    assert np.isfinite(tree[MODEL].embedding).all("dim").values.tolist() == [False] * 16 + [True] * 14
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": (1, 3)}, r"being computed in 2 parts, and items are pending. Fix: give part=\(k, 2\)"),
        ({"part": (1, 2), "count": COUNT + 1}, "items and models are fixed"),
        ({"count": COUNT + 1}, "items and models are fixed"),
    ],
)
def test_a_store_that_is_computed_in_parts_stays_as_it_is(threads_client, begun, change, message):
    before = files(begun)
    options = dict(change)
    with pytest.raises(StoreMismatchError, match=message):
        call(begun, range(options.pop("count", COUNT)), threads_client, **options)
    assert files(begun) == before
    with pytest.raises(StoreMismatchError, match="being computed in 2 parts"):
        rs.resume(begun, part=(1, 4), client=threads_client)
    assert holders_of(Location.of(begun)) == ()


def test_once_all_parts_are_done_the_store_grows_and_is_parted_anew(threads_client, whole, tmp_path):
    out = tmp_path / "run.zarr"
    call(out, range(COUNT), threads_client, part=(1, 2))
    assert rs.resume(out, part=(2, 2), client=threads_client, progress=False).chunks == 4
    assert_whole(out, whole)
    call(out, range(COUNT + 1), threads_client)
    for number in (3, 1, 2):
        call(out, range(COUNT + 8), threads_client, part=(number, 3))
    assert Store.open(out).counts()[MODEL] == {Status.OK: COUNT + 8}
    assert rs.verify(out).is_sound


@pytest.mark.parametrize(
    ("out", "part", "message"),
    [
        (None, (1, 2), "each part would have a store of its own"),
        ("memory://parts", (1, 2), "it is in the memory of one process"),
        (MemoryStore(), (1, 2), "it is in the memory of one process"),
        ("simplecache::file:///nowhere/run.zarr", (1, 2), "its locks hold inside one process"),
        ("run.zarr", (1, 9), "make only 8 chunks"),
        ("run.zarr", (0, 2), "counted from 1"),
        ("run.zarr", (3, 2), "counted from 1"),
        ("run.zarr", (True, 2), "counted from 1"),
        ("run.zarr", 2, "counted from 1"),
        ("run.zarr", (1.0, 2), "counted from 1"),
    ],
)
def test_what_is_no_part_is_refused_at_once(threads_client, tmp_path, monkeypatch, out, part, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=message):
        call(out, range(COUNT), threads_client, part=part)
    assert list(tmp_path.iterdir()) == []


def test_a_part_to_resume_is_given_alone(whole):
    for other in ({"chunks": (0, 2)}, {"verify": True}):
        with pytest.raises(SpecError, match="was given too"):
            rs.resume(whole, part=(1, 2), **other)


@pytest.mark.parametrize(("chunks", "count"), [(6, 1), (6, 4), (7, 7), (3907, 16)])
def test_parts_cover_every_chunk_once_and_none_is_empty(chunks, count):
    ranges = [Part(number, count).chunks(chunks) for number in range(1, count + 1)]
    assert [one for start, stop in ranges for one in range(start, stop)] == list(range(chunks))
    sizes = {stop - start for start, stop in ranges}
    assert 0 not in sizes
    assert max(sizes) - min(sizes) <= 1
