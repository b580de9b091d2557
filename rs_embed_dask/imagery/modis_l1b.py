"""From the integers of MODIS Level-1B (MOD021KM) to reflectance in percent and brightness temperature in kelvin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import ModelInputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["EMISSIVE", "LARGEST", "REFLECTIVE", "brightness", "percent_kelvin"]

REFLECTIVE: Final = ("B01", "B02", "B03", "B06", "B07", "B26")
# by band: its effective wavenumber per centimetre, and the slope and intercept of its temperature (README of the model)
EMISSIVE: Final = {
    "B21": (2505.277, 0.9998646, 0.09262664),
    "B27": (1477.967, 0.9994877, 0.2204921),
    "B28": (1362.737, 0.9994918, 0.2046087),
    "B29": (1173.190, 0.9995495, 0.1599191),
    "B30": (1027.715, 0.9997398, 0.08253401),
    "B31": (908.0884, 0.9995608, 0.1302699),
    "B32": (831.5399, 0.9997256, 0.07181833),
    "B33": (748.3394, 0.9999160, 0.01972608),
}
LARGEST: Final = 32_767
"""The largest stored integer that is a number; others say why there is none: fill, saturation, a dead detector."""
_PLANCK: Final = 6.62607015e-34
_LIGHT: Final = 299_792_458.0
_BOLTZMANN: Final = 1.380649e-23


def percent_kelvin(
    counts: Mapping[str, NDArray[Any]], scales: Mapping[str, float], offsets: Mapping[str, float]
) -> NDArray[np.float32]:
    """Calibrate the stored integers of MOD021KM or MYD021KM, as SatVision-TOA takes them.

    Parameters
    ----------
    counts : mapping of str to array
        By band (``"B01"``, ..., ``"B33"``), its unsigned 16-bit integers (H, W).
    scales, offsets : mapping of str to float
        By band, the granule's own: ``reflectance_scales`` and ``reflectance_offsets`` of bands 1, 2, 3, 6, 7 and 26,
        ``radiance_scales`` and ``radiance_offsets`` of bands 21 and 27 to 33.

    Returns
    -------
    array
        (bands, H, W) float32 in the order of `counts`: percent of top-of-atmosphere reflectance, not divided by the
        cosine of the sun's zenith angle, or kelvin. NaN where an integer says that there is no number.

    Raises
    ------
    UnknownNameError
        If a band is none of the fourteen.
    ModelInputError
        If a band's scale or offset is missing.

    Examples
    --------
    >>> import numpy as np
    >>> percent_kelvin({"B01": np.array([[5000]])}, {"B01": 5e-5}, {"B01": 0.0})
    array([[[25.]]], dtype=float32)
    """
    return np.stack([_calibrated(name, np.asarray(raw), scales, offsets) for name, raw in counts.items()])


def _calibrated(
    name: str, raw: NDArray[Any], scales: Mapping[str, float], offsets: Mapping[str, float]
) -> NDArray[np.float32]:
    if name not in REFLECTIVE and name not in EMISSIVE:
        raise UnknownNameError.among("band of MOD021KM", name, (*REFLECTIVE, *EMISSIVE))
    if name not in scales or name not in offsets:
        fix = "give the granule's own, attributes of its data sets"
        raise ModelInputError(f"calibration of {name}", reason="its scale or offset is missing", fix=fix)
    values = (np.where(raw <= LARGEST, raw, np.nan) - offsets[name]) * scales[name]
    return np.asarray(100 * values, np.float32) if name in REFLECTIVE else brightness(name, values)


def brightness(name: str, radiance: NDArray[Any]) -> NDArray[np.float32]:
    """Turn the radiances of an emissive channel (W m-2 sr-1 um-1) into kelvin, NaN where they are not positive."""
    return np.asarray(_temperature(np.asarray(radiance, np.float64), *EMISSIVE[name]), np.float32)


def _temperature(radiance: NDArray[np.float64], wavenumber: float, slope: float, intercept: float) -> NDArray[Any]:
    """Invert Planck's law at a wavenumber: radiance (W m-2 sr-1 um-1) to kelvin; NaN where it is not positive."""
    metres = 0.01 / wavenumber
    first, second = 2 * _PLANCK * _LIGHT**2, _PLANCK * _LIGHT / _BOLTZMANN
    positive = np.where(radiance > 0, radiance, np.nan) * 1e6  # per metre of wavelength
    kelvin = second / (metres * np.log1p(first / (positive * metres**5)))
    return np.asarray((kelvin - intercept) / slope)
