"""The Dask graph of one chunk: reads, embedding, products, one write."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from distributed import secede
from distributed.protocol import pickle as dask_pickle

from rs_embed_dask.engine.reading import Pixels, share_caps
from rs_embed_dask.engine.report import ChunkReceipt, Retried
from rs_embed_dask.engine.stages import (
    Outcome,
    Unit,
    Visit,
    chunk_result,
    embed_units,
    read_product,
    read_unit,
    weights_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.watch import Placement
    from rs_embed_dask.store import ChunkResult, Status, Store

__all__ = [
    "ChunkTask",
    "GraphMaker",
    "SharedValue",
    "embed_task",
    "gather_task",
    "product_task",
    "put_results",
    "read_task",
    "write_task",
]


@dataclass(frozen=True)
class SharedValue:
    """A pickled value, which a worker unpickles once for all tasks of a run."""

    digest: str
    blob: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, value: object, *, state: str = "") -> Self:
        """Pickle a value, with what the user's own script defines."""
        blob = dask_pickle.dumps(value)
        return cls(hashlib.blake2b(blob + state.encode(), digest_size=8).hexdigest(), blob)

    def open(self) -> Any:
        """Return the value, the same object each time in one process."""
        return _opened(self)


@lru_cache(maxsize=16)
def _opened(parcel: SharedValue) -> Any:
    return dask_pickle.loads(parcel.blob)


Results: TypeAlias = "dict[str, ChunkResult]"


@dataclass(frozen=True)
class ChunkTask:
    """Which chunk, and which of its rows may be written."""

    number: int
    only: AbstractSet[Status] | None = None


@dataclass(eq=False)
class EmbeddedChunk:
    """What an embed task returns: outcomes, and what to count."""

    units: Sequence[Unit]
    outcomes: list[dict[str, Outcome]]
    receipt: ChunkReceipt = field(default_factory=lambda: ChunkReceipt(-1))


def read_task(recipe: SharedValue, units: Sequence[Unit], visit: Visit) -> list[list[Pixels]]:
    """Read one collection for one item or, from a cheap provider, for several."""
    share_caps()
    return [read_unit(recipe.open(), unit, visit) for unit in units]


def embed_task(
    recipe: SharedValue, units: Sequence[Unit], visits: Sequence[Visit], reads: Sequence[list[list[Pixels]]]
) -> EmbeddedChunk:
    """Embed what was read, by every model that the items need."""
    opened: Recipe = recipe.open()
    rows = list(zip(*reads, strict=True))
    by_item = [
        {
            number: one
            for visit, pixels in zip(visits, row, strict=True)
            for number, one in zip(visit, pixels, strict=True)
        }
        for row in rows
    ]
    done = EmbeddedChunk(units, embed_units(opened, units, by_item, leave=secede))
    for unit, row in zip(units, rows, strict=True):
        for visit, pixels in zip(visits, row, strict=True):
            done.receipt.tally.add_visit(pixels)
            if pixels[0].tries > 1:
                sensor = opened.groups[visit[0]].sensor
                done.receipt.retried.append(Retried(unit.item.index, sensor, pixels[0].tries, pixels[0].fault))
    done.receipt.weights = weights_of(opened, done.outcomes)
    return done


def product_task(recipe: SharedValue, unit: Unit) -> EmbeddedChunk:
    """Read an item's one product, which is its embedding."""
    (label,) = unit.labels
    read = read_product(recipe.open(), unit.item, label)
    done = EmbeddedChunk([unit], [{label: read.outcome}])
    done.receipt.tally.add_product(read)
    if read.tries > 1:
        done.receipt.retried.append(Retried(unit.item.index, label, read.tries, read.fault))
    return done


def gather_task(
    recipe: SharedValue, chunk: ChunkTask, embedded: Sequence[EmbeddedChunk], layouts: Mapping[str, int]
) -> tuple[Results, ChunkReceipt]:
    """Put a chunk's outcomes into the store's terms."""
    opened: Recipe = recipe.open()
    receipt = ChunkReceipt(chunk.number)
    for part in embedded:
        receipt.tally.add(part.receipt.tally)
        receipt.retried += part.receipt.retried
        receipt.weights |= part.receipt.weights
    results = {}
    for label in opened.labels:
        pairs = [
            (unit, row[label])
            for part in embedded
            for unit, row in zip(part.units, part.outcomes, strict=True)
            if label in row
        ]
        for unit, outcome in pairs:
            receipt.add_outcome(unit, label, outcome)
        if pairs:
            result = chunk_result([unit.row for unit, _ in pairs], [o for _, o in pairs], layouts[label])
            results[label] = replace(result, keys=np.asarray([unit.item.key for unit, _ in pairs], dtype="uint64"))
    return results, receipt


def write_task(
    recipe: SharedValue, chunk: ChunkTask, embedded: Sequence[EmbeddedChunk], store: SharedValue
) -> ChunkReceipt:
    """Write a chunk: for each model its data first, its status last."""
    opened: Store = store.open()
    results, receipt = gather_task(recipe, chunk, embedded, {one.label: one.frames for one in opened.layouts})
    put_results(opened, chunk, results)
    return receipt


def put_results(store: Store, chunk: ChunkTask, results: Results) -> None:
    """Write a chunk's results, except for rows that someone else has finished meanwhile."""
    # A task whose worker was thought dead may end long after its chunk was computed again; what is done stays.
    for label, result in results.items():
        open_rows = store.pending_rows(chunk.number, label, only=chunk.only)
        keep = [place for place, row in enumerate(result.rows) if row in open_rows]
        if len(keep) == len(result.rows):
            store.write_chunk(chunk.number, label, result)
        elif keep:
            store.write_chunk(chunk.number, label, _taken(result, keep))


def _taken(result: ChunkResult, keep: Sequence[int]) -> ChunkResult:
    """Take some rows of a result."""
    columns = {field.name: getattr(result, field.name) for field in fields(result)}
    return replace(result, **{name: _rows(column, keep) for name, column in columns.items() if column is not None})


def _rows(column: Any, keep: Sequence[int]) -> Any:
    return [column[place] for place in keep] if isinstance(column, list) else column[list(keep)]


_WRITE_RETRIES: Final = 2

_Key: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class GraphMaker:
    """Makes the graph of any chunk of a run."""

    # The same request on the same store gives the same keys; an attempt at work that was lost gives others.

    recipe: Recipe
    store: Store
    parcel: SharedValue = field(init=False)
    store_parcel: SharedValue | None = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parcel", SharedValue.of(self.recipe))
        portable = isinstance(self.store.target, str)
        state = f"{self.store.updated} {self.store.n_items} {self.store.labels}"
        object.__setattr__(self, "store_parcel", SharedValue.of(self.store, state=state) if portable else None)
        place = str(self.store.target) if portable else id(self.store.target)
        object.__setattr__(self, "token", tokenize(self.parcel.digest, place, self.store.updated))

    @property
    def is_remote(self) -> bool:
        """Whether workers write to the store."""
        return self.store_parcel is not None

    def graph(self, chunk: ChunkTask, units: Sequence[Unit], *, attempt: int, placement: Placement) -> Delayed:
        """Make the graph of one chunk."""
        where = (chunk.number, _digest(chunk, units), attempt)
        products = self._products(units, where)
        reads, embeds = self._parts([unit.only(self.recipe.entry) for unit in units], where)
        write = (f"rs-write-{self.token}", *where)
        reading = {"resources": dict(placement.read)} if placement.read else {}
        layers = {
            "read": MaterializedLayer(reads, annotations=reading),
            "product": MaterializedLayer(products, annotations=reading),
            "embed": MaterializedLayer(
                embeds, annotations={"resources": dict(placement.embed)} if placement.embed else {}
            ),
            "write": MaterializedLayer(
                {write: self._write(chunk, [*embeds, *products])}, annotations={"retries": _WRITE_RETRIES}
            ),
        }
        below: dict[str, set[str]] = {
            "read": set(),
            "product": set(),
            "embed": {"read"},
            "write": {"embed", "product"},
        }
        # Built by hand: `dask.delayed` would tokenise and merge a graph per task, on the client.
        chunk_graph: Delayed = Delayed(write, HighLevelGraph(layers, below), layer="write")
        return chunk_graph

    def _parts(self, units: Sequence[Unit], where: _Key) -> tuple[dict[_Key, Any], dict[_Key, Any]]:
        """Make the read tasks and the embed tasks."""
        reads: dict[_Key, Any] = {}
        embeds: dict[_Key, Any] = {}
        # A provider whose reads cost less than a task may declare how many items share one.
        encoded = [unit for unit in units if unit.labels]
        for block in _blocks(encoded, getattr(self.recipe.provider, "items_per_task", 1)):
            visits = self.recipe.visits(block[0].labels)
            keys: list[_Key] = [(f"rs-read-{self.token}", *where, block[0].row, visit[0]) for visit in visits]
            for key, visit in zip(keys, visits, strict=True):
                reads[key] = (read_task, self.parcel, block, visit)
            embeds[(f"rs-embed-{self.token}", *where, block[0].row)] = (
                embed_task,
                self.parcel,
                block,
                visits,
                keys,
            )
        return reads, embeds

    def _products(self, units: Sequence[Unit], where: _Key) -> dict[_Key, Any]:
        """Make one task for each product of each item."""
        return {
            (f"rs-product-{self.token}", *where, unit.row, label): (
                product_task,
                self.parcel,
                unit.only((label,)),
            )
            for unit in units
            for label in unit.labels
            if label in self.recipe.product
        }

    def _write(self, chunk: ChunkTask, embeds: list[_Key]) -> tuple[Any, ...]:
        if self.store_parcel is not None:
            return write_task, self.parcel, chunk, embeds, self.store_parcel
        frames = {layout.label: layout.frames for layout in self.store.layouts}
        return gather_task, self.parcel, chunk, embeds, frames


def _blocks(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Cut units into lists of at most a size, all of one list with the same models to do."""
    blocks: list[list[Unit]] = []
    for unit in units:
        if blocks and len(blocks[-1]) < size and blocks[-1][0].labels == unit.labels:
            blocks[-1].append(unit)
        else:
            blocks.append([unit])
    return blocks


def _digest(chunk: ChunkTask, units: Sequence[Unit]) -> str:
    """Distinguish work on the same chunk: other rows, other models, other items."""
    only = None if chunk.only is None else sorted(chunk.only)
    return hashlib.blake2b(pickle.dumps((only, list(units))), digest_size=6).hexdigest()
