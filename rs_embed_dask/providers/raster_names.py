"""What the names of raster files say: when they were taken, which band they hold, how they were processed."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.imagery.bands import plain_band_name
from rs_embed_dask.imagery.sensors import Sensor

__all__ = ["baseline_in", "layer_in", "layer_named", "moment_in"]

_DAY: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<gap>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=gap)(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:[T_]?(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_DAY_OF_YEAR: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<doy>[0-3]\d{2})(?:T(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_BASELINE: Final = re.compile(r"_N(\d{2})(\d{2})_")
_TOKENS: Final = re.compile(r"[\s_\-.]+")
_NOON: Final = dt.time(12)


def moment_in(text: str) -> dt.datetime | None:
    """Find a date in a name: ``20220605``, ``2022-06-05``, ``20220605T103629``, ``2022156`` and the like.

    Parameters
    ----------
    text : str
        A file's or folder's name, or a tag.

    Returns
    -------
    datetime.datetime or None
        In UTC, noon where only a day is stated; None if there is no date. The first date counts.
    """
    for found in _DAY.finditer(text):
        try:
            day = dt.date(int(found["y"]), int(found["m"]), int(found["d"]))
        except ValueError:  # such as 31 June
            continue
        return _moment(day, found["time"])
    for found in _DAY_OF_YEAR.finditer(text):
        first, number = dt.date(int(found["y"]), 1, 1), int(found["doy"])
        day = first + dt.timedelta(days=number - 1)
        if number >= 1 and day.year == first.year:
            return _moment(day, found["time"])
    return None


def _moment(day: dt.date, time: str | None) -> dt.datetime:
    at = _NOON if time is None else dt.time(int(time[:2]), int(time[2:4]), int(time[4:6]))
    return dt.datetime.combine(day, at, tzinfo=dt.UTC)


def baseline_in(text: str) -> str | None:
    """Find a Sentinel-2 processing baseline in a product's name.

    Parameters
    ----------
    text : str
        For example ``S2A_MSIL2A_20230601T103629_N0509_R008_T32ULC_20230601T182400.SAFE``.

    Returns
    -------
    str or None
        For example ``05.09``.
    """
    found = _BASELINE.search(text)
    return None if found is None else f"{found[1]}.{found[2]}"


def layer_named(name: str, sensor: Sensor) -> str | None:
    """Say which layer a band name means: a band's common name, or a quality band's name.

    Parameters
    ----------
    name : str
        As a user or a file has it.
    sensor : Sensor
        Whose.

    Returns
    -------
    str or None
        None if the sensor has no such layer.
    """
    for mask in sensor.masks:
        if plain_band_name(name) == plain_band_name(mask.band):
            return mask.band
    try:
        return sensor.band(name).common
    except UnknownNameError:
        return None


def layer_in(stem: str, sensor: Sensor) -> tuple[str, str] | None:
    """Find the layer that a file's name says it holds.

    Parameters
    ----------
    stem : str
        Name without its ending, for example ``T31UFS_20200101T105441_B02_10m`` or ``iw-vv``.
    sensor : Sensor
        Whose bands.

    Returns
    -------
    (str, str) or None
        The layer, and the rest of the name, which files of one scene share. None if the name says nothing. Of several
        words that name layers the last counts.
    """
    words = _TOKENS.split(stem)
    for at in range(len(words) - 1, -1, -1):
        layer = layer_named(words[at], sensor) if words[at] else None
        if layer is not None:
            rest = [word for word in (*words[:at], *words[at + 1 :]) if not re.fullmatch(r"\d{2,3}m", word)]
            return layer, "_".join(rest)
    return None
