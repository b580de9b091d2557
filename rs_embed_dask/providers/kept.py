"""Bytes of files that were fetched and may be needed again: by another grid of the same place, or by its neighbour."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["ByteCache", "File", "Piece", "keeping_bytes", "kept_bytes"]

Run: TypeAlias = tuple[int, int]
"""First byte, and the one after the last."""

File: TypeAlias = tuple[str, int]
"""Address and size: a file that has changed is another one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file: where they begin, what they are, how large the whole file is, and whether it was cut from it."""

    start: int
    data: bytes
    size: int
    is_of_whole: bool = False
    """The server sent the whole file, so that `size` is what arrived, not what it stated."""

    @property
    def stop(self) -> int:
        """The offset behind the last byte."""
        return self.start + len(self.data)


@dataclass(eq=False)
class _Fetching:
    """Bytes that a thread is fetching."""

    runs: tuple[Run, ...]
    pieces: Future[list[Piece]] = field(default_factory=Future)


class ByteCache:
    """What was fetched of files, the oldest let go beyond a limit; what travels is empty."""

    def __init__(self, most: int | None = None) -> None:
        self._most, self._held = most, 0
        self._pieces: defaultdict[File, list[Piece]] = defaultdict(list)
        self._order: OrderedDict[tuple[File, int], Piece] = OrderedDict()
        self._flights: defaultdict[File, list[_Fetching]] = defaultdict(list)
        self._lock = threading.Lock()

    def take(
        self, file: File, missing: Callable[[Iterable[Run]], list[Run]], fetch: Callable[[list[Run]], list[Piece]]
    ) -> list[Piece]:
        """Return pieces of a file: those that are there, those that other threads are fetching, and what `fetch` adds.

        `missing` says what has to be fetched besides what is there.
        """
        with self._lock:
            there = list(self._pieces.get(file, ()))
            others = list(self._flights[file])
            coming = [run for other in others for run in other.runs]
            flight = _Fetching(tuple(missing([*_runs(there), *coming])))
            self._flights[file].append(flight)
        try:
            mine = fetch(list(flight.runs))
            flight.pieces.set_result(mine)
        finally:
            if not flight.pieces.done():
                flight.pieces.set_result([])  # whoever waits fetches it
            with self._lock:
                self._flights[file].remove(flight)
                self._keep(file, flight.pieces.result())
        theirs = [piece for other in others for piece in other.pieces.result()]
        pieces = [*there, *mine, *theirs]
        return [*pieces, *fetch(missing(_runs(pieces)))]

    def put(self, file: File, pieces: list[Piece]) -> None:
        """Keep pieces that came another way."""
        with self._lock:
            self._keep(file, pieces)

    def _keep(self, file: File, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._pieces[file].append(piece)
            self._order[file, piece.start] = piece
            self._held += len(piece.data)
        while self._most is not None and self._held > self._most and self._order:
            (old, _), piece = self._order.popitem(last=False)
            self._held -= len(piece.data)
            self._pieces[old].remove(piece)

    def __reduce__(self) -> tuple[type[ByteCache], tuple[int | None]]:
        return ByteCache, (self._most,)


def _runs(pieces: Iterable[Piece]) -> list[Run]:
    return [(piece.start, piece.stop) for piece in pieces]


_KEPT: ContextVar[ByteCache | None] = ContextVar("kept bytes", default=None)


@contextmanager
def keeping_bytes(cache: ByteCache) -> Iterator[None]:
    """Let the reads that are begun inside take from a cache."""
    token = _KEPT.set(cache)
    try:
        yield
    finally:
        _KEPT.reset(token)


def kept_bytes() -> ByteCache | None:
    """Return the bytes that the reads of this thread share, if they do."""
    return _KEPT.get()
