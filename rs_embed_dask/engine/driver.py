"""A run: computing what is left to do in a store, on the caller's cluster or a local one."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator, Set as AbstractSet
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from distributed import KilledWorker
from distributed.client import ClosedClientError

from rs_embed_dask.engine.areas import RunAreas
from rs_embed_dask.engine.clusters import check_reach, client_for
from rs_embed_dask.engine.embedder import BATCH_S, items_within
from rs_embed_dask.engine.estimate import Figures
from rs_embed_dask.engine.graph import ChunkTask, GraphMaker, put_results
from rs_embed_dask.engine.measuring import GROUP, Measured, keep_settled, measure
from rs_embed_dask.engine.position_plan import settled_positions
from rs_embed_dask.engine.progress import listeners_for
from rs_embed_dask.engine.reading import RunBoard, error_line, is_fatal, is_lost
from rs_embed_dask.engine.receipts import keep
from rs_embed_dask.engine.report import (
    ChunkDone,
    ChunkLost,
    ChunkReceipt,
    Listener,
    ModelLoaded,
    RunFinished,
    RunReport,
    RunStarted,
    emit,
)
from rs_embed_dask.engine.stages import Outcome, Unit, chunk_result
from rs_embed_dask.engine.warm import crew_of, warm_up
from rs_embed_dask.engine.watch import Options, Watch
from rs_embed_dask.errors import EngineError, ModelError, ProviderError, RsEmbedError
from rs_embed_dask.specs.positions import AUTO
from rs_embed_dask.store import ALL_CHUNKS, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

    from rs_embed_dask.engine.clusters import Connection
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.store import ChunkRange, Item, Store

__all__ = [
    "MOST_LOSSES",
    "Driver",
    "Job",
    "Jobs",
    "is_finished",
    "nothing_left",
    "record_failed",
    "run_plan",
    "units_of",
]


def record_failed(store: Store, chunk: ChunkTask, unit: Unit, *, error: BaseException) -> ChunkReceipt:
    """Store an item as failed for every model that was to embed it."""
    outcome = _outcome(error)
    receipt = ChunkReceipt(chunk.number)
    results = {}
    for label in unit.labels:
        receipt.add_outcome(unit, label, outcome)
        results[label] = chunk_result([unit], [outcome], store.layout(label).frames)
    put_results(store, chunk, results)
    return receipt


def _outcome(error: BaseException) -> Outcome:
    """Attribute a failure to the read or to the model, by the key of the task that was killed or that raised."""
    stage = str(getattr(error, "task", ""))
    is_embedding = "rs-embed-" in stage
    if is_lost(error):
        reason = f"its {'embedding' if is_embedding else 'read'} kills the worker it runs on ({error_line(error)})"
        fix = "give workers more memory, or leave the item out"
    else:
        reason, fix = f"its task raised {error_line(error)}", "report it; the other items are not affected"
    failed: RsEmbedError
    if is_embedding:
        failed = ModelError("embedding", reason=reason, fix=fix)
        return Outcome(Status.MODEL_FAILED, error=failed)
    failed = ProviderError("read", reason=reason, fix=fix)
    return Outcome(Status.READ_FAILED, error=failed)


MOST_LOSSES: Final = 20


@dataclass(frozen=True)
class Job:
    """Work on one chunk: on all its open rows, or some of them."""

    # A job whose tasks killed a worker is a suspect: it runs alone, so that no other job loses its worker, and is
    # halved until one item is left, which is the one at fault.

    chunk: int
    rows: tuple[int, ...] | None = None
    attempt: int = 1
    losses: int = 0
    is_suspect: bool = False
    rest: tuple[tuple[int, ...], ...] = ()

    def again(self, *, is_suspect: bool = False) -> Job:
        """Return the same job for another attempt, after its tasks were lost."""
        suspect = is_suspect or self.is_suspect
        return replace(self, attempt=self.attempt + 1, losses=self.losses + 1, is_suspect=suspect)

    def first(self, count: int, rows: tuple[int, ...]) -> Job:
        """Return the first of the rows, with the others to follow."""
        return replace(self, rows=rows[:count], rest=(rows[count:], *self.rest))

    def halves(self, rows: tuple[int, ...]) -> Job:
        """Return the first half of the rows for another attempt, with the second to follow."""
        return replace(self.first(len(rows) // 2, rows), attempt=self.attempt + 1)

    def next(self) -> Job | None:
        """Return the next job of the same chunk."""
        if not self.rest:
            return None
        return replace(self, rows=self.rest[0], attempt=self.attempt + 1, rest=self.rest[1:])


class Jobs:
    """The chunks with something to do: lost ones first, new ones next, suspects last and alone."""

    def __init__(self, chunks: np.ndarray[Any, Any]) -> None:
        self._new: Iterator[int] = iter(chunks.tolist())
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self.left = len(chunks)

    def take(self, *, is_idle: bool) -> Job | None:
        """Return the next job that may start."""
        if self._again:
            return self._again.popleft()
        chunk = next(self._new, None)
        if chunk is not None:
            return Job(chunk)
        return self._suspects.popleft() if self._suspects and is_idle else None

    def put(self, job: Job) -> None:
        """Queue a job for another attempt."""
        (self._suspects if job.is_suspect else self._again).append(job)

    def finish(self, job: Job) -> None:
        """Mark a job as done, and queue the rest of its chunk."""
        after = job.next()
        if after is None:
            self.left -= 1
        elif after.is_suspect:
            self._suspects.appendleft(after)
        else:
            self._again.append(after)


def units_of(store: Store, job: Job, labels: tuple[str, ...], *, only: AbstractSet[Status] | None) -> list[Unit]:
    """Find the items of a job that are still to compute; only this chunk is read from the store."""
    open_rows = {label: frozenset(store.pending_rows(job.chunk, label, only=only).tolist()) for label in labels}
    items: Mapping[int, Item] = dict(enumerate(store.items(job.chunk)))
    rows = sorted(frozenset().union(*open_rows.values())) if job.rows is None else job.rows
    todo = [(row, tuple(label for label in labels if row in open_rows[label])) for row in rows]
    return [Unit(row, items[row], missing) for row, missing in todo if missing]


_TICK_S: Final = 1.0
_JOB_S: Final = 5.0
"""Device time after which results are written: what is in memory is lost with its worker."""
# Near the best, which is the root of what a write costs, a tenth of a second, times what lies between two losses of a
# worker, five minutes; for as jobs overlap, a worker loses about one. Chunks that take less are written at once.
_JOB_ITEMS: Final = 2
"""Items that a device has at least, where there are fewer chunks than devices: one in hand, and the next."""


@dataclass(frozen=True, eq=False)
class _Flight:
    """A job that was submitted."""

    job: Job
    units: list[Unit]
    future: Any
    started: float


_NOWHERE: Final = RunAreas()


class Driver:
    """One run on one cluster."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        client: Client,
        *,
        options: Options,
        listeners: tuple[Listener, ...],
        areas: RunAreas = _NOWHERE,
    ) -> None:
        self._plan = plan
        self._store = store
        self._client: Any = client
        self._options = options
        self._listeners = listeners
        self._areas = areas
        self._graphs = GraphMaker(plan.recipe, store, areas=areas)
        self._held: dict[int, tuple[frozenset[str], Any]] = {}
        self._flying: dict[object, _Flight] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.watch = Watch(client, listeners, str(store.target), options.guard)
        self.report = RunReport(plan.figures, store=str(store.target))

    def run(self, jobs: Jobs) -> RunReport:
        """Run all jobs."""
        started = time.perf_counter()
        is_over = False
        try:
            self.watch.reach()
            self.report.load_seconds = warm_up(self._client, self._graphs.parcel, self.watch.placement)
            self._settle_positions()
            self._fill(jobs)
            while self._flying:
                self._land(jobs)
                self._fill(jobs)
            is_over = True
            if self.watch.lost or self.report.lost:
                self._store.location.leftovers(remove=True)
        except (OSError, ClosedClientError) as error:
            raise self.watch.gone() from error
        except KeyboardInterrupt as stop:
            target = self._store.target
            stop.add_note(f"What is done is stored in {target}; continue by resume({str(target)!r}) or the same call.")
            raise
        finally:
            self._cancel()
            self.report.close(time.perf_counter() - started, workers_lost=self.watch.lost, is_over=is_over)
            emit(self._listeners, RunFinished(self.report, interrupted=not is_over))
        return self.report

    def _settle_positions(self) -> None:
        """Decide before the first row is written what is taken from grids, measuring it where nothing is known."""
        plans, store = self._plan.positions, self._store
        if not plans:
            return
        unknown = {label: one for label, one in plans.items() if one.decision is None}
        measured = Measured()
        if unknown:
            output = replace(self._plan.recipe.output, positions=AUTO)  # embedders then return whole windows too
            graphs = GraphMaker(replace(self._plan.recipe, output=output), store, areas=self._areas)
            measured = measure(self._client, unknown, watch=self.watch, graphs=graphs, at_once=self._limit(GROUP))
        self._options.guard()
        keep_settled(store, plans, measured)
        settled = settled_positions(store)
        start, stop = self._options.chunks
        removed = {label: one.table for label, one in settled.items() if one.decision.removed and one.table is not None}
        self.report.positions = {label: one.decision.statement for label, one in settled.items()}
        own = {row: held for row, held in measured.held.items() if start <= row // store.chunk_items < (stop or np.inf)}
        self._held = own  # what other runs write is embedded there again
        self._graphs = GraphMaker(self._plan.recipe, store, removed, areas=self._areas)

    # ------------------------------------------------------------------------------------------------------- submission
    def _limit(self, items: int) -> int:
        """Return how many times so many items may be in flight."""
        return self._options.window.limit(
            self.watch.look(),
            chunk_items=items,
            chunk_bytes=self._plan.figures.item_bytes * items,
            batch_items=items_within(BATCH_S, self.report.item_seconds, at_most=self._plan.recipe.batch_items),
        )

    def _job_items(self, chunks: int) -> int:
        """Return about how many items of a chunk are written at once, where so many chunks are left."""
        most = self._store.chunk_items
        # Parts of a chunk follow one another, so that a few chunks in short parts would leave many devices idle.
        busy = -(-_JOB_ITEMS * self.watch.look().embedders // max(1, chunks))
        return max(items_within(_JOB_S, self.report.item_seconds, at_most=most), min(busy, most))

    def _fill(self, jobs: Jobs) -> None:
        """Submit jobs while there is room in the window."""
        self._options.guard()
        limit = self._limit(self._job_items(jobs.left))
        while len(self._flying) < limit and not any(flight.job.is_suspect for flight in self._flying.values()):
            job = jobs.take(is_idle=not self._flying)
            if job is None:
                return
            self._submit(job, jobs)

    def _submit(self, job: Job, jobs: Jobs) -> None:
        units = units_of(self._store, job, self._plan.recipe.labels, only=self._options.only)
        if not units:
            jobs.finish(job)
            return
        if (parts := round(len(units) / self._job_items(jobs.left))) > 1:
            count = -(-len(units) // parts)
            job, units = job.first(count, tuple(unit.row for unit in units)), units[:count]
        chunk, held = ChunkTask(job.chunk, self._options.only), self._held_for(units)
        graph = self._graphs.graph(chunk, units, attempt=job.attempt, placement=self.watch.placement, held=held)
        future = self._client.compute(graph, optimize_graph=False, traverse=False, fifo_timeout="0s")
        self._flying[future.key] = _Flight(job, units, future, time.perf_counter())
        future.add_done_callback(self._landed.put)

    def _held_for(self, units: list[Unit]) -> dict[int, Any]:
        """Take what the first pass has embedded of some items, for every model that they need, once."""
        held = {}
        for unit in units:
            labels, future = self._held.pop(unit.item.index, (frozenset(), None))
            if future is not None and labels.issuperset(unit.only(self._plan.recipe.entry).labels):
                held[unit.row] = future
        return held

    # ------------------------------------------------------------------------------------------------------- completion
    def _land(self, jobs: Jobs) -> None:
        """Wait for one job to end, and handle it."""
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
        """Handle a job that ended: finished, failed or lost."""
        future = flight.future
        try:
            error = future.exception() if future.status == "error" else None
            result = future.result() if future.status == "finished" else None
        except (OSError, CancelledError) as broken:
            error = broken
        if error is not None:
            self._recover(flight, jobs, error)
        elif result is None:
            self._lose(flight, jobs, f"its task was {future.status}", is_suspect=False)
        else:
            self._finish(flight, jobs, result)

    def _finish(self, flight: _Flight, jobs: Jobs, result: Any) -> None:
        receipt: ChunkReceipt = result
        if not self._graphs.is_remote:  # a store in this process's memory, which workers cannot write to
            results, receipt = result
            put_results(self._store, ChunkTask(flight.job.chunk, self._options.only), results)
        jobs.finish(flight.job)
        self._record(receipt, flight, jobs.left)

    def _record(self, receipt: ChunkReceipt, flight: _Flight, left: int) -> None:
        """Count a chunk that is stored, and emit its events."""
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
            read_bytes=receipt.totals.read_bytes,
            left=left,
        )
        emit(self._listeners, done)

    # --------------------------------------------------------------------------------------------------------- failures
    def _recover(self, flight: _Flight, jobs: Jobs, error: BaseException) -> None:
        """Handle an error: it ends the run, or the job is repeated, or halved to isolate the item at fault."""
        if is_fatal(error):
            raise error
        killed = isinstance(error, KilledWorker)
        if is_lost(error) and not (killed and flight.job.is_suspect):
            self._lose(flight, jobs, error_line(error), is_suspect=killed)
            return
        rows = tuple(unit.row for unit in flight.units)
        if len(rows) > 1:
            reason = f"{error_line(error)}; trying halves"
            emit(self._listeners, ChunkLost(flight.job.chunk, flight.job.attempt, reason))
            jobs.put(flight.job.halves(rows))
            return
        receipt = record_failed(
            self._store, ChunkTask(flight.job.chunk, self._options.only), flight.units[0], error=error
        )
        jobs.finish(flight.job)
        self._record(receipt, flight, jobs.left)

    def _lose(self, flight: _Flight, jobs: Jobs, reason: str, *, is_suspect: bool) -> None:
        """Queue a job again whose tasks were lost with their workers."""
        # A lost scheduler loses every task: then the run ends here instead of counting losses.
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
        """Cancel all that is in flight."""
        futures = [flight.future for flight in self._flying.values()]
        self._flying.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, asynchronous=False)


def run_plan(plan: Plan, store: Store, client: Connection = None, *, options: Options | None = None) -> RunReport:
    """Compute everything that is not done in a store."""
    chosen = options or Options()
    rows = {label: store.open_rows(label, only=chosen.only, chunks=chosen.chunks) for label in plan.recipe.labels}
    todo = {label: np.unique(each // store.chunk_items) for label, each in rows.items()}
    chunks = np.unique(np.concatenate(list(todo.values())))
    if not len(chunks):
        return nothing_left(store, chosen, plan.figures)
    left = plan.figures.part({label: len(each) / store.n_items for label, each in rows.items()}, len(chunks))
    with ExitStack() as stack:
        listeners = (*listeners_for(chosen.progress, stack), *chosen.listeners)
        connected = client_for(client, stack)
        check_reach(store.location, connected, comes_back=True)
        open_rows = np.unique(np.concatenate(list(rows.values())))
        areas = RunAreas.within(store, open_rows) if plan.recipe.groups else RunAreas()
        driver = Driver(plan, store, connected, options=chosen, listeners=listeners, areas=areas)
        crew = crew_of(connected, plan.recipe, watch=driver.watch)
        driver.report.figures = left.on(crew)
        # Before the first read: a worker that is paused because its memory is full never resumes.
        driver.watch.workers.check_room(sum(entry.nbytes for entry in plan.recipe.models))
        driver.watch.workers.check_pixels(plan.figures.item_bytes)
        started = RunStarted(
            store=str(store.target),
            items=store.n_items,
            chunks=len(chunks),
            todo={label: len(pending) for label, pending in todo.items()},
            workers=len(driver.watch.workers.addresses),
            dashboard=connected.dashboard_link or "",
            plan=replace(plan, figures=driver.report.figures),
        )
        emit(listeners, started)
        driver.watch.services = plan.recipe.services(label for label, pending in todo.items() if len(pending))
        with _searches_kept(driver.report, store), RunBoard(areas.name).hearing(connected, driver.report.searches.add):
            report = driver.run(Jobs(chunks))
        keep(left.work, crew, report.spent)
        return report


@contextmanager
def _searches_kept(report: RunReport, store: Store) -> Iterator[None]:
    """Add to the receipt what catalogues were asked, however the run ends."""
    try:
        yield
    finally:
        if report.searches.searches:
            store.update_receipt(searches=report.searches.after)


def is_finished(store: Store, only: AbstractSet[Status] | None = None, *, chunks: ChunkRange = ALL_CHUNKS) -> bool:
    """Whether no item of a store, or of some of its chunks, is left to do, from its status arrays alone."""
    return not any(len(store.open_rows(label, only=only, chunks=chunks)) for label in store.labels)


def nothing_left(store: Store, options: Options, figures: Figures | None = None) -> RunReport:
    """Report a run with nothing to do."""
    report = RunReport(figures or Figures.nothing(), store=str(store.target))
    with ExitStack() as stack:
        emit((*listeners_for(options.progress, stack), *options.listeners), RunFinished(report))
    return report
