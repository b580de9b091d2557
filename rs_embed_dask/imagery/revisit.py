"""The census of scenes: on how many days each orbit must have passed a place, and on how many there are scenes.

The numbers are the least that the orbit and the mission's plan promise on land, so fewer scenes mean that a catalogue
lacks some. Neighbouring swaths overlap, more so far from the equator, so there are often more.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import solar_day

__all__ = ["PASSES", "OrbitCycle", "Passes", "acquisition_days", "expected_passes", "first_day"]


@dataclass(frozen=True, slots=True)
class OrbitCycle:
    """One satellite's place in a constellation: every spot is passed at least once in `cycle_days`."""

    since: dt.date
    cycle_days: int
    until: dt.date = dt.date.max


@dataclass(frozen=True, slots=True)
class Passes:
    """When and where a collection's satellites acquire all land, and who says so."""

    orbits: tuple[OrbitCycle, ...]
    latitudes: tuple[float, float]
    lowest_sun_deg: float | None
    """Images are taken or processed with the sun at least this high; None for radar."""
    source: str


_S2: Final = Passes(
    orbits=(OrbitCycle(dt.date(2017, 10, 1), 10), OrbitCycle(dt.date(2018, 3, 1), 10)),
    latitudes=(-56.0, 82.8),
    lowest_sun_deg=15.0,
    source=(
        "ESA, Sentinel-2 User Handbook and mission status reports: 10 days for each satellite; all land by one from "
        "October 2017, by two from early 2018; Sentinel-2C in 2A's place since January 2025"
    ),
)
_S1: Final = Passes(
    # what a second satellite acquires outside Europe depends on the plan, so one is counted
    orbits=(OrbitCycle(dt.date(2017, 1, 1), 12),),
    latitudes=(-56.0, 82.8),
    lowest_sun_deg=None,
    source="ESA, Sentinel-1 observation scenario: land at least once in the 12 days of one satellite's repeat cycle",
)
_L8: Final = OrbitCycle(dt.date(2013, 4, 11), 16)
_L9: Final = OrbitCycle(dt.date(2022, 2, 10), 16)
_LANDSAT: Final = Passes(
    orbits=(_L8, _L9),
    latitudes=(-82.0, 82.0),
    lowest_sun_deg=15.0,
    source=(
        "USGS, Landsat acquisition schedules: 16 days each for Landsat 8 and 9, eight days apart; Level-2 is made for "
        "solar zenith angles below 76 degrees"
    ),
)

PASSES: Final[Mapping[str, Passes]] = MappingProxyType(
    {
        "sentinel-2-l2a": _S2,
        "sentinel-2-l1c": _S2,
        "hls2-s30": _S2,
        "sentinel-1-rtc": _S1,
        "sentinel-1-grd": _S1,
        "landsat-c2-l2": _LANDSAT,
        "hls2-l30": _LANDSAT,
    }
)
"""By sensor; of others nothing is expected."""

_FIRST_DAY: Final = {
    "sentinel-1": dt.date(2014, 10, 3),
    "sentinel-2": dt.date(2015, 6, 27),
    "landsat-c2-l1": dt.date(2013, 3, 18),
    "landsat-c2": dt.date(1982, 8, 22),
    "hls2-l30": dt.date(2013, 4, 11),
    "hls2-s30": dt.date(2015, 11, 28),
    "modis-09a1": dt.date(2000, 2, 18),
    "modis-l1b": dt.date(2000, 2, 24),
}
"""By the beginning of a sensor's id."""

_MORNING_DEG: Final = 26.0  # hour angle of 10:15 in local solar time, when these satellites pass
_TILT_DEG: Final = 23.44
_SOLSTICE: Final = dt.date(2000, 12, 21)
_YEAR_DAYS: Final = 365.2425


def expected_passes(sensor: str, lat: float, frames: Sequence[Span], *, before: dt.date = dt.date.max) -> int | None:
    """Return the least number of acquisition days in frames at a latitude; None where nothing is known."""
    passes = PASSES.get(sensor)
    if passes is None or not passes.latitudes[0] <= lat <= passes.latitudes[1]:
        return None
    spans = [(start, min(end, before)) for start, end in _joined(frames)]
    if any(start < min(orbit.since for orbit in passes.orbits) for start, _ in spans):
        return None
    return sum(
        _lit_days(max(start, orbit.since), min(end, orbit.until), round(lat), passes.lowest_sun_deg) // orbit.cycle_days
        for orbit in passes.orbits
        for start, end in spans
    )


def first_day(sensor: str) -> dt.date | None:
    """Return the day of the first scene that any provider has of a sensor; None where that is not known."""
    return next((day for name, day in _FIRST_DAY.items() if sensor.startswith(name)), None)


def acquisition_days(moments: Iterable[dt.datetime], lon: float) -> int:
    """Count the local solar days on which there are scenes."""
    return len({solar_day(moment, lon) for moment in moments})


def _joined(frames: Sequence[Span]) -> list[tuple[dt.date, dt.date]]:
    """Join frames that follow each other: cycles are counted over the whole of them."""
    spans: list[tuple[dt.date, dt.date]] = []
    for frame in frames:
        if spans and spans[-1][1] == frame.start:
            spans[-1] = spans[-1][0], frame.end
        else:
            spans.append((frame.start, frame.end))
    return spans


@lru_cache(maxsize=1024)
def _lit_days(start: dt.date, end: dt.date, lat: int, lowest_deg: float | None) -> int:
    """Count the days of a span on which the sun is high enough in the morning."""
    count = max((end - start).days, 0)
    if lowest_deg is None:
        return count
    return sum(_sun_deg(start + dt.timedelta(days=day), lat) >= lowest_deg for day in range(count))


def _sun_deg(day: dt.date, lat: int) -> float:
    """Return the height of the sun in the morning, within a degree."""
    turn = 2 * math.pi * (day - _SOLSTICE).days / _YEAR_DAYS
    declination = -math.radians(_TILT_DEG) * math.cos(turn)
    across = math.cos(math.radians(lat)) * math.cos(declination) * math.cos(math.radians(_MORNING_DEG))
    return math.degrees(math.asin(math.sin(math.radians(lat)) * math.sin(declination) + across))
