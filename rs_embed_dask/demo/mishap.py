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

__all__ = ["KillsOneWorker"]


class KillsOneWorker:
    """A listener that kills one of some processes after some chunks, without warning, and keeps the run's report."""

    def __init__(self, process_ids: Mapping[str, int], *, after: int, write: Callable[[str], None]) -> None:
        self._process_ids = dict(process_ids)
        self._after = after
        self._write = write
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
        address, self.killed = next(iter(self._process_ids.items()))
        # SIGKILL cannot be caught: the worker says no goodbye, as when a machine is preempted
        os.kill(self.killed, signal.SIGKILL)
        chunks = "1 chunk" if left == 1 else f"{left} chunks"
        self._write(f"SIGKILL to worker {address} (process {self.killed}) with {chunks} to go")
