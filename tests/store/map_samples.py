"""Small maps with known content."""

from __future__ import annotations

import datetime as dt

import numpy as np

from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.store import Status
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import Asked, BlockKey, BlockResult, MapGroup, MapLayout
from rs_embed_dask.store.map_store import MapStore

YEAR = (dt.date(2021, 1, 1), dt.date(2022, 1, 1))
NEXT = (dt.date(2022, 1, 1), dt.date(2023, 1, 1))
SIDE = 4
TOKEN_M = 10_000.0
REQUEST = {"models": [{"label": "tiny", "dtype": "auto"}], "region": {"crs": "EPSG:4326"}}
TINY = MapLayout(
    "tiny",
    dim=3,
    token_m=TOKEN_M,
    block=SIDE,
    dtype="float32",
    attrs={"model_url": "https://example.org/tiny", "source_data": ["https://example.org/s2"], "chip_px": [8, 8]},
)
HALF = MapLayout("half", dim=2, token_m=TOKEN_M, block=SIDE)
BYTES = MapLayout("bytes", dim=2, token_m=TOKEN_M, block=SIDE, dtype="int8")
LAYOUTS = (TINY, HALF, BYTES)


def group_of(name="utm31", layout=TINY):
    return MapGroup.from_dict(lattice_for(name, layout.token_m, layout.block).to_dict())


def square(top, left, rows=2, cols=2):
    return BlockSet.of_rectangles([(top, left, top + rows, left + cols)])


def make_map(target, *, blocks=None, layouts=(TINY,), spans=(YEAR,), groups=("utm31",)):
    blocks = square(82, 10) if blocks is None else blocks
    asked = [Asked(one, spans, {group_of(name, one): blocks for name in groups}) for one in layouts]
    return MapStore.create(target, asked, request=REQUEST)


def field(layout, key):
    """The known vectors of a block: their token's row and column in the zone, and the span."""
    rows = key.row * layout.block + np.arange(layout.block)
    cols = key.col * layout.block + np.arange(layout.block)
    row, col = np.meshgrid(rows, cols, indexing="ij")
    parts = [row % 100, col % 100, row * 0 + key.time]
    return np.stack(parts[: layout.dim]).astype(layout.dtype)


def result_of(layout, key, **changes):
    """The known result of a block."""
    known = {
        "status": Status.OK,
        "embedding": field(layout, key),
        "scale": np.full((layout.block,) * 2, 0.5, "float16") if layout.dtype == "int8" else None,
        "valid_fraction": np.float32(0.75),
        "n_obs": 12,
        "first_date": np.datetime64("2021-04-01") + key.row % 30,
        "last_date": np.datetime64("2021-09-01"),
        "coverage": np.full((layout.block,) * 2, 1.0, "float32"),
    }
    return BlockResult(**(known | changes))


def fill_map(store, **changes):
    for layout in store.document.layouts:
        for group, time, blocks in list(store.pending(layout.label)):
            for row, col in blocks:
                key = BlockKey(layout.label, group.group, time, row, col)
                store.write_block(key, result_of(layout, key, **changes))


def block_content(store, key):
    """Everything that a store holds of a block, as comparable values."""
    block = store.block(key)
    return {one.name: block.read(one) for one in block.layout.fields}


def assert_same_block(first, second):
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
