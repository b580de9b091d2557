"""What the kinds of place share: checks of coordinates and area, and all that follows from a shape in degrees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import SpecError
from rs_embed_dask.geodesy import HALF_TURN, POLE, geodesic_area, lonlat_boxes, split_at_antimeridian, wrap_lon
from rs_embed_dask.record import Record

if TYPE_CHECKING:
    import shapely

__all__ = ["LARGEST_AREA_M2", "Place", "check_area", "check_lat", "check_lon"]

LARGEST_AREA_M2: Final = 1e12
_SPLIT_FIX: Final = "split it into smaller places, or use compute_map"


def check_lon(what: str, value: float) -> None:
    """Refuse a longitude outside [-180, 180].

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : float
        Degrees.

    Raises
    ------
    SpecError
        Where it lies outside.
    """
    if abs(value) > HALF_TURN:
        same = f"write {wrap_lon(value):g} for the same meridian, " if abs(value) <= 2 * HALF_TURN else ""
        fix = f"{same}give degrees, or pass crs="
        raise SpecError(what, value=value, reason="longitudes lie in [-180, 180]", fix=fix)


def check_lat(what: str, value: float) -> None:
    """Refuse a latitude outside [-90, 90].

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : float
        Degrees.

    Raises
    ------
    SpecError
        Where it lies outside.
    """
    if abs(value) > POLE:
        fix = "give degrees, check that longitude comes first, or pass crs="
        raise SpecError(what, value=value, reason="latitudes lie in [-90, 90]", fix=fix)


def check_area(what: str, area_m2: float, value: object) -> None:
    """Refuse a place that is too large to be read at once.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    area_m2 : float
        Its area in square metres.
    value : object
        The place, for the message.

    Raises
    ------
    SpecError
        Where the area is above 1 000 000 km2.
    """
    if area_m2 > LARGEST_AREA_M2:
        reason = (
            f"its area is {area_m2 / 1e6:,.0f} km2 and at most {LARGEST_AREA_M2 / 1e6:,.0f} km2 are read as one place"
        )
        raise SpecError(what, value=value, reason=reason, fix=_SPLIT_FIX)


class Place(Record, ABC):
    """What the three kinds of place share: all is derived from the shape in degrees."""

    @property
    @abstractmethod
    def unwrapped(self) -> shapely.Geometry:
        """The place in degrees, hanging together across the antimeridian: longitudes may run past 180."""

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the middle, in degrees."""
        west, south, east, north = self.unwrapped.bounds
        return wrap_lon((west + east) / 2), (south + north) / 2

    @property
    def geometry(self) -> shapely.Geometry:
        """The place in EPSG:4326, cut in two (a MultiPolygon) where it crosses the antimeridian."""
        return split_at_antimeridian(self.unwrapped)

    @property
    def lonlat_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """One (west, south, east, north) round the place, or two where it crosses the antimeridian; degrees."""
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
