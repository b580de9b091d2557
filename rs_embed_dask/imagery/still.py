"""Layers without a time, such as heights: read once over all time, and the same in every frame."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import sensor

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Cube, Read

__all__ = ["in_every_frame", "is_still", "over_all_time"]

_ALWAYS: Final = Span(dt.date(1980, 1, 1), dt.date(2080, 1, 1))


def is_still(name: str) -> bool:
    """Whether a sensor's layers hold at all times."""
    return sensor(name).still


def over_all_time(read: Read) -> Read:
    """Return the read whose only frame is all time, where the sensor's layers hold at all times."""
    return replace(read, frames=(_ALWAYS,)) if is_still(read.sensor) else read


def in_every_frame(cube: Cube, read: Read) -> Cube:
    """Return a cube that was read over all time in the frames of the read that was asked for."""
    if cube.read.frames == read.frames:
        return cube
    count = len(read.frames)
    values, n_obs = np.repeat(cube.values, count, axis=0), np.repeat(cube.n_obs, count, axis=0)
    return replace(cube, values=values, n_obs=n_obs, read=read, dates=cube.dates * count)
