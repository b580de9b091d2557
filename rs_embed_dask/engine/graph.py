"""The Dask graph of one chunk: reads, embedding, products, one write."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize

from rs_embed_dask.engine import tasks
from rs_embed_dask.engine.parcel import Parcel

if TYPE_CHECKING:
    from rs_embed_dask.engine.placement import Placement
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.stages import Unit
    from rs_embed_dask.engine.tasks import Chunk
    from rs_embed_dask.store import Store

__all__ = ["GraphMaker"]

_WRITE_RETRIES: Final = 2

_Key: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class GraphMaker:
    """Makes the graph of any chunk of a run.

    The same request on the same store gives the same keys; an attempt at work that was lost gives others.

    Attributes
    ----------
    recipe : Recipe
        What is to be done.
    store : Store
        Where results go; written by the workers where they can open it, by the client where it is in memory.
    """

    recipe: Recipe
    store: Store
    parcel: Parcel = field(init=False)
    store_parcel: Parcel | None = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parcel", Parcel.of(self.recipe))
        portable = isinstance(self.store.target, str)
        state = f"{self.store.updated} {self.store.n_items} {self.store.labels}"
        object.__setattr__(self, "store_parcel", Parcel.of(self.store, state=state) if portable else None)
        place = str(self.store.target) if portable else id(self.store.target)
        object.__setattr__(self, "token", tokenize(self.parcel.digest, place, self.store.updated))

    @property
    def is_remote(self) -> bool:
        """Whether workers write to the store."""
        return self.store_parcel is not None

    def graph(self, chunk: Chunk, units: Sequence[Unit], *, attempt: int, placement: Placement) -> Delayed:
        """Make the graph of one chunk.

        Parameters
        ----------
        chunk : Chunk
            Its number.
        units : sequence of Unit
            The items to compute.
        attempt : int
            Which attempt this is, from 1.
        placement : Placement
            The resources that tasks ask for.

        Returns
        -------
        dask.delayed.Delayed
            Gives the chunk's receipt; or its results and receipt where the client is to write.
        """
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
        made: Delayed = Delayed(write, HighLevelGraph(layers, below), layer="write")
        return made

    def _parts(self, units: Sequence[Unit], where: _Key) -> tuple[dict[_Key, Any], dict[_Key, Any]]:
        """Make the read tasks and the embed tasks."""
        reads: dict[_Key, Any] = {}
        embeds: dict[_Key, Any] = {}
        wanted = [unit for unit in units if unit.labels]
        for block in _blocks(wanted, getattr(self.recipe.provider, "items_per_task", 1)):
            visits = self.recipe.visits(block[0].labels)
            keys: list[_Key] = [(f"rs-read-{self.token}", *where, block[0].row, visit[0]) for visit in visits]
            for key, visit in zip(keys, visits, strict=True):
                reads[key] = (tasks.read_task, self.parcel, block, visit)
            embeds[(f"rs-embed-{self.token}", *where, block[0].row)] = (
                tasks.embed_task,
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
                tasks.product_task,
                self.parcel,
                unit.only((label,)),
            )
            for unit in units
            for label in unit.labels
            if label in self.recipe.product
        }

    def _write(self, chunk: Chunk, embeds: list[_Key]) -> tuple[Any, ...]:
        if self.store_parcel is not None:
            return tasks.write_task, self.parcel, chunk, embeds, self.store_parcel
        frames = {layout.label: layout.frames for layout in self.store.layouts}
        return tasks.gather_task, self.parcel, chunk, embeds, frames


def _blocks(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Cut units into lists of at most a size, all of one list with the same models to do."""
    found: list[list[Unit]] = []
    for unit in units:
        if found and len(found[-1]) < size and found[-1][0].labels == unit.labels:
            found[-1].append(unit)
        else:
            found.append([unit])
    return found


def _digest(chunk: Chunk, units: Sequence[Unit]) -> str:
    """Tell work on the same chunk apart: other rows, other models, other items."""
    only = None if chunk.only is None else sorted(chunk.only)
    return hashlib.blake2b(pickle.dumps((only, list(units))), digest_size=6).hexdigest()
