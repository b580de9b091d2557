"""Dask's profiler, which on Python 3.11 can hang a worker for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed import Client, Worker

__all__ = ["stop_profiler"]

# It asks for the frames of all threads a hundred times a second. Up to 3.11 the interpreter allocates objects under the
# lock of its list of threads then; where that starts a garbage collection, which may let the GIL go, a thread that
# begins or ends meanwhile takes it and waits for the lock: github.com/python/cpython/issues/106883.
_HANGS: Final = sys.version_info < (3, 12)


class _NoProfiler(WorkerPlugin):
    """Stops it on a worker, one that comes later too."""

    name = "rs-embed-dask: no profiler"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Take its callbacks away, before or after they are started."""
        for kind in ("profile", "profile-cycle"):
            callback = worker.periodic_callbacks.pop(kind, None)
            if callback is not None:
                callback.stop()


def stop_profiler(client: Client) -> None:
    """Stop the profiler of a cluster's workers where this Python may hang in it; the dashboard loses that page.

    Parameters
    ----------
    client : distributed.Client
        The connection.
    """
    if _HANGS:
        client.register_plugin(_NoProfiler())
