"""The Dask graph of one chunk: reads, embedding, products, one write."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from distributed import secede
from distributed.protocol import pickle as dask_pickle

from rs_embed_dask.engine.areas import RunAreas, SearchArea
from rs_embed_dask.engine.positions import PositionSums
from rs_embed_dask.engine.reading import CubeRead, searching, share_caps
from rs_embed_dask.engine.report import ChunkReceipt, Retried
from rs_embed_dask.engine.stages import (
    Outcome,
    Unit,
    Visit,
    by_group,
    chunk_result,
    embed_units,
    load_meanwhile,
    product_parts,
    read_products,
    read_unit,
    weights_of,
)
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.watch import Placement
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store import ChunkResult, Store

__all__ = [
    "ChunkTask",
    "FirstSums",
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
FirstSums: TypeAlias = "dict[str, tuple[PositionSums, int]]"
"""By model, the sums of windows, and the number of their items."""


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


_NOWHERE: Final = SearchArea()


def read_task(
    recipe: SharedValue, unit: Unit, visit: Visit, embed: Sequence[str], area: SearchArea = _NOWHERE
) -> list[CubeRead]:
    """Read one collection for one item; a worker with the resources `embed` loads its models meanwhile."""
    share_caps()
    opened: Recipe = recipe.open()
    load_meanwhile(opened, unit.labels, embed)
    with searching(area):
        return read_unit(opened, unit, visit)


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


def product_task(recipe: SharedValue, units: Sequence[Unit]) -> list[EmbeddedItem]:
    """Read one product for items of one span; the read is their embedding."""
    (label,) = units[0].labels
    reads = read_products(recipe.open(), [unit.item for unit in units], label)
    listed = []
    for unit, read in zip(units, reads, strict=True):
        embedded = EmbeddedItem(unit, {label: read.outcome})
        embedded.receipt.totals.add_product(read)
        if read.tries > 1:
            embedded.receipt.retried.append(Retried(unit.item.index, label, read.tries, read.fault))
        listed.append(embedded)
    return listed


def bare_task(embedded: EmbeddedItem) -> EmbeddedItem:
    """Return an item without its whole windows, which only the first pass needs."""
    outcomes = {label: replace(outcome, windows=None) for label, outcome in embedded.outcomes.items()}
    return replace(embedded, outcomes=outcomes)


def sums_task(embedded: Sequence[EmbeddedItem], windows: Mapping[str, int]) -> FirstSums:
    """Add up the windows of some items, of the models and sides that are asked for; items that lack much are not."""
    sums: dict[str, tuple[PositionSums, int]] = {}
    for label, side in windows.items():
        outcomes = [one.outcomes[label] for one in embedded if label in one.outcomes]
        whole = [one.windows for one in outcomes if one.status == Status.OK and one.windows is not None]
        each = [PositionSums.of(one) for one in whole if one.shape[-2:] == (side, side)]
        if each:
            sums[label] = reduce(add, each), len(each)
    return sums


def gather_task(
    recipe: SharedValue,
    chunk: ChunkTask,
    embedded: Sequence[Sequence[EmbeddedItem]],
    frames: Mapping[str, int],
    tables: SharedValue | None = None,
) -> tuple[Results, ChunkReceipt]:
    """Convert a chunk's outcomes to what the store writes, less what `tables` say that positions add."""
    opened: Recipe = recipe.open()
    removed: Mapping[str, PositionTable] = {} if tables is None else tables.open()
    receipt = ChunkReceipt(chunk.number)
    items = [*chain.from_iterable(embedded)]
    for one in items:
        receipt.totals.add(one.receipt.totals)
        receipt.retried += one.receipt.retried
        receipt.weights |= one.receipt.weights
    results = {}
    for label in opened.labels:
        table = removed.get(label)
        pairs = [(one.unit, one.outcomes[label].without(table)) for one in items if label in one.outcomes]
        for unit, outcome in pairs:
            receipt.add_outcome(unit, label, outcome)
        if pairs:
            results[label] = chunk_result([unit for unit, _ in pairs], [o for _, o in pairs], frames[label])
    return results, receipt


def write_task(
    recipe: SharedValue,
    chunk: ChunkTask,
    embedded: Sequence[Sequence[EmbeddedItem]],
    store: SharedValue,
    tables: SharedValue | None = None,
) -> ChunkReceipt:
    """Write a chunk: for each model its data first, its status last."""
    opened: Store = store.open()
    frames = {one.label: one.frames for one in opened.layouts}
    results, receipt = gather_task(recipe, chunk, embedded, frames, tables)
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
    removed: Mapping[str, PositionTable] = field(default_factory=dict)
    """What is taken from each model's grids."""
    areas: RunAreas = field(default_factory=RunAreas)
    """Where one search serves many items."""
    parcel: SharedValue = field(init=False)
    store_parcel: SharedValue | None = field(init=False)
    tables: SharedValue | None = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parcel", SharedValue.of(self.recipe))
        portable = isinstance(self.store.target, str)
        state = f"{self.store.updated} {self.store.n_items} {self.store.labels}"
        object.__setattr__(self, "store_parcel", SharedValue.of(self.store, state=state) if portable else None)
        place = str(self.store.target) if portable else id(self.store.target)
        # Only what writes a chunk needs the tables: they are not sent with each item.
        object.__setattr__(self, "tables", SharedValue.of(dict(self.removed)) if self.removed else None)
        made = (self.parcel.digest, self.tables and self.tables.digest)
        object.__setattr__(self, "token", tokenize(*made, place, self.store.updated))

    @property
    def is_remote(self) -> bool:
        """Whether workers write to the store."""
        return self.store_parcel is not None

    def graph(
        self,
        chunk: ChunkTask,
        units: Sequence[Unit],
        *,
        attempt: int,
        placement: Placement,
        held: Mapping[int, Any] | None = None,
    ) -> Delayed:
        """Build the graph of one chunk; `held` are the rows that the first pass has embedded."""
        where, there = (chunk.number, _digest(chunk, units), attempt), held or {}
        products = self._products(units, where)
        new = [unit.only(self.recipe.entry) for unit in units if unit.row not in there]
        reads, embeds = self._parts(new, where, placement)
        write = (f"rs-write-{self.token}", *where)
        reading = _on(placement.read)
        layers = {
            "read": MaterializedLayer(reads, annotations=reading),
            "product": MaterializedLayer(products, annotations=reading),
            "embed": MaterializedLayer(embeds, annotations=_on(placement.embed)),
            "write": MaterializedLayer(
                {write: self._write(chunk, [[*embeds, *there.values()], *products])},
                annotations={"retries": _WRITE_RETRIES},
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

    def first(
        self, units: Sequence[Unit], number: int, *, windows: Mapping[str, int], placement: Placement
    ) -> tuple[HighLevelGraph, list[_Key]]:
        """Build the graph of some items of the first pass; its keys: the sums of their windows, then each item."""
        where: _Key = ("first", number, hashlib.blake2b(pickle.dumps(list(units)), digest_size=6).hexdigest())
        reads, embeds = self._parts(units, where, placement)
        sums: _Key = (f"rs-first-sums-{self.token}", *where)
        bare = {(f"rs-first-item-{self.token}", *key[1:]): (bare_task, key) for key in embeds}
        layers = {
            "read": MaterializedLayer(reads, annotations=_on(placement.read)),
            "embed": MaterializedLayer(embeds, annotations=_on(placement.embed)),
            "sums": MaterializedLayer({sums: (sums_task, list(embeds), dict(windows)), **bare}),
        }
        return HighLevelGraph(layers, {"read": set(), "embed": {"read"}, "sums": {"embed"}}), [sums, *bare]

    def _parts(
        self, units: Sequence[Unit], where: _Key, placement: Placement
    ) -> tuple[dict[_Key, Any], dict[_Key, Any]]:
        """Make the read tasks and the embed tasks."""
        embed = tuple(placement.embed)
        reads: dict[_Key, Any] = {}
        embeds: dict[_Key, Any] = {}
        for unit in units:
            if not unit.labels:
                continue
            visits = self.recipe.visits(unit.labels)
            keys: list[_Key] = [(f"rs-read-{self.token}", *where, unit.item.index, visit[0]) for visit in visits]
            for key, visit in zip(keys, visits, strict=True):
                reads[key] = (read_task, self.parcel, unit, visit, embed, self.areas.at(unit.item.index))
            embeds[(f"rs-embed-{self.token}", *where, unit.item.index)] = (embed_task, self.parcel, unit, visits, keys)
        return reads, embeds

    def _products(self, units: Sequence[Unit], where: _Key) -> dict[_Key, Any]:
        """Make the tasks of products."""
        return {
            (f"rs-product-{self.token}", *where, part[0].row, label): (product_task, self.parcel, part)
            for label, part in product_parts(self.recipe, units)
        }

    def _write(self, chunk: ChunkTask, embeds: list[list[Any] | _Key]) -> tuple[Any, ...]:
        if self.store_parcel is not None:
            return write_task, self.parcel, chunk, embeds, self.store_parcel, self.tables
        frames = {layout.label: layout.frames for layout in self.store.layouts}
        return gather_task, self.parcel, chunk, embeds, frames, self.tables


def _on(resources: Mapping[str, float]) -> dict[str, Any]:
    """Annotate tasks that need resources of workers."""
    return {"resources": dict(resources)} if resources else {}


def _digest(chunk: ChunkTask, units: Sequence[Unit]) -> str:
    """Distinguish work on the same chunk: other rows, other models, other items."""
    only = None if chunk.only is None else sorted(chunk.only)
    return hashlib.blake2b(pickle.dumps((only, list(units))), digest_size=6).hexdigest()
