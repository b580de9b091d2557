"""Which errors mean what: of one item, passing, of the whole run, or of a lost worker."""

from __future__ import annotations

from concurrent.futures import CancelledError
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

__all__ = ["FATAL", "PASSING", "PLUGIN_FAULTS", "is_fatal", "is_lost", "said"]

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
    """Write an error as one line for a store's reason.

    Parameters
    ----------
    error : BaseException
        Ours are written as they are, others with their class's name.

    Returns
    -------
    str
        Redacted, at most 400 characters.
    """
    text = str(error) if isinstance(error, RsEmbedError) else f"{type(error).__name__}: {error}"
    return redact(" ".join(text.split()))[:400]
