"""The numbers that a map stores: float16, float32, or int8 with a scale per token, and what they lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.cosine import distances, units
from rs_embed_dask.specs.base import Record, choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["NODATA", "PRECISIONS", "Loss", "Stored", "decode", "encode"]

NODATA: Final = -128
"""What int8 stores where a token has no vector; in floats it is NaN."""

_CODES: Final = 127
_LARGEST: Final = float(np.finfo(np.float16).max)
_SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
_UNIT: Final = 2.0**40


@dataclass(frozen=True, repr=False)
class Loss(Record):
    """What storing has cost: one less the cosine of each vector as it was and as it is read back; ``a + b`` merges.

    Parameters
    ----------
    tokens : int
        Vectors that were compared.
    total : int
        Sum of their losses in units of 2^-40, the same in any order of adding.
    worst : float
        The largest.
    """

    tokens: int = 0
    total: int = 0
    worst: float = 0.0

    @property
    def mean(self) -> float:
        """Mean loss; 0 where there are no vectors."""
        return self.total / _UNIT / self.tokens if self.tokens else 0.0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.tokens + other.tokens, self.total + other.total, max(self.worst, other.worst))


class Stored(NamedTuple):
    """Vectors as they are stored."""

    values: NDArray[Any]
    """(dim, ...)."""
    scale: NDArray[np.float16] | None
    """What one step of the codes is worth, per token, NaN where there is no vector; only of int8; (...)."""
    loss: Loss


def encode(values: NDArray[np.float32], dtype: str) -> Stored:
    """Return vectors as they are stored, and what that loses.

    Parameters
    ----------
    values : (dim, ...) array of float32
        NaN where a token has no vector.
    dtype : {"float16", "float32", "int8"}
        int8 has codes from -127 to 127, symmetric about zero, and one scale per token.

    Returns
    -------
    Stored

    Raises
    ------
    SpecError
        If a number is too large for float16.
    UnknownNameError
        If there is no such dtype.
    """
    coded, scale = _CODERS[choice("dtype", dtype, PRECISIONS)](values)
    return Stored(coded, scale, _loss(values, decode(coded, scale)))


def decode(values: NDArray[Any], scale: NDArray[np.float16] | None = None) -> NDArray[np.float32]:
    """Return stored vectors as float32, NaN where a token has none; (dim, ...)."""
    if values.dtype != np.int8:
        return np.asarray(values, dtype=np.float32)
    if scale is None:
        raise SpecError("scale", value=scale, reason="int8 vectors have a scale per token", fix="give the array scale")
    return np.where(values == NODATA, np.float32(np.nan), values * scale.astype(np.float32))


def _single(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], None]:
    return np.asarray(values, dtype=np.float32), None


def _half(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], None]:
    _refuse_beyond(_LARGEST, np.abs(values), "float16")
    return np.asarray(values, dtype=np.float16), None


def _codes(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    there = np.isfinite(values).all(axis=0)
    longest = np.where(there, np.abs(values).max(axis=0), np.float32(0))
    _refuse_beyond(_LARGEST * _CODES, np.where(np.isnan(values), np.float32(0), np.abs(values)), "int8")
    least = longest / np.float32(_CODES)
    scale = least.astype(np.float16)
    with np.errstate(over="ignore"):  # of the largest scale, which has no next and needs none
        larger = np.nextafter(scale, np.float16(np.inf))
    scale = np.where(scale < least, larger, scale)  # rounded up, so that no code is cut off
    step = np.maximum(scale.astype(np.float32), np.float32(_SMALLEST))
    codes = np.rint(np.where(there, values, np.float32(0)) / step).astype(np.int8)
    return np.where(there, codes, np.int8(NODATA)), np.where(there, scale, np.float16(np.nan))


_CODERS: Final[dict[str, Callable[[NDArray[np.float32]], tuple[NDArray[Any], NDArray[np.float16] | None]]]] = {
    "float16": _half,
    "float32": _single,
    "int8": _codes,
}
PRECISIONS: Final = tuple(_CODERS)
"""What a map may be stored as, the default first."""


def _refuse_beyond(limit: float, sizes: NDArray[np.float32], dtype: str) -> None:
    largest = float(np.fmax.reduce(sizes, axis=None, initial=0.0))
    if largest > limit:
        reason = f"numbers reach {largest:g}, and {dtype} holds {limit:,.0f} at most"
        raise SpecError("dtype", value=dtype, reason=reason, fix='store the map with dtype="float32"')


def _loss(before: NDArray[np.float32], after: NDArray[np.float32]) -> Loss:
    """Compare vectors before and after; those without a direction before have none to lose."""
    one, other = units(before), units(after)
    there = np.isfinite(one).all(axis=0)
    lost = distances(one, other)[there].astype(np.float64)
    lost = np.where(np.isfinite(lost), lost, 1.0)  # a vector that was stored as zeros keeps nothing of its direction
    worst = float(lost.max()) if lost.size else 0.0
    return Loss(int(lost.size), int(np.rint(lost * _UNIT).astype(np.int64).sum()), worst)
