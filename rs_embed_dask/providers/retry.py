"""Which HTTP answers are transient, and the one policy and loop by which every client tries again."""

from __future__ import annotations

import datetime as dt
import email.utils
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from http import HTTPStatus
from itertools import count
from time import sleep
from typing import Any, Final, TypeVar

from rs_embed_dask.errors import TransientError
from rs_embed_dask.specs.base import Record, whole

__all__ = ["REFUSED_STATUSES", "TRANSIENT_STATUSES", "GaveUpError", "RetryPolicy", "asked_wait_s", "retried"]

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
        Deadline of one request. The engine, which retries whole reads, does not use it.
    longest_asked_s
        The longest ``Retry-After`` that is waited for; a client leaves a longer one to its caller.
    """

    attempts: int = 6
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0
    timeout_s: float = 60.0
    longest_asked_s: float = 30.0

    def __post_init__(self) -> None:
        whole("RetryPolicy.attempts", self.attempts, low=1, high=1000)

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


def retried(
    request: Callable[[], _Value],
    policy: RetryPolicy,
    *,
    seed: str | None = None,
    wait: Callable[[float], None] | None = None,
) -> _Value:
    """Return what `request` returns, called again after each `TransientError` as the policy allows."""
    for attempt in count(1):
        try:
            return request()
        except GaveUpError:
            raise
        except TransientError as error:
            fault = error
        retry_after_s = fault.retry_after_s
        if attempt == policy.attempts or (retry_after_s or 0.0) > policy.longest_asked_s:
            break
        (wait or sleep)(policy.wait_s(attempt, retry_after_s, seed=seed))
    # out here, for an error's context travels with it when it is pickled, and may hold a token
    reason = f"{fault.reason}, after {attempt} attempt{'s' * (attempt > 1)}"
    raise GaveUpError(fault.what, value=fault.value, reason=reason, fix=fault.fix, retry_after_s=retry_after_s)


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
