"""Checks of what a model is given: numbers of each band, and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.imagery.cube import Cube

__all__ = ["issues_text", "pixels_of", "report_of", "reports_of"]

_FINITE: Final = 0.999
_CONSTANT: Final = 1e-6
_OUTSIDE: Final = 1e-3
_FILLED: Final = 0.98
_QUANTILES: Final = (0.01, 0.5, 0.99)
_BINS: Final = 32
_MOST_HISTOGRAMS: Final = 16


def report_of(
    pixels: NDArray[np.float32],
    name: str = "input",
    *,
    value_range: tuple[float, float] | None = None,
    fill_value: float | None = None,
) -> dict[str, Any]:
    """Describe an image (C, H, W) or a series (T, C, H, W): numbers of each band, and what looks wrong."""
    bands = np.moveaxis(np.asarray(pixels, np.float32), -3, 0).reshape(pixels.shape[-3], -1)  # (C, T * H * W)
    known = np.isfinite(bands)
    values = np.where(known, bands, np.nan)
    is_empty = ~known.any(axis=1)
    values[is_empty] = 0.0
    report: dict[str, Any] = {"name": name, "shape": tuple(map(int, pixels.shape)), "dtype": str(pixels.dtype)}
    report["finite_frac"] = float(known.mean())
    numbers: dict[str, Any] = {"min": np.nanmin, "max": np.nanmax, "mean": np.nanmean, "std": np.nanstd}
    report |= {f"band_{word}": function(values, axis=1).tolist() for word, function in numbers.items()}
    quantiles = np.nanquantile(values, _QUANTILES, axis=1)
    report["quantiles"] = list(_QUANTILES)
    for share, row in zip(_QUANTILES, quantiles.tolist(), strict=True):
        report[f"band_p{round(share * 100):02d}"] = row
    report["band_quantiles"] = {
        f"p{round(q * 100):02d}": r for q, r in zip(_QUANTILES, quantiles.tolist(), strict=True)
    }
    if len(bands) <= _MOST_HISTOGRAMS:
        report |= _histograms(values, value_range or (float(quantiles[0].min()), float(quantiles[-1].max())))
    issues = []
    if report["finite_frac"] < _FINITE:
        issues.append(f"{name}: {int((~known).sum())} numbers are missing")
    still = np.flatnonzero((np.asarray(report["band_std"]) < _CONSTANT) | is_empty).tolist()
    if still:
        issues.append(f"{name}: bands {still} are constant")
    if value_range is not None:
        outside = float(((values < value_range[0]) | (values > value_range[1])).mean())
        report["outside_range_frac"] = outside
        issues += [f"{name}: {outside:.2%} lies outside {value_range}"] if outside > _OUTSIDE else []
    if fill_value is not None:
        filled = float((values == fill_value).mean())
        report |= {"fill_value": float(fill_value), "fill_frac": filled}
        issues += [f"{name}: {filled:.2%} is the fill value {fill_value:g}"] if filled > _FILLED else []
    return report | {"ok": not issues, "issues": issues}


def _histograms(values: NDArray[np.float32], limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    if not high > low:
        return {}
    edges = np.linspace(low, high, _BINS + 1)
    counts = [np.histogram(band[np.isfinite(band)], bins=edges)[0].tolist() for band in values]
    listed, span = edges.tolist(), [low, high]
    return {
        "hist_bins": listed,
        "band_hist": counts,
        "hist_range": span,
        "hist": {"bins": listed, "counts": counts, "range": span},
    }


def pixels_of(cube: Cube) -> NDArray[np.float32]:
    """Return a cube as rs-embed lays out inputs: (C, H, W), or (T, C, H, W) for a series; NaN where missing."""
    return cube.values[0] if len(cube.values) == 1 else cube.values


def reports_of(cubes: Mapping[str, Cube]) -> dict[str, dict[str, Any]]:
    """Check the input of a model, by modality."""
    return {name: report_of(pixels_of(cube), name) for name, cube in cubes.items()}


def issues_text(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in one line what looks wrong; nothing where all is well."""
    issues = [issue for report in reports.values() for issue in report["issues"]]
    return f"input: {'; '.join(issues)}" if issues else ""
