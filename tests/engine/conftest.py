"""Clusters for the engine's tests: one in this process that many tests share, and real ones to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

from rs_embed_dask.engine import embedder
from tests.engine.fakes import threads
from tests.services.earth.fixtures import earth, earth_process

__all__ = ["earth", "earth_process"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def threads_client():
    """Two workers as threads of this process: quick, and nothing to kill."""
    with threads() as client:
        yield client


@pytest.fixture(scope="session")
def nannies():
    """Two worker processes that come back when they are killed: one reads, one embeds.

    Their names are none that SpecCluster knows, or it would close one for good that is killed twice in 15 s.
    """
    shared = {"host": "127.0.0.1", "memory_limit": 0, "dashboard": False}
    workers = {
        "reader": {"cls": Nanny, "options": shared | {"name": "nanny-1", "nthreads": 6, "resources": {"FETCH": 4}}},
        "embedder": {"cls": Nanny, "options": shared | {"name": "nanny-2", "nthreads": 4, "resources": {"EMBED": 1}}},
    }
    where = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with SpecCluster(workers=workers, scheduler={"cls": Scheduler, "options": where}) as cluster:
        yield cluster


@pytest.fixture
def killable(nannies):
    """A client of two worker processes, both of which are there."""
    with Client(nannies, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture
def start(tmp_path):
    """Start calls of `tests.engine.caller` as processes; all are ended at the end."""
    started = []

    def begin(out, first, stop, wait=0.0, *, part=""):
        command = [sys.executable, "-m", "tests.engine.caller", str(out), str(first), str(stop), str(wait), part]
        with (tmp_path / f"{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def no_resident_embedders():
    """Leave no model behind for the next test."""
    yield
    embedder.release()
