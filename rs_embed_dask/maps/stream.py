"""Streaming a pass of a map through a cluster: a bounded number of tiles at once, and strips held between them."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dask.tokenize import tokenize

from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.reading import error_line, is_fatal
from rs_embed_dask.maps.graph import BlockReceipt, Key, MapJob, TileGraph
from rs_embed_dask.maps.positions import stratified
from rs_embed_dask.maps.scoring import LATTICE_BLOCKS
from rs_embed_dask.maps.windows import BlockIndex
from rs_embed_dask.providers.handed import HandsOn
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.engine.watch import Watch
    from rs_embed_dask.maps.graph import BlockWriter
    from rs_embed_dask.maps.passes import MapPass

__all__ = ["MEMORY_IF_UNKNOWN", "WIDEST_BAND", "FirstReads", "Lost", "MapCluster", "bands", "stream"]

WIDEST_BAND: Final = 32
"""Blocks per row that are streamed at once: what is held between tiles grows with it, not with the region."""

MEMORY_IF_UNKNOWN: Final = 2**31

ROUNDS: Final = 3
_HANDED_SHARE: Final = 0.25
_HANDED_BESIDE: Final = 8  # tiles in flight, whose bytes for the right are held too
_TICK_S: Final = 1.0

_STAGES: Final = {
    "bytes": (Status.READ_FAILED, "reading its pixels"),
    "pixels": (Status.READ_FAILED, "reading its pixels"),
    "sums": (Status.MODEL_FAILED, "embedding its windows"),
    "block": (Status.MODEL_FAILED, "blending and writing it"),
}
"""What a block becomes by the task that fails each time, and what that task did."""

Lost: TypeAlias = "dict[tuple[str, BlockIndex], tuple[Status, str]]"


def bands(work: MapPass) -> list[MapPass]:
    """Cut a pass into columns of blocks that are streamed one after the other."""
    if not work.order:
        return []
    first = min(tile.col for tile in work.order)
    columns = sorted({(block.col - first) // WIDEST_BAND for some in work.wanted.values() for block in some})
    return [
        replace(
            work,
            wanted={
                label: frozenset(block for block in some if (block.col - first) // WIDEST_BAND == column)
                for label, some in work.wanted.items()
            },
        )
        for column in columns
    ]


@dataclass(frozen=True, eq=False)
class _FlyingBlock:
    """A block that was submitted."""

    label: str
    tile: BlockIndex
    future: Any


class FirstReads(NamedTuple):
    """Pixels and bytes that the first pass brought, by tile."""

    pixels: dict[BlockIndex, Any]
    handed: dict[BlockIndex, Any]

    def take(self, tiles: Iterable[BlockIndex]) -> FirstReads:
        """Take those of some tiles out."""
        listed = set(tiles)
        return FirstReads(*({tile: some.pop(tile) for tile in listed & some.keys()} for some in self))

    def release(self) -> None:
        """Let go of all."""
        for some in self:
            for future in some.values():
                future.release()
            some.clear()


@dataclass(frozen=True, eq=False)
class MapCluster:
    """Where a map is computed: a client, the watch over its workers, and how many tiles may be in flight."""

    client: Any
    watch: Watch
    at_once: Callable[[], int]
    memory: int = 0

    def most_handed(self, provider: object, work: MapPass) -> int:
        """Return how many compressed bytes a tile may hand on: a row of tiles fits into a share of all memory."""
        if not isinstance(provider, HandsOn):
            return 0
        columns = min(WIDEST_BAND, len({tile.col for tile in work.order}))
        return int(_HANDED_SHARE * (self.memory or MEMORY_IF_UNKNOWN)) // (columns + _HANDED_BESIDE)


class _Stream:
    """One band on its way through the cluster."""

    def __init__(self, cluster: MapCluster, graphs: TileGraph) -> None:
        self._client = cluster.client
        self._watch = cluster.watch
        self._at_once = cluster.at_once
        self._graphs = graphs
        self._flying: dict[Key, _FlyingBlock] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._held: dict[Key, Any] = {}
        self._waiting_for: Counter[Key] = Counter()
        self.lost: Lost = {}

    def run(self, done: Callable[[BlockReceipt], None]) -> None:
        """Stream every tile of the band."""
        try:
            for tile in self._graphs.work.order:
                while len({flight.tile for flight in self._flying.values()}) >= self._at_once():
                    self._land(done)
                self._submit(tile)
            while self._flying:
                self._land(done)
        finally:
            self._release()

    def _submit(self, tile: BlockIndex) -> None:
        graph, blocks, strips = self._graphs.graph(tile, self._held, self._watch.placement)
        keys = [*blocks, *strips]
        futures = self._client.get(graph, keys, sync=False, optimize_graph=False, fifo_timeout="0s") if keys else []
        for key, future in zip(keys, futures, strict=True):
            if key in blocks:
                self._flying[key] = _FlyingBlock(blocks[key], tile, future)
                future.add_done_callback(self._landed.put)
            else:
                self._held[key] = future
                self._waiting_for[key] = strips[key]
        self._let_go(tile)

    def _let_go(self, tile: BlockIndex) -> None:
        """Release the strips whose last consumer has been submitted."""
        taken = self._graphs.taken(tile)
        for key in [key for key in taken if key in self._held]:
            self._waiting_for[key] -= 1
            if not self._waiting_for[key]:
                self._held.pop(key).release()
                del self._waiting_for[key]

    def _land(self, done: Callable[[BlockReceipt], None]) -> None:
        try:
            future = self._landed.get(timeout=_TICK_S)
        except queue.Empty:
            self._watch.look()
            return
        flight = self._flying.pop(future.key, None)
        if flight is None:
            return
        stage = ""
        try:
            error = future.exception() if future.status == "error" else None
            receipt = future.result() if future.status == "finished" else None
            stage = "" if error is None else self._stage(future.key)
        except (OSError, CancelledError) as broken:
            error, receipt = broken, None
        finally:
            future.release()
        if receipt is not None:
            done(receipt)
            return
        if error is not None and is_fatal(error):
            raise error
        self._watch.check()
        self.lost[flight.label, flight.tile] = _fate(stage, error)

    def _stage(self, key: Key) -> str:
        """Ask the scheduler which task is to blame for a block that failed; return what it did."""
        blamed = self._client.sync(self._client.scheduler.get_error_cause, keys=[key])
        name = str((blamed or key)[0])
        return next((stage for stage in _STAGES if name.startswith((f"rs-map-{stage}-", f"rs-map-first-{stage}-"))), "")

    def _release(self) -> None:
        futures = [*self._held.values(), *(flight.future for flight in self._flying.values())]
        self._held.clear()
        self._flying.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, asynchronous=False)


def stream(
    cluster: MapCluster,
    work: MapPass,
    job: MapJob,
    *,
    writer: BlockWriter,
    done: Callable[[BlockReceipt], None],
    first: FirstReads | None = None,
) -> Lost:
    """Compute the blocks of a pass; those that were lost each time are returned with what became of them.

    `first` holds what was read before; each is taken out and released once it is used.
    """
    before = FirstReads({}, {}) if first is None else first
    shared_job, shared_writer = SharedValue.of(job), SharedValue.of(writer)
    alone = replace(cluster, at_once=_one)
    sampled = {
        label: frozenset(block for _, block in stratified({"": some}, LATTICE_BLOCKS))
        for label, some in work.wanted.items()
    }
    lost: Lost = {}
    for attempt in range(ROUNDS):
        # The last round takes one tile at a time: a tile that kills its worker then takes no other with it.
        where = cluster if attempt < ROUNDS - 1 else alone
        todo = work if not attempt else _only(work, lost)
        lost = {}
        for band in bands(todo):
            token = tokenize(shared_job.digest, shared_writer.digest, sorted(band.order), attempt)
            # At the edge of a band a tile reads more than it would inside: such reads are made anew.
            usable = before.take(band.order)
            same = FirstReads(*({t: f for t, f in some.items() if band.source(t) == work.source(t)} for some in usable))
            limit = cluster.most_handed(job.recipe.provider, work)
            run = _Stream(where, TileGraph(band, shared_job, shared_writer, token, *same, limit, sampled))
            run.run(done)
            usable.release()
            lost |= run.lost
        if not lost:
            break
    return lost


def _fate(stage: str, error: BaseException | None) -> tuple[Status, str]:
    """Return the status of a block whose task of some stage failed each time, and why."""
    status, doing = _STAGES.get(stage, (Status.MODEL_FAILED, "finishing it"))
    what = "its task was cancelled" if error is None else error_line(error)
    return status, f"{doing} failed {ROUNDS} times: {what}"


def _one() -> int:
    return 1


def _only(work: MapPass, blocks: Iterable[tuple[str, BlockIndex]]) -> MapPass:
    """Keep some blocks of a pass."""
    listed = set(blocks)
    wanted = {label: frozenset(tile for tile in some if (label, tile) in listed) for label, some in work.wanted.items()}
    return replace(work, wanted=wanted)
