"""Where: a box, a point with a buffer, or a polygon, in any reference system, validated on construction."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError, shown
from rs_embed_dask.specs.accepted import Corners, CrsLike
from rs_embed_dask.specs.base import Record, as_mapping, choice, number, positive, text
from rs_embed_dask.specs.ground import (
    HALF_TURN,
    POLE,
    WGS84,
    crs_facts,
    crs_text,
    geodesic_area,
    local_crs,
    lonlat_boxes,
    project,
    split_at_antimeridian,
    unwrapped,
    wrap_lon,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "DEGREE_M",
    "LARGEST_BUFFER_M",
    "BBox",
    "Place",
    "PointBuffer",
    "Polygon",
    "Spatial",
    "exact_wkt",
    "spatial_from_dict",
]


def check_lon(what: str, value: float) -> None:
    """Refuse a longitude outside [-180, 180]."""
    if abs(value) > HALF_TURN:
        same = f"write {wrap_lon(value):g} for the same meridian, " if abs(value) <= 2 * HALF_TURN else ""
        fix = f"{same}give degrees, or pass crs="
        raise SpecError(what, value=value, reason="longitudes lie in [-180, 180]", fix=fix)


def check_lat(what: str, value: float) -> None:
    """Refuse a latitude outside [-90, 90]."""
    if abs(value) > POLE:
        fix = "give degrees, check that longitude comes first, or pass crs="
        raise SpecError(what, value=value, reason="latitudes lie in [-90, 90]", fix=fix)


class Place(Record, ABC):
    """What the three kinds of place share, derived from the shape in degrees."""

    @property
    @abstractmethod
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, connected across the antimeridian: longitudes may exceed 180."""

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the middle, in degrees."""
        west, south, east, north = self.unwrapped.bounds
        return wrap_lon((west + east) / 2), (south + north) / 2

    @property
    def geometry(self) -> shapely.Geometry:
        """The place in EPSG:4326, cut in two (a MultiPolygon) if it crosses the antimeridian."""
        return split_at_antimeridian(self.unwrapped)

    @property
    def lonlat_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """One (west, south, east, north) around the place, or two if it crosses the antimeridian; degrees."""
        return lonlat_boxes(self.unwrapped)

    @property
    def area_m2(self) -> float:
        """Area on the ellipsoid in square metres."""
        return geodesic_area(self.unwrapped)

    def to_dict(self) -> dict[str, Any]:
        """Return the place as JSON values, with its kind under ``"type"``.

        Returns
        -------
        dict
        """
        return {"type": type(self).__name__, **super().to_dict()}


_FEWEST_CORNERS: Final = 3
_TOUCH: Final = 1e-9  # share of the area: parts that touch lose less than this in their union, by rounding
_EXACT_DECIMALS: Final = 30  # high enough for GEOS to write the shortest text that reads back as the same floats


@lru_cache(maxsize=256)
def _parse(wkt: str) -> shapely.Geometry:
    with np.errstate(invalid="ignore"):  # a NaN corner is refused by name later
        return shapely.force_2d(shapely.from_wkt(wkt))


def exact_wkt(shape: Any) -> Any:
    """Write a shape, or each of an array, so that reading it returns the same floats."""
    return shapely.to_wkt(shape, rounding_precision=_EXACT_DECIMALS)


def _wkt(shape: shapely.Geometry) -> str:
    return str(exact_wkt(shape))


@dataclass(frozen=True, repr=False)
class Polygon(Place):
    """A polygon, or several that form one place.

    Parameters
    ----------
    wkt : str
        Well-known text of a Polygon or MultiPolygon; heights are dropped. In degrees an edge longer than 180 degrees
        is taken the short way, across the antimeridian.
    crs : str or int or CRS, default "EPSG:4326"
        Anything that pyproj accepts.

    Raises
    ------
    SpecError
        If the text is not a polygon, is empty, crosses itself, has coordinates out of range or encloses a pole, or
        the reference system is unknown.

    Examples
    --------
    >>> Polygon.from_coordinates([(4.3, 50.8), (4.5, 50.8), (4.4, 50.9)])
    Polygon(3 corners around 4.4, 50.85)
    """

    wkt: str
    crs: str = WGS84

    def __post_init__(self) -> None:
        object.__setattr__(self, "crs", crs_text("Polygon.crs", self.crs))
        wkt = text("Polygon.wkt", self.wkt, fix="give well-known text, or use Polygon.from_geometry")
        try:
            shape = _parse(wkt)
        except shapely.errors.GEOSException as error:
            reason = f"this is not well-known text ({error})"
            fix = "write 'POLYGON ((x y, x y, x y, x y))', the last point equal to the first"
            raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix) from error
        self._check(shape)
        object.__setattr__(self, "wkt", _wkt(shape))

    def _check(self, shape: shapely.Geometry) -> None:
        if not isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
            fix = "use PointBuffer for a point" if "Point" in shape.geom_type else "buffer it, or draw its outline"
            reason = f"expected a Polygon or MultiPolygon, got a {shape.geom_type}"
            raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix)
        if shape.is_empty:
            raise SpecError("Polygon.wkt", value=self.wkt, reason="it is empty", fix="give at least three corners")
        self._check_corners(shapely.get_coordinates(shape))
        degrees = unwrapped(shape, self.crs, "Polygon")
        self._check_outline(shapely.get_parts(degrees if crs_facts(self.crs).degrees else shape))

    def _check_outline(self, parts: NDArray[np.object_]) -> None:
        """Refuse parts that cross themselves, overlap or enclose nothing; they may touch."""
        fix = "repair it, for example with shapely.make_valid"
        for part in parts:
            if not part.is_valid:
                reason = f"its outline is not simple ({shapely.is_valid_reason(part)})"
                raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix)
        area = float(shapely.area(parts).sum())
        if area == 0:
            fix = "give corners that enclose something; edges longer than 180 degrees go the short way around"
            raise SpecError("Polygon.wkt", value=self.wkt, reason="it encloses no area", fix=fix)
        if len(parts) > 1 and shapely.union_all(parts).area < area * (1 - _TOUCH):
            raise SpecError("Polygon.wkt", value=self.wkt, reason="its parts overlap", fix=fix)

    def _check_corners(self, corners: NDArray[np.float64]) -> None:
        """Refuse the first corner that is not finite or, in degrees, out of range."""
        for axis, name in enumerate(("Polygon.x", "Polygon.y")):
            values = corners[:, axis]
            number(name, float(values[np.argmin(np.isfinite(values))]))
            if crs_facts(self.crs).degrees:
                (check_lat if axis else check_lon)(name, float(values[np.argmax(np.abs(values))]))

    @classmethod
    def from_geometry(cls, shape: shapely.Geometry, crs: CrsLike = WGS84) -> Self:
        """Make the place from a shapely Polygon or MultiPolygon.

        Parameters
        ----------
        shape : shapely geometry
            In `crs`.
        crs : str or int or CRS, default "EPSG:4326"
            Anything that pyproj accepts.

        Returns
        -------
        Polygon

        Raises
        ------
        SpecError
            If it is not a shapely geometry, or as for the class.
        """
        if not isinstance(shape, shapely.Geometry):
            reason = f"expected a shapely geometry, got {type(shape).__name__}"
            raise SpecError("Polygon.from_geometry", value=shape, reason=reason, fix="pass a shapely Polygon")
        return cls(_wkt(shape), crs_text("Polygon.crs", crs))

    @classmethod
    def from_coordinates(cls, corners: Corners, crs: CrsLike = WGS84) -> Self:
        """Make the place from the corners of its outline.

        Parameters
        ----------
        corners : iterable of (x, y)
            At least three; longitude before latitude. The outline is closed automatically.
        crs : str or int or CRS, default "EPSG:4326"
            Anything that pyproj accepts.

        Returns
        -------
        Polygon

        Raises
        ------
        SpecError
            If there are fewer than three corners or one is not a pair of numbers, or as for the class.
        """
        fix = "give at least three (x, y) pairs"
        if not isinstance(corners, Iterable):
            reason = "expected a list of corners"  # type: ignore[unreachable]
            raise SpecError("Polygon.corners", value=corners, reason=reason, fix=fix)
        pairs = []
        for index, corner in enumerate(corners):
            what = f"Polygon.corners[{index}]"
            try:
                x, y = corner
            except (TypeError, ValueError) as error:
                raise SpecError(what, value=corner, reason="expected a pair (x, y)", fix=fix) from error
            pairs.append((number(what, x), number(what, y)))
        if len(set(pairs)) < _FEWEST_CORNERS:
            reason = f"{len(set(pairs))} distinct corners enclose nothing"
            raise SpecError("Polygon.corners", value=pairs, reason=reason, fix=fix)
        return cls.from_geometry(shapely.Polygon(pairs), crs)

    @property
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, connected across the antimeridian: longitudes may exceed 180."""
        return unwrapped(_parse(self.wkt), self.crs, "Polygon")

    @property
    def own_bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in the polygon's own reference system."""
        left, bottom, right, top = _parse(self.wkt).bounds
        return left, bottom, right, top

    def __repr__(self) -> str:
        lon, lat = self.center
        shape = _parse(self.wkt)
        count = len(shapely.get_coordinates(shape)) - sum(1 + len(p.interiors) for p in shapely.get_parts(shape))
        tail = "" if self.crs == WGS84 else f", crs={shown(self.crs)}"
        return f"Polygon({count} corners around {lon:.6g}, {lat:.6g}{tail})"


LARGEST_BUFFER_M: Final = 100_000.0
DEGREE_M: Final = 111_000.0
"""A degree of latitude in metres, roughly."""


@dataclass(frozen=True, repr=False)
class BBox(Place):
    """A box along the axes of its reference system.

    Parameters
    ----------
    minlon, minlat, maxlon, maxlat : float
        West, south, east and north in degrees; in a projected system the smallest x and y and the largest x and y.
        In degrees, `minlon` above `maxlon` means a box across the antimeridian.
    crs : str or int or CRS, default "EPSG:4326"
        Anything that pyproj accepts.

    Raises
    ------
    SpecError
        If a number is not finite or out of range, the order is wrong, the box touches a pole, or the reference
        system is unknown.

    Examples
    --------
    >>> BBox(minlon=4.3, minlat=50.8, maxlon=4.5, maxlat=50.9)
    BBox(4.3, 50.8, 4.5, 50.9)
    """

    minlon: float
    minlat: float
    maxlon: float
    maxlat: float
    crs: str = WGS84

    def __post_init__(self) -> None:
        for name in ("minlon", "minlat", "maxlon", "maxlat"):
            object.__setattr__(self, name, number(f"BBox.{name}", getattr(self, name)))
        object.__setattr__(self, "crs", crs_text("BBox.crs", self.crs))
        degrees = crs_facts(self.crs).degrees
        if degrees:
            self._check_degrees()
        elif self.minlon >= self.maxlon:
            reason = f"the smallest x must lie below the largest, {self.maxlon:g}"
            raise SpecError("BBox.minlon", value=self.minlon, reason=reason, fix="swap minlon and maxlon")
        if self.minlat >= self.maxlat:
            reason = f"it must lie below maxlat, {self.maxlat:g}"
            raise SpecError("BBox.minlat", value=self.minlat, reason=reason, fix="swap minlat and maxlat")
        if self.crs != WGS84:
            # refuses a pole inside, and what is out of reach
            unwrapped(shapely.box(*self.own_bounds), self.crs, "BBox")

    def _check_degrees(self) -> None:
        check_lon("BBox.minlon", self.minlon)
        check_lon("BBox.maxlon", self.maxlon)
        check_lat("BBox.minlat", self.minlat)
        check_lat("BBox.maxlat", self.maxlat)
        if self.minlon == self.maxlon or (self.minlon, self.maxlon) == (HALF_TURN, -HALF_TURN):
            fix = "give a wider box, or a PointBuffer"
            raise SpecError("BBox.maxlon", value=self.maxlon, reason="the box has no width", fix=fix)
        for name, lat in (("BBox.minlat", self.minlat), ("BBox.maxlat", self.maxlat)):
            if abs(lat) == POLE:
                reason = "the box touches a pole, where west and east have no meaning and no sensor used here looks"
                raise SpecError(name, value=lat, reason=reason, fix="end the box beside the pole, for example at 89")

    @property
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, connected across the antimeridian: longitudes may exceed 180."""
        west, east = self.minlon, self.maxlon
        if west > east:
            west, east = (-HALF_TURN, east) if west == HALF_TURN else (west, east + 2 * HALF_TURN)
        box = shapely.box(west, self.minlat, east, self.maxlat)
        return box if self.crs == WGS84 else unwrapped(box, self.crs, "BBox")

    @property
    def own_bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in the box's own reference system."""
        return self.minlon, self.minlat, self.maxlon, self.maxlat

    @property
    def area_m2(self) -> float:
        """Area on the ellipsoid in square metres."""
        if self.crs != WGS84:
            return geodesic_area(self.unwrapped)
        width = math.radians((self.maxlon - self.minlon) % 360.0 or 360.0)
        return width * (_zone_area(self.maxlat) - _zone_area(self.minlat))

    def __repr__(self) -> str:
        tail = "" if self.crs == WGS84 else f", crs={shown(self.crs)}"
        return f"BBox({self.minlon:.9g}, {self.minlat:.9g}, {self.maxlon:.9g}, {self.maxlat:.9g}{tail})"


def _zone_area(lat: float) -> float:
    """Area between the equator and a parallel for one radian of longitude on WGS 84, in square metres."""
    semi_minor, ecc = 6_356_752.314245, 0.0818191908426215
    sine = ecc * math.sin(math.radians(lat))
    return semi_minor**2 / (2 * ecc) * (sine / (1 - sine * sine) + math.atanh(sine))


@dataclass(frozen=True, repr=False)
class PointBuffer(Place):
    """A square around a point, north up in the local projection, measured in true metres.

    Parameters
    ----------
    lon, lat : float
        The centre in degrees; in a projected system x and y.
    buffer_m : float
        Half the side in metres, above 0 and at most 100,000.
    crs : str or int or CRS, default "EPSG:4326"
        The reference system of `lon` and `lat`, not of the buffer.

    Raises
    ------
    SpecError
        If a number is not finite or out of range, the square would reach a pole, or the reference system is
        unknown.

    Examples
    --------
    >>> PointBuffer(lon=-88.2, lat=40.1, buffer_m=1120)
    PointBuffer(-88.2, 40.1, buffer_m=1120)
    """

    lon: float
    lat: float
    buffer_m: float
    crs: str = WGS84

    def __post_init__(self) -> None:
        for name in ("lon", "lat"):
            object.__setattr__(self, name, number(f"PointBuffer.{name}", getattr(self, name)))
        buffer_m = positive("PointBuffer.buffer_m", self.buffer_m, at_most=LARGEST_BUFFER_M, unit="m")
        object.__setattr__(self, "buffer_m", buffer_m)
        object.__setattr__(self, "crs", crs_text("PointBuffer.crs", self.crs))
        if crs_facts(self.crs).degrees:
            check_lon("PointBuffer.lon", self.lon)
            check_lat("PointBuffer.lat", self.lat)
        lon, lat = self.center
        if not (math.isfinite(lon) and math.isfinite(lat)):
            reason = f"the point lies outside the reach of {self.crs[:40]}"
            raise SpecError("PointBuffer.lon", value=self.lon, reason=reason, fix="check the order (x, y) and the crs")
        if (90 - abs(lat)) * DEGREE_M <= buffer_m * math.sqrt(2):
            reason = "the square reaches a pole, where west and east have no meaning and no sensor used here looks"
            fix = "move the point or use a smaller buffer"
            raise SpecError("PointBuffer.lat", value=self.lat, reason=reason, fix=fix)

    def to_json(self) -> str:
        """Return the place as one line of JSON with sorted keys; written out, for a store may hold millions."""
        crs = _quoted(self.crs)
        return f'{{"buffer_m": {self.buffer_m!r}, "crs": {crs}, "lat": {self.lat!r}, "lon": {self.lon!r}, {_POINT_END}'

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the point, in degrees."""
        if self.crs == WGS84:
            return self.lon, self.lat
        lon, lat = project(self.crs, WGS84, self.lon, self.lat)
        return float(lon), float(lat)

    @property
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, connected across the antimeridian: longitudes may exceed 180."""
        crs = local_crs(*self.center)
        x, y = (float(v) for v in project(WGS84, crs, *self.center))
        half = self.buffer_m
        return unwrapped(shapely.box(x - half, y - half, x + half, y + half), crs, "PointBuffer")

    def __repr__(self) -> str:
        tail = "" if self.crs == WGS84 else f", crs={shown(self.crs)}"
        return f"PointBuffer({self.lon:.9g}, {self.lat:.9g}, buffer_m={self.buffer_m:.9g}{tail})"


_POINT_END: Final = '"type": "PointBuffer"}'


@lru_cache(maxsize=64)
def _quoted(crs: str) -> str:
    return json.dumps(crs)


Spatial = BBox | PointBuffer | Polygon
_KINDS: Final[dict[str, type[BBox | PointBuffer | Polygon]]] = {
    "BBox": BBox,
    "PointBuffer": PointBuffer,
    "Polygon": Polygon,
}


def spatial_from_dict(data: Mapping[str, Any]) -> Spatial:
    """Make a place from what its ``to_dict`` returned.

    Parameters
    ----------
    data : mapping
        With ``"type"``: ``"BBox"``, ``"PointBuffer"`` or ``"Polygon"``.

    Returns
    -------
    BBox or PointBuffer or Polygon

    Raises
    ------
    UnknownNameError
        If the type is none of the three.
    SpecError
        As for the class of that type.
    """
    kind = choice("place type", as_mapping("place", data).get("type"), _KINDS)
    return _KINDS[kind].from_dict(data)
