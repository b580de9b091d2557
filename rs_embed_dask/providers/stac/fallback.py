"""Scenes that a catalogue lacks, from a second one: which they are, and how they read like those of the first.

Catalogues name assets, write times and number tiles in their own ways. Scenes are compared by granule and platform,
and by the start of their datastrip where both state one, else by their time.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers.stac.assets import asset_for
from rs_embed_dask.providers.stac.items import SAME_TIME, StacItem, granule, newest, strip_start

if TYPE_CHECKING:
    import dask.array as da

    from rs_embed_dask.imagery.sensor_types import PropertyNames, Source
    from rs_embed_dask.providers.http import Access, Signer

__all__ = ["Second", "lacking", "stack_both", "widened"]

_ONE_PASS: Final = dt.timedelta(minutes=30)


@dataclass(frozen=True)
class Second:
    """A second catalogue for one sensor: its name in ids, its tables, and how its files are reached."""

    name: str
    table: Source
    signer: Signer
    origin: str

    @property
    def prefix(self) -> str:
        """How the ids of its scenes begin."""
        return f"{self.name}:"

    def owns(self, scene_id: str) -> bool:
        """Return whether a scene comes from it."""
        return scene_id.startswith(self.prefix)

    def reached(self, access: Access) -> Access:
        """Return how its files are reached where those of the first catalogue are reached by `access`."""
        return replace(access, signer=self.signer, origin=self.origin)


def widened(span: Span) -> Span:
    """Return a span and a day on either side, where the other catalogue may date the same scene."""
    day = dt.timedelta(days=1)
    return Span(span.start - day, span.end + day)


def stack_both(
    stack: Callable[..., da.Array], items: Sequence[StacItem], *, second: Second | None, access: Access
) -> da.Array:
    """Return the raw numbers of items of both catalogues in their order, each reached as its own catalogue asks."""
    from_second = [second is not None and second.owns(item.id) for item in items]
    if second is None or not any(from_second):
        return stack(items, access=access)
    mine, theirs = ([item for item in items if second.owns(item.id) == flag] for flag in (False, True))
    last = stack(theirs, access=second.reached(access))
    if not mine:
        return last
    together: da.Array = np.concatenate([stack(mine, access=access), last])  # type: ignore[assignment]
    ordered: da.Array = together[np.argsort(np.argsort(from_second, kind="stable"))]
    return ordered


def lacking(
    first: Sequence[StacItem], second: Iterable[StacItem], *, table: Source, other: Second
) -> tuple[StacItem, ...]:
    """Return the items of a second catalogue that the first lacks: named after it, with the first's asset names."""
    by_granule: defaultdict[tuple[str, str], list[StacItem]] = defaultdict(list)
    for item in (one for one in first if not one.fault):
        by_granule[_pass_of(item, table.properties)].append(item)

    def is_missing(item: StacItem) -> bool:
        held = by_granule[_pass_of(item, other.table.properties)]
        return not any(_same_time(item, one, (other.table.properties, table.properties)) for one in held)

    return tuple(
        replace(
            item,
            id=f"{other.prefix}{item.id}",
            properties={**item.properties, **_orbit(item, first, table.properties)},
            assets=dict(_renamed(item, table, other.table)),
        )
        for item in newest(second, other.table.properties)
        if not item.fault and is_missing(item)
    )


def _pass_of(item: StacItem, names: PropertyNames) -> tuple[str, str]:
    """Return granule and platform: ``Sentinel-2A`` and ``sentinel-2a`` are one."""
    return granule(item, names), str(item.first(names.platform) or "").lower()


def _same_time(one: StacItem, other: StacItem, names: tuple[PropertyNames, PropertyNames]) -> bool:
    # the time of an item is that of the datatake here, of the granule there: minutes lie between them
    first, second = strip_start(one, names[0]), strip_start(other, names[1])
    apart = one.time - other.time if first is None or second is None else first - second
    return abs(apart) <= SAME_TIME


def _orbit(item: StacItem, first: Iterable[StacItem], names: PropertyNames) -> dict[str, Any]:
    """Return the orbit direction of its pass as the first catalogue states it, where the item states none."""
    # else its tile and those of the first catalogue would count as two observations where they overlap
    if item.first(names.orbit) is not None:
        return {}
    platform = str(item.first(names.platform)).lower()
    same_pass = (
        one.first(names.orbit)
        for one in first
        if abs(one.time - item.time) <= _ONE_PASS and str(one.first(names.platform)).lower() == platform
        if one.first(names.orbit) is not None
    )
    orbit = next(same_pass, None)
    return {} if orbit is None else {names.orbit[0]: orbit}


def _renamed(item: StacItem, table: Source, theirs: Source) -> Iterable[tuple[str, Any]]:
    """Yield the assets that the second catalogue's table knows under the names of the first's."""
    bands = dict(theirs.assets)
    masks = dict(theirs.masks)
    pairs = [(names[0], bands[common]) for common, names in table.assets if common in bands]
    pairs += [(name, (masks[mask],)) for mask, name in table.masks if mask in masks]
    for name, candidates in pairs:
        chosen = asset_for(item, candidates)
        if chosen is not None and chosen[0] in item.assets:
            yield name, chosen[1]
