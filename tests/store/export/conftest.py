"""A store of ten places with one failed item, a map of two zones and two spans, and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.store import ModelLayout, Status, Store
from rs_embed_dask.store.map_layout import BlockKey, MapLayout
from rs_embed_dask.store.map_store import MapStore
from tests.store.map_samples import NEXT, YEAR, make_map, result_of, square
from tests.store.samples import GRID, POOLED, REQUEST, fill_store, make_items, make_result

OTHER = ModelLayout("other", dim=2, dtype="float16", attrs={"card": {"id": "other"}})
FAILED = 6


def make_filled(target, models):
    store = Store.create(target, items=make_items(10), models=models, request=REQUEST, chunk_items=4)
    fill_store(store)
    if POOLED in models:
        lost = make_result(store, POOLED, 1, offsets=[FAILED - 4], status=Status.READ_FAILED, reason="host away")
        store.write_chunk(1, "galileo", lost)
    return str(target)


@pytest.fixture
def vectors(tmp_path):
    return make_filled(tmp_path / "vectors.zarr", [POOLED, OTHER])


@pytest.fixture
def mixed(tmp_path):
    return make_filled(tmp_path / "mixed.zarr", [POOLED, GRID])


@pytest.fixture
def known():
    """The vectors of galileo (n, 5); the failed item has none."""
    values = (np.arange(5)[None, :] + np.arange(10)[:, None]).astype("float32")
    values[FAILED] = np.nan
    return values


WIDE = MapLayout(
    "wide",
    dim=4,
    token_m=10.0,
    block=128,
    attrs={
        "model_url": "https://example.org/wide",
        "source_data": ["https://example.org/s2"],
        "chip_px": [1, 1],
        "card": {"id": "wide", "patch_px": 1},
    },
)
ROW, COL = 900, 300


def vectors_of(key):
    """Planes of row, column and span, with a weak fourth number, in steps that float16 holds."""
    row = (key.row - ROW) * 128 + np.arange(128)
    col = (key.col - COL) * 128 + np.arange(128)
    row, col = np.meshgrid(row, col, indexing="ij")
    zone = 64.0 if key.group == "utm32" else 0.0
    return np.stack([row - 128.0, (col - 192.0) / 2, row * 0 + 32.0 * key.time + zone, (row + col) % 2])


def write_wide(store, missing=()):
    """Write all blocks but some, which have no imagery."""
    for group, time, blocks in list(store.pending("wide")):
        for row, col in blocks:
            key = BlockKey("wide", group.group, time, row, col)
            result = result_of(WIDE, key, embedding=vectors_of(key).astype("float16"))
            if key in missing:
                result = result_of(WIDE, key, embedding=None, status=Status.NO_DATA, reason="no imagery")
            store.write_block(key, result)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """2 x 3 blocks in zone 31, of which one is empty in the first span, and as many in zone 32."""
    path = tmp_path_factory.mktemp("wide") / "map.zarr"
    blocks = square(ROW, COL, 2, 3)
    store = make_map(path, layouts=(WIDE,), blocks=blocks, spans=(YEAR, NEXT), groups=("utm31", "utm32"))
    write_wide(store, missing={BlockKey("wide", "utm31", 0, ROW, COL + 1)})
    return path


@pytest.fixture
def wide_store(wide):
    return MapStore.open(wide)
