"""Reading one item's pixels: passing faults are tried again, every other ending is a value."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from distributed import Semaphore, get_worker
from distributed.core import Status as WorkerStatus

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
    redact,
)
from rs_embed_dask.providers import load_all
from rs_embed_dask.providers.registry import share_by
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from types import TracebackType

    from rs_embed_dask.imagery.cube import Cube, Read
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.retry import RetryPolicy

__all__ = [
    "FATAL",
    "PASSING",
    "PLUGIN_FAULTS",
    "Pixels",
    "Tried",
    "is_fatal",
    "is_lost",
    "read_pixels",
    "refused",
    "said",
    "share_caps",
    "tried",
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
"""What the code of a provider or a model, ours or a plugin's, can raise over one item's data."""

PASSING: Final = (TransientError, ConnectionError, TimeoutError)
"""Faults of a read that another try may mend."""

FATAL: Final = (EngineError, LicenceError, SpecError, StoreError, WeightsError)
"""Faults that every item would meet: they end the run."""

_LOST: Final = frozenset(
    {"KilledWorker", "CommClosedError", "FutureCancelledError", "FuturesCancelledError", "NoWorkerError"}
)


def is_fatal(error: BaseException) -> bool:
    """Whether a task's error ends the run."""
    return isinstance(error, FATAL)


def is_lost(error: BaseException) -> bool:
    """Whether a task's error says that its worker is gone, not that its work failed."""
    return isinstance(error, CancelledError) or type(error).__name__ in _LOST


def said(error: BaseException) -> str:
    """Write an error as one line for a store's reason."""
    text = str(error) if isinstance(error, RsEmbedError) else f"{type(error).__name__}: {error}"
    return redact(" ".join(text.split()))[:400]


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
        if self.worker.status not in {WorkerStatus.running, WorkerStatus.paused}:
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
            fix = "try again; if the scheduler is gone, resume the run on a new cluster"
            raise TransientError(self.semaphore.name, reason="the scheduler did not answer", fix=fix) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.held:
            self.semaphore.release()


Value = TypeVar("Value")

TRANSIENT: Final = "transient"
"""Begins the reason of a read that was given up on and may well succeed later."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """How one read ended."""

    cube: Cube | None
    status: Status = Status.OK
    error: RsEmbedError | None = None
    tries: int = 1
    fault: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Tried(Generic[Value]):
    """How trying to read something ended; fields as those of `Pixels`, with whatever was read as `value`."""

    value: Value | None
    status: Status = Status.OK
    error: RsEmbedError | None = None
    tries: int = 1
    fault: str = ""
    seconds: float = 0.0


def refused(error: SpecError) -> Pixels:
    """Say that an item can never be read, such as a place that no grid fits."""
    return Pixels(None, Status.INVALID, error)


def read_pixels(
    provider: Provider,
    reads: Sequence[Read],
    retry: RetryPolicy,
    *,
    seed: str,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Pixels]:
    """Read the cubes that come of the same pixels, trying again after passing faults."""
    found = tried(lambda: load_all(provider, reads), provider.name, retry, seed=seed, sleep=sleep)
    if found.value is None:
        return [Pixels(None, found.status, found.error, found.tries, found.fault, found.seconds)] * len(reads)
    return [_pixels(cube, found.tries, found.fault, found.seconds) for cube in found.value]


def tried(
    read: Callable[[], Value], name: str, retry: RetryPolicy, *, seed: str, sleep: Callable[[float], None] = time.sleep
) -> Tried[Value]:
    """Read something, trying again after passing faults."""
    started = time.perf_counter()
    fault = ""

    def ended(error: RsEmbedError, tries: int) -> Tried[Value]:
        return Tried(None, Status.READ_FAILED, error, tries, fault, time.perf_counter() - started)

    for tries in range(1, retry.attempts + 1):
        try:
            value = read()
        except PASSING as error:
            fault = said(error)
            if tries < retry.attempts:
                sleep(retry.wait_s(tries, getattr(error, "retry_after_s", None), seed=seed))
        except PLUGIN_FAULTS as error:
            failed = error if isinstance(error, RsEmbedError) else _unexpected(name, error)
            return ended(failed, tries)
        else:
            return Tried(value, tries=tries, fault=fault, seconds=time.perf_counter() - started)
    given_up = ProviderError(
        f"{TRANSIENT}: {name}",
        reason=f"{fault} (after {retry.attempts} tries)",
        fix="resume the store later, which reads it again",
    )
    return ended(given_up, retry.attempts)


def _pixels(cube: Cube | ProviderError, tries: int, fault: str, seconds: float) -> Pixels:
    if isinstance(cube, ProviderError):
        status = Status.NO_DATA if isinstance(cube, NoImageryError) else Status.READ_FAILED
        return Pixels(None, status, cube, tries, fault, seconds)
    return Pixels(cube, Status.OK, None, tries, fault, seconds)


def _unexpected(name: str, error: BaseException) -> ProviderError:
    reason = f"it raised {said(error)}"
    return ProviderError(name, reason=reason, fix="report it to the provider's author")
