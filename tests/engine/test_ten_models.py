"""Ten model families in one call on the local service: every item embedded, every byte of imagery fetched once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine import embedder
from rs_embed_dask.models import card
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.store import Status
from tests.memory import give_back
from tests.services.fixtures import forget_everything
from tests.services.scenes import S2_10M, S2_20M, S2_60M, catalogue, layer, s2_scene
from tests.services.service import Service

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
# the smallest official size of each family
TEN = (
    "satmae",
    "satmaepp",
    "scalemae",
    "remoteclip:rn50",
    "wildsat:resnet50",
    "prithvi:tiny-TL",
    "dofa:base",
    "clay:v1",
    "terrafm:base",
    "terramind:tiny",
)
pytestmark = pytest.mark.timeout(500)  # ten networks, three of them of 300 million parameters
PIXELS = dict.fromkeys(S2_10M, (240, 10.0)) | dict.fromkeys(S2_20M, (120, 20.0)) | dict.fromkeys(S2_60M, (40, 60.0))
PLACES = [rs.PointBuffer(x, 5_699_000, buffer_m=320, crs="EPSG:32631") for x in (600_800, 601_600)]


def scene(day):
    draw = np.random.default_rng(day)
    layers = [layer(name, draw.integers(300, 4000, (n, n)), pixel=metres) for name, (n, metres) in PIXELS.items()]
    layers.append(layer("SCL", np.full((120, 120), 4), pixel=20.0, dtype="uint8"))
    return s2_scene(f"S{day:02}", f"2022-06-{day:02}T10:00:00", bands=(), scl=None, layers=layers, cloud=5.0)


@pytest.fixture(scope="module")
def ran(threads_client, tmp_path_factory):
    """The store of all ten models with recipe weights, and what the service was asked."""
    root = catalogue(tmp_path_factory.mktemp("served"), *(scene(day) for day in (3, 13, 23)))
    forget_everything()
    models = [replace(ModelSpec.of(name), weights="random") for name in TEN]
    with Service(root, hrefs="local") as service:
        provider = StacProvider(service.url, source="planetary_computer")
        asked = {"provider": provider, "client": threads_client, "prep": "resize"}  # without the ground around places
        with pytest.warns(UserWarning, match=r"a resize changes what a token covers.*satmae"):
            store = rs.compute_embeddings(PLACES, models, JUNE, **asked)
        yield store, service.calls(), service.counts()
    forget_everything()
    embedder.release()
    give_back()


def test_every_model_gives_every_place_a_vector(ran):
    store, _, _ = ran
    labels = [name for name in store.children if name != "items"]
    assert len(labels) == len(TEN)
    for name, spec in ((name, ModelSpec.of(name)) for name in TEN):
        group = store[spec.label]
        assert (group["status"] == Status.OK).all(), name
        assert group["embedding"].shape == (len(PLACES), card(spec.id).dim(spec, rs.OutputSpec.pooled()))
        vectors = group["embedding"].values
        assert np.isfinite(vectors).all()
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-4  # two places, two vectors


def test_imagery_is_read_once_a_place_and_collection(ran):
    _, calls, counts = ran
    assert counts["search"] == len(PLACES)
    asked = Counter((call.path, call.byte_range) for call in calls if call.kind == "range")
    assert max(asked.values()) <= len(PLACES)
    files = {path for path, _ in asked}
    assert len(files) == 3 * (len(PIXELS) + 1)
    # one head and one run of blocks a file and place at most, although one model reads at 30 m and nine at 10 m
    assert counts["range"] <= 2 * len(files) * len(PLACES)
