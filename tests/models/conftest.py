"""Small models and made pixels for the tests of `rs_embed_dask.models`."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from rs_embed_dask import models
from rs_embed_dask.cards.card import vectors
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.imagery.dates import Frames, Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import Card, Inputs, Option, Variant
from rs_embed_dask.preprocess.batch import Tokens
from tests.parity.cases import NUMBERS
from tests.parity.recipe import Weights as Drawn

TEN = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22")
SMALL = {"dim": 32, "depth": 1, "heads": 2, "size": 32}  # a SatMAE


class Mirror(nn.Module):
    """Gives each patch the mean of its pixels, so that a token says where it was."""

    def __init__(self, patch=4, **_):
        super().__init__()
        self.patch = patch

    def forward(self, batch):
        frames = next(iter(batch.images.values())).mean(1)
        means = nn.functional.avg_pool2d(frames, self.patch).permute(0, 2, 3, 1)
        return Tokens(means, cls=means.mean((1, 2)))


def mirror_card(**changes):
    inputs = {
        "sensors": ("sentinel-2-l2a",),
        "bands": ("red", "nir"),
        "size_px": 16,
        "frames": Frames("equal", days=30),
    }
    inputs |= changes
    return Card(
        id="mirror",
        title="Mirror",
        aliases=("looking-glass",),
        inputs=(Inputs("s2", **inputs),),
        variants=(Variant("default", 2),),
        patch_px=4,
        outputs=vectors("mean", "max", "cls"),
        options=(Option("max_px", 32),) if inputs["size_px"] is None else (),
    )


@pytest.fixture
def registered():
    """Register cards for one test."""
    with patch.dict(models._registered):
        yield lambda card, make=Mirror: models.register_model(card, make)


@pytest.fixture
def mirror(registered):
    """Load the mirror with some inputs changed."""

    def load(**changes):
        registered(mirror_card(**changes))
        return load_model("mirror", device="cpu")

    return load


@pytest.fixture(scope="session")
def galileo():
    """Load a small Galileo whose weights are random but always the same."""
    return lambda **choices: load_model(
        "galileo", weights="random", config={"dim": 32, "depth": 2, "heads": 4}, device="cpu", **choices
    )


@pytest.fixture(scope="session")
def nano():
    shapes = json.loads(gzip.decompress((NUMBERS / "galileo" / "keys.json.gz").read_bytes()))["nano"]
    return {name: torch.from_numpy(values) for name, values in Drawn.draw(shapes, 0).items()}


@pytest.fixture(scope="session")
def small():
    """A small SatMAE's tensors."""
    model = load_model("satmae", weights="random", config=SMALL, device="cpu")
    return {name: value.clone() for name, value in model.encoder.state_dict().items()}


def grid(height, width, *, east=600_000.0, north=5_700_000.0, resolution=10.0):
    return Grid("EPSG:32631", (resolution, 0, east, 0, -resolution, north), (height, width))


def months(count, year=2022, first=1):
    starts = [dt.date(year + (first + i - 1) // 12, (first + i - 1) % 12 + 1, 1) for i in range(count + 1)]
    return tuple(Span(a, b) for a, b in pairwise(starts))


def cube(values, *, bands=TEN, sensor="sentinel-2-l2a", place=None, frames=None):
    """Make a cube of (T, C, H, W) values."""
    values = np.asarray(values, np.float32)
    where = place or grid(*values.shape[-2:])
    read = Read(where, sensor, tuple(bands), frames or months(len(values)))
    counts = np.isfinite(values).all(1).astype(np.uint16)
    return Cube(values, counts, read)


def ramps(height, width, frames=1):
    """Two bands: the row and the column of each pixel's centre, times 100."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.repeat(np.stack([rows, columns])[None].astype(np.float32) * 100, frames, axis=0)


def scene(frames=3, bands=10, side=32, seed=0):
    """Plausible reflectance x 10 000."""
    generator = np.random.default_rng(seed)
    return generator.uniform(200, 4000, (frames, bands, side, side)).astype(np.float32)
