"""How often and how long a read is tried again."""

from __future__ import annotations

import zlib
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Final

from rs_embed_dask.errors import (
    EngineError,
    LicenceError,
    RsEmbedError,
    SpecError,
    StoreError,
    TransientError,
    WeightsError,
    redact,
)
from rs_embed_dask.specs.base import Record

__all__ = ["FATAL", "PASSING", "PLUGIN_FAULTS", "Retry", "is_fatal", "is_lost", "said"]

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


_LONGEST_ASKED_S: Final = 900.0


@dataclass(frozen=True)
class Retry(Record):
    """Exponential backoff with jitter."""

    tries: int = 5
    first_s: float = 1.0
    longest_s: float = 60.0

    def wait_s(self, tries: int, seed: str, asked_s: float | None = None) -> float:
        """How long to wait after a number of tries."""
        full = min(self.longest_s, self.first_s * 2.0 ** (tries - 1))
        jitter = zlib.crc32(f"{seed}/{tries}".encode()) / 2**32
        return max(full * (0.5 + 0.5 * jitter), min(asked_s or 0.0, _LONGEST_ASKED_S))
