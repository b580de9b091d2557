"""From the numbers in files to units that may be averaged, and from quality bands to spoilt pixels.

Nothing is clipped: a Sentinel-2 number of 950 at baseline 04.00 is a reflectance of -0.005 and stays one. Nothing is
filled: what is missing is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.bands import DB, Band, Mask
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensor_types import Scaling, Source

__all__ = ["baseline_of", "finish", "harmonise", "spoilt"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_S2_OFFSET: Final = -1000.0
_S2_OFFSET_SINCE: Final = 4.0
_BASELINE: Final = re.compile(r"^\D{0,3}(\d{2})\.?(\d{2})$")
_IN_PRODUCT: Final = re.compile(r"_N(\d{2})(\d{2})_")


def baseline_of(scene: Scene, source: Source) -> float | None:
    """Tell the Sentinel-2 processing baseline of a scene.

    Parameters
    ----------
    scene : Scene
        Its properties are looked at, then the product name in them.
    source : Source
        Says which properties.

    Returns
    -------
    float or None
        For example 4.0 for ``04.00``; None where nothing states it.
    """
    stated = scene.first(source.properties.baseline)
    product = scene.first(source.properties.product)
    found = _BASELINE.match(str(stated).strip()) if stated is not None else None
    found = found or (_IN_PRODUCT.search(str(product)) if product is not None else None)
    return None if found is None else int(found[1]) + int(found[2]) / 100


def _s2_offset(scene: Scene, source: Source) -> float:
    baseline = baseline_of(scene, source)
    baseline = source.assumed_baseline if baseline is None else baseline
    if baseline is None:
        raise ProviderError(
            f"scene {scene.id}",
            reason=f"{source.provider} states no processing baseline for it, so its offset is not known",
            fix=f"leave the scene out, or give one of {', '.join(source.properties.baseline)} in its properties",
        )
    return _S2_OFFSET if baseline >= _S2_OFFSET_SINCE else 0.0


def _missing(raw: npt.NDArray[Any], scaling: Scaling) -> Bools | None:
    """Return which raw numbers mean nothing; None if the scaling names none."""
    tests = []
    if scaling.nodata is not None:
        tests.append(raw == scaling.nodata)
    if scaling.above is not None:
        tests.append(raw <= scaling.above)
    if scaling.at_most is not None:
        tests.append(raw > scaling.at_most)
    return np.logical_or.reduce(tests) if tests else None


def _scaled(raw: npt.NDArray[Any], scaling: Scaling, offsets: Floats) -> Floats:
    """Turn raw numbers (N, B, H, W) of one scaling into working units; offsets (N,) come on top of the scaling's."""
    out = np.asarray(raw, dtype=np.float32) if raw.dtype != np.float32 else raw.copy()
    missing = _missing(raw, scaling)
    if scaling.scale != 1:
        out *= np.float32(scaling.scale)
    total = offsets + np.float32(scaling.offset)
    if total.any():
        out += total[:, None, None, None]
    if scaling.encoding == "db":
        out = np.float32(10) ** (out / np.float32(10))
    if missing is not None:
        out[missing] = np.nan
    if raw.dtype.kind == "f":
        out[np.isinf(out)] = np.nan
    return out


def harmonise(raw: npt.NDArray[Any], source: Source, *, bands: Sequence[Band], scenes: Sequence[Scene]) -> Floats:
    """Turn the numbers in files into working units, each scene by its own baseline.

    Parameters
    ----------
    raw : ndarray (N, B, H, W)
        As in the files; NaN is missing too.
    source : Source
        Decides scale, offset and nodata.
    bands : sequence of Band
        The B bands.
    scenes : sequence of Scene
        The N scenes.

    Returns
    -------
    ndarray of float32 (N, B, H, W)
        Reflectance times 10 000, linear power or kelvin; NaN where missing.

    Raises
    ------
    ProviderError
        If a scene's offset depends on its processing baseline and it states none.
    """
    raw = np.asarray(raw)
    scalings = [source.scaling(band) for band in bands]
    baseline = np.zeros(len(scenes), np.float32)
    if any(scaling.offset_rule == "s2_baseline" for scaling in scalings):
        baseline[:] = [_s2_offset(scene, source) for scene in scenes]
    none = np.zeros(len(scenes), np.float32)
    if len(set(scalings)) == 1:
        return _scaled(raw, scalings[0], baseline if scalings[0].offset_rule == "s2_baseline" else none)
    out = np.empty(raw.shape, np.float32)
    for i, scaling in enumerate(scalings):
        out[:, i : i + 1] = _scaled(
            raw[:, i : i + 1], scaling, baseline if scaling.offset_rule == "s2_baseline" else none
        )
    return out


def spoilt(quality: npt.NDArray[Any], mask: Mask) -> Bools:
    """Tell which pixels a quality band marks as clouds, shadows or fill.

    Parameters
    ----------
    quality : ndarray (..., H, W)
        The quality band as in the file, nearest neighbours only. NaN marks a pixel as spoilt.
    mask : Mask
        The rule.

    Returns
    -------
    ndarray of bool (..., H, W)
        True where the pixel must not be used.
    """
    missing = np.isnan(quality) if quality.dtype.kind == "f" else None
    if mask.kind == "below":
        return np.logical_not(quality >= np.asarray(mask.below, quality.dtype))  # so NaN is spoilt
    whole = quality if missing is None else np.where(missing, 0, quality)
    bad = _bad_codes(mask)[whole.astype(np.uint16)]
    return bad if missing is None else bad | missing


@lru_cache(maxsize=32)
def _bad_codes(mask: Mask) -> Bools:
    """Return for each number of 16 bits whether it spoils a pixel."""
    codes = np.arange(1 << 16, dtype=np.uint32)
    if mask.kind == "classes":
        return np.isin(codes, mask.classes)
    bad = np.zeros(codes.shape, bool)
    for bits in mask.bits:
        bad |= np.isin((codes >> np.uint32(bits.shift)) & np.uint32((1 << bits.width) - 1), bits.bad)
    return bad


def finish(values: Floats, bands: Sequence[Band]) -> Floats:
    """Turn composited working units into the canonical units of a cube: linear power becomes decibels.

    Parameters
    ----------
    values : ndarray of float32 (..., B, H, W)
        Working units.
    bands : sequence of Band
        The B bands.

    Returns
    -------
    ndarray of float32 (..., B, H, W)
        Canonical units.
    """
    radar = [i for i, band in enumerate(bands) if band.unit == DB]
    if not radar:
        return values
    out = values.copy()
    power = out[..., radar, :, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        out[..., radar, :, :] = np.where(power > 0, np.float32(10) * np.log10(power), np.float32(np.nan))
    return out
