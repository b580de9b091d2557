"""What runs on the workers. Each task is a function of its small arguments: safe to run again, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed import secede

from rs_embed_dask.engine.caps import share_caps
from rs_embed_dask.engine.events import Retried
from rs_embed_dask.engine.outcome import Outcome, chunk_result
from rs_embed_dask.engine.product import read_product
from rs_embed_dask.engine.reading import Pixels
from rs_embed_dask.engine.stages import Unit, Visit, embed_units, read_unit, weights_of
from rs_embed_dask.engine.tally import ChunkReceipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from rs_embed_dask.engine.parcel import Parcel
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.store import ChunkResult, Status, Store

__all__ = ["Chunk", "embed_task", "gather_task", "product_task", "put_results", "read_task", "write_task"]

Results: TypeAlias = "dict[str, ChunkResult]"


@dataclass(frozen=True)
class Chunk:
    """Which chunk, and which of its rows may be written.

    Attributes
    ----------
    number : int
        The chunk.
    only : frozenset of Status or None
        Rows of these states are taken up; None = all that are not done.
    """

    number: int
    only: AbstractSet[Status] | None = None


@dataclass(eq=False)
class Embedded:
    """What an embed task brings: outcomes, and what to count."""

    units: Sequence[Unit]
    outcomes: list[dict[str, Outcome]]
    receipt: ChunkReceipt = field(default_factory=lambda: ChunkReceipt(-1))


def read_task(recipe: Parcel, units: Sequence[Unit], visit: Visit) -> list[list[Pixels]]:
    """Read one collection for one item or, from a cheap provider, for several."""
    share_caps()
    return [read_unit(recipe.open(), unit, visit) for unit in units]


def embed_task(
    recipe: Parcel, units: Sequence[Unit], visits: Sequence[Visit], reads: Sequence[list[list[Pixels]]]
) -> Embedded:
    """Embed what was read, by every model that the items need.

    Parameters
    ----------
    recipe : Parcel
        The recipe.
    units : sequence of Unit
        The items.
    visits : sequence of tuple of int
        Which groups were read, those that were read together in one tuple.
    reads : sequence of list of list of Pixels
        For each visit and item, one read a group.

    Returns
    -------
    Embedded
    """
    opened: Recipe = recipe.open()
    rows = list(zip(*reads, strict=True))
    by_item = [
        {
            number: one
            for visit, found in zip(visits, row, strict=True)
            for number, one in zip(visit, found, strict=True)
        }
        for row in rows
    ]
    done = Embedded(units, embed_units(opened, units, by_item, leave=secede))
    for unit, row in zip(units, rows, strict=True):
        for visit, found in zip(visits, row, strict=True):
            done.receipt.tally.add_visit(found)
            if found[0].tries > 1:
                sensor = opened.groups[visit[0]].sensor
                done.receipt.retried.append(Retried(unit.item.index, sensor, found[0].tries, found[0].fault))
    done.receipt.weights = weights_of(opened, done.outcomes)
    return done


def product_task(recipe: Parcel, unit: Unit) -> Embedded:
    """Read an item's one product, which is its embedding.

    Parameters
    ----------
    recipe : Parcel
        The recipe.
    unit : Unit
        The item, with the product as its only label.

    Returns
    -------
    Embedded
    """
    (label,) = unit.labels
    found = read_product(recipe.open(), unit.item, label)
    done = Embedded([unit], [{label: found.outcome}])
    done.receipt.tally.add_product(found)
    if found.tries > 1:
        done.receipt.retried.append(Retried(unit.item.index, label, found.tries, found.fault))
    return done


def gather_task(
    recipe: Parcel, chunk: Chunk, embedded: Sequence[Embedded], layouts: Mapping[str, int]
) -> tuple[Results, ChunkReceipt]:
    """Put a chunk's outcomes into the store's terms.

    Parameters
    ----------
    recipe : Parcel
        The recipe.
    chunk : Chunk
        Which one.
    embedded : sequence of Embedded
        What its embed tasks brought.
    layouts : mapping of str to int
        Frames that the store has room for, by model.

    Returns
    -------
    results : dict of str to ChunkResult
        By model.
    receipt : ChunkReceipt
        What to count.
    """
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
            results[label] = chunk_result([unit.row for unit, _ in pairs], [o for _, o in pairs], layouts[label])
    return results, receipt


def write_task(recipe: Parcel, chunk: Chunk, embedded: Sequence[Embedded], store: Parcel) -> ChunkReceipt:
    """Write a chunk: for each model its data first, its status last.

    Raises
    ------
    StoreError
        Where the store cannot be written.
    """
    opened: Store = store.open()
    results, receipt = gather_task(recipe, chunk, embedded, {one.label: one.frames for one in opened.layouts})
    put_results(opened, chunk, results)
    return receipt


def put_results(store: Store, chunk: Chunk, results: Results) -> None:
    """Write a chunk's results, but for rows that someone else has finished meanwhile.

    A task whose worker was thought dead may end long after its chunk was computed anew; what is done stays.
    """
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
