"""What the attacked processes do: be a scheduler, be a nanny, or make one call and leave a note of how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, Worker

import rs_embed_dask as rs
from rs_embed_dask.engine.report import RunFinished, RunStarted
from rs_embed_dask.errors import RsEmbedError
from rs_embed_dask.store import Target, lease

MODULES = [
    "distributed",
    "rasterio",
    "stackstac",
    "torch",
    "rs_embed_dask.engine.driver",
    "rs_embed_dask.engine.local",
    "rs_embed_dask.maps.compute",
    "rs_embed_dask.models.bandstats",
    "rs_embed_dask.models.rcf",
    "rs_embed_dask.providers.stac.provider",
    "rs_embed_dask.providers.synthetic.provider",
    "tests.chaos.children",
]
"""Imported once, by a server from which the processes are forked: starting one costs a fraction of a second."""

TTL_S = 10
LEASE_S = 6.0
"""The term of the drivers' leases, a tenth of the usual one: who stands still for longer is taken over."""

SHARED = {"host": "127.0.0.1", "dashboard": False}
WORKER = {"nthreads": 4, "resources": {"FETCH": 2, "EMBED": 1}, "memory_limit": 0}


def fork_server() -> Any:
    """Return the context whose processes are forked from the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


def server_address() -> str:
    """Where the server listens."""
    return str(forkserver._forkserver._forkserver_address)


def _use_server(address: str) -> None:
    """Fork the processes of this one from the server that it comes from, and not from another of its own."""
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    forkserver._forkserver._forkserver_address = address
    forkserver._forkserver.ensure_running = lambda: None


def begin(log: Path) -> None:
    """Write to a log, and end with the harness."""
    _write_to(log)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _write_to(log: Path) -> None:
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def run_scheduler(address_file: Path, log: Path) -> None:
    """Be a scheduler that writes its address into a file."""
    begin(log)
    options = SHARED | {"port": 0, "dashboard_address": "127.0.0.1:0", "worker_ttl": TTL_S}
    _serve(lambda: Scheduler(**options, scheduler_file=str(address_file)))


def run_nanny(address: str, server: str, log: Path) -> None:
    """Be a nanny, which starts its worker again when that is gone."""
    begin(log)
    _use_server(server)
    options = SHARED | WORKER | {"local_directory": str(log.parent), "preload": [__name__]}
    _serve(lambda: Nanny(address, **options, name=log.stem, silence_logs=logging.ERROR))


def dask_setup(worker: Worker) -> None:
    """Leave the number of a new worker's process where the harness looks for it; Dask calls this."""
    log = Path(worker.local_directory).parents[1] / f"{worker.name}.log"
    _write_to(log)
    replaced(log.with_suffix(".pid"), str(os.getpid()))


def replaced(path: Path, text: str) -> None:
    """Write a file at once."""
    half = path.with_suffix(".half")
    half.write_text(text)
    half.replace(path)


def _serve(make: Callable[[], Any]) -> None:
    async def serve() -> None:
        async with make() as server:
            await server.finished()

    asyncio.run(serve())


@dataclass(frozen=True)
class Job:
    """A call of `compute_embeddings` or `compute_map`, or of `resume` where there are no arguments."""

    address: str
    target: Target
    note: Path
    arguments: dict[str, Any] | None = None
    wait_s: float | None = None


UNCONNECTED = "unconnected"
"""How a call ends whose own client finds no scheduler: it was being killed."""


@dataclass(frozen=True)
class Note:
    """How a call ended, and what it did."""

    ending: str
    """``finished``, or the class of the error."""
    message: str = ""
    chunks: int = 0
    reads: int = 0
    workers_lost: int = 0

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """Read a driver's note; None if it left none."""
        return cls(**json.loads(path.read_text())) if path.exists() else None


def drive(job: Job, log: Path) -> None:
    """Make a call and leave a note."""
    begin(log)
    lease.Lease = partial(lease.Lease, term_s=LEASE_S)  # type: ignore[assignment, misc]
    try:
        client = Client(job.address, set_as_default=False)
    except OSError as error:
        note = Note(UNCONNECTED, f"{error}")
    else:
        note = _note(job, client)
    replaced(job.note, json.dumps(asdict(note)))


def _note(job: Job, client: Client) -> Note:
    events: list[Any] = []
    try:
        with client:
            _call(job, client, events.append)
    except (RsEmbedError, OSError) as error:
        return Note(type(error).__name__, f"{error}", **_figures(events))
    return Note("finished", **_figures(events))


def _call(job: Job, client: Client, progress: Callable[[Any], None]) -> None:
    options: dict[str, Any] = {"client": client, "progress": progress}
    if job.wait_s is not None:
        options["wait"] = job.wait_s
    if job.arguments is None:
        rs.resume(job.target, **options)
    else:
        verb = rs.compute_map if "region" in job.arguments else rs.compute_embeddings
        verb(**job.arguments, out=job.target, **options)


def _figures(events: list[Any]) -> dict[str, int]:
    started = [event for event in events if isinstance(event, RunStarted)]
    reports = [event.report for event in events if isinstance(event, RunFinished)]
    return {
        "chunks": sum(event.chunks for event in started),
        "reads": sum(report.totals.reads for report in reports if hasattr(report, "totals")),  # a map has none
        "workers_lost": sum(report.workers_lost for report in reports),
    }
