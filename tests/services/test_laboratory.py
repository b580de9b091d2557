"""Every experiment of the laboratory ends as it must, and soon."""

from __future__ import annotations

import re
import shutil
import threading
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from rs_embed_dask.engine.reading import read_pixels
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import http
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.store import Status
from tests.services.faults import FaultPlan
from tests.services.fixtures import forget_everything, new_process, wait_for_readers
from tests.services.laboratory import EXPERIMENTS, FILES, PLAIN
from tests.services.scenes import catalogue, grid, layer, s2_scene
from tests.services.service import Service

__all__ = ["new_process"]

HASTE = RetryPolicy(4, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=1.5, longest_asked_s=1.0)
HANGS_AFTER_S = 120
NOISE = np.random.default_rng(0).integers(1000, 6000, (3, 2, 300, 300))
"""Noise does not compress: the files are larger than what the first request brings."""
WHERE = (slice(50, 70), slice(50, 70))
READ = Read(
    grid(size=20, offset=(500.0, 500.0)),
    "sentinel-2-l2a",
    ("blue", "red"),
    (Span("2022-06-01", "2022-07-01"),),
    FetchSpec(mask="none"),
)


def scenes():
    for n, pixels in enumerate(NOISE):
        layers = [layer(name, values) for name, values in zip(("B02", "B04"), pixels, strict=True)]
        yield s2_scene(f"S2A_{n + 1:02}", f"2022-06-{n + 1:02}T10:00:00", bands=(), scl=None, layers=layers)


def expected(lost):
    left = [n for n in range(3) if f"S2A_{n + 1:02}" != lost]
    return np.median(NOISE[left][:, :, *WHERE].astype("float32"), 0)


def within(seconds, call):
    """What a call returns, and that it does."""
    ended = []
    thread = threading.Thread(target=lambda: ended.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert ended, "it hangs"
    return ended[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = catalogue(tmp_path_factory.mktemp("laboratory"), *scenes())
    FILES.update({(path.parent.name, path.name): path.read_bytes() for path in made.rglob("*.tif")})
    return made


@pytest.fixture
def serve(root, tmp_path, monkeypatch, new_process):
    """``serve(hrefs)`` serves a copy of the scenes that an experiment may damage."""
    with ExitStack() as stack:

        def start(hrefs):
            service = stack.enter_context(Service(shutil.copytree(root, tmp_path / "catalogue"), hrefs=hrefs))
            monkeypatch.setattr(http, "TOKEN_RETRY", HASTE)
            for name, value in service.environment().items() if hrefs == "azure" else ():
                monkeypatch.setenv(name, value)
            return service

        yield start
        wait_for_readers()


def perform(experiment, service, provider, monkeypatch):
    experiment.prepare(service, monkeypatch)
    forget_everything()
    service.rule = FaultPlan(experiment.rule())
    tries = RetryPolicy(experiment.tries, first_wait_s=0.01, longest_wait_s=0.05)
    provider = replace(provider, retry=replace(HASTE, deadline_s=experiment.deadline_s))
    (read,) = within(HANGS_AFTER_S, lambda: read_pixels(provider, (READ,), tries, seed="lab"))
    reason = str(read.error or "") + "; ".join(read.value.lost if read.value else ())
    assert read.status is experiment.ending.status, reason
    assert re.search(experiment.ending.reason, reason), reason
    assert "sig=" not in reason
    if read.status is Status.OK:
        np.testing.assert_array_equal(read.value.values[0], expected(experiment.ending.lost))
        assert read.value.scenes == tuple(s for s in ("S2A_01", "S2A_02", "S2A_03") if s != experiment.ending.lost)
        assert bool(reason) is bool(experiment.ending.lost)


def test_there_are_many_experiments_and_each_has_a_name():
    names = [experiment.name for experiment in (*EXPERIMENTS, *PLAIN)]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_signed_storage(experiment, serve, monkeypatch):
    service = serve("azure")
    perform(experiment, service, PlanetaryComputer(service.url), monkeypatch)


@pytest.mark.parametrize("experiment", PLAIN, ids=lambda experiment: experiment.name)
def test_a_plain_storage(experiment, serve, monkeypatch):
    service = serve("local")
    perform(experiment, service, StacProvider(service.url, source="planetary_computer"), monkeypatch)
