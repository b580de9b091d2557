"""How many requests may be in flight at once, under one name: in this process, or in all of a cluster.

By itself a process counts its own. Whoever runs many processes, as the engine does, says by `share_by` how they count
together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

__all__ = ["Gate", "gate", "share_by"]

Gate = AbstractContextManager[Any]
"""Entered before a request and left after it; entering waits while too many are in flight."""


Sharing = Callable[[str, int], Gate | None]
"""Makes the gate of a name and number that several processes share; None where it cannot be shared any more."""

_LOCK: Final = threading.Lock()
_OWN: Final[dict[tuple[str, int], threading.BoundedSemaphore]] = {}
_SHARED: Final[list[Sharing]] = []


def share_by(sharing: Sharing | None) -> None:
    """Say how processes count together, from now on and in this process.

    Parameters
    ----------
    sharing : callable or None
        Takes a name and a number, and returns the gate that so many requests may pass at once, or None where there is
        no such gate any more. None ends it.
    """
    with _LOCK:
        _SHARED[:] = [] if sharing is None else [sharing]


def gate(name: str, most: int) -> Gate:
    """Return what lets at most so many requests of a name through at once.

    Parameters
    ----------
    name : str
        Whose requests.
    most : int
        How many.

    Returns
    -------
    context manager
        Shared by the processes of a cluster where `share_by` was told how, else by the threads of this process.
    """
    for sharing in tuple(_SHARED):
        shared = sharing(name, most)
        if shared is not None:
            return shared
    with _LOCK:
        return _OWN.setdefault((name, most), threading.BoundedSemaphore(most))
