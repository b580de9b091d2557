"""The colours of pixels from layers that lie in several projections: each pixel by the token that it lies in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.specs.ground import project
from rs_embed_dask.store.export.colours import NO_COLOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.export.layers import Layer

__all__ = ["mosaic"]

_NEAR, _FAR = 0.55, 1.15  # tokens


def mosaic(layers: Sequence[Layer], crs: str, *, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the colours of pixels: of the first layer that has one there; (3, rows, columns)."""
    places = [_moved(crs, one.crs, x, y) for one in layers]
    rgb = np.full((3, *x.shape), NO_COLOUR, np.uint8)
    for one, (own_x, own_y) in zip(layers, places, strict=True):
        rgb = np.where(rgb == NO_COLOUR, one.at(own_x, own_y), rgb)
    blank = (rgb == NO_COLOUR).all(axis=0)
    if len(layers) > 1 and blank.any():
        rgb[:, blank] = _between(layers, [(own_x[blank], own_y[blank]) for own_x, own_y in places])
    return rgb


def _moved(source: str, target: str, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if source == target:
        return x, y
    own_x, own_y = project(source, target, x.ravel(), y.ravel())
    return own_x.reshape(x.shape), own_y.reshape(x.shape)


def _between(layers: Sequence[Layer], places: Sequence[tuple[Any, Any]]) -> NDArray[np.uint8]:
    """Return the colours of pixels where zones meet.

    A token belongs to the zone of its centre, so that ground beside the border may lie in a token of each zone which
    the other owns. The strip is at most a token wide: such a pixel has coloured tokens of two zones beside it, one of
    them within half a token, whose colour it takes.
    """
    filled = np.full((3, *places[0][0].shape), NO_COLOUR, np.uint8)
    for across, up in ((1, 0), (0, 1)):  # borders of zones run north, those of the polar caps along a parallel
        count, colours = np.zeros(filled.shape[1:], int), np.full_like(filled, NO_COLOUR)
        for one, (x, y) in zip(layers, places, strict=True):
            near, far = (_beside(one, (x, y), reach * across, reach * up) for reach in (_NEAR, _FAR))
            count += ((near != NO_COLOUR) | (far != NO_COLOUR)).any(axis=0)
            colours = np.where(colours == NO_COLOUR, near, colours)
        filled = np.where((filled == NO_COLOUR) & (count > 1), colours, filled)
    return filled


def _beside(layer: Layer, place: tuple[Any, Any], across: float, up: float) -> NDArray[np.uint8]:
    """Return the colours of the tokens on either side of some points, so many tokens away; those of the first side."""
    size = abs(layer.transform[0])
    first, second = (layer.at(place[0] + turn * across * size, place[1] + turn * up * size) for turn in (-1, 1))
    return np.where(first == NO_COLOUR, second, first)
