"""The region of a map: areas in any reference system, and which blocks and tokens of a lattice they touch.

Nothing inside a region is clipped, land and sea alike. Shares of tokens are areas in the lattice's own plane, by
cutting and not by sampling, so they are exact but for the outline's own precision of 1 cm.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.lattice import DIVISIONS, LONLAT, UTM, Rect, lattice_for, lattice_of
from rs_embed_dask.specs.accepted import CrsLike, TableLike
from rs_embed_dask.specs.base import as_mapping, text
from rs_embed_dask.specs.ground import POLE, WGS84, crs_facts, crs_text, geodesic_area
from rs_embed_dask.specs.outline import cut, moved, outlines, polygons, to_degrees
from rs_embed_dask.specs.places import read_frame
from rs_embed_dask.specs.where import BBox, Polygon
from rs_embed_dask.store.map_blocks import BlockSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Lattice

__all__ = ["LEAST_SHARE", "Region", "RegionLike"]

LEAST_SHARE: Final = 1e-6
"""The share of a token from which on a region touches it: less is rounding along an edge."""

_FULL: Final = 1 - 1e-9
_CELLS: Final = 8
_HALF_TURN: Final = 180.0
_PARALLEL_STEP: Final = 45.0
_DEGREE_M: Final = 110_000.0
_FIX: Final = "give a BBox, a Polygon, a shapely polygon, a GeoDataFrame or the path of a vector file"


@dataclass(frozen=True, repr=False)
class Region:
    """Where a map is made.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon
        In `crs`; use `of` to make one. In degrees it is cut at the antimeridian.
    crs : str
        Its reference system.

    Examples
    --------
    >>> region = Region.of(BBox(4.0, 50.0, 4.1, 50.1))
    >>> [lattice.group for lattice in region.lattices(token_m=80, block=64)]
    ['utm31']
    """

    shape: shapely.Geometry
    crs: str = WGS84

    @classmethod
    def of(cls, source: RegionLike, crs: CrsLike | None = None) -> Region:
        """Make a region.

        Parameters
        ----------
        source : BBox or Polygon or shapely geometry or GeoDataFrame or path or Region
            One or more areas; where they overlap they count once. In degrees an edge longer than half a turn goes
            the short way, across the antimeridian; an outline round a pole encloses the pole.
        crs : str or int or CRS, optional
            The reference system of a geometry or frame that states none. Default: longitude and latitude.

        Returns
        -------
        Region

        Raises
        ------
        SpecError
            If a shape has no area, an outline crosses itself, a coordinate is out of reach, or a file cannot be read.
        """
        if isinstance(source, Region):
            return source
        if isinstance(source, str | PathLike):
            source = _read(fspath(source))
        shapes, name = _areas(source, crs)
        by_shape = [outlines(shape) for shape in shapes]
        parts = [part for listed in by_shape for part in listed]
        if not parts:
            raise SpecError("region", value=source, reason="it has no area", fix=_FIX)
        if without := by_shape.count([]):
            reason = f"it holds shapes without an area, such as points or lines: {without} of {len(shapes)}"
            raise SpecError("region", value=source, reason=reason, fix="leave them out, or buffer them")
        degrees = shapely.union_all([to_degrees(part, name) for part in parts])
        if crs_facts(name).degrees:
            return cls(shapely.normalize(degrees), WGS84)
        region = cls(shapely.normalize(shapely.union_all(parts)), name)
        region.__dict__["lonlat"] = degrees
        return region

    @cached_property
    def lonlat(self) -> shapely.Geometry:
        """The region in longitude and latitude, cut at the antimeridian."""
        if self.crs == WGS84:
            return self.shape
        return shapely.union_all([to_degrees(part, self.crs) for part in polygons(self.shape)])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees; west is above east where the antimeridian lies between them."""
        west, south, east, north = self.lonlat.bounds
        spans = sorted((part.bounds[0], part.bounds[2]) for part in polygons(self.lonlat))
        gap, reach = (-_HALF_TURN, -_HALF_TURN), -_HALF_TURN
        for left, right in spans:
            gap, reach = max(gap, (reach, left), key=lambda one: one[1] - one[0]), max(reach, right)
        if west == -_HALF_TURN and east == _HALF_TURN and gap[1] > gap[0]:
            east, west = gap
        return west, south, east, north

    @property
    def area_m2(self) -> float:
        """Area on the ellipsoid."""
        return sum(geodesic_area(part) for part in polygons(self.lonlat))

    @property
    def digest(self) -> str:
        """What identifies the region, the same in every process."""
        return hashlib.sha256(self.crs.encode() + shapely.to_wkb(self.shape)).hexdigest()[:16]

    def __repr__(self) -> str:
        west, south, east, north = self.bounds
        return f"Region({self.area_m2 / 1e6:,.4g} km2 in {west:.6g}, {south:.6g}, {east:.6g}, {north:.6g})"

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "rs_embed_dask.Region", self.digest

    def to_dict(self) -> dict[str, Any]:
        """Return the region as JSON values."""
        return {"crs": self.crs, "wkb": shapely.to_wkb(self.shape, hex=True)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Region:
        """Read what `to_dict` returned."""
        fix = "give what to_dict() returns"
        values = [text(f"Region.{key}", as_mapping("Region", data).get(key), fix=fix) for key in ("wkb", "crs")]
        try:
            return cls(shapely.from_wkb(values[0]), crs_text("Region.crs", values[1]))
        except shapely.errors.ShapelyError as error:
            raise SpecError("Region.wkb", value=values[0], reason=f"it is no geometry ({error})", fix=fix) from error

    def __or__(self, other: Region) -> Region:
        """Return the area of two regions."""
        if self.crs == other.crs:
            return Region(shapely.normalize(shapely.union(self.shape, other.shape)), self.crs)
        return Region(shapely.normalize(shapely.union(self.lonlat, other.lonlat)))

    def lattices(self, token_m: float, block: int, crs: CrsLike = UTM) -> tuple[Lattice, ...]:
        """Return the lattices on which the region has blocks.

        Parameters
        ----------
        token_m : float
            Side of a token in metres; of one in degrees, along the equator.
        block : int
            Tokens per side of a block.
        crs : "utm" or "lonlat" or str or int or CRS, default "utm"
            UTM zones and polar caps, cells of degrees, or one projection in metres for all.

        Returns
        -------
        tuple of Lattice
            West to east, then the poles.

        Raises
        ------
        SpecError
            If the region reaches beyond the area of use of the chosen projection, or touches no token.
        """
        if isinstance(crs, str) and crs.lower() in DIVISIONS:
            lattices = [lattice_for(group, token_m, block) for group in DIVISIONS[crs.lower()]]
        else:
            lattices = [lattice_of(crs, token_m, block)]
            self._check_inside(lattices[0])
        touched = tuple(lattice for lattice in lattices if self._is_near(lattice) and len(self.blocks(lattice)))
        if not touched:
            reason = f"it is smaller than a token of {token_m:g} m can show"
            raise SpecError("region", value=self, reason=reason, fix="give a larger region")
        return touched

    def _is_near(self, lattice: Lattice) -> bool:
        return any(True for box in _boxes(lattice) for _ in cut(self.lonlat, box))

    def _check_inside(self, lattice: Lattice) -> None:
        outside = self.lonlat
        for turn in (-1, 0, 1):
            west, south, east, north = lattice.area
            outside = shapely.difference(outside, shapely.box(west + 360 * turn, south, east + 360 * turn, north))
        if polygons(outside):
            share = sum(part.area for part in polygons(outside)) / self.lonlat.area
            reason = f"{share:.3%} of the region (in degrees) lies outside its area of use"
            fix = "leave crs out for UTM zones, choose another projection, or cut the region"
            raise SpecError("crs", value=lattice.crs, reason=reason, fix=fix)

    def blocks(self, lattice: Lattice) -> BlockSet:
        """Return the blocks with at least one token that the lattice's group owns and the region touches."""
        return _blocks(self, lattice)

    def coverage(self, lattice: Lattice, rect: Rect) -> NDArray[np.float32]:
        """Return the share of each token that lies inside the region; (rows, columns), 0 to 1."""
        return _shares(_plane(self, lattice), lattice, rect)


RegionLike: TypeAlias = "Region | BBox | Polygon | shapely.Geometry | TableLike"


def _read(path: str) -> Any:
    try:
        return read_frame(path)
    except SpecError as error:
        raise SpecError("region", value=path, reason=error.reason, fix=_FIX) from error


def _areas(source: Any, crs: CrsLike | None) -> tuple[list[shapely.Geometry], str]:
    """List the geometries of a source, and name their reference system."""
    if isinstance(source, BBox):
        box = shapely.box(*source.own_bounds)
        # A box reaches from west to east also where that is more than half a turn.
        return [shapely.segmentize(source.unwrapped, _PARALLEL_STEP) if source.crs == WGS84 else box], source.crs
    if isinstance(source, Polygon):
        return [shapely.from_wkt(source.wkt)], source.crs
    if isinstance(source, shapely.Geometry):
        return [shapely.force_2d(source)], WGS84 if crs is None else crs_text("region.crs", crs)
    if all(hasattr(source, name) for name in ("geometry", "crs", "to_crs")):
        stated = crs if source.crs is None else source.crs
        if stated is None:
            fix = "use frame.set_crs"
            raise SpecError("region", value=type(source).__name__, reason="the frame does not state its crs", fix=fix)
        shapes = shapely.force_2d(source.geometry.dropna().to_numpy())
        return list(shapes[~shapely.is_empty(shapes)]), crs_text("region.crs", stated)
    raise SpecError("region", value=source, reason=f"{type(source).__name__} is not an area", fix=_FIX)


def _boxes(lattice: Lattice) -> Iterator[tuple[float, float, float, float]]:
    """Go through boxes in degrees, at most half a turn wide, around all tokens that a group owns."""
    west, south, east, north = lattice.area
    pad = 1.5 * lattice.token_m / _DEGREE_M
    narrowest = math.cos(math.radians(min(max(abs(south), abs(north)), 89.0)))
    wide = min(pad / narrowest, (360.0 - (east - west)) / 2)
    west, east = west - wide, east + wide
    middle = west + min((east - west) / 2, _HALF_TURN) if east - west > _HALF_TURN else east
    for left, right in ((west, middle), (middle, east)):
        if left < right:
            yield left, max(-90.0, south - pad), right, min(90.0, north + pad)


@lru_cache(maxsize=64)
def _plane(region: Region, lattice: Lattice) -> shapely.Geometry:
    """Return the part of a region around a group's area in the plane of the lattice."""
    # A region that is given in the lattice's own system keeps exactly its own numbers.
    if region.crs == lattice.crs and lattice.group != LONLAT:
        return region.shape
    parts = [part for box in _boxes(lattice) for part in cut(region.lonlat, box)]
    return moved(parts, lattice.crs) if lattice.group != LONLAT else _over_the_poles(parts, lattice.step)


def _over_the_poles(parts: list[shapely.Polygon], step: float) -> shapely.Geometry:
    """Join parts in degrees, and mirror at a pole what lies in the cells centred on it, half of which is no ground."""
    whole = shapely.union_all(parts)
    mirrored = []
    for pole in (POLE, -POLE):
        beside = shapely.intersection(whole, shapely.box(-2 * 360, pole - step / 2, 2 * 360, pole + step / 2))
        mirrored.append(shapely.transform(beside, lambda xy, pole=pole: xy * (1, -1) + (0, 2 * pole)))
    return shapely.union_all([whole, *mirrored])


class _Owned(NamedTuple):
    """Areas in the plane of a lattice: all tokens that touch `surely` are owned, and none that `maybe` leaves out."""

    surely: shapely.Geometry
    maybe: shapely.Geometry


@lru_cache(maxsize=64)
def _owned(lattice: Lattice) -> _Owned:
    everywhere = _Owned(shapely.Polygon(), shapely.box(*_bounds(lattice, Rect(0, 0, *lattice.shape))))
    if not lattice.is_bounded:
        return everywhere  # far from its centre such a projection bends without end: asked per token
    west, south, east, north = lattice.area
    middle = (west + east) / 2 if east - west > _HALF_TURN else east
    halves = [
        shapely.box(left, south, right, north) for left, right in ((west, middle), (middle, east)) if left < right
    ]
    try:
        area = moved(halves, lattice.crs)
    except SpecError:  # it does not hold everywhere in its area of use: asked per token
        return everywhere
    coarse = area.simplify(lattice.step / 4)  # the buffers leave room for it
    both = _Owned(coarse.buffer(-2 * lattice.step), coarse.buffer(2 * lattice.step))
    shapely.prepare(both.surely)
    shapely.prepare(both.maybe)
    return both


def _bounds(lattice: Lattice, rect: Rect) -> tuple[float, float, float, float]:
    left, top = lattice.origin[0] + rect.left * lattice.step, lattice.origin[1] - rect.top * lattice.step
    rows, cols = rect.shape
    return left, top - rows * lattice.step, left + cols * lattice.step, top


def _quarters(rect: Rect) -> Iterator[Rect]:
    middle_row, middle_col = (rect.top + rect.bottom) // 2, (rect.left + rect.right) // 2
    for top, bottom in ((rect.top, middle_row), (middle_row, rect.bottom)):
        for left, right in ((rect.left, middle_col), (middle_col, rect.right)):
            if top < bottom and left < right:
                yield Rect(top, left, bottom, right)


@lru_cache(maxsize=64)
def _blocks(region: Region, lattice: Lattice) -> BlockSet:
    """Find the blocks by halving: what is inside or outside as a whole is not looked at closer."""
    owned, token2 = _owned(lattice), lattice.step**2
    rows, cols = lattice.blocks
    taken = []
    left = [(Rect(0, 0, rows, cols), _plane(region, lattice))]
    while left:
        rect, shape = left.pop()
        tokens = Rect(*(side * lattice.block for side in rect))
        box = shapely.box(*_bounds(lattice, tokens))
        part = shapely.intersection(shape, box)
        if part.area <= LEAST_SHARE * token2 or not owned.maybe.intersects(box):
            continue
        is_inner = owned.surely.contains(box)
        if is_inner and part.area >= _FULL * box.area:
            taken.append(rect)
        elif rect.shape != (1, 1):
            left += [(quarter, part) for quarter in _quarters(rect)]
        elif _has_token(
            part, part if is_inner else shapely.intersection(part, owned.surely), lattice=lattice, rect=tokens
        ):
            taken.append(rect)
    return BlockSet.of_rectangles(taken)


def _has_token(part: shapely.Geometry, surely: shapely.Geometry, *, lattice: Lattice, rect: Rect) -> bool:
    """Return whether the part of a region in a block touches a token that the group owns, as `surely` is."""
    # Where the area is more than all tokens together may have without being touched, one of them is.
    if surely.area > LEAST_SHARE * lattice.step**2 * math.prod(rect.shape):
        return True
    west, south, east, north = part.bounds
    (top, left), (bottom, right) = lattice.index(west, north), lattice.index(east, south)
    around = rect & Rect(top, left, bottom + 1, right + 1)
    return bool(((_shares(part, lattice, around) > 0) & lattice.owned(around)).any())


def _shares(shape: shapely.Geometry, lattice: Lattice, rect: Rect) -> NDArray[np.float32]:
    """Return the share of each token of a rectangle inside a shape; (rows, columns)."""
    shares = np.zeros(rect.shape)
    left = [(rect, shape)]
    while left:
        cells, whole = left.pop()
        bounds = _bounds(lattice, cells)
        part = shapely.intersection(whole, shapely.box(*bounds))
        window = shares[cells.within(rect)]
        if part.area >= _FULL * (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]):
            window[:] = 1.0
        elif part.area > 0 and max(cells.shape) <= _CELLS:
            window[:] = _cell_shares(part, lattice, cells)
        elif part.area > 0:
            left += [(quarter, part) for quarter in _quarters(cells)]
    shares[shares < LEAST_SHARE] = 0.0
    return np.minimum(shares, 1.0).astype(np.float32)


def _cell_shares(part: shapely.Geometry, lattice: Lattice, rect: Rect) -> NDArray[np.float64]:
    x = lattice.origin[0] + np.arange(rect.left, rect.right + 1) * lattice.step
    y = lattice.origin[1] - np.arange(rect.top, rect.bottom + 1) * lattice.step
    cells = shapely.box(x[None, :-1], y[1:, None], x[None, 1:], y[:-1, None])  # (rows, columns)
    return np.asarray(shapely.area(shapely.intersection(cells, part)) / lattice.step**2)
