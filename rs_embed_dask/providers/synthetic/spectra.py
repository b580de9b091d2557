"""The look of the landscape's materials through the year: reflectance at any wavelength, backscatter, temperature."""

from __future__ import annotations

import datetime as dt
import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.sensor_types import KELVIN, Band

__all__ = ["CLASSES", "CLASS_OF", "VARIANTS", "backscatter_db", "first_of", "greenness", "table", "vegetated"]

CLASSES: Final = ("water", "forest", "grassland", "winter_crop", "summer_crop", "built")
VARIANTS: Final = 8
CLASS_OF: Final = tuple(code // VARIANTS for code in range(VARIANTS * len(CLASSES)))
"""Class of each material; a class has 8 variants."""

Floats = npt.NDArray[np.float32]

_UM: Final = (0.40, 0.44, 0.49, 0.56, 0.665, 0.705, 0.74, 0.783, 0.842, 0.865, 0.945, 1.24, 1.375, 1.61, 2.20, 2.4)
# reflectance in percent at those wavelengths
_SPECTRA: Final = {
    "leaf": (2.0, 2.2, 2.8, 6.5, 3.6, 10.5, 28, 38, 43, 45, 44, 41, 22, 21, 10.5, 9),
    "needle": (1.5, 1.7, 2.1, 3.8, 2.6, 6.0, 15, 20, 23, 24, 24, 22, 12, 10.5, 5.2, 4.5),
    "twig": (3.0, 3.4, 4.2, 6.0, 8.0, 10, 13, 16, 18, 19, 20, 23, 18, 22, 15, 13),
    "soil": (5.8, 6.6, 8.6, 11.6, 14.8, 16.6, 18.6, 21.5, 23.5, 24.5, 26, 31, 26, 34, 29, 27),
    "straw": (6.5, 7.5, 10.0, 15.0, 20.5, 23, 26, 28, 30, 31, 32, 36, 27, 34, 24, 21),
    "water": (6.2, 6.0, 5.6, 4.8, 2.9, 2.3, 1.7, 1.6, 1.3, 1.2, 1.0, 0.6, 0.4, 0.5, 0.4, 0.3),
    "asphalt": (8.0, 8.6, 9.5, 10.8, 12.0, 12.4, 12.9, 13.3, 13.8, 14, 14.4, 15.5, 14, 16.2, 15.5, 15),
    "tile": (6.0, 6.6, 8.2, 12.0, 22.0, 24, 26, 27, 28, 28.5, 29.5, 33, 29, 36, 34, 32),
    "pale": (19, 21, 24, 27, 29, 30, 31, 31.5, 32.5, 33, 33.5, 35, 31, 35, 31, 29),
}
# what each variant of a built-up cell is: streets first, then roofs and gardens
_BUILT: Final = (
    {"asphalt": 1.0},
    {"tile": 0.8, "asphalt": 0.2},
    {"tile": 0.6, "pale": 0.4},
    {"pale": 0.8, "asphalt": 0.2},
    {"asphalt": 0.6, "pale": 0.4},
    {"asphalt": 0.5, "tile": 0.3, "leaf": 0.2},
    {"leaf": 0.5, "soil": 0.2, "asphalt": 0.3},
    {"tile": 0.5, "leaf": 0.3, "asphalt": 0.2},
)
# class -> VV and VH in dB where bare and where green
_BACKSCATTER: Final = {
    "water": ((-21.0, -28.5), (-21.0, -28.5)),
    "forest": ((-9.8, -15.2), (-8.6, -13.6)),
    "grassland": ((-12.8, -20.5), (-11.6, -18.5)),
    "winter_crop": ((-10.8, -19.5), (-14.2, -20.0)),
    "summer_crop": ((-11.2, -20.5), (-9.4, -15.4)),
    "built": ((-4.2, -11.2), (-5.5, -12.0)),
}
_YEAR: Final = 365.25
_HALF_YEAR: Final = 183
_CROSS: Final = frozenset({"vh", "hv"})
_AIR: Final = 0.010


def first_of(name: str) -> int:
    """Return the first material of a class."""
    return CLASSES.index(name) * VARIANTS


@lru_cache(maxsize=256)
def vegetated(day: dt.date, *, south: bool) -> npt.NDArray[np.bool_]:
    """Return which materials a scene classification would call vegetation on a day."""
    green: npt.NDArray[np.bool_] = np.array([greenness(code, day, south=south) > 0.35 for code in range(len(CLASS_OF))])  # noqa: PLR2004 - half green
    return green


def greenness(material: int, day: dt.date, *, south: bool) -> float:
    """Return how green a material is on a day."""
    doy = ((day.timetuple().tm_yday + (_HALF_YEAR if south else 0)) % _YEAR) / _YEAR
    name, variant = CLASSES[material // VARIANTS], material % VARIANTS
    shift = (variant - (VARIANTS - 1) / 2) * 0.006
    summer = 0.5 - 0.5 * math.cos(2 * math.pi * (doy - 0.02))
    if name == "forest":
        return 0.85 + 0.1 * summer if variant >= VARIANTS // 2 else 0.10 + 0.85 * _rise(doy, 0.32, 0.78)
    if name == "grassland":
        return 0.0 if variant == VARIANTS - 1 else 0.35 + 0.45 * summer - 0.15 * _rise(doy, 0.50 + shift, 0.58 + shift)
    if name == "winter_crop":
        return 0.05 + 0.90 * _rise(doy, 0.27 + shift, 0.50 + shift) + 0.25 * _rise((doy + 0.5) % 1, 0.38, 0.76)
    if name == "summer_crop":
        return 0.03 + 0.92 * _rise(doy, 0.44 + shift, 0.74 + shift)
    return 0.0


def _rise(at: float, up: float, down: float) -> float:
    """Return a season that begins at `up` and ends at `down`, as parts of a year."""
    steep = 55.0
    return 1 / (1 + math.exp(-steep * (at - up))) * (1 - 1 / (1 + math.exp(-steep * (at - down))))


def _mix(material: int, day: dt.date, *, south: bool) -> dict[str, float]:
    """Return what a pixel of a material is made of on a day."""
    name, variant = CLASSES[material // VARIANTS], material % VARIANTS
    green = min(1.0, greenness(material, day, south=south))
    if name == "water":
        return {"water": 1.0}
    if name == "built":
        return _BUILT[variant]
    if name == "forest":
        return {"needle": green, "twig": 1 - green} if variant >= VARIANTS // 2 else {"leaf": green, "twig": 1 - green}
    ripe = 0.35 + 0.05 * (variant % 4)
    dry = ripe if name == "winter_crop" else 0.2
    return {"leaf": green, "straw": (1 - green) * dry, "soil": (1 - green) * (1 - dry)}


@lru_cache(maxsize=256)
def _mixes(day: dt.date, *, south: bool) -> Floats:
    """Return the shares of the pure spectra in every material on a day, (materials, spectra)."""
    names = list(_SPECTRA)
    out = np.zeros((len(CLASS_OF), len(names)), np.float32)
    for code in range(len(CLASS_OF)):
        for name, share in _mix(code, day, south=south).items():
            out[code, names.index(name)] = share
    return out


@lru_cache(maxsize=64)
def _pure(bands: tuple[Band, ...]) -> Floats:
    """Return the pure spectra in some bands, reflectance times 10 000, (bands, spectra)."""
    at = [band.wavelength_um or 0.0 for band in bands]
    return np.stack([100 * np.interp(at, _UM, spectrum) for spectrum in _SPECTRA.values()], axis=1).astype(np.float32)


@lru_cache(maxsize=256)
def table(bands: tuple[Band, ...], day: dt.date, *, south: bool, toa: bool) -> Floats:
    """Return the canonical value of every material in some bands on a day."""
    out = _pure(bands) @ _mixes(day, south=south).T  # (bands, materials)
    for b, band in enumerate(bands):
        if band.unit == KELVIN:
            out[b] = [_kelvin(code, day, south=south) for code in range(len(CLASS_OF))]
        elif toa:
            blue = 1e4 * _AIR * (0.55 / (band.wavelength_um or 1.0)) ** 4
            out[b] = 10.0 if band.common == "cirrus" else 0.97 * out[b] + blue
    return out


def _kelvin(material: int, day: dt.date, *, south: bool) -> float:
    """Return the temperature of a material: the season's, warmer where built, less where green or wet."""
    doy = ((day.timetuple().tm_yday + (_HALF_YEAR if south else 0)) % _YEAR) / _YEAR
    season = 284 - 13 * math.cos(2 * math.pi * (doy - 0.04))
    name = CLASSES[material // VARIANTS]
    own = {"water": -3.0, "forest": -1.0, "built": 6.0}.get(name, 3.0)
    return season + own - 4.0 * greenness(material, day, south=south)


@lru_cache(maxsize=256)
def backscatter_db(bands: tuple[str, ...], day: dt.date, *, south: bool) -> Floats:
    """Return the mean backscatter of every material on a day."""
    out = np.empty((len(bands), len(CLASS_OF)), np.float32)
    for code in range(len(CLASS_OF)):
        bare, full = _BACKSCATTER[CLASSES[code // VARIANTS]]
        green = min(1.0, greenness(code, day, south=south))
        own = 0.25 * (code % VARIANTS - (VARIANTS - 1) / 2)
        for b, band in enumerate(bands):
            at = 1 if band in _CROSS else 0
            out[b, code] = bare[at] + (full[at] - bare[at]) * green + own
    return out
