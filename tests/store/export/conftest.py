"""A map of two zones and two spans, whose vectors are known from where their tokens lie."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.store import Status
from rs_embed_dask.store.map_layout import BlockKey, MapLayout
from rs_embed_dask.store.map_store import MapStore
from tests.store.map_samples import NEXT, YEAR, make_map, result_of, square

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
