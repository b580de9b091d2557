"""Where: a box, a point with a buffer, or a polygon, in any reference system, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import shapely

from rs_embed_dask.checks import choice, number, positive
from rs_embed_dask.crs import WGS84, crs_facts, crs_text, project
from rs_embed_dask.errors import SpecError, shown
from rs_embed_dask.geodesy import HALF_TURN, POLE, geodesic_area, unwrapped
from rs_embed_dask.place import LARGEST_AREA_M2, Place, check_area, check_lat, check_lon
from rs_embed_dask.polygon import Polygon
from rs_embed_dask.record import as_mapping
from rs_embed_dask.zones import local_crs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LARGEST_AREA_M2", "LARGEST_BUFFER_M", "BBox", "PointBuffer", "Polygon", "Spatial", "spatial_from_dict"]

LARGEST_BUFFER_M: Final = 100_000.0
_DEGREE_M: Final = 111_000.0


@dataclass(frozen=True, repr=False)
class BBox(Place):
    """A box along the axes of its reference system.

    Parameters
    ----------
    minlon, minlat, maxlon, maxlat : float
        West, south, east and north in degrees; in a projected system the smallest x and y and the largest x and y.
        In degrees `minlon` above `maxlon` means a box across the antimeridian.
    crs : str or int or CRS, default "EPSG:4326"
        Anything that pyproj understands.

    Raises
    ------
    SpecError
        Where a number is not finite or out of range, the order is wrong, the box is larger than 1 000 000 km2, it
        touches a pole, or the reference system is not known.

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
        check_area("BBox", self.area_m2, self)

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
        """The place in degrees, hanging together across the antimeridian: longitudes may run past 180."""
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
    """A square round a point, north up in the local projection, measured in true metres.

    Parameters
    ----------
    lon, lat : float
        The middle in degrees; in a projected system x and y.
    buffer_m : float
        Half the side in metres, above 0 and at most 100 000.
    crs : str or int or CRS, default "EPSG:4326"
        The reference system of `lon` and `lat`, not of the buffer.

    Raises
    ------
    SpecError
        Where a number is not finite or out of range, the square would reach over a pole, or the reference system is
        not known.

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
        if (90 - abs(lat)) * _DEGREE_M <= buffer_m * math.sqrt(2):
            reason = "the square reaches a pole, where west and east have no meaning and no sensor used here looks"
            fix = "move the point or take a smaller buffer"
            raise SpecError("PointBuffer.lat", value=self.lat, reason=reason, fix=fix)

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the point, in degrees."""
        if self.crs == WGS84:
            return self.lon, self.lat
        lon, lat = project(self.crs, WGS84, self.lon, self.lat)
        return float(lon), float(lat)

    @property
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, hanging together across the antimeridian: longitudes may run past 180."""
        crs = local_crs(*self.center)
        x, y = (float(v) for v in project(WGS84, crs, *self.center))
        half = self.buffer_m
        return unwrapped(shapely.box(x - half, y - half, x + half, y + half), crs, "PointBuffer")

    def __repr__(self) -> str:
        tail = "" if self.crs == WGS84 else f", crs={shown(self.crs)}"
        return f"PointBuffer({self.lon:.9g}, {self.lat:.9g}, buffer_m={self.buffer_m:.9g}{tail})"


Spatial = BBox | PointBuffer | Polygon
_KINDS: Final[dict[str, type[BBox | PointBuffer | Polygon]]] = {
    "BBox": BBox,
    "PointBuffer": PointBuffer,
    "Polygon": Polygon,
}


def spatial_from_dict(data: Mapping[str, Any]) -> Spatial:
    """Make a place from what its ``to_dict`` gave.

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
        Where the type is none of the three.
    SpecError
        As the class of that type says.
    """
    kind = choice("place type", as_mapping("place", data).get("type"), _KINDS)
    return _KINDS[kind].from_dict(data)
