"""Fixtures: one emulator for a whole run of the tests, empty at the start of each."""

from __future__ import annotations

import ee
import pytest

from rs_embed_dask.providers.earth_engine import session
from rs_embed_dask.providers.registry import share_by
from tests.services.earth.process import EarthProcess


@pytest.fixture(scope="session")
def earth_process():
    with EarthProcess() as process:
        yield process


@pytest.fixture
def earth(earth_process):
    """The emulator without scenes, limits, faults or counts, and this process without the caps of earlier clusters."""
    share_by(None)
    earth_process.serve()
    return earth_process


@pytest.fixture
def new_session():
    """No session of earlier tests, nor any left for later ones, in our memory and in the client's."""
    session._OPEN.clear()
    ee.Reset()
    yield
    session._OPEN.clear()
    ee.Reset()
