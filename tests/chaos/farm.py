"""A cluster and its drivers as processes of their own, any of which can be killed or stopped."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

from tests.chaos.children import Job, drive, fork_server, run_nanny, run_scheduler, server_address

MARK = "RS_EMBED_DASK_CHAOS"
WORKERS = 2


class Process:
    """One process with all that it has started."""

    def __init__(self, target: Callable[..., None], *arguments: Any, log: Path) -> None:
        self.log = log
        self._process = fork_server().Process(target=target, args=(*arguments, log), name=log.stem)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return bool(self._process.is_alive())

    @property
    def is_stopped(self) -> bool:
        """Whether it stands still, by SIGSTOP."""
        try:
            return self.is_running and psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def members(self, part: str) -> list[psutil.Process]:
        """The worker of a nanny, the nanny with it as a "group", or else the process itself; none that is gone."""
        pids = [self._process.pid] if self.is_running and part != "worker" else []
        worker = self.log.with_suffix(".pid")
        if part in {"worker", "group"} and worker.exists():
            pids.append(int(worker.read_text()))
        return [process for process in map(_ours, pids) if process is not None]


def _ours(pid: int) -> psutil.Process | None:
    """Find a process by its number, if it bears this harness's mark: numbers are given again to others."""
    try:
        process = psutil.Process(pid)
        return process if process.environ().get(MARK) == os.environ[MARK] else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def sent(process: psutil.Process, number: int) -> bool:
    """Send a signal; False if the process is gone."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


class Farm:
    """A scheduler and two nannies that are started again when they are gone, and any number of drivers."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault(MARK, uuid.uuid4().hex)
        self.folder = folder
        self.scheduler: Process | None = None
        self.nannies: list[Process] = []
        self._started = 0

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, name: str) -> Path:
        """A new name for a file of a process."""
        self._started += 1
        return self.folder / f"{self._started:04}-{name}"

    def mend(self) -> None:
        """Start what is missing. The nannies of a scheduler that is gone are left to end by themselves."""
        if self.scheduler is None or not self.scheduler.is_running:
            self._address_file = self.path("address.json")
            self.scheduler = Process(run_scheduler, self._address_file, log=self.path("scheduler.log"))
            self.nannies = []
        self.nannies = [nanny for nanny in self.nannies if nanny.is_running]
        while len(self.nannies) < WORKERS:
            self.nannies.append(Process(run_nanny, self.address(), server_address(), log=self.path("nanny.log")))

    def address(self, patience_s: float = 60.0) -> str:
        """Where the scheduler listens, once it does."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return str(json.loads(self._address_file.read_text())["address"])
            except (OSError, ValueError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def drive(self, job: Job) -> Process:
        """Start a driver."""
        return Process(drive, job, log=self.path("client.log"))

    def close(self) -> None:
        """End every process that bears this harness's mark, whoever started it, but for the server they come from."""
        spared = {os.getpid(), *(child.pid for child in psutil.Process().children())}
        for process in filter(None, map(_ours, psutil.pids())):
            if process.pid not in spared:
                sent(process, signal.SIGKILL)
        self.scheduler, self.nannies = None, []
