"""Shapes on the earth: longitudes across 180 degrees, areas, and the scale error of projections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DEGREE_M",
    "GEOD",
    "HALF_TURN",
    "POLE",
    "UTM_NORTH_LIMIT",
    "UTM_SOUTH_LIMIT",
    "WGS84",
    "CrsFacts",
    "crs_facts",
    "crs_text",
    "geodesic_area",
    "has_heights",
    "local_crs",
    "lonlat_bounds",
    "lonlat_boxes",
    "metric_crs",
    "outline",
    "polar_crs",
    "project",
    "scale_error",
    "side_text",
    "split_at_antimeridian",
    "unit_m",
    "unwrapped",
    "utm_zone",
    "utm_zones",
    "wrap_lon",
]

WGS84: Final = "EPSG:4326"
DEGREE_M: Final = 111_320.0
"""A degree along the equator."""

_DEGREE: Final = math.pi / 180
_FLAT: Final = 2
_CRS_FIX: Final = "give an EPSG code such as 'EPSG:32631', or leave crs out for longitude and latitude"


@dataclass(frozen=True)
class CrsFacts:
    """Properties of a reference system."""

    geographic: bool
    unit: float
    epsg: int | None

    @property
    def degrees(self) -> bool:
        """Coordinates are longitude and latitude in degrees."""
        return self.geographic and math.isclose(self.unit, _DEGREE, rel_tol=1e-6)


@lru_cache(maxsize=512)
def _parsed(source: str) -> CRS:
    return CRS.from_user_input(source)


@lru_cache(maxsize=512)
def _canonical(source: str) -> str:
    crs = _parsed(source)
    authority = crs.to_authority(min_confidence=100)
    if authority in {("OGC", "CRS84"), ("OGC", "CRS84h")}:
        return WGS84
    if len(crs.axis_info) > _FLAT and (crs.is_geographic or crs.is_projected):
        return _canonical((crs.sub_crs_list[0] if crs.is_compound else crs.to_2d()).to_wkt())
    return ":".join(authority) if authority else str(crs.to_string())


def crs_text(what: str, value: object) -> str:
    """Return the canonical text of a reference system, heights left out: ``"EPSG:n"``, else PROJ or WKT."""
    if value is None or isinstance(value, bool):
        raise SpecError(what, value=value, reason="this is not a reference system", fix=_CRS_FIX)
    try:
        source = value if isinstance(value, str) else CRS.from_user_input(value).to_string()
        name = _canonical(source)
    except (CRSError, TypeError, ValueError) as error:
        reason = f"pyproj does not know this reference system ({_first_line(error)})"
        raise SpecError(what, value=value, reason=reason, fix=_CRS_FIX) from error
    crs = _parsed(name)
    if not (crs.is_geographic or crs.is_projected):
        reason = f"a {crs.type_name} has no map coordinates"
        raise SpecError(what, value=value, reason=reason, fix="give a geographic or a projected reference system")
    return name


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120]


@lru_cache(maxsize=512)
def crs_facts(crs: str) -> CrsFacts:
    """Return the properties of a reference system."""
    parsed = _parsed(crs)
    return CrsFacts(
        geographic=bool(parsed.is_geographic),
        unit=float(parsed.axis_info[0].unit_conversion_factor),
        epsg=parsed.to_epsg(min_confidence=100),
    )


@lru_cache(maxsize=512)
def has_heights(crs: str) -> bool:
    """Tell whether a reference system, as it is written, has heights beside the horizontal coordinates."""
    return len(_parsed(crs).axis_info) > 2  # noqa: PLR2004 - x and y


@lru_cache(maxsize=512)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(_parsed(source), _parsed(target), always_xy=True)


def project(source: str, target: str, *xy: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Transform coordinates between reference systems, always x (longitude) before y (latitude)."""
    x, y = (np.asarray(values, dtype=float) for values in xy)
    if source == target:
        return x, y
    moved_x, moved_y = _transformer(source, target).transform(x, y)
    return np.asarray(moved_x), np.asarray(moved_y)


def lonlat_bounds(crs: str, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a rectangle in degrees; east exceeds 180 beyond the antimeridian."""
    west, south, east, north = _transformer(crs, WGS84).transform_bounds(*bounds)
    return west, south, east if east >= west else east + 2 * HALF_TURN, north


def metric_crs(what: str, value: object) -> str:
    """Return a projected reference system whose unit is the metre, as text."""
    crs = crs_text(what, value)
    facts = crs_facts(crs)
    if facts.geographic or facts.unit != 1.0:
        reason = f"pixels are measured in metres, and this is in {'degrees' if facts.geographic else 'another unit'}"
        raise SpecError(what, value=value, reason=reason, fix="leave crs out for local UTM, or give one in metres")
    return crs


def unit_m(crs: str) -> float:
    """Return the metres of one unit of a system's coordinates; of a degree, along the equator."""
    facts = crs_facts(crs)
    return DEGREE_M if facts.degrees else facts.unit


def side_text(side_m: float, crs: str) -> str:
    """Say how long the side of a cell is, which is given in metres, in the unit of its system."""
    if not crs_facts(crs).degrees:
        return f"{side_m:g} m"
    return f"{side_m / DEGREE_M:g} degrees ({side_m / 1000:.3g} km at the equator)"


UTM_NORTH_LIMIT: Final = 84.0
UTM_SOUTH_LIMIT: Final = -80.0

# (south, north, zones that are not 6 degrees wide as (west, east, number)), in degrees
_NORWAY: Final = (56.0, 64.0, ((3.0, 12.0, 32),))
_SVALBARD: Final = (72.0, 84.0, ((0.0, 9.0, 31), (9.0, 21.0, 33), (21.0, 33.0, 35), (33.0, 42.0, 37)))

# Beyond UTM: (highest |latitude|, parallel of true scale), chosen so that the scale error stays below 0.2 %
_POLAR_BANDS: Final = ((82.0, 81), (84.0, 83), (90.0, 86))


def utm_zone(lon: float, lat: float) -> int:
    """Return the number of the UTM zone, with the exceptions of Norway (32V) and Svalbard (31X to 37X).

    Parameters
    ----------
    lon, lat : float
        Degrees; latitude within [-80, 84].

    Returns
    -------
    int
        1 to 60.

    Examples
    --------
    >>> utm_zone(5.32, 60.39)  # Bergen
    32
    """
    return int(utm_zones([lon], [lat])[0])


def utm_zones(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """Return the numbers of the UTM zones of many places, as `utm_zone` does for one."""
    lons, lats = (np.asarray(values, dtype=float) for values in (lon, lat))
    lons = (lons + 180.0) % 360.0 - 180.0
    zones = np.asarray((lons + 180.0) // 6.0 % 60, dtype=np.int64) + 1
    for south, north, exceptions in (_NORWAY, _SVALBARD):
        # Band V ends below 64 degrees, band X includes 84
        is_inside = (south <= lats) & ((lats < north) | ((lats == north) & (north == UTM_NORTH_LIMIT)))
        for west, east, zone in exceptions:
            zones[is_inside & (west <= lons) & (lons < east)] = zone
    return zones


def polar_crs(lat: float) -> str:
    """Return the polar stereographic projection for a latitude, as a PROJ string."""
    # EPSG:3413 and EPSG:3031 are true at 70 and 71 degrees and 3 % off at the pole, UPS is 0.6 % off there. These
    # are true at 81, 83 or 86 degrees, whichever is near, and within 0.2 % over the band that they serve.
    true_at = next(true for limit, true in _POLAR_BANDS if abs(lat) <= limit)
    pole, true_at = (90, true_at) if lat > 0 else (-90, -true_at)
    return f"+proj=stere +lat_0={pole} +lat_ts={true_at} +lon_0=0 +datum=WGS84 +units=m +no_defs +type=crs"


def local_crs(lon: float, lat: float) -> str:
    """Return the projection in which a place is measured in metres.

    Parameters
    ----------
    lon, lat : float
        Degrees.

    Returns
    -------
    str
        ``"EPSG:326zz"`` (UTM north), ``"EPSG:327zz"`` (south), or a polar stereographic PROJ string.

    Examples
    --------
    >>> local_crs(4.35, 50.85)  # Brussels
    'EPSG:32631'
    """
    if not UTM_SOUTH_LIMIT <= lat <= UTM_NORTH_LIMIT:
        return polar_crs(lat)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + utm_zone(lon, lat)}"


GEOD: Final = Geod(ellps="WGS84")
HALF_TURN: Final = 180.0
POLE: Final = 90.0
_LONGEST_STEP_M: Final = 10_000.0
_EARTH_M: Final = 6_371_000.0


def wrap_lon(lon: float) -> float:
    """Return a longitude within [-180, 180); 180 itself stays."""
    return lon if abs(lon) <= HALF_TURN else (lon + HALF_TURN) % 360.0 - HALF_TURN


def _step(shape: shapely.Geometry, crs: str, bend_m: float) -> float:
    """Return how long an edge may be, in units of `crs`, so that it bends less than `bend_m` in another projection."""
    left, bottom, right, top = shape.bounds
    mid_x, mid_y = (left + right) / 2, (bottom + top) / 2
    _, lats = project(crs, WGS84, [left, left, right, right, mid_x], [bottom, top, bottom, top, mid_y])
    from_pole = math.radians(max(90.0 - float(np.max(np.abs(lats))), 1e-4)) * _EARTH_M
    # A parallel bends most: about like a circle round the pole, whose chord of sagitta s is sqrt(8 * radius * s) long.
    metres = min(_LONGEST_STEP_M, math.sqrt(8 * from_pole * bend_m))
    facts = crs_facts(crs)
    units = metres / (facts.unit * (_EARTH_M if facts.geographic else 1.0))
    return max(units, float(right - left + top - bottom) / 4000)


def outline(shape: shapely.Geometry, crs: str, *, bend_m: float = 0.05) -> NDArray[np.float64]:
    """Return points along a shape, dense enough that straight lines between them hold in another projection."""
    return np.asarray(shapely.get_coordinates(shapely.segmentize(shape, _step(shape, crs, bend_m))))


def scale_error(crs: str, bounds: tuple[float, float, float, float]) -> float:
    """Return the largest relative difference between a metre of a projection and one on the ground, within bounds."""
    step = 1000.0 / crs_facts(crs).unit
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(*bounds[::2], 5), np.linspace(*bounds[1::2], 5)))
    worst = 0.0
    for dx, dy in ((step / 2, 0.0), (0.0, step / 2)):
        lon, lat = project(crs, WGS84, [x - dx, x + dx], [y - dy, y + dy])
        _, _, ground = GEOD.inv(lon[0], lat[0], lon[1], lat[1])
        worst = max(worst, float(np.abs(1000.0 / np.asarray(ground) - 1.0).max()))
    return worst


def _ring(coords: NDArray[Any], crs: str, what: str) -> NDArray[Any]:
    """Transform a ring to degrees with no jump between neighbouring corners; (N, 2)."""
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
    """Transform a shape to degrees so that it stays connected across the antimeridian."""
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
    """Move parts on both sides of the antimeridian to its far side, if that makes the whole narrower."""
    west, _, east, _ = shapely.MultiPolygon(parts).bounds
    shifted = [shapely.transform(p, lambda xy: xy + np.array([360.0, 0.0])) if p.bounds[2] <= 0 else p for p in parts]
    moved = shapely.MultiPolygon(shifted)
    if moved.bounds[2] - moved.bounds[0] >= east - west:
        return shapely.MultiPolygon(parts)
    return shapely.union_all(shifted) if all(part.is_valid for part in shifted) else moved


def split_at_antimeridian(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut an unwrapped shape at 180 degrees and move the far part back to -180."""
    if shape.bounds[2] <= HALF_TURN:
        return shape
    near = shapely.intersection(shape, shapely.box(-180, -90, 180, 90))
    far = shapely.intersection(shape, shapely.box(180, -90, 540, 90))
    moved = shapely.transform(far, lambda xy: xy - np.array([360.0, 0.0]))
    parts = [*_polygons(near), *_polygons(moved)]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def lonlat_boxes(shape: shapely.Geometry) -> tuple[tuple[float, float, float, float], ...]:
    """Return the one or two boxes around an unwrapped shape."""
    west, south, east, north = shape.bounds
    if east <= HALF_TURN:
        return ((west, south, east, north),)
    return (west, south, 180.0, north), (-180.0, south, east - 360.0, north)


def geodesic_area(shape: shapely.Geometry) -> float:
    """Return the area of a lon/lat shape on the ellipsoid."""
    fine = shapely.segmentize(shape, max(0.1, shape.length / 4000))
    area, _ = GEOD.geometry_area_perimeter(shapely.orient_polygons(fine))
    return abs(float(area))
