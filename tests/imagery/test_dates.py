"""Spans to frames: every policy against answers known by hand, and what must hold for all of them."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise

import pytest
from dask.base import tokenize
from hypothesis import given, strategies as st

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.dates import Frames, Span
from rs_embed_dask.specs import TemporalSpec

YEAR = TemporalSpec.year(2022)
SUMMER = TemporalSpec.range("2022-06-01", "2022-09-01")
SPANS = st.builds(
    lambda first, days: Span(first, first + dt.timedelta(days=days)),
    st.dates(dt.date(1980, 1, 1), dt.date(2080, 1, 1)),
    st.integers(1, 1500),
)
COUNTS = st.integers(1, 40)
POLICIES = st.one_of(
    st.just(Frames("single")),
    st.builds(lambda n: Frames("fixed", n=n), COUNTS),
    st.builds(lambda cap: Frames("months", cap=cap), st.none() | COUNTS),
    st.builds(lambda days, cap: Frames("equal", days=days, cap=cap), COUNTS, st.none() | COUNTS),
)


def days(frames, span):
    return [frame.days for frame in frames.spans(span)]


def edges(frames, span):
    parts = frames.spans(span)
    return [part.start.isoformat() for part in parts] + [parts[-1].end.isoformat()]


class TestSpan:
    def test_half_open(self):
        span = Span(dt.date(2022, 6, 1), dt.date(2022, 6, 3))
        assert span.days == 2
        assert dt.date(2022, 6, 1) in span
        assert dt.datetime(2022, 6, 2, 23, 59, tzinfo=dt.UTC) in span
        assert dt.date(2022, 6, 3) not in span
        assert dt.date(2022, 5, 31) not in span

    def test_two_neighbours_hold_each_moment_once(self):
        """The last microsecond belongs to the first, midnight to the second; a zone is not dropped."""
        before, after = Span("2022-06-01", "2022-07-01"), Span("2022-07-01", "2022-08-01")
        brussels = dt.timezone(dt.timedelta(hours=2))
        last, first = (dt.datetime.fromisoformat(t) for t in ("2022-06-30T23:59:59.999999", "2022-07-01"))
        assert [(when in before, when in after) for when in (last, first)] == [(True, False), (False, True)]
        assert dt.datetime(2022, 7, 1, 1, 59, 59, tzinfo=brussels) in before
        assert dt.datetime(2022, 7, 1, 2, tzinfo=brussels) in after

    @pytest.mark.parametrize(("length", "middle"), [(1, 1), (2, 2), (3, 2), (4, 3), (31, 16)])
    def test_the_midpoint_is_rounded_down(self, length, middle):
        start = dt.date(2022, 1, 1)
        assert Span(start, start + dt.timedelta(days=length)).midpoint == dt.date(2022, 1, middle)

    def test_of_a_temporal_spec(self):
        assert Span.of(YEAR) == Span(dt.date(2022, 1, 1), dt.date(2023, 1, 1))

    def test_travels(self):
        span = Span("2022-06-01", "2022-09-01")
        assert span == Span(dt.date(2022, 6, 1), dt.date(2022, 9, 1))
        assert span.to_dict() == {"start": "2022-06-01", "end": "2022-09-01"}
        assert Span.from_json(span.to_json()) == span
        assert tokenize(Span.from_json(span.to_json())) == tokenize(span)
        assert repr(span) == "Span(2022-06-01, 2022-09-01)"


class TestFrames:
    def test_single(self):
        assert Frames().spans(SUMMER) == (Span.of(SUMMER),)

    def test_fixed_in_a_year(self):
        assert edges(Frames("fixed", n=4), YEAR) == [
            "2022-01-01",
            "2022-04-02",
            "2022-07-02",
            "2022-10-01",
            "2023-01-01",
        ]
        assert days(Frames("fixed", n=12), YEAR) == [30, 30, 31, 30, 31, 30, 30, 31, 30, 31, 30, 31]

    def test_fixed_in_a_leap_year(self):
        assert days(Frames("fixed", n=3), TemporalSpec.year(2024)) == [122, 122, 122]

    def test_fixed_in_a_span_of_fewer_days_gives_one_frame_a_day(self):
        assert days(Frames("fixed", n=5), TemporalSpec.range("2022-06-01", "2022-06-04")) == [1, 1, 1]

    @pytest.mark.parametrize(
        ("start", "end", "parts"),
        [
            ("2022-06-01", "2022-09-01", [30, 31, 31]),
            ("2022-06-15", "2022-09-15", [16, 31, 45]),  # 16 of 30 days stand alone, 14 of 30 join August
            ("2022-06-17", "2022-09-16", [45, 31, 15]),  # 14 of 30 days join July, 15 of 30 stand alone
            ("2024-02-15", "2024-03-31", [15, 30]),  # a leap year's February has 29 days
            ("2022-01-20", "2022-02-10", [21]),
            ("2022-12-01", "2023-02-01", [31, 31]),
            ("2022-06-05", "2022-06-06", [1]),
        ],
    )
    def test_months_without_a_stub(self, start, end, parts):
        assert days(Frames("months", cap=12), TemporalSpec.range(start, end)) == parts

    def test_more_months_than_the_cap_become_equal_parts(self):
        assert days(Frames("months", cap=12), TemporalSpec.year(2022))[:3] == [31, 28, 31]
        assert days(Frames("months", cap=4), TemporalSpec.year(2022)) == [91, 91, 91, 92]

    @pytest.mark.parametrize(
        ("length", "cap", "parts"),
        [
            (10, 4, [10]),
            (44, 4, [44]),
            (45, 4, [22, 23]),
            (60, 4, [30, 30]),
            (92, 4, [30, 31, 31]),
            (365, 4, [91, 91, 91, 92]),
        ],
    )
    def test_equal_parts_of_about_30_days(self, length, cap, parts):
        start = dt.date(2022, 6, 1)
        span = Span(start, start + dt.timedelta(days=length))
        assert days(Frames("equal", days=30, cap=cap), span) == parts

    @given(POLICIES, SPANS)
    def test_frames_touch_and_cover(self, frames, span):
        parts = frames.spans(span)
        assert parts[0].start == span.start
        assert all(first.end == second.start for first, second in pairwise(parts))
        assert parts[-1].end == span.end
        assert frames.cap is None or len(parts) <= frames.cap

    @given(st.sampled_from(["fixed", "equal"]), COUNTS, SPANS)
    def test_equal_parts_differ_by_a_day_at_most(self, policy, count, span):
        frames = Frames("fixed", n=count) if policy == "fixed" else Frames("equal", days=count)
        lengths = days(frames, span)
        assert max(lengths) - min(lengths) <= 1
        assert len(lengths) == (
            min(count, span.days) if policy == "fixed" else max(1, math.floor(span.days / count + 0.5))
        )

    @given(POLICIES)
    def test_round_trip(self, frames):
        assert Frames.from_json(frames.to_json()) == frames
        assert hash(Frames.from_json(frames.to_json())) == hash(frames)

    def test_repr(self):
        assert repr(Frames("equal", days=30, cap=12)) == "Frames(policy='equal', days=30, cap=12)"


BAD = {
    "a span backwards": (lambda: Span("2022-02-01", "2022-01-01"), "2022", "before the end, 2022-01-01", "swap"),
    "an empty span": (lambda: Span("2022-02-01", "2022-02-01"), "2022", "not part of the span", "a day later"),
    "no such day": (lambda: Span("2022-02-31", "2022-03-01"), "2022-02-31", "no such date", "month and day"),
    "n missing": (lambda: Frames("fixed"), "None", "'fixed' needs it", "Frames('fixed', n=4)"),
    "days missing": (lambda: Frames("equal", cap=3), "None", "'equal' needs it", "Frames('equal', days=4)"),
    "days of months": (lambda: Frames("months", days=30), "30", "'months' does not use it", "leave days out"),
    "n too many": (lambda: Frames("single", n=3), "3", "'single' does not use it", "leave n out"),
    "cap too many": (lambda: Frames("fixed", n=3, cap=2), "2", "'fixed' does not use it", "leave cap out"),
    "n zero": (lambda: Frames("fixed", n=0), "0", "[1, 10000]", "whole number"),
    "n float": (lambda: Frames("fixed", n=2.0), "2.0", "got float", "whole number"),
    "n bool": (lambda: Frames("fixed", n=True), "True", "got bool", "whole number"),
    "days negative": (lambda: Frames("equal", days=-30), "-30", "[1, 10000]", "whole number"),
    "cap text": (lambda: Frames("equal", days=30, cap="12"), "'12'", "got str", "whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_with_reason_and_fix(name):
    make, value, reason, fix = BAD[name]
    with pytest.raises(SpecError) as caught:
        make()
    assert value in str(caught.value)
    assert reason in caught.value.reason
    assert fix in caught.value.fix


def test_an_unknown_policy():
    with pytest.raises(
        UnknownNameError, match="did you mean 'months'; known are available, equal, fixed, months, single"
    ):
        Frames("month")
