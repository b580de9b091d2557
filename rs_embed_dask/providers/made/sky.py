"""The weather of the made landscape: clouds, their shadows, and how quality bands write them down."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.bands import KELVIN, Band
from rs_embed_dask.providers.made.ground import Codes, Ground
from rs_embed_dask.providers.made.noise import Floats, number, rough
from rs_embed_dask.providers.made.spectra import CLASS_OF, CLASSES, vegetated

__all__ = ["Sky", "cover", "quality", "sky_over", "through"]

_CLOUD_M: Final = 2400.0
_SPREAD: Final = 0.163  # standard deviation of the noise about 0.5
_EDGE: Final = 0.06
_SHADOW_M: Final = (-390.0, 300.0)
_STEPS: Final = np.array([0.0, 0.15, 0.6], np.float32)
_SHADE: Final = 4
_LIGHT_LEFT: Final = 0.45
_CLOUD_K: Final = 258.0
# reflectance of a dense cloud, in percent, by wavelength
_WHITE: Final = ((0.4, 0.9, 1.3, 1.4, 1.65, 2.2), (72.0, 70.0, 62.0, 20.0, 42.0, 34.0))

# mask rule -> what its band says: clear, haze, cloud, dense cloud, shadow
_WRITTEN: Final[Mapping[str, tuple[float, ...]]] = {
    "scl": (0, 10, 8, 9, 3),
    "qa60": (0, 1 << 11, 1 << 10, 1 << 10, 1 << 10),
    "fmask": (1 << 6, 1 << 2 | 1 << 6, 1 << 1 | 1 << 6, 1 << 1 | 1 << 6, 1 << 3 | 1 << 6),
    "qa_pixel": (1 << 6, 1 << 1, 1 << 3, 1 << 3, 1 << 4),
    "state": (0, 2, 1 | 1 << 10, 1 | 1 << 10, 1 << 2),
    "cloud_score_plus": (0.95, 0.55, 0.30, 0.05, 0.40),
}
_SCL_WATER, _SCL_GREEN, _SCL_BARE = 6, 4, 5


@dataclass(frozen=True, eq=False)
class Sky:
    """What stands between the ground and the sensor. Arrays have one element a pixel.

    Parameters
    ----------
    state : ndarray of uint8
        0 clear, 1 haze, 2 cloud, 3 dense cloud, 4 shadow.
    density : ndarray of float32
        How much of the light comes from cloud, 0..1.
    """

    state: Codes
    density: Floats


def cover(seed: int, cloud: float, *, tile: tuple[int, int], day: dt.date) -> float:
    """Return the share of a tile that is cloudy on a day: mostly fair, sometimes overcast, `cloud` on average.

    Parameters
    ----------
    seed : int
        Of the landscape.
    cloud : float
        Mean cover, 0..1.
    tile : (int, int)
        Whole degrees of longitude and latitude.
    day : datetime.date
        The day.

    Returns
    -------
    float
        0..1.
    """
    if cloud <= 0 or cloud >= 1:
        return float(min(max(cloud, 0.0), 1.0))
    share: float = number(seed, 101, tile[0], tile[1], day.toordinal()) ** ((1 - cloud) / cloud)
    return share


def sky_over(ground: Ground, share: float, *, seed: int, day: dt.date) -> Sky | None:
    """Return the clouds over some ground on a day, and the shadows that they throw.

    Parameters
    ----------
    ground : Ground
        Where.
    share : float
        Cloud cover of the tile.
    seed : int
        Of the landscape.
    day : datetime.date
        The day.

    Returns
    -------
    Sky or None
        None where the whole tile is clear.
    """
    if share <= 0:
        return None
    of_day = seed + 104_729 * (day.toordinal() % 20_011)
    limit = np.float32(-10.0 if share >= 1 else 0.5 - _SPREAD * NormalDist().inv_cdf(share))
    depth = (rough(ground.x, ground.y, _CLOUD_M, seed=of_day) - limit) * np.float32(1 / _EDGE)
    state = np.searchsorted(_STEPS, depth, side="left").astype(np.uint8)
    density = np.clip(depth, 0, 1)
    if share < 1:
        thrown = rough(ground.x + _SHADOW_M[0], ground.y + _SHADOW_M[1], _CLOUD_M, seed=of_day) - limit
        state[(thrown > np.float32(_EDGE * 0.3)) & (state == 0)] = _SHADE
    return Sky(state, density)


def through(values: Floats, sky: Sky, bands: tuple[Band, ...]) -> Floats:
    """Return what a sensor sees of the ground through the sky.

    Parameters
    ----------
    values : ndarray of float32 (B, P)
        Canonical values of the ground; changed in place.
    sky : Sky
        Over the same pixels.
    bands : tuple of Band
        The B bands.

    Returns
    -------
    ndarray of float32 (B, P)
        `values`.
    """
    cloudy = np.flatnonzero(sky.density)
    shade = np.flatnonzero(sky.state == _SHADE)
    density = sky.density[cloudy]
    for b, band in enumerate(bands):
        dense = _CLOUD_K if band.unit == KELVIN else 100 * float(np.interp(band.wavelength_um or 0.0, *_WHITE))
        under = values[b, cloudy]
        values[b, cloudy] = under + (np.float32(dense) - under) * density
        if band.unit != KELVIN:
            values[b, shade] *= np.float32(_LIGHT_LEFT)
    return values


def quality(rule: str, ground: Ground, sky: Sky | None, *, day: dt.date, south: bool) -> npt.NDArray[Any]:
    """Return the quality band that a mask rule reads.

    Parameters
    ----------
    rule : str
        Name of the rule, for example ``scl``.
    ground : Ground
        Where.
    sky : Sky or None
        Over it; None where it is clear.
    day : datetime.date
        The day.
    south : bool
        Whether the place lies in the southern hemisphere.

    Returns
    -------
    ndarray (P,)
        As the product would write it.
    """
    written = np.array(_WRITTEN[rule], np.float32 if rule == "cloud_score_plus" else np.uint16)
    state = np.zeros(ground.material.shape, np.uint8) if sky is None else sky.state
    found: npt.NDArray[Any] = written[state]
    if rule == "scl":
        green = np.where(vegetated(day, south=south), _SCL_GREEN, _SCL_BARE)
        water = np.array(CLASS_OF) == CLASSES.index("water")
        below = np.where(water, _SCL_WATER, green).astype(np.uint16)
        found = np.where(state == 0, below[ground.material], found)
    return found
