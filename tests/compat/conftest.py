"""The emulator of Earth Engine with one month of Sentinel-2 over one tile, and the one line that points calls at it."""

from __future__ import annotations

import pytest

from rs_embed_dask.compat import use
from rs_embed_dask.compat.settings import forget
from rs_embed_dask.imagery import sensors
from tests.providers.earth_truth import DAYS
from tests.services.earth import world
from tests.services.earth.fixtures import earth, earth_process

__all__ = ["earth", "earth_process", "served"]

TILE = ("EPSG:32631", 420_000.0, 5_600_040.0)


@pytest.fixture
def served(earth):
    """Earth Engine as these calls find it, and random weights allowed."""
    earth.serve(*[world.s2(TILE, day, collection=one)[0] for day in DAYS for one in (world.S2, world.S2_TOA)])
    before = use(provider=earth.provider(), weights="random")
    forget()
    yield earth
    use(provider=before.provider, weights=before.weights, crs=before.crs)
    forget()


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch):
    """Collections that a test makes known are known in that test alone."""
    monkeypatch.setattr(sensors, "_ADDED", {})
