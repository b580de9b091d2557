"""How long an exact search of a map takes, against 2 s for 10 million vectors of 128 bytes on 16 cores.

Run ``python -m benchmarks.search [--vectors 1000000] [--dim 128] [--cores 1] [--folder DIR]``. It writes a map of
random int8 vectors, searches all of it, from the files on, and prints the median time of five searches (on one core,
of CPU, which other work does not lengthen), the same scaled to 10 million vectors on 16 cores, and the ratio to the
target. Scaling by cores is an assumption: blocks are independent, and no more than their best comes back. Last it
searches by codes, and counts which of the best 100 are the same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import time
from pathlib import Path

import numpy as np
from distributed import Client

import rs_embed_dask as rs
from benchmarks.scratch import scratch
from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.store import Asked, BlockKey, BlockResult, BlockSet, MapGroup, MapLayout, MapStore, Status

SPAN = (dt.date(2022, 1, 1), dt.date(2023, 1, 1))
SIDE = 256
FIRST = 100
TARGET_S, TARGET_VECTORS, TARGET_CORES = 2.0, 10_000_000, 16


def write_map(path, vectors, dim):
    """Write a map of as many whole blocks as hold the vectors; return how many there are."""
    layout = MapLayout("model", dim=dim, token_m=80.0, block=SIDE, dtype="int8")
    group = MapGroup.from_dict(lattice_for("utm31", layout.token_m, SIDE).to_dict())
    count = -(-vectors // SIDE**2)
    rows = max(1, round(count**0.5))
    blocks = BlockSet.of((FIRST + at // rows, at % rows) for at in range(count))
    store = MapStore.create(path, [Asked(layout, (SPAN,), {group: blocks})], request={})
    random = np.random.default_rng(0)
    for row, col in blocks:
        codes = random.integers(-127, 128, (dim, SIDE, SIDE), dtype="int8")
        result = BlockResult(Status.OK, codes, np.full((SIDE, SIDE), 0.01, "float16"))
        store.write_block(BlockKey("model", "utm31", 0, row, col), result)
    return len(blocks) * SIDE**2


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def busy(action):
    """Seconds of this process's CPU, which other work on the machine does not lengthen as it does the wall clock."""
    start = time.process_time()
    action()
    return time.process_time() - start


def measure(folder, vectors, dim, cores):
    path = str(folder / "map.zarr")
    count = write_map(path, vectors, dim)
    query = np.random.default_rng(1).normal(size=dim)
    with Client(n_workers=cores, threads_per_worker=1, dashboard_address=None) as client:
        where = {"client": client} if cores > 1 else {}
        tree = rs.open_map(path)
        rs.search(tree, query, k=100, **where)
        clock = timed if cores > 1 else busy
        seconds = statistics.median(clock(lambda: rs.search(tree, query, k=100, **where)) for _ in range(5))
        wall = statistics.median(timed(lambda: rs.search(tree, query, k=100, **where)) for _ in range(5))
    scaled = seconds * TARGET_VECTORS / count * min(1.0, cores / TARGET_CORES)
    print(f"{count:,} vectors of {dim} bytes, {cores} core(s): {seconds:.2f} s ({wall:.2f} s of wall clock)")
    target = f"{TARGET_VECTORS:,} on {TARGET_CORES} cores"
    print(f"scaled to {target}: {scaled:.2f} s, {scaled / TARGET_S:.2f} of the target of {TARGET_S:g} s")
    measure_codes(tree, query, folder / "codes")


def measure_codes(tree, query, codes):
    """Make codes and search by them; say how many of the best 100 are the same."""
    made = busy(lambda: rs.search(tree, query, k=100, codes=codes))
    seconds = statistics.median(busy(lambda: rs.search(tree, query, k=100, codes=codes)) for _ in range(3))
    both = [rs.search(tree, query, k=100, **how)[["x", "y"]] for how in ({}, {"codes": codes})]
    size = sum(file.stat().st_size for file in codes.rglob("*") if file.is_file())
    print(f"codes: made and searched in {made:.2f} s, {size / 2**20:.0f} MiB; searched in {seconds:.2f} s")
    print(f"of the best 100 the same: {len(both[0].merge(both[1]))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with scratch(options.folder) as folder:
        measure(folder, options.vectors, options.dim, options.cores)


if __name__ == "__main__":
    main()
