"""What lies where in the made landscape: a river and lakes, a wood, fields in strips, a town with streets.

Everything is a function of longitude and latitude alone, so any two grids see the same ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.crs import WGS84, project
from rs_embed_dask.providers.made.noise import Floats, Places, cell_hash, rough, smooth, unit
from rs_embed_dask.providers.made.spectra import CLASS_OF, VARIANTS, first_of

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid_types import Grid

__all__ = ["Ground", "class_at", "ground_of", "materials_at"]

Codes = npt.NDArray[np.uint8]

_EARTH_M: Final = 6_378_137.0
_HIGHEST_LAT: Final = 89.9
_CELL_M: Final = 10.0
_FIELD_M: Final = (560.0, 430.0)
_STRIPS: Final = (2, 6)
_TURN: Final = 0.30
_TRACK_M: Final = 6.0
_STREET_M: Final = 110.0
_HOUSE_M: Final = 22.0
_ROAD_M: Final = 12.0
_WINTER, _CROPS = 0.40, 0.75  # shares of the strips: winter crops, and all crops


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground under the pixels of a grid. Arrays have one element a pixel, in raster order.

    Parameters
    ----------
    tile : ndarray of int16 (2, P)
        Whole degrees of longitude and latitude: the tile of scenes in which a pixel lies.
    x, y : ndarray of float64
        Metres of the map in which the landscape is made.
    material : ndarray of uint8
        What it is; see `spectra.MATERIALS`.
    texture : ndarray of float32
        Brightness about 1.
    """

    tile: npt.NDArray[np.int16]
    x: Places
    y: Places
    material: Codes
    texture: Floats


@lru_cache(maxsize=8)
def ground_of(grid: Grid, seed: int) -> Ground:
    """Return the ground under a grid; kept for a while, for the frames of a read share it.

    Parameters
    ----------
    grid : Grid
        Any grid.
    seed : int
        Of the landscape.

    Returns
    -------
    Ground
    """
    columns, rows = np.meshgrid(grid.xs, grid.ys)
    lon, lat = (np.asarray(part).ravel() for part in project(grid.crs, WGS84, columns, rows))
    lon = _wrapped(lon)
    x, y = _map(lon, lat)
    tile = np.floor(np.stack([lon, lat])).astype(np.int16)
    material = materials_at(x, y, seed)
    bits = cell_hash(np.floor(x / _CELL_M).astype(np.int64), np.floor(y / _CELL_M).astype(np.int64), seed + 71)
    patch = smooth(x, y, 70.0, seed=seed + 72)
    texture = np.float32(0.86) + np.float32(0.14) * unit(bits) + np.float32(0.14) * patch
    return Ground(tile, x, y, material, texture)


def class_at(lon: npt.ArrayLike, lat: npt.ArrayLike, seed: int) -> Codes:
    """Return the class of the ground at some places.

    Parameters
    ----------
    lon, lat : array_like
        Degrees, shapes that broadcast.
    seed : int
        Of the landscape.

    Returns
    -------
    ndarray of uint8
        Positions in `CLASSES`.
    """
    east, north = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    x, y = _map(_wrapped(east.ravel()), north.ravel())
    found: Codes = np.asarray(CLASS_OF)[materials_at(x, y, seed)]
    return found.reshape(east.shape)


def _wrapped(lon: Places) -> Places:
    return (lon + 180.0) % 360.0 - 180.0


def _map(lon: Places, lat: Places) -> tuple[Places, Places]:
    """Return Mercator metres: no shear, no seams but the antimeridian, whatever the latitude."""
    north = np.radians(np.clip(lat, -_HIGHEST_LAT, _HIGHEST_LAT))
    return _EARTH_M * np.radians(lon), _EARTH_M * np.arcsinh(np.tan(north))


def materials_at(x: Places, y: Places, seed: int) -> Codes:
    """Return what lies at some places of the map.

    Parameters
    ----------
    x, y : ndarray of float64 (P,)
        Metres of the map.
    seed : int
        Of the landscape.

    Returns
    -------
    ndarray of uint8 (P,)
    """
    bent = 40.0 * (smooth(x, y, 520.0, seed=seed + 1) - np.float32(0.5))
    east, north = x + bent, y - 1.3 * bent
    found = _fields(east, north, seed)
    wood = rough(x, y, 1500.0, seed=seed + 2, octaves=3)
    trees = wood > np.float32(0.60)
    found[trees] = first_of("forest") + (wood[trees] > np.float32(0.67)) * np.uint8(VARIANTS // 2)
    town = smooth(x, y, 2300.0, seed=seed + 3) + np.float32(0.25) * smooth(x, y, 400.0, seed=seed + 4)
    built = town > np.float32(0.93)
    found[built] = _streets(x[built], y[built], seed)
    river = np.abs(rough(x, y, 3800.0, seed=seed + 5) - np.float32(0.5))
    lake = smooth(x, y, 1300.0, seed=seed + 6)
    meadow = (river < np.float32(0.022)) & ~built
    found[meadow] = first_of("grassland")
    found[(river < np.float32(0.010)) | ((lake > np.float32(0.93)) & ~built)] = first_of("water")
    return found


def _fields(x: Places, y: Places, seed: int) -> Codes:
    """Lay out blocks of parallel strips, each strip one crop, with tracks between the blocks."""
    cos, sin = math.cos(_TURN), math.sin(_TURN)
    along, across = (cos * x + sin * y) / _FIELD_M[0], (cos * y - sin * x) / _FIELD_M[1]
    column, row = np.floor(along).astype(np.int64), np.floor(across).astype(np.int64)
    u, v = along - column, across - row
    bits = cell_hash(column, row, seed + 11)
    lengthwise = (bits & np.uint32(1)).astype(bool)
    fewest, most = _STRIPS
    count = fewest + (bits >> np.uint32(1)) % np.uint32(most - fewest)
    strip = np.floor(np.where(lengthwise, u, v) * count).astype(np.int64)
    bits = cell_hash(column * np.int64(16) + strip, row, seed + 12)
    share = unit(bits)
    variant = (bits & np.uint32(VARIANTS - 1)).astype(np.uint8)
    start = np.select(
        [share < _WINTER, share < _CROPS], [first_of("winter_crop"), first_of("summer_crop")], first_of("grassland")
    )
    found = start.astype(np.uint8) + variant
    edge_u, edge_v = _TRACK_M / _FIELD_M[0], _TRACK_M / _FIELD_M[1]
    found[(u < edge_u) | (v < edge_v)] = first_of("grassland") + VARIANTS - 1
    return found


def _streets(x: Places, y: Places, seed: int) -> Codes:
    """Lay out streets, roofs and gardens."""
    street = (x % _STREET_M < _ROAD_M) | (y % (0.7 * _STREET_M) < _ROAD_M)
    bits = cell_hash(np.floor(x / _HOUSE_M).astype(np.int64), np.floor(y / _HOUSE_M).astype(np.int64), seed + 21)
    kind = np.uint8(1) + (bits % np.uint32(VARIANTS - 1)).astype(np.uint8)
    return (first_of("built") + np.where(street, np.uint8(0), kind)).astype(np.uint8)
