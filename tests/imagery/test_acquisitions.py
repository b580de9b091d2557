"""Frames of acquisitions: passes are told apart, and of too many the clearest of each run are taken."""

from __future__ import annotations

import datetime as dt

import pytest

from rs_embed_dask.imagery.acquisitions import acquired
from rs_embed_dask.imagery.dates import Frames, Span
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.specs import TemporalSpec

JUNE = Span("2022-06-01", "2022-07-01")


def scene(when, cloud=None):
    return Scene(when, dt.datetime.fromisoformat(when), cloud)


def days(scenes, cap=None, lon=4.5):
    return [(span.start.day, span.days) for span in acquired(scenes, Frames("available", cap=cap), JUNE, lon=lon)]


def test_a_frame_for_each_day_in_order_of_time():
    scenes = [scene("2022-06-11T10:40"), scene("2022-06-03T10:30"), scene("2022-06-03T10:31")]
    assert days(scenes) == [(3, 1), (11, 1)]


def test_scenes_outside_the_span_do_not_count():
    assert days([scene("2022-05-31T23:59"), scene("2022-06-30T23:59"), scene("2022-07-01T00:00")]) == [(30, 1)]
    assert days([]) == []


def test_a_pass_across_midnight_is_one_frame():
    # at 165 degrees east the sun stands where it does at half past ten in the morning
    scenes = [scene("2022-06-03T23:59:50"), scene("2022-06-04T00:00:10"), scene("2022-06-08T23:50")]
    assert days(scenes, lon=165) == [(3, 2), (8, 1)]


def test_frames_never_overlap_where_two_passes_share_a_day():
    # at 90 degrees east 23:55 and the next noon are one solar day, which begins at 18:00
    scenes = [scene(f"2022-06-{day:02d}T{hour}") for day in (3, 4) for hour in ("12:00", "23:55")]
    assert days([*scenes, scene("2022-06-05T12:00")], lon=90) == [(3, 1), (4, 1), (5, 1)]


def test_of_too_many_the_clearest_of_each_run():
    clouds = [50, 10, 30, 5, 5, 90, 70]
    scenes = [scene(f"2022-06-{3 + 3 * number:02d}T10:30", cloud) for number, cloud in enumerate(clouds)]
    # runs of 2, 2 and 3: the 6th with 10 %, the 12th with 5 %, and the 15th, the first of the last run with 5 %
    assert days(scenes, cap=3) == [(6, 1), (12, 1), (15, 1)]
    assert days(scenes, cap=1) == [(12, 1)]
    assert days(scenes, cap=7) == days(scenes, cap=32) == [(3 + 3 * number, 1) for number in range(7)]


def test_tiles_of_one_pass_share_their_cloud_cover():
    scenes = [
        *(scene(f"2022-06-03T10:30:0{number}", cloud) for number, cloud in enumerate((0, 90))),
        scene("2022-06-08T10:30", 20),
        scene("2022-06-13T10:30"),
    ]
    assert days(scenes[:3], cap=1) == [(8, 1)]
    assert days(scenes, cap=1) == [(13, 1)]  # what states no cloud cover is taken for clear, as radar is


@pytest.mark.parametrize(("cap", "count"), [(None, 92), (32, 32), (200, 92)])
def test_before_the_search_equal_parts_stand_for_as_many_as_there_can_be(cap, count):
    spans = Frames("available", cap=cap).spans(TemporalSpec.range("2022-06-01", "2022-09-01"))
    assert len(spans) == count
    assert (spans[0].start, spans[-1].end) == (dt.date(2022, 6, 1), dt.date(2022, 9, 1))
