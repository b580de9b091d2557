"""Layers that hold beyond their date: heights at all times, means of weather for their calendar month."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import sensor

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Cube, Read

__all__ = ["as_held", "in_every_frame", "is_still"]

_ALWAYS: Final = Span(dt.date(1980, 1, 1), dt.date(2080, 1, 1))
_DECEMBER: Final = 12


def is_still(name: str) -> bool:
    """Whether a sensor's layers hold at all times."""
    return sensor(name).still


def as_held(read: Read) -> Read:
    """Return the read of the times for which the sensor's layers hold, each once: all time, or calendar months."""
    return replace(read, frames=tuple(dict.fromkeys(_held(read))))


def in_every_frame(cube: Cube, read: Read) -> Cube:
    """Return a cube that was read as held in the frames of the read that was asked for."""
    if cube.read.frames == read.frames:
        return cube
    rows = [cube.read.frames.index(span) for span in _held(read)]
    dates = tuple(cube.dates[row] for row in rows)
    return replace(cube, values=cube.values[rows], n_obs=cube.n_obs[rows], read=read, dates=dates)


def _held(read: Read) -> tuple[Span, ...]:
    """Return the time for which a layer of each frame holds."""
    of = sensor(read.sensor)
    if of.still:
        return (_ALWAYS,) * len(read.frames)
    return tuple(map(_month, read.frames)) if of.monthly else read.frames


def _month(frame: Span) -> Span:
    """Return the calendar month of a frame's middle."""
    first = (frame.start + (frame.end - frame.start) / 2).replace(day=1)
    after = dt.date(first.year + first.month // _DECEMBER, first.month % _DECEMBER + 1, 1)
    return Span(first, after)
