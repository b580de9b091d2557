"""Caps on requests that hold over all workers of a cluster, by leases that its scheduler grants.

A lease of a worker that dies expires by itself.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from distributed import Semaphore, get_worker
from distributed.core import Status

from rs_embed_dask.errors import TransientError
from rs_embed_dask.providers.in_flight import share_by

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["share_caps"]

_LOCK: Final = threading.Lock()
_LEASED: Final[dict[tuple[str, str], Semaphore]] = {}


def share_caps() -> None:
    """Let the caps of this process hold over its cluster, from within a task."""
    share_by(_OfWorker(get_worker()))


@dataclass(frozen=True, eq=False)
class _OfWorker:
    """Gates by the scheduler of a worker, as long as the worker runs."""

    worker: Any

    def __call__(self, name: str, most: int) -> AbstractContextManager[Any] | None:
        if self.worker.status not in {Status.running, Status.paused}:
            return None
        with _LOCK:
            key = (self.worker.id, name)
            if key not in _LEASED:
                _LEASED[key] = Semaphore(
                    max_leases=most, name=name, scheduler_rpc=self.worker.scheduler, loop=self.worker.loop
                )
            return _Lease(_LEASED[key])


@dataclass(eq=False)
class _Lease:
    """One request's leave to be in flight."""

    semaphore: Semaphore
    held: bool = field(default=False)

    def __enter__(self) -> None:
        try:
            self.semaphore.register()
            self.held = bool(self.semaphore.acquire())
        except OSError as error:
            fix = "try again; if the scheduler is gone, start the run anew"
            raise TransientError(self.semaphore.name, reason="the scheduler did not answer", fix=fix) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.held:
            self.semaphore.release()
