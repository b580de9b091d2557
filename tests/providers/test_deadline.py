"""Every read ends: a server that sends a byte now and then cannot hold it beyond its deadline."""

from __future__ import annotations

import pickle
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import requests

from rs_embed_dask.engine.reading import with_retries
from rs_embed_dask.engine.recipe import READ_RETRY
from rs_embed_dask.errors import ProviderError, SpecError, TransientError
from rs_embed_dask.providers import load, retry
from rs_embed_dask.providers.connections import BoundedAdapter
from rs_embed_dask.providers.http import Access, PlainLinks, read_range
from rs_embed_dask.providers.retry import GaveUpError, ReadState, RetryPolicy, deadline, retried, time_left_s
from rs_embed_dask.store import Status
from tests.services.faults import FaultPlan, Happening
from tests.services.loopback import Fault
from tests.services.reads import provider, read
from tests.services.scenes import grid, s2_scene

DRIP = Fault(drip_s=0.05)
HEAD = Fault(drip_s=0.05, drips_head=True)
SOON = RetryPolicy(attempts=3, first_wait_s=0.01, deadline_s=1.0)


def scenes(n):
    return [s2_scene(f"S2A_{i:02}", f"2022-06-{i:02}T10:00:00", bands=("B04",), scl=None) for i in range(1, n + 1)]


def seconds(call):
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"deadline is over.*longer deadline_s") as raised:
        call()
    return time.monotonic() - began, raised.value


@pytest.mark.parametrize("fault", [DRIP, HEAD], ids=["body", "headers"])
def test_a_drip_ends_at_the_deadline(plain, fault):
    service = plain(*scenes(1), rule=FaultPlan([Happening(fault)]))
    href = service.api.items[0]["assets"]["B04"]["href"]
    took, error = seconds(lambda: read_range(href, 0, 1000, access=Access(retry=SOON)))
    assert 0.9 < took < 10
    assert "after 1 attempt;" in error.reason


@pytest.mark.parametrize("fault", [DRIP, HEAD], ids=["body", "headers"])
def test_a_search_that_drips_ends_too(plain, fault):
    service = plain(*scenes(1), rule=FaultPlan([Happening(fault, kinds=("search",))]))
    took, error = seconds(lambda: load(provider(service, retry=SOON), read()))
    assert 0.9 < took < 10
    assert error.what == "STAC API"


def test_the_deadline_is_that_of_the_whole_read_not_of_each_file(plain):
    service = plain(*scenes(2), rule=FaultPlan([Happening(DRIP, path="S2A_01")]))
    with deadline(1.0):
        access = Access(retry=RetryPolicy(attempts=3, first_wait_s=0.01))
    hrefs = [item["assets"]["B04"]["href"] for item in sorted(service.api.items, key=lambda item: item["id"])]
    for href in hrefs:  # the second answers well, but too late
        seconds(lambda href=href: read_range(href, 0, 1000, access=access))


def test_a_lazy_cube_has_no_deadline_until_it_is_loaded(plain):
    service = plain(*scenes(2))
    lazy = provider(service, retry=RetryPolicy(deadline_s=0.5)).cube(read(where=grid(size=10), mask="none"))
    time.sleep(0.6)
    assert np.unique(lazy.pixels.values).tolist() == [1500]


def test_deadlines_within_each_other_do_not_lengthen():
    assert time_left_s() == float("inf")
    with deadline(10):
        with deadline(1000):
            assert 9 < time_left_s() <= 10
        with deadline(1):
            assert time_left_s() <= 1
        assert 9 < time_left_s() <= 10
    assert time_left_s() == float("inf")


def test_no_wait_goes_beyond_the_deadline():
    tried = []

    def busy():
        tried.append(1)
        raise TransientError("service", reason="busy", fix="wait")

    policy = RetryPolicy(attempts=5, first_wait_s=8.0, deadline_s=3.0)
    began = time.monotonic()
    with pytest.raises(GaveUpError, match=r"busy, after 1 attempt; its deadline is over"):
        retried(busy, policy)
    assert (len(tried), time.monotonic() - began < 3) == (1, True)


@pytest.mark.parametrize(("attempts", "expected"), [(5, {5}), (1000, {11, 12})])
def test_reads_that_each_end_at_their_deadline_end_within_the_hour_of_the_engine(monkeypatch, attempts, expected):
    now, tried = [0.0], []
    monkeypatch.setattr(retry, "monotonic", lambda: now[0])

    def drip():
        tried.append(now[0])
        now[0] += 300.0
        raise TransientError("service", reason="slow", fix="wait")

    policy = replace(READ_RETRY, attempts=attempts)
    result = with_retries(drip, "stac", policy, seed="1/s2", sleep=lambda s: now.__setitem__(0, now[0] + s))
    assert len(tried) in expected
    assert (result.tries, result.status) == (len(tried), Status.READ_FAILED)
    assert re.match(r"transient: stac: service: slow.*after \d+ tries", str(result.error))
    assert now[0] < 3600 + 300
    assert tried[-1] < 3600


def test_a_deadline_is_above_zero():
    assert RetryPolicy().deadline_s == 300
    with pytest.raises(SpecError, match=r"RetryPolicy.deadline_s = 0"):
        RetryPolicy(deadline_s=0)


def test_what_threads_share_stays_in_its_process():
    with deadline(5):
        state = ReadState()
    state.lose("a", ProviderError("asset B04", reason="gone", fix="none"))
    state.lose("a", ProviderError("asset B02", reason="gone", fix="none"))
    assert state.fault("a").what == "asset B02"  # the first by name, whichever thread came first
    assert state.fault("b") is None
    assert state.ends_at < float("inf")
    copied = pickle.loads(pickle.dumps(Access(PlainLinks(), SOON, state=state)))
    assert copied.state.fault("a") is None
    assert copied.state.ends_at == float("inf")
    assert copied == Access(PlainLinks(), SOON)


def test_answers_are_whole_on_bounded_connections(plain):
    """Kept connections, large bodies, chunked and compressed ones come as they are, with a deadline and without."""
    service = plain(*scenes(1))
    session = requests.Session()
    session.mount("http://", BoundedAdapter())
    path = next(service.root.rglob("B04.tif"))
    for _ in range(3):
        with deadline(30):
            answer = session.get(service.api.items[0]["assets"]["B04"]["href"], timeout=20)
        assert answer.content == path.read_bytes()
    assert session.get(service.url, timeout=20).json()["id"] == service.api.landing("")["id"]


def test_threads_have_deadlines_of_their_own():
    seen = []
    with deadline(5):
        thread = threading.Thread(target=lambda: seen.append(time_left_s()))
        thread.start()
        thread.join()
    assert seen == [float("inf")]
