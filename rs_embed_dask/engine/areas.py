"""Which places of a run lie so close together that one search of a catalogue serves them all.

Places of the same span are divided where nothing lies between them, else evenly, until each part is at most about
130 km wide and high: a square of 100 km, wherever it begins, is one part. A part of four places or more is an area,
with a margin for the imagery around places; fewer places are searched for one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.providers.vicinity import Box
    from rs_embed_dask.store import Store

__all__ = ["FEWEST_PLACES", "RunAreas", "SearchArea", "dense_parts"]

FEWEST_PLACES: Final = 4
_MOST_SHARED: Final = 256
"""Areas whose answers are kept for all processes of a run, a megabyte each at most; the others each asks for itself."""
_SIDE_DEG: Final = 1.2
_GAP_DEG: Final = 0.2
_REACH_DEG: Final = 0.1
_NEAR_POLE_DEG: Final = 80.0
_NEAR_ANTIMERIDIAN_DEG: Final = 167.0

_Rows: TypeAlias = "NDArray[np.int64]"


class SearchArea(NamedTuple):
    """The box of an area, and the name of the run whose processes share what is found there, if they do."""

    box: Box
    shared: str = ""


@dataclass(frozen=True, eq=False)
class RunAreas:
    """The areas of a run, and which item lies in which."""

    name: str = ""
    boxes: tuple[Box, ...] = ()
    items: _Rows | None = None
    """In ascending order; only those that lie in an area."""
    numbers: _Rows | None = None
    """Of the area of each of these."""

    @classmethod
    def within(cls, store: Store, rows: _Rows) -> Self:
        """Find the areas of some rows of a store."""
        lon, lat, start, end = (store.values("items", name)[rows] for name in ("lon", "lat", "start", "end"))
        return cls.of(rows, np.column_stack([lon, lat]), np.column_stack([start, end]))

    @classmethod
    def of(cls, items: _Rows, centres: NDArray[np.float64], spans: NDArray[Any]) -> Self:
        """Find the areas of items by longitude and latitude, (n, 2), and first and last day, (n, 2)."""
        order = np.lexsort(spans.T)
        changes = np.flatnonzero((spans[order[1:]] != spans[order[:-1]]).any(axis=1)) + 1
        parts = [
            part
            for same in np.split(order, changes)
            if len(same) >= FEWEST_PLACES
            for part in dense_parts(centres, same)
        ]
        if not parts:
            return cls()
        rows = np.concatenate(parts)
        numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        sort = np.argsort(items[rows])
        boxes = tuple(_around(centres[part]) for part in parts)
        return cls(uuid4().hex[:12], boxes, items[rows][sort], numbers[sort])

    def at(self, item: int) -> SearchArea | None:
        """Return the area of an item; None for one that is searched alone."""
        if self.items is None or self.numbers is None:
            return None
        at = int(np.searchsorted(self.items, item))
        if at == len(self.items) or self.items[at] != item:
            return None
        number = int(self.numbers[at])
        return SearchArea(self.boxes[number], self.name if number < _MOST_SHARED else "")


def dense_parts(centres: NDArray[np.float64], rows: _Rows) -> Iterator[_Rows]:
    """Yield the rows of each area."""
    parts = [rows]
    while parts:
        part = parts.pop()
        if len(part) < FEWEST_PLACES:
            continue
        low, high = centres[part].min(axis=0), centres[part].max(axis=0)
        scale = np.array([math.cos(math.radians(min(abs(low[1] + high[1]) / 2, _NEAR_POLE_DEG))), 1.0])
        sides = (high - low) * scale
        if (sides <= _SIDE_DEG).all():
            if max(abs(low[1]), abs(high[1])) < _NEAR_POLE_DEG and max(-low[0], high[0]) < _NEAR_ANTIMERIDIAN_DEG:
                yield part
            continue
        axis = int(np.argmax(sides))
        cut = _apart(centres[part], scale) or _evenly(centres[part, axis], math.ceil(sides[axis] / _SIDE_DEG))
        parts += [part[some] for some in cut]


def _apart(centres: NDArray[np.float64], scale: NDArray[np.float64]) -> list[_Rows]:
    """Divide places where a strip between them is empty; nothing where there is none."""
    for axis in (0, 1):
        order = np.argsort(centres[:, axis])
        gaps = np.diff(centres[order, axis]) * scale[axis]
        cuts = np.flatnonzero(gaps > _GAP_DEG) + 1
        if len(cuts):
            return np.split(order, cuts)
    return []


def _evenly(along: NDArray[np.float64], count: int) -> list[_Rows]:
    """Divide places into so many strips of one width."""
    low, high = along.min(), along.max()
    strip = np.minimum(((along - low) / (high - low) * count).astype(np.int64), count - 1)
    return [np.flatnonzero(strip == number) for number in range(count)]


def _around(centres: NDArray[np.float64]) -> Box:
    """Return the box around places, with a margin for the imagery around each of them."""
    (west, south), (east, north) = centres.min(axis=0), centres.max(axis=0)
    wide = _REACH_DEG / math.cos(math.radians(max(abs(south), abs(north))))
    sides = west - wide, south - _REACH_DEG, east + wide, north + _REACH_DEG
    return tuple(round(float(side), 6) for side in sides)  # type: ignore[return-value]
