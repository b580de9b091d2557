"""How near the engine comes to max(fetch, compute) when every read takes a different time.

Reads wait as a service would (lognormal, median 0.5 s, sigma 0.8) in 16 slots of two processes. The bound is the longer
of two things that cannot be avoided: the waits added up over the slots, and the model's own time over the embedders.
What is above 1 is the engine, the synthetic pixels, the store, and the last reads that nothing is left to overlap with.

    python -m benchmarks.pipeline [--places 1280] [--median 0.5] [--sigma 0.8] [--slots 16]
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from pathlib import Path

from distributed import Client

from benchmarks.places import Row
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.plan import Sizes, make_plan
from rs_embed_dask.engine.request import Request
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.store import Store

PROCESSES = 2


def run(plan, connected, target):
    """Run a plan into a new store."""
    store = Store.create(
        target, items=plan.items, models=plan.layouts, request=plan.request.to_dict(), chunk_items=plan.chunk_items
    )
    started = time.perf_counter()
    report = run_plan(plan, store, connected, options=Options(progress=False))
    return report, time.perf_counter() - started


def waits(plan, provider):
    """How long each read waits."""
    group = plan.recipe.groups[0]
    reads = (group.read(item.spatial, item.temporal) for item in plan.items)
    return [provider._wait_s(read) for read in reads]  # noqa: SLF001 - the benchmark must know how long each read waits


def in_order(each, slots):
    """The time that so many slots take for the waits alone, each slot taking the next read when it is free."""
    free = [0.0] * slots
    for seconds in each:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--places", type=int, default=1280)
    parser.add_argument("--median", type=float, default=0.5)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--slots", type=int, default=16)
    options = parser.parse_args()
    provider = Synthetic(cloud=0.1, latency_s=(options.median, options.sigma))
    request = Request("rcf", provider)
    plan = make_plan(Row(options.places, buffer_m=160), request, sizes=Sizes(chunk_items=64))
    warm = make_plan(Row(16, buffer_m=160), Request("rcf", Synthetic(cloud=0.1)), sizes=Sizes(chunk_items=8))
    each = waits(plan, provider)
    with (
        cluster("local", processes=PROCESSES, fetch_slots=options.slots) as local,
        Client(local) as connected,
        tempfile.TemporaryDirectory() as folder,
    ):
        run(warm, connected, Path(folder) / "warm.zarr")
        report, wall = run(plan, connected, Path(folder) / "run.zarr")
    compute = sum(report.totals.embed_seconds.values()) / PROCESSES
    fetch = sum(each) / options.slots
    bound = max(fetch, compute)
    print(f"{options.places} places, {options.slots} slots: waits of {sum(each):.0f} s, the longest {max(each):.1f} s")
    print(f"fetch bound {fetch:.1f} s, compute bound {compute:.1f} s, wall {wall:.1f} s")
    print(f"the waits alone, taken in order, need {in_order(each, options.slots):.1f} s")
    print(f"batches of {options.places / sum(report.totals.batches.values()):.1f} items on average")
    print(f"wall time / bound = {wall / bound:.3f}")


if __name__ == "__main__":
    main()
