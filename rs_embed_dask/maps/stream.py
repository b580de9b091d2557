"""Streaming a pass of a map through a cluster: a bounded number of tiles at once, and strips held between them."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dask.tokenize import tokenize
from distributed.client import ClosedClientError

from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.reading import error_line, is_fatal
from rs_embed_dask.maps.graph import BlockReceipt, Key, MapJob, TileGraph
from rs_embed_dask.maps.positions import stratified
from rs_embed_dask.maps.scoring import LATTICE_BLOCKS
from rs_embed_dask.maps.windows import BlockIndex

if TYPE_CHECKING:
    from rs_embed_dask.engine.watch import Watch
    from rs_embed_dask.maps.graph import BlockWriter
    from rs_embed_dask.maps.passes import MapPass

__all__ = ["WIDEST_BAND", "MapCluster", "bands", "stream"]

WIDEST_BAND: Final = 32
"""Blocks per row that are streamed at once: what is held between tiles grows with it, not with the region."""

ROUNDS: Final = 3
_TICK_S: Final = 1.0


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


@dataclass(frozen=True, eq=False)
class MapCluster:
    """Where a map is computed: a client, the watch over its workers, and how many tiles may be in flight."""

    client: Any
    watch: Watch
    at_once: Callable[[], int]


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
        self.lost: dict[tuple[str, BlockIndex], str] = {}

    def run(self, done: Callable[[BlockReceipt], None]) -> None:
        """Stream every tile of the band."""
        try:
            for tile in self._graphs.work.order:
                while len({flight.tile for flight in self._flying.values()}) >= self._at_once():
                    self._land(done)
                self._submit(tile)
            while self._flying:
                self._land(done)
        except (OSError, ClosedClientError) as error:
            raise self._watch.gone() from error
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
        try:
            error = future.exception() if future.status == "error" else None
            receipt = future.result() if future.status == "finished" else None
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
        self.lost[flight.label, flight.tile] = "its task was cancelled" if error is None else error_line(error)

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
    there: dict[BlockIndex, Any] | None = None,
) -> dict[tuple[str, BlockIndex], str]:
    """Compute the blocks of a pass; those that were lost each time are returned with the last reason.

    `there` holds reads that were made before, by tile; each is taken out and released once it is used.
    """
    held = {} if there is None else there
    shared_job, shared_writer = SharedValue.of(job), SharedValue.of(writer)
    alone = replace(cluster, at_once=_one)
    sampled = {
        label: frozenset(block for _, block in stratified({"": some}, LATTICE_BLOCKS))
        for label, some in work.wanted.items()
    }
    lost: dict[tuple[str, BlockIndex], str] = {}
    for attempt in range(ROUNDS):
        # The last round takes one tile at a time: a tile that kills its worker then takes no other with it.
        where = cluster if attempt < ROUNDS - 1 else alone
        todo = work if not attempt else _only(work, lost)
        lost = {}
        for band in bands(todo):
            token = tokenize(shared_job.digest, shared_writer.digest, sorted(band.order), attempt)
            # At the edge of a band a tile reads more than it would inside: such reads are made anew.
            usable = {tile: held.pop(tile) for tile in band.order if tile in held}
            same = {tile: future for tile, future in usable.items() if band.source(tile) == work.source(tile)}
            run = _Stream(where, TileGraph(band, shared_job, shared_writer, token, same, sampled))
            run.run(done)
            for future in usable.values():
                future.release()
            lost |= run.lost
        if not lost:
            break
    return lost


def _one() -> int:
    return 1


def _only(work: MapPass, blocks: Iterable[tuple[str, BlockIndex]]) -> MapPass:
    """Keep some blocks of a pass."""
    listed = set(blocks)
    wanted = {label: frozenset(tile for tile in some if (label, tile) in listed) for label, some in work.wanted.items()}
    return replace(work, wanted=wanted)
