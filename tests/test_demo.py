"""The demo: its places lie as drawn, its worker really dies, and the whole walk decides every item."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from rs_embed_dask.demo.run import KillsOneWorker, clear, walk
from rs_embed_dask.demo.stage import Square, synthetic_stage
from rs_embed_dask.engine.report import ChunkDone, RunFinished, RunReport
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.store import Status

CHUNK = {"chunk": 0, "items": 4, "counts": {}, "seconds": 1.0, "read_bytes": 0}


def test_places_lie_side_by_side_and_fill_the_square():
    square = Square(side=3)
    places = square.places()
    left, right, bottom, top = square.extent
    assert len(places) == 9
    assert (right - left, top - bottom) == (1920.0, 1920.0)
    assert (places[0].minlon, places[0].maxlat) == (left, top)
    assert (places[-1].maxlon, places[-1].minlat) == (right, bottom)
    for first, second in itertools.pairwise(places):
        assert first.maxlon == second.minlon or (second.minlon == left and second.maxlat == first.minlat)
    assert {grid_for(place, 10).shape for place in places} == {(64, 64)}
    assert grid_for(square.whole, 10).shape == (192, 192)


def test_a_worker_is_killed_once_half_way():
    lines = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        process_ids = {"tcp://127.0.0.1:1": victim.pid, "tcp://127.0.0.1:2": 0}
        mishap = KillsOneWorker(process_ids, after=2, write=lines.append)
        mishap(ChunkDone(left=3, **CHUNK))
        assert victim.poll() is None
        mishap(ChunkDone(left=1, **CHUNK))
        assert victim.wait(timeout=20) == -signal.SIGKILL
        mishap(ChunkDone(left=0, **CHUNK))
    assert mishap.killed == victim.pid
    assert lines == [f"SIGKILL to worker tcp://127.0.0.1:1 (process {victim.pid}) with 1 chunk to go"]


def test_the_report_is_kept():
    mishap = KillsOneWorker({}, after=9, write=print)
    report = RunReport(figures=None)
    mishap(RunFinished(report))
    assert mishap.report is report


def test_only_what_the_demo_wrote_is_cleared(tmp_path):
    for name in ("demo.png", "keep.txt", "demo.zarr/zarr.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clear(tmp_path, "demo.zarr", "demo.png", "absent")
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


@pytest.mark.timeout(240)
def test_the_whole_walk(tmp_path, capsys):
    assert walk(tmp_path, synthetic_stage(3)) == 0
    output = capsys.readouterr().out
    for words in ("Plan against actual", "SIGKILL to worker", "nothing was lost: every item is decided", "demo.png"):
        assert words in output
    assert (tmp_path / "demo.png").stat().st_size < 300_000
    with xr.open_datatree(tmp_path / "demo.zarr", engine="zarr") as tree:
        for label, dim in (("rcf", 512), ("bandstats", 90)):
            group = tree[label].ds
            assert group["embedding"].shape == (9, dim, 16, 16)
            states = group["status"].values
            assert set(states) <= {Status.OK, Status.PARTIAL}
            assert np.isfinite(group["embedding"].values[states == Status.OK]).all()
