"""What can be wrong in a store, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rs_embed_dask.store.fence import Stamp
    from rs_embed_dask.store.target import Location

__all__ = ["Damage", "Finding", "Remedy"]


class Remedy(StrEnum):
    """What a repair does about a damage."""

    RECOMPUTE = "a repair sets its rows back to pending, and resume computes them again"
    REBUILD = "a repair makes it again from the rest of the store"
    REMOVE = "a repair removes it"
    RESTORE = "nothing in the store can replace it: restore it from a copy, or run the request into a new store"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong in a store: where, why, what a repair does, and for how many rows of a model."""

    where: str
    reason: str
    remedy: Remedy
    rows: int = 0


@dataclass(frozen=True)
class Finding:
    """A damage, and the repair where there is one; it is done before the next damage is looked for.

    The repair is given the store's place behind a fence: that of the root document, unless it names another.
    """

    damage: Damage
    mend: Callable[[Location], object] | None = None
    fence: tuple[str, Stamp] | None = None
