"""Raw numbers while they wait for the other scenes of their frame: as 16-bit integers where they are such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["PackedRaw", "packed"]

_VALUES_AT_ONCE: Final = 1 << 14


@dataclass(frozen=True, eq=False)
class PackedRaw:
    """Whole numbers (N, A, H, W), and where they are missing, if anywhere, as bits along the last axis."""

    numbers: npt.NDArray[np.uint16]
    missing: npt.NDArray[np.uint8] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Scenes, layers, rows and columns."""
        return self.numbers.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers that were packed."""
        return np.dtype(np.float32)

    def copy_rows(self, rows: slice, into: npt.NDArray[Any]) -> None:
        """Write some rows as they were, NaN where they are missing."""
        into[:] = self.numbers[:, :, rows]
        if self.missing is not None:
            bits = np.unpackbits(self.missing[:, :, rows], axis=-1, count=self.shape[-1])
            np.copyto(into, np.float32(np.nan), where=bits.view(np.bool_))


def packed(raw: npt.NDArray[np.float32]) -> PackedRaw | npt.NDArray[np.float32]:
    """Return raw numbers in half the memory; as they are where they are not whole, too large, or lost."""
    if 0 in raw.strides:
        return raw  # nothing was read, and it takes no memory
    numbers, is_missing = np.empty(raw.shape, np.uint16), False
    flat, out = raw.reshape(-1), numbers.reshape(-1)
    for start in range(0, flat.size, _VALUES_AT_ONCE):
        part = slice(start, start + _VALUES_AT_ONCE)
        with np.errstate(invalid="ignore"):
            out[part] = flat[part]
        same = out[part] == flat[part]
        if not same.all():
            if not (same | np.isnan(flat[part])).all():
                return raw
            is_missing = True
    return PackedRaw(numbers, np.packbits(np.isnan(raw), axis=-1) if is_missing else None)
