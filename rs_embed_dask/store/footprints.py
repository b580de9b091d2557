"""Outlines of many places at once.

A place knows its own outline, at about 0.2 ms each. Most stores hold squares round points, for which the same
arithmetic is done here for all points of a UTM zone together: 100,000 in a second instead of twenty.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.geodesy import project
from rs_embed_dask.spatial import PointBuffer
from rs_embed_dask.zones import local_crs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.specs import Spatial

__all__ = ["footprints"]

_WGS84: Final = "EPSG:4326"
_SMALL_M: Final = 1_500.0
_POLE_FREE: Final = 70.0
_HALF_TURN: Final = 180.0
_CORNERS: Final = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]], dtype="float64")


def footprints(places: Sequence[Spatial]) -> np.ndarray[Any, Any]:
    """Outline places in longitude and latitude.

    Parameters
    ----------
    places : sequence of BBox, PointBuffer or Polygon

    Returns
    -------
    numpy.ndarray of shapely geometry, shape (len(places),)
        The same as each place's own ``geometry``.
    """
    found = np.empty(len(places), dtype=object)
    zones: dict[str, list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        if isinstance(place, PointBuffer) and place.buffer_m <= _SMALL_M and abs(place.center[1]) < _POLE_FREE:
            zones[local_crs(*place.center)].append(row)
        else:
            found[row] = place.geometry
    for crs, rows in zones.items():
        squares, crosses = _squares([places[row] for row in rows], crs)
        found[rows] = squares
        for row in np.asarray(rows)[crosses]:
            found[row] = places[row].geometry
    return found


def _squares(places: Sequence[Any], crs: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Outline small squares of one zone, and tell which cross the antimeridian and need more care."""
    centers = np.asarray([place.center for place in places])  # (n, 2)
    halves = np.asarray([place.buffer_m for place in places])  # (n,)
    x, y = project(_WGS84, crs, centers[:, 0], centers[:, 1])
    corners = np.stack([x, y], axis=-1)[:, None, :] + halves[:, None, None] * _CORNERS  # (n, 5, 2)
    lon, lat = project(crs, _WGS84, corners[..., 0].ravel(), corners[..., 1].ravel())
    rings = np.stack([lon, lat], axis=-1).reshape(-1, len(_CORNERS), 2)  # (n, 5, 2)
    return shapely.polygons(rings), np.ptp(rings[..., 0], axis=1) > _HALF_TURN
