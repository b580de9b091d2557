"""The Dask graph of one tile: its read, the strips that it hands on, its sums for each model, the blocks it writes.

Strips travel between tiles, never whole blocks: the last rows and columns of a tile's pixels and sums, copied out in
tasks of their own, so that a block's memory is free as soon as its own tile is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import secede

from rs_embed_dask.engine.reading import searching, share_caps
from rs_embed_dask.engine.stages import load_meanwhile
from rs_embed_dask.maps.pieces import PixelPart, ReadArea, first_bytes, read_piece
from rs_embed_dask.maps.precision import Loss
from rs_embed_dask.maps.published import product_sums
from rs_embed_dask.maps.scores import ScoreSums
from rs_embed_dask.maps.scoring import BlockEdges, BlockScore
from rs_embed_dask.maps.tiles import BlockField, block_field, tile_sums
from rs_embed_dask.maps.windows import EARLIER, LEFT, TOP, BlockIndex
from rs_embed_dask.providers.handed import Extent, HandedBytes
from rs_embed_dask.providers.kept import keeping_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rs_embed_dask.engine.graph import SharedValue
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.watch import Placement
    from rs_embed_dask.maps.lattice import Lattice, Rect
    from rs_embed_dask.maps.passes import MapPass
    from rs_embed_dask.maps.tiles import TileArea, TileSums
    from rs_embed_dask.maps.windows import Tiling
    from rs_embed_dask.maps.writer import WrittenBlock
    from rs_embed_dask.specs import TemporalSpec
    from rs_embed_dask.store import Status

__all__ = [
    "BlockReceipt",
    "BlockWriter",
    "MapJob",
    "TileGraph",
    "block_task",
    "bytes_task",
    "hand_on_task",
    "pixels_task",
    "score_task",
    "strip_task",
    "sums_task",
]

Key: TypeAlias = tuple[str | int, ...]

_TAKEN_BY = {"right": ((0, 1),), "below": ((1, 0), (1, 1)), "beneath": ((1, 0),), "edges": ((0, 1), (1, 0))}
"""Which later neighbours take a strip or look at the edges."""

_STRIPS: dict[tuple[int, int], str] = {(-1, -1): "below", (-1, 0): "below", (0, -1): "right"}
"""Which strip of an earlier neighbour a tile takes: the corner's lies in what the corner hands down."""

_HANDED: dict[tuple[int, int], str] = {(-1, 0): "beneath", (0, -1): "right"}
"""Which bytes of an earlier neighbour a tile takes: these pass on what they were handed, so none jump a corner."""


class BlockWriter(Protocol):
    """Where finished blocks go."""

    def write(self, label: str, block: BlockIndex, finished: BlockField) -> WrittenBlock | None:
        """Write a block whole, data first, status last, again and again if need be; return what is to be scored."""


@dataclass(frozen=True)
class MapJob:
    """What every task of a pass needs to know."""

    recipe: Recipe
    lattice: Lattice
    temporal: TemporalSpec
    labels: tuple[str, ...]
    removed: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockReceipt:
    """What a task reports about the block that it wrote."""

    label: str
    block: BlockIndex
    status: Status
    reason: str
    windows: int
    embed_seconds: float
    read_seconds: float
    weights: Mapping[str, Any]
    loss: Loss = field(default_factory=Loss)
    score: BlockScore | None = None


def bytes_task(job: SharedValue, area: ReadArea) -> HandedBytes:
    """Fetch the compressed bytes that begin in a rectangle of pixels; whatever fails, the read meets."""
    share_caps()
    opened: MapJob = job.open()
    with searching(area.search):
        return first_bytes(opened.recipe, opened.lattice, opened.labels, area=area, temporal=opened.temporal)


def hand_on_task(handed: Sequence[HandedBytes], source: Rect, side: str, most_bytes: int) -> HandedBytes:
    """Pick out the bytes that reach beyond one side of what a task reads."""
    together, extent = HandedBytes.joined(handed), Extent(*source)
    return (together.to_the_right if side == "right" else together.below)(extent, most_bytes)


def pixels_task(job: SharedValue, area: ReadArea, handed: Sequence[HandedBytes], embed: Sequence[str]) -> PixelPart:
    """Read a rectangle of pixels, once for all models, from the bytes that are there and whatever is missing.

    A worker with the resources `embed` loads the models meanwhile.
    """
    share_caps()
    opened: MapJob = job.open()
    load_meanwhile(opened.recipe, opened.labels, embed)
    with keeping_bytes(HandedBytes.joined(handed).cache()), searching(area.search):
        part = read_piece(opened.recipe, opened.lattice, opened.labels, rect=area.rect, temporal=opened.temporal)
    return replace(part, seconds=part.seconds + sum(one.seconds for one in handed))


def strip_task(part: PixelPart | TileSums, rect: Rect) -> PixelPart | TileSums:
    """Copy out what later tiles need."""
    return part.cut(rect)


def sums_task(job: SharedValue, label: str, area: TileArea, pieces: Sequence[PixelPart]) -> TileSums:
    """Embed the windows of a tile by one model."""
    opened: MapJob = job.open()
    if label in opened.recipe.product:
        return product_sums(opened.recipe, label, area, temporal=opened.temporal)
    removed = opened.removed.get(label)
    sums = tile_sums(opened.recipe, label, area, pieces=pieces, removed=removed, leave=secede)
    return replace(sums, read_seconds=sums.read_seconds / len(opened.labels))  # each read serves all of them


def block_task(
    label: str, tile: BlockIndex, area: TileArea, sums: Sequence[TileSums], writer: SharedValue
) -> BlockReceipt:
    """Blend a block, write it, and score it by itself."""
    rect = area.own
    assert rect is not None
    finished = block_field(rect, sums)
    store: BlockWriter = writer.open()
    written = store.write(label, tile, finished)
    own = sums[-1]
    times = own.seconds, own.read_seconds
    receipt = BlockReceipt(label, tile, finished.status, finished.reason, own.windows, *times, own.weights)
    if written is None:
        return receipt
    inside = ScoreSums.of(area.tiling, rect, written.vectors)
    score = BlockScore(
        inside if area.is_sampled else inside.without_positions, written.zones, BlockEdges.of(written.vectors)
    )
    return replace(receipt, loss=written.loss, score=score)


def score_task(
    receipt: BlockReceipt, tiling: Tiling, rect: Rect, left: BlockReceipt | None, above: BlockReceipt | None
) -> BlockReceipt:
    """Score the borders of a block with the two before it; what it reports does not hold its edges any more."""
    if receipt.score is None:
        return receipt
    before = {"left": left, "above": above}
    scores = {name: None if one is None else one.score for name, one in before.items()}
    return replace(receipt, score=receipt.score.beside(tiling, rect, **scores))


@dataclass(frozen=True)
class TileGraph:
    """Builds the graph of any tile of a pass.

    `there` and `bytes_there` are reads, and bytes, that the first pass brought already; `sampled` the blocks whose
    positions are scored, by label. Of compressed bytes at most `most_handed` are handed on to a neighbour; 0 where the
    provider has none.
    """

    work: MapPass
    job: SharedValue
    writer: SharedValue
    token: str
    there: Mapping[BlockIndex, Any] = field(default_factory=dict)
    bytes_there: Mapping[BlockIndex, Any] = field(default_factory=dict)
    most_handed: int = 0
    sampled: Mapping[str, frozenset[BlockIndex]] = field(default_factory=dict)

    def key(self, kind: str, tile: BlockIndex, label: str = "") -> Key:
        """Name a task: the same tile of the same pass has the same name."""
        return (f"rs-map-{kind}-{self.token}", *tile, *([label] if label else []))

    def consumers(self, tile: BlockIndex, what: str) -> int:
        """Return how many tiles take a strip, or look at a block's edges."""
        near = (BlockIndex(tile.row + i, tile.col + j) for i, j in _TAKEN_BY[what])
        return sum(block in self.work.every_tile for block in near)

    def taken(self, tile: BlockIndex) -> list[Key]:
        """Return the keys of all that a tile takes from others, whether or not it is there."""
        kinds = [("pixels", ""), *(("sums", label) for label in self.work.model)]
        strips = [key for kind, label in kinds for key in self._strips_before(kind, tile, label)]
        strips += self._strips_before("bytes", tile, "", _HANDED)
        return strips + [key for label in self.work.model for key in self._blocks_before(tile, label)]

    def _blocks_before(self, tile: BlockIndex, label: str) -> list[Key]:
        return [self.key("block", BlockIndex(tile.row + i, tile.col + j), label) for i, j in (LEFT, TOP)]

    def _strips_before(
        self, kind: str, tile: BlockIndex, label: str, names: Mapping[tuple[int, int], str] = _STRIPS
    ) -> list[Key]:
        near = ((BlockIndex(tile.row + step[0], tile.col + step[1]), names.get(step)) for step in EARLIER)
        return [self.key(f"{kind}-{name}", block, label) for block, name in near if name]

    def _near(self, kind: str, tile: BlockIndex, label: str, held: Mapping[Key, Any]) -> list[Any]:
        names = _HANDED if kind == "bytes" else _STRIPS
        return [held[key] for key in self._strips_before(kind, tile, label, names) if key in held]

    def graph(
        self, tile: BlockIndex, held: Mapping[Key, Any], placement: Placement
    ) -> tuple[HighLevelGraph, dict[Key, str], dict[Key, int]]:
        """Build the graph of a tile; the keys of its receipts, by label, and how many tiles take what it hands on."""
        source = self.work.source(tile)
        reads: dict[Key, Any] = {}
        embeds: dict[Key, Any] = {}
        rest: dict[Key, Any] = {}
        strips: dict[Key, int] = {}
        blocks: dict[Key, str] = {}
        pixels = self._read(tile, held, tuple(placement.embed), reads=reads, rest=rest, strips=strips)
        pieces = [*self._near("pixels", tile, "", held), pixels]
        self._cut(rest, strips, pixels, ("pixels", tile, ""), source)
        for label in self.work.labels(tile):
            area = self.work.area(label, tile)
            sums = self.key("sums", tile, label)
            # What is published is read, by those that read.
            where = reads if self.work.model[label].is_product else embeds
            where[sums] = (sums_task, self.job, label, area, pieces)
            self._cut(rest, strips, sums, ("sums", tile, label), area.field)
            if area.own is not None:
                near = [*self._near("sums", tile, label, held), sums]
                block, score = self.key("block", tile, label), self.key("score", tile, label)
                scored = replace(area, is_sampled=tile in self.sampled.get(label, ()))
                rest[block] = (block_task, label, tile, scored, near, self.writer)
                before = [held.get(key) for key in self._blocks_before(tile, label)]
                rest[score] = (score_task, block, area.tiling, area.own, *before)
                blocks[score] = label
                if takers := self.consumers(tile, "edges"):
                    strips[block] = takers
        layers = {
            "read": MaterializedLayer(reads, annotations=_on(placement.read)),
            "embed": MaterializedLayer(embeds, annotations=_on(placement.embed)),
            "rest": MaterializedLayer(rest),
        }
        below: dict[str, set[str]] = {"read": set(), "embed": {"read"}, "rest": {"read", "embed"}}
        return HighLevelGraph(layers, below), blocks, strips

    def _read(
        self,
        tile: BlockIndex,
        held: Mapping[Key, Any],
        embed: tuple[str, ...],
        *,
        reads: dict[Key, Any],
        rest: dict[Key, Any],
        strips: dict[Key, int],
    ) -> Any:
        """Add the tasks that read a tile's pixels and hand on its bytes; return what holds the pixels."""
        source, pixels, handed = self.work.source(tile), self.key("pixels", tile), []
        if self.most_handed:
            first: Any = self.bytes_there.get(tile, self.key("bytes", tile))
            if tile not in self.bytes_there:
                reads[first] = (bytes_task, self.job, self.work.read_area(tile))
            handed = [first, *self._near("bytes", tile, "", held)]
            for side in _HANDED.values():
                if takers := self.consumers(tile, side):
                    key = self.key(f"bytes-{side}", tile)
                    rest[key] = (hand_on_task, handed, source, side, self.most_handed)
                    strips[key] = takers
        if tile in self.there:
            return self.there[tile]
        reads[pixels] = (pixels_task, self.job, self.work.read_area(tile), handed, embed)
        return pixels

    def _cut(
        self, rest: dict[Key, Any], strips: dict[Key, int], whole: Any, what: tuple[str, BlockIndex, str], rect: Rect
    ) -> None:
        """Add the tasks that copy out the strips which later tiles take."""
        kind, tile, label = what
        size = self.work.lattice.block if kind == "pixels" else self.work.model[label].tiling.block
        parts = {
            "right": rect & rect._replace(left=(tile.col + 1) * size),
            "below": rect & rect._replace(top=(tile.row + 1) * size),
        }
        for name, part in parts.items():
            takers = self.consumers(tile, name)
            if 0 not in part.shape and takers:
                key = self.key(f"{kind}-{name}", tile, label)
                rest[key] = (strip_task, whole, part)
                strips[key] = takers


def _on(resources: Mapping[str, float]) -> dict[str, Any]:
    return {"resources": dict(resources)} if resources else {}
