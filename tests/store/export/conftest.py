"""A store of ten places with one failed item, and what it holds."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.store import ModelLayout, Status, Store
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
