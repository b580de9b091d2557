"""Cutting large grids at the files' blocks, and saying what cutting elsewhere costs (R27)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers.stac.items import Asset
from rs_embed_dask.providers.stac.read import ReadAmplificationWarning, at_a_time, chunks_for

FINE = Asset("a.tif", crs="EPSG:32631", origin=(600_000.0, 5_700_000.0), pixel=(10.0, 10.0))
COARSE = Asset("b.tif", crs="EPSG:32631", origin=(600_000.0, 5_700_000.0), pixel=(60.0, 60.0))
ELSEWHERE = Asset("c.tif", crs="EPSG:32632", origin=(300_000.0, 5_700_000.0), pixel=(10.0, 10.0))


def grid(rows, columns, *, offset=(0, 0), pixel=10.0):
    left, top = 600_000.0 + offset[0], 5_700_000.0 - offset[1]
    return Grid("EPSG:32631", (pixel, 0.0, left, 0.0, -pixel, top), (rows, columns))


@pytest.mark.parametrize("size", [1, 52, 2048])
def test_r27_a_place_is_one_chunk(size):
    assert chunks_for(grid(size, size, offset=(1234, 777)), [COARSE, FINE], block_px=512) == ((size,), (size,))


def test_r27_a_region_is_cut_where_blocks_end():
    rows, columns = chunks_for(grid(5000, 3000, offset=(1000, 3000)), [COARSE, FINE], block_px=512)
    assert sum(rows) == 5000
    assert sum(columns) == 3000
    assert {(300 + edge) % 512 for edge in np.cumsum(rows[:-1])} == {0}
    assert {(100 + edge) % 512 for edge in np.cumsum(columns[:-1])} == {0}
    assert max(rows) == 1024


def test_r27_pixels_of_the_grid_may_be_larger_than_those_of_the_file():
    rows, _ = chunks_for(grid(3000, 100, pixel=20.0), [FINE], block_px=512)
    assert {edge % 256 for edge in np.cumsum(rows[:-1])} == {0}


def test_r27_chunks_across_blocks_say_how_often_each_is_read():
    with pytest.warns(
        ReadAmplificationWarning, match=r"chunks of 300 x 300 pixels.* fetched 6\.2 times.*multiple of 512"
    ):
        assert chunks_for(grid(3000, 3000), [FINE], block_px=512, chunk_px=300) == ((300,) * 10, (300,) * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks_for(grid(3000, 3000), [FINE], block_px=512, chunk_px=512)


def test_r27_other_projections_are_cut_evenly():
    assert chunks_for(grid(3000, 2000), [ELSEWHERE], block_px=512) == ((1024, 1024, 952), (2000,))
    assert chunks_for(grid(3000, 2000), [], block_px=512, chunk_px=1500) == ((1500, 1500), (1500, 500))


@pytest.mark.parametrize(
    ("items", "layers", "threads", "expected"),
    [
        (12, 12, 16, 3),  # 48 tasks in 3 turns, 9 files for each thread; with 2 it is 72 in 5, and 10 files
        (12, 10, 16, 2),  # 60 tasks in 4 turns, 8 files, as with 120 tasks
        (100, 12, 16, 3),
        (100, 12, 1, 12),  # all threads have the same files, in the fewest tasks
        (1, 12, 16, 1),  # fewer files than threads take in three turns
        (1, 1, 16, 1),
    ],
)
def test_tasks_are_few_and_keep_all_threads_busy(items, layers, threads, expected):
    assert at_a_time(items, layers, threads=threads) == expected
