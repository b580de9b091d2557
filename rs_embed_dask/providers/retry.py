"""Which HTTP answers pass, and how often and how long every client tries again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

__all__ = ["TRANSIENT_STATUSES", "RetryPolicy"]

# all server errors, those of content networks (520 to 529) included, but not the two that no second attempt changes
TRANSIENT_STATUSES: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}
) - {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again before giving up."""

    attempts: int = 6
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0
    timeout_s: float = 60.0

    def wait_s(self, attempt: int) -> float:
        """Return the wait after the `attempt`-th fault (from 0)."""
        whole = min(self.first_wait_s * 2.0**attempt, self.longest_wait_s)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing
