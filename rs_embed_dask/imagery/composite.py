"""From the scenes of a frame to one image, with what was observed and when.

Three ways: the *median* of each band, the *mosaic* of the newest pixels, or the *clearest* scene with its gaps filled
by the next clearest. All count one pass of a satellite once, however many tiles of it overlap, and none depends on the
order in which scenes are given.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import Scene, observations
from rs_embed_dask.imagery.sensor_types import PropertyNames

__all__ = ["HOWS", "Composite", "composite", "composite_frame", "frame_of", "median"]

_VALUES_AT_ONCE: Final = 1 << 20  # what is sorted together stays in the cache


def median(layers: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the median over the seen layers of each pixel, band by band."""
    # Unlike `numpy.nanmedian` it is vectorised over pixels and does not warn where nothing is seen.
    n, n_bands, height, width = layers.shape
    if n == 1:
        return np.where(seen[0], layers[0], np.float32(np.nan))
    flat = layers.reshape(n, n_bands, height * width)
    keep = seen.reshape(n, 1, height * width)
    out = np.empty((n_bands, height * width), np.float32)
    step = max(1, _VALUES_AT_ONCE // (n * n_bands))
    for start in range(0, height * width, step):
        part = slice(start, start + step)
        out[:, part] = _median(flat[:, :, part], keep[:, :, part])
    return out.reshape(n_bands, height, width)


def _median(values: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Sort with the missing ones last and take the middle of those that count."""
    ranked = np.where(keep, values, np.float32(np.nan))
    ranked.sort(axis=0)  # NaN sorts last
    last = len(values) - 1
    full = bool(keep.all()) and not np.isnan(ranked[last]).any()
    if full:
        low, high = ranked[last // 2], ranked[len(values) // 2]
    else:
        count = (~np.isnan(ranked)).sum(0)
        low = np.take_along_axis(ranked, np.maximum((count - 1) // 2, 0)[None], 0)[0]
        high = np.take_along_axis(ranked, np.minimum(count // 2, last)[None], 0)[0]
    middle: npt.NDArray[np.float32] = low * np.float32(0.5) + high * np.float32(0.5)
    return middle


Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.uint16]
How = Literal["median", "mosaic", "clearest"]
HOWS: Final = ("median", "mosaic", "clearest")
_NAMES: Final = PropertyNames()


@dataclass(frozen=True, eq=False)
class Composite:
    """One image or several, with counts."""

    values: Floats
    n_obs: Counts
    used: npt.NDArray[np.int64]
    dates: tuple[tuple[dt.date, dt.date] | None, ...]


def frame_of(scene: Scene, frames: Sequence[Span]) -> int | None:
    """Tell in which frame a scene falls by its UTC date."""
    day = scene.datetime.date()
    return next((i for i, span in enumerate(frames) if span.start <= day < span.end), None)


def composite(
    stack: Floats,
    scenes: Sequence[Scene],
    frames: Sequence[Span],
    *,
    lon: float,
    how: str = "median",
    present: Bools | None = None,
) -> Composite:
    """Make one image for each frame."""
    height, width = stack.shape[-2:]
    values = np.full((len(frames), stack.shape[1], height, width), np.nan, np.float32)
    counts = np.zeros((len(frames), height, width), np.uint16)
    used = np.zeros(len(scenes), np.int64)
    where = [frame_of(scene, frames) for scene in scenes]
    dates: list[tuple[dt.date, dt.date] | None] = []
    for t in range(len(frames)):
        members = [i for i, frame in enumerate(where) if frame == t]
        part = None if present is None else present[members]
        values[t], counts[t], gave = composite_frame(
            stack[members], [scenes[i] for i in members], lon=lon, how=how, present=part
        )
        used[members] = gave
        days = [scenes[i].datetime.date() for i, n in zip(members, gave, strict=True) if n]
        dates.append((min(days), max(days)) if days else None)
    return Composite(values, counts, used, tuple(dates))


def composite_frame(
    stack: Floats,
    scenes: Sequence[Scene],
    *,
    lon: float,
    how: str = "median",
    present: Bools | None = None,
    names: PropertyNames = _NAMES,
) -> tuple[Floats, Counts, npt.NDArray[np.int64]]:
    """Make one image of the scenes of one frame."""
    if how not in HOWS:
        raise UnknownNameError.among("composite", how, HOWS)
    _, n_bands, height, width = stack.shape
    used = np.zeros(len(scenes), np.int64)
    groups = observations(scenes, lon=lon, names=names)
    if not groups:
        return np.full((n_bands, height, width), np.nan, np.float32), np.zeros((height, width), np.uint16), used
    valid = _valid(stack, present)  # (N, H, W)
    layers, origin = _merge(stack, valid, groups)  # (G, B, H, W), (G, H, W)
    seen = origin >= 0
    if how == "median":
        gave = origin
        values = median(layers, seen)
    else:
        values, gave = _first(layers, origin, _ranking(seen, how))
    used += np.bincount(gave.ravel() + 1, minlength=len(scenes) + 1)[1:]
    return values, seen.sum(0, dtype=np.uint16), used


def _valid(stack: Floats, present: Bools | None) -> Bools:
    """Tell where each scene is a whole observation: every band that it has is finite, and it has one."""
    whole: Bools = np.isfinite(stack)
    if present is not None:
        whole |= ~present[:, :, None, None]
    valid: Bools = np.logical_and.reduce(whole, axis=1)
    if present is not None:
        valid &= np.logical_or.reduce(present, axis=1)[:, None, None]
    return valid


def _merge(stack: Floats, valid: Bools, groups: Sequence[Sequence[int]]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Make one layer of each group: the pixels of its first scene, gaps filled by its next."""
    if all(len(members) == 1 for members in groups):
        order = np.array([members[0] for members in groups])
        in_order = bool((order == np.arange(len(stack))).all())
        layers = stack if in_order else stack[order]
        return layers, np.where(valid if in_order else valid[order], order[:, None, None], -1)
    layers = np.full((len(groups), *stack.shape[1:]), np.nan, np.float32)
    origin = np.full((len(groups), *stack.shape[2:]), -1, np.int64)
    for g, members in enumerate(groups):
        for i in members:
            take = valid[i] & (origin[g] < 0)
            layers[g][:, take] = stack[i][:, take]
            origin[g][take] = i
    return layers, origin


def _ranking(seen: Bools, how: str) -> list[int]:
    """Order layers (in order of time) by preference: newest first, or most valid pixels first, then oldest."""
    if how == "mosaic":
        return list(range(len(seen)))[::-1]
    counts = seen.sum((1, 2))
    return sorted(range(len(seen)), key=lambda g: (-int(counts[g]), g))


def _first(
    layers: Floats, origin: npt.NDArray[np.int64], ranking: Sequence[int]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Take each pixel from the first layer in the ranking that has it."""
    values = np.full(layers.shape[1:], np.nan, np.float32)
    gave = np.full(origin.shape[1:], -1, np.int64)
    for g in ranking:
        take = (origin[g] >= 0) & (gave < 0)
        values[:, take] = layers[g][:, take]
        gave[take] = origin[g][take]
    return values, gave
