"""How long it takes to find out that nothing is left of a finished store of 100,000 items.

Run ``python -m benchmarks.store_resume [--items N] [--chunks 64,256]``; it prints each figure against its bound and
exits non-zero if one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil
import zarr

from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import Item, ModelLayout, Status, Store, status

BOUND_S = 2.0
YEAR = TemporalSpec.year(2022)


def items(count):
    for row in range(count):
        yield Item(row, PointBuffer(lon=5 + row % 1000 * 0.01, lat=40 + row // 1000 * 0.01, buffer_m=256), YEAR)


def timed(action):
    start = time.perf_counter()
    found = action()
    return found, time.perf_counter() - start


def finished_store(path, count, chunk_items):
    """A store whose status says that all is done; what the vectors are does not matter here."""
    models = [ModelLayout("galileo", 128), ModelLayout("rcf", 512)]
    store, took = timed(
        lambda: Store.create(path, items=items(count), models=models, request={}, chunk_items=chunk_items)
    )
    for label in store.labels:
        zarr.open_array(path / label / "status", mode="r+")[:] = int(Status.OK)
    return took


def decide(path):
    """What a run does first: open the store, and ask each model what is left."""
    store = Store.open(path, "r+")
    return [store.pending(label).size for label in store.labels]


def measure(count, chunk_items):
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        before = process.memory_info().rss
        create_s = finished_store(path, count, chunk_items)
        grown_mib = (process.memory_info().rss - before) / 2**20
        left, decide_s = timed(lambda: decide(path))
        match, match_s = timed(lambda: Store.open(path).match_items(items(count)))
        _, report_s = timed(lambda: repr(status(path)))
        files = sum(1 for found in path.rglob("*") if found.is_file())
    assert left == [0, 0]
    assert (match.known, match.new, match.absent) == (count, (), 0)
    verdict = "within" if decide_s < BOUND_S else "MISSES"
    print(
        f"{count:,} items, 2 models, {chunk_items} items a chunk: "
        f"decided in {decide_s:.2f} s ({verdict} {BOUND_S:.0f} s); "
        f"created in {create_s:.1f} s (+{grown_mib:.0f} MiB, {files:,} files); "
        f"comparing the request's items {match_s:.1f} s; status report {report_s:.1f} s"
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
