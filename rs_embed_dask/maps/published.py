"""Published vectors on their way into a map: read over a block, as they are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.engine.stages import read_published
from rs_embed_dask.maps.tiles import Quality, TileSums
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.stages import Outcome
    from rs_embed_dask.maps.tiles import TileArea
    from rs_embed_dask.specs import TemporalSpec

__all__ = ["product_sums"]

_THERE = frozenset({Status.OK, Status.PARTIAL})


def product_sums(recipe: Recipe, label: str, area: TileArea, *, temporal: TemporalSpec) -> TileSums:
    """Read the vectors of a block; every token is a window of its own, of weight one."""
    seed = f"{area.grid.crs}/{area.field.top}/{area.field.left}/{label}"
    read = read_published(recipe, label, area.grid, temporal=temporal, seed=seed)
    outcome = read.outcome
    if outcome.status not in _THERE or outcome.data is None:
        reason = str(outcome.error) if outcome.error is not None else outcome.note
        return TileSums(area.field, None, ((area.field, outcome.status, reason),), read_seconds=read.seconds)
    values = np.asarray(outcome.data, np.float32)[: area.dim]
    there = np.asarray(np.isfinite(values).all(axis=0))
    total = np.concatenate([np.where(there, values, np.float32(0)), there[None].astype(np.float32)])
    return TileSums(area.field, total, (), _quality(outcome, there), outcome.scenes, read_seconds=read.seconds)


def _quality(outcome: Outcome, there: NDArray[np.bool_]) -> Quality:
    """Say which tokens have a vector, and of which span the product says that it is."""
    none: Any = np.datetime64("NaT", "D")
    first = last = none
    if outcome.frames:
        span = outcome.frames[0]
        first, last = (np.datetime64(day.isoformat(), "D") for day in (span.start, span.end - dt.timedelta(days=1)))
    days = [np.where(there, day, none).astype("datetime64[D]") for day in (first, last)]
    return Quality(there.astype(np.float32), there.astype(np.int32), days[0], days[1])
