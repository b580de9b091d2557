"""A map from its request to its store: blocks that are still to do, one stream per group and span."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from distributed.client import ClosedClientError

from rs_embed_dask.engine.clusters import check_reach, client_for
from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.outlook import check_faults
from rs_embed_dask.engine.positions import Decision, decide
from rs_embed_dask.engine.progress import listeners_for
from rs_embed_dask.engine.reading import RunBoard
from rs_embed_dask.engine.receipts import keep
from rs_embed_dask.engine.report import ChunkDone, RunFinished, RunStarted, emit
from rs_embed_dask.engine.warm import crew_of, warm_up
from rs_embed_dask.engine.watch import Options, Watch
from rs_embed_dask.maps.acquired import dated_recipe
from rs_embed_dask.maps.areas import in_areas
from rs_embed_dask.maps.estimate import plan_of
from rs_embed_dask.maps.first import FirstPass, measure
from rs_embed_dask.maps.graph import MapJob
from rs_embed_dask.maps.kept import ScoreKeeper, keep_decisions, region_of, temporals_of, was_decided
from rs_embed_dask.maps.report import MapReport
from rs_embed_dask.maps.request import MapRun
from rs_embed_dask.maps.stream import MEMORY_IF_UNKNOWN, FirstReads, MapCluster, stream
from rs_embed_dask.maps.topup import store_for
from rs_embed_dask.maps.writer import MapWriter
from rs_embed_dask.providers.vicinity import noting
from rs_embed_dask.specs.positions import OWN_SURROUNDINGS
from rs_embed_dask.store import Location, MapStore, leased
from rs_embed_dask.store.accessor import REPORT
from rs_embed_dask.store.document import now
from rs_embed_dask.store.export.preview import PREVIEW, build_preview
from rs_embed_dask.store.map_arrays import map_vacancy
from rs_embed_dask.store.map_layout import BlockResult, MapGroup
from rs_embed_dask.store.verify import mend_lost_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rs_embed_dask.engine.clusters import Connection
    from rs_embed_dask.engine.report import Listener
    from rs_embed_dask.maps.graph import BlockReceipt
    from rs_embed_dask.maps.lattice import Lattice
    from rs_embed_dask.maps.passes import MapModel, MapPass
    from rs_embed_dask.maps.plan import MapPlan
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store import Lease
    from rs_embed_dask.store.document import Target

__all__ = ["compute", "compute_store", "made_map"]

_TILES_PER_SLOT: Final = 2
_MEMORY_SHARE: Final = 0.3


def compute(
    run: MapRun,
    out: Target,
    *,
    client: Connection = None,
    options: Options | None = None,
    plan: MapPlan | None = None,
    wait: float = 0.0,
) -> MapReport:
    """Compute what a map at `out` still lacks; it is made if it is not there. `plan` is shown when the run begins."""
    check_faults(list(run.chosen.values()), is_here=client is None)
    chosen = options or Options()
    with made_map(run, out, wait=wait, guard=chosen.guard) as (store, lease):
        return compute_store(run, store, client=client, options=chosen.guarded(lease.check), plan=plan)


@contextmanager
def made_map(
    run: MapRun, out: Target, *, wait: float, guard: Callable[[], None] = lambda: None
) -> Iterator[tuple[MapStore, Lease]]:
    """Make the map at `out`, or add to it what it lacks, and hold its lease."""
    location = Location.of(out)
    if not MapStore.exists(out):
        map_vacancy(location)  # before the lease puts anything there
    with leased(location, wait=wait, guard=guard) as lease:
        store = store_for(run, out)
        if store.receipt.get(PREVIEW, False) != run.has_preview:
            store.update_receipt(**{PREVIEW: run.has_preview})  # for whoever continues
        yield store, lease


def compute_store(
    run: MapRun, store: MapStore, *, client: Connection, options: Options, plan: MapPlan | None = None
) -> MapReport:
    """Compute what is left to do in a map, of the models of a run; the caller holds its lease."""
    mend_lost_blocks(store)
    report = _computed(run, store, client=client, options=options, plan=plan)
    # Last, for it lists what it makes in the root document, which this store has read before.
    if store.receipt.get(PREVIEW) and (report.counts or not _has_previews(store)):
        build_preview(store.location)
    return report


def _has_previews(store: MapStore) -> bool:
    return all(f"{label}/{PREVIEW}" in store.document.metadata for label in store.labels)


def _computed(run: MapRun, store: MapStore, *, client: Connection, options: Options, plan: MapPlan | None) -> MapReport:
    todo = [(models, list(run.pending(store, models, only=options.only))) for models in run.passes]
    by_label: Counter[str] = Counter()
    for _, listed in todo:
        for work, _ in listed:
            by_label.update({label: len(blocks) for label, blocks in work.wanted.items()})
    left = by_label.total()
    report = MapReport(store.location.name, left=left)
    with ExitStack() as stack:
        listeners = (*listeners_for(options.progress, stack), *options.listeners)
        if not left:
            emit(listeners, RunFinished(report))
            return report
        connected: Any = client_for(client, stack)
        check_reach(store.location, connected)
        watch = Watch(connected, listeners, report.store, options.guard)
        watch.services = run.recipe.services(by_label)
        watch.workers.check_room(sum(entry.nbytes for entry in run.recipe.models))
        workers, page = len(watch.workers.addresses), connected.dashboard_link or ""
        crew = crew_of(connected, run.recipe, watch=watch)
        report.plan = (plan or plan_of(run)).part(by_label).on(crew)
        emit(listeners, RunStarted(report.store, left, left, by_label, workers, page, report.plan, unit="block"))
        areas, works = in_areas(todo)
        stack.enter_context(RunBoard(areas.name).hearing(connected, report.searches.add))
        _Making(run, store, report, where=(connected, watch), listeners=listeners, options=options).run(works)
    keep(report.plan.work, crew, report.spent)
    options.guard()
    store.update_receipt(**{REPORT: report.against_plan.to_dict()})
    return report


class _Making:
    """One run of a map."""

    def __init__(
        self,
        run: MapRun,
        store: MapStore,
        report: MapReport,
        *,
        where: tuple[Any, Watch],
        listeners: tuple[Listener, ...],
        options: Options,
    ) -> None:
        self._run, self._store, self._report = run, store, report
        (self._client, self._watch), self._listeners = where, listeners
        self._guard, self._only = options.guard, options.only
        self._left = 0
        self._scores = ScoreKeeper(store)
        self._temporals = temporals_of(store)

    def run(self, todo: Sequence[tuple[tuple[MapModel, ...], Sequence[tuple[MapPass, int]]]]) -> None:
        """Compute all that is to do; what passed by is kept however the run ends."""
        started, is_over = time.perf_counter(), False
        report = self._report
        self._left = sum(len(blocks) for _, works in todo for work, _ in works for blocks in work.wanted.values())
        try:
            self._watch.reach()
            recipe = SharedValue.of(self._run.recipe)
            report.load_seconds = warm_up(self._client, recipe, self._watch.placement)
            for models, works in todo:
                self._compute_pass(models, works)
            is_over = True
            if self._watch.lost or report.lost:
                self._store.location.leftovers(remove=True)
        except (OSError, ClosedClientError) as error:
            raise self._watch.gone() from error
        except KeyboardInterrupt as stop:
            stop.add_note(f"What is done is stored; continue by resume({report.store!r}) or the same call.")
            raise
        finally:
            report.seconds, report.workers_lost = time.perf_counter() - started, self._watch.lost
            report.ended, report.is_over = now(), is_over
            try:
                self._keep()
            finally:
                emit(self._listeners, RunFinished(report, interrupted=not is_over))

    def _keep(self) -> None:
        """Write down what passed by, unless another run has taken over, whose receipt this would replace."""
        self._guard()
        report, store = self._report, self._store
        self._scores.keep()
        losses = {label: {"mean": one.mean, "worst": one.worst} for label, one in report.losses.items()}
        kept = {"weights": report.weights, "losses": losses, "scores": self._scores.facts}
        merged = {name: store.receipt.get(name, {}) | new for name, new in kept.items() if new}
        asked = {"searches": report.searches.after} if report.searches.searches else {}
        store.update_receipt(**merged, **asked)

    def _done(self, group: str, time: int, receipt: BlockReceipt) -> None:
        self._guard()
        self._left -= 1
        self._report.add(receipt)
        self._scores.add(receipt, group, time)
        counts = {receipt.label: {receipt.status: 1}}
        emit(self._listeners, ChunkDone(0, 1, counts, receipt.embed_seconds, 0, self._left))

    def _compute_pass(self, models: tuple[MapModel, ...], works: Sequence[tuple[MapPass, int]]) -> None:
        """Compute the models that share their reads: the first pass where it is needed, then group after group."""
        if not works:
            return
        run, region = self._run, region_of(self._store)
        at_once = partial(_at_once, self._watch, run.tile_bytes(works[0][0]))
        cluster = MapCluster(self._client, self._watch, at_once, self._watch.look().memory)
        removed, first = self._positions(models, works, cluster=cluster)
        for work, number in works:
            writer = MapWriter(self._store, region, self._lattices(work), number, self._only)
            tables = {label: removed[label] for label in work.wanted if label in removed}
            job = replace(self._job(work, number), removed=tables)
            group = work.lattice.group
            # The first pass read one span; the others have pixels of their own.
            reads = first.pop(group, None) if number == works[0][1] else None
            done = partial(self._done, group, number)
            lost = stream(cluster, work, job, writer=writer, done=done, first=reads)
            for (label, block), (status, reason) in lost.items():
                writer.give_up(label, block, BlockResult(status, reason=reason))
                self._report.give_up(label, block, status=status, reason=reason)

    def _positions(
        self, models: tuple[MapModel, ...], works: Sequence[tuple[MapPass, int]], *, cluster: MapCluster
    ) -> tuple[dict[str, Any], dict[str, FirstReads]]:
        """Return what is taken from each model's windows, and the reads of the first pass."""
        run, mode = self._run, self._store.request["positions"]
        tables = {one.label: table for one in models if (table := self._store.table(one.label)) is not None}
        unknown = [one for one in models if one.label not in tables and run.has_windows(one) and mode != "kept"]
        unknown = [one for one in unknown if not was_decided(self._store, one.label)]
        first = FirstPass()
        if unknown:
            number = works[0][1]
            passes = {work.lattice.group: (work, self._job(work, number)) for work, at in works if at == number}
            first = measure(cluster, passes, unknown)
            tables |= {label: sums.table(**run.about(run.models[label])) for label, sums in first.sums.items()}
        decisions = {one.label: self._decision(one, tables.get(one.label), mode) for one in models}
        keep_decisions(self._store, tables, decisions)
        return {label: tables[label].mean for label, one in decisions.items() if one.removed}, first.reads

    def _job(self, work: MapPass, number: int) -> MapJob:
        """Return what the tasks of a pass need to know; its frames are those of the map, whoever asks first."""
        temporal = self._temporals[number]
        with noting() as made:
            recipe = dated_recipe(self._run.recipe, self._store, work, temporal=temporal)
        self._report.searches.add(made)
        return MapJob(recipe, work.lattice, temporal, tuple(work.wanted))

    def _decision(self, one: MapModel, table: PositionTable | None, mode: str) -> Decision:
        if self._run.has_windows(one):
            return decide(table, mode)
        return Decision(False, f"positions kept: every token is {OWN_SURROUNDINGS}")

    def _lattices(self, work: MapPass) -> dict[str, Lattice]:
        group = MapGroup.from_dict(work.lattice.to_dict())
        return {one.label: self._run.lattice(group, one) for one in work.models}


def _at_once(watch: Watch, tile_bytes: int) -> int:
    """Return how many tiles may be in flight: enough for every read slot, as far as memory allows."""
    workers = watch.look()
    room = int(_MEMORY_SHARE * (workers.memory or MEMORY_IF_UNKNOWN)) // max(1, tile_bytes)
    return max(1, min(_TILES_PER_SLOT * workers.fetch_slots, room))
