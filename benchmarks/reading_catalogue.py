"""A catalogue for `benchmarks.reading`: twelve dates of one ground, half of them cut in the neighbouring UTM zone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.specs.ground import project
from tests.services.catalog import Catalog, Layer, Scene

BANDS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20}
BANDS |= {"B01": 60, "B09": 60}
CENTRE = (12.0, 48.0)
ZONES = ("EPSG:32632", "EPSG:32633")
TILES = ("32TQT", "33TUN")
SIDE_M = 24_000
DATES = 12
FIRST = dt.datetime(2022, 4, 1, 10, tzinfo=dt.UTC)
EVERY = dt.timedelta(days=5)


def grid_of(km):
    """Pixels of 10 m around the centre, in the first zone and off the files' blocks."""
    x, y = project("EPSG:4326", ZONES[0], *CENTRE)
    n = round(km * 100)
    left, top = (round(axis / 10) * 10 + sign * 5 * n for axis, sign in ((x, -1), (y, 1)))
    return Grid(ZONES[0], (10.0, 0.0, float(left), 0.0, -10.0, float(top)), (n, n))


def days():
    return [(FIRST + number * EVERY).date() for number in range(DATES)]


def scene(number):
    """One date: smooth ground with noise, that compresses as real imagery does, by half."""
    zone = ZONES[number % 2]
    x, y = project("EPSG:4326", zone, *CENTRE)
    left, top = (round((axis + sign * SIDE_M / 2) / 60) * 60 for axis, sign in ((x, -1), (y, 1)))
    random = np.random.default_rng(number)
    layers = []
    for name, pixel in BANDS.items():
        n = SIDE_M // pixel
        along = np.arange(n) * pixel
        ground = 1500 + 800 * np.sin(along / 900)[:, None] * np.cos(along / 1300) + 15 * random.standard_normal((n, n))
        layers.append(Layer(name, ground.astype(np.uint16), (pixel, 0.0, left, 0.0, -pixel, top)))
    properties = {
        "platform": "Sentinel-2A",
        "eo:cloud_cover": 0.0,
        "s2:processing_baseline": "03.01",
        "s2:mgrs_tile": TILES[number % 2],
        "s2:generation_time": "2022-09-01T00:00:00Z",
    }
    return Scene(f"S2A_{number:02}", "sentinel-2-l2a", FIRST + number * EVERY, zone, tuple(layers), properties)


def write(root: Path) -> None:
    catalog = Catalog(root)
    for number in range(DATES):
        catalog.add(scene(number))
    catalog.save()
