"""A worker that leaves finishes what it has begun, and hands it over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, get_worker

from rs_embed_dask.engine.leaving import LEAVING_ARGUMENTS, LeavingWorker
from tests.engine.fakes import until

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
BEGUN, GO = [], threading.Event()


def held(number):
    """A task that has begun, and ends when it may."""
    BEGUN.append((number, get_worker().address))
    GO.wait(30)
    return number


@pytest.fixture
def pair():
    """Two workers in this process, each with room for two tasks."""
    BEGUN.clear()
    GO.clear()
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            worker_class=LeavingWorker,
            resources={"GPU": 2},
            **QUIET,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield cluster, client


def test_what_runs_is_finished_once_and_what_waits_runs_elsewhere(pair):
    cluster, client = pair
    leaver, other = cluster.workers.values()
    first = client.map(held, range(2), workers=[leaver.address], resources={"GPU": 1})
    until(lambda: len(BEGUN) == 2)
    later = client.map(held, range(2, 6), workers=[leaver.address], allow_other_workers=True, resources={"GPU": 1})
    for _ in range(2):  # the second signal changes nothing
        cluster.loop.add_callback(leaver._obey, signal.SIGTERM)
    until(lambda: leaver.status.name == "closing_gracefully")
    GO.set()
    assert client.gather(first) == [0, 1]
    assert client.gather(later) == [2, 3, 4, 5]
    until(lambda: leaver.status.name == "closed")
    assert sorted(BEGUN) == [(n, (leaver if n < 2 else other).address) for n in range(6)], "each ran once"
    assert set(client.scheduler_info()["workers"]) == {other.address}


def test_the_last_worker_leaves_too(pair):
    cluster, client = pair
    leaver, other = cluster.workers.values()
    client.sync(other.close)
    future = client.submit(held, 7)
    until(lambda: [(7, leaver.address)] == BEGUN)
    cluster.loop.add_callback(leaver._obey, signal.SIGTERM)
    GO.set()
    until(lambda: leaver.status.name == "closed")
    assert future.status != "error"


def mark(folder, number):
    (Path(folder) / f"{number}-{os.getpid()}-begun").touch()
    until((Path(folder) / "go").exists, 60)
    return number


def waiting(begun, folder):
    return len(list(folder.glob("*-begun"))) == begun


def test_a_signal_to_the_nanny_is_obeyed_by_its_worker(tmp_path):
    command = [sys.executable, "-m", "distributed.cli.dask_worker"]
    options = ["--nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--name", "leaver"]
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **QUIET) as cluster:
        scheduler = cluster.scheduler_address
        options += ["--local-directory", str(tmp_path), *LEAVING_ARGUMENTS]
        job = subprocess.Popen([*command, scheduler, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=90)
            future = client.submit(mark, str(tmp_path), 1, workers=["leaver"], allow_other_workers=True)
            until(lambda: waiting(1, tmp_path))
            job.send_signal(signal.SIGTERM)
            until(lambda: "leaver" not in running(client))
            (tmp_path / "go").touch()
            _, log = job.communicate(timeout=60)
            assert job.returncode == 0, log
            assert future.result() == 1
            assert waiting(1, tmp_path)


def running(client):
    """Names of the workers that take tasks."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {worker["name"] for worker in workers if worker["status"] == "running"}
