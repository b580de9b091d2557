"""The driver: keeps a bounded window of chunks in flight and sees each one into the store."""

from __future__ import annotations

import queue
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from distributed import KilledWorker
from distributed.client import ClosedClientError

from rs_embed_dask.engine.events import ChunkDone, ChunkLost, Listener, ModelLoaded, RunFinished, emit
from rs_embed_dask.engine.failed import record_failed
from rs_embed_dask.engine.faults import is_fatal, is_lost, said
from rs_embed_dask.engine.graph import GraphMaker
from rs_embed_dask.engine.jobs import MOST_LOSSES, Job, Jobs, units_of
from rs_embed_dask.engine.report import RunReport
from rs_embed_dask.engine.tasks import Chunk, put_results
from rs_embed_dask.engine.warm import warm_up
from rs_embed_dask.engine.watch import Watch
from rs_embed_dask.errors import EngineError

if TYPE_CHECKING:
    from distributed import Client

    from rs_embed_dask.engine.options import Options
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.engine.stages import Unit
    from rs_embed_dask.engine.tally import ChunkReceipt
    from rs_embed_dask.store import Store

__all__ = ["Driver"]

_TICK_S: Final = 1.0


@dataclass(frozen=True, eq=False)
class _Flight:
    """A job on its way."""

    job: Job
    units: list[Unit]
    future: Any
    started: float


class Driver:
    """One run on one cluster.

    Parameters
    ----------
    plan : Plan
        What to do.
    store : Store
        Where results go.
    client : distributed.Client
        Where it runs.
    options : Options
        The window, and which items are taken up.
    listeners : tuple of callables
        Told what happens.
    """

    def __init__(
        self, plan: Plan, store: Store, client: Client, *, options: Options, listeners: tuple[Listener, ...]
    ) -> None:
        self._plan = plan
        self._store = store
        self._client: Any = client
        self._options = options
        self._listeners = listeners
        self._graphs = GraphMaker(plan.recipe, store)
        self._flying: dict[object, _Flight] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.watch = Watch(client, listeners, str(store.target))
        self.report = RunReport(plan.figures, store=str(store.target))

    def run(self, jobs: Jobs) -> RunReport:
        """Do every job.

        Parameters
        ----------
        jobs : Jobs
            The chunks to do.

        Returns
        -------
        RunReport

        Raises
        ------
        EngineError, WeightsError, LicenceError, StoreError
            The run cannot go on; what is written stays.
        KeyboardInterrupt
            As it came, after everything in flight was cancelled.
        """
        started = time.perf_counter()
        is_over = False
        try:
            warm_up(self._client, self._graphs.parcel, self.watch.placement)
            self._fill(jobs)
            while self._flying:
                self._land(jobs)
                self._fill(jobs)
            is_over = True
        except (OSError, ClosedClientError) as error:
            raise self.watch.gone() from error
        except KeyboardInterrupt as stop:
            target = self._store.target
            stop.add_note(f"What is finished is stored in {target}: resume({str(target)!r}) or the same call goes on.")
            raise
        finally:
            self._cancel()
            self.report.close(time.perf_counter() - started, workers_lost=self.watch.lost, is_over=is_over)
            emit(self._listeners, RunFinished(self.report, interrupted=not is_over))
        return self.report

    # --------------------------------------------------------------------------------------------------------- take-off
    def _fill(self, jobs: Jobs) -> None:
        """Submit jobs while there is room in the window."""
        workers = self.watch.look()
        plan = self._plan
        limit = self._options.window.limit(
            workers,
            chunk_items=self._store.chunk_items,
            chunk_bytes=plan.figures.item_bytes * self._store.chunk_items,
            batch_items=plan.recipe.batch_items,
        )
        while len(self._flying) < limit and not any(flight.job.is_suspect for flight in self._flying.values()):
            job = jobs.take(is_idle=not self._flying)
            if job is None:
                return
            self._submit(job, jobs)

    def _submit(self, job: Job, jobs: Jobs) -> None:
        units = units_of(self._store, job, plan_labels(self._plan), only=self._options.only)
        if not units:
            jobs.finish(job)
            return
        graph = self._graphs.graph(
            Chunk(job.chunk, self._options.only), units, attempt=job.attempt, placement=self.watch.placement
        )
        future = self._client.compute(graph, optimize_graph=False, traverse=False, fifo_timeout="0s")
        self._flying[future.key] = _Flight(job, units, future, time.perf_counter())
        future.add_done_callback(self._landed.put)

    # ---------------------------------------------------------------------------------------------------------- landing
    def _land(self, jobs: Jobs) -> None:
        """Wait for one job to end, and see to it."""
        try:
            future = self._landed.get(timeout=_TICK_S)
        except queue.Empty:
            self.watch.look()
            return
        flight = self._flying.pop(future.key, None)
        if flight is not None:
            try:
                self._settle(flight, jobs)
            finally:
                future.release()

    def _settle(self, flight: _Flight, jobs: Jobs) -> None:
        """See to a job that ended: well, in an error, or lost."""
        future = flight.future
        try:
            error = future.exception() if future.status == "error" else None
            result = future.result() if future.status == "finished" else None
        except (OSError, CancelledError) as broken:
            error = broken
        if error is not None:
            self._mend(flight, jobs, error)
        elif result is None:
            self._lose(flight, jobs, f"its task was {future.status}", is_suspect=False)
        else:
            self._finish(flight, jobs, result)

    def _finish(self, flight: _Flight, jobs: Jobs, result: Any) -> None:
        receipt: ChunkReceipt = result
        if not self._graphs.is_remote:
            results, receipt = result
            put_results(self._store, Chunk(flight.job.chunk, self._options.only), results)
        jobs.finish(flight.job)
        self._tell(receipt, flight, jobs.left)

    def _tell(self, receipt: ChunkReceipt, flight: _Flight, left: int) -> None:
        """Count a chunk that is stored, and tell the listeners."""
        for label in receipt.weights.keys() - self.report.weights.keys():
            emit(self._listeners, ModelLoaded(label, receipt.weights[label]))
        self.report.add(receipt)
        for event in (*receipt.retried, *receipt.failed):
            emit(self._listeners, event)
        done = ChunkDone(
            chunk=receipt.chunk,
            items=len(flight.units),
            counts=receipt.counts,
            seconds=time.perf_counter() - flight.started,
            read_bytes=receipt.tally.read_bytes,
            left=left,
        )
        emit(self._listeners, done)

    # ------------------------------------------------------------------------------------------------------- what fails
    def _mend(self, flight: _Flight, jobs: Jobs, error: BaseException) -> None:
        """See to a job that ended in an error: it ends the run, is done again, or is cut to find the item at fault."""
        if is_fatal(error):
            raise error
        killed = isinstance(error, KilledWorker)
        if is_lost(error) and not (killed and flight.job.is_suspect):
            self._lose(flight, jobs, said(error), is_suspect=killed)
            return
        rows = tuple(unit.row for unit in flight.units)
        if len(rows) > 1:
            emit(self._listeners, ChunkLost(flight.job.chunk, flight.job.attempt, f"{said(error)}; trying halves"))
            jobs.put(flight.job.halves(rows))
            return
        receipt = record_failed(self._store, Chunk(flight.job.chunk, self._options.only), flight.units[0], error=error)
        jobs.finish(flight.job)
        self._tell(receipt, flight, jobs.left)

    def _lose(self, flight: _Flight, jobs: Jobs, reason: str, *, is_suspect: bool) -> None:
        """Do a job again whose tasks were lost with their workers."""
        self.watch.check()
        job = flight.job
        if job.losses >= MOST_LOSSES:
            fix = "see the workers' logs (memory is the usual cause), then resume"
            raise EngineError(
                f"chunk {job.chunk}", value=job.losses, reason=f"its tasks were lost each time: {reason}", fix=fix
            )
        self.report.lost += 1
        emit(self._listeners, ChunkLost(job.chunk, job.attempt, reason))
        jobs.put(job.again(is_suspect=is_suspect))

    def _cancel(self) -> None:
        """Let go of all that is in flight."""
        futures = [flight.future for flight in self._flying.values()]
        self._flying.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, asynchronous=False)


def plan_labels(plan: Plan) -> tuple[str, ...]:
    """Names of the plan's models."""
    return plan.recipe.labels
