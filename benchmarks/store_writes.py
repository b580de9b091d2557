"""What it costs to write chunks safely: flushing each file to the disk, and a checksum per row.

Run ``python -m benchmarks.store_writes [--items 64,1024] [--dim 1024] [--chunks 12] [--folder DIR]``. It writes the
same chunks to a local disk with and without flushing, in turn, and prints the median time of a chunk each way, their
ratio, and the share of the checksums.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from zarr.storage import LocalStore

from benchmarks.scratch import scratch
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Status, Store, verify
from rs_embed_dask.store.layout import STATUS

YEAR = TemporalSpec.year(2022)


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def items(count):
    for row in range(count):
        yield Item(row, PointBuffer(lon=5 + row % 1000 * 0.01, lat=40 + row // 1000 * 0.01, buffer_m=256), YEAR)


def result_of(rows, dim, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype="float32")
    names = [f"S2B_MSIL2A_20220601_{seed}_{row}" for row in range(rows)]
    return ChunkResult(np.arange(rows), np.full(rows, int(Status.OK), "uint8"), vectors, scenes=names)


def checksum_s(store, rows):
    """Seconds for the checksums of one chunk."""
    chunk = store.chunk(0, "model")
    columns = {name: chunk.read(name) for name in chunk.arrays if name != STATUS.name}
    codes = np.full(rows, int(Status.OK), "uint8")
    return min(timed(lambda: chunk.checksums(columns, np.arange(rows), codes)) for _ in range(3))


def measure(folder, rows, dim, chunks):
    layout = ModelLayout("model", dim=dim)
    targets = {"flushed": folder / "flushed.zarr", "plain": LocalStore(folder / "plain.zarr")}
    keep = {"models": [layout], "request": {}, "chunk_items": rows}
    stores = {name: Store.create(target, items=items(rows * chunks), **keep) for name, target in targets.items()}
    seconds = {name: [] for name in stores}
    for number in range(chunks):
        result = result_of(rows, dim, number)
        for name, store in stores.items():
            seconds[name].append(timed(lambda store=store: store.write_chunk(number, "model", result)))  # noqa: B023
    flushed, plain = (statistics.median(seconds[name]) for name in ("flushed", "plain"))
    sums = checksum_s(stores["flushed"], rows)
    verify_s = timed(lambda: verify(targets["flushed"]))
    print(
        f"{rows} items x {dim} ({rows * dim * 4 / 2**20:.1f} MiB a chunk): flushed {flushed * 1e3:.1f} ms, "
        f"not flushed {plain * 1e3:.1f} ms, ratio {flushed / plain:.2f}; checksums {sums * 1e3:.2f} ms "
        f"({100 * sums / flushed:.0f} %); verify reads {rows * chunks / verify_s:,.0f} items a second"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", default="64,1024")
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--chunks", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    for rows in options.items.split(","):
        with scratch(options.folder) as folder:
            measure(folder, int(rows), options.dim, options.chunks)


if __name__ == "__main__":
    main()
