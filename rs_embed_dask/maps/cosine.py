"""Cosines of vectors that lie along the first axis of an array, from one pass over each pair of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FIXED", "cosines", "distances", "fixed", "units"]

FIXED = 2.0**24
"""Cosines are added up as whole multiples of 1 / FIXED: sums of integers are the same in any order."""


def units(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors of length one, NaN where there is none or its length is zero; (dim, ...)."""
    values = vectors.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(values / np.sqrt(np.einsum("d...,d...->...", values, values)))


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of unit vectors, to about 1e-6; (...)."""
    return np.asarray(np.einsum("d...,d...->...", one, other))


def distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one less the cosine of each pair of unit vectors, with all digits where they nearly agree; (...)."""
    gap = one - other  # 1 - cosine would cancel: neighbours in a map differ by as little as 1e-6
    return np.asarray(np.einsum("d...,d...->...", gap, gap) / 2)


def fixed(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many values are there and their sum in units of 1 / FIXED; missing ones are left out; (2,)."""
    there = values[np.isfinite(values)].astype(np.float64)
    return np.array([there.size, np.rint(there * FIXED).astype(np.int64).sum()], dtype=np.int64)
