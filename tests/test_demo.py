"""The demo: its landscape lies as said, its worker really dies, and the whole walk decides every item."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import xarray as xr

from rs_embed_dask.demo import picture, run
from rs_embed_dask.demo.mishap import KillsOneWorker
from rs_embed_dask.engine.report import ChunkDone, RunFinished
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.store import Status
from tests.services.landscape import Landscape

CHUNK = {"chunk": 0, "items": 4, "counts": {}, "seconds": 1.0, "read_bytes": 0}


def test_places_lie_side_by_side_and_fill_the_square():
    landscape = Landscape(side=3)
    places = landscape.places()
    left, right, bottom, top = landscape.extent
    assert len(places) == 9
    assert (right - left, top - bottom) == (1920.0, 1920.0)
    assert (places[0].minlon, places[0].maxlat) == (left, top)
    assert (places[-1].maxlon, places[-1].minlat) == (right, bottom)
    for first, second in itertools.pairwise(places):
        assert first.maxlon == second.minlon or (second.minlon == left and second.maxlat == first.minlat)
    assert {grid_for(place, 10).shape for place in places} == {(64, 64)}


def test_tiles_cover_the_square_once():
    landscape = Landscape(side=6)
    grids = [tile.grid(10.0) for tile in landscape.tiles()]
    assert [grid.shape for grid in grids] == [(256, 256), (256, 128), (128, 256), (128, 128)]
    assert sum(grid.shape[0] * grid.shape[1] for grid in grids) == (6 * 64) ** 2
    assert {tile.name for tile in landscape.tiles()} == {"31UF00", "31UF04", "31UF40", "31UF44"}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("landscape") / "catalogue"
    return root, Landscape(side=2).write(root)


def test_scenes_are_delivered_as_an_agency_does(catalogue):
    root, count = catalogue
    items = json.loads((root / "items.json").read_text("utf-8"))["features"]
    assert len(items) == count == 12
    assert set(items[0]["assets"]) == {"B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL"}
    properties = items[0]["properties"]
    assert properties["s2:processing_baseline"] == "05.10"
    assert 0 <= properties["eo:cloud_cover"] <= 100


def test_the_corner_beyond_the_swath_is_empty(catalogue):
    root, _ = catalogue
    landscape = Landscape(side=2)
    for path in sorted(root.rglob("*.tif"))[:22]:
        with rasterio.open(path) as file:
            values = file.read(1)
            assert file.nodata == 0
            assert file.res[0] in {10.0, 20.0}
            assert (file.bounds.left, file.bounds.top) == (landscape.extent[0], landscape.extent[3])
        assert values[-1, -1] == 0
        assert (values[: values.shape[0] // 2] > 0).all()
        assert np.mean(values == 0) == pytest.approx(0.28**2 / 2, abs=0.01)


def test_the_picture_counts_clear_days(catalogue):
    root, _ = catalogue
    landscape = Landscape(side=2)
    folders = sorted({path.parent for path in root.rglob("SCL.tif")})
    clear = [picture._is_clear(landscape, [folder]) for folder in folders]
    assert clear[0].shape == (64, 64)
    assert not np.any([one[-1, -1] for one in clear])
    assert 0.1 < np.mean(clear) < 0.9


def test_a_worker_is_killed_once_half_way():
    said = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        mishap = KillsOneWorker({"tcp://127.0.0.1:1": victim.pid, "tcp://127.0.0.1:2": 0}, after=2, say=said.append)
        mishap(ChunkDone(left=3, **CHUNK))
        assert victim.poll() is None
        mishap(ChunkDone(left=2, **CHUNK))
        assert victim.wait(timeout=20) == -signal.SIGKILL
        mishap(ChunkDone(left=1, **CHUNK))
    assert mishap.killed == victim.pid
    assert len(said) == 1
    assert "with 2 chunks to go" in said[0]


def test_the_report_is_kept():
    from rs_embed_dask.engine.report import RunReport

    mishap = KillsOneWorker({}, after=9, say=print)
    report = RunReport(figures=None)
    mishap(RunFinished(report))
    assert mishap.report is report


@pytest.mark.timeout(240)
def test_the_whole_walk(tmp_path, capsys):
    (tmp_path / "keep.txt").write_text("not the demo's", "utf-8")
    assert run.walk(tmp_path, side=3) == 0
    told = capsys.readouterr().out
    for words in ("Plan against actual", "SIGKILL to worker", "nothing was lost: every item is decided", "demo.png"):
        assert words in told
    assert (tmp_path / "keep.txt").exists()
    assert (tmp_path / "demo.png").stat().st_size < 300_000
    with xr.open_datatree(tmp_path / "demo.zarr", engine="zarr") as tree:
        for label, dim in (("rcf", 512), ("bandstats", 90)):
            group = tree[label].ds
            assert group["embedding"].shape == (9, dim, 16, 16)
            states = group["status"].values
            assert set(states) <= {Status.OK, Status.PARTIAL}
            assert np.isfinite(group["embedding"].values[states == Status.OK]).all()
            assert np.isfinite(group["embedding"].values[:8, :, 0, 0]).all()
