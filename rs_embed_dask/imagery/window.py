"""A rectangle of pixels within a grid, or beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rs_embed_dask.checks import whole
from rs_embed_dask.record import Record

__all__ = ["LARGEST_SIDE_PX", "Window"]

LARGEST_SIDE_PX: Final = 1_000_000


@dataclass(frozen=True)
class Window(Record):
    """A rectangle of pixels.

    Parameters
    ----------
    row, col : int
        Upper left pixel; below 0 lies outside the grid.
    height, width : int
        Pixels, at least 1.

    Raises
    ------
    SpecError
        Where one is no whole number or the size is below 1.
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, low in (("row", -LARGEST_SIDE_PX), ("col", -LARGEST_SIDE_PX), ("height", 1), ("width", 1)):
            value = whole(f"Window.{name}", getattr(self, name), low=low, high=LARGEST_SIDE_PX)
            object.__setattr__(self, name, value)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, for ``array[..., *window.slices]``."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width
