"""Which projection is true to the ground at a place: UTM with its exceptions, polar stereographic past its limits."""

from __future__ import annotations

from typing import Final

__all__ = ["UTM_NORTH_LIMIT", "UTM_SOUTH_LIMIT", "local_crs", "polar_crs", "utm_zone"]

UTM_NORTH_LIMIT: Final = 84.0
UTM_SOUTH_LIMIT: Final = -80.0

# From latitude, to latitude, and the zones there that are not 6 degrees wide: from longitude, to longitude, number
_NORWAY: Final = (56.0, 64.0, ((3.0, 12.0, 32),))
_SVALBARD: Final = (72.0, 84.0, ((0.0, 9.0, 31), (9.0, 21.0, 33), (21.0, 33.0, 35), (33.0, 42.0, 37)))

# Past UTM, |latitude| up to the first number uses the parallel of true scale that is the second: scale error < 0.2 %
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
    lon = (lon + 180.0) % 360.0 - 180.0
    for south, north, zones in (_NORWAY, _SVALBARD):
        # Band V ends below 64 degrees, band X includes 84
        if south <= lat < north or lat == north == UTM_NORTH_LIMIT:
            for west, east, zone in zones:
                if west <= lon < east:
                    return zone
    return int((lon + 180.0) // 6.0) % 60 + 1


def polar_crs(lat: float) -> str:
    """Return the polar stereographic projection for a latitude, as a PROJ text.

    EPSG:3413 and EPSG:3031 are true at 70 and 71 degrees and 3 % off at the pole, UPS is 0.6 % off there. These are
    true at 81, 83 or 86 degrees, whichever is near, and within 0.2 % over the band that they serve.

    Parameters
    ----------
    lat : float
        Degrees, beyond 80 south or 84 north.

    Returns
    -------
    str
        For example ``"+proj=stere +lat_0=90 +lat_ts=86 +lon_0=0 +datum=WGS84 +units=m +no_defs +type=crs"``.
    """
    true_at = next(true for limit, true in _POLAR_BANDS if abs(lat) <= limit)
    pole, true_at = (90, true_at) if lat > 0 else (-90, -true_at)
    return f"+proj=stere +lat_0={pole} +lat_ts={true_at} +lon_0=0 +datum=WGS84 +units=m +no_defs +type=crs"


def local_crs(lon: float, lat: float) -> str:
    """Return the projection in whose metres a place is measured.

    Parameters
    ----------
    lon, lat : float
        Degrees.

    Returns
    -------
    str
        ``"EPSG:326zz"`` (UTM north), ``"EPSG:327zz"`` (south), or a polar stereographic PROJ text.

    Examples
    --------
    >>> local_crs(4.35, 50.85)  # Brussels
    'EPSG:32631'
    """
    if not UTM_SOUTH_LIMIT <= lat <= UTM_NORTH_LIMIT:
        return polar_crs(lat)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + utm_zone(lon, lat)}"
