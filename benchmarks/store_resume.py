"""What a store of many items costs: making it, finding it finished, adding ten places, and the client's memory.

Run ``python -m benchmarks.store_resume [--items N] [--chunks 256]``; it prints each figure as a ratio to its bound
(below 1 is within) and exits non-zero if one is missed. Every step is a process of its own, whose peak memory counts
from after the places were made, so that it holds all that the package loads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import zarr

import rs_embed_dask as rs
from rs_embed_dask.store import Item, Status, Store

MODELS = ["bandstats", "rcf"]
YEAR = rs.TemporalSpec.year(2022)
ADDED = 10
MIB = 2**20
MEMORY_MIB = 300.0
# Seconds for a million items; the bound of fewer is the same, for it must hold at a million.
BOUNDS_S = {"create": 30.0, "again, columns": 5.0, "again, list": 20.0, "add 10": 5.0, "append 10": 2.0}
BOUNDS_S |= {"resume": 5.0, "status": 20.0}


def coordinates(count):
    rows = np.arange(count)
    return np.stack([5 + rows % 1000 * 0.01, 40 + rows // 1000 * 0.01], axis=1)


def frame(count):
    import geopandas as gpd

    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(*coordinates(count).T), crs="EPSG:4326")


def specs(count):
    return [rs.PointBuffer(x, y, buffer_m=256) for x, y in coordinates(count).tolist()]


def options(chunk_items):
    return {"provider": "synthetic", "buffer_m": 256.0, "chunk_items": chunk_items}


def make(places, path, chunk_items):
    """All that a call does before it computes."""
    from rs_embed_dask.api import _items
    from rs_embed_dask.engine.plan import Sizes
    from rs_embed_dask.engine.request import request_of
    from rs_embed_dask.engine.topup import store_for

    asked = options(chunk_items)
    items = _items(places, YEAR, asked)
    return store_for(path, items, request_of(MODELS, asked), sizes=Sizes(chunk_items=chunk_items))


def call(places, path, chunk_items):
    rs.compute_embeddings(places, MODELS, YEAR, out=path, progress=False, **options(chunk_items))


def append(places, path, _):
    store = Store.open(path, "r+")
    assert store.append_items([Item(0, place, YEAR) for place in places]) == ADDED


def resume(_, path, __):
    assert rs.resume(path, progress=False).chunks == 0


def report(_, path, __):
    assert repr(rs.status(path))


STEPS = {
    "create": (frame, make),
    "again, columns": (frame, call),
    "again, list": (specs, call),
    "add 10": (lambda count: frame(count + ADDED), make),
    "append 10": (lambda _: specs(ADDED), append),
    "resume": (lambda _: None, resume),
    "status": (lambda _: None, report),
}


def measure(name, path, count, chunk_items):
    """Do one step in this process, and print its figures as JSON."""
    make_places, action = STEPS[name]
    places = make_places(count)
    before = psutil.Process().memory_info().rss
    start, busy = time.perf_counter(), time.process_time()
    action(places, path, chunk_items)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": busy, "mib": (peak - before) / MIB}))


def finish(path):
    """Mark every item as done, with all files that a finished store has; what the vectors are does not matter here."""
    store = Store.open(path)
    keys = np.zeros(store.n_items, "uint64")
    for label in MODELS:
        first = store.chunk(0, label, keys=keys)
        for name in first.arrays.keys() - {"status"}:
            array = zarr.open_array(path / label / name, mode="r+").with_config({"write_empty_chunks": True})
            array[: first.size] = array[: first.size]
            for number in range(1, store.n_chunks):
                file = path / store.chunk(number, label, keys=keys).key(name)
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.hardlink_to(path / first.key(name))
        zarr.open_array(path / label / "status", mode="r+")[:] = int(Status.OK)


def in_process(name, path, count, chunk_items):
    command = [sys.executable, "-m", "benchmarks.store_resume", "--step", name, "--store", str(path)]
    sizes = ["--items", str(count), "--chunks", str(chunk_items)]
    done = subprocess.run([*command, *sizes], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(count, chunk_items):
    """All steps on one store; whether all were within their bounds."""
    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    print(f"{count:,} items, {len(MODELS)} models, {chunk_items} items a chunk; {load}")
    is_within = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        for name, bound in BOUNDS_S.items():
            found = in_process(name, path, count, chunk_items)
            ratio, memory = found["seconds"] / bound, found["mib"] / MEMORY_MIB
            is_within &= ratio < 1 and memory < 1
            print(
                f"  {name:15} {found['seconds']:6.1f} s = {ratio:4.2f} of {bound:.0f} s (CPU {found['cpu']:.1f} s);"
                f" +{found['mib']:4.0f} MiB = {memory:4.2f} of {MEMORY_MIB:.0f} MiB",
                flush=True,
            )
            if name in {"create", "append 10"}:
                finish(path)
    return is_within


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--chunks", default="256")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        measure(given.step, given.store, given.items, int(given.chunks))
        return
    results = [run(given.items, int(chunk)) for chunk in given.chunks.split(",")]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
