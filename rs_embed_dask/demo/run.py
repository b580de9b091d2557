"""The walk: plan, run on two worker processes of which one is killed, then figures, a Zarr store and a picture."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distributed import Client

from rs_embed_dask import api
from rs_embed_dask.demo import picture
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.progress import listeners_for, shows_plan
from rs_embed_dask.engine.report import ChunkDone, Event, RunFinished, RunReport, RunStarted, emit
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs import ModelSpec, OutputSpec
from rs_embed_dask.store import Status, StatusReport, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from rs_embed_dask.demo.stage import Stage

__all__ = ["KillsOneWorker", "clear", "walk"]


class KillsOneWorker:
    """A listener that kills one process after some chunks, without warning, and keeps the run's report."""

    def __init__(self, process_ids: Mapping[str, int], *, after: int, write: Callable[[str], None]) -> None:
        self._process_ids = dict(process_ids)
        self._after = after
        self._write = write
        self._stored = 0
        self.killed = 0
        self._unit = "chunk"
        self.report: RunReport | None = None

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, RunStarted):
            self._unit = event.unit
        elif isinstance(event, ChunkDone):
            self._stored += 1
            if self._stored == self._after:
                self._kill(event.left)
        elif isinstance(event, RunFinished) and isinstance(event.report, RunReport):
            self.report = event.report

    def _kill(self, left: int) -> None:
        address, self.killed = next(iter(self._process_ids.items()))
        # SIGKILL cannot be caught, so the worker cannot deregister: what happens when a machine is preempted
        os.kill(self.killed, signal.SIGKILL)
        self._write(f"SIGKILL to worker {address} (process {self.killed}) with {counted(left, self._unit)} to go")


_CHUNK_ITEMS: Final = 4
_PATCH_PX: Final = 4


def walk(out: Path, stage: Stage) -> int:
    """Run the demo in a folder and return the exit code: 0 if every item is decided."""
    started = time.perf_counter()
    clear(out, "demo.zarr", "demo.png")
    report = _embed(stage, out / "demo.zarr")
    status = StatusReport.of(Store.open(out / "demo.zarr"))
    decided = status.is_finished and not status.n_retryable
    _write(f"\n{status}\n\n{open_store(out / 'demo.zarr').rs.report}")
    picture.save(stage, out)
    _write(_summary(status, decided=decided))
    _write(f"store    {out / 'demo.zarr'}: rs-embed-dask status {out / 'demo.zarr'} --items")
    _write(f"picture  {out / 'demo.png'}")
    _write(f"time     {time.perf_counter() - started:.0f} s in all, of which the run took {report.seconds:.0f} s")
    return 0 if decided else 1


def clear(out: Path, *names: str) -> None:
    """Remove what an earlier demo left in a folder, and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    for path in (out / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _embed(stage: Stage, store: Path) -> RunReport:
    """Plan, then run on two worker processes, one of which is killed halfway."""
    models = [ModelSpec(name, options=(("patch_px", _PATCH_PX),)) for name in ("rcf", "bandstats")]
    request: dict[str, Any] = {
        "output": OutputSpec.grid(),
        "provider": stage.provider,
        "chunk_items": _CHUNK_ITEMS,
    }
    places = stage.square.places()
    with ExitStack() as stack:
        workers = stack.enter_context(cluster("local", processes=2))
        client = stack.enter_context(Client(workers, set_as_default=False))
        half = max(1, len(places) // _CHUNK_ITEMS // 2)
        mishap = KillsOneWorker(client.run(os.getpid), after=half, write=_write)
        watch = partial(emit, (shows_plan(_write), *listeners_for(progress=True, stack=stack), mishap))
        api.compute_embeddings(places, models, stage.span, out=store, client=client, progress=watch, **request)
    if mishap.report is None:  # pragma: no cover - the engine always reports the end of a run
        raise RuntimeError("the run ended without a report")
    return mishap.report


def _summary(status: StatusReport, *, decided: bool) -> str:
    outcome = "nothing was lost: every item is decided" if decided else "some items are left to do"
    sizes = f"{counted(status.n_items, 'place')} x {counted(len(status.counts), 'model')}"
    line = f"\n{sizes}; a worker was killed on the way, and {outcome}"
    if any(Status.NO_DATA in counts for counts in status.counts.values()):
        line += "\n(places without data have no clear observation in any frame)"
    return line


def _write(text: str) -> None:
    print(text, flush=True)
