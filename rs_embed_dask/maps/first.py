"""The first pass of a map: what the position in the window adds to a vector, from blocks spread over the region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from distributed import secede

from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.positions import PositionSums
from rs_embed_dask.engine.reading import is_fatal
from rs_embed_dask.maps.graph import MapJob, bytes_task, pixels_task
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.positions import first_blocks, stratified
from rs_embed_dask.maps.stream import FirstReads
from rs_embed_dask.maps.tiles import TileArea, tile_vectors
from rs_embed_dask.maps.windows import EARLIER, BlockIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.maps.passes import MapModel, MapPass
    from rs_embed_dask.maps.pieces import PixelPart
    from rs_embed_dask.maps.stream import MapCluster

__all__ = ["FirstPass", "inside_area", "measure", "positions_task"]


@dataclass(eq=False)
class FirstPass:
    """What the first pass brought: sums by model, and the reads that the main pass need not repeat."""

    sums: dict[str, PositionSums] = field(default_factory=dict)
    reads: dict[str, FirstReads] = field(default_factory=dict)
    """By group."""


def positions_task(job: SharedValue, label: str, area: TileArea, pieces: Sequence[PixelPart]) -> PositionSums | None:
    """Add up the vectors of each position over the windows of a block; None where there are none."""
    opened: MapJob = job.open()
    vectors = tile_vectors(opened.recipe, label, area, pieces=pieces, leave=secede).vectors
    return None if vectors is None else PositionSums.of(_whole(vectors))


def _whole(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the windows in which every token has a vector, where there are any."""
    there = np.isfinite(vectors).all(axis=(1, 2, 3))
    return vectors[there] if there.any() else vectors


def measure(cluster: MapCluster, passes: Mapping[str, tuple[MapPass, MapJob]], models: Sequence[MapModel]) -> FirstPass:
    """Measure the positions of models that share their reads, over all groups of a span; `passes` is by group."""
    found = FirstPass()
    for one in models:
        blocks = {group: work.wanted.get(one.label, ()) for group, (work, _) in passes.items()}
        sample = stratified(blocks, first_blocks(one.tiling.window, one.tiling.block))
        futures = [_submit(cluster, passes[group], one, tile=tile, found=found) for group, tile in sample]
        for future in futures:
            sums = _result(future)
            if sums is not None:
                known = found.sums.get(one.label)
                found.sums[one.label] = sums if known is None else known + sums
    return found


def _result(future: Any) -> PositionSums | None:
    """Return what a block gave; one whose tasks are lost each time is left to the main pass, which says so."""
    try:
        error = future.exception()
        if error is not None and is_fatal(error):
            raise error
        return future.result() if error is None else None
    finally:
        future.release()


def _submit(
    cluster: MapCluster, part: tuple[MapPass, MapJob], one: MapModel, *, tile: BlockIndex, found: FirstPass
) -> Any:
    """Submit the windows inside what a tile of the main pass reads."""
    work, job = part
    shared = SharedValue.of(job)
    source = work.source(tile)
    token = tokenize(shared.digest, "first")
    sums = (f"rs-map-first-sums-{token}", *tile, one.label)
    held = found.reads.setdefault(work.lattice.group, FirstReads({}, {}))
    reads: dict[Any, Any] = {}
    placement = cluster.watch.placement
    pixels: Any = held.pixels.get(tile)
    if pixels is None:
        pixels = (f"rs-map-first-pixels-{token}", *tile)
        handed = _first_bytes(cluster, part, tile, held=held, reads=reads)
        reads[pixels] = (pixels_task, shared, work.read_area(tile), handed, tuple(placement.embed))
    area = inside_area(work, one, source)
    embeds = {sums: (positions_task, shared, one.label, area, [pixels])}
    layers = {
        "read": MaterializedLayer(reads, annotations={"resources": dict(placement.read)} if placement.read else {}),
        "embed": MaterializedLayer(embeds, annotations={"resources": dict(placement.embed)} if placement.embed else {}),
    }
    graph = HighLevelGraph(layers, {"read": set(), "embed": {"read"}})
    keys = [sums, *reads]
    futures = cluster.client.get(graph, keys, sync=False, optimize_graph=False, fifo_timeout="0s")
    for key, future in zip(keys[1:], futures[1:], strict=True):
        (held.pixels if key == pixels else held.handed)[BlockIndex(*key[1:])] = future
    return futures[0]


def _first_bytes(
    cluster: MapCluster, part: tuple[MapPass, MapJob], tile: BlockIndex, *, held: FirstReads, reads: dict[Any, Any]
) -> list[Any]:
    """Fetch what begins in a tile and in those before it, as the main pass would; return what holds the bytes."""
    work, job = part
    if not cluster.most_handed(job.recipe.provider, work):
        return []
    shared, handed = SharedValue.of(job), []
    for step in ((0, 0), *EARLIER):
        at = BlockIndex(tile.row + step[0], tile.col + step[1])
        if at in held.handed:
            handed.append(held.handed[at])
        elif at in work.every_tile:
            key = (f"rs-map-first-bytes-{tokenize(shared.digest)}", *at)
            reads[key] = (bytes_task, shared, work.read_area(at))
            handed.append(key)
    return handed


def inside_area(work: MapPass, one: MapModel, source: Rect) -> TileArea:
    """Return the windows of the map that lie wholly inside a rectangle of pixels."""
    tiling = one.tiling
    rect = Rect(*(edge // tiling.patch_px for edge in source))
    starts = (
        tiling.starts(rect.top, rect.bottom - tiling.window + 1),
        tiling.starts(rect.left, rect.right - tiling.window + 1),
    )
    return TileArea(tiling, None, rect, starts, work.lattice.grid(rect.scaled(tiling.patch_px)), one.dim)
