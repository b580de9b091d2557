"""Cutting a large grid so that the blocks of the files are read once, and saying so where they are not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Final

from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.providers.stac_items import Asset

__all__ = ["ReadAmplificationWarning", "chunks_for"]

Cut = tuple[int, ...]
LARGEST_PX: Final = 2048
AIM_PX: Final = 1024
WORTH_SAYING: Final = 1.25


class ReadAmplificationWarning(UserWarning):
    """Blocks of the source files are fetched more than once, because chunks cut through them."""


def chunks_for(grid: Grid, assets: Iterable[Asset], *, block_px: int, chunk_px: int | None = None) -> tuple[Cut, Cut]:
    """Return how a grid is cut along y and x, as sizes of chunks in pixels.

    A grid of at most 2048 pixels a side is one chunk. A larger one is cut where the blocks of the files end, as far as
    the catalogue says where they lie; several blocks make a chunk. With `chunk_px` it is cut there instead.

    Parameters
    ----------
    grid
        What is read.
    assets
        The files; the finest in the grid's own coordinate system decides.
    block_px
        Side of a block of the files, in their pixels.
    chunk_px
        Side of a chunk in pixels of the grid, if the user insists.

    Warns
    -----
    ReadAmplificationWarning
        If blocks will be fetched more than 1.25 times on average; names the factor.
    """
    placed = [a for a in assets if a.crs == grid.crs and a.origin is not None and a.pixel is not None]
    finest = min(placed, key=lambda a: a.pixel or (0.0, 0.0), default=None)
    left, _, _, top = grid.bounds
    width, height = grid.transform[0], -grid.transform[4]
    rows, columns = grid.shape
    if finest is None or finest.origin is None or finest.pixel is None:
        return _even(rows, chunk_px), _even(columns, chunk_px)
    steps = [block_px * pixel for pixel in finest.pixel]
    axes = (
        (rows, (top - finest.origin[1]) / height, steps[1] / height),
        (columns, (finest.origin[0] - left) / width, steps[0] / width),
    )
    cuts = tuple(_even(n, chunk_px) if chunk_px else _snapped(n, first, step) for n, first, step in axes)
    factor = math.prod(_times_read(cut, first, step) for cut, (_, first, step) in zip(cuts, axes, strict=True))
    if factor > WORTH_SAYING:
        whole = round(steps[0] / width)
        warnings.warn(
            f"chunks of {max(cuts[0])} x {max(cuts[1])} pixels cut through the files' blocks of {block_px} pixels: "
            f"each is fetched {factor:.1f} times. Fix: leave chunk_px out, or give a multiple of {whole}.",
            ReadAmplificationWarning,
            stacklevel=2,
        )
    return cuts[0], cuts[1]


def _even(n: int, chunk_px: int | None) -> Cut:
    size = chunk_px or (n if n <= LARGEST_PX else AIM_PX)
    return (*[size] * (n // size), *([n % size] if n % size else []))


def _snapped(n: int, first: float, step: float) -> Cut:
    """Cut `n` pixels at multiples of a block of `step` pixels, of which one begins at pixel `first`."""
    if n <= LARGEST_PX:
        return (n,)
    stride = step * max(1, math.floor(AIM_PX / step))
    edges = [0]
    index = math.ceil((1 - first) / stride)
    while (edge := round(first + index * stride)) < n:
        if edge > edges[-1]:
            edges.append(edge)
        index += 1
    return tuple(b - a for a, b in zip(edges, [*edges[1:], n], strict=True))


def _times_read(cut: Cut, first: float, step: float) -> float:
    """Return how often a block is touched, on average, along one axis."""
    touched, start = 0, 0
    seen: set[int] = set()
    for size in cut:
        low = math.floor((start - first) / step + 1e-9)
        high = math.ceil((start + size - first) / step - 1e-9)
        touched += high - low
        seen.update(range(low, high))
        start += size
    return touched / len(seen)
