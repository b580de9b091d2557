"""Faults: what passes is tried again, what is too much is split, what lasts fails at once, and none becomes data."""

from __future__ import annotations

import datetime as dt
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from rs_embed_dask.engine.reading import read_pixels
from rs_embed_dask.errors import AccessError, ProviderError, TransientError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.providers import load, retry
from rs_embed_dask.providers.earth_engine import read as earth_read
from rs_embed_dask.providers.earth_engine.orders import Settings
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from rs_embed_dask.store import Status
from tests.providers.earth_truth import DAYS, band, nanmedian, read, same, spot
from tests.services.earth import world

GRID = spot()
FRAMES = Frames("fixed", n=4).spans(TemporalSpec.range("2022-06-01", "2022-06-21"))
PASSING = [
    {"status": 429, "message": "Too Many Requests"},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 504, "message": "Deadline exceeded"},
    {"kind": "reset"},
    {"kind": "truncate"},
    {"kind": "html"},
    {"kind": "garbage"},
]


@pytest.fixture
def scenes(earth):
    made = [world.s2("brussels", day)[0] for day in DAYS]
    earth.serve(*made)
    return made


def named(fault):
    return fault.get("kind") or str(fault["status"])


@pytest.mark.parametrize("fault", PASSING, ids=named)
def test_r18_what_passes_is_tried_again(earth, scenes, fault):
    earth.faults({**fault, "times": 2})
    cube = load(earth.provider(), read(GRID, ("red",)))
    same(cube.values[0, 0], nanmedian(band(scenes, "B4", GRID)))
    assert earth.counts("pixels") == 3


@pytest.mark.parametrize("fault", PASSING, ids=named)
def test_r18_r14_what_does_not_pass_is_raised_in_the_end(earth, scenes, fault):
    earth.faults({**fault, "times": -1})
    with pytest.raises(TransientError) as raised:
        load(earth.provider(), read(GRID, ("red",)))
    assert earth.counts("pixels") == 4  # as often as the retry says
    assert "earth_engine: sentinel-2-l2a at" in raised.value.what


def test_r18_a_hung_request_ends_at_its_deadline(earth, scenes):
    load(earth.provider(), read(GRID, ("red",)))
    earth.faults({"kind": "hang", "seconds": 3.0})
    started = time.perf_counter()
    provider = earth.provider(retry=RetryPolicy(2, 0.01, 0.02, 0.5))
    same(load(provider, read(GRID, ("red",))).values[0, 0], nanmedian(band(scenes, "B4", GRID)))
    assert time.perf_counter() - started < 2.9


def test_r18_nothing_waits_for_ever_by_default():
    assert EarthEngine().retry.timeout_s == 310


def waits(monkeypatch, provider, order):
    """How long a request waits between its attempts."""
    slept = []
    monkeypatch.setattr(retry, "sleep", slept.append)
    with pytest.raises(TransientError):
        earth_read.ask(provider.access, order, what="a test")
    return slept


def test_r18_waits_double_and_differ(earth, monkeypatch):
    def fails():
        raise ConnectionError("gone")

    provider = earth.provider(retry=RetryPolicy(6, 1.0, 8.0, 30.0))
    found = [waits(monkeypatch, provider, fails) for _ in range(3)]
    for slept in found:
        assert len(slept) == 5
        assert all(full / 2 <= one <= full for one, full in zip(slept, (1, 2, 4, 8, 8), strict=True))
    assert len({one for slept in found for one in slept}) == 15


def test_r18_what_the_service_asks_for_is_honoured(earth, scenes, monkeypatch):
    earth.faults({"status": 429, "retry_after_s": 7.0, "times": 1})
    slept = []
    access = earth.provider().access
    monkeypatch.setattr(retry, "sleep", slept.append)
    load(earth.provider(), read(GRID, ("red",)))
    assert access.retry.longest_wait_s < 1
    assert len(slept) == 1
    assert 7.0 <= slept[0] <= 8.4


TOO_MUCH = ["User memory limit exceeded.", "Computation timed out.", "Total request size (60 bytes) must be less."]


@pytest.mark.parametrize("message", TOO_MUCH)
def test_r18_what_is_too_much_is_split_by_frames_first(earth, scenes, message):
    depth = 3
    one_frame = GRID.shape[0] * GRID.shape[1] * depth * 5
    earth.faults({"status": 400, "message": message, "over_bytes": 2 * one_frame, "times": -1})
    cube = load(earth.provider(), read(GRID, ("red",), frames=FRAMES))
    asked = [len(set(map(str, frames_in(body)))) for body in earth.bodies()]
    assert asked == [4, 2, 1, 1, 2, 1, 1]
    assert {tuple(body["grid"]["dimensions"].values()) for body in earth.bodies()} == {(20, 24)}
    same(cube.values[:, 0], band(scenes, "B4", GRID))
    assert cube.dates == tuple((day, day) for day in (dt.date.fromisoformat(each[:10]) for each in DAYS))


def frames_in(body):
    """Numbers of the frames of a request."""
    return re.findall(r'"(\d+)_n"', str(body).replace("'", '"'))


def test_r18_then_the_grid_is_split_by_halves(earth, scenes):
    grid = spot(size=(64, 48))
    earth.faults({"status": 400, "message": TOO_MUCH[0], "over_bytes": 32 * 48 * 3 * 5, "times": -1})
    cube = load(earth.provider(), read(grid, ("red",)))
    same(cube.values[0, 0], nanmedian(band(scenes, "B4", grid)))
    sizes = [(d["height"], d["width"]) for d in (body["grid"]["dimensions"] for body in earth.bodies())]
    assert sizes == [(64, 48), (32, 48), (32, 24), (32, 24), (32, 48), (32, 24), (32, 24)]


def test_r18_what_is_too_much_even_in_small_parts_fails(earth, scenes):
    earth.faults({"status": 400, "message": TOO_MUCH[0], "times": -1})
    with pytest.raises(ProviderError, match=r"too much for one request.*memory limit.*shorter frames") as raised:
        load(earth.provider(), read(GRID, ("red",), frames=FRAMES))
    assert not isinstance(raised.value, TransientError)
    assert earth.counts("pixels") == 3  # four frames, two, one: 24 x 20 pixels are not split


@pytest.mark.parametrize("what", ["band", "collection"])
def test_r17_a_wrong_band_or_collection_fails_after_one_request(earth, scenes, what, monkeypatch):
    table = source("earth_engine", "s2")
    bad = (
        replace(table, assets=(("red", ("B99",)),)) if what == "band" else replace(table, collection="COPERNICUS/NONE")
    )
    monkeypatch.setattr(Settings, "table", lambda self, name: bad)
    load_once = earth.provider()
    with pytest.raises(ProviderError, match=r"B99|COPERNICUS/NONE") as raised:
        load(load_once, read(GRID, ("red",)))
    assert not isinstance(raised.value, TransientError | AccessError)
    assert earth.counts("pixels") == 1
    with pytest.raises(ProviderError):
        load(load_once, read(GRID, ("red",)))
    assert earth.counts("pixels") == 2


@pytest.mark.parametrize("status", [400, 404, 409, 413, 501])
def test_r17_other_answers_last(earth, scenes, status):
    earth.faults({"status": status, "message": "No.", "times": -1})
    with pytest.raises(ProviderError, match=f"answered {status}: No"):
        load(earth.provider(), read(GRID, ("red",)))
    assert earth.counts("pixels") == 1


@pytest.mark.parametrize(("status", "said"), [(401, "no credentials"), (403, r"refused \(403\): Caller")])
def test_a_refusal_says_what_to_do_and_is_not_repeated(earth, scenes, status, said):
    earth.faults({"status": status, "message": "Caller does not have permission.", "times": -1})
    with pytest.raises(AccessError, match=said):
        load(earth.provider(), read(GRID, ("red",)))
    assert earth.counts("pixels") == 1


def test_r14_the_engine_never_takes_a_fault_for_a_place_without_imagery(earth, scenes):
    provider, quick = earth.provider(), RetryPolicy(2, 0.001, 0.002)
    wanted = read(GRID, ("red",), FetchSpec(mask="none"))
    earth.faults({"status": 403, "message": "no", "times": -1})
    (refused,) = read_pixels(provider, [wanted], quick, seed="a")
    assert (refused.status, refused.value) == (Status.READ_FAILED, None)
    earth.faults({"status": 503, "times": -1})
    (gone,) = read_pixels(provider, [wanted], quick, seed="a")
    assert (gone.status, gone.tries) == (Status.READ_FAILED, 2)
    assert "transient" in str(gone.error)
    earth.faults()
    (found,) = read_pixels(provider, [wanted], quick, seed="a")
    assert found.status == Status.OK
    assert np.isfinite(found.value.values).all()


def test_the_emulator_beyond_its_quota_is_waited_for(earth, scenes):
    """More at once than the service takes: refusals are borne, and every read ends well."""
    from concurrent.futures import ThreadPoolExecutor

    earth.set(at_once=2, latency_s=0.02)
    provider = earth.provider(at_once=8, retry=RetryPolicy(12, 0.02, 0.2, 30.0))
    reads = [read(spot(offset=(900.0 + 50 * n, 900.0)), ("red",)) for n in range(12)]
    with ThreadPoolExecutor(8) as threads:
        cubes = list(threads.map(lambda one: load(provider, one), reads))
    for cube, one in zip(cubes, reads, strict=True):
        same(cube.values[0, 0], nanmedian(band(scenes, "B4", one.grid)))
    assert earth.report()["statuses"]["200"] >= 12
