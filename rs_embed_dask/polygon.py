"""A place with an outline of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import shapely

from rs_embed_dask.checks import number, text
from rs_embed_dask.crs import WGS84, crs_facts, crs_text
from rs_embed_dask.errors import SpecError, shown
from rs_embed_dask.geodesy import geodesic_area, unwrapped
from rs_embed_dask.place import Place, check_area, check_lat, check_lon

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Polygon"]

_FEWEST_CORNERS: Final = 3
_TOUCH: Final = 1e-9
_EXACT_DECIMALS: Final = 30  # beyond which the shortest exact text is written


@lru_cache(maxsize=256)
def _parse(wkt: str) -> shapely.Geometry:
    with np.errstate(invalid="ignore"):  # a NaN corner is refused by name later
        return shapely.force_2d(shapely.from_wkt(wkt))


def _wkt(shape: shapely.Geometry) -> str:
    """Write a shape such that reading it gives the same floats."""
    return str(shapely.to_wkt(shape, rounding_precision=_EXACT_DECIMALS))


@dataclass(frozen=True, repr=False)
class Polygon(Place):
    """A polygon, or several that count as one place.

    Parameters
    ----------
    wkt : str
        Well-known text of a Polygon or MultiPolygon; heights are dropped. In degrees an edge longer than 180 degrees
        is taken the short way, across the antimeridian.
    crs : str or int or CRS, default "EPSG:4326"
        Anything that pyproj understands.

    Raises
    ------
    SpecError
        Where the text is no polygon, is empty, crosses itself, holds coordinates out of range, encloses a pole, is
        larger than 1 000 000 km2, or the reference system is not known.

    Examples
    --------
    >>> Polygon.from_coordinates([(4.3, 50.8), (4.5, 50.8), (4.4, 50.9)])
    Polygon(3 corners round 4.4, 50.85)
    """

    wkt: str
    crs: str = WGS84

    def __post_init__(self) -> None:
        object.__setattr__(self, "crs", crs_text("Polygon.crs", self.crs))
        wkt = text("Polygon.wkt", self.wkt, fix="give well-known text, or use Polygon.from_geometry")
        try:
            shape = _parse(wkt)
        except shapely.errors.GEOSException as error:
            reason = f"this is no well-known text ({error})"
            fix = "write 'POLYGON ((x y, x y, x y, x y))', the last point equal to the first"
            raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix) from error
        self._check(shape)
        object.__setattr__(self, "wkt", _wkt(shape))

    def _check(self, shape: shapely.Geometry) -> None:
        if not isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
            fix = "use PointBuffer for a point" if "Point" in shape.geom_type else "buffer it, or draw its outline"
            reason = f"a Polygon or MultiPolygon is needed, this is a {shape.geom_type}"
            raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix)
        if shape.is_empty:
            fix = "give at least three corners"
            raise SpecError("Polygon.wkt", value=self.wkt, reason="the polygon is empty", fix=fix)
        self._check_corners(shapely.get_coordinates(shape))
        degrees = unwrapped(shape, self.crs, "Polygon")
        self._check_outline(shapely.get_parts(degrees if crs_facts(self.crs).degrees else shape))
        check_area("Polygon", geodesic_area(degrees), self.wkt)

    def _check_outline(self, parts: NDArray[np.object_]) -> None:
        """Refuse parts that cross themselves, cover one another or enclose nothing; they may touch."""
        fix = "repair it, for example with shapely.make_valid"
        for part in parts:
            if not part.is_valid:
                reason = f"its outline is not simple ({shapely.is_valid_reason(part)})"
                raise SpecError("Polygon.wkt", value=self.wkt, reason=reason, fix=fix)
        area = float(shapely.area(parts).sum())
        if area == 0:
            fix = "give corners that enclose something; edges over 180 degrees go the short way round"
            raise SpecError("Polygon.wkt", value=self.wkt, reason="it encloses no area", fix=fix)
        if len(parts) > 1 and shapely.union_all(parts).area < area * (1 - _TOUCH):
            raise SpecError("Polygon.wkt", value=self.wkt, reason="its parts cover one another", fix=fix)

    def _check_corners(self, corners: NDArray[np.float64]) -> None:
        """Refuse the first corner that is not finite or, in degrees, out of range."""
        for axis, name in enumerate(("Polygon.x", "Polygon.y")):
            values = corners[:, axis]
            number(name, float(values[np.argmin(np.isfinite(values))]))
            if crs_facts(self.crs).degrees:
                (check_lat if axis else check_lon)(name, float(values[np.argmax(np.abs(values))]))

    @classmethod
    def from_geometry(cls, shape: shapely.Geometry, crs: object = WGS84) -> Self:
        """Make the place from a shapely Polygon or MultiPolygon.

        Parameters
        ----------
        shape : shapely geometry
            In `crs`.
        crs : str or int or CRS, default "EPSG:4326"
            Anything that pyproj understands.

        Returns
        -------
        Polygon

        Raises
        ------
        SpecError
            Where it is no shapely geometry, or as the class says.
        """
        if not isinstance(shape, shapely.Geometry):
            reason = f"a shapely geometry is needed, this is {type(shape).__name__}"
            raise SpecError("Polygon.from_geometry", value=shape, reason=reason, fix="pass a shapely Polygon")
        return cls(_wkt(shape), crs_text("Polygon.crs", crs))

    @classmethod
    def from_coordinates(cls, corners: object, crs: object = WGS84) -> Self:
        """Make the place from the corners of its outline.

        Parameters
        ----------
        corners : iterable of (x, y)
            At least three; longitude before latitude. The outline is closed by itself.
        crs : str or int or CRS, default "EPSG:4326"
            Anything that pyproj understands.

        Returns
        -------
        Polygon

        Raises
        ------
        SpecError
            Where there are fewer than three corners or one is no pair of numbers, or as the class says.
        """
        fix = "give at least three (x, y) pairs"
        if not isinstance(corners, Iterable):
            reason = f"a list of corners is needed, this is {type(corners).__name__}"
            raise SpecError("Polygon.corners", value=corners, reason=reason, fix=fix)
        pairs = []
        for index, corner in enumerate(corners):
            what = f"Polygon.corners[{index}]"
            try:
                x, y = corner
            except (TypeError, ValueError) as error:
                raise SpecError(what, value=corner, reason="a pair (x, y) is needed", fix=fix) from error
            pairs.append((number(what, x), number(what, y)))
        if len(set(pairs)) < _FEWEST_CORNERS:
            reason = f"{len(set(pairs))} distinct corners enclose nothing"
            raise SpecError("Polygon.corners", value=pairs, reason=reason, fix=fix)
        return cls.from_geometry(shapely.Polygon(pairs), crs)

    @property
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, hanging together across the antimeridian: longitudes may run past 180."""
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
        return f"Polygon({count} corners round {lon:.6g}, {lat:.6g}{tail})"
