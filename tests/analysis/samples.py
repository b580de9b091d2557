"""A small map in two zones and a small run, with random vectors that are known, and some that are missing."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.store import ChunkResult, ModelLayout, Status, Store
from rs_embed_dask.store.map_layout import BlockKey, MapLayout
from tests.store.map_samples import SIDE, TOKEN_M, YEAR, make_map, result_of, square
from tests.store.samples import REQUEST, make_items

FLOAT = MapLayout("float", dim=6, token_m=TOKEN_M, block=SIDE, dtype="float32")
CODES = MapLayout("codes", dim=6, token_m=TOKEN_M, block=SIDE, dtype="int8")
ZONES = ("utm31", "utm32")
ROW, COL = 82, 10


def random_block(layout, key, seed=0):
    """The vectors of a block and their scale: codes, or numbers; every fifth token has none."""
    random = np.random.default_rng([seed, key.row, key.col, key.time, int(key.group[-2:])])
    shape = (layout.dim, layout.block, layout.block)
    vectors = random.integers(-100, 101, shape).astype(layout.dtype)
    vectors[:, random.random(shape[1:]) < 0.2] = -128 if layout.dtype == "int8" else np.nan
    scale = random.uniform(0.5, 2.0, shape[1:]).astype("float16") if layout.dtype == "int8" else None
    return vectors, scale


def random_map(target, *, layouts=(FLOAT, CODES), spans=(YEAR,), blocks=None, make=random_block):
    """A map of 2 x 2 blocks in two zones, of which one block was never computed."""
    store = make_map(target, blocks=blocks or square(ROW, COL), layouts=layouts, spans=spans, groups=ZONES)
    for layout in layouts:
        for group, time, wanted in list(store.pending(layout.label)):
            for row, col in list(wanted)[:-1]:
                key = BlockKey(layout.label, group.group, time, row, col)
                vectors, scale = make(layout, key)
                store.write_block(key, result_of(layout, key, embedding=vectors, scale=scale))
    return store


def random_run(target, count=11, dim=5, label="galileo"):
    """A run whose fourth item failed."""
    vectors = np.random.default_rng(3).normal(size=(count, dim)).astype("float32")
    vectors[3] = np.nan
    return write_run(target, vectors, make_items(count), ModelLayout(label, dim=dim))


def write_run(target, vectors, items, layout):
    """A run of these vectors; a row of NaN failed."""
    store = Store.create(target, items=items, models=[layout], request=REQUEST, chunk_items=4)
    for chunk in range(store.n_chunks):
        first, stop = store.span(chunk)
        has = np.isfinite(vectors[first:stop]).all(axis=1)
        result = ChunkResult(
            rows=np.arange(stop - first),
            status=np.where(has, Status.OK, Status.READ_FAILED).astype("uint8"),
            embedding=[one if there else None for one, there in zip(vectors[first:stop], has, strict=True)],
            reason=[""] * (stop - first),
        )
        store.write_chunk(chunk, layout.label, result)
    return store
