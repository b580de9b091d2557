"""Vectors of a map as three bytes: the same colours in every zone and at every zoom, by one basis per model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from rs_embed_dask.store.export.fields import spread
from rs_embed_dask.store.export.pca import MOST_SAMPLES, fit_pca

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.export.pca import Pca

__all__ = ["NO_COLOUR", "Colouring", "basis_of", "halved", "painted", "sampled"]

NO_COLOUR: Final = 0
"""The byte of a token without a vector; colours are 1 to 255."""

_STEPS: Final = 254
_WINDOWS: Final = 16


def sampled(fields: Sequence[MapField]) -> NDArray[np.float32]:
    """Return vectors spread over every field, as many of each as it has, up to equal shares; (n, dim)."""
    quota = -(-MOST_SAMPLES // len(fields))
    return np.concatenate([_sample(one, quota) for one in fields])


def _sample(field: MapField, quota: int) -> NDArray[np.float32]:
    windows = list(field.windows())
    share = -(-quota // min(_WINDOWS, len(windows)))
    parts, count = [np.empty((0, field.dim), np.float32)], 0
    for window in spread(windows):
        vectors = field.read(window).reshape(field.dim, -1).T
        there = vectors[np.isfinite(vectors).all(axis=1)]
        parts.append(there[:: max(1, -(-len(there) // share))])
        count += len(parts[-1])
        if count >= quota:
            break
    return np.concatenate(parts)


def basis_of(fields: Sequence[MapField]) -> Pca:
    """Fit one basis to all fields of a model. Raises SpecError where none has a vector."""
    return fit_pca(sampled(fields))


class Colouring(Protocol):
    """What gives colours to vectors: a `Pca`, or the `Palette` of a map of classes or values."""

    def colours(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Return colours from 0 to 1, (..., dim) to (..., 3); NaN where there is none."""


def painted(vectors: NDArray[np.float32], basis: Colouring) -> NDArray[np.uint8]:
    """Return the colours of vectors (dim, rows, columns) as (3, rows, columns)."""
    colours = np.moveaxis(basis.colours(np.moveaxis(vectors, 0, -1)), -1, 0)
    there = np.isfinite(colours).all(axis=0)
    return np.where(there, np.rint(_STEPS * np.where(there, colours, 0)) + 1, NO_COLOUR).astype(np.uint8)


def halved(values: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of every two by two cells that hold something; (..., rows, columns) of even sides."""
    is_bytes = values.dtype == np.uint8
    missing = (values == NO_COLOUR if is_bytes else ~np.isfinite(values)).any(axis=-3, keepdims=True)
    *outer, rows, cols = values.shape
    cells = (*outer[:-1], -1, rows // 2, 2, cols // 2, 2)
    sums = np.where(missing, 0, values).astype(np.float32).reshape(cells).sum(axis=(-3, -1))
    counts = (~missing).reshape(*outer[:-1], 1, *cells[-4:]).sum(axis=(-3, -1))
    with np.errstate(invalid="ignore"):
        means = sums / np.where(counts, counts, np.nan)
    return np.where(counts, np.rint(means), NO_COLOUR).astype(np.uint8) if is_bytes else means.astype(values.dtype)
