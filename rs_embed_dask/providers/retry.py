"""Which HTTP answers are transient, and the one policy and loop by which every client tries again."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import random
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from http import HTTPStatus
from itertools import count
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.specs.base import Record, positive, whole

__all__ = [
    "REFUSED_STATUSES",
    "TRANSIENT_STATUSES",
    "GaveUpError",
    "ReadState",
    "RetryPolicy",
    "asked_wait_s",
    "deadline",
    "retried",
    "tell_waits",
    "time_left_s",
    "wait_text",
]

# all server errors, those of content networks (520 to 529) included, but not the two that no second attempt changes
TRANSIENT_STATUSES: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}
) - {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}

REFUSED_STATUSES: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_Value = TypeVar("_Value")


class GaveUpError(TransientError):
    """A transient fault after the last attempt; an outer loop of a client passes it on instead of multiplying it."""


@dataclass(frozen=True)
class RetryPolicy(Record):
    """How often and how long to try again: exponential backoff with jitter.

    Parameters
    ----------
    attempts
        Attempts in all, the first included.
    first_wait_s, longest_wait_s
        The wait after the first fault, doubled after each further one, and its bound. Of each, between half and all
        is waited, so that clients do not return together.
    timeout_s
        The longest silence of a server within one request.
    longest_asked_s
        The longest ``Retry-After`` that is waited for; a client leaves a longer one to its caller.
    deadline_s
        The longest that all attempts may take, waits included. What is not there by then is a transient fault. In a
        provider's policy that is one read with all its requests; in the engine's, which has no use for ``timeout_s``,
        all attempts at a read.
    """

    attempts: int = 6
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0
    timeout_s: float = 60.0
    longest_asked_s: float = 30.0
    deadline_s: float = 300.0

    def __post_init__(self) -> None:
        whole("RetryPolicy.attempts", self.attempts, low=1, high=1000)
        positive("RetryPolicy.deadline_s", self.deadline_s, unit="s")

    @classmethod
    def of(cls, policy: RetryPolicy | Mapping[str, Any]) -> RetryPolicy:
        """Take a policy, or make one of its fields."""
        return cls(**policy) if isinstance(policy, Mapping) else policy

    def __reduce__(self) -> tuple[type[RetryPolicy], tuple[float, ...]]:
        """Pickle the values alone, for a policy travels in every task."""
        return RetryPolicy, astuple(self)

    def wait_s(self, attempt: int, retry_after_s: float | None = None, *, seed: str | None = None) -> float:
        """Return the wait after an attempt (from 1) in which the service asked for `retry_after_s`.

        The jitter is random, or follows from `seed`.
        """
        full = min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s)
        # S311: it spreads clients, guards nothing
        share = random.random() if seed is None else zlib.crc32(f"{seed}/{attempt}".encode()) / 2**32  # noqa: S311
        # a little more than requested, so that clients with the same Retry-After do not return together
        requested_s = min(retry_after_s or 0.0, self.longest_asked_s) * (1.0 + 0.2 * share)
        return max(full * (0.5 + 0.5 * share), requested_s)


_LONGER: Final = "; or give a longer deadline_s in retry="
_ENDS_AT: Final[ContextVar[float]] = ContextVar("ends_at", default=math.inf)


@contextmanager
def deadline(seconds: float = math.inf, *, ends: float = math.inf) -> Iterator[None]:
    """Let what this thread asks for end within `seconds` and at `ends` (monotonic), and no later than around it."""
    mark = _ENDS_AT.set(min(_ENDS_AT.get(), monotonic() + seconds, ends))
    try:
        yield
    finally:
        _ENDS_AT.reset(mark)


def time_left_s() -> float:
    """Return the seconds until this thread's deadline."""
    return _ENDS_AT.get() - monotonic()


class ReadState:
    """What the threads of one read share: its deadline and its lost scenes. What travels to a process is empty."""

    def __init__(self) -> None:
        self.ends_at = _ENDS_AT.get()
        self._faults: dict[str, ProviderError] = {}
        self._lock = threading.Lock()

    def lose(self, scene: str, fault: ProviderError) -> None:
        """Remember why a scene is lost; of several faults the first by name, so that threads do not decide."""
        with self._lock:
            self._faults[scene] = min(self._faults.get(scene, fault), fault.with_traceback(None), key=str)

    def fault(self, scene: str) -> ProviderError | None:
        """Return why a scene was lost, if it was."""
        with self._lock:
            return self._faults.get(scene)

    def __reduce__(self) -> tuple[type[ReadState], tuple[()]]:
        return ReadState, ()


_LONG_WAIT_S: Final = 1.0
_TOLD: Final[list[Callable[[str], None]]] = []


def tell_waits(tell: Callable[[str], None] | None) -> None:
    """Set who is told, from now on and in this process, for what a request waits a second or longer."""
    _TOLD[:] = [] if tell is None else [tell]


def wait_text(fault: TransientError, attempt: int, attempts: int) -> str:
    """Say for whom a request waits, and why, after so many attempts."""
    where = fault.value if isinstance(fault.value, str) else fault.what
    return f"waiting for {where}: {fault.reason}, attempt {attempt} of {attempts}"


def retried(
    request: Callable[[], _Value],
    policy: RetryPolicy,
    *,
    seed: str | None = None,
    wait: Callable[[float], None] | None = None,
) -> _Value:
    """Return what `request` returns, called again after each `TransientError` as the policy and deadline allow."""
    with deadline(policy.deadline_s):
        for attempt in count(1):
            try:
                return request()
            except GaveUpError:
                raise
            except TransientError as error:
                fault = error
            retry_after_s = fault.retry_after_s
            is_last = attempt == policy.attempts or (retry_after_s or 0.0) > policy.longest_asked_s
            wait_s = policy.wait_s(attempt, retry_after_s, seed=seed)
            if is_last or wait_s >= time_left_s():
                break
            if wait_s >= _LONG_WAIT_S:
                for tell in tuple(_TOLD):
                    tell(wait_text(fault, attempt, policy.attempts))
            (wait or sleep)(wait_s)
    # out here, for an error's context travels with it when it is pickled, and may hold a token
    reason = f"{fault.reason}, after {attempt} attempt{'s' * (attempt > 1)}"
    reason, fix = (reason, fault.fix) if is_last else (f"{reason}; its deadline is over", f"{fault.fix}{_LONGER}")
    raise GaveUpError(fault.what, value=fault.value, reason=reason, fix=fix, retry_after_s=retry_after_s)


def asked_wait_s(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, as a number or a date; None if it cannot be read."""
    text = (header or "").strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment - dt.datetime.now(moment.tzinfo)).total_seconds())
