"""Sines and cosines of longitude and latitude at several scales. NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_SCALES", "PER_SCALE", "scales_of", "waves"]

PER_SCALE: Final = 4
MOST_SCALES: Final = 24  # waves of 2.4 m at the equator; beyond, coordinates are not that exact


def scales_of(count: int) -> int:
    """Return a number of scales. Raises SpecError unless it is 1 to `MOST_SCALES`."""
    if not 1 <= count <= MOST_SCALES:
        reason = "each scale halves the wave of the one before, from 360 degrees on"
        raise SpecError("location: scales", value=count, reason=reason, fix=f"use 1 to {MOST_SCALES}")
    return count


def waves(lon: NDArray[np.float64], lat: NDArray[np.float64], scales: int) -> NDArray[np.float32]:
    """Return sin and cos of 2**k longitude, then of 2**k latitude, for k = 0, 1, ...: (4 scales, ...)."""
    # longitudes that differ by whole turns have the same waves, so the antimeridian is no edge
    turned = [np.radians(angle) * 2.0**power for power in range(scales) for angle in (lon, lat)]
    return np.stack([wave(angle) for angle in turned for wave in (np.sin, np.cos)]).astype(np.float32)
