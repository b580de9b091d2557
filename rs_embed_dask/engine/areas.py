"""Which places of a run, or tiles of a map, lie so close together that one search of a catalogue serves them all.

Those of the same span are divided where most is empty between them, else evenly, until each part is at most about
130 km wide and high: a square of 100 km, wherever it begins, is one part. A part of four places or more is an area,
with a margin for the imagery around places; fewer places are searched for one by one. Tiles are an area however few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.providers.vicinity import Box
    from rs_embed_dask.store import Store

__all__ = ["FEWEST_PLACES", "REACH_DEG", "RunAreas", "SearchArea", "dense_parts"]

FEWEST_PLACES: Final = 4
_MOST_SHARED: Final = 256
"""Areas whose answers are kept for all processes of a run, a megabyte each at most; the others each asks for itself."""
_SIDE_DEG: Final = 1.2
REACH_DEG: Final = 0.1
"""How far imagery reaches around a place, in degrees of latitude."""

_NEAR_POLE_DEG: Final = 80.0
_NEAR_ANTIMERIDIAN_DEG: Final = 167.0
_WHOLE_DEG: Final = 180.0

_Rows: TypeAlias = "NDArray[np.int64]"


class SearchArea(NamedTuple):
    """Where a read lies: in which run, in the box of which area if in any, and whether its processes share answers."""

    run: str = ""
    box: Box | None = None
    is_shared: bool = False


@dataclass(frozen=True, eq=False)
class RunAreas:
    """The areas of a run, and which item lies in which."""

    name: str = field(default_factory=lambda: uuid4().hex[:12])
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
    def of(
        cls,
        items: _Rows,
        centres: NDArray[np.float64],
        spans: NDArray[Any],
        *,
        reach_deg: float | NDArray[np.float64] = REACH_DEG,
        fewest: int = FEWEST_PLACES,
    ) -> Self:
        """Find the areas of items by longitude and latitude, (n, 2), and what tells their spans apart, (n, k).

        Those around which imagery reaches farther, (n,), have areas of their own, so that the others stay small.
        """
        reach = np.broadcast_to(reach_deg, len(items))
        order = np.lexsort((*spans.T, reach))
        keys = (key[order] for key in (*spans.T, reach))
        changes = np.flatnonzero(np.logical_or.reduce([key[1:] != key[:-1] for key in keys])) + 1
        parts = [
            part
            for same in np.split(order, changes)
            if len(same)
            for part in dense_parts(centres, same, reach_deg=float(reach[same[0]]), fewest=fewest)
        ]
        if not parts:
            return cls()
        rows = np.concatenate(parts)
        numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        sort = np.argsort(items[rows])
        boxes = tuple(_around(centres[part], float(reach[part[0]])) for part in parts)
        return cls(boxes=boxes, items=items[rows][sort], numbers=numbers[sort])

    def at(self, item: int) -> SearchArea:
        """Return where an item lies; one that is searched alone has no box."""
        if self.items is None or self.numbers is None:
            return SearchArea(self.name)
        at = int(np.searchsorted(self.items, item))
        if at == len(self.items) or self.items[at] != item:
            return SearchArea(self.name)
        number = int(self.numbers[at])
        return SearchArea(self.name, self.boxes[number], number < _MOST_SHARED)


def dense_parts(
    centres: NDArray[np.float64], rows: _Rows, *, reach_deg: float = REACH_DEG, fewest: int = FEWEST_PLACES
) -> Iterator[_Rows]:
    """Yield the rows of each area."""
    parts = [rows]
    while parts:
        part = parts.pop()
        if len(part) < fewest:
            continue
        low, high = centres[part].min(axis=0), centres[part].max(axis=0)
        scale = np.array([math.cos(math.radians(min(abs(low[1] + high[1]) / 2, _NEAR_POLE_DEG))), 1.0])
        sides = (high - low) * scale
        if (sides <= _SIDE_DEG).all():
            is_far = max(abs(low[1]), abs(high[1])) < _NEAR_POLE_DEG and max(-low[0], high[0]) < _NEAR_ANTIMERIDIAN_DEG
            if is_far and _is_of_the_globe(_around(centres[part], reach_deg)):
                yield part
            continue
        axis = int(np.argmax(sides))
        cut = _apart(centres[part], scale, 2 * reach_deg) or _evenly(
            centres[part, axis], math.ceil(sides[axis] / _SIDE_DEG)
        )
        parts += [part[some] for some in cut]


def _is_of_the_globe(box: Box) -> bool:
    """Return whether a catalogue can be asked for a box: large margins may reach over the antimeridian, or a pole."""
    west, south, east, north = box
    return west >= -_WHOLE_DEG and east <= _WHOLE_DEG and south >= -_WHOLE_DEG / 2 and north <= _WHOLE_DEG / 2


def _apart(centres: NDArray[np.float64], scale: NDArray[np.float64], gap_deg: float) -> list[_Rows]:
    """Divide places at the widest of the empty strips between them; nothing where there is none."""
    order = np.argsort(centres, axis=0)
    gaps = np.diff(np.take_along_axis(centres, order, axis=0), axis=0) * scale
    axis = int(np.argmax(gaps.max(axis=0)))
    # Those half as wide at least, so that sparse places take few rounds.
    cuts = np.flatnonzero(gaps[:, axis] > max(gap_deg, gaps[:, axis].max() / 2)) + 1
    return np.split(order[:, axis], cuts) if len(cuts) else []


def _evenly(along: NDArray[np.float64], count: int) -> list[_Rows]:
    """Divide places into so many strips of one width."""
    low, high = along.min(), along.max()
    strip = np.minimum(((along - low) / (high - low) * count).astype(np.int64), count - 1)
    return [np.flatnonzero(strip == number) for number in range(count)]


def _around(centres: NDArray[np.float64], reach_deg: float) -> Box:
    """Return the box around places, with a margin for the imagery around each of them."""
    (west, south), (east, north) = centres.min(axis=0), centres.max(axis=0)
    wide = reach_deg / math.cos(math.radians(max(abs(south), abs(north))))
    sides = west - wide, south - reach_deg, east + wide, north + reach_deg
    return tuple(round(float(side), 6) for side in sides)  # type: ignore[return-value]
