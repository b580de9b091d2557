"""From a place to its pixels: which projection, which lattice, how many rows and columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.checks import number, positive
from rs_embed_dask.crs import WGS84, metric_crs, project
from rs_embed_dask.errors import SpecError
from rs_embed_dask.geodesy import outline, scale_error
from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.imagery.window import LARGEST_SIDE_PX, Window
from rs_embed_dask.outputs import COARSEST_M
from rs_embed_dask.spatial import BBox, PointBuffer, Polygon
from rs_embed_dask.zones import local_crs

if TYPE_CHECKING:
    from rs_embed_dask.spatial import Spatial

__all__ = ["LARGEST_SCALE_ERROR", "Grid", "Window", "grid_for"]

LARGEST_SCALE_ERROR: Final = 0.002
_EARTH_M: Final = 6_371_000.0
_ON_LATTICE: Final = 1e-6
_FALSE_EASTING_M: Final = 500_000.0
_UTM_REACH_M: Final = 430_000.0  # 0.9996 (1 + x^2 / 2 R^2) stays below 1.002 up to here
_JUMP_M: Final = 1e7
_REACH_M: Final = 1e6

_Bounds = tuple[float, float, float, float]


def grid_for(
    spatial: Spatial, resolution_m: float, *, crs: object = None, snap_m: float | None = None, anchor_m: float = 0.0
) -> Grid:
    """Return the pixels of a place.

    The projection is the UTM zone of the middle of the place, with the exceptions of Norway and Svalbard; past 84
    north and 80 south it is polar stereographic; a place too wide for either gets a stereographic projection of its
    own. Within the place a metre of the grid is a metre on the ground to 0.2 % everywhere on earth.

    Parameters
    ----------
    spatial : BBox or PointBuffer or Polygon
        A point with a buffer gives ``2 * buffer_m / resolution_m`` pixels a side, rounded half up and at least 1, with
        the point within half a step of the lattice of the middle. The others give the smallest grid on the lattice
        that covers them.
    resolution_m : float
        Side of a pixel in metres, at most 100 000.
    crs : str or int or CRS, optional
        Use this projection instead, whose metres may be far from true: ``"EPSG:3857"`` reads as rs-embed does, buffers
        being Mercator metres too. Default: the local one.
    snap_m : float, optional
        Step of the lattice on which the upper left corner lies. Default: `resolution_m`.
    anchor_m : float, default 0
        x and y of a corner of the lattice: 0 for Sentinel-2 and HLS, 15 for Landsat at 30 m.

    Returns
    -------
    Grid
        North up, corners on the lattice.

    Raises
    ------
    SpecError
        Where the resolution is not above 0, the grid would have more than a million pixels a side, the given
        projection is not in metres or does not reach the place, or the place is wider than a projection can hold.

    Examples
    --------
    >>> grid_for(PointBuffer(lon=4.35, lat=50.85, buffer_m=1120), 10).shape
    (224, 224)
    """
    _check_place(spatial)
    resolution = positive("resolution_m", resolution_m, at_most=COARSEST_M, unit="m")
    snap = resolution if snap_m is None else positive("snap_m", snap_m, at_most=COARSEST_M, unit="m")
    target = None if crs is None else metric_crs("crs", crs)
    anchor = number("anchor_m", anchor_m)
    if isinstance(spatial, PointBuffer):
        return _round_point(spatial, resolution, target, (snap, anchor))
    name, bounds = _true_bounds(spatial) if target is None else (target, _bounds_in_one_map(spatial, target))
    left = anchor + math.floor((bounds[0] - anchor) / snap + _ON_LATTICE) * snap
    top = anchor + math.ceil((bounds[3] - anchor) / snap - _ON_LATTICE) * snap
    cols = max(1, math.ceil((bounds[2] - left) / resolution - _ON_LATTICE))
    rows = max(1, math.ceil((top - bounds[1]) / resolution - _ON_LATTICE))
    return _grid(name, (left, top), resolution, (rows, cols))


def _check_place(spatial: object) -> None:
    if not isinstance(spatial, BBox | PointBuffer | Polygon):
        fix = "give a BBox, PointBuffer or Polygon; places() makes them from other geometries"
        raise SpecError("spatial", value=spatial, reason=f"{type(spatial).__name__} is no place", fix=fix)


def _grid(crs: str, corner: tuple[float, float], resolution: float, shape: tuple[int, int]) -> Grid:
    if max(shape) > LARGEST_SIDE_PX:
        reason = f"the grid would have {shape[0]} x {shape[1]} pixels and a side has at most {LARGEST_SIDE_PX}"
        raise SpecError("resolution_m", value=resolution, reason=reason, fix="take coarser pixels or a smaller place")
    left, top = corner
    return Grid(crs, (resolution, 0.0, left, 0.0, -resolution, top), shape)


def _round_point(spatial: PointBuffer, resolution: float, crs: str | None, lattice: tuple[float, float]) -> Grid:
    """Lay a square of exactly as many pixels as asked round a point."""
    lon, lat = spatial.center
    name = local_crs(lon, lat) if crs is None else crs
    x, y = (float(value) for value in project(WGS84, name, lon, lat))
    half = spatial.buffer_m
    if crs is None and not _is_true(name, (x - half, y - half, x + half, y + half)):
        name = _own_projection(lon, lat, half * math.sqrt(2))
        x, y = (float(value) for value in project(WGS84, name, lon, lat))
    if not (math.isfinite(x) and math.isfinite(y)):
        raise SpecError("crs", value=name, reason=f"it does not reach {spatial!r}", fix="leave crs out for local UTM")
    side = max(1, math.floor(2 * half / resolution + 0.5))
    snap, anchor = lattice
    left = anchor + round((x - side * resolution / 2 - anchor) / snap) * snap
    top = anchor + round((y + side * resolution / 2 - anchor) / snap) * snap
    return _grid(name, (left, top), resolution, (side, side))


def _bounds(spatial: BBox | Polygon, crs: str) -> _Bounds:
    """Return the bounds of a place in a projection, infinite where it does not reach the place.

    Where the place is given in that projection they are exactly its own numbers.
    """
    if spatial.crs == crs:
        return spatial.own_bounds
    points = outline(spatial.unwrapped, WGS84)
    x, y = project(WGS84, crs, points[:, 0], points[:, 1])
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _bounds_in_one_map(spatial: BBox | Polygon, crs: str) -> _Bounds:
    """Return the bounds of a place in a projection that the user chose, which may not hold the place."""
    bounds = _bounds(spatial, crs)
    if not all(map(math.isfinite, bounds)):
        raise SpecError("crs", value=crs, reason=f"it does not reach {spatial!r}", fix="leave crs out for local UTM")
    around = outline(spatial.unwrapped.envelope, WGS84)
    x, y = project(WGS84, crs, around[:, 0], around[:, 1])
    if max(np.abs(np.diff(x)).max(), np.abs(np.diff(y)).max()) > _JUMP_M:
        reason = f"{spatial!r} lies across the edge of its map"
        raise SpecError("crs", value=crs, reason=reason, fix="leave crs out for local UTM, or split the place there")
    return bounds


def _is_true(crs: str, bounds: _Bounds) -> bool:
    """Tell whether a metre of a projection is a metre on the ground within the bounds."""
    from_meridian = max(abs(bounds[0] - _FALSE_EASTING_M), abs(bounds[2] - _FALSE_EASTING_M))
    if crs.startswith("EPSG:") and from_meridian < _UTM_REACH_M:
        return True
    return all(map(math.isfinite, bounds)) and scale_error(crs, bounds) <= LARGEST_SCALE_ERROR


def _true_bounds(spatial: BBox | Polygon) -> tuple[str, _Bounds]:
    """Choose a projection that is true over the whole place, and return the bounds in it."""
    lon, lat = spatial.center
    name = local_crs(lon, lat)
    bounds = _bounds(spatial, name)
    if _is_true(name, bounds):
        return name, bounds
    x, y = (float(value) for value in project(WGS84, name, lon, lat))
    reach = max(math.hypot(edge_x - x, edge_y - y) for edge_x in bounds[::2] for edge_y in bounds[1::2])
    if reach < _REACH_M:
        name = _own_projection(lon, lat, reach)
        bounds = _bounds(spatial, name)
        if _is_true(name, bounds):
            return name, bounds
    reason = f"it is so wide that no projection is true over it to {100 * LARGEST_SCALE_ERROR:g} %"
    raise SpecError("spatial", value=spatial, reason=reason, fix="split it into places of less than 1000 km across")


def _own_projection(lon: float, lat: float, reach_m: float) -> str:
    """Return a stereographic projection about a place whose scale error is shared between the middle and the rim."""
    scale = 1.0 - reach_m**2 / (8 * _EARTH_M**2)
    return (
        f"+proj=stere +lat_0={lat:.1f} +lon_0={lon:.1f} +k_0={scale:.4f} +x_0=0 +y_0=0 +datum=WGS84 +units=m "
        "+no_defs +type=crs"
    )
