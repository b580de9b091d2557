"""A pass streamed through Dask: the same blocks as in one process, each read once, strips released, kills survived."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.watch import Watch, stop_profiler
from rs_embed_dask.maps import graph, stream as streaming
from rs_embed_dask.maps.graph import MapJob
from rs_embed_dask.maps.passes import MapPass
from rs_embed_dask.maps.stream import MapCluster, bands, stream
from rs_embed_dask.maps.windows import BlockIndex, Tiling
from rs_embed_dask.store import Status
from tests.maps.inprocess import InProcess
from tests.maps.writers import FolderWriter

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
SMALL = {"bands": ("red", "nir", "swir16"), "patch_px": 2}
MODELS = [{"id": "rcf", "options": {"features": 8, **SMALL}}, {"id": "bandstats", "options": SMALL}]
BLOCKS = [(3040 + i, 262 + j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]


@pytest.fixture(scope="module")
def alone():
    return InProcess(MODELS, SPAN, provider="synthetic").run(BLOCKS)


def run(client, alone, folder, *, at_once=4, done=lambda receipt: None, blocks=BLOCKS):
    stop_profiler(client)
    wanted = frozenset(BlockIndex(*block) for block in blocks)
    work = MapPass(alone.lattice, alone.models, {one.label: wanted for one in alone.models})
    job = MapJob(alone.recipe, alone.lattice, SPAN, alone.recipe.labels)
    cluster = MapCluster(client, Watch(client, (), str(folder)), lambda: at_once)
    return stream(cluster, work, job, writer=FolderWriter(str(folder)), done=done)


def check(alone, folder):
    writer = FolderWriter(str(folder))
    for label in ("rcf", "bandstats"):
        for block in BLOCKS:
            written = writer.read(label, block)
            expected = alone.fields[label, BlockIndex(*block)]
            assert Status(int(written["status"])) == expected.status
            np.testing.assert_allclose(written["vectors"], expected.vectors, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("widest", [32, 1])
def test_a_cluster_writes_what_one_process_makes(threads_client, alone, tmp_path, monkeypatch, widest):
    monkeypatch.setattr(streaming, "WIDEST_BAND", widest)
    receipts, loads = [], set()
    monkeypatch.setattr(graph, "load_meanwhile", lambda recipe, *needs: loads.add(needs))
    assert run(threads_client, alone, tmp_path, done=receipts.append) == {}
    check(alone, tmp_path)
    assert loads == {(alone.recipe.labels, ("EMBED",))}, "whoever reads loads the models, if it embeds"
    assert sorted((one.label, one.block) for one in receipts) == sorted(
        (label, block) for label in ("rcf", "bandstats") for block in BLOCKS
    )
    assert {len((tmp_path / f"rcf_{row}_{col}.log").read_text().splitlines()) for row, col in BLOCKS} == {1}


def test_a_killed_worker_changes_nothing(killable, alone, tmp_path):
    pids = list(killable.run(os.getpid).values())
    killed = []

    def kill(receipt):
        if not killed and receipt.label == "rcf":
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    assert run(killable, alone, tmp_path, at_once=2, done=kill) == {}
    assert killed
    check(alone, tmp_path)


@pytest.mark.parametrize(
    ("name", "status", "doing"),
    [
        ("read_piece", Status.READ_FAILED, "reading its pixels failed 3 times: ZeroDivisionError: odd"),
        ("tile_sums", Status.MODEL_FAILED, "embedding its windows failed 3 times: ZeroDivisionError: odd"),
        ("block_field", Status.MODEL_FAILED, "blending and writing it failed 3 times: ZeroDivisionError: odd"),
    ],
)
def test_a_block_whose_task_fails_each_time_says_which(
    threads_client, alone, tmp_path, monkeypatch, name, status, doing
):
    def fail(*_, **__):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(graph, name, fail)
    lost = run(threads_client, alone, tmp_path, blocks=BLOCKS[:1])
    assert lost == {(label, BlockIndex(*BLOCKS[0])): (status, doing) for label in ("rcf", "bandstats")}


def test_bands_hold_each_block_once():
    tiling = Tiling(window=12, stride=11, block=64, patch_px=8)
    wanted = frozenset(BlockIndex(row, col) for row in range(3) for col in range(70))
    model = InProcess(["rcf"], SPAN, provider="synthetic").models[0]
    work = MapPass(None, (model,), {model.label: wanted})
    cut = bands(work)
    assert tiling.margin > 0
    assert len(cut) == 3
    assert sorted(block for band in cut for block in band.wanted[model.label]) == sorted(wanted)
