"""A run: what is left to do in a store, on a cluster given or made."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from rs_embed_dask.engine.clusters import client_for
from rs_embed_dask.engine.driver import Driver
from rs_embed_dask.engine.events import RunFinished, RunStarted, emit
from rs_embed_dask.engine.figures import Figures
from rs_embed_dask.engine.jobs import Jobs, chunks_to_do
from rs_embed_dask.engine.options import Options
from rs_embed_dask.engine.profiler import stop_profiler
from rs_embed_dask.engine.progress import listeners_for
from rs_embed_dask.engine.report import RunReport

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from distributed import Client

    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.store import Status, Store

__all__ = ["is_finished", "nothing_left", "run_plan"]


def run_plan(plan: Plan, store: Store, client: Client | None = None, *, options: Options | None = None) -> RunReport:
    """Compute all that is not done in a store.

    Parameters
    ----------
    plan : Plan
        What to do.
    store : Store
        Where results go, opened to write.
    client : distributed.Client, optional
        Where to run; it is left open. Without one a local cluster is made, and closed at the end.
    options : Options, optional
        Progress, listeners, window, and which items.

    Returns
    -------
    RunReport
        What happened, and how it compares with the plan.

    Raises
    ------
    EngineError
        The cluster was lost, or no item can be computed on it (the models are too much for a worker's memory, say);
        the store can be resumed.
    WeightsError, LicenceError, StoreError
        No item could be computed, or none could be stored.
    KeyboardInterrupt
        As it came: what is finished is stored, everything in flight is cancelled.
    """
    chosen = options or Options()
    todo = chunks_to_do(store, plan.recipe.labels, chosen.only)
    chunks = np.unique(np.concatenate(list(todo.values())))
    if not len(chunks):
        return nothing_left(store, chosen, plan.figures)
    with ExitStack() as stack:
        listeners = (*listeners_for(chosen.progress, stack), *chosen.listeners)
        found = client_for(client, stack)
        stop_profiler(found)
        driver = Driver(plan, store, found, options=chosen, listeners=listeners)
        driver.watch.workers.hold(sum(entry.nbytes for entry in plan.recipe.models))
        started = RunStarted(
            store=str(store.target),
            items=store.n_items,
            chunks=len(chunks),
            todo={label: len(numbers) for label, numbers in todo.items()},
            workers=len(driver.watch.workers.addresses),
            dashboard=found.dashboard_link or "",
        )
        emit(listeners, started)
        return driver.run(Jobs(chunks))


def is_finished(store: Store, only: AbstractSet[Status] | None = None) -> bool:
    """Tell whether no item of a store is left to do, from its status arrays alone.

    Parameters
    ----------
    store : Store
        The store.
    only : set of Status, optional
        Take up items of these states; by default all that are not done.
    """
    return not any(len(chunks) for chunks in chunks_to_do(store, store.labels, only).values())


def nothing_left(store: Store, options: Options, figures: Figures | None = None) -> RunReport:
    """Report a run that had nothing to do."""
    report = RunReport(figures or Figures.nothing(), store=str(store.target))
    with ExitStack() as stack:
        emit((*listeners_for(options.progress, stack), *options.listeners), RunFinished(report))
    return report
