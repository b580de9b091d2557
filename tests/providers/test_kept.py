"""Bytes that reads share: each fetched once, whoever asks, and let go beyond the limit."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rs_embed_dask.providers.kept import ByteCache, Piece, keeping_bytes, kept_bytes
from rs_embed_dask.providers.ranges import runs

FILE = ("https://example.org/file.tif", 10_000_000)
STEP = 1_000_000


class Source:
    """A file whose fetches are counted; `gate` holds them up."""

    def __init__(self, gate=None):
        self.fetched, self.gate = [], gate

    def fetch(self, wanted):
        for start, stop in wanted:
            self.fetched.append((start, stop))
            if self.gate is not None:
                self.gate.wait(10)
        return [Piece(start, bytes(stop - start), FILE[1]) for start, stop in wanted]

    def take(self, cache, *blocks):
        return cache.take(FILE, lambda there: runs([(b * STEP, 100) for b in blocks], there), self.fetch)


def holds(pieces, block):
    return any(piece.start <= block * STEP and block * STEP + 100 <= piece.stop for piece in pieces)


def test_what_is_there_is_not_fetched_again():
    cache, source = ByteCache(), Source()
    source.take(cache, 1, 2)
    pieces = source.take(cache, 2, 3)
    assert source.fetched == [(STEP, STEP + 100), (2 * STEP, 2 * STEP + 100), (3 * STEP, 3 * STEP + 100)]
    assert holds(pieces, 2)
    assert holds(pieces, 3)


def test_what_another_thread_fetches_is_awaited():
    gate, cache = threading.Event(), ByteCache()
    slow, other = Source(gate), Source()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slow.take, cache, 1)
        while not slow.fetched:
            pass
        second = threads.submit(other.take, cache, 1, 2)
        while not other.fetched:
            pass
        assert not second.done()
        gate.set()
        assert holds(first.result(10), 1)
        assert holds(second.result(10), 1)
    assert other.fetched == [(2 * STEP, 2 * STEP + 100)]


def test_what_another_thread_failed_to_fetch_is_fetched():
    gate, cache, other = threading.Event(), ByteCache(), Source()

    def failing(wanted):
        assert wanted
        gate.wait(10)
        raise OSError("reset")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.take, FILE, lambda there: runs([(STEP, 100)], there), failing)
        while not cache._flights[FILE]:
            pass
        second = threads.submit(other.take, cache, 1, 2)
        while not other.fetched:
            pass
        gate.set()
        with pytest.raises(OSError, match="reset"):
            first.result(10)
        assert holds(second.result(10), 1)
    assert (STEP, STEP + 100) in other.fetched
    assert cache._flights[FILE] == []


def test_the_oldest_is_let_go_beyond_the_limit():
    cache, source = ByteCache(250), Source()
    for block in (1, 2, 3):
        source.take(cache, block)
    source.take(cache, 3)
    assert len(source.fetched) == 3
    source.take(cache, 1)
    assert len(source.fetched) == 4


def test_a_file_that_has_changed_is_another_one():
    cache, source = ByteCache(), Source()
    source.take(cache, 1)
    cache.take((FILE[0], 5), lambda there: runs([(STEP, 100)], there), source.fetch)
    assert len(source.fetched) == 2


def test_what_travels_is_empty_and_keeps_its_limit():
    cache, source = ByteCache(1000), Source()
    source.take(cache, 1)
    there = pickle.loads(pickle.dumps(cache))
    source.take(there, 1)
    assert len(source.fetched) == 2
    assert there._most == 1000


def test_bytes_are_shared_inside_only():
    cache = ByteCache()
    assert kept_bytes() is None
    with keeping_bytes(cache):
        assert kept_bytes() is cache
    assert kept_bytes() is None


def test_what_came_another_way_is_not_fetched():
    cache, source = ByteCache(), Source()
    cache.put(FILE, [Piece(2 * STEP, bytes(100), FILE[1])])
    pieces = source.take(cache, 1, 2)
    assert source.fetched == [(STEP, STEP + 100)]
    assert holds(pieces, 2)
