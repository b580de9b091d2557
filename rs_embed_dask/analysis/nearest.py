"""The vectors nearest to one by cosine, exactly: the best of each portion, and the best of these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.blocks import computed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.blocks import Portion

__all__ = ["MARGIN", "Nearest", "mean_direction", "nearest", "normed"]

MARGIN: Final = 1e-5
"""More than cosines in float32 are off by: what may be among the best is computed again in float64."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The best vectors, the first the best: score, number of the field, row and column in it (or in the table, 0)."""

    scores: NDArray[np.float64]
    places: NDArray[np.int64]


def normed(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return vectors (..., dim) of length one; NaN where there is none or its length is zero."""
    values = np.asarray(vectors, dtype=np.float64)
    largest = np.abs(values).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = values / largest  # squares of large numbers would overflow
        return np.asarray(scaled / np.sqrt((scaled * scaled).sum(axis=-1, keepdims=True)))


def mean_direction(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of the directions of some vectors (n, dim)."""
    return np.asarray(normed(vectors).mean(axis=0))


def nearest(query: NDArray[Any], portions: Iterable[Portion], k: int, *, client: Client | None = None) -> Nearest:
    """Return the k vectors of all portions with the largest cosine with a query (dim,), equal ones in their order."""
    scores, places = np.empty(0), np.empty((0, 3), np.int64)
    task = partial(_best, query=normed(query), k=k)
    for _, (found, where) in computed(task, portions, client):
        scores, places = np.concatenate([scores, found]), np.concatenate([places, where])
        order = np.argsort(-scores, kind="stable")[:k]  # what came first stays first
        scores, places = scores[order], places[order]
    return Nearest(scores, places)


def _best(
    vectors: NDArray[Any], *, number: int, window: tuple[slice, ...], query: NDArray[np.float64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    shape = vectors.shape[1:]
    values = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), -1)  # (dim, n)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        cosines = (query.astype(np.float32) @ values) / np.sqrt(np.einsum("dn,dn->n", values, values))
    there = np.flatnonzero(np.isfinite(cosines))
    if len(there) > k:
        least = np.partition(cosines[there], len(there) - k)[len(there) - k]
        there = there[cosines[there] >= least - MARGIN]
    exact = normed(values[:, there].T) @ query
    order = np.argsort(-exact, kind="stable")[:k]
    inside = np.unravel_index(there[order], shape)
    at = [one.start + index for one, index in zip(window, inside, strict=True)]
    at += [np.zeros(len(order), np.int64)] * (2 - len(at))
    return exact[order], np.stack([np.full(len(order), number), *at], axis=1).astype(np.int64)
