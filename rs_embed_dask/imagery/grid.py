"""Grids of pixels on the ground, windows of them, and the grid of a place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, number, positive, whole
from rs_embed_dask.specs.ground import (
    GEOD,
    WGS84,
    crs_facts,
    crs_text,
    local_crs,
    lonlat_boxes,
    metric_crs,
    outline,
    project,
    scale_error,
    unwrapped,
    wrap_lon,
)
from rs_embed_dask.specs.output import COARSEST_M
from rs_embed_dask.specs.where import BBox, PointBuffer, Polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.specs.where import Spatial

__all__ = ["LARGEST_SCALE_ERROR", "LARGEST_SIDE_PX", "Grid", "Window", "centres", "grid_for"]

_LONGEST_NAME: Final = 16
_Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, repr=False)
class Grid(Record):
    """Pixels on the ground: a reference system, an affine transform and a shape; row 0 is north.

    Parameters
    ----------
    crs : str or int or CRS
        Anything that pyproj accepts.
    transform : six floats
        (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f, of pixel corners. North up only: a > 0,
        e < 0, b = d = 0.
    shape : (int, int)
        Rows and columns, at least 1.

    Raises
    ------
    SpecError
        If the transform is not north up, a number is not finite, or the shape is not positive.

    Examples
    --------
    >>> grid = Grid("EPSG:32631", (10, 0, 600000, 0, -10, 5700000), (2, 3))
    >>> grid.bounds
    (600000.0, 5699980.0, 600030.0, 5700000.0)
    """

    crs: str
    transform: _Transform
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "crs", crs_text("Grid.crs", self.crs))
        object.__setattr__(self, "transform", _north_up(self.transform))
        object.__setattr__(self, "shape", _two_sides(self.shape))

    @property
    def epsg(self) -> int | None:
        """The EPSG code of the reference system; None for projections without one, such as the polar ones."""
        return crs_facts(self.crs).epsg

    @property
    def xs(self) -> NDArray[np.float64]:
        """Eastings (x) of the pixel centres, west to east; (columns,)."""
        return self.transform[2] + self.transform[0] * (np.arange(self.shape[1], dtype=np.float64) + 0.5)

    @property
    def ys(self) -> NDArray[np.float64]:
        """Northings (y) of the pixel centres, north to south; (rows,)."""
        return self.transform[5] + self.transform[4] * (np.arange(self.shape[0], dtype=np.float64) + 0.5)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges (left, bottom, right, top) in the grid's own units."""
        a, _, c, _, e, f = self.transform
        return c, f + e * self.shape[0], c + a * self.shape[1], f

    @property
    def resolution_m(self) -> float:
        """Side of a pixel in metres of the projection; in a geographic system the geodesic side at the centre."""
        a, e = self.transform[0], -self.transform[4]
        facts = crs_facts(self.crs)
        if facts.geographic:
            lon, lat = self.center_lonlat
            degree = math.degrees(facts.unit)
            _, _, wide = GEOD.inv(lon, lat, lon + a * degree, lat)
            _, _, high = GEOD.inv(lon, lat - e * degree / 2, lon, lat + e * degree / 2)
            return math.sqrt(wide * high)
        return (a if a == e else math.sqrt(a * e)) * facts.unit

    @property
    def center_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre, in degrees."""
        left, bottom, right, top = self.bounds
        lon, lat = project(self.crs, WGS84, (left + right) / 2, (bottom + top) / 2)
        return wrap_lon(float(lon)), float(lat)

    @property
    def lonlat_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """One (west, south, east, north) in degrees around all pixels, or two across the antimeridian."""
        return _boxes(self.crs, self.bounds)

    def square(self) -> tuple[Grid, Window]:
        """Enlarge the shorter side at both ends, by whole pixels of real ground, until the grid is square.

        Returns
        -------
        (Grid, Window)
            The square grid, and the window of it that this grid occupies. An odd pixel goes to the south or the east.
        """
        rows, cols = self.shape
        side = max(rows, cols)
        top, left = (side - rows) // 2, (side - cols) // 2
        return self.crop(Window(-top, -left, side, side)), Window(top, left, rows, cols)

    def crop(self, window: Window) -> Grid:
        """Return the part of the grid under a window; a window that reaches beyond it enlarges it.

        Parameters
        ----------
        window : Window
            In pixels of this grid.

        Returns
        -------
        Grid
        """
        a, b, c, d, e, f = self.transform
        moved = (a, b, c + a * window.col, d, e, f + e * window.row)
        return replace(self, transform=moved, shape=window.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values.

        Returns
        -------
        dict
        """
        return {"crs": self.crs, "transform": list(self.transform), "shape": list(self.shape)}

    def __repr__(self) -> str:
        rows, cols = self.shape
        name = self.crs if len(self.crs) <= _LONGEST_NAME else f"{self.crs[:_LONGEST_NAME]}..."
        left, bottom, right, top = (f"{edge:.10g}" for edge in self.bounds)
        extent = f"x {left} to {right}, y {bottom} to {top}"
        return f"Grid({name}, {rows} x {cols} px of {self.resolution_m:.6g} m, {extent})"


def centres(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of every pixel centre, (h, w) each; longitudes in [-180, 180)."""
    lon, lat = project(grid.crs, WGS84, *np.meshgrid(grid.xs, grid.ys))
    return (lon + 180.0) % 360.0 - 180.0, lat


def _listed(values: object) -> object:
    """Turn an Affine, an array or another iterable into a tuple; return anything else unchanged."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _two_sides(shape: object) -> tuple[int, int]:
    match _listed(shape):
        case (rows, cols):
            low, high = 1, LARGEST_SIDE_PX
            return whole("Grid.shape", rows, low=low, high=high), whole("Grid.shape", cols, low=low, high=high)
        case _:
            reason = "expected two whole numbers"
            raise SpecError("Grid.shape", value=shape, reason=reason, fix="give (rows, columns)")


def _north_up(transform: object) -> _Transform:
    fix = "give (a, 0, c, 0, e, f) with a > 0 and e < 0; flip an image whose row 0 is south"
    match _listed(transform):
        case (a, b, c, d, e, f) | (a, b, c, d, e, f, _, _, _):
            a, b, c, d, e, f = (number("Grid.transform", value, fix=fix) for value in (a, b, c, d, e, f))
        case _:
            raise SpecError("Grid.transform", value=transform, reason="expected six numbers", fix=fix)
    if a <= 0 or e >= 0 or b != 0 or d != 0:
        raise SpecError("Grid.transform", value=transform, reason="the grid is not north up", fix=fix)
    return a, 0.0, c, 0.0, e, f


@lru_cache(maxsize=4096)
def _boxes(crs: str, bounds: tuple[float, float, float, float]) -> tuple[tuple[float, float, float, float], ...]:
    left, bottom, right, top = bounds
    for pole in (90.0, -90.0):
        x, y = project(WGS84, crs, 0.0, pole)
        if math.isfinite(x) and left <= x <= right and bottom <= y <= top and not crs_facts(crs).geographic:
            _, lat = project(crs, WGS84, [left, left, right, right], [bottom, top, bottom, top])
            edge = float(np.abs(lat).min())
            return ((-180.0, edge, 180.0, 90.0),) if pole > 0 else ((-180.0, -90.0, 180.0, -edge),)
    return lonlat_boxes(unwrapped(shapely.box(left, bottom, right, top), crs, "Grid"))


LARGEST_SCALE_ERROR: Final = 0.002
_EARTH_M: Final = 6_371_000.0
_ON_LATTICE: Final = 1e-6  # in steps: rounding must not push an edge that lies on the lattice to the next line
_FALSE_EASTING_M: Final = 500_000.0
_UTM_REACH_M: Final = 430_000.0  # 0.9996 (1 + x^2 / 2 R^2) stays below 1.002 up to here
_JUMP_M: Final = 1e7  # neighbouring points of an outline this far apart lie on both sides of the edge of a map
_REACH_M: Final = 1e6

_Bounds = tuple[float, float, float, float]


def grid_for(
    spatial: Spatial, resolution_m: float, *, crs: object = None, snap_m: float | None = None, anchor_m: float = 0.0
) -> Grid:
    """Return the grid of a place.

    The projection is the UTM zone of the centre of the place, with the exceptions of Norway and Svalbard; beyond 84
    north and 80 south it is polar stereographic; a place too wide for either gets a stereographic projection of its
    own. Within the place a metre of the grid is a metre on the ground to 0.2 %, everywhere on earth.

    Parameters
    ----------
    spatial : BBox or PointBuffer or Polygon
        A point with a buffer gives ``2 * buffer_m / resolution_m`` pixels per side, rounded half up and at least 1,
        with the point within half a lattice step of the centre. The others give the smallest grid on the lattice
        that covers them.
    resolution_m : float
        Side of a pixel in metres, at most 100,000.
    crs : str or int or CRS, optional
        Use this projection instead, whose metres may be far from true: ``"EPSG:3857"`` reads as rs-embed does, where
        buffers are Mercator metres too. Default: the local one.
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
        If the resolution is not above 0, the grid would have more than a million pixels per side, the given
        projection is not in metres or does not cover the place, or the place is too wide for any projection.

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
        raise SpecError("spatial", value=spatial, reason=f"{type(spatial).__name__} is not a place", fix=fix)


def _grid(crs: str, corner: tuple[float, float], resolution: float, shape: tuple[int, int]) -> Grid:
    if max(shape) > LARGEST_SIDE_PX:
        reason = f"the grid would have {shape[0]} x {shape[1]} pixels, and a side has at most {LARGEST_SIDE_PX}"
        raise SpecError("resolution_m", value=resolution, reason=reason, fix="use coarser pixels or a smaller place")
    left, top = corner
    return Grid(crs, (resolution, 0.0, left, 0.0, -resolution, top), shape)


def _round_point(spatial: PointBuffer, resolution: float, crs: str | None, lattice: tuple[float, float]) -> Grid:
    """Return the square grid around a point, with exactly the number of pixels asked for."""
    lon, lat = spatial.center
    name = local_crs(lon, lat) if crs is None else crs
    x, y = (float(value) for value in project(WGS84, name, lon, lat))
    half = spatial.buffer_m
    if crs is None and not _is_true(name, (x - half, y - half, x + half, y + half)):
        name = _own_projection(lon, lat, half * math.sqrt(2))
        x, y = (float(value) for value in project(WGS84, name, lon, lat))
    if not (math.isfinite(x) and math.isfinite(y)):
        raise SpecError("crs", value=name, reason=f"it does not cover {spatial!r}", fix="leave crs out for local UTM")
    side = max(1, math.floor(2 * half / resolution + 0.5))
    snap, anchor = lattice
    left = anchor + round((x - side * resolution / 2 - anchor) / snap) * snap
    top = anchor + round((y + side * resolution / 2 - anchor) / snap) * snap
    return _grid(name, (left, top), resolution, (side, side))


def _bounds(spatial: BBox | Polygon, crs: str) -> _Bounds:
    """Return the bounds of a place in a projection, infinite if it does not cover the place."""
    # A place given in that projection keeps exactly its own numbers, free of rounding.
    if spatial.crs == crs:
        return spatial.own_bounds
    points = outline(spatial.unwrapped, WGS84)
    x, y = project(WGS84, crs, points[:, 0], points[:, 1])
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _bounds_in_one_map(spatial: BBox | Polygon, crs: str) -> _Bounds:
    """Return the bounds of a place in a projection that the user chose, which may not cover the place."""
    bounds = _bounds(spatial, crs)
    if not all(map(math.isfinite, bounds)):
        raise SpecError("crs", value=crs, reason=f"it does not cover {spatial!r}", fix="leave crs out for local UTM")
    around = outline(spatial.unwrapped.envelope, WGS84)
    x, y = project(WGS84, crs, around[:, 0], around[:, 1])
    if max(np.abs(np.diff(x)).max(), np.abs(np.diff(y)).max()) > _JUMP_M:
        reason = f"{spatial!r} lies across the edge of its map"
        raise SpecError("crs", value=crs, reason=reason, fix="leave crs out for local UTM, or split the place there")
    return bounds


def _is_true(crs: str, bounds: _Bounds) -> bool:
    """Return whether a metre of a projection is a metre on the ground within the bounds."""
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
    """Return a stereographic projection whose scale error is balanced between the centre and the rim of a place."""
    scale = 1.0 - reach_m**2 / (8 * _EARTH_M**2)
    return (
        f"+proj=stere +lat_0={lat:.1f} +lon_0={lon:.1f} +k_0={scale:.4f} +x_0=0 +y_0=0 +datum=WGS84 +units=m "
        "+no_defs +type=crs"
    )


LARGEST_SIDE_PX: Final = 1_000_000


@dataclass(frozen=True)
class Window(Record):
    """A rectangle of pixels."""

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, low in (("row", -LARGEST_SIDE_PX), ("col", -LARGEST_SIDE_PX), ("height", 1), ("width", 1)):
            value = whole(f"Window.{name}", getattr(self, name), low=low, high=LARGEST_SIDE_PX)
            object.__setattr__(self, name, value)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, for ``array[..., *window.slices]``."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width
