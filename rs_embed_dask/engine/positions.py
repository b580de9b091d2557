"""How much of the variance of vectors their positions in the window explain, and whether these are taken away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from rs_embed_dask.specs.base import choice
from rs_embed_dask.specs.positions import MEASURED, MODES, PASSED, PositionTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "FIRST_ITEMS",
    "LEAST",
    "OF_ITEMS",
    "OF_MAPS",
    "Decision",
    "Explained",
    "PositionSums",
    "SampleWords",
    "decide",
    "scattered",
]

LEAST: Final = 64
"""Windows of a map, or items: below this number nothing is taken away unless asked for."""

FIRST_ITEMS: Final = 256
"""Of places, those that are measured, if there are so many."""

_TELLING_SHARE: Final = 0.01


class Explained(NamedTuple):
    """How much of the variance of vectors their positions explain."""

    share: float
    chance: float
    """What positions that mean nothing would explain, of as many independent vectors."""


@dataclass(frozen=True, eq=False)
class PositionSums:
    """Sums over windows, in float64; ``a + b`` merges, and the same order of merging gives the same bits."""

    counts: NDArray[np.int64]
    """Vectors at each position; (window, window)."""
    sums: NDArray[np.float64]
    """(dim, window, window)."""
    squares: float
    """Of all vectors."""

    @classmethod
    def of(cls, windows: NDArray[Any]) -> Self:
        """Add up windows of vectors, (..., dim, window, window); a token with a NaN counts nowhere."""
        there = np.isfinite(windows).all(axis=-3)  # (..., window, window)
        values = np.where(there[..., None, :, :], windows, windows.dtype.type(0))
        every = tuple(range(windows.ndim - 3))
        flat = values.ravel(order="K")
        squares = np.einsum("i,i->", flat, flat, dtype=np.float64)
        return cls(there.sum(every, dtype=np.int64), values.sum(every, dtype=np.float64), float(squares))

    def __add__(self, other: PositionSums) -> PositionSums:
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"sums of {self.sums.shape} and of {other.sums.shape} do not belong to one model")
        return PositionSums(self.counts + other.counts, self.sums + other.sums, self.squares + other.squares)

    @property
    def _means(self) -> NDArray[np.float64]:
        return np.asarray(self.sums / np.maximum(self.counts, 1))

    @property
    def explained(self) -> Explained:
        """Return the share of the variance between positions, and the share that chance gives."""
        vectors = int(self.counts.sum())
        if vectors <= 1:
            return Explained(0.0, 0.0)
        centre = self.sums.sum(axis=(1, 2)) / vectors
        between = float((self.counts * np.square(self._means - centre[:, None, None]).sum(axis=0)).sum())
        total = self.squares - vectors * float(centre @ centre)
        chance = (int(np.count_nonzero(self.counts)) - 1) / (vectors - 1)
        # Vectors that are all equal leave nothing but rounding.
        return Explained(between / total if total > 1e-12 * self.squares else 0.0, chance)

    def table(self, *, model: str, variant: str, patch_px: int, source: str = MEASURED) -> PositionTable:
        """Return the table of what has been added up."""
        seen = self.counts > 0
        centre = self._means[:, seen].mean(axis=1) if seen.any() else np.zeros(len(self.sums))
        mean = np.where(seen, self._means - centre[:, None, None], 0)
        # Twice: of vectors that are all alike, rounding is all that is left, and its mean is no smaller than it.
        mean -= np.where(seen, mean.sum((1, 2), keepdims=True) / max(1, np.count_nonzero(seen)), 0)
        share, chance = self.explained
        vectors = mean.astype(np.float32)
        return PositionTable(vectors, model, variant, patch_px, int(self.counts.min()), share - chance, source)


def scattered(size: int) -> Iterator[int]:
    """Go through 0 .. size - 1 in an order of which each beginning is spread over all of them."""
    # Steps of the golden section: after any number of them, no gap is much larger than another.
    step = next((step for step in range(round(size * 0.6180339887498949), size) if math.gcd(step, size) == 1), 1)
    return ((size // 2 + turn * step) % size for turn in range(size))


class Decision(NamedTuple):
    """Whether positions are taken away, and the sentence that plan, receipt and caption say of it."""

    removed: bool
    statement: str


class SampleWords(NamedTuple):
    """What positions are measured from, in words."""

    unit: str
    place: str
    others: str


OF_MAPS: Final = SampleWords("windows", "this region", "maps")
OF_ITEMS: Final = SampleWords("items", "this store", "stores")


def decide(table: PositionTable | None, mode: str = "auto", of: SampleWords = OF_MAPS) -> Decision:
    """Decide whether the positions of a map, or of grids of places, are taken away.

    Parameters
    ----------
    table : PositionTable or None
        None where there is none to take away.
    mode : {"auto", "removed", "kept"}
        "auto" takes them away where they explain more than 1 % of the variance of at least 64 windows, or items.
    of : SampleWords
        How the statement names what they were measured from.

    Returns
    -------
    Decision
    """
    choice("positions", mode, MODES)
    if reason := _hindrance(table, mode, of):
        return Decision(False, f"positions kept{reason}")
    assert table is not None
    if mode == "removed":
        few = 0 < table.windows < LEAST
        doubt = f", although {LEAST} {of.unit} or more should tell them from the ground" if few else ""
        return Decision(True, f"positions removed, as asked{doubt} ({_origin(table, of)})")
    share = f"they explain {100 * max(0.0, table.share):.3g} % of the variance"
    if table.share > _TELLING_SHARE:
        return Decision(True, f"positions removed: {share} ({_origin(table, of)})")
    return Decision(False, f"positions kept: {share}, not more than {100 * _TELLING_SHARE:g} %")


def _hindrance(table: PositionTable | None, mode: str, of: SampleWords) -> str:
    """Say why positions cannot or must not be taken away, whatever they explain; empty where nothing hinders it."""
    if mode == "kept":
        return ", as asked"
    if table is None or (not table.windows and table.source == MEASURED):
        return f": no {of.unit} have a vector at every position to measure them from"
    if table.window == 1:
        return ": a window is one token and has no others"
    if mode == "auto" and table.windows < LEAST:
        return f": {table.windows} {of.unit} are too few to tell them from the ground; {LEAST} are needed"
    return ""


def _origin(table: PositionTable, of: SampleWords) -> str:
    """Say where a table is from, and what that means for what is made with it."""
    if table.source == MEASURED:
        whose = f"{table.windows} {of.unit} of {of.place}"
        return f"{whose}; not comparable with other {of.others} unless you pass its table"
    owner = "the table passed" if table.source == PASSED else f"the table of {table.source}"
    return f"{owner}, from {table.windows} {of.unit}" if table.windows else owner
