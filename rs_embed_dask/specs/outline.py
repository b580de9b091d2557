"""Outlines brought from one reference system to another, across the antimeridian and round the poles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import DEGREE_M, WGS84, crs_facts, project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["cut", "moved", "outlines", "polygons", "to_degrees", "turned"]

_BEND_M: Final = 0.01
_ROUNDS: Final = 40
_STEP_M: Final = 50_000.0
_FULL_TURN: Final = 360.0
_HALF_TURN: Final = 180.0
_RIGHT_ANGLE: Final = 90.0
_SNAP_M: Final = 1e-4  # parts that were cut apart meet again within rounding only
_FIX: Final = "check the coordinates, their order (x, y) and the crs"


def polygons(shape: shapely.Geometry) -> list[shapely.Polygon]:
    """List the polygons of a shape; points and lines have no area and are left out."""
    return [one for one in outlines(shape) if one.area > 0]


def outlines(shape: shapely.Geometry) -> list[shapely.Polygon]:
    """List the polygons of a shape, of collections within collections too, sound or not."""
    parts = shapely.get_parts(shape)
    while any(hasattr(one, "geoms") for one in parts):
        parts = shapely.get_parts(parts)
    return [one for one in parts if isinstance(one, shapely.Polygon) and not one.is_empty]


def turned(shape: shapely.Geometry, degrees: float) -> shapely.Geometry:
    """Move a shape in degrees along its parallels."""
    return shape if degrees == 0 else shapely.transform(shape, lambda xy: xy + np.array([degrees, 0.0]))


def cut(shape: shapely.Geometry, box: tuple[float, float, float, float]) -> Iterator[shapely.Polygon]:
    """Cut a shape in degrees, on whichever turn it lies, with a box; the parts lie on the box's own turn."""
    west, _, east, _ = shape.bounds
    first, last = math.floor((box[0] - east) / _FULL_TURN), math.ceil((box[2] - west) / _FULL_TURN)
    for turn in range(first, last + 1):
        yield from polygons(shapely.intersection(turned(shape, turn * _FULL_TURN), shapely.box(*box)))


def _bend(ends: NDArray[Any], reached: NDArray[Any], *, degrees: bool) -> NDArray[np.float64]:
    """Distances in metres of points from the straight edges between consecutive `ends`; (N,)."""
    edge, offset = np.diff(ends, axis=0), reached - ends[:-1]
    if degrees:
        for step in (edge, offset):
            step[:, 0] = (step[:, 0] + _HALF_TURN) % _FULL_TURN - _HALF_TURN
            step[:] *= np.column_stack([np.cos(np.radians(reached[:, 1])), np.ones(len(step))]) * DEGREE_M
    # A point that has moved along its edge bends nothing: Mercator stretches meridians, and they stay straight.
    with np.errstate(invalid="ignore", divide="ignore"):
        along = np.clip(np.nan_to_num((edge * offset).sum(1) / (edge * edge).sum(1)), 0.0, 1.0)
    return np.asarray(np.hypot(*(offset - along[:, None] * edge).T))


def _line(ring: NDArray[Any], source: str, target: str) -> NDArray[np.float64]:
    """Bring a ring to another system, with as many new corners as its edges need to be straight there; (N, 2)."""
    facts = crs_facts(source)
    step = _STEP_M / (facts.unit * (DEGREE_M * math.degrees(1) if facts.geographic else 1.0))
    points = shapely.get_coordinates(shapely.segmentize(shapely.LinearRing(ring), step))
    degrees = crs_facts(target).degrees
    there = np.column_stack(project(source, target, *points.T))
    for _ in range(_ROUNDS):
        # Middles in the source's plane: its edges are straight there, on whichever turn its longitudes lie.
        middles = points[:-1] + np.diff(points, axis=0) / 2
        reached = np.column_stack(project(source, target, *middles.T))
        bent = _bend(there, reached, degrees=degrees) > _BEND_M
        if not bent.any():
            break
        at = np.flatnonzero(bent) + 1
        points, there = (np.insert(old, at, new[bent], axis=0) for old, new in ((points, middles), (there, reached)))
    if not np.isfinite(there).all():
        reason = f"some of its coordinates lie outside the reach of {(target if source == WGS84 else source)[:40]}"
        raise SpecError("region", value=_around(ring), reason=reason, fix=_FIX)
    return there


def _around(ring: NDArray[Any]) -> tuple[float, ...]:
    """Return the bounds of coordinates, short enough for a message."""
    return tuple(round(float(edge), 3) for edge in (*ring.min(axis=0), *ring.max(axis=0)))


def _ring_in_degrees(ring: NDArray[Any], crs: str) -> shapely.Polygon:
    """Return what a ring encloses, in degrees and connected; a ring round a pole encloses the pole."""
    if crs_facts(crs).degrees:
        points = np.column_stack(project(crs, WGS84, *ring.T))
        _check_degrees(points)
        step = np.diff(points[:, 0])
        # An edge of more than half a turn goes the short way; one of a full turn is a parallel, all the way round.
        is_long = (np.abs(step) > _HALF_TURN) & (np.abs(step) < _FULL_TURN)
    else:
        points = _line(ring, crs, WGS84)
        step = np.diff(points[:, 0])
        is_long = np.abs(step) > _HALF_TURN
    step = np.where(is_long, (step + _HALF_TURN) % _FULL_TURN - _HALF_TURN, step)
    lon = points[0, 0] + np.concatenate([[0.0], np.cumsum(step)])
    if abs(lon[-1] - lon[0]) < _HALF_TURN:
        lon[-1] = lon[0]  # sums are rounded, and a ring that misses its own beginning crosses itself
    corners = np.column_stack([lon, points[:, 1]])
    if abs(lon[-1] - lon[0]) > _HALF_TURN:
        pole = math.copysign(_RIGHT_ANGLE, float(points[:, 1].mean()))
        corners = np.vstack([corners, [lon[-1], pole], [lon[0], pole]])
    return shapely.Polygon(corners)


def _check_degrees(points: NDArray[Any]) -> None:
    if not np.isfinite(points).all():
        raise SpecError("region", value=_around(points), reason="not all of its coordinates are finite", fix=_FIX)
    if np.abs(points[:, 1]).max() > _RIGHT_ANGLE:
        raise SpecError("region", value=_around(points), reason="latitudes lie in [-90, 90]", fix=_FIX)
    if np.abs(points[:, 0]).max() > _FULL_TURN:
        raise SpecError("region", value=_around(points), reason="longitudes lie in [-180, 180]", fix=_FIX)


def to_degrees(polygon: shapely.Polygon, crs: str) -> shapely.Geometry:
    """Return a polygon in longitudes -180 to 180, cut at the antimeridian; the poles are edges at 90 and -90."""
    shell = _simple(_ring_in_degrees(shapely.get_coordinates(polygon.exterior), crs))
    holes = [_simple(_ring_in_degrees(shapely.get_coordinates(hole), crs)) for hole in polygon.interiors]
    world = (-_HALF_TURN, -_RIGHT_ANGLE, _HALF_TURN, _RIGHT_ANGLE)
    whole = shapely.union_all(list(cut(shell, world)))
    return shapely.difference(whole, shapely.union_all([part for hole in holes for part in cut(hole, world)]))


def _simple(polygon: shapely.Polygon) -> shapely.Polygon:
    if not polygon.is_valid:
        reason = f"its outline is not simple ({shapely.is_valid_reason(polygon)})"
        fix = "repair it, for example with shapely.make_valid"
        raise SpecError("region", value=_around(shapely.get_coordinates(polygon)), reason=reason, fix=fix)
    return polygon


def moved(parts: list[shapely.Polygon], crs: str) -> shapely.Geometry:
    """Bring polygons in degrees, each at most half a turn wide, to a projection, and join them there."""
    shapes = []
    for part in parts:
        rings = [_line(shapely.get_coordinates(ring), WGS84, crs) for ring in (part.exterior, *part.interiors)]
        shape = shapely.Polygon(rings[0], rings[1:])
        shapes += polygons(shape if shape.is_valid else shapely.make_valid(shape))
    if len(shapes) == 1:
        return shapes[0]
    return shapely.union_all(shapes, grid_size=_SNAP_M)
