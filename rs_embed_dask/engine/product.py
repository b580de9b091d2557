"""A precomputed product on its way into the store: one read, which is also the embedding."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.engine.outcome import Outcome, judged
from rs_embed_dask.engine.reading import tried
from rs_embed_dask.errors import NoImageryError, SpecError
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.engine.reading import Tried
    from rs_embed_dask.engine.recipe import ProductEntry, Recipe
    from rs_embed_dask.products import Field
    from rs_embed_dask.store import Item

__all__ = ["ProductRead", "read_product"]

_ENDINGS: Final = ((NoImageryError, Status.NO_DATA), (SpecError, Status.INVALID))


@dataclass(frozen=True, eq=False)
class ProductRead:
    """What became of one item in one product's hands, and what the read took.

    Attributes
    ----------
    outcome : Outcome
        For the store.
    tries, fault, seconds, nbytes
        For the report.
    """

    outcome: Outcome
    tries: int = 1
    fault: str = ""
    seconds: float = 0.0
    nbytes: int = 0


def read_product(recipe: Recipe, item: Item, label: str, *, sleep: Callable[[float], None] = time.sleep) -> ProductRead:
    """Read one product for one item. Never raises for what lies in the data, the network or the reader's code.

    Parameters
    ----------
    recipe : Recipe
        What is to be done.
    item : Item
        Place and span.
    label : str
        Which of the recipe's products.
    sleep : callable, default time.sleep
        Waits between tries.
    """
    entry = recipe.product[label]
    try:
        grid = entry.grid(item.spatial)
    except SpecError as error:
        return ProductRead(Outcome(Status.INVALID, error=error))
    seed = f"{item.index}/{label}"
    found = tried(lambda: entry.reader.read(grid, item.temporal), label, recipe.retry, seed=seed, sleep=sleep)
    outcome, nbytes = _outcome(entry, found)
    return ProductRead(outcome, found.tries, found.fault, found.seconds, nbytes)


def _outcome(entry: ProductEntry, found: Tried[Field]) -> tuple[Outcome, int]:
    field = found.value
    if field is None:
        status = next((status for kind, status in _ENDINGS if isinstance(found.error, kind)), found.status)
        return Outcome(status, error=found.error, valid_fraction=(0.0,)), 0
    frames = () if field.span is None else (field.span,)
    share = float(field.valid.mean())
    known = {"frames": frames, "valid_fraction": (share,), "n_obs": len(field.tiles), "scenes": field.tiles}
    if share <= 0:
        reason, fix = "the product has no vector at any of its pixels", "choose a place that it covers"
        error = NoImageryError(f"{entry.label}: place", value=field.grid.center_lonlat, reason=reason, fix=fix)
        return Outcome(Status.NO_DATA, error=error, **known), field.values.nbytes  # type: ignore[arg-type]
    status, note = judged((share,))
    is_grid = not entry.pooling
    data = np.asarray(field.values if is_grid else field.pooled(entry.pooling), np.float32)
    made = Outcome(status, data=data, grid=field.grid if is_grid else None, note=note, **known)  # type: ignore[arg-type]
    return made, field.values.nbytes
