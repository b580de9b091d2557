"""In which area each tile of a map lies, over all its passes: models and zones that meet there share its search.

Tiles of more than about 20 km have areas of their own, so that the others are not searched for as far around.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from rs_embed_dask.engine.areas import REACH_DEG, RunAreas
from rs_embed_dask.maps.windows import tile_number
from rs_embed_dask.specs.ground import DEGREE_M, WGS84, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.maps.passes import MapModel, MapPass

__all__ = ["in_areas"]

Works: TypeAlias = "Sequence[tuple[tuple[MapModel, ...], Sequence[tuple[MapPass, int]]]]"
"""The passes of models that share their reads, each with the number of its span."""

_DISTORTED: Final = 1.1  # a metre of a projection is a little more or less on the ground


def in_areas(todo: Works) -> tuple[RunAreas, Works]:
    """Divide the tiles of a map into areas; return these, and the passes, which then know them."""
    works = [pair for _, listed in todo for pair in listed]
    reading = [(number, *pair) for number, pair in enumerate(works) if not pair[0].models[0].is_product]
    areas = _areas(reading) if reading else RunAreas()
    numbers = count()
    return areas, [
        (models, [(replace(work, areas=areas, number=next(numbers)), span) for work, span in listed])
        for models, listed in todo
    ]


def _areas(reading: Sequence[tuple[int, MapPass, int]]) -> RunAreas:
    items, centres, spans, reach_deg = [], [], [], []
    for number, work, span in reading:
        tiles = np.array(work.order, np.int64)
        lonlat = _centres(work, tiles)
        there = np.isfinite(lonlat).all(axis=1)
        centres.append(lonlat[there])
        items.append(tile_number(number, *tiles[there].T))
        spans.append(np.full((len(items[-1]), 1), span))
        reach = max(REACH_DEG, math.sqrt(0.5) * _DISTORTED * _side(work) / DEGREE_M)
        reach_deg.append(np.full(len(items[-1]), reach))
    listed = (np.concatenate(each) for each in (items, centres, spans))
    return RunAreas.of(*listed, reach_deg=np.concatenate(reach_deg), fewest=1)


def _side(work: MapPass) -> float:
    """Return the side of the most that a tile reads, in metres."""
    tiling = work.models[0].tiling
    return (tiling.block + tiling.margin) * tiling.patch_px * work.lattice.token_m


def _centres(work: MapPass, tiles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return longitude and latitude of the middle of what tiles read; (n, 2)."""
    lattice, side = work.lattice, _side(work) / work.lattice.token_m
    rows, cols = (tiles * lattice.block + side / 2).T * lattice.step
    return np.column_stack(project(lattice.crs, WGS84, lattice.origin[0] + cols, lattice.origin[1] - rows))
