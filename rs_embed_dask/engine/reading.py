"""Reading one item's pixels: transient faults are retried, every other outcome is returned as a value."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from distributed import Semaphore, get_client, get_worker
from distributed.core import Status as WorkerStatus

from rs_embed_dask.engine.framing import SINGLE, dated, with_pixels
from rs_embed_dask.errors import (
    EngineError,
    LicenceError,
    NoImageryError,
    ProviderError,
    RsEmbedError,
    SpecError,
    StoreError,
    TransientError,
    WeightsError,
    printable,
    redact,
)
from rs_embed_dask.providers import load_all
from rs_embed_dask.providers.registry import share_by
from rs_embed_dask.providers.retry import GaveUpError, retried, tell_waits
from rs_embed_dask.providers.vicinity import SearchMade, Vicinity, noting, within
from rs_embed_dask.show.tables import counted
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from types import TracebackType

    from distributed import Client

    from rs_embed_dask.engine.areas import SearchArea
    from rs_embed_dask.imagery.cube import Cube, Read
    from rs_embed_dask.imagery.dates import Frames
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.retry import RetryPolicy

__all__ = [
    "FATAL",
    "PASSING",
    "PLUGIN_FAULTS",
    "WAITS",
    "CubeRead",
    "ReadResult",
    "RunBoard",
    "error_line",
    "is_fatal",
    "is_lost",
    "read_pixels",
    "refused",
    "searching",
    "share_caps",
    "with_retries",
]

PLUGIN_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RsEmbedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a provider or a model, built in or a plugin, can raise for one item's data."""

PASSING: Final = (TransientError, ConnectionError, TimeoutError)
"""Transient faults of a read, which another attempt may overcome."""

FATAL: Final = (EngineError, LicenceError, SpecError, StoreError, WeightsError)
"""Errors that every item would meet: they end the run."""

_LOST: Final = frozenset(
    {"KilledWorker", "CommClosedError", "FutureCancelledError", "FuturesCancelledError", "NoWorkerError"}
)


def is_fatal(error: BaseException) -> bool:
    """Whether a task's error ends the run."""
    return isinstance(error, FATAL)


def is_lost(error: BaseException) -> bool:
    """Whether a task's error means that its worker is gone, not that its work failed."""
    return isinstance(error, CancelledError) or type(error).__name__ in _LOST


def error_line(error: BaseException) -> str:
    """Format an error as one line, as the store keeps its reason."""
    text = str(error) if isinstance(error, RsEmbedError) else f"{type(error).__name__}: {error}"
    return printable(redact(" ".join(text.split())))[:400]


_AT_WORK: Final = frozenset({WorkerStatus.running, WorkerStatus.paused})
_LOCK: Final = threading.Lock()
_LEASED: Final[dict[tuple[str, str], Semaphore]] = {}


def share_caps() -> None:
    """Extend this process's limits on concurrent requests to its whole cluster, which hears of waits. For tasks."""
    worker = get_worker()
    share_by(_WorkerSemaphores(worker))
    tell_waits(_WorkerNotes(worker))


WAITS: Final = "rs-embed-dask: waits"
"""The topic of a scheduler on which workers say for what their reads wait."""

_NOTES_EVERY_S: Final = 2.0
_NOTED_AT: Final[dict[str, float]] = {}


@dataclass(frozen=True, eq=False)
class _WorkerNotes:
    """Passes on why reads wait, not each of hundreds."""

    worker: Any

    def __call__(self, reason: str) -> None:
        now = time.monotonic()
        if self.worker.status in _AT_WORK and now - _NOTED_AT.get(self.worker.id, -_NOTES_EVERY_S) >= _NOTES_EVERY_S:
            _NOTED_AT[self.worker.id] = now
            self.worker.log_event(WAITS, reason)


@dataclass(frozen=True, eq=False)
class _WorkerSemaphores:
    """Semaphores of a worker's scheduler, for as long as the worker runs."""

    worker: Any

    def __call__(self, name: str, most: int) -> AbstractContextManager[Any] | None:
        if self.worker.status not in _AT_WORK:
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
    """One request's permission to be in flight."""

    semaphore: Semaphore
    is_acquired: bool = field(default=False)

    def __enter__(self) -> None:
        with _answering(self.semaphore.name):
            self.semaphore.register()
            self.is_acquired = bool(self.semaphore.acquire())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_acquired:
            self.semaphore.release()


@dataclass(frozen=True)
class RunBoard:
    """What the processes of a run have found for each other, kept by the scheduler until the run ends."""

    run: str

    def get(self, name: str) -> Any:
        """Return what was found under a name; None where nothing was."""
        with _answering("what other processes found"):
            return get_client().get_dataset(self._named(name), default=None)

    def put(self, name: str, answer: Any) -> None:
        """Keep what was found."""
        with _answering("what other processes found"):
            get_client().publish_dataset(answer, name=self._named(name), override=True)

    def tell(self, made: Sequence[SearchMade]) -> None:
        """Tell who drives the run what a task of it has asked."""
        get_worker().log_event(SEARCHES, [self.run, [list(one) for one in made]])

    @contextmanager
    def hearing(self, client: Client, heard: Callable[[Sequence[SearchMade]], None]) -> Iterator[None]:
        """Hear what the tasks of the run ask, and let the scheduler forget in the end what they have found."""
        _HEARD[self.run] = heard
        client.subscribe_topic(SEARCHES, _hear)
        try:
            yield
        finally:
            del _HEARD[self.run]
            with suppress(OSError):  # a scheduler that is gone has forgotten it
                for name in client.list_datasets() if client.status == "running" else ():
                    if str(name).startswith(self._named("")):
                        client.unpublish_dataset(name)

    def _named(self, name: str) -> str:
        return f"rs-embed-dask {self.run} {name}"


SEARCHES: Final = "rs-embed-dask: searches"
"""The topic of a scheduler on which workers say what they have asked catalogues: of which run, and what."""

_HEARD: Final[dict[str, Callable[[Sequence[SearchMade]], None]]] = {}
"""Who hears of the searches of each run that this process drives: a client has one handler of a topic."""


def _hear(event: tuple[float, Any]) -> None:
    # What a task says comes to the client before its result does: both take the same way, in order.
    run, made = event[1]
    if run in _HEARD:
        _HEARD[run]([SearchMade(*one) for one in made])


@contextmanager
def _answering(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "try again; if the scheduler is gone, resume the run on a new cluster"
        raise TransientError(what, reason="the scheduler did not answer", fix=fix) from error


Value = TypeVar("Value")
Part = TypeVar("Part")

TRANSIENT: Final = "transient"
"""Begins the reason of a read whose retries are exhausted and which may succeed later."""

_LATER: Final = "resume the store later, which reads it again"


@dataclass(frozen=True, eq=False)
class ReadResult(Generic[Value]):
    """The outcome of one read: its value, or the status and error that stand for it."""

    value: Value | None
    status: Status = Status.OK
    error: RsEmbedError | None = None
    tries: int = 1
    fault: str = ""
    seconds: float = 0.0

    @property
    def may_succeed_later(self) -> bool:
        """Whether its retries were exhausted."""
        return self.error is not None and self.error.what.startswith(TRANSIENT)

    def split(self: ReadResult[list[Part]], count: int) -> list[ReadResult[Part]]:
        """Return the result of each of those that were read together, with its share of the time."""
        values: list[Part | None] = [None] * count if self.value is None else [*self.value]
        return [
            ReadResult(value, self.status, self.error, self.tries, self.fault, self.seconds / count) for value in values
        ]


CubeRead: TypeAlias = "ReadResult[Cube]"


@contextmanager
def searching(area: SearchArea) -> Iterator[None]:
    """Let a task read in an area of a run, and tell who drives it what was asked, whatever comes of it."""
    board = RunBoard(area.run)
    vicinity = None if area.box is None else Vicinity(area.box, board if area.is_shared else None)
    with within(vicinity), noting() as made:
        try:
            yield
        finally:
            if made:
                board.tell(made)


def refused(error: SpecError) -> CubeRead:
    """Return the result for an item that can never be read, such as a place that no grid fits."""
    return ReadResult(None, Status.INVALID, error)


def read_pixels(
    provider: Provider,
    reads: Sequence[Read],
    retry: RetryPolicy,
    *,
    seed: str,
    frames: Sequence[Frames] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> list[CubeRead]:
    """Read the cubes that come from the same pixels, retrying transient faults; `frames` may leave days to a search."""
    open_frames = frames or (SINGLE,) * len(reads)

    def load() -> list[Cube | ProviderError]:
        cubes = load_all(provider, [dated(provider, *pair) for pair in zip(reads, open_frames, strict=True)])
        pairs = zip(cubes, open_frames, strict=True)
        return [cube if isinstance(cube, ProviderError) else with_pixels(cube, one) for cube, one in pairs]

    together: ReadResult[Any] = with_retries(load, provider.name, retry, seed=seed, sleep=sleep)
    if together.value is None:
        return [together] * len(reads)
    return [
        replace(together, value=None, status=_status_of(cube), error=cube)
        if isinstance(cube, ProviderError)
        else replace(together, value=cube)
        for cube in together.value
    ]


def _status_of(fault: ProviderError) -> Status:
    return Status.NO_DATA if isinstance(fault, NoImageryError) else Status.READ_FAILED


def with_retries(
    read: Callable[[], Value], name: str, retry: RetryPolicy, *, seed: str, sleep: Callable[[float], None] = time.sleep
) -> ReadResult[Value]:
    """Call `read`, retrying transient faults; any other fault is returned in the result."""
    started = time.perf_counter()
    faults: list[str] = []

    def attempt() -> Value:
        try:
            return read()
        except PASSING as error:
            faults.append(error_line(error))
            # A client that gave up is tried again too: its attempts span seconds, those of a whole read minutes.
            after_s = getattr(error, "retry_after_s", None)
            raise TransientError(name, reason=faults[-1], fix=_LATER, retry_after_s=after_s) from None

    def result(value: Value | None, error: RsEmbedError | None, tries: int) -> ReadResult[Value]:
        status = Status.OK if error is None else Status.READ_FAILED
        fault = faults[-1] if faults else ""
        return ReadResult(value, status, error, tries, fault, time.perf_counter() - started)

    try:
        return result(retried(attempt, retry, seed=seed, wait=sleep), None, len(faults) + 1)
    except GaveUpError:
        reason = f"{faults[-1]} (after {counted(len(faults), 'try', 'tries')})"
        return result(None, ProviderError(f"{TRANSIENT}: {name}", reason=reason, fix=_LATER), len(faults))
    except PLUGIN_FAULTS as error:
        return result(None, error if isinstance(error, RsEmbedError) else _unexpected(name, error), len(faults) + 1)


def _unexpected(name: str, error: BaseException) -> ProviderError:
    return ProviderError(name, reason=f"it raised {error_line(error)}", fix="report it to the provider's author")
