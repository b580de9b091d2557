"""The same scenes through Earth Engine and through a STAC catalogue give the same cubes."""

from __future__ import annotations

import datetime as dt
from itertools import product

import numpy as np
import pytest

from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from tests.providers.earth_truth import JUNE, read
from tests.services.catalog import Layer, Scene as Item
from tests.services.earth import world
from tests.services.earth.rasters import Raster, Scene

CORNER, SIDE_M = (600_000.0, 5_700_000.0), 1200.0
SIZES = {"B02": 10, "B04": 10, "B08": 10, "B11": 20}
# name, time, cloud cover, corner: the second is another tile of the first's pass
SCENES = (
    ("a", "2022-06-03T10:30:00", 10.0, CORNER),
    ("b", "2022-06-03T10:30:07", 20.0, (600_600.0, 5_700_000.0)),
    ("c", "2022-06-08T10:30:00", 30.0, CORNER),
    ("d", "2022-06-13T10:30:00", 40.0, CORNER),
    ("e", "2022-06-23T10:30:00", 95.0, CORNER),
    ("f", "2022-06-28T10:30:00", 0.0, CORNER),
)


def rasters(number, corner):
    """Layers of one scene as arrays: reflectances with gaps, and classes."""
    noise = np.random.default_rng(number)
    made = {}
    for name, pixel in {**SIZES, "SCL": 20}.items():
        n = int(SIDE_M // pixel)
        values = noise.integers(1, 10_000, (n, n)).astype(np.uint16)
        values[noise.random((n, n)) < 0.05] = 0
        if name == "SCL":
            values = noise.choice(np.array([4, 4, 5, 6, 3, 8, 9], np.uint8), (n, n))
        made[name] = values, (float(pixel), 0.0, corner[0], 0.0, -float(pixel), corner[1])
    return made


@pytest.fixture
def both(earth, plain):
    """A provider of each kind over the same scenes."""
    on_earth, items = [], []
    for number, (name, time, cloud, corner) in enumerate(SCENES):
        layers = rasters(number, corner)
        bands = {
            band.replace("B0", "B"): Raster("EPSG:32631", transform, values.shape, values, values.dtype.str)
            for band, (values, transform) in layers.items()
        }
        said = {"CLOUDY_PIXEL_PERCENTAGE": cloud, "SPACECRAFT_NAME": "Sentinel-2A"}
        on_earth.append(Scene(world.S2, f"{name}_{time}", world.millis(time), bands, said))
        files = tuple(Layer(band, values, transform, None, {}) for band, (values, transform) in layers.items())
        said = {"platform": "Sentinel-2A", "eo:cloud_cover": cloud, "s2:processing_baseline": "03.01"}
        said |= {"s2:mgrs_tile": f"31UF{name.upper()}", "s2:generation_time": "2022-07-01T00:00:00Z"}
        when = dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC)
        items.append(Item(name, "sentinel-2-l2a", when, "EPSG:32631", files, said))
    earth.serve(*on_earth)
    service = plain(*items)
    return earth.provider(), StacProvider(service.url, source="planetary_computer")


GRID = Grid("EPSG:32631", (10.0, 0.0, 600_300.0, 0.0, -10.0, 5_699_900.0), (70, 64))
COARSE = Grid("EPSG:32631", (20.0, 0.0, 600_300.0, 0.0, -20.0, 5_699_900.0), (30, 30))
OBLIQUE = Grid("EPSG:32632", (10.0, 0.0, 183_400.0, 0.0, -10.0, 5_708_700.0), (60, 60))


FOUR = Frames("fixed", n=4).spans(TemporalSpec.range("2022-06-01", "2022-07-01"))


def test_earth_engine_and_stac_agree(both):
    for grid, how, mask, frames in product((GRID, COARSE), ("median", "mosaic"), ("none", "scl"), ((JUNE,), FOUR)):
        fetch = FetchSpec(mask=mask, composite=how, max_cloud_pct=90)
        agree(*both, read(grid, ("red", "nir", "swir16"), fetch, frames=frames))


def test_they_agree_across_zones(both):
    """Pixels of zone 31 on a grid of zone 32: both take the nearest."""
    agree(*both, read(OBLIQUE, ("red", "nir"), FetchSpec(mask="scl")), least=0.3)


def agree(earth_engine, stac, wanted, *, least=0.3):
    one, other = load(earth_engine, wanted), load(stac, wanted)
    np.testing.assert_array_equal(one.n_obs, other.n_obs)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-6, equal_nan=True)
    assert one.dates == other.dates
    assert one.units == other.units
    assert np.isfinite(one.values).mean() > least
    assert other.scenes
