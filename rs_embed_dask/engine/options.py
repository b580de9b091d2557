"""How a run goes, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from rs_embed_dask.engine.placement import InFlight

if TYPE_CHECKING:
    from rs_embed_dask.engine.events import Listener
    from rs_embed_dask.store import Status

__all__ = ["Options", "Progress"]

Progress: TypeAlias = bool | str | Callable[[Any], None]


@dataclass(frozen=True)
class Options:
    """How a run goes, whatever it computes.

    Parameters
    ----------
    progress : bool, str or callable, default True
        True chooses by where it runs: a bar in a terminal or notebook, a line a minute in a log. False is silent;
        "bar" and "log" choose one; anything else that can be called takes the events.
    listeners : sequence of callables
        More that take events.
    window : InFlight
        How much may be on its way at once.
    only : set of Status, optional
        Take up items of these states; by default all that are not done.
    """

    progress: Progress = True
    listeners: Sequence[Listener] = ()
    window: InFlight = field(default_factory=InFlight)
    only: AbstractSet[Status] | None = None
