"""Searching a whole area once, where places are dense, and finding in its answer what each place's own search would.

The globe is divided into cells of about 100 km. The first places of a cell are searched for one by one, as most of few
and scattered places are; from then on the answer for the whole cell serves every place in it.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from rs_embed_dask.providers.stac.items import Box, StacItem

if TYPE_CHECKING:
    from rs_embed_dask.providers.stac.query import Query

__all__ = ["Areas", "cell_around"]

PLACES_ALONE: Final = 3
MOST_CELLS: Final = 4096
MOST_TREES: Final = 32
_SIDE_DEG: Final = 1.0
_REACH_DEG: Final = 0.1
_NEAR_POLE_DEG: Final = 80.0
_NEAR_ANTIMERIDIAN_DEG: Final = 167.0


def cell_around(box: Box) -> Box | None:
    """Return the cell of a place, with a margin; None for places that reach beyond it, and near poles and antimeridian.

    Examples
    --------
    >>> cell_around((12.31, 48.2, 12.35, 48.23))
    (11.9, 47.9, 13.6, 49.1)
    """
    lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if abs(lat) > _NEAR_POLE_DEG or abs(lon) > _NEAR_ANTIMERIDIAN_DEG:
        return None
    south = math.floor(lat / _SIDE_DEG) * _SIDE_DEG
    width = 360.0 / math.floor(360.0 * math.cos(math.radians(south + _SIDE_DEG / 2)) / _SIDE_DEG)
    west = math.floor(lon / width) * width
    cell = west - _REACH_DEG, south - _REACH_DEG, west + width + _REACH_DEG, south + _SIDE_DEG + _REACH_DEG
    is_inside = cell[0] <= box[0] and cell[1] <= box[1] and box[2] <= cell[2] and box[3] <= cell[3]
    return tuple(round(side, 6) for side in cell) if is_inside else None  # type: ignore[return-value]


class Areas:
    """Which places were searched for in which cells by this process, and where the items of a cell lie."""

    def __init__(self) -> None:
        self._alone: OrderedDict[Query, set[tuple[Box, ...]]] = OrderedDict()
        self._trees: OrderedDict[Query, tuple[tuple[StacItem, ...], shapely.STRtree]] = OrderedDict()
        self._lock = threading.Lock()

    def around(self, query: Query) -> Query | None:
        """Return the search for the cell of a place, where that is the better one."""
        cell = cell_around(query.boxes[0]) if len(query.boxes) == 1 else None
        if cell is None:
            return None
        area = replace(query, boxes=(cell,))
        with self._lock:
            alone = self._alone.setdefault(area, set())
            self._alone.move_to_end(area)
            if len(self._alone) > MOST_CELLS:
                self._alone.popitem(last=False)
            if len(alone) < PLACES_ALONE:
                alone.add(query.boxes)
            return None if query.boxes in alone else area

    def among(self, area: Query, items: tuple[StacItem, ...], place: Box) -> tuple[StacItem, ...]:
        """Return the items of an area that a catalogue would list for a place in it, in their order."""
        with self._lock:
            known = self._trees.get(area)
            if known is None or known[0] is not items:
                known = self._trees[area] = items, shapely.STRtree([_outline(item) for item in items])
            self._trees.move_to_end(area)
            if len(self._trees) > MOST_TREES:
                self._trees.popitem(last=False)
        return tuple(items[k] for k in np.sort(known[1].query(shapely.box(*place), predicate="intersects")))

    def clear(self) -> None:
        """Forget all places and items."""
        with self._lock:
            self._alone.clear()
            self._trees.clear()


def _outline(item: StacItem) -> shapely.Geometry:
    return shapely.box(*item.box) if item.outline is None else item.outline
