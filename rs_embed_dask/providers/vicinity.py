"""Searching once for the places of a run that lie together: the area of a read, and what other processes found there.

Who runs many reads, as the engine does, says in which area a read lies (`within`), and lends it a board on which the
processes of the run leave answers for each other. What was asked of a catalogue is noted (`noting`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["Board", "SearchMade", "Vicinity", "current", "note", "noting", "within"]

Box = tuple[float, float, float, float]
"""West, south, east and north in degrees."""


class Board(Protocol):
    """Where the processes of a run leave answers for each other."""

    def get(self, name: str) -> Any:
        """Return what was left under a name; None where nothing was."""

    def put(self, name: str, answer: Any) -> None:
        """Leave an answer."""


@dataclass(frozen=True)
class Vicinity:
    """An area of which places are dense."""

    box: Box
    board: Board | None = None

    def holds(self, box: Box) -> bool:
        """Return whether a place lies within the area."""
        west, south, east, north = self.box
        return west <= box[0] and south <= box[1] and box[2] <= east and box[3] <= north


class SearchMade(NamedTuple):
    """One search: the catalogue that was asked, collections, boxes, days, and how much it listed."""

    api: str
    collections: tuple[str, ...]
    boxes: tuple[Box, ...]
    start: str
    end: str
    items: int
    pages: int


_HERE: Final[ContextVar[Vicinity | None]] = ContextVar("vicinity", default=None)
_NOTES: Final[ContextVar[list[SearchMade] | None]] = ContextVar("searches", default=None)


@contextmanager
def within(vicinity: Vicinity | None) -> Iterator[None]:
    """Let reads of this thread know the area in which they lie."""
    token = _HERE.set(vicinity)
    try:
        yield
    finally:
        _HERE.reset(token)


def current() -> Vicinity | None:
    """Return the area in which the reads of this thread lie."""
    return _HERE.get()


@contextmanager
def noting() -> Iterator[list[SearchMade]]:
    """Collect the searches that this thread makes."""
    made: list[SearchMade] = []
    token = _NOTES.set(made)
    try:
        yield made
    finally:
        _NOTES.reset(token)


def note(made: SearchMade) -> None:
    """Note a search, where anybody collects them."""
    notes = _NOTES.get()
    if notes is not None:
        notes.append(made)
