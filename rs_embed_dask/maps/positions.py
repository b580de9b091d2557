"""Where a map measures positions: in blocks spread over the region."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.engine.positions import scattered
from rs_embed_dask.maps.windows import BlockIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["first_blocks", "stratified"]

_FIRST_WINDOWS: Final = 256
_FIRST_BLOCKS: Final = 16


def first_blocks(window: int, block: int) -> int:
    """Return how many blocks the first pass takes: 16 or more, with 256 windows side by side inside them."""
    return max(_FIRST_BLOCKS, math.ceil(_FIRST_WINDOWS / max(1, block // window) ** 2))


def stratified(blocks: Mapping[str, Iterable[tuple[int, int]]], count: int) -> tuple[tuple[str, BlockIndex], ...]:
    """Return blocks spread over a region, the same for the same region.

    Parameters
    ----------
    blocks : mapping of str to iterable of (int, int)
        Rows and columns of the blocks of each group.
    count : int
        How many to return; all where there are fewer.

    Returns
    -------
    tuple of (str, BlockIndex)
        Group and block, in an order of which each beginning is spread over the region.
    """
    listed = [(group, index) for group in sorted(blocks) for index in _along_a_curve(blocks[group])]
    return tuple(listed[place] for place in islice(scattered(len(listed)), count))


def _along_a_curve(blocks: Iterable[tuple[int, int]]) -> list[BlockIndex]:
    """Return blocks along a Z-order curve, which keeps near ones near."""
    ordered = np.array(sorted(set(blocks)), dtype=np.int64).reshape(-1, 2)
    code = np.zeros(len(ordered), dtype=np.int64)
    for bit in range(31):
        code |= ((ordered[:, 0] >> bit & 1) << 2 * bit + 1) | ((ordered[:, 1] >> bit & 1) << 2 * bit)
    return [BlockIndex(int(row), int(col)) for row, col in ordered[np.argsort(code, kind="stable")]]
