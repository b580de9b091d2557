"""What the place of a token in its window does to its vector: measured over many windows, and taken away.

The mean vector of a position, less the mean of all, depends on model, variant, window and patch, and hardly on the
ground: so a sample of windows gives a table, which can be kept, passed to another map, and given back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from rs_embed_dask.errors import SpecError, redact
from rs_embed_dask.maps.windows import BlockIndex
from rs_embed_dask.specs.base import as_mapping, choice, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Rect

__all__ = [
    "LEAST_WINDOWS",
    "MEASURED",
    "MODES",
    "PASSED",
    "Decision",
    "Explained",
    "PositionSums",
    "PositionTable",
    "decide",
    "first_blocks",
    "inside",
    "spread",
    "stratified",
]

MODES: Final = ("auto", "removed", "kept")
MEASURED: Final = "measured"
PASSED: Final = "passed"

_TELLING_SHARE: Final = 0.01
LEAST_WINDOWS: Final = 64
"""Below this number nothing is taken away unless asked for."""

_FIRST_WINDOWS: Final = 256
_FIRST_BLOCKS: Final = 16
_OFF_CENTRE: Final = 1e-3
_ANOTHER: Final = "pass the table of this model, variant, window and patch, or none"


@dataclass(frozen=True, eq=False)
class PositionTable:
    """The mean vector of each position of a window, less the mean of all positions.

    Parameters
    ----------
    mean : (dim, window, window) array of float32
        What a position adds to a vector; zero on average over the positions.
    model, variant : str
        The model that it belongs to.
    patch_px : int
        Pixels per side of a token.
    windows : int
        Windows that it was measured from: the fewest vectors at any position.
    share : float
        Share of the variance that the positions explain, less what chance would; noise gives about zero.
    source : str
        ``"measured"`` from the region of the map, ``"passed"`` by the user, or the store that it was taken from.

    Raises
    ------
    SpecError
        If the table cannot be one.
    """

    mean: NDArray[np.float32]
    model: str
    variant: str
    patch_px: int
    windows: int
    share: float
    source: str = MEASURED

    def __post_init__(self) -> None:
        mean = np.array(self.mean, dtype=np.float32, order="C")
        whole("PositionTable.patch_px", self.patch_px, low=1, high=2**16)
        whole("PositionTable.windows", self.windows, low=0, high=2**53)
        number("PositionTable.share", self.share)
        if mean.shape[1:] != mean.shape[-1:] * 2 or not mean.size:
            reason, fix = "a table has the shape (dim, window, window)", "give one vector per position of a window"
            raise SpecError("PositionTable.mean", value=mean, reason=reason, fix=fix)
        if not np.isfinite(mean).all():
            reason, fix = "some of its numbers are not finite", "measure the table from windows without gaps"
            raise SpecError("PositionTable.mean", value=mean, reason=reason, fix=fix)
        if np.linalg.norm(mean.mean(axis=(1, 2))) > _OFF_CENTRE * math.sqrt(float(np.square(mean).sum(0).mean())):
            reason, fix = "the mean over its positions is not zero", "subtract the mean over the positions from it"
            raise SpecError("PositionTable.mean", value=mean, reason=reason, fix=fix)
        mean.flags.writeable = False
        object.__setattr__(self, "mean", mean)
        object.__setattr__(
            self, "source", redact(text("PositionTable.source", self.source, fix="say where it is from"))
        )

    @property
    def window(self) -> int:
        """Tokens per side of the window."""
        return int(self.mean.shape[1])

    @property
    def digest(self) -> str:
        """What tells this table from any other, whatever its source: maps made with the same one can be compared."""
        key = repr((self.mean.shape, self.model, self.variant, self.patch_px)).encode()
        return blake2b(key + self.mean.astype("<f4").tobytes(), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the vectors as JSON values."""
        facts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "mean"}
        return {**facts, "digest": self.digest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], mean: NDArray[np.float32]) -> Self:
        """Build the table from `to_dict` and its vectors, which must be those that it was made from."""
        facts = dict(as_mapping(cls.__name__, data))
        digest = facts.pop("digest", None)
        try:
            table = cls(mean, **facts)
        except TypeError as error:
            raise SpecError(cls.__name__, value=facts, reason=str(error), fix="give what to_dict() returns") from error
        if digest not in {None, table.digest}:
            reason, fix = "its vectors are not those that it was written with", "pass an intact table, or measure again"
            raise SpecError("PositionTable.digest", value=digest, reason=reason, fix=fix)
        return table

    def require(self, *, model: str, variant: str, dim: int, window: int, patch_px: int) -> None:
        """Refuse a table that was measured for anything else."""
        asked = {"model": model, "variant": variant, "dim": dim, "window": window, "patch_px": patch_px}
        own = {**self.to_dict(), "dim": len(self.mean), "window": self.window}
        for name, value in asked.items():
            if own[name] != value:
                reason = f"this map's is {value!r}"
                raise SpecError(f"PositionTable.{name}", value=own[name], reason=reason, fix=_ANOTHER)


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
        mean = np.where(seen, self._means - centre[:, None, None], 0).astype(np.float32)
        share, chance = self.explained
        return PositionTable(mean, model, variant, patch_px, int(self.counts.min()), share - chance, source)


class Decision(NamedTuple):
    """Whether positions are taken away, and the sentence that plan, receipt and caption say of it."""

    removed: bool
    statement: str


def decide(table: PositionTable | None, mode: str = "auto") -> Decision:
    """Decide whether the positions of a map are taken away.

    Parameters
    ----------
    table : PositionTable or None
        None where there is none to take away.
    mode : {"auto", "removed", "kept"}
        "auto" takes them away where they explain more than 1 % of the variance of at least 64 windows.

    Returns
    -------
    Decision
    """
    choice("positions", mode, MODES)
    if reason := _hindrance(table, mode):
        return Decision(False, f"positions kept{reason}")
    assert table is not None
    if mode == "removed":
        few = table.windows < LEAST_WINDOWS
        doubt = f", although {LEAST_WINDOWS} windows or more should tell them from the ground" if few else ""
        return Decision(True, f"positions removed, as asked{doubt} ({_origin(table)})")
    share = f"they explain {100 * max(0.0, table.share):.3g} % of the variance"
    if table.share > _TELLING_SHARE:
        return Decision(True, f"positions removed: {share} ({_origin(table)})")
    return Decision(False, f"positions kept: {share}, not more than {100 * _TELLING_SHARE:g} %")


def _hindrance(table: PositionTable | None, mode: str) -> str:
    """Say why positions cannot or must not be taken away, whatever they explain; empty where nothing hinders it."""
    if mode == "kept":
        return ", as asked"
    if table is None or not table.windows:
        return ": no windows have a vector at every position to measure them from"
    if table.window == 1:
        return ": a window is one token and has no others"
    if mode == "auto" and table.windows < LEAST_WINDOWS:
        return f": {table.windows} windows are too few to tell them from the ground; {LEAST_WINDOWS} are needed"
    return ""


def _origin(table: PositionTable) -> str:
    """Say where a table is from, and what that means for maps made with it."""
    if table.source == MEASURED:
        return f"{table.windows} windows of this region; not comparable with other maps unless you pass its table"
    owner = "the table passed" if table.source == PASSED else f"the table of {table.source}"
    return f"{owner}, from {table.windows} windows"


def spread(fold: NDArray[np.float32], rect: Rect) -> NDArray[np.float32]:
    """Return what positions add to the tokens of a rectangle: subtract it to take them away, add it to give them back.

    `fold` is what `blend.folded` makes of a table, (dim, stride, stride); the result is (dim, rows, columns). Where a
    window that covers a token has no vector for it, only taking the table from the windows before blending is exact.
    """
    stride = fold.shape[1]
    rows, cols = np.arange(rect.top, rect.bottom) % stride, np.arange(rect.left, rect.right) % stride
    return fold[:, rows[:, None], cols]


# ------------------------------------------------------------------------------------------------------ the first pass
def inside(rect: Rect, window: int) -> tuple[range, range]:
    """Return the starts of windows side by side in a rectangle, from its corner: each token once, and none beyond."""
    rows, cols = rect.shape
    return (
        range(rect.top, rect.top + rows - window + 1, window),
        range(rect.left, rect.left + cols - window + 1, window),
    )


def first_blocks(window: int, block: int) -> int:
    """Return how many blocks the first pass takes: 16 or more, with 256 windows side by side inside them."""
    return max(_FIRST_BLOCKS, math.ceil(_FIRST_WINDOWS / max(1, block // window) ** 2))


def stratified(
    blocks: Mapping[str, Iterable[tuple[int, int]]], count: int, *, skip: int = 0
) -> tuple[tuple[str, BlockIndex], ...]:
    """Return blocks spread over a region, the same for the same region.

    Parameters
    ----------
    blocks : mapping of str to iterable of (int, int)
        Rows and columns of the blocks of each group.
    count : int
        How many to return; all where there are fewer.
    skip : int
        How many were taken before, and gave too few windows.

    Returns
    -------
    tuple of (str, BlockIndex)
        Group and block, in an order of which each beginning is spread over the region.
    """
    listed = [(group, index) for group in sorted(blocks) for index in _along_a_curve(blocks[group])]
    size = len(listed)
    # Steps of the golden section along the curve: after any number of them, no gap is much larger than another.
    step = next((step for step in range(round(size * 0.6180339887498949), size) if math.gcd(step, size) == 1), 1)
    return tuple(listed[(size // 2 + turn * step) % size] for turn in range(min(skip, size), min(skip + count, size)))


def _along_a_curve(blocks: Iterable[tuple[int, int]]) -> list[BlockIndex]:
    """Return blocks along a Z-order curve, which keeps near ones near."""
    ordered = np.array(sorted(set(blocks)), dtype=np.int64).reshape(-1, 2)
    code = np.zeros(len(ordered), dtype=np.int64)
    for bit in range(31):
        code |= ((ordered[:, 0] >> bit & 1) << 2 * bit + 1) | ((ordered[:, 1] >> bit & 1) << 2 * bit)
    return [BlockIndex(int(row), int(col)) for row, col in ordered[np.argsort(code, kind="stable")]]
