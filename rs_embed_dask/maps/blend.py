"""Windows put together: weighted sums of vectors over the tokens that several windows cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Rect
    from rs_embed_dask.maps.windows import Tiling

__all__ = ["divided", "pasted", "placed", "summed", "weights_of"]


def weights_of(tiling: Tiling) -> NDArray[np.float32]:
    """Return the weight of each position of a window: Hann's, or those within the rim alike; (window, window)."""
    if tiling.rim:
        side = np.zeros(tiling.window)
        side[tiling.rim : tiling.window - tiling.rim] = 1.0
    else:
        # Sampled at the centres of tokens: no weight is zero, so a token that one window covers keeps its vector.
        side = np.sin(np.pi * (np.arange(tiling.window) + 0.5) / tiling.window) ** 2
    return np.outer(side, side).astype(np.float32)


def summed(
    vectors: NDArray[np.float32], starts: tuple[range, range], *, over: Rect, weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Add up weighted windows over a rectangle of tokens.

    Parameters
    ----------
    vectors : (windows, dim, window, window) array of float32
        Row by row, as `starts` lists them; NaN where a token has no vector.
    starts : (range, range)
        First rows and first columns of the windows.
    over : Rect
        The rectangle; every window lies in it.
    weights : (window, window) array
        See `weights_of`.

    Returns
    -------
    (dim + 1, rows, columns) array of float32
        Sums of the weighted vectors and, last, of the weights. Tokens of a window without a vector weigh nothing.
    """
    side = len(weights)
    total = np.zeros((vectors.shape[1] + 1, *over.shape), dtype=np.float32)
    corners = ((row - over.top, col - over.left) for row in starts[0] for col in starts[1])
    for one, (row, col) in zip(vectors, corners, strict=True):
        there = np.isfinite(one).all(axis=0)
        weight = np.where(there, weights, np.float32(0))
        part = total[:, row : row + side, col : col + side]
        part[:-1] += np.where(there, one, np.float32(0)) * weight
        part[-1] += weight
    return total


def divided(total: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the blended vectors of sums; (dim, rows, columns), NaN where no window gave a vector."""
    weight = total[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, total[:-1] / weight, np.float32(np.nan))


def placed(parts: Iterable[tuple[Rect, NDArray[np.float32]]], over: Rect) -> NDArray[np.float32]:
    """Add parts of sums that reach into a rectangle, in the order given; (channels, rows, columns)."""
    listed = [(rect, values) for rect, values in parts if 0 not in (rect & over).shape]
    total = np.zeros((listed[0][1].shape[0], *over.shape), dtype=np.float32)
    for rect, values in listed:
        shared = rect & over
        total[:, *shared.within(over)] += values[:, *shared.within(rect)]
    return total


def pasted(parts: Iterable[tuple[Rect, NDArray[Any]]], over: Rect, *, pixels: int) -> NDArray[Any]:
    """Put the pixels of a rectangle together from parts, `pixels` per token; (..., height, width)."""
    listed = [(rect, values) for rect, values in parts if 0 not in (rect & over).shape]
    rows, cols = over.shape
    first = listed[0][1]
    missing = np.nan if np.issubdtype(first.dtype, np.floating) else 0
    whole = np.full((*first.shape[:-2], rows * pixels, cols * pixels), missing, dtype=first.dtype)
    for rect, values in listed:
        shared = rect & over
        whole[..., *shared.within(over, pixels)] = values[..., *shared.within(rect, pixels)]
    return whole
