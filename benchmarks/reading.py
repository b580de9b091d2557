"""``python -m benchmarks.reading``: what one place costs to read, by us and by the tools that one could use instead.

Twelve dates by twelve bands of places of several sizes, from a service of this machine that waits before each answer
to a request for a file. Each measurement is a process of its own; of several rounds the quickest one counts.
*Memory* is the peak beyond what the process held before; *need* is the result, what is composited, and 16 reads in
flight.

Ways that need more than the package: ``pip install rs-embed-dask[bench]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from benchmarks.reading_catalogue import BANDS, DATES, write
from benchmarks.reading_ways import AT_ONCE, WAYS
from tests.services.service_process import ServiceProcess

FILES = DATES * len(BANDS)
BLOCK_MB = 512 * 512 * 2 / 2**20
KINDS = ("head", "range", "whole")
ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": "65536"}
"""As in the processes that a Dask nanny starts: what is freed goes back to the system."""
TOUCH = "import sys, numpy; numpy.empty(int(float(sys.argv[1]) * 2**30), numpy.uint8)[::4096] = 1"
PEERS = ("rasterio", "odc-stac", "stackstac", "async-geotiff")


def once(way, service, km):
    """Measure one way in a new process; with the requests and bytes that the service counted."""
    service.forget()
    command = [sys.executable, "-m", "benchmarks.reading_ways", way, service.url, str(km)]
    environment = os.environ | ALLOCATION
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    if "missing" not in figures:
        counts = service.counts()
        figures |= {"requests": sum(counts[kind] for kind in KINDS), "mb": service.tell(ask="file bytes") / 1e6}
    return figures


def in_flight_mb(km):
    """The blocks under 16 reads, compressed to half and not: at most so many lie under one of the finest files."""
    blocks = min(int(km * 100) // 512 + 2, 5) ** 2
    return AT_ONCE * 1.5 * blocks * BLOCK_MB


def rows_of(figures, km):
    """The lines of a table: wall, requests and bytes as they are and over those that they are compared with."""
    there = {way: one for way, one in figures.items() if "missing" not in one}
    fastest = min((there[way]["wall_s"] for way in PEERS if way in there), default=float("nan"))
    plain_mb = there.get("rasterio", {}).get("mb", float("nan"))
    for way, one in figures.items():
        if way not in there:
            yield f"| {way} | {one['missing']} is not installed: pip install rs-embed-dask[bench] |"
            continue
        need = one["result_mb"] + one["composited_mb"] + in_flight_mb(km)
        yield (
            f"| {way} | {one['wall_s']:.2f} | {one['wall_s'] / fastest:.2f} | {one['requests']} | "
            f"{one['requests'] / FILES:.2f} | {one['mb']:.0f} | {one['mb'] / plain_mb:.2f} | {one['cpu_s']:.1f} | "
            f"{one['peak_mb']:.0f} | {one['peak_mb'] / need:.2f} | {one['tasks']} |"
        )


def compare(service, km, *, rounds, ways, warm_gib):
    """Measure all ways in turn, so many times, and keep of each the quickest."""
    best = {}
    for _ in range(rounds):
        for way in ways:
            if warm_gib:
                subprocess.run([sys.executable, "-c", TOUCH, str(warm_gib)], check=True)
            one = once(way, service, km)
            if way not in best or one.get("wall_s", 0) < best[way].get("wall_s", 0):
                best[way] = one
    sums = {way: one["sum"] for way, one in best.items() if one.get("sum")}
    if len(set(sums.values())) > 1:
        raise SystemExit(f"the ways read different numbers: {sums}")
    return best


HEAD = (
    "| way | wall s | x fastest other | requests | a file | MB | x rasterio | CPU s | memory MB | x need | tasks |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--km", type=float, nargs="+", default=[0.5, 4, 20], help="sides of the places")
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 20, 50, 100], help="in milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument(
        "--warm",
        type=float,
        default=0,
        help="GiB to take and give back before each measurement: a virtual machine may have returned free memory to "
        "its host, and then pays for it anew, whoever reads",
    )
    parser.add_argument("--catalogue", type=Path, help="keep the files of the service here, or take those that are")
    chosen = parser.parse_args()
    scratch = nullcontext(chosen.catalogue) if chosen.catalogue else tempfile.TemporaryDirectory()
    with scratch as folder:
        if not (Path(folder) / "items.json").exists():
            write(Path(folder))
        with ServiceProcess(Path(folder), hrefs="local") as service:
            for km in chosen.km:
                for latency in chosen.latency:
                    service.faults({"fault": {"delay_s": latency / 1000}, "kinds": KINDS})
                    load = os.getloadavg()[0]
                    figures = compare(service, km, rounds=chosen.rounds, ways=chosen.ways, warm_gib=chosen.warm)
                    print(f"\n{km:g} km, {latency:g} ms, load {load:.1f} on {os.cpu_count()} CPUs\n\n{HEAD}")
                    print("\n".join(rows_of(figures, km)), flush=True)


if __name__ == "__main__":
    main()
