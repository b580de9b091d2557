"""Memory for arrays that live briefly: never lent twice at once, and never more kept than is allowed."""

from __future__ import annotations

import gc
import threading
from itertools import count

import numpy as np
import pytest

from rs_embed_dask.imagery.scratch import Lender

MEGABYTE = 2**20


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_lent_again_when_no_view_of_it_is_left():
    lender = Lender(4 * MEGABYTE)
    first = lender.empty((1000, 100), np.uint16)
    assert first.shape == (1000, 100)
    assert first.dtype == np.uint16
    assert first.flags.c_contiguous
    assert first.flags.writeable
    at, part = address(first), first[10:20].ravel()[3:].view(np.uint8)
    seen = memoryview(first)
    del first
    assert address(lender.empty((1000, 100), np.uint16)) != at  # a part of it is still seen
    del part
    assert lender.nbytes == 7 * 2**15  # what was asked for in between
    del seen
    assert lender.nbytes == 14 * 2**15
    again = {address(array) for array in (lender.empty((2, 50_000), np.uint16), lender.empty((200_000,), np.uint8))}
    assert at in again


def test_other_sizes_and_types_have_their_own_numbers():
    lender = Lender(4 * MEGABYTE)
    for shape, kind in [((70, 700), np.float32), ((3, 5, 8000), np.bool_), ((40_000,), np.int64), ((9,), np.float64)]:
        one, other = lender.empty(shape, kind), lender.empty(shape, kind)
        one[...], other[...] = 1, 0
        assert one.all()
        assert not other.any()
        assert one.shape == other.shape == shape
        assert one.dtype == kind


def test_no_more_is_kept_than_is_allowed():
    lender = Lender(MEGABYTE)
    held = [lender.empty((size,), np.uint8) for size in (2**19, 2**18, 2**18, 2**18, 2**20, 2**21, 2**10)]
    assert lender.nbytes == 0
    while held:
        held.pop()
        assert lender.nbytes <= MEGABYTE
    assert lender.nbytes > 0


def test_threads_never_share_memory():
    lender, faults = Lender(MEGABYTE), []

    def fill(value):
        for _ in range(300):
            array = lender.empty((40_000,), np.uint8)
            array[:] = value
            if (array != value).any():
                faults.append(value)

    threads = [threading.Thread(target=fill, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert 0 < lender.nbytes <= MEGABYTE


@pytest.fixture
def at_each_collection():
    """Calls a function whenever the garbage collector starts, which is at every turn."""
    threshold, called = gc.get_threshold(), []

    def watch(call):
        called.append(lambda phase, info: call() if phase == "start" else None)
        gc.callbacks.append(called[0])
        gc.set_threshold(1)

    yield watch
    gc.set_threshold(*threshold)
    gc.callbacks.remove(called[0])


def test_memory_is_counted_while_the_collector_runs_and_others_ask_for_new_sizes(at_each_collection):
    lender, sizes = Lender(MEGABYTE), count(1)
    held = [lender.empty((2**15 * n,), np.uint8) for n in range(1, 9)]
    del held
    at_each_collection(lambda: lender._free[-next(sizes)])  # as another thread that runs meanwhile
    for _ in range(20):
        assert lender.nbytes == 28 * 2**15  # all but the largest
