"""The colours of maps that are no embeddings: of each class its own, of values a ramp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.store.export.fields import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rs_embed_dask.store.export.fields import MapField

__all__ = ["Palette", "palette_of"]

_RAMP: Final = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]) / 255
_PERCENTILES: Final = (2.0, 98.0)
_WINDOWS: Final = 16


@dataclass(frozen=True, eq=False)
class Palette:
    """How the first band of a map is drawn.

    Parameters
    ----------
    names : tuple of str
        The classes; none where the band holds values.
    table : (classes or steps, 3) array
        Colours from 0 to 1.
    low, high : float
        The values that the first and the last colour stand for.
    """

    names: tuple[str, ...]
    table: NDArray[np.float64]
    low: float = 0.0
    high: float = 1.0

    def colours(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Return the colours of pixels by their bands, (..., bands) to (..., 3); NaN where there is no value."""
        value = np.asarray(vectors, np.float64)[..., 0]
        there = np.isfinite(value)
        if self.names:
            rgb = self.table[np.where(there, value, 0).astype(np.intp)]
        else:
            width = self.high - self.low
            place = np.clip((np.where(there, value, self.low) - self.low) / (width if width > 0 else 1), 0, 1)
            steps = np.linspace(0, 1, len(self.table))
            rgb = np.stack([np.interp(place, steps, one) for one in self.table.T], axis=-1)
        return np.where(there[..., None], rgb, np.nan).astype(np.float32)


def palette_of(fields: Sequence[MapField]) -> Palette | None:
    """Return how a model's fields are drawn; None for embeddings."""
    facts = fields[0].derived
    if not facts:
        return None
    if fields[0].classes:
        return Palette(fields[0].classes, np.asarray(facts["colours"], np.float64) / 255)
    values = np.concatenate([_values(one) for one in fields])
    low, high = np.percentile(values, _PERCENTILES) if len(values) else (0.0, 1.0)
    return Palette((), _RAMP, float(low), float(high))


def _values(field: MapField) -> NDArray[Any]:
    windows = [window for window, _ in zip(spread(list(field.windows())), range(_WINDOWS), strict=False)]
    values = np.concatenate([field.read(window)[0].ravel() for window in windows])
    return np.asarray(values[np.isfinite(values)])
