"""The colours of a map in layers, one per group, no finer than a picture can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rs_embed_dask.specs.ground import outline
from rs_embed_dask.store.export.colours import NO_COLOUR, basis_of, halved, painted
from rs_embed_dask.store.export.pca import COLOURS
from rs_embed_dask.store.export.preview import PREVIEW, levels_of, stored_basis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.export.colours import Colouring
    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.map_store import MapView

__all__ = ["Layer", "layers_of"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One group's colours (3, rows, columns), of cells of `factor` by `factor` tokens."""

    rgb: NDArray[np.uint8]
    crs: str
    transform: tuple[float, ...]
    factor: int

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the colours of points, without any between two cells; (3, ...)."""
        width, _, left, _, height, top = self.transform
        cols, rows = np.floor((x - left) / width), np.floor((y - top) / height)
        inside = (rows >= 0) & (rows < self.rgb.shape[1]) & (cols >= 0) & (cols < self.rgb.shape[2])
        colours = np.full((COLOURS, *x.shape), NO_COLOUR, np.uint8)
        colours[:, inside] = self.rgb[:, rows[inside].astype(np.intp), cols[inside].astype(np.intp)]
        return colours

    @property
    def edge(self) -> NDArray[np.float64] | None:
        """Points around the cells that have a colour, (n, 2); None where none has."""
        there = (self.rgb != NO_COLOUR).all(axis=0)
        if not there.any():
            return None
        rows, cols = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
        width, _, left, _, height, top = self.transform
        west, east = (left + width * edge for edge in (cols[0], cols[-1] + 1))
        north, south = (top + height * edge for edge in (rows[0], rows[-1] + 1))
        return outline(shapely.box(west, south, east, north), self.crs)


def layers_of(
    fields: Sequence[MapField], view: MapView | None, *, basis: Colouring | None, most: int
) -> tuple[list[Layer], Colouring]:
    """Return the layers of fields of one model and span, of at most about `most` cells a side, and their basis.

    They are read from the store's preview if it has one and no other basis is given, else made from the vectors.
    """
    longest = max(max(one.shape) for one in fields)
    halvings = max(0, int(np.ceil(np.log2(longest / most))))
    stored = None if view is None or basis is not None else stored_basis(view, fields[0].label)
    if view is not None and stored is not None:
        return [_stored(view, one, halvings) for one in fields], stored
    fitted = basis_of(fields) if basis is None else basis
    return [_made(one, fitted, halvings) for one in fields], fitted


def _stored(view: MapView, field: MapField, halvings: int) -> Layer:
    levels = levels_of(field)
    level = levels[min(halvings, len(levels) - 1)]
    rgb = view.array(f"{field.label}/{PREVIEW}/{field.group}/{level.group}/rgb")[field.time]
    return Layer(np.asarray(rgb), level.crs, level.transform, 2 ** int(level.group))


def _made(field: MapField, basis: Colouring, halvings: int) -> Layer:
    """Colour a field window by window; cells cannot be larger than a window."""
    side, (rows, cols) = field.side, field.shape
    factor = 1
    while factor < 2**halvings and side % (2 * factor) == 0:
        factor *= 2
    rgb = np.full((COLOURS, -(-rows // factor), -(-cols // factor)), NO_COLOUR, np.uint8)
    for window in field.windows():
        colours = _padded(painted(field.read(window), basis), factor)
        cell = factor
        while cell > 1:
            colours, cell = halved(colours), cell // 2
        top, left = (one.start // factor for one in window)
        rgb[:, top : top + colours.shape[1], left : left + colours.shape[2]] = colours
    width, _, x, _, height, y = field.transform
    return Layer(rgb, field.crs, (width * factor, 0.0, x, 0.0, height * factor, y), factor)


def _padded(colours: NDArray[Any], factor: int) -> NDArray[Any]:
    sides = [(0, -side % factor) for side in colours.shape[1:]]
    return np.pad(colours, [(0, 0), *sides], constant_values=NO_COLOUR)
