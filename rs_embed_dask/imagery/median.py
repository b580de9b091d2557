"""The median over a handful of images, where some pixels are missing."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["median"]

_VALUES_AT_ONCE: Final = 1 << 20  # what is sorted together stays in the cache


def median(layers: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the median over the seen layers of each pixel, band by band.

    Unlike `numpy.nanmedian` it is vectorised over pixels and does not warn where nothing is seen.

    Parameters
    ----------
    layers : ndarray of float32 (N, B, H, W)
        Values; not changed.
    seen : ndarray of bool (N, H, W)
        Which layers count at which pixel. A value that is NaN does not count either.

    Returns
    -------
    ndarray of float32 (B, H, W)
        The middle value, or the mean of the two middle ones; NaN where nothing counts.
    """
    n, n_bands, height, width = layers.shape
    if n == 1:
        return np.where(seen[0], layers[0], np.float32(np.nan))
    flat = layers.reshape(n, n_bands, height * width)
    keep = seen.reshape(n, 1, height * width)
    out = np.empty((n_bands, height * width), np.float32)
    step = max(1, _VALUES_AT_ONCE // (n * n_bands))
    for start in range(0, height * width, step):
        part = slice(start, start + step)
        out[:, part] = _median(flat[:, :, part], keep[:, :, part])
    return out.reshape(n_bands, height, width)


def _median(values: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Sort with the missing ones last and take the middle of those that count."""
    ranked = np.where(keep, values, np.float32(np.nan))
    ranked.sort(axis=0)  # NaN sorts last
    last = len(values) - 1
    full = bool(keep.all()) and not np.isnan(ranked[last]).any()
    if full:
        low, high = ranked[last // 2], ranked[len(values) // 2]
    else:
        count = (~np.isnan(ranked)).sum(0)
        low = np.take_along_axis(ranked, np.maximum((count - 1) // 2, 0)[None], 0)[0]
        high = np.take_along_axis(ranked, np.minimum(count // 2, last)[None], 0)[0]
    middle: npt.NDArray[np.float32] = low * np.float32(0.5) + high * np.float32(0.5)
    return middle
