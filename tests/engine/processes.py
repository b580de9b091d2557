"""A scheduler, workers and a client as processes of their own, so that a test can kill any of them by its number."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Processes:
    """Processes that one test started, all ended at its end.

    Parameters
    ----------
    folder : Path
        Where they write their logs and files.
    """

    def __init__(self, folder):
        self.folder = folder
        self.started = {}
        self.env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def _start(self, name, *arguments):
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = psutil.Popen(
                [sys.executable, *arguments], env=self.env, stdout=log, stderr=log, cwd=ROOT
            )

    def scheduler(self):
        """Start a scheduler and return its address."""
        port = str(free_port())
        where = ["--host", "127.0.0.1", "--port", port, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        self._start("scheduler", "-m", "dask", "scheduler", *where)
        return f"tcp://127.0.0.1:{port}"

    def worker(self, address, name="worker"):
        """Start a worker without a nanny."""
        options = ["--nthreads", "4", "--memory-limit", "0", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        self._start(name, "-m", "dask", "worker", address, *options, "--local-directory", str(self.folder))

    def client(self, plan, target, address):
        """Run a plan from a process of its own."""
        job = self.folder / "job.pkl"
        job.write_bytes(pickle.dumps((plan, str(target), address)))
        self._start("client", "-m", "tests.engine.client", str(job))

    def kill(self, name):
        """Kill one of them at once."""
        self.started[name].kill()
        self.started[name].wait(10)

    def close(self):
        """End those that are left."""
        for process in self.started.values():
            if process.is_running():
                process.kill()
            process.wait(10)
