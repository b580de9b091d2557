"""What rs-embed has no argument for: where pixels come from, which weights may be used, in which CRS is read."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rs_embed_dask.providers import Provider

__all__ = ["Settings", "current", "differs", "disable_pretty_warnings", "enable_pretty_warnings", "forget", "use"]


@dataclass(frozen=True)
class Settings:
    """What all calls of this process use beyond their arguments."""

    provider: Provider | str | None = None
    weights: str = "auto"
    crs: str | None = None
    accept_licence: bool = False


_CURRENT: Final = [Settings()]
_WARNED: Final[set[str]] = set()
_LOCK: Final = threading.Lock()


def use(**choices: Any) -> Settings:
    """Set what later calls use (``provider``, ``weights``, ``crs``, ``accept_licence``); return what they used before.

    `provider` is used where ``backend`` is "auto" or "gee" (default: Earth Engine); ``weights="random"`` allows models
    without their weights, for tests; ``crs="EPSG:3857"`` reads in Mercator metres, as rs-embed does.
    """
    with _LOCK:
        before = _CURRENT[0]
        _CURRENT[0] = replace(before, **choices)
    return before


def current() -> Settings:
    """Return what calls use."""
    return _CURRENT[0]


def differs(page: str, what: str, *, stacklevel: int = 6) -> None:
    """Warn, once in a process, that a number is not rs-embed's, on purpose; `page` has the reasons."""
    text = f"{what} (docs/{page})"
    with _LOCK:
        if text in _WARNED:
            return
        _WARNED.add(text)
    warnings.warn(text, UserWarning, stacklevel=stacklevel)


def forget() -> int:
    """Warn again of everything; return of how much was warned."""
    with _LOCK:
        count = len(_WARNED)
        _WARNED.clear()
    return count


def enable_pretty_warnings() -> None:
    """Do nothing: warnings here are one line each."""


def disable_pretty_warnings() -> None:
    """Do nothing: warnings here are one line each."""
