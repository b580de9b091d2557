"""Raw numbers as they are in files, each with where they are missing, until they become a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.scratch import scratch

__all__ = ["LOST", "RawLayer", "RawLayers"]

LOST: Final = np.float32(-3.0e38)
"""Fills the raw layer of a scene whose file could not be read. No file holds this number."""


@dataclass(frozen=True, eq=False)
class RawLayer:
    """Numbers of one file (H, W), and where they are missing, if anywhere, as bits along the last axis."""

    numbers: npt.NDArray[Any]
    missing: npt.NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, numbers: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None) -> RawLayer:
        """Return numbers and where they are missing, packed."""
        is_whole = missing is None or not missing.any()
        return cls(numbers, None if is_whole else np.packbits(missing, axis=-1))  # type: ignore[arg-type]

    @classmethod
    def filled(cls, value: np.float32, shape: tuple[int, int]) -> RawLayer:
        """Return one number everywhere, which takes no memory."""
        return cls(np.broadcast_to(value, shape))

    @classmethod
    def joined(cls, blocks: Sequence[Sequence[RawLayer]]) -> RawLayer:
        """Return blocks, row by row, as one layer, which is lost where one of them is."""
        every = [block for row in blocks for block in row]
        if len(every) == 1:
            return every[0]
        shape = sum(row[0].numbers.shape[0] for row in blocks), sum(block.numbers.shape[1] for block in blocks[0])
        if any(block.numbers[0, 0] == LOST for block in every):
            return cls.filled(LOST, shape)
        numbers = np.block([[block.numbers for block in row] for row in blocks])
        return cls.of(numbers, np.block([[block.gaps() for block in row] for row in blocks]))

    def gaps(self, rows: slice = slice(None)) -> npt.NDArray[np.bool_]:
        """Return where numbers are missing in some rows."""
        if self.missing is None:
            return np.broadcast_to(np.False_, self.numbers[rows].shape)
        return np.unpackbits(self.missing[rows], axis=-1, count=self.numbers.shape[-1]).view(np.bool_)

    def copy_rows(self, rows: slice, into: npt.NDArray[np.float32]) -> None:
        """Write some rows as 32-bit floats, NaN where they are missing."""
        into[:] = self.numbers[rows]
        if self.missing is not None:
            np.copyto(into, np.float32(np.nan), where=self.gaps(rows))


@dataclass(frozen=True, eq=False)
class RawLayers:
    """Layers of some scenes on one grid, scene by scene."""

    layers: tuple[tuple[RawLayer, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Scenes, layers, rows and columns."""
        return len(self.layers), len(self.layers[0]), *self.layers[0][0].numbers.shape

    def strip(self, rows: slice) -> npt.NDArray[np.float32]:
        """Return some rows of all, which are nobody else's."""
        n, count, height, width = self.shape
        strip = scratch((n, count, len(range(height)[rows]), width), np.float32)
        for scene, own in zip(self.layers, strip, strict=True):
            for layer, into in zip(scene, own, strict=True):
                layer.copy_rows(rows, into)
        return strip
