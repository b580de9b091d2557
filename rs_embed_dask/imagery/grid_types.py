"""The pixels of a place: a north-up grid on the ground."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from rs_embed_dask.checks import number, positive, whole
from rs_embed_dask.crs import WGS84, crs_facts, crs_text, project
from rs_embed_dask.errors import SpecError
from rs_embed_dask.geodesy import GEOD, lonlat_boxes, unwrapped, wrap_lon
from rs_embed_dask.imagery.window import LARGEST_SIDE_PX, Window
from rs_embed_dask.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grid"]

_LONGEST_NAME: Final = 16
_Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, repr=False)
class Grid(Record):
    """Pixels on the ground: a reference system, an affine transform and a shape; row 0 is north.

    Parameters
    ----------
    crs : str or int or CRS
        Anything that pyproj understands.
    transform : six floats
        (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f, of pixel corners. North up only: a > 0,
        e < 0, b = d = 0.
    shape : (int, int)
        Rows and columns, at least 1.

    Raises
    ------
    SpecError
        Where the transform is not north up, a number is not finite, or the shape is not positive.

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

    @classmethod
    def from_geobox(cls, geobox: GeoBox) -> Self:
        """Make the grid from a GeoBox of odc-geo.

        Parameters
        ----------
        geobox : odc.geo.geobox.GeoBox
            North up.

        Returns
        -------
        Grid
        """
        rows, cols = geobox.shape
        return cls(str(geobox.crs), tuple(geobox.affine)[:6], (rows, cols))

    @property
    def geobox(self) -> GeoBox:
        """The grid as odc-geo has it."""
        return GeoBox(self.shape, Affine(*self.transform), self.crs)

    @property
    def epsg(self) -> int | None:
        """The EPSG code of the reference system; None for the polar and other made ones."""
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
        """Side of a pixel in metres of the projection; in a geographic system the geodesic one at the middle."""
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
        """Longitude and latitude of the middle, in degrees."""
        left, bottom, right, top = self.bounds
        lon, lat = project(self.crs, WGS84, (left + right) / 2, (bottom + top) / 2)
        return wrap_lon(float(lon)), float(lat)

    @property
    def lonlat_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """One (west, south, east, north) in degrees round all pixels, or two across the antimeridian."""
        return _boxes(self.crs, self.bounds)

    def square(self) -> tuple[Grid, Window]:
        """Enlarge the shorter side on both ends, by whole pixels of real ground, until the grid is square.

        Returns
        -------
        (Grid, Window)
            The square grid, and the window of it that is this grid. An odd pixel goes to the south or the east.
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

    def pad(self, px: int) -> Grid:
        """Return the grid with as many more pixels on each of the four sides.

        Parameters
        ----------
        px : int
            Pixels, at least 0.

        Returns
        -------
        Grid

        Raises
        ------
        SpecError
            Where `px` is no whole number from 0.
        """
        px = whole("Grid.pad", px, low=0, high=LARGEST_SIDE_PX)
        rows, cols = self.shape
        return self.crop(Window(-px, -px, rows + 2 * px, cols + 2 * px))

    def with_shape(self, rows: int, cols: int) -> Grid:
        """Return a grid of the same ground with another number of pixels, for example that of the tokens.

        Parameters
        ----------
        rows, cols : int
            Pixels, at least 1.

        Returns
        -------
        Grid
            The same bounds.
        """
        a, b, c, d, e, f = self.transform
        scaled = (a * self.shape[1] / cols, b, c, d, e * self.shape[0] / rows, f)
        return replace(self, transform=scaled, shape=(rows, cols))

    def with_resolution(self, resolution_m: float) -> Grid:
        """Return a grid from the same upper left corner with pixels of another size that covers this one.

        Parameters
        ----------
        resolution_m : float
            Side of a pixel in metres of the projection.

        Returns
        -------
        Grid

        Raises
        ------
        SpecError
            Where it is not above 0, or the system is geographic.
        """
        facts = crs_facts(self.crs)
        if facts.geographic:
            reason = "this grid is in degrees"
            raise SpecError("Grid.with_resolution", value=resolution_m, reason=reason, fix="use with_shape instead")
        size = positive("Grid.with_resolution", resolution_m, unit="m") / facts.unit
        left, bottom, right, top = self.bounds
        rows, cols = (max(1, math.ceil(extent / size - 1e-6)) for extent in (top - bottom, right - left))
        return replace(self, transform=(size, 0.0, left, 0.0, -size, top), shape=(rows, cols))

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


def _listed(values: object) -> object:
    """Turn an Affine, an array or another iterable into a tuple; leave the rest for the message."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _two_sides(shape: object) -> tuple[int, int]:
    match _listed(shape):
        case (rows, cols):
            low, high = 1, LARGEST_SIDE_PX
            return whole("Grid.shape", rows, low=low, high=high), whole("Grid.shape", cols, low=low, high=high)
        case _:
            reason = "two whole numbers are needed"
            raise SpecError("Grid.shape", value=shape, reason=reason, fix="give (rows, columns)")


def _north_up(transform: object) -> _Transform:
    fix = "give (a, 0, c, 0, e, f) with a > 0 and e < 0; flip an image whose row 0 is south"
    match _listed(transform):
        case (a, b, c, d, e, f) | (a, b, c, d, e, f, _, _, _):
            a, b, c, d, e, f = (number("Grid.transform", value, fix=fix) for value in (a, b, c, d, e, f))
        case _:
            raise SpecError("Grid.transform", value=transform, reason="six numbers are needed", fix=fix)
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
