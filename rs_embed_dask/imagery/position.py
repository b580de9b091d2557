"""Where the pixels of a labelled array lie: its reference system, its coordinates, and the transform beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import crs_facts, crs_text

__all__ = ["Position", "crs_of", "position_of"]

_Transform = tuple[float, float, float, float, float, float]
_MAPPINGS: Final = ("spatial_ref", "crs", "epsg")
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_UNEVEN: Final = 1e-3  # of a step, for coordinates that were stored rounded
_COARSEST: Final = 0.25  # of a step: coordinates rounded more than this do not place a pixel
_NEAR: Final = 0.1  # of a pixel, for labels beside a transform
_BESIDE: Final = "drop x and y for Model.embed, or pass grid= to the provider files"
_FIX: Final = f"give evenly spaced pixel centres, {_BESIDE}"
_TURN: Final = 360.0
_POLE: Final = 90.0


@dataclass(frozen=True)
class Position:
    """A reference system, the transform of a north-up image, and which axes (y, x) are reversed to make it so."""

    crs: str
    transform: _Transform
    flipped: tuple[bool, bool]


def position_of(array: xr.DataArray, crs: str) -> Position | None:
    """Return where the pixels of an array (..., y, x) lie; None where it has neither coordinates nor a transform."""
    name = crs_text("array crs", crs)
    degrees = crs_facts(name).degrees
    stated = _stated_transform(array)
    if stated is None and not {"x", "y"} & set(array.coords):
        return None
    if stated is not None and (stated[1] or stated[3]):
        reason = "its rows do not run from west to east"
        raise SpecError("array transform", value=stated, reason=reason, fix="warp it to a north-up grid")
    size = array.sizes["x"], array.sizes["y"]
    axes = [(stated[2], stated[0]), (stated[5], stated[4])] if stated is not None else [None, None]
    (left, width), (top, height) = (
        _axis(array, axis, of_file, degrees=degrees) for axis, of_file in zip("xy", axes, strict=True)
    )
    flipped = height > 0, width < 0
    if flipped[0]:
        top, height = top + height * size[1], -height
    if flipped[1]:
        left, width = left + width * size[0], -width
    if degrees:
        _check_degrees((left, width, size[0]), (top, height, size[1]))
        left -= _TURN * math.floor((left + _TURN / 2) / _TURN)
    return Position(name, (width, 0.0, left, 0.0, height, top), flipped)


def crs_of(array: xr.DataArray | xr.Dataset) -> str | None:
    """Return the reference system that an xarray object states in any of the usual ways."""
    for name in (array.encoding.get("grid_mapping"), array.attrs.get("grid_mapping"), *_MAPPINGS):
        if name is not None and name in array.coords:
            coord = array.coords[name]
            text = _crs_in(coord.attrs, ("crs_wkt", "spatial_ref", "epsg_code", "epsg"))
            if text is None and name in {"epsg", "crs"} and coord.ndim == 0 and coord.dtype.kind in "iuUO":
                text = _text(coord.item())
            if text:
                return text
    return _crs_in(array.attrs, ("crs", "crs_wkt", "spatial_ref", "proj:code", "epsg", "proj:epsg"))


def _crs_in(attrs: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    value = next((attrs[name] for name in names if attrs.get(name) is not None and str(attrs[name]).strip()), None)
    return None if value is None else _text(value)


def _text(value: object) -> str:
    text = str(value).strip().removeprefix("+init=")
    return f"EPSG:{text}" if text.isdigit() else text


def _stated_transform(array: xr.DataArray) -> _Transform | None:
    """Return the transform that rioxarray, GDAL or rasterio left in attributes: (a, b, c, d, e, f)."""
    named = (array.encoding.get("grid_mapping"), array.attrs.get("grid_mapping"), *_MAPPINGS)
    holders = [array.coords[name].attrs for name in named if name is not None and name in array.coords]
    for attrs in (*holders, array.attrs):
        match _floats(attrs.get("GeoTransform")):
            case (c, a, b, f, d, e) if a and e:
                return a, b, c, d, e, f
    match _floats(array.attrs.get("transform")):
        case (a, b, c, d, e, f) | (a, b, c, d, e, f, _, _, _) if a and e:
            return a, b, c, d, e, f
    return None


def _floats(value: object) -> tuple[float, ...]:
    """Return the numbers of a transform: text as GDAL writes it, a sequence, or an Affine."""
    if isinstance(value, str):
        return tuple(float(number) for number in _NUMBER.findall(value))
    if not isinstance(value, Iterable):
        return ()
    entries = tuple(value)
    return tuple(map(float, entries)) if all(isinstance(each, int | float | np.number) for each in entries) else ()


def _axis(array: xr.DataArray, name: str, stated: tuple[float, float] | None, *, degrees: bool) -> tuple[float, float]:
    """Return the outer edge and the step of an axis, from its labels and from the transform beside them."""
    if name not in array.coords:
        if stated is None:
            reason = "it has no coordinates, so the place of its pixels is unknown"
            fix = f"assign pixel centres to x and y (one number per column and row), {_BESIDE}"
            raise SpecError(f"array.{name}", value=array.dims, reason=reason, fix=fix)
        return stated
    labels = array.coords[name].values
    if labels.dtype.kind not in "fiu":
        raise SpecError(f"array.{name}", value=labels.dtype, reason="its coordinates are not numbers", fix=_FIX)
    values: npt.NDArray[np.float64] = labels.astype(np.float64)
    if degrees and name == "x":
        values = np.unwrap(values, period=_TURN)
    rounding = float(np.spacing(np.abs(values).max().astype(np.float32))) if _is_single(labels, values) else 0.0
    if values.size == 1:
        if stated is None:
            reason = "the pixel size cannot be inferred from one pixel"
            raise SpecError(f"array.{name}", value=values.size, reason=reason, fix=_FIX)
        return _reconciled(name, (float(values[0]), stated[1]), 1, stated=stated, rounding=rounding)
    step = float((values[-1] - values[0]) / (values.size - 1))
    uneven = np.abs(values - (values[0] + step * np.arange(values.size))).max() if step else math.inf
    if not uneven <= max(abs(step) * _UNEVEN, min(rounding, abs(step) * _COARSEST)):
        raise SpecError(f"array.{name}", value=values[:3], reason="its coordinates are not evenly spaced", fix=_FIX)
    first = float(values[0])
    if stated is None:
        return first - step / 2, step
    return _reconciled(name, (first, step), values.size, stated=stated, rounding=rounding)


def _is_single(labels: npt.NDArray[Any], values: npt.NDArray[np.float64]) -> bool:
    """Whether coordinates were rounded to 32 bits, as such or before they were widened."""
    return labels.dtype.kind == "f" and bool((values.astype(np.float32) == values).all())


def _reconciled(
    name: str, labels: tuple[float, float], count: int, *, stated: tuple[float, float], rounding: float
) -> tuple[float, float]:
    """Return edge and step of an axis whose labels lie beside a transform; a contradiction is refused.

    Slices of an array keep the transform of the whole, so that a shift by whole pixels is none. Labels half a pixel
    off name corners, as stackstac's do; then the transform decides.
    """
    first, step = labels
    origin, size = stated
    if step * size < 0:
        last, back = _reconciled(name, (first + (count - 1) * step, -step), count, stated=stated, rounding=rounding)
        return last + count * back, -back
    near = max(_NEAR, min(_COARSEST, 2 * rounding / abs(size)))
    times = step / size
    if abs(times - 1) * count > near:
        if round(times) > 1 and abs(times - round(times)) * count < near:
            return first - step / 2, step  # coarsened since: the transform is of the finer pixels
        reason = f"its steps of {step:.10g} contradict the transform's pixels of {size:.10g}"
        raise SpecError(f"array.{name}", value=first, reason=reason, fix="write its own: array.rio.write_transform()")
    shift = (first - origin) / size
    if abs(shift % 1 - 0.5) < near:
        return origin + math.floor(shift) * size, size
    if abs(shift) < near:
        return stated
    corner = min(shift % 1, 1 - shift % 1) < near
    reason = (
        "its labels lie on the edges of pixels, and which edge is not stated"
        if corner
        else f"its labels lie {shift:.4g} pixels from the transform's origin, neither at centres nor at corners"
    )
    fix = "label centres and write their transform: array.rio.write_transform()"
    raise SpecError(f"array.{name}", value=first, reason=reason, fix=fix)


def _check_degrees(x: tuple[float, float, int], y: tuple[float, float, int]) -> None:
    """Refuse coordinates that cannot be degrees in a reference system of longitude and latitude."""
    left, width, columns = x
    top, height, rows = y
    bottom, right = top + height * rows, left + width * columns
    reach = max(abs(top), abs(bottom)) - abs(height)
    if reach > _POLE or right - left > _TURN + width or max(abs(left), abs(right)) > 1.5 * _TURN:
        bounds = tuple(round(edge, 3) for edge in (left, bottom, right, top))
        reason = "these are not longitudes and latitudes, in which its reference system counts"
        fix = "state the system of its coordinates: array.rio.write_crs(...), or crs= of the provider files"
        raise SpecError("array bounds", value=bounds, reason=reason, fix=fix)
