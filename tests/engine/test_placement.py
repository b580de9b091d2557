"""Resources asked for, and the bounds of what is in flight, as functions of the workers."""

from __future__ import annotations

import dask
import pytest

from rs_embed_dask.engine.watch import InFlight, Placement, Workers
from rs_embed_dask.errors import EngineError


def workers(*each):
    info = {
        f"tcp://h:{n}": {"resources": resources, "nthreads": threads, "memory_limit": memory}
        for n, (resources, threads, memory) in enumerate(each)
    }
    return Workers.of(info)


GIB = 2**30


@pytest.mark.parametrize(
    ("each", "expected", "slots", "embedders"),
    [
        ([({}, 4, GIB), ({}, 4, GIB)], Placement(), 8, 2),
        ([({"FETCH": 16}, 4, GIB), ({"GPU": 1}, 1, GIB)], Placement({"FETCH": 1}, {"GPU": 1 / 64}), 16, 1),
        ([({"FETCH": 8, "EMBED": 1}, 16, GIB)] * 2, Placement({"FETCH": 1}, {"EMBED": 1 / 64}), 16, 2),
        ([({"GPU": 1, "EMBED": 1}, 2, GIB)], Placement({}, {"GPU": 1 / 64}), 2, 1),
        ([], Placement(), 1, 1),
    ],
)
def test_tasks_ask_for_the_resources_that_are_there(each, expected, slots, embedders):
    found = workers(*each)
    assert Placement.on(found.offered) == expected
    assert (found.fetch_slots, found.embedders) == (slots, embedders)


@pytest.mark.parametrize(
    ("each", "room"),
    [
        ([({"EMBED": 1}, 4, 8 * GIB), ({"EMBED": 1}, 4, 6 * GIB), ({"FETCH": 4}, 4, GIB)], 6 * GIB),
        ([({}, 4, 8 * GIB), ({}, 4, 0)], 8 * GIB),
        ([({"GPU": 1}, 1, GIB)], 0),
        ([], 0),
    ],
)
def test_weights_must_fit_into_a_worker_that_embeds(each, room):
    found = workers(*each)
    assert found.room == room
    found.check_room(int(0.79 * room) or 100 * GIB)
    if room:
        with pytest.raises(EngineError, match=rf"memory of a worker.*{room / GIB} GiB.*need {room / GIB} GiB.*more"):
            found.check_room(room)
        with dask.config.set({"distributed.worker.memory.pause": False}):
            found.check_room(room)


def limit(window, *, memory=16 * GIB, chunk_items=64, chunk_bytes=2**20):
    found = workers(*[({"FETCH": 8, "EMBED": 1}, 16, memory // 2)] * 2)
    return window.limit(found, chunk_items=chunk_items, chunk_bytes=chunk_bytes, batch_items=32)


def test_the_window_keeps_slots_and_embedders_busy_and_one_chunk_more():
    assert limit(InFlight()) == -(-(3 * 16 + 2 * 32 * 2) // 64) + 1 == 4
    assert limit(InFlight(), chunk_items=256) == 2


def test_bytes_bound_the_window():
    assert limit(InFlight(), chunk_bytes=2 * GIB) == 3  # 40 % of 16 GiB
    assert limit(InFlight(nbytes=GIB), chunk_bytes=GIB // 2) == 2
    assert limit(InFlight(chunks=9)) == 9
    assert limit(InFlight(), chunk_bytes=100 * GIB) == 1


def test_unknown_memory_counts_as_two_gib():
    found = workers(({}, 1, 0))
    assert InFlight(chunks=100).limit(found, chunk_items=8, chunk_bytes=GIB // 10, batch_items=32) == 8
