"""What the place of a token in its window adds to its vector: a table of one model, which can be kept and passed on.

The mean vector of a position, less the mean of all, depends on model, variant, window and patch, and hardly on the
ground: so a sample of windows gives a table, which can be kept, passed to another run, and given back.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from rs_embed_dask.errors import SpecError, redact
from rs_embed_dask.specs.base import as_mapping, choice, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["AUTO", "KEPT", "MEASURED", "MODES", "NO_WINDOWS", "PASSED", "REMOVED", "PositionTable", "positions_given"]

AUTO: Final = "auto"
KEPT: Final = "kept"
REMOVED: Final = "removed"
MODES: Final = (AUTO, REMOVED, KEPT)
MEASURED: Final = "measured"
PASSED: Final = "passed"
NO_WINDOWS: Final = "computed from its own surroundings"
"""How it is said of a model that its vectors have no place in a window, which could be in them."""

_AXES: Final = 3
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
        The model that it belongs to; empty where only the numbers are known.
    patch_px : int
        Pixels per side of a token.
    windows : int
        Windows of a map, or items, that it was measured from: at most the fewest vectors at any position; 0 where that
        is not known.
    share : float
        Share of the variance that the positions explain, less what chance would; noise gives about zero.
    source : str
        ``"measured"`` from the map or the items, ``"passed"`` by the user, or the store that it was taken from.

    Raises
    ------
    SpecError
        If the table cannot be one.
    """

    mean: NDArray[np.float32] = field(repr=False)
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
        if mean.ndim != _AXES or mean.shape[1] != mean.shape[2] or not mean.size:
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
        facts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "mean"}
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

    @classmethod
    def of(cls, mean: object) -> Self:
        """Make a table of which only the numbers are known, (dim, window, window)."""
        if isinstance(mean, cls):
            return mean
        try:
            values = np.asarray(mean, dtype=np.float32)
        except (TypeError, ValueError) as error:
            fix = "give 'kept', 'auto', 'removed', numbers of shape (dim, window, window), or the path of a store"
            raise SpecError("positions", value=mean, reason="it is no table of positions", fix=fix) from error
        return cls(values, "", "", 1, 0, 0.0, PASSED)

    def fitting(self, *, dim: int, window: int, **about: Any) -> Self:
        """Return the table for a model; `about` is its `model`, `variant` and `patch_px`. Refuses another's table."""
        named = self if self.model else replace(self, **about)
        named.require(dim=dim, window=window, **about)
        return named

    def counting(self, items: int) -> Self:
        """Return the table with the number of items that it was measured from, which is less than their windows."""
        return replace(self, windows=min(self.windows, items))

    def without(self, vectors: NDArray[np.float32], places: tuple[Sequence[int], Sequence[int]]) -> NDArray[np.float32]:
        """Take the table from vectors (dim, rows, columns), whose rows and columns in their windows are `places`."""
        rows, columns = (np.asarray(one, dtype=np.intp) for one in places)
        return np.asarray(vectors - self.mean[:, rows[:, None], columns], dtype=np.float32)

    def require(self, *, model: str, variant: str, dim: int, window: int, patch_px: int) -> None:
        """Refuse a table that was measured for anything else."""
        asked = {"model": model, "variant": variant, "dim": dim, "window": window, "patch_px": patch_px}
        own = {**self.to_dict(), "dim": len(self.mean), "window": self.window}
        for name, value in asked.items():
            if own[name] != value:
                reason = f"here it is {value!r}"
                raise SpecError(f"PositionTable.{name}", value=own[name], reason=reason, fix=_ANOTHER)


def positions_given(what: str, value: object) -> str | PositionTable:
    """Return a mode, the path of a store, or a table. Raises SpecError, UnknownNameError."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and _is_path(value)):
        return os.fspath(value)
    return choice(what, value, MODES) if isinstance(value, str) else PositionTable.of(value)


def _is_path(text: str) -> bool:
    """Whether a text names a place rather than a mode."""
    return any(mark in text for mark in ("/", os.sep, "."))
