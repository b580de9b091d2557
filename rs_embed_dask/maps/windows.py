"""Which windows, pixels and sums belong to which tile of a map, so that each pixel is read and each window run once.

A *tile* computes the windows that start in its block. They reach up to `Tiling.margin` tokens beyond the block, below
and to the right, and never above or to the left. So the pixels that a tile reads itself are displaced by the margin,
the rest come from the tiles on its left, above it and in the corner, and so do the sums of windows that reach into its
block: work streams row by row, and what is held between tiles are strips, not blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.specs.base import number, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CORNER", "LEFT", "TOP", "BlockIndex", "Tiles", "Tiling", "share_of", "tile_number"]


class BlockIndex(NamedTuple):
    """Row and column of a block in its lattice."""

    row: int
    col: int


CORNER: Final = (-1, -1)
TOP: Final = (-1, 0)
LEFT: Final = (0, -1)
EARLIER: Final = (CORNER, TOP, LEFT)
"""Where what reaches into a block comes from, in the order in which sums are added: equal bits whatever the region."""


_BITS: Final = 24
_MIDDLE: Final = 1 << (_BITS - 1)  # rows and columns may be below zero


def tile_number(work: int, row: Any, col: Any) -> Any:
    """Return the number of a tile, or those of many as arrays, among the tiles of all passes of a map."""
    return (work << 2 * _BITS) + ((row + _MIDDLE) << _BITS) + col + _MIDDLE


def share_of(overlap: object) -> float:
    """Return the share of a window's side that the next one covers too. Raises SpecError outside [0, 1)."""
    fix = "give a share of the window's side in [0, 1), such as 1/12"
    share = number("overlap", overlap, fix=fix)
    if not 0 <= share < 1:
        raise SpecError("overlap", value=overlap, reason="windows must move on", fix=fix)
    return share


@dataclass(frozen=True)
class Tiling:
    """How windows lie on a lattice.

    Parameters
    ----------
    window : int
        Tokens per side of a window, its rim included.
    stride : int
        Tokens from one window to the next; windows leave no gap.
    block : int
        Tokens per side of a block; windows reach into the next block at most.
    patch_px : int
        Pixels per side of a token.
    rim : int
        Tokens along each side of a window whose vectors are not used: they give the others their surroundings.
    least_margin : int
        Tokens that blocks hand on at least, so that models with other windows can share the same reads.
    """

    window: int
    stride: int
    block: int
    patch_px: int = 1
    rim: int = 0
    least_margin: int = 0

    def __post_init__(self) -> None:
        whole("Tiling.rim", self.rim, low=0, high=(self.window - 1) // 2)
        whole("Tiling.stride", self.stride, low=1, high=self.window - 2 * self.rim)
        if self.margin > self.block:
            fix = f"use smaller windows, or blocks of at least {self.margin} tokens"
            raise SpecError("Tiling.window", value=self.window, reason="it reaches beyond the next block", fix=fix)

    @classmethod
    def of(cls, window: int, overlap: float, *, block: int, patch_px: int = 1) -> Tiling:
        """Return the tiling whose windows share `overlap` of their side, to the nearest whole token."""
        return cls(window, max(1, window - round(window * share_of(overlap))), block, patch_px)

    @property
    def overlap(self) -> float:
        """Share of a window's side that the next window covers too."""
        return 1 - self.stride / self.window

    @property
    def margin(self) -> int:
        """Tokens that the windows of a block reach beyond its far edges."""
        return max(self.least_margin, self.window - gcd(self.block, self.stride))

    def rect(self, block: BlockIndex) -> Rect:
        """Return the tokens of a block."""
        top, left = block.row * self.block, block.col * self.block
        return Rect(top, left, top + self.block, left + self.block)

    def starts(self, first: int, stop: int) -> range:
        """Return the starts of the windows that start in first .. stop - 1, along one axis."""
        return range(-(-first // self.stride) * self.stride, stop, self.stride)

    def reaching(self, token: int) -> int:
        """Return the start of the first window that covers a token, along one axis."""
        return (token - self.window) // self.stride * self.stride + self.stride


@dataclass(frozen=True)
class Tiles:
    """The tiles that make some blocks of a map: which windows each computes, what it reads, what it hands on.

    Parameters
    ----------
    tiling : Tiling
        How the windows lie.
    wanted : frozenset of BlockIndex
        The blocks to be written.
    """

    tiling: Tiling
    wanted: frozenset[BlockIndex] = field(repr=False)

    @classmethod
    def of(cls, tiling: Tiling, blocks: Iterable[tuple[int, int]]) -> Tiles:
        """Make the tiles of some blocks."""
        return cls(tiling, frozenset(BlockIndex(*block) for block in blocks))

    @cached_property
    def order(self) -> tuple[BlockIndex, ...]:
        """Every tile, row by row: a tile comes after those that it takes strips from."""
        reach = (0, -1) if self.tiling.margin else (0,)
        return tuple(sorted({BlockIndex(row + i, col + j) for row, col in self.wanted for i in reach for j in reach}))

    @cached_property
    def _all(self) -> frozenset[BlockIndex]:
        return frozenset(self.order)

    def has(self, tile: BlockIndex) -> bool:
        """Return whether a tile is one of these."""
        return tile in self._all

    def earlier(self, tile: BlockIndex) -> tuple[BlockIndex | None, BlockIndex | None, BlockIndex | None]:
        """Return the corner, the top and the left neighbour, None where there is none."""
        near = (BlockIndex(tile.row + i, tile.col + j) for i, j in EARLIER)
        corner, top, left = (block if block in self._all else None for block in near)
        return corner, top, left

    def _thin(self, tile: BlockIndex) -> tuple[bool, bool]:
        """Return whether a tile computes only the windows that reach the row, or the column, of blocks after it."""
        own, right, below = (BlockIndex(tile.row + i, tile.col + j) in self.wanted for i, j in ((0, 0), (0, 1), (1, 0)))
        return not (own or right), not (own or below)

    def _first(self, tile: BlockIndex, thin: tuple[bool, bool]) -> tuple[int, int]:
        """Return the first row and column of a tile's windows."""
        size = self.tiling.block
        top, left = (
            max(at * size, self.tiling.reaching((at + 1) * size)) if is_thin else at * size
            for at, is_thin in zip(tile, thin, strict=True)
        )
        return top, left

    def starts(self, tile: BlockIndex) -> tuple[range, range]:
        """Return the rows and the columns at which the windows of a tile start."""
        (top, left), size = self._first(tile, self._thin(tile)), self.tiling.block
        return self.tiling.starts(top, (tile.row + 1) * size), self.tiling.starts(left, (tile.col + 1) * size)

    def field(self, tile: BlockIndex) -> Rect:
        """Return the tokens whose pixels a tile needs, and over which it gives partial sums."""
        (top, left), size, margin = self._first(tile, self._thin(tile)), self.tiling.block, self.tiling.margin
        return Rect(top, left, (tile.row + 1) * size + margin, (tile.col + 1) * size + margin)

    def source(self, tile: BlockIndex) -> Rect:
        """Return the tokens whose pixels a tile reads itself: its field less what its neighbours hand on."""
        # A tile whose own windows need few rows still hands on all the rows that its right neighbour needs.
        size, margin = self.tiling.block, self.tiling.margin
        right, below = BlockIndex(tile.row, tile.col + 1), BlockIndex(tile.row + 1, tile.col)
        thin_rows, thin_cols = self._thin(tile)
        thin_rows = thin_rows and (right not in self._all or self._thin(right)[0])
        thin_cols = thin_cols and (below not in self._all or self._thin(below)[1])
        first_row, first_col = self._first(tile, (thin_rows, thin_cols))
        _, top, left = self.earlier(tile)
        return Rect(
            first_row if top is None else max(first_row, tile.row * size + margin),
            first_col if left is None else max(first_col, tile.col * size + margin),
            (tile.row + 1) * size + margin,
            (tile.col + 1) * size + margin,
        )

    def right(self, tile: BlockIndex, rect: Rect) -> Rect:
        """Return the part of a tile's pixels or sums that the tile on its right needs."""
        return rect & rect._replace(left=(tile.col + 1) * self.tiling.block)

    def below(self, tile: BlockIndex, rect: Rect) -> Rect:
        """Return the part of a tile's pixels or sums that the tiles below it, and below on its right, need."""
        return rect & rect._replace(top=(tile.row + 1) * self.tiling.block)
