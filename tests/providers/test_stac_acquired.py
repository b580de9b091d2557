"""Frames of acquisitions through a STAC service: the days of the catalogue, and the numbers of each scene."""

from __future__ import annotations

from rs_embed_dask.engine.reading import read_pixels
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs import FetchSpec
from rs_embed_dask.store import Status
from tests.services.reads import JUNE, provider
from tests.services.scenes import grid, s2_scene

CLOUDS, MASKED = {3: 5.0, 8: 90.0, 13: 10.0, 18: 20.0, 23: 1.0}, 9


def scenes(hidden=None):
    return [
        s2_scene(
            f"S2A_{day:02}",
            f"2022-06-{day:02}T10:00:00",
            dn=1000 + day,
            cloud=cloud,
            bands=("B04",),
            scl=MASKED if day == hidden else 4,
        )
        for day, cloud in CLOUDS.items()
    ]


def acquired(service, cap, **fetch):
    frames = Frames("available", cap=cap)
    read = Read(grid(), "sentinel-2-l2a", ("red",), frames.spans(JUNE), FetchSpec(**fetch))
    (result,) = read_pixels(provider(service), [read], RetryPolicy(attempts=1), seed="", frames=[frames])
    return result


def numbers(result):
    cube = result.value
    return {span.start.day: float(cube.values[at, 0, 5, 5]) for at, span in enumerate(cube.read.frames)}


def test_each_frame_is_the_scene_of_its_day(plain):
    result = acquired(plain(*scenes()), 32, max_cloud_pct=50)
    assert numbers(result) == {3: 1003, 13: 1013, 18: 1018, 23: 1023}
    assert (result.value.n_obs == 1).all()
    assert all(span.days == 1 for span in result.value.read.frames)
    assert [pair[0].day for pair in result.value.dates] == [3, 13, 18, 23]


def test_the_clearest_of_each_run_and_no_scene_that_is_masked_everywhere(plain):
    service = plain(*scenes(hidden=18))
    assert set(numbers(acquired(service, 2))) == {3, 23}
    assert set(numbers(acquired(service, 32))) == {3, 8, 13, 23}


def test_no_scene_says_so(plain):
    result = acquired(plain(*scenes()), 32, max_cloud_pct=0.5)
    assert (result.value, result.status) == (None, Status.NO_DATA)
