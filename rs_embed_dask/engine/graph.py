"""The Dask graph of one chunk: reads, embedding, products, one write."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from distributed import secede
from distributed.protocol import pickle as dask_pickle

from rs_embed_dask.engine.reading import CubeRead, share_caps
from rs_embed_dask.engine.report import ChunkReceipt, Retried
from rs_embed_dask.engine.stages import (
    Outcome,
    Unit,
    Visit,
    by_group,
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
        """Pickle a value by Dask's means, which include definitions of the user's own script."""
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
class EmbeddedItem:
    """What an embed or product task returns: an item's outcomes, and what to count."""

    unit: Unit
    outcomes: dict[str, Outcome]
    receipt: ChunkReceipt = field(default_factory=lambda: ChunkReceipt(-1))


def read_task(recipe: SharedValue, unit: Unit, visit: Visit) -> list[CubeRead]:
    """Read one collection for one item."""
    share_caps()
    return read_unit(recipe.open(), unit, visit)


def embed_task(
    recipe: SharedValue, unit: Unit, visits: Sequence[Visit], reads: Sequence[list[CubeRead]]
) -> EmbeddedItem:
    """Embed what was read, by every model that the item needs."""
    opened: Recipe = recipe.open()
    (outcomes,) = embed_units(opened, [unit], [by_group(visits, reads)], leave=secede)
    embedded = EmbeddedItem(unit, outcomes)
    for visit, results in zip(visits, reads, strict=True):
        embedded.receipt.totals.add_visit(results)
        first = results[0]
        if first.tries > 1:
            sensor = opened.groups[visit[0]].sensor
            embedded.receipt.retried.append(Retried(unit.item.index, sensor, first.tries, first.fault))
    embedded.receipt.weights = weights_of(opened, [outcomes])
    return embedded


def product_task(recipe: SharedValue, unit: Unit) -> EmbeddedItem:
    """Read one product for one item; the read is its embedding."""
    (label,) = unit.labels
    read = read_product(recipe.open(), unit.item, label)
    embedded = EmbeddedItem(unit, {label: read.outcome})
    embedded.receipt.totals.add_product(read)
    if read.tries > 1:
        embedded.receipt.retried.append(Retried(unit.item.index, label, read.tries, read.fault))
    return embedded


def gather_task(
    recipe: SharedValue, chunk: ChunkTask, embedded: Sequence[EmbeddedItem], frames: Mapping[str, int]
) -> tuple[Results, ChunkReceipt]:
    """Convert a chunk's outcomes to what the store writes."""
    opened: Recipe = recipe.open()
    receipt = ChunkReceipt(chunk.number)
    for one in embedded:
        receipt.totals.add(one.receipt.totals)
        receipt.retried += one.receipt.retried
        receipt.weights |= one.receipt.weights
    results = {}
    for label in opened.labels:
        pairs = [(one.unit, one.outcomes[label]) for one in embedded if label in one.outcomes]
        for unit, outcome in pairs:
            receipt.add_outcome(unit, label, outcome)
        if pairs:
            results[label] = chunk_result([unit for unit, _ in pairs], [o for _, o in pairs], frames[label])
    return results, receipt


def write_task(
    recipe: SharedValue, chunk: ChunkTask, embedded: Sequence[EmbeddedItem], store: SharedValue
) -> ChunkReceipt:
    """Write a chunk: for each model its data first, its status last."""
    opened: Store = store.open()
    results, receipt = gather_task(recipe, chunk, embedded, {one.label: one.frames for one in opened.layouts})
    put_results(opened, chunk, results)
    return receipt


def put_results(store: Store, chunk: ChunkTask, results: Results) -> None:
    """Write a chunk's results, except for rows that another task has finished meanwhile."""
    # A task whose worker was considered dead may finish long after its chunk was recomputed: finished rows stay.
    for label, result in results.items():
        store.finish_chunk(chunk.number, label, result, only=chunk.only)


_WRITE_RETRIES: Final = 2

_Key: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class GraphMaker:
    """Builds the graph of any chunk of a run."""

    # The same request on the same store gives the same keys; a new attempt at lost work gives new ones.

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
        """Build the graph of one chunk."""
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
        for unit in units:
            if not unit.labels:
                continue
            visits = self.recipe.visits(unit.labels)
            keys: list[_Key] = [(f"rs-read-{self.token}", *where, unit.row, visit[0]) for visit in visits]
            for key, visit in zip(keys, visits, strict=True):
                reads[key] = (read_task, self.parcel, unit, visit)
            embeds[(f"rs-embed-{self.token}", *where, unit.row)] = (embed_task, self.parcel, unit, visits, keys)
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


def _digest(chunk: ChunkTask, units: Sequence[Unit]) -> str:
    """Distinguish work on the same chunk: other rows, other models, other items."""
    only = None if chunk.only is None else sorted(chunk.only)
    return hashlib.blake2b(pickle.dumps((only, list(units))), digest_size=6).hexdigest()
