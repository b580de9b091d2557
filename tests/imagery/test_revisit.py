"""How many passes are expected, from known orbits, and on how many days there are scenes."""

from __future__ import annotations

import datetime as dt

import pytest

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.revisit import PASSES, acquisition_days, expected_passes
from rs_embed_dask.imagery.sensors import sensor

JUNE = Span("2022-06-01", "2022-07-01")
YEAR = Span("2022-01-01", "2023-01-01")
FIVE = [Span("2022-06-01", "2022-06-06"), Span("2022-06-06", "2022-06-11"), Span("2022-07-06", "2022-07-11")]

# sensor, latitude, frames -> passes
CASES = {
    "two satellites of ten days": ("sentinel-2-l2a", 50.0, (JUNE,), 6),
    "a year": ("sentinel-2-l2a", 0.0, (YEAR,), 72),
    "one satellite before 2018": ("sentinel-2-l2a", 10.0, (Span("2017-10-01", "2018-01-01"),), 9),
    "the second begins within": ("sentinel-2-l2a", 10.0, (Span("2018-01-01", "2018-04-01"),), 9 + 3),
    "not routine yet": ("sentinel-2-l2a", 10.0, (Span("2016-01-01", "2018-01-01"),), None),
    "Landsat 8 and 9": ("landsat-c2-l2", 40.0, (Span("2022-06-01", "2022-08-04"),), 8),
    "Landsat 8 alone": ("landsat-c2-l2", 10.0, (Span("2020-01-01", "2021-01-01"),), 22),
    "radar in the polar night": ("sentinel-1-rtc", 75.0, (Span("2022-12-01", "2023-01-06"),), 3),
    "the polar night": ("sentinel-2-l2a", 75.0, (Span("2022-11-15", "2023-01-15"),), 0),
    "winter of the south": ("sentinel-2-l2a", -55.0, (Span("2022-06-10", "2022-07-01"),), 0),
    "short frames that meet": (
        "sentinel-2-l2a",
        10.0,
        FIVE[:2],
        2,
    ),
    "short frames apart": (
        "sentinel-2-l2a",
        10.0,
        FIVE[::2],
        0,
    ),
    "beyond the plan": ("sentinel-2-l2a", 84.0, (JUNE,), None),
    "composites": ("modis-09a1", 10.0, (JUNE,), None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_least_number_of_passes(name):
    of, lat, frames, passes = CASES[name]
    assert expected_passes(of, lat, frames) == passes


def test_what_has_not_been_is_not_expected():
    assert expected_passes("sentinel-2-l2a", 10.0, (JUNE,), before=dt.date(2022, 6, 21)) == 4
    assert expected_passes("sentinel-2-l2a", 10.0, (JUNE,), before=dt.date(2022, 5, 1)) == 0


def test_a_day_is_that_of_the_sun():
    moments = [dt.datetime(2022, 6, 5, 23, 50, tzinfo=dt.UTC), dt.datetime(2022, 6, 6, 0, 10, tzinfo=dt.UTC)]
    assert acquisition_days(moments, 0.0) == 2
    assert acquisition_days(moments, 157.0) == 1


def test_every_row_is_of_a_sensor_and_says_who_says_so():
    assert all(sensor(name).id == name for name in PASSES)
    assert all(one.source.startswith(("ESA, ", "USGS, ")) for one in PASSES.values())
