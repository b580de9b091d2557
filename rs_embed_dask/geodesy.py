"""Shapes on the earth: longitudes across 180 degrees, areas, and how true a projection is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from pyproj import Geod

from rs_embed_dask.crs import WGS84, crs_facts, project
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "GEOD",
    "HALF_TURN",
    "POLE",
    "geodesic_area",
    "lonlat_boxes",
    "outline",
    "project",
    "scale_error",
    "split_at_antimeridian",
    "unwrapped",
    "wrap_lon",
]

GEOD: Final = Geod(ellps="WGS84")
HALF_TURN: Final = 180.0
POLE: Final = 90.0
_LONGEST_STEP_M: Final = 10_000.0
_EARTH_M: Final = 6_371_000.0


def wrap_lon(lon: float) -> float:
    """Return a longitude within [-180, 180); 180 itself stays.

    Parameters
    ----------
    lon : float
        Degrees, any number of turns.

    Returns
    -------
    float
    """
    return lon if abs(lon) <= HALF_TURN else (lon + HALF_TURN) % 360.0 - HALF_TURN


def _step(shape: shapely.Geometry, crs: str, bend_m: float) -> float:
    """Return how long an edge may be, in units of `crs`, so that it bends less than `bend_m` in another projection."""
    left, bottom, right, top = shape.bounds
    mid_x, mid_y = (left + right) / 2, (bottom + top) / 2
    _, lats = project(crs, WGS84, [left, left, right, right, mid_x], [bottom, top, bottom, top, mid_y])
    from_pole = math.radians(max(90.0 - float(np.max(np.abs(lats))), 1e-4)) * _EARTH_M
    metres = min(_LONGEST_STEP_M, math.sqrt(8 * from_pole * bend_m))
    facts = crs_facts(crs)
    units = metres / (facts.unit * (_EARTH_M if facts.geographic else 1.0))
    return max(units, float(right - left + top - bottom) / 4000)


def outline(shape: shapely.Geometry, crs: str, *, bend_m: float = 0.05) -> NDArray[np.float64]:
    """Return points along a shape, so dense that straight lines between them stay true in another projection.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon
        In `crs`.
    crs : str
        As `crs_text` gives it.
    bend_m : float, default 0.05
        How far, in metres, a true edge may lie from the line between two points.

    Returns
    -------
    ndarray (N, 2)
        Coordinates in `crs`.
    """
    return np.asarray(shapely.get_coordinates(shapely.segmentize(shape, _step(shape, crs, bend_m))))


def scale_error(crs: str, bounds: tuple[float, float, float, float]) -> float:
    """Return by how much a metre of a projection differs from a metre on the ground, at worst within bounds.

    Parameters
    ----------
    crs : str
        A projected system.
    bounds : (left, bottom, right, top)
        In `crs`.

    Returns
    -------
    float
        For example 0.0004 on the central meridian of a UTM zone.
    """
    step = 1000.0 / crs_facts(crs).unit
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(*bounds[::2], 5), np.linspace(*bounds[1::2], 5)))
    worst = 0.0
    for dx, dy in ((step / 2, 0.0), (0.0, step / 2)):
        lon, lat = project(crs, WGS84, [x - dx, x + dx], [y - dy, y + dy])
        _, _, ground = GEOD.inv(lon[0], lat[0], lon[1], lat[1])
        worst = max(worst, float(np.abs(1000.0 / np.asarray(ground) - 1.0).max()))
    return worst


def _ring(coords: NDArray[Any], crs: str, what: str) -> NDArray[Any]:
    """Turn a ring into degrees with no jump between neighbours; (N, 2)."""
    lon, lat = project(crs, WGS84, coords[:, 0], coords[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        reason = f"some of its coordinates lie outside the reach of {crs[:40]}"
        fix = "check the coordinates, their order (x, y) and the crs"
        raise SpecError(what, value=_rounded(coords), reason=reason, fix=fix)
    lon = np.unwrap(lon, period=360.0)
    if abs(lon[-1] - lon[0]) > 1.0:
        reason = "it encloses a pole, where west and east have no meaning and no sensor used here looks"
        fix = "leave the pole out, or split the area into parts beside it"
        raise SpecError(what, value=_rounded(coords), reason=reason, fix=fix)
    lon -= 360.0 * math.floor((float(lon.min()) + 180.0) / 360.0)
    return np.column_stack([lon, lat])


def _rounded(coords: NDArray[Any]) -> tuple[float, ...]:
    """Return the bounds of coordinates, short enough for a message."""
    return tuple(round(float(edge), 3) for edge in (*coords.min(axis=0), *coords.max(axis=0)))


def _polygons(shape: shapely.Geometry) -> Iterator[shapely.Polygon]:
    for part in shapely.get_parts(shape):
        if isinstance(part, shapely.Polygon) and part.area > 0:
            yield part


def unwrapped(shape: shapely.Geometry, crs: str, what: str) -> shapely.Geometry:
    """Bring a shape to degrees such that it hangs together across the antimeridian.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon
        In `crs`.
    crs : str
        As `crs_text` gives it.
    what : str
        Name of the argument for messages.

    Returns
    -------
    shapely Polygon or MultiPolygon
        Longitudes start within [-180, 180) and may run past 180.

    Raises
    ------
    SpecError
        Where a coordinate cannot be brought to degrees or a pole is enclosed.
    """
    if not crs_facts(crs).degrees:
        shape = shapely.segmentize(shape, _step(shape, crs, 1.0))
    parts = []
    for part in shapely.get_parts(shape):
        shell = _ring(shapely.get_coordinates(part.exterior), crs, what)
        holes = []
        for interior in part.interiors:
            hole = _ring(shapely.get_coordinates(interior), crs, what)
            hole[:, 0] += 360.0 * bool(hole[:, 0].max() < shell[:, 0].min())
            holes.append(hole)
        parts.append(shapely.Polygon(shell, holes))
    return parts[0] if len(parts) == 1 else _together(parts)


def _together(parts: list[shapely.Polygon]) -> shapely.Geometry:
    """Gather parts that lie on both sides of the antimeridian on its far side, where that is narrower."""
    west, _, east, _ = shapely.MultiPolygon(parts).bounds
    shifted = [shapely.transform(p, lambda xy: xy + np.array([360.0, 0.0])) if p.bounds[2] <= 0 else p for p in parts]
    moved = shapely.MultiPolygon(shifted)
    if moved.bounds[2] - moved.bounds[0] >= east - west:
        return shapely.MultiPolygon(parts)
    return shapely.union_all(shifted) if all(part.is_valid for part in shifted) else moved


def split_at_antimeridian(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut an unwrapped shape where it passes 180 degrees and bring the far part back to -180.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon
        As `unwrapped` gives it.

    Returns
    -------
    shapely Polygon or MultiPolygon
        All longitudes within [-180, 180].
    """
    if shape.bounds[2] <= HALF_TURN:
        return shape
    near = shapely.intersection(shape, shapely.box(-180, -90, 180, 90))
    far = shapely.intersection(shape, shapely.box(180, -90, 540, 90))
    moved = shapely.transform(far, lambda xy: xy - np.array([360.0, 0.0]))
    parts = [*_polygons(near), *_polygons(moved)]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def lonlat_boxes(shape: shapely.Geometry) -> tuple[tuple[float, float, float, float], ...]:
    """Return the one or two boxes round an unwrapped shape.

    Parameters
    ----------
    shape : shapely geometry
        As `unwrapped` gives it; parts on both sides of the antimeridian count as one place.

    Returns
    -------
    tuple of (west, south, east, north)
        Degrees; two boxes where the shape crosses the antimeridian.
    """
    west, south, east, north = shape.bounds
    if east <= HALF_TURN:
        return ((west, south, east, north),)
    return (west, south, 180.0, north), (-180.0, south, east - 360.0, north)


def geodesic_area(shape: shapely.Geometry) -> float:
    """Return the area of a lon/lat shape on the ellipsoid.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon
        Degrees; edges are straight on the lon/lat plane.

    Returns
    -------
    float
        Square metres.
    """
    fine = shapely.segmentize(shape, max(0.1, shape.length / 4000))
    area, _ = GEOD.geometry_area_perimeter(shapely.orient_polygons(fine))
    return abs(float(area))
