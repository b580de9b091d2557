"""The chunks that a run has to do, in what order, and what becomes of those whose tasks fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.engine.stages import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.store import Item, Status, Store

__all__ = ["MOST_LOSSES", "Job", "Jobs", "chunks_to_do", "units_of"]

MOST_LOSSES: Final = 20


@dataclass(frozen=True)
class Job:
    """Work on one chunk: all that is to do in it, or some of its rows.

    Attributes
    ----------
    chunk : int
        The chunk.
    rows : tuple of int or None
        Offsets inside it; None = all that have something to do.
    attempt : int
        From 1; tells the keys of its tasks apart.
    losses : int
        How often its tasks were lost with a worker.
    is_suspect : bool
        Its tasks kept dying with their workers, so it runs alone.
    rest : tuple of tuples of int
        Rows of the same chunk that come after: one writer a chunk.
    """

    chunk: int
    rows: tuple[int, ...] | None = None
    attempt: int = 1
    losses: int = 0
    is_suspect: bool = False
    rest: tuple[tuple[int, ...], ...] = ()

    def again(self, *, is_suspect: bool = False) -> Job:
        """Return the same work once more, after its tasks were lost."""
        suspect = is_suspect or self.is_suspect
        return replace(self, attempt=self.attempt + 1, losses=self.losses + 1, is_suspect=suspect)

    def halves(self, rows: tuple[int, ...]) -> Job:
        """Cut it: the first half of its rows now, the second after it."""
        middle = len(rows) // 2
        return replace(self, rows=rows[:middle], attempt=self.attempt + 1, rest=(rows[middle:], *self.rest))

    def next(self) -> Job | None:
        """Return what comes after it in the same chunk."""
        if not self.rest:
            return None
        return replace(self, rows=self.rest[0], attempt=self.attempt + 1, rest=self.rest[1:])


class Jobs:
    """Every chunk with something to do: what was lost first, new ones next, suspects last and alone.

    Parameters
    ----------
    chunks : numpy.ndarray of int
        Chunks to do.
    """

    def __init__(self, chunks: np.ndarray[Any, Any]) -> None:
        self._new: Iterator[int] = iter(chunks.tolist())
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self.left = len(chunks)

    def take(self, *, is_idle: bool) -> Job | None:
        """Return the next job that may start.

        Parameters
        ----------
        is_idle : bool
            Whether nothing is in flight: only then a suspect may start.
        """
        if self._again:
            return self._again.popleft()
        chunk = next(self._new, None)
        if chunk is not None:
            return Job(chunk)
        return self._suspects.popleft() if self._suspects and is_idle else None

    def put(self, job: Job) -> None:
        """Take a job up again later."""
        (self._suspects if job.is_suspect else self._again).append(job)

    def finish(self, job: Job) -> None:
        """Note that a job is done, and go on with the rest of its chunk."""
        after = job.next()
        if after is None:
            self.left -= 1
        elif after.is_suspect:
            self._suspects.appendleft(after)
        else:
            self._again.append(after)


def chunks_to_do(
    store: Store, labels: Iterable[str], only: AbstractSet[Status] | None
) -> dict[str, np.ndarray[Any, Any]]:
    """Find the chunks that hold something to do, by model; each status array is read once."""
    return {label: store.pending(label, only=only) for label in labels}


def units_of(store: Store, job: Job, labels: tuple[str, ...], *, only: AbstractSet[Status] | None) -> list[Unit]:
    """Find the items of a job that have something to do, reading this chunk alone from the store.

    Parameters
    ----------
    store : Store
        The store.
    job : Job
        Chunk and rows.
    labels : tuple of str
        The models of the run.
    only : set of Status or None
        Which states are taken up.

    Returns
    -------
    list of Unit
        In the order of the rows.
    """
    open_rows = {label: frozenset(store.pending_rows(job.chunk, label, only=only).tolist()) for label in labels}
    items: Mapping[int, Item] = dict(enumerate(store.items(job.chunk)))
    rows = sorted(frozenset().union(*open_rows.values())) if job.rows is None else job.rows
    found = [(row, tuple(label for label in labels if row in open_rows[label])) for row in rows]
    return [Unit(row, items[row], todo) for row, todo in found if todo]
