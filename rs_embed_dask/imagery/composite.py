"""From the scenes of a frame to one image and the number of observations per pixel.

There are three methods: the *median* per band, the *mosaic* of the newest pixels, or the *clearest* scene with its gaps
filled from the next clearest. All count one pass of a satellite once, however many of its tiles overlap, and none
depends on the order in which scenes are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import Scene, observations
from rs_embed_dask.imagery.scratch import scratch
from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.specs.base import choice
from rs_embed_dask.specs.fetch import COMPOSITES

__all__ = ["composite_frame", "frame_of", "median"]

_VALUES_AT_ONCE: Final = 1 << 20  # small enough that the sort stays in the cache


def median(layers: npt.NDArray[np.float32], observed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the median over the observed layers of each pixel, band by band; the layers are worked on in place."""
    # Unlike `numpy.nanmedian` it is vectorised over pixels and does not warn where nothing is observed.
    n, n_bands, height, width = layers.shape
    if n == 1:
        alone: npt.NDArray[np.float32] = layers[0]
        np.copyto(alone, np.float32(np.nan), where=~observed[0])
        return alone
    flat = layers.reshape(n, n_bands, height * width)
    keep = observed.reshape(n, 1, height * width)
    out = np.empty((n_bands, height * width), np.float32)
    step = max(1, _VALUES_AT_ONCE // (n * n_bands))
    for start in range(0, height * width, step):
        part = slice(start, start + step)
        _median(flat[:, :, part], keep[:, :, part], out[:, part])
    return out.reshape(n_bands, height, width)


def _median(values: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_], out: npt.NDArray[np.float32]) -> None:
    """Write the median along the first axis, ignoring values that are not kept."""
    there, last, half = np.isnan(values, out=scratch(values.shape, np.bool_)), len(values) - 1, np.float32(0.5)
    is_whole = np.greater(keep, there, out=there).all()  # kept, and not NaN
    if not is_whole:
        np.copyto(values, np.float32(np.inf), where=~there)
    ranked = _sorted(values)
    if is_whole:
        low, high = ranked[last // 2], ranked[len(values) // 2]
    else:
        count, layers = there.sum(0), np.stack(ranked)
        low = np.take_along_axis(layers, np.maximum((count - 1) // 2, 0)[None], 0)[0]
        high = np.take_along_axis(layers, np.minimum(count // 2, last)[None], 0)[0]
        np.copyto(low, np.float32(np.nan), where=count == 0)
    np.multiply(low, half, out=out)
    out += np.multiply(high, half, out=scratch(high.shape, np.float32))


def _sorted(layers: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Sort along the first axis, in their place: whole layers are compared, which is quicker than lanes."""
    ranked, spare = list(layers), scratch(layers.shape[1:], np.float32)
    for low, high in _comparisons(len(ranked)):
        first, second = ranked[low], ranked[high]
        ranked[low] = np.minimum(first, second, out=spare)
        np.maximum(first, second, out=second)
        spare = first
    return ranked


@lru_cache(maxsize=64)
def _comparisons(n: int) -> tuple[tuple[int, int], ...]:
    """Return which pairs to put in order so that `n` layers are sorted: Batcher's odd-even merges."""
    steps = [1 << bit for bit in range((n - 1).bit_length())]
    return tuple(
        (low, low + distance)
        for side in steps
        for distance in reversed([step for step in steps if step <= side])
        for start in range(distance % side, n - distance, 2 * distance)
        for low in range(start, min(start + distance, n - distance))
        if low // (2 * side) == (low + distance) // (2 * side)
    )


Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.uint16]
_NAMES: Final = PropertyNames()


def frame_of(scene: Scene, frames: Sequence[Span]) -> int | None:
    """Return the index of the frame that holds a scene's UTC date."""
    day = scene.datetime.date()
    return next((i for i, span in enumerate(frames) if span.start <= day < span.end), None)


def composite_frame(
    stack: Floats,
    scenes: Sequence[Scene],
    *,
    lon: float,
    how: str = "median",
    present: Bools | None = None,
    names: PropertyNames = _NAMES,
) -> tuple[Floats, Counts, npt.NDArray[np.int64]]:
    """Composite the scenes of one frame: the image, its observation counts, and pixels used per scene.

    The stack is worked on in its place.
    """
    choice("composite", how, COMPOSITES)
    _, n_bands, height, width = stack.shape
    used = np.zeros(len(scenes), np.int64)
    groups = observations(scenes, lon=lon, names=names)
    if not groups:
        return np.full((n_bands, height, width), np.nan, np.float32), np.zeros((height, width), np.uint16), used
    valid = _valid(stack, present)  # (N, H, W)
    layers, origin = _merge(stack, valid, groups)  # (G, B, H, W), (G, H, W)
    observed = np.greater(origin, 0, out=scratch(origin.shape, np.bool_))
    if how == "median":
        gave = origin
        values = median(layers, observed)
    else:
        values, gave = _first(layers, origin, _ranking(observed, how))
    used += np.bincount(gave.ravel(), minlength=len(scenes) + 1)[1:]
    return values, observed.sum(0, dtype=np.uint16), used


def _valid(stack: Floats, present: Bools | None) -> Bools:
    """Return where each scene has a complete observation: all bands that it has, at least one, are finite."""
    whole: Bools = np.isfinite(stack, out=scratch(stack.shape, np.bool_))
    if present is not None:
        whole |= ~present[:, :, None, None]
    valid: Bools = np.logical_and.reduce(whole, axis=1)
    if present is not None:
        valid &= np.logical_or.reduce(present, axis=1)[:, None, None]
    return valid


def _merge(stack: Floats, valid: Bools, groups: Sequence[Sequence[int]]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Merge each group into one layer: the pixels of its first scene, gaps filled from the next.

    Beside it is which scene gave each pixel, counted from 1; 0 where none did.
    """
    if all(len(members) == 1 for members in groups):
        order = np.array([members[0] for members in groups])
        in_order = bool((order == np.arange(len(stack))).all())
        there = valid if in_order else valid[order]
        origin = np.multiply(there, order[:, None, None] + 1, out=scratch(there.shape, np.int64))
        return stack if in_order else stack[order], origin
    layers = np.full((len(groups), *stack.shape[1:]), np.nan, np.float32)
    origin = np.zeros((len(groups), *stack.shape[2:]), np.int64)
    for g, members in enumerate(groups):
        for i in members:
            take = valid[i] & (origin[g] == 0)
            layers[g][:, take] = stack[i][:, take]
            origin[g][take] = i + 1
    return layers, origin


def _ranking(observed: Bools, how: str) -> list[int]:
    """Rank layers, given in order of time: newest first, or most valid pixels first and then oldest."""
    if how == "mosaic":
        return list(range(len(observed)))[::-1]
    counts = observed.sum((1, 2))
    return sorted(range(len(observed)), key=lambda g: (-int(counts[g]), g))


def _first(
    layers: Floats, origin: npt.NDArray[np.int64], ranking: Sequence[int]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Take each pixel from the first layer in the ranking that has it."""
    values = np.full(layers.shape[1:], np.nan, np.float32)
    gave = np.zeros(origin.shape[1:], np.int64)
    for g in ranking:
        take = (origin[g] > 0) & (gave == 0)
        values[:, take] = layers[g][:, take]
        gave[take] = origin[g][take]
    return values, gave
