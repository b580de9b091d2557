"""A worker that dies in the middle of a run, on purpose."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rs_embed_dask.engine.report import ChunkDone, Event, RunFinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from rs_embed_dask.engine.report import RunReport

__all__ = ["KillsOneWorker", "process_ids"]


class KillsOneWorker:
    """A listener that kills a worker process after some chunks, without a warning to it, and keeps the run's report."""

    def __init__(self, victims: Mapping[str, int], *, after: int, say: Callable[[str], None]) -> None:
        self._victims = dict(victims)
        self._after = after
        self._say = say
        self._stored = 0
        self.killed = 0
        self.report: RunReport | None = None

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, ChunkDone):
            self._stored += 1
            if self._stored == self._after:
                self._kill(event.left)
        elif isinstance(event, RunFinished):
            self.report = event.report

    def _kill(self, left: int) -> None:
        address, self.killed = next(iter(self._victims.items()))
        os.kill(self.killed, signal.SIGKILL)
        self._say(f"SIGKILL to worker {address} (process {self.killed}) with {left} chunks to go")


def process_ids() -> int:
    """Tell the process id of whoever runs this; given to `distributed.Client.run`."""
    return os.getpid()
