"""What everything else waits for, each against its bound: the import, and a small read of the synthetic provider.

The import is timed in new interpreters, the quickest of several. The other benchmarks and the tests read from the
synthetic provider; where it is slow, they measure pixels that nobody asked for. A read is 52 x 52 pixels of ten
Sentinel-2 bands in a month of six scenes; the quickest of several places counts.

    python -m benchmarks.overhead [--imports 5] [--places 24]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers import load
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs.fetch import FetchSpec

IMPORT_S = 0.3
READ_S = 0.033
JUNE = Span("2022-06-01", "2022-07-01")
TIMED = "import time; t = time.perf_counter(); import rs_embed_dask; print(time.perf_counter() - t)"


def import_seconds():
    """How long a new interpreter takes to import the package."""
    done = subprocess.run([sys.executable, "-c", TIMED], check=True, capture_output=True, text=True)
    return float(done.stdout)


def read_seconds(provider, read):
    """How much of a core a read takes."""
    started = time.process_time()
    load(provider, read)
    return time.process_time() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--imports", type=int, default=5)
    parser.add_argument("--places", type=int, default=24)
    options = parser.parse_args()
    took = min(import_seconds() for _ in range(options.imports))
    print(f"import: {1000 * took:.0f} ms; time / {IMPORT_S:g} s = {took / IMPORT_S:.2f}, at most 1")
    bands = tuple(band.common for band in sensor("s2").bands[1:11])
    grids = [Grid("EPSG:32631", (10, 0, 5e5 + 3e3 * n, 0, -10, 5.6e6), (52, 52)) for n in range(options.places)]
    reads = [Read(grid, "s2", bands, (JUNE,), FetchSpec()) for grid in grids]
    took = min(read_seconds(Synthetic(), read) for read in reads)
    print(f"read: {1000 * took:.1f} ms; time / {READ_S:g} s = {took / READ_S:.2f}, at most 1")


if __name__ == "__main__":
    main()
