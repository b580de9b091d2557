"""A map from its request to its store: lattices, blocks that are still to do, one stream per group and span."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.clusters import client_for
from rs_embed_dask.engine.driver import warm_up
from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.recipe import READ_RETRY, choose, recipe_for
from rs_embed_dask.engine.watch import Watch, stop_profiler
from rs_embed_dask.errors import PlanError, StoreMismatchError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.maps.first import FirstPass, measure
from rs_embed_dask.maps.graph import MapJob
from rs_embed_dask.maps.lattice import Lattice, lattice_for, lattice_of
from rs_embed_dask.maps.passes import MapModel, MapPass, models_of, shared
from rs_embed_dask.maps.positions import PASSED, PositionTable, decide
from rs_embed_dask.maps.precision import encode
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.stream import MapCluster, stream
from rs_embed_dask.maps.windows import BlockIndex
from rs_embed_dask.store import Status
from rs_embed_dask.store.map_layout import Asked, BlockKey, BlockResult, MapGroup, MapLayout
from rs_embed_dask.store.map_store import MapStore

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client

    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.maps.graph import BlockReceipt
    from rs_embed_dask.maps.positions import Decision
    from rs_embed_dask.maps.tiles import BlockField
    from rs_embed_dask.specs import TemporalSpec
    from rs_embed_dask.store.map_blocks import BlockSet
    from rs_embed_dask.store.map_layout import TimeSpan

__all__ = ["MapReport", "MapRequest", "MapRun", "compute"]

_TILES_PER_SLOT: Final = 2
_MEMORY_SHARE: Final = 0.3
_BYTES_PER_VALUE: Final = 4
_MEMORY_IF_UNKNOWN: Final = 2**31


@dataclass(frozen=True)
class MapRequest:
    """What a map is made of.

    Parameters
    ----------
    request : Request
        Models, provider and fetch settings.
    temporals : tuple of TemporalSpec
        One layer along ``time`` each.
    crs : object, default "utm"
        UTM zones, or one projection in metres.
    overlap : float
        Share of a window's side that the next window covers too.
    dtype : str
        "float16", "float32" or "int8".
    positions : "auto", "removed", "kept" or PositionTable
        Whether what the position in the window adds to a vector is taken away; see `positions.decide`. A table is
        used as it is.
    """

    request: Request
    temporals: tuple[TemporalSpec, ...]
    crs: object = "utm"
    overlap: float = 1 / 12
    dtype: str = "float16"
    positions: str | PositionTable = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, as the store keeps it: all that has to be equal when a map is continued."""
        return self.request.to_dict() | {"crs": str(self.crs), "overlap": self.overlap, "dtype": self.dtype}


@dataclass
class MapReport:
    """What happened in a run: blocks by status for each model, windows, and time."""

    store: str
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    embed_seconds: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    lost: dict[tuple[str, BlockIndex], str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, receipt: BlockReceipt) -> None:
        """Count a block that was written."""
        label = receipt.label
        self.counts.setdefault(label, Counter())[receipt.status] += 1
        self.windows[label] = self.windows.get(label, 0) + receipt.windows
        self.embed_seconds[label] = self.embed_seconds.get(label, 0.0) + receipt.embed_seconds
        if receipt.weights:
            self.weights[label] = receipt.weights


@dataclass(frozen=True)
class MapWriter:
    """Writes finished blocks of one group and span to the store."""

    store: MapStore
    region: Region
    lattices: Mapping[str, Lattice]
    time: int

    def write(self, label: str, block: BlockIndex, finished: BlockField) -> None:
        """Write a block: the tokens that its group owns, in the map's precision, with what was observed."""
        lattice = self.lattices[label]
        rect = lattice.rect(*block)
        key = BlockKey(label, lattice.group, self.time, *block)
        self.store.write_block(key, self._result(label, finished, lattice, rect))

    def _result(self, label: str, finished: BlockField, lattice: Lattice, rect: Any) -> BlockResult:
        quality = finished.quality
        result = BlockResult(
            status=finished.status,
            reason=finished.reason,
            coverage=self.region.coverage(lattice, rect),
        )
        if quality is not None:
            result.valid_fraction, result.n_obs = quality.valid_fraction, quality.n_obs
            result.first_date, result.last_date = quality.first_date, quality.last_date
        if finished.vectors is not None:
            vectors = finished.vectors.copy()
            vectors[:, ~lattice.owned(rect)] = float("nan")
            stored = encode(vectors, self.store.layout(label).dtype)
            result.embedding, result.scale = stored.values, stored.scale
        return result


class MapRun:
    """One region and request, resolved: models, lattices and recipe."""

    def __init__(self, region: Region, wanted: MapRequest, *, batch_items: int = 32) -> None:
        request = wanted.request
        if request.fetch.crs is not None:
            fix = "leave fetch.crs out, and give crs= to the map"
            raise PlanError("fetch.crs", value=request.fetch.crs, reason="a map has its own projection", fix=fix)
        chosen = choose(request)
        self.region, self.wanted = region, wanted
        self.recipe: Recipe = recipe_for(request, chosen, retry=READ_RETRY, batch_items=batch_items)
        self.passes = shared(models_of(chosen, request.prep, wanted.overlap))
        self.models = {one.label: one for models in self.passes for one in models}
        self.chosen = {one.spec.label: one for one in chosen}
        self.layouts = {
            label: MapLayout(
                label,
                one.dim,
                one.token_m,
                one.tiling.block,
                wanted.dtype,
                {"card": self.chosen[label].card.describe()},
            )
            for label, one in self.models.items()
        }

    @property
    def spans(self) -> tuple[TimeSpan, ...]:
        """First day and the day after the last of each span."""
        spans = [Span.of(one) for one in self.wanted.temporals]
        return tuple((span.start, span.end) for span in spans)

    def asked(self) -> list[Asked]:
        """Return the blocks of every model."""
        return [Asked(self.layouts[label], self.spans, self.blocks(label)) for label in self.models]

    def blocks(self, label: str) -> dict[MapGroup, BlockSet]:
        """Return the blocks of one model, by group."""
        one = self.models[label]
        lattices = self.region.lattices(one.token_m, one.tiling.block, self.wanted.crs)
        return {MapGroup.from_dict(lattice.to_dict()): self.region.blocks(lattice) for lattice in lattices}

    def lattice(self, group: MapGroup, one: MapModel, *, pixels: bool = False) -> Lattice:
        """Return the lattice of a model's tokens in a group, or of their pixels."""
        side, count = (one.pixel_m, one.block_px) if pixels else (one.token_m, one.tiling.block)
        is_chosen = not (isinstance(self.wanted.crs, str) and self.wanted.crs.lower() == "utm")
        return lattice_of(group.crs, side, count) if is_chosen else lattice_for(group.group, side, count)

    def about(self, one: MapModel) -> dict[str, Any]:
        """Return what a table of positions belongs to."""
        chosen = self.chosen[one.label]
        variant = chosen.card.variant_for(chosen.spec).name
        return {"model": chosen.card.id, "variant": variant, "patch_px": one.tiling.patch_px}

    def is_cellwise(self, label: str) -> bool:
        """Return whether a model has no windows: its vectors do not depend on where a window begins."""
        chosen = self.chosen[label]
        return chosen.card.resolved_inputs(chosen.spec)[0].native

    def pending(self, store: MapStore, models: tuple[MapModel, ...]) -> Iterator[tuple[MapPass, int]]:
        """Go through what is to compute of models that share their reads: one pass per group and span."""
        todo: dict[tuple[str, int], dict[str, frozenset[BlockIndex]]] = defaultdict(dict)
        groups: dict[str, MapGroup] = {}
        for one in models:
            for group, number, blocks in store.pending(one.label):
                todo[group.group, number][one.label] = frozenset(BlockIndex(*block) for block in blocks)
                groups[group.group] = group
        for (name, number), by_label in sorted(todo.items()):
            lattice = self.lattice(groups[name], models[0], pixels=True)
            there = tuple(one for one in models if one.label in by_label)
            yield MapPass(lattice, there, by_label), number

    def tile_bytes(self, work: MapPass) -> int:
        """Estimate the memory of one tile: its pixels, and its sums."""
        values = sum(
            len(group.bands) * len(group.frames.spans(self.wanted.temporals[0])) for group in self.recipe.groups
        )
        sums = sum(one.dim * one.tiling.block**2 for one in work.models)
        return _BYTES_PER_VALUE * (values * work.lattice.block**2 + 2 * sums)


def compute(run: MapRun, out: str | Path, *, client: Client | None = None, listeners: Sequence[Any] = ()) -> MapReport:
    """Compute what a map at `out` still lacks; it is made if it is not there."""
    store = _store(run, out)
    report = MapReport(str(out))
    started = time.perf_counter()
    with ExitStack() as stack:
        connected: Any = client_for(client, stack)
        stop_profiler(connected)
        watch = Watch(connected, tuple(listeners), str(out))
        warm_up(connected, SharedValue.of(run.recipe), watch.placement)
        for models in run.passes:
            _compute_pass(run, store, models, report=report, where=(connected, watch))
    report.seconds = time.perf_counter() - started
    if report.weights:
        store.update_receipt(weights=store.receipt.get("weights", {}) | report.weights)
    return report


def _compute_pass(
    run: MapRun, store: MapStore, models: tuple[MapModel, ...], *, report: MapReport, where: tuple[Any, Watch]
) -> None:
    """Compute the models that share their reads: the first pass where it is needed, then group after group."""
    connected, watch = where
    todo = list(run.pending(store, models))
    if not todo:
        return
    cluster = MapCluster(connected, watch, partial(_at_once, watch, run.tile_bytes(todo[0][0])))
    removed, pixels = _positions(run, store, models, todo=todo, cluster=cluster)
    for work, number in todo:
        writer = MapWriter(store, run.region, _lattices(run, work), number)
        job = MapJob(run.recipe, work.lattice, run.wanted.temporals[number], removed)
        group = work.lattice.group
        there = {tile: pixels.pop((group, tile)) for name, tile in list(pixels) if name == group}
        lost = stream(cluster, work, job, writer=writer, done=report.add, there=there)
        _record_lost(store, writer, lost)
        report.lost |= lost


def _positions(
    run: MapRun,
    store: MapStore,
    models: tuple[MapModel, ...],
    *,
    todo: Sequence[tuple[MapPass, int]],
    cluster: MapCluster,
) -> tuple[dict[str, Any], dict[tuple[str, BlockIndex], Any]]:
    """Return what is taken from each model's windows, and the reads of the first pass."""
    wanted = run.wanted.positions
    tables: dict[str, PositionTable] = {}
    for one in models:
        kept = store.positions(one.label)
        if kept is not None:
            tables[one.label] = PositionTable.from_dict(store.receipt["positions"][one.label]["table"], kept)
        elif isinstance(wanted, PositionTable) and run.about(one)["model"] == wanted.model:
            wanted.require(**run.about(one), dim=one.dim, window=one.tiling.window)
            tables[one.label] = replace(wanted, source=PASSED)
    mode = "removed" if isinstance(wanted, PositionTable) else wanted
    unknown = [one for one in models if one.label not in tables and one.tiling.window > 1 and not one.tiling.rim]
    unknown = [] if mode == "kept" else [one for one in unknown if not run.is_cellwise(one.label)]
    first = FirstPass()
    if unknown:
        number = todo[0][1]
        passes = {
            work.lattice.group: (work, MapJob(run.recipe, work.lattice, run.wanted.temporals[number]))
            for work, at in todo
            if at == number
        }
        first = measure(cluster, passes, unknown)
        tables |= {label: sums.table(**run.about(run.models[label])) for label, sums in first.sums.items()}
    decisions = {label: decide(table, mode) for label, table in tables.items()}
    _keep(store, tables, decisions)
    return {label: tables[label].mean for label, one in decisions.items() if one.removed}, first.pixels


def _keep(store: MapStore, tables: Mapping[str, PositionTable], decisions: Mapping[str, Decision]) -> None:
    """Write the tables, and what was decided, before the first block: scattered windows cannot be found again."""
    facts = dict(store.receipt.get("positions", {}))
    for label, table in tables.items():
        if store.positions(label) is None:
            store.keep_positions(label, table.mean)
        facts[label] = {"table": table.to_dict(), "statement": decisions[label].statement}
    if facts:
        store.update_receipt(positions=facts)


def _lattices(run: MapRun, work: MapPass) -> dict[str, Lattice]:
    group = MapGroup.from_dict(work.lattice.to_dict())
    return {one.label: run.lattice(group, one) for one in work.models}


def _at_once(watch: Watch, tile_bytes: int) -> int:
    """Return how many tiles may be in flight: enough for every read slot, as far as memory allows."""
    workers = watch.look()
    room = int(_MEMORY_SHARE * (workers.memory or _MEMORY_IF_UNKNOWN)) // max(1, tile_bytes)
    return max(1, min(_TILES_PER_SLOT * workers.fetch_slots, room))


def _record_lost(store: MapStore, writer: MapWriter, lost: Mapping[tuple[str, BlockIndex], str]) -> None:
    """Write why the blocks that were lost each time have no vectors."""
    for (label, block), reason in lost.items():
        key = BlockKey(label, writer.lattices[label].group, writer.time, *block)
        store.write_block(key, BlockResult(Status.MODEL_FAILED, reason=f"its tasks were lost each time: {reason}"))


def _store(run: MapRun, out: str | Path) -> MapStore:
    """Make the map's store, or add to the one that is there what it lacks."""
    request = run.wanted.to_dict() | {"region": run.region.to_dict()}
    asked = run.asked()
    if not MapStore.exists(out):
        return MapStore.create(out, asked, request=request)
    store = MapStore.open(out, mode="r+")
    for name in ("fetch", "prep", "crs", "overlap", "dtype", "provider"):
        if store.request.get(name) != request[name]:
            fix = "give the same, or choose another path"
            raise StoreMismatchError(
                f"map {name}", value=request[name], reason=f"it was made with {store.request.get(name)}", fix=fix
            )
    whole = Region.from_dict(store.request["region"]) | run.region
    store.top_up(asked, request=store.request | {"region": whole.to_dict()})
    return store
