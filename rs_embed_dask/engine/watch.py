"""An eye on the cluster: who is there, who was lost, and whether the scheduler still answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rs_embed_dask.engine.events import Listener, Waiting, WorkerLost, emit
from rs_embed_dask.engine.placement import Placement, Workers
from rs_embed_dask.errors import EngineError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Watch"]

_EVERY_S: Final = 2.0
_RECONNECT_S: Final = 5.0
_PAUSE_S: Final = 0.1


class Watch:
    """Looks at the cluster now and then.

    Parameters
    ----------
    client : distributed.Client
        The connection.
    listeners : tuple of callables
        Told of lost workers and of waiting.
    store : str
        The store's place, for the error's text.
    """

    def __init__(self, client: Client, listeners: tuple[Listener, ...], store: str) -> None:
        self._client = client
        self._listeners = listeners
        self._store = store
        self._seen_at = time.monotonic()
        self._said = ""
        self.lost = 0
        self.workers = Workers.of(client.scheduler_info(n_workers=-1))
        self._offered = self.workers.offered

    def look(self) -> Workers:
        """Return the workers that are there, asked for at most every two seconds.

        Raises
        ------
        EngineError
            If the scheduler is gone.
        """
        if time.monotonic() - self._seen_at < _EVERY_S and self.workers.addresses:
            return self.workers
        self._seen_at = time.monotonic()
        self.check()
        try:
            now = Workers.of(self._client.scheduler_info(n_workers=-1))
        except OSError:
            self.check()
            return self.workers
        for address in sorted(self.workers.addresses - now.addresses):
            self.lost += 1
            emit(self._listeners, WorkerLost(address, len(now.addresses)))
        self.workers = now
        self._offered |= now.offered
        self._say_what_is_missing()
        return now

    @property
    def placement(self) -> Placement:
        """Where tasks go: a resource that was there once is waited for."""
        return Placement.on(self._offered)

    def _say_what_is_missing(self) -> None:
        missing = sorted(self.placement.needed - self.workers.offered)
        said = ""
        if not self.workers.addresses:
            said = "no worker is there; work goes on when one comes"
        elif missing:
            said = f"no worker has {' and '.join(missing)} now; work goes on when one comes"
        if said and said != self._said:
            emit(self._listeners, Waiting(said))
        self._said = said

    def check(self) -> None:
        """Make sure of the scheduler, waiting a little for a broken connection to mend.

        Raises
        ------
        EngineError
            If it is gone.
        """
        deadline = time.monotonic() + _RECONNECT_S
        while self._client.status != "running":
            if self._client.status in {"closed", "closing"} or time.monotonic() > deadline:
                raise self.gone()
            time.sleep(_PAUSE_S)

    def gone(self) -> EngineError:
        """Make the error for a scheduler that is lost."""
        fix = f"start a cluster and resume {self._store}: only what is not stored yet is computed"
        return EngineError("Dask scheduler", reason="it is gone or cannot be reached", fix=fix)
