"""The cluster under a run: its workers, what they offer, and how much may be in flight."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import dask
from distributed.diagnostics.plugin import WorkerPlugin

from rs_embed_dask.engine.reading import WAITS
from rs_embed_dask.engine.receipts import Crew
from rs_embed_dask.engine.report import Delayed, Listener, Waiting, WorkerLost, emit
from rs_embed_dask.errors import EngineError
from rs_embed_dask.providers.reach import ask_here, check_services
from rs_embed_dask.store import ALL_CHUNKS

if TYPE_CHECKING:
    from distributed import Client, Worker

    from rs_embed_dask.store import ChunkRange, Status

__all__ = [
    "EMBED",
    "FETCH",
    "GPU",
    "InFlight",
    "Options",
    "Placement",
    "Progress",
    "Watch",
    "Workers",
    "current_workers",
    "stop_profiler",
    "workers_with",
]

# Dask's profiler inspects the frames of all threads a hundred times a second. Up to Python 3.11 that allocates objects
# under the lock of the interpreter's list of threads. If an allocation starts a garbage collection that releases the
# GIL, a thread that starts or ends then takes the GIL and waits for the lock: github.com/python/cpython/issues/106883.
_HANGS: Final = sys.version_info < (3, 12)


class _NoProfiler(WorkerPlugin):
    """Stops the profiler on every worker, including those that join later."""

    name = "rs-embed-dask: no profiler"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Remove the profiler's callbacks, before or after they are started."""
        for kind in ("profile", "profile-cycle"):
            callback = worker.periodic_callbacks.pop(kind, None)
            if callback is not None:
                callback.stop()


def stop_profiler(client: Client) -> None:
    """Stop the profiler of a cluster's workers where this Python may hang in it; the dashboard loses that page."""
    if _HANGS:
        client.register_plugin(_NoProfiler())


def current_workers(client: Client) -> dict[str, dict[str, Any]]:
    """Ask the scheduler for its workers: what each one is and offers, by address."""
    # `Client.scheduler_info` may return what the client's own periodic update, which asks for no workers, has just put
    # in place of the answer: then a healthy cluster seems empty.
    scheduler: Any = client.scheduler  # typed as None before the client connects, which it does when it is made
    answer: dict[str, Any] = client.sync(scheduler.identity)
    workers: dict[str, dict[str, Any]] = answer["workers"]
    return workers


def workers_with(client: Client, resources: Mapping[str, float]) -> list[str]:
    """Return the addresses of the workers that have some resources; all of them where none is named."""
    workers = current_workers(client).items()
    return [at for at, worker in workers if all(worker["resources"].get(name) for name in resources)]


GPU: Final = "GPU"
EMBED: Final = "EMBED"
FETCH: Final = "FETCH"
_SHARE: Final = 1 / 64
_MEMORY_SHARE: Final = 0.4
_MEMORY_IF_UNKNOWN: Final = 2**31
_READS_AHEAD: Final = 3


def _both(name: str) -> tuple[str, str]:
    """Return the names that a resource may have: Dask reads those of environment variables in lower case."""
    return name, name.lower()


@dataclass(frozen=True)
class Placement:
    """The worker resources that tasks require."""

    read: Mapping[str, float] = field(default_factory=dict)
    embed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def on(cls, resources: AbstractSet[str]) -> Placement:
        """Choose by the names of the resources that workers have, or had: lost workers come back."""
        reads = [name for name in _both(FETCH) if name in resources]
        embeds = [name for name in (*_both(GPU), *_both(EMBED)) if name in resources]
        return cls(read=dict.fromkeys(reads[:1], 1), embed=dict.fromkeys(embeds[:1], _SHARE))

    @property
    def needed(self) -> frozenset[str]:
        """Names of the resources that tasks require."""
        return frozenset((*self.read, *self.embed))


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster at one moment."""

    addresses: frozenset[str]
    resources: Mapping[str, float]
    threads: int
    memory: int
    room: int = 0
    smallest: int = 0

    @classmethod
    def of(cls, workers: Mapping[str, Mapping[str, Any]]) -> Workers:
        """Sum up what `current_workers` describes."""
        totals: dict[str, float] = {}
        for worker in workers.values():
            for name, amount in worker["resources"].items():
                totals[name] = totals.get(name, 0.0) + amount
        threads = sum(worker["nthreads"] for worker in workers.values())
        limits = {address: int(worker["memory_limit"] or 0) for address, worker in workers.items()}
        needed = Placement.on(totals.keys()).embed.keys()
        embedding = [limits[at] for at, worker in workers.items() if needed <= worker["resources"].keys()]
        # On a GPU the weights lie in the device's memory, which Dask does not watch.
        room = 0 if needed & {*_both(GPU)} else min(filter(None, embedding), default=0)
        smallest = min(filter(None, limits.values()), default=0)
        return cls(frozenset(workers), totals, threads, sum(limits.values()), room, smallest)

    @property
    def crew(self) -> Crew:
        """What estimates need to know of them."""
        return Crew(self.fetch_slots, self.embedders, "cuda" if self._amount(GPU) else "cpu")

    def check_room(self, nbytes: int) -> None:
        """Refuse weights that do not fit into a worker's memory."""
        fix = "give workers more memory, use fewer or smaller models per run, or embed on a GPU"
        _check_memory(self.room, nbytes, what="the models' weights need", fix=fix)

    def check_pixels(self, nbytes: int) -> None:
        """Refuse a place whose pixels do not fit into a worker's memory."""
        fix = "give workers more memory, split the largest place, or use a coarser resolution_m"
        _check_memory(self.smallest, nbytes, what="the pixels of the largest place need", fix=fix)

    @property
    def offered(self) -> frozenset[str]:
        """Names of the resources that some worker has."""
        return frozenset(name for name, amount in self.resources.items() if amount)

    @property
    def fetch_slots(self) -> int:
        """How many reads run at once."""
        return max(1, self._amount(FETCH) or self.threads)

    @property
    def embedders(self) -> int:
        """How many processes embed."""
        return max(1, self._amount(GPU) or self._amount(EMBED) or len(self.addresses))

    def _amount(self, name: str) -> int:
        return int(sum(self.resources.get(one, 0) for one in _both(name)))


def _check_memory(room: int, nbytes: int, *, what: str, fix: str) -> None:
    # Dask pauses a worker whose memory is full, and never resumes it if nothing can be freed.
    share = dask.config.get("distributed.worker.memory.pause", 0.8)
    if room and share and nbytes > share * room:
        has, needs = (f"{count / 2**30:.1f} GiB" for count in (room, nbytes))
        raise EngineError("memory of a worker", value=has, reason=f"{what} {needs}", fix=fix)


@dataclass(frozen=True)
class InFlight:
    """How much may be in flight at once: at least one chunk."""

    chunks: int | None = None
    nbytes: int | None = None

    def limit(self, workers: Workers, *, chunk_items: int, chunk_bytes: int, batch_items: int) -> int:
        """Return how many chunks may be in flight on these workers."""
        # Enough to keep every read slot and every device busy while results travel, and no more: each chunk in flight
        # occupies some worker's memory with its pixels.
        items = _READS_AHEAD * workers.fetch_slots + 2 * batch_items * workers.embedders
        chunks = self.chunks or -(-items // chunk_items) + 1
        room = self.nbytes or int(_MEMORY_SHARE * (workers.memory or _MEMORY_IF_UNKNOWN))
        return max(1, min(chunks, room // max(1, chunk_bytes)))


async def _reach_all(hosts: tuple[str, ...]) -> dict[str, str]:
    """Try some hosts from this worker; return why not, of those that it does not reach."""
    return await asyncio.to_thread(ask_here, hosts)


_EVERY_S: Final = 2.0
_RECONNECT_S: Final = 5.0
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.1


class Watch:
    """Polls the cluster during a run and reports what changes."""

    def __init__(
        self, client: Client, listeners: tuple[Listener, ...], store: str, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._guard = guard
        self._listeners = listeners
        self._store = store
        self.services: tuple[str, ...] = ()  # hosts that reads need, until they were tried
        self._waits: deque[str] = deque(maxlen=1)
        self._polled_at = time.monotonic()
        self._last_message = ""
        self.lost = 0
        self.workers = self._first_look()
        self._offered = self.workers.offered

    def _first_look(self) -> Workers:
        """Set the workers up and list them; again if one leaves meanwhile, which breaks the call to all of them."""
        attempts = _ATTEMPTS
        while True:
            try:
                stop_profiler(self._client)
                return Workers.of(current_workers(self._client))
            except OSError as error:
                self.check()
                attempts -= 1
                if not attempts:
                    raise self.gone() from error
                time.sleep(_PAUSE_S)

    def look(self) -> Workers:
        """Return the current workers, queried at most every two seconds, unless the run is to end."""
        self._guard()
        if time.monotonic() - self._polled_at < _EVERY_S and self.workers.addresses:
            return self.workers
        self._polled_at = time.monotonic()
        self.check()
        try:
            now = Workers.of(current_workers(self._client))
        except OSError:
            self.check()
            return self.workers
        for address in sorted(self.workers.addresses - now.addresses):
            self.lost += 1
            emit(self._listeners, WorkerLost(address, len(now.addresses)))
        self.workers = now
        self._offered |= now.offered
        self._report_missing()
        self.reach()
        if self._waits:
            emit(self._listeners, Delayed(self._waits.popleft()))
        return now

    def reach(self) -> None:
        """Ask the first workers that there are for the services of the run; raise UnreachableError if none has one."""
        # Later workers are not asked: a service that was reached may be away for a while, which retries are for.
        reading = workers_with(self._client, self.placement.read) if self.services else []
        if not reading:
            return
        services, self.services = self.services, ()
        self._client.subscribe_topic(WAITS, lambda event: self._waits.append(event[1]))

        def ask(hosts: tuple[str, ...]) -> dict[str, str]:
            answers = self._client.run(_reach_all, hosts, workers=reading, on_error="return").values()
            faults = [answer for answer in answers if not isinstance(answer, BaseException)]
            return {h: faults[0][h] for h in hosts if faults and all(h in each for each in faults)}

        def wait(seconds: float, reason: str) -> None:
            emit(self._listeners, Waiting(reason))
            time.sleep(seconds)

        check_services(services, ask, wait=wait)

    @property
    def placement(self) -> Placement:
        """Where tasks go: they wait for a resource that was once there."""
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
        """Raise if the scheduler is unreachable; a broken connection gets a few seconds to recover."""
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
    """How a run is executed, whatever it computes."""

    progress: Progress = True
    listeners: Sequence[Listener] = ()
    window: InFlight = field(default_factory=InFlight)
    only: AbstractSet[Status] | None = None
    chunks: ChunkRange = ALL_CHUNKS
    guard: Callable[[], None] = lambda: None  # raises once another run has taken over, or this one is to end

    def guarded(self, check: Callable[[], None]) -> Options:
        """Return the same with a guard that makes another check too."""

        def both() -> None:
            self.guard()
            check()

        return replace(self, guard=both)
