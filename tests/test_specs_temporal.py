"""Spans: what reads back, half-open days, and one span for all or one each."""

from __future__ import annotations

import datetime as dt
import pickle
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import TemporalSpec, spans

DAYS = st.dates(dt.date(1972, 1, 1), dt.date(2099, 12, 31))


def test_a_year_reads_back():
    spec = TemporalSpec.year(2022)
    assert spec.year == 2022
    assert (spec.mode, spec.start, spec.end) == ("year", None, None)
    assert (spec.start_date, spec.end_date, spec.days) == (dt.date(2022, 1, 1), dt.date(2023, 1, 1), 365)
    assert spec.midpoint == dt.date(2022, 7, 2)
    assert spec == TemporalSpec(mode="year", year=2022)


def test_a_range_reads_back():
    spec = TemporalSpec.range("2022-06-01", "2022-09-01")
    assert (spec.mode, spec.year, spec.start, spec.end) == ("range", None, "2022-06-01", "2022-09-01")
    assert (spec.start_date, spec.end_date) == (dt.date(2022, 6, 1), dt.date(2022, 9, 1))
    assert spec.days == 30 + 31 + 31
    assert spec.midpoint == dt.date(2022, 7, 17)
    assert spec == TemporalSpec(mode="range", start="2022-06-01", end="2022-09-01")


def test_the_year_of_a_range_and_the_range_of_a_year_are_not_the_same_request():
    assert TemporalSpec.range("2022-01-01", "2023-01-01") != TemporalSpec.year(2022)


def test_a_leap_year_has_366_days():
    assert TemporalSpec.year(2024).days == 366
    assert TemporalSpec.range("2024-02-28", "2024-03-01").days == 2


def test_the_first_and_the_last_year():
    assert TemporalSpec.year(1972).start_date == dt.date(1972, 1, 1)
    assert TemporalSpec.range("2100-12-31", "2101-01-01").days == 1


@pytest.mark.parametrize(
    "start",
    [
        "2022-06-01",
        " 2022-06-01 ",
        "2022-06-01T00:00:00Z",
        "2022-06-01 00:00:00",
        "2022-06-01T00:00:00.000000+00:00",
        dt.date(2022, 6, 1),
        dt.datetime(2022, 6, 1, tzinfo=dt.UTC).replace(tzinfo=None),
        dt.datetime(2022, 6, 1, tzinfo=dt.UTC),
        "2022-06-01T00:00:00-00:00",
        "2022-06-01T00:00:00+0000",
        pd.Timestamp("2022-06-01", tz="UTC"),
        np.datetime64("2022-06-01"),
        np.datetime64("2022-06-01T00:00:00.000000000"),
        pd.Timestamp("2022-06-01"),
    ],
)
def test_days_may_be_written_in_many_ways(start):
    assert TemporalSpec.range(start, "2022-09-01").start == "2022-06-01"


@pytest.mark.parametrize(
    "start",
    [
        "2022-06-01T00:00:00+02:00",
        "2022-06-01 00:00-05",
        "2022-05-31T22:00:00+0530",
        dt.datetime(2022, 6, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        dt.datetime(2022, 6, 1, tzinfo=ZoneInfo("Europe/Brussels")),
        pd.Timestamp("2022-06-01", tz="America/New_York"),
    ],
)
def test_a_day_in_another_zone_is_refused_rather_than_shifted(start):
    """Midnight in Brussels is 22:00 of the day before in UTC."""
    with pytest.raises(SpecError, match=r"days are days of UTC, and this is in another time zone.*UTC"):
        TemporalSpec.range(start, "2022-09-01")


@pytest.mark.parametrize(
    "start", [pd.Timestamp("2022-06-01T00:00:00.000000005"), np.datetime64("2022-06-01", "ns") + 5]
)
def test_nanoseconds_are_a_time_of_day_too(start):
    with pytest.raises(SpecError, match="this has a time of day"):
        TemporalSpec.range(start, "2022-09-01")


@given(DAYS, DAYS)
def test_any_two_days_make_a_span_or_an_error(first, last):
    if first < last:
        spec = TemporalSpec.range(first, last)
        assert spec.days == (last - first).days
        assert first <= spec.midpoint < last
        assert TemporalSpec.from_json(spec.to_json()) == spec
        assert pickle.loads(pickle.dumps(spec)) == spec
    else:
        with pytest.raises(SpecError, match="must come before the end"):
            TemporalSpec.range(first, last)


@given(st.integers(1972, 2100))
def test_any_year_round_trips(year):
    spec = TemporalSpec.year(year)
    back = TemporalSpec.from_dict(spec.to_dict())
    assert back == spec
    assert back.year == year
    assert spec.to_dict() == {"mode": "year", "year": year}


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        (2022, TemporalSpec.year(2022)),
        (np.int64(2022), TemporalSpec.year(2022)),
        (("2022-06-01", "2022-09-01"), TemporalSpec.range("2022-06-01", "2022-09-01")),
        ({"mode": "year", "year": 2022}, TemporalSpec.year(2022)),
        (TemporalSpec.year(2022), TemporalSpec.year(2022)),
    ],
)
def test_of_understands_what_is_written(written, spec):
    assert TemporalSpec.of(written) == spec


def test_one_span_for_all():
    year = TemporalSpec.year(2022)
    assert spans(year, 3) == [year] * 3
    assert spans(2022, 2) == [year] * 2
    assert spans(("2022-06-01", "2022-09-01"), 2) == [TemporalSpec.range("2022-06-01", "2022-09-01")] * 2
    assert spans({"mode": "year", "year": 2022}, 1) == [year]
    assert spans(["2022-06-01", "2022-09-01"], 2) == [TemporalSpec.range("2022-06-01", "2022-09-01")] * 2


def test_one_span_each():
    each = [TemporalSpec.year(2021), TemporalSpec.year(2022)]
    assert spans(each, 2) == each
    assert spans([2021, 2022], 2) == each
    assert spans(np.array([2021, 2022]), 2) == each
    assert spans(pd.Series([2021, 2022]), 2) == each
    assert spans((spec for spec in each), 2) == each
    assert spans([("2021-01-01", "2022-01-01")], 1) == [TemporalSpec.range("2021-01-01", "2022-01-01")]


def test_another_number_of_spans_names_both_counts():
    with pytest.raises(SpecError, match="there are 2 spans for 3 places"):
        spans([2021, 2022], 3)


def test_reprs_can_be_pasted():
    for spec in (TemporalSpec.year(2022), TemporalSpec.range("2022-06-01", "2022-09-01")):
        assert eval(repr(spec)) == spec
