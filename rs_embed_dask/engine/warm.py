"""The models of a run on its workers, before the first read: which are there, and loading those that are not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from rs_embed_dask.engine.embedder import is_resident, resident
from rs_embed_dask.engine.reading import is_fatal
from rs_embed_dask.engine.watch import workers_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distributed import Client

    from rs_embed_dask.engine.graph import SharedValue
    from rs_embed_dask.engine.receipts import Crew
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.watch import Placement, Watch

__all__ = ["crew_of", "warm_up"]


def warm_up(client: Client, recipe: SharedValue, placement: Placement) -> dict[str, float]:
    """Load the models of a run on every worker that embeds; workers that join later load them with their first item.

    Returns the longest time that each model took which was not loaded before.
    """
    # Errors that every item would meet (no weights, no licence) thus end the run before the first read.
    answers = _asked(client, placement, _load, recipe)
    for answer in answers:
        if isinstance(answer, BaseException) and is_fatal(answer):
            raise answer
    took = [answer for answer in answers if isinstance(answer, dict)]
    return {label: max(one.get(label, 0.0) for one in took) for label in dict.fromkeys(chain(*took))}


def crew_of(client: Client, recipe: Recipe, *, watch: Watch) -> Crew:
    """Return the workers of a run, with the models that all of them hold already."""
    keys = {entry.label: entry.key for entry in recipe.models}
    answers: list[Any] = []
    with contextlib.suppress(OSError):  # a worker left meanwhile, which the run itself meets
        answers = [one for one in _asked(client, watch.placement, _loaded, keys) if isinstance(one, frozenset)]
    loaded = frozenset.intersection(*answers) if answers else frozenset()
    return replace(watch.workers.crew, loaded=loaded)


def _asked(client: Client, placement: Placement, call: Callable[..., Any], about: Any) -> list[Any]:
    """Call a function on every worker that embeds; an error is its answer."""
    embedding = workers_with(client, placement.embed)
    return list(client.run(call, about, workers=embedding, on_error="return").values()) if embedding else []


def _loaded(keys: Mapping[str, str]) -> frozenset[str]:
    return frozenset(label for label, key in keys.items() if is_resident(key))


async def _load(recipe: SharedValue) -> dict[str, float]:
    """Load in a thread: a worker whose event loop does not respond is considered dead."""
    return await asyncio.to_thread(_load_all, recipe)


def _load_all(recipe: SharedValue) -> dict[str, float]:
    opened: Recipe = recipe.open()
    took = {}
    for entry in opened.models:
        started, is_new = time.perf_counter(), not is_resident(entry.key)
        resident(entry.key, entry.load, opened.batch_items).model.result()
        if is_new:
            took[entry.label] = time.perf_counter() - started
    return took
