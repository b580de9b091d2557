"""Workers that finish what they have begun before they leave: at the end of their lifetime, or by a signal.

Dask's own worker drops the tasks that it runs, in both cases. A job of a queue passes `LEAVING_ARGUMENTS` to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from distributed import Worker

if TYPE_CHECKING:
    from distributed import Nanny

__all__ = ["DRIVER", "LEAVING_ARGUMENTS", "LeavingWorker", "dask_setup"]

DRIVER: Final = "rs-embed-dask-driver"
"""What the keys of detached runs' drivers begin with."""


LEAVING_ARGUMENTS: Final = ("--worker-class", f"{__name__}.LeavingWorker", "--preload-nanny", __name__)
"""What `dask worker` is called with, so that it leaves so."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
# Slurm and PBS send SIGTERM; LSF SIGUSR2, SIGINT, SIGTERM; SGE SIGUSR1 or SIGUSR2. Each sends SIGKILL soon after.
_TICK_S: Final = 0.05


class LeavingWorker(Worker):
    """A worker that is asked to leave takes no new task, finishes those it runs, and hands over their results."""

    _is_leaving = False

    async def start_unsafe(self) -> Self:
        """Start, and listen to signals."""
        await super().start_unsafe()  # type: ignore[no-untyped-call]
        if threading.current_thread() is threading.main_thread():  # no other thread receives signals
            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._obey, number)
        return self

    def _obey(self, number: signal.Signals) -> None:
        if not self._is_leaving:
            self._ongoing_background_tasks.call_soon(self.close_gracefully, restart=False, reason=number.name)

    async def close_gracefully(self, restart: bool | None = None, reason: str = "leaving") -> None:  # noqa: FBT001  Dask's
        """Leave: whatever is not finished when the process is killed runs again elsewhere."""
        if self._is_leaving:
            await self.finished()  # type: ignore[no-untyped-call]
            return
        self._is_leaving = True
        in_hand = self._running()
        try:
            # The scheduler sends no new task from here on, unless no other worker is there to take the results.
            await self._retire(remove=False)
            while in_hand & self._running():  # noqa: ASYNC110  a task that ends sets no event
                await asyncio.sleep(_TICK_S)
            await self._retire(remove=True)
        except OSError:  # the scheduler is gone, and so is whoever wants the results
            pass
        await self.close(nanny=not (self.lifetime_restart if restart is None else restart), reason=reason)

    def _running(self) -> set[object]:
        running = {task.key for task in (*self.state.executing, *self.state.long_running)}
        return {key for key in running if not str(key).startswith(DRIVER)}  # which goes on elsewhere

    async def _retire(self, *, remove: bool) -> None:
        await self.scheduler.retire_workers(workers=[self.address], close_workers=False, remove=remove)


async def dask_setup(nanny: Nanny) -> None:
    """Let a nanny pass signals on to its worker, where it would end it within seconds; Dask calls this."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, partial(_pass_on, nanny, number))


def _pass_on(nanny: Nanny, number: signal.Signals) -> None:
    nanny.close_gracefully(reason=number.name)  # a worker that ends is not started again
    if nanny.pid is not None:
        os.kill(nanny.pid, signal.SIGTERM)
