"""Reference systems: how they are named, what must be known of them, and the way from one to another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["WGS84", "CrsFacts", "crs_facts", "crs_text", "metric_crs", "project"]

WGS84: Final = "EPSG:4326"
_DEGREE: Final = math.pi / 180
_CRS_FIX: Final = "give an EPSG code such as 'EPSG:32631', or leave crs out for longitude and latitude"


@dataclass(frozen=True)
class CrsFacts:
    """What must be known of a reference system.

    Parameters
    ----------
    geographic : bool
        Coordinates are longitude and latitude.
    unit : float
        Metres (projected) or radians (geographic) in one unit of the first axis.
    epsg : int or None
        The EPSG code, if it has one.
    """

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
    if authority == ("OGC", "CRS84"):
        return WGS84
    return ":".join(authority) if authority else str(crs.to_string())


def crs_text(what: str, value: object) -> str:
    """Return a reference system as its one text: ``"EPSG:n"`` where it has a code, else PROJ or WKT text.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        An EPSG number, a text, or the CRS of pyproj, rasterio or odc-geo.

    Returns
    -------
    str

    Raises
    ------
    SpecError
        Where pyproj does not know it, or it has no horizontal coordinates.
    """
    if value is None or isinstance(value, bool):
        raise SpecError(what, value=value, reason="this is no reference system", fix=_CRS_FIX)
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
    """Return what must be known of a reference system.

    Parameters
    ----------
    crs : str
        As `crs_text` gives it.

    Returns
    -------
    CrsFacts
    """
    parsed = _parsed(crs)
    return CrsFacts(
        geographic=bool(parsed.is_geographic),
        unit=float(parsed.axis_info[0].unit_conversion_factor),
        epsg=parsed.to_epsg(min_confidence=100),
    )


@lru_cache(maxsize=512)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(_parsed(source), _parsed(target), always_xy=True)


def project(source: str, target: str, *xy: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bring coordinates from one reference system to another, always x (longitude) before y (latitude).

    Parameters
    ----------
    source, target : str
        As `crs_text` gives them.
    *xy : two array-likes of float
        x and y in `source`, of one shape.

    Returns
    -------
    (ndarray, ndarray)
        Coordinates in `target`; infinite where it has none.
    """
    x, y = (np.asarray(values, dtype=float) for values in xy)
    if source == target:
        return x, y
    moved_x, moved_y = _transformer(source, target).transform(x, y)
    return np.asarray(moved_x), np.asarray(moved_y)


def metric_crs(what: str, value: object) -> str:
    """Return a projected reference system whose unit is the metre, as text.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        Anything that pyproj understands.

    Returns
    -------
    str

    Raises
    ------
    SpecError
        Where it is not known, or its unit is degrees or feet.
    """
    crs = crs_text(what, value)
    facts = crs_facts(crs)
    if facts.geographic or facts.unit != 1.0:
        reason = f"pixels are measured in metres and this is in {'degrees' if facts.geographic else 'another unit'}"
        raise SpecError(what, value=value, reason=reason, fix="leave crs out for local UTM, or give one in metres")
    return crs
