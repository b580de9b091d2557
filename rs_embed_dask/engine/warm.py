"""Models are loaded before the first read: beside dozens of reading threads an import takes a minute, not a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rs_embed_dask.engine.embedder import resident
from rs_embed_dask.engine.faults import is_fatal

if TYPE_CHECKING:
    from distributed import Client

    from rs_embed_dask.engine.parcel import Parcel
    from rs_embed_dask.engine.placement import Placement
    from rs_embed_dask.engine.recipe import Recipe

__all__ = ["warm_up"]


def warm_up(client: Client, recipe: Parcel, placement: Placement) -> None:
    """Load the models of a run on every worker that embeds; workers that come later load them with their first item.

    Parameters
    ----------
    client : distributed.Client
        The connection.
    recipe : Parcel
        The recipe.
    placement : Placement
        Which resource embedding asks for.

    Raises
    ------
    WeightsError, LicenceError, SpecError, EngineError
        A model cannot be loaded. A worker that is lost meanwhile is no error here.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    embedding = [
        address
        for address, worker in workers.items()
        if not placement.embed or any((worker.get("resources") or {}).get(name) for name in placement.embed)
    ]
    if not embedding:
        return
    answers = client.run(_load, recipe, workers=embedding, on_error="return")
    for answer in answers.values():
        if isinstance(answer, BaseException) and is_fatal(answer):
            raise answer


async def _load(recipe: Parcel) -> None:
    """Load beside the worker's event loop, which must go on answering."""
    await asyncio.to_thread(_load_all, recipe)


def _load_all(recipe: Parcel) -> None:
    opened: Recipe = recipe.open()
    for entry in opened.models:
        resident(entry.key, entry.load, opened.batch_items).model.result()
