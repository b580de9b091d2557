"""The lattice of a map: one per projection, over a whole UTM zone or area of use, so that all maps of it fit.

An array of a map spans the whole lattice from the start, and the index of a token follows from its coordinates alone.
So the same ground has the same index whatever region was asked for, and no map ever has to be resized.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from pyproj import CRS

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.specs.base import Record, positive, whole
from rs_embed_dask.specs.ground import UTM_NORTH_LIMIT, UTM_SOUTH_LIMIT, WGS84, metric_crs, project, unit_m
from rs_embed_dask.specs.output import COARSEST_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIVISIONS", "LONGEST_BLOCK", "LONLAT", "UTM", "UTM_GROUPS", "Lattice", "Rect", "lattice_for", "lattice_of"]

LONGEST_BLOCK: Final = 4096

_ZONES: Final = 60
_ZONE_DEGREES: Final = 6.0
_Bounds = tuple[float, float, float, float]  # left, bottom, right, top

# In metres. A UTM zone is 668 km wide at the equator; northings are those of the northern projection, negative in the
# south. UPS circles reach 666 km (84 N) and 1,113 km (80 S) from the pole.
_ZONE_EXTENT: Final[_Bounds] = (160_000.0, -9_000_000.0, 840_000.0, 9_400_000.0)
_POLES: Final[dict[str, tuple[str, _Bounds]]] = {
    "ups_n": ("EPSG:32661", (1_300_000.0, 1_300_000.0, 2_700_000.0, 2_700_000.0)),
    "ups_s": ("EPSG:32761", (800_000.0, 800_000.0, 3_200_000.0, 3_200_000.0)),
}
_ANYWHERE: Final[_Bounds] = (-20_000_000.0, -20_000_000.0, 20_000_000.0, 20_000_000.0)
_UTM_NAME: Final = re.compile(r"utm(\d\d)")

UTM_GROUPS: Final = (*(f"utm{zone:02d}" for zone in range(1, _ZONES + 1)), *_POLES)
"""The groups of ``crs="utm"``: plain six-degree zones, and the caps of the poles."""

UTM: Final = "utm"
LONLAT: Final = "lonlat"
"""The group of published cells of degrees: one lattice round the globe, centred on multiples of the cell's side."""

DIVISIONS: Final = {UTM: UTM_GROUPS, LONLAT: (LONLAT,)}
"""The groups by the name of what divides the globe into them."""


class Rect(NamedTuple):
    """A rectangle of tokens: rows top .. bottom - 1, columns left .. right - 1 of a lattice."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; zero where it is empty."""
        return max(0, self.bottom - self.top), max(0, self.right - self.left)

    def __and__(self, other: Rect) -> Rect:
        """Return the part that two rectangles share; it may be empty."""
        return Rect(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def scaled(self, by: int) -> Rect:
        """Return the same rectangle in units of which `by` make one of these."""
        return Rect(self.top * by, self.left * by, self.bottom * by, self.right * by)

    def within(self, outer: Rect, scale: int = 1) -> tuple[slice, slice]:
        """Return the slices of this rectangle in an array of another with `scale` pixels per token."""
        return (
            slice((self.top - outer.top) * scale, (self.bottom - outer.top) * scale),
            slice((self.left - outer.left) * scale, (self.right - outer.left) * scale),
        )


@dataclass(frozen=True)
class Lattice(Record):
    """Where the tokens of one group of a map lie.

    Parameters
    ----------
    group : str
        ``"utm01"`` to ``"utm60"``, ``"ups_n"``, ``"ups_s"``, ``"lonlat"``, or the name of a chosen projection such
        as ``"epsg3035"``.
    crs : str
        The projection, in metres; UTM is always the northern one, with negative northings in the south. Of
        ``"lonlat"`` longitude and latitude.
    token_m : float
        Side of a token in metres; of one in degrees, along the equator.
    block : int
        Tokens per side of a block, which is one shard of the store.
    origin : (float, float)
        x and y of the upper left corner, multiples of the side of a block: it follows from the projection and the
        size of a block alone. In degrees it lies half a token beyond -180 and 90.
    shape : (int, int)
        Rows and columns of the whole lattice, multiples of `block`.

    Examples
    --------
    >>> lattice = lattice_for("utm31", token_m=80, block=64)
    >>> lattice.crs, lattice.origin
    ('EPSG:32631', (158720.0, 9400320.0))
    """

    group: str
    crs: str
    token_m: float
    block: int
    origin: tuple[float, float]
    shape: tuple[int, int]

    @property
    def step(self) -> float:
        """Side of a token in the unit of the projection."""
        return self.token_m / unit_m(self.crs)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return self.shape[0] // self.block, self.shape[1] // self.block

    @property
    def is_bounded(self) -> bool:
        """Whether the group says where it holds."""
        return self.group in UTM_GROUPS or CRS.from_user_input(self.crs).area_of_use is not None

    @property
    def area(self) -> _Bounds:
        """West, south, east and north of what the group owns, in degrees; east may be above 180."""
        if zone := _UTM_NAME.fullmatch(self.group):
            west = (int(zone[1]) - 1) * _ZONE_DEGREES - 180.0
            return west, UTM_SOUTH_LIMIT, west + _ZONE_DEGREES, UTM_NORTH_LIMIT
        if self.group == LONLAT:
            return self.origin[0], -90.0, self.origin[0] + 360.0, 90.0
        if self.group in _POLES:
            north = self.group == "ups_n"
            return -180.0, UTM_NORTH_LIMIT if north else -90.0, 180.0, 90.0 if north else UTM_SOUTH_LIMIT
        area = CRS.from_user_input(self.crs).area_of_use
        if area is None:
            return -180.0, -90.0, 180.0, 90.0
        return area.west, area.south, area.west + ((area.east - area.west) % 360.0 or 360.0), area.north

    def rect(self, block_row: int, block_col: int) -> Rect:
        """Return the tokens of a block."""
        top, left = block_row * self.block, block_col * self.block
        return Rect(top, left, top + self.block, left + self.block)

    def grid(self, rect: Rect, pixels: int = 1) -> Grid:
        """Return the tokens of a rectangle, or their pixels, as a grid; it may reach beyond the lattice."""
        side = self.step / pixels
        x, y = self.origin[0] + rect.left * self.step, self.origin[1] - rect.top * self.step
        rows, cols = rect.shape
        return Grid(self.crs, (side, 0.0, x, 0.0, -side, y), (rows * pixels, cols * pixels))

    def index(self, x: float, y: float) -> tuple[int, int]:
        """Return the row and column of the token that a point lies in."""
        return math.floor((self.origin[1] - y) / self.step), math.floor((x - self.origin[0]) / self.step)

    def lonlat(self, rect: Rect) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude and latitude of token centres; each (rows, columns)."""
        x = self.origin[0] + (np.arange(rect.left, rect.right) + 0.5) * self.step
        y = self.origin[1] - (np.arange(rect.top, rect.bottom) + 0.5) * self.step
        return project(self.crs, WGS84, *np.meshgrid(x, y))

    def owned(self, rect: Rect) -> NDArray[np.bool_]:
        """Return which tokens this group owns, by their centres; (rows, columns)."""
        rows, cols = rect.shape
        inside = np.zeros((rows, cols), dtype=bool)
        part = rect & Rect(0, 0, *(_round_the_globe(self.step) if self.group == LONLAT else self.shape))
        if 0 not in part.shape:
            is_own = self.group == LONLAT or _owned(self.group, self.crs, *self.lonlat(part))
            inside[part.within(rect)] = is_own
        return inside


def _owned(group: str, crs: str, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    if zone := _UTM_NAME.fullmatch(group):
        # A zone owns [west, east): longitude 180 is -180, in the first zone.
        number = np.floor(((lon + 180.0) % 360.0) / _ZONE_DEGREES).astype(int) % _ZONES + 1
        owned = (number == int(zone[1])) & (lat >= UTM_SOUTH_LIMIT) & (lat < UTM_NORTH_LIMIT)
    elif group in _POLES:
        owned = lat >= UTM_NORTH_LIMIT if group == "ups_n" else lat < UTM_SOUTH_LIMIT
    else:
        owned = np.isfinite(lon) & np.isfinite(lat)
        area = CRS.from_user_input(crs).area_of_use
        if area is not None:
            from_west, width = (lon - area.west) % 360.0, (area.east - area.west) % 360.0 or 360.0
            owned = owned & (lat >= area.south) & (lat <= area.north) & (from_west <= width)
    return np.asarray(owned, dtype=bool)


def lattice_for(group: str, token_m: float, block: int) -> Lattice:
    """Return the lattice of a UTM zone, of a polar cap, or of the globe in degrees.

    Parameters
    ----------
    group : str
        One of those of `DIVISIONS`.
    token_m : float
        Side of a token in metres; of one in degrees, along the equator.
    block : int
        Tokens per side of a block.

    Returns
    -------
    Lattice
    """
    if group == LONLAT:
        return _globe(token_m, block)
    if group in _POLES:
        crs, extent = _POLES[group]
    else:
        crs, extent = f"EPSG:{32600 + int(group[3:])}", _ZONE_EXTENT
    return _lattice(group, crs, extent, (token_m, block))


def lattice_of(crs: object, token_m: float, block: int) -> Lattice:
    """Return the lattice of a chosen projection, over its area of use.

    Parameters
    ----------
    crs : str or int or CRS
        A projection in metres.
    token_m : float
        Side of a token in metres.
    block : int
        Tokens per side of a block.

    Returns
    -------
    Lattice
        Over the area of use; of a projection that states none, over 20,000 km on every side of its origin.

    Raises
    ------
    SpecError
        If the system is not a projection in metres.
    """
    name = metric_crs("crs", crs)
    authority = re.fullmatch(r"([A-Za-z]+):(\d+)", name)
    group = f"{authority[1].lower()}{authority[2]}" if authority else f"crs_{_digest(name)}"
    return _lattice(group, name, _area(name), (token_m, block))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()


@lru_cache(maxsize=64)
def _area(crs: str) -> _Bounds:
    """Return the bounds of a projection's area of use, in its metres."""
    area = CRS.from_user_input(crs).area_of_use
    if area is None:
        return _ANYWHERE
    width = (area.east - area.west) % 360.0 or 360.0
    steps = np.linspace(0.0, 1.0, 201)
    lon, lat = np.meshgrid(area.west + width * steps, area.south + (area.north - area.south) * steps)
    x, y = project(WGS84, crs, lon.ravel(), lat.ravel())
    there = np.isfinite(x) & np.isfinite(y)
    if not there.any():
        raise SpecError("crs", value=crs, reason="its area of use has no coordinates", fix="choose another projection")
    # Edges bulge between the samples by less than a sample's own distance.
    slack = max(float(np.ptp(x[there])), float(np.ptp(y[there]))) / 200
    left, bottom = float(x[there].min()) - slack, float(y[there].min()) - slack
    return left, bottom, float(x[there].max()) + slack, float(y[there].max()) + slack


def _sizes(token_m: float, block: int) -> tuple[float, int]:
    token = positive("token_m", token_m, at_most=COARSEST_M, unit="m")
    return token, whole("block", block, low=1, high=LONGEST_BLOCK)


def _round_the_globe(step: float) -> tuple[int, int]:
    """Return rows, of which the first and the last are centred on the poles, and columns of tokens of degrees."""
    return round(180.0 / step) + 1, round(360.0 / step)


def _globe(token_m: float, block: int) -> Lattice:
    token, block = _sizes(token_m, block)
    step = token / unit_m(WGS84)
    rows, cols = (-(-count // block) * block for count in _round_the_globe(step))
    return Lattice(LONLAT, WGS84, token, block, (-180.0 - step / 2, 90.0 + step / 2), (rows, cols))


def _lattice(group: str, crs: str, extent: _Bounds, size: tuple[float, int]) -> Lattice:
    token, block = _sizes(*size)
    side = token * block
    left, bottom, right, top = extent
    columns = (math.floor(left / side), math.ceil(right / side))
    rows = (math.floor(bottom / side), math.ceil(top / side))
    origin = (columns[0] * side, rows[1] * side)
    return Lattice(group, crs, token, block, origin, ((rows[1] - rows[0]) * block, (columns[1] - columns[0]) * block))
