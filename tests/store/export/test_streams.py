"""Exports hold a part of a run at a time, never the whole."""

from __future__ import annotations

import tracemalloc

import dask
import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.store import ModelLayout, Store
from rs_embed_dask.store.export import geoparquet, neuco
from rs_embed_dask.store.export.payload import write_netcdf
from tests.store.samples import REQUEST, make_items, make_result

LARGE = ModelLayout("large", dim=8192, dtype="float32", attrs={"card": {"id": "large"}})
CHUNK = 16
CHUNK_BYTES = CHUNK * LARGE.dim * 4
FILES = {"geoparquet": "run.parquet", "neuco-csv": "run.csv", "rs-embed": "folder"}
CASES = [*FILES.items(), ("rs-embed", "run.npz"), ("rs-embed", "run.nc"), ("netcdf", "run.nc")]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store of 4 chunks, and one of 10: in both, two are written side by side."""
    folder, made = tmp_path_factory.mktemp("large"), []
    for chunks in (4, 10):
        items, path = make_items(CHUNK * chunks), folder / f"{chunks}.zarr"
        store = Store.create(path, items=items, models=[LARGE], request=REQUEST, chunk_items=CHUNK)
        for chunk in range(chunks):
            store.write_chunk(chunk, "large", make_result(store, LARGE, chunk))
        made.append(path)
    return made


@pytest.fixture
def in_parts(monkeypatch):
    """Small parts, on a machine of 16 cores."""
    monkeypatch.setattr(geoparquet, "_GROUP_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(geoparquet, "_READ_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(neuco, "_ROWS", CHUNK)
    with dask.config.set(num_workers=16):
        yield


def peak_of(call):
    """Most bytes of Python, NumPy and Arrow at once, over what there was."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(pa.system_memory_pool())


@pytest.mark.parametrize(("name", "file"), CASES, ids=["-".join(case) for case in CASES])
def test_more_items_take_no_more_memory(stores, tmp_path, in_parts, name, file):
    first, second = stores
    rs.export(first, name, tmp_path / f"imports-{file}")

    def peak(run, path):
        return peak_of(lambda: rs.export(run, name, path))

    # The least of three: threads that other tests have left running are counted too.
    small, large = (
        min(peak(run, tmp_path / f"{size}-{turn}-{file}") for turn in range(3))
        for size, run in (("small", first), ("large", second))
    )
    assert large - small < 3 * CHUNK_BYTES, "what 6 chunks more hold"


def test_netcdf_is_written_without_a_setting_of_the_whole_process(tmp_path):
    """Of two exports that overlap, the last to end would leave the settings of the first behind."""
    before, seen = dict(dask.config.config), []

    def looked(part):
        seen.append(dask.config.config == before)
        return part

    numbers = da.arange(6, chunks=2).map_blocks(looked, dtype=int, meta=np.empty(0, int))
    write_netcdf(xr.Dataset({"numbers": ("x", numbers)}), tmp_path / "a.nc")
    assert seen == [True] * 3
    np.testing.assert_array_equal(xr.load_dataset(tmp_path / "a.nc").numbers, range(6))
