"""Frames of actual acquisitions: one for each day on which a place was imaged, of too many the clearest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import Scene, ordered, solar_day

if TYPE_CHECKING:
    from rs_embed_dask.imagery.dates import Frames

__all__ = ["acquired"]

_DAY: Final = dt.timedelta(days=1)


def acquired(scenes: Iterable[Scene], frames: Frames, span: Span, *, lon: float) -> tuple[Span, ...]:
    """Return the days of a span with scenes as frames; of more than the cap, the clearest of each run of them.

    Parameters
    ----------
    scenes : iterable of Scene
        What a catalogue has of the place, in any order; those outside the span do not count.
    frames : Frames
        Of the policy "available"; its cap is the most that are taken. More are cut into `cap` runs, equal to within
        one, and the least cloudy of each is taken, the first of those alike.
    span : Span
        The days asked for.
    lon : float
        Longitude of the place: the tiles of one pass are one acquisition, also where it crosses midnight.

    Returns
    -------
    tuple of Span
        In order of time; empty where there is no scene.
    """
    passes: list[list[Scene]] = []
    for scene in ordered(one for one in scenes if one.datetime in span):
        if passes and _belongs(scene, passes[-1], lon):
            passes[-1].append(scene)
        else:
            passes.append([scene])
    count = min(len(passes), frames.cap or len(passes))
    runs = (passes[number * len(passes) // count : (number + 1) * len(passes) // count] for number in range(count))
    return tuple(_days(min(run, key=_cloud_pct)) for run in runs)


def _belongs(scene: Scene, members: Sequence[Scene], lon: float) -> bool:
    """Whether a scene is of the same pass as others, or of the same day of UTC, which frames cannot divide."""
    same_day = scene.datetime.date() == members[-1].datetime.date()
    return same_day or solar_day(scene.datetime, lon) == solar_day(members[0].datetime, lon)


def _cloud_pct(members: Sequence[Scene]) -> float:
    """Mean cloud cover of one acquisition; 0 where the catalogue states none."""
    stated = [scene.cloud_pct for scene in members if scene.cloud_pct is not None]
    return sum(stated) / len(stated) if stated else 0.0


def _days(members: Sequence[Scene]) -> Span:
    return Span(members[0].datetime.date(), members[-1].datetime.date() + _DAY)
