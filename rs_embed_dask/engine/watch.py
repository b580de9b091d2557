"""How a run goes, whatever it computes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import dask
from distributed.diagnostics.plugin import WorkerPlugin

from rs_embed_dask.engine.report import Listener, Waiting, WorkerLost, emit
from rs_embed_dask.errors import EngineError
from rs_embed_dask.store import ALL_CHUNKS

if TYPE_CHECKING:
    from distributed import Client, Worker

    from rs_embed_dask.store import ChunkRange, Status

__all__ = ["EMBED", "FETCH", "GPU", "InFlight", "Options", "Placement", "Progress", "Watch", "Workers", "stop_profiler"]

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
    """Stop the profiler of a cluster's workers where this Python may hang in it; the dashboard loses that page."""
    if _HANGS:
        client.register_plugin(_NoProfiler())


GPU: Final = "GPU"
EMBED: Final = "EMBED"
FETCH: Final = "FETCH"
_SHARE: Final = 1 / 64
_MEMORY_SHARE: Final = 0.4
_MEMORY_IF_UNKNOWN: Final = 2**31
_READS_AHEAD: Final = 3


@dataclass(frozen=True)
class Placement:
    """The worker resources that tasks ask for."""

    read: Mapping[str, float] = field(default_factory=dict)
    embed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def on(cls, resources: AbstractSet[str]) -> Placement:
        """Choose by the names of the resources that workers have, or had: lost workers come back."""
        where = next((name for name in (GPU, EMBED) if name in resources), None)
        return cls(read={FETCH: 1} if FETCH in resources else {}, embed={} if where is None else {where: _SHARE})

    @property
    def needed(self) -> frozenset[str]:
        """Names of the resources that tasks ask for."""
        return frozenset((*self.read, *self.embed))


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster at one moment."""

    addresses: frozenset[str]
    resources: Mapping[str, float]
    threads: int
    memory: int
    room: int = 0

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Workers:
        """Read `Client.scheduler_info`."""
        workers = info.get("workers", {})
        totals: dict[str, float] = {}
        for worker in workers.values():
            for name, amount in (worker.get("resources") or {}).items():
                totals[name] = totals.get(name, 0.0) + amount
        threads = sum(int(worker.get("nthreads", 1)) for worker in workers.values())
        limits = {address: int(worker.get("memory_limit") or 0) for address, worker in workers.items()}
        needed = Placement.on(totals.keys()).embed.keys()
        embedding = [limits[at] for at, worker in workers.items() if needed <= (worker.get("resources") or {}).keys()]
        # On a GPU the weights lie in the device's memory, which Dask does not watch.
        room = 0 if GPU in needed else min(filter(None, embedding), default=0)
        return cls(frozenset(workers), totals, threads, sum(limits.values()), room)

    def hold(self, nbytes: int) -> None:
        """Make sure that weights fit into a worker's memory."""
        # Dask pauses a worker that is full, for good where nothing can be freed.
        share = dask.config.get("distributed.worker.memory.pause", 0.8)
        if self.room and share and nbytes > share * self.room:
            has, needs = (f"{count / 2**30:.1f} GiB" for count in (self.room, nbytes))
            fix = "give workers more memory, use fewer or smaller models per run, or embed on a GPU"
            raise EngineError("memory of a worker", value=has, reason=f"the models' weights need {needs}", fix=fix)

    @property
    def offered(self) -> frozenset[str]:
        """Names of the resources that some worker has."""
        return frozenset(name for name, amount in self.resources.items() if amount)

    @property
    def fetch_slots(self) -> int:
        """How many reads run at once."""
        return max(1, int(self.resources.get(FETCH, 0)) or self.threads)

    @property
    def embedders(self) -> int:
        """How many processes embed."""
        return max(1, int(self.resources.get(GPU, 0) or self.resources.get(EMBED, 0)) or len(self.addresses))


@dataclass(frozen=True)
class InFlight:
    """How much may be on its way at once. At least one chunk always may."""

    chunks: int | None = None
    nbytes: int | None = None

    def limit(self, workers: Workers, *, chunk_items: int, chunk_bytes: int, batch_items: int) -> int:
        """How many chunks may be in flight on these workers."""
        # Enough to keep every read slot and every device busy while results travel, and no more: each chunk in flight
        # holds its pixels in some worker's memory.
        items = _READS_AHEAD * workers.fetch_slots + 2 * batch_items * workers.embedders
        chunks = self.chunks or -(-items // chunk_items) + 1
        room = self.nbytes or int(_MEMORY_SHARE * (workers.memory or _MEMORY_IF_UNKNOWN))
        return max(1, min(chunks, room // max(1, chunk_bytes)))


_EVERY_S: Final = 2.0
_RECONNECT_S: Final = 5.0
_PAUSE_S: Final = 0.1


class Watch:
    """Looks at the cluster now and then."""

    def __init__(self, client: Client, listeners: tuple[Listener, ...], store: str) -> None:
        self._client = client
        self._listeners = listeners
        self._store = store
        self._seen_at = time.monotonic()
        self._last_message = ""
        self.lost = 0
        self.workers = Workers.of(client.scheduler_info(n_workers=-1))
        self._offered = self.workers.offered

    def look(self) -> Workers:
        """Return the current workers, queried at most every two seconds."""
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
        self._report_missing()
        return now

    @property
    def placement(self) -> Placement:
        """Where tasks go: a resource that was there once is waited for."""
        return Placement.on(self._offered)

    def _report_missing(self) -> None:
        missing = sorted(self.placement.needed - self.workers.offered)
        message = ""
        if not self.workers.addresses:
            message = "there is no worker; the run continues when one joins"
        elif missing:
            message = f"no worker has {' and '.join(missing)} now; the run continues when one joins"
        if message and message != self._last_message:  # once per shortage, not every two seconds
            emit(self._listeners, Waiting(message))
        self._last_message = message

    def check(self) -> None:
        """Make sure that the scheduler is reachable; a broken connection gets a few seconds to come back."""
        deadline = time.monotonic() + _RECONNECT_S
        while self._client.status != "running":
            if self._client.status in {"closed", "closing"} or time.monotonic() > deadline:
                raise self.gone()
            time.sleep(_PAUSE_S)

    def gone(self) -> EngineError:
        """Return the error for a lost scheduler."""
        fix = f"start a cluster and resume {self._store}: only what is not stored yet is computed"
        return EngineError("Dask scheduler", reason="it is gone or cannot be reached", fix=fix)


Progress: TypeAlias = bool | str | Callable[[Any], None]


@dataclass(frozen=True)
class Options:
    """How a run goes, whatever it computes."""

    progress: Progress = True
    listeners: Sequence[Listener] = ()
    window: InFlight = field(default_factory=InFlight)
    only: AbstractSet[Status] | None = None
    chunks: ChunkRange = ALL_CHUNKS
    guard: Callable[[], None] = lambda: None  # raises once another run has taken over
