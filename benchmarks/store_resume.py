"""How long it takes to find out that nothing is left of a finished store of 100,000 items.

Run ``python -m benchmarks.store_resume [--items N] [--chunks 64,256]``; it prints each figure against its bound and
exits non-zero if one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import psutil
import zarr

import rs_embed_dask as rs
from rs_embed_dask.engine.plan import make_plan
from rs_embed_dask.engine.request import Request
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import Item, Status, Store, status

BOUND_S = 2.0
YEAR = TemporalSpec.year(2022)


def items(count):
    for row in range(count):
        yield Item(row, PointBuffer(lon=5 + row % 1000 * 0.01, lat=40 + row // 1000 * 0.01, buffer_m=256), YEAR)


def timed(action):
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def finished_store(path, count, chunk_items):
    """A store whose status states that all is done; the vectors do not matter here."""
    request = Request(models=("bandstats", "rcf"), provider=rs.open_provider("synthetic"))
    layouts = make_plan(list(islice(items(count), 1)), request).layouts
    fields = {"models": layouts, "request": request.to_dict(), "chunk_items": chunk_items}
    store, took = timed(lambda: Store.create(path, items=items(count), **fields))
    for label in store.labels:
        zarr.open_array(path / label / "status", mode="r+")[:] = int(Status.OK)
    return took


def again(path, count):
    """The call that made the store, with all its places."""
    places = [item.spatial for item in items(count)]
    rs.compute_embeddings(places, ["bandstats", "rcf"], YEAR, provider="synthetic", out=path, progress=False)


def measure(count, chunk_items):
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        before = process.memory_info().rss
        create_s = finished_store(path, count, chunk_items)
        grown_mib = (process.memory_info().rss - before) / 2**20
        report, decide_s = timed(lambda: rs.resume(path, progress=False))
        _, again_s = timed(lambda: again(path, count))
        _, report_s = timed(lambda: repr(status(path)))
        files = sum(1 for file in path.rglob("*") if file.is_file())
    assert (report.chunks, report.is_over) == (0, True)
    verdict = "within" if decide_s < BOUND_S else "MISSES"
    print(
        f"{count:,} items, 2 models, {chunk_items} items per chunk: "
        f"rs.resume finds nothing left in {decide_s:.2f} s ({verdict} {BOUND_S:.0f} s); "
        f"created in {create_s:.1f} s (+{grown_mib:.0f} MiB, {files:,} files); "
        f"the same call again, with its places, {again_s:.1f} s; status report {report_s:.1f} s"
    )
    return decide_s < BOUND_S


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--chunks", default="64,256,1024")
    options = parser.parse_args()
    print(f"bound: {BOUND_S:.0f} s to decide that a finished store has nothing left")
    results = [measure(options.items, int(chunk)) for chunk in options.chunks.split(",")]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
