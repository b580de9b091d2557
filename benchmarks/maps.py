"""``python -m benchmarks.maps``: what a map costs over the least possible, and what it holds in memory.

For squares of 20, 40 and 80 km, on two worker processes, by a model without weights on the synthetic provider:

* *reads*: pixels that were read over the pixels of the blocks;
* *inference*: tokens that the network computed over the tokens of the blocks;
* *wall*: the time of the run over the larger of reading and embedding, each spread over the workers;
* *memory*: the largest resident size of a worker.

``--plan`` plans a square of 1,000 km instead, and ``--service KM`` makes a map from a STAC service of this machine and
compares the bytes that it sent with the size of its files.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from distributed import Client

import rs_embed_dask as rs
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.maps.compute import compute
from rs_embed_dask.maps.estimate import plan_of
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-06-12")
BANDS = ("blue", "green", "red", "nir")
MODEL = {"id": "bandstats", "options": {"bands": BANDS}}
CORNER = (500_000.0, 5_600_000.0)


def square(km: float) -> rs.BBox:
    left, bottom = CORNER
    return rs.BBox(left, bottom, left + 1000 * km, bottom + 1000 * km, crs="EPSG:32631")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(km: float) -> dict[str, float]:
    """Make one map and return its figures."""
    request = request_of(MODEL, {"provider": rs.open_provider("synthetic", cloud=0.0)})
    run = MapRun(Region.of(square(km)), MapRequest(request, (SPAN,)))
    plan = plan_of(run)
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster("local", processes=2) as local,
        Client(local, set_as_default=False) as client,
    ):
        idle = max(client.run(peak_mb).values())
        started = time.perf_counter()
        report = compute(run, Path(folder) / "map.zarr", client=client, options=Options(progress=False))
        wall = time.perf_counter() - started
        peaks = client.run(peak_mb)
    blocks = sum(counts.total() for counts in report.counts.values())
    embedding = sum(report.embed_seconds.values()) / 2
    return {
        "km": km,
        "blocks": blocks,
        "reads": plan.reads[0].excess,
        "inference": plan.models[0].inference,
        "wall_s": wall,
        "read_s": report.read_seconds / 2,
        "embed_s": embedding,
        "over": wall / max(report.read_seconds / 2, embedding),
        "idle_mb": idle,
        "peak_mb": max(peaks.values()),
    }


def plan_a_country() -> None:
    """Plan 1,000 x 1,000 km, and print the time and the memory that it takes."""
    before, started = peak_mb(), time.process_time()
    plan = rs.plan_map(square(1000), rs.ModelSpec("galileo", variant="nano"), SPAN, provider="synthetic")
    print(plan)
    print(f"{time.process_time() - started:.1f} s of CPU, {peak_mb() - before:.0f} MB more than {before:.0f} MB before")


def serve(km: float) -> None:
    """Make a map from a STAC service, and compare what it sent with the least possible."""
    from tests.services.map_demo import MODELS, SPAN as APRIL, landscape_of
    from tests.services.service import Service

    with tempfile.TemporaryDirectory() as folder:
        landscape = landscape_of(km)
        landscape.write(Path(folder) / "catalogue")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.tif"))
        with Service(Path(folder) / "catalogue", hrefs="local") as service:
            provider = rs.open_provider("stac", url=service.url, source="planetary_computer")
            rs.compute_map(
                landscape.whole, MODELS, APRIL, out=Path(folder) / "map.zarr", provider=provider, progress=False
            )
            sent = service.bytes_sent()
    print(f"{km:g} km: {sent / 1e6:.1f} MB sent, the files are {size / 1e6:.1f} MB: {sent / size:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--km", type=float, nargs="+", default=[20, 40, 80])
    parser.add_argument("--plan", action="store_true", help="plan 1,000 x 1,000 km")
    parser.add_argument("--service", type=float, metavar="KM", help="read from a STAC service of this machine")
    chosen = parser.parse_args()
    if chosen.plan:
        plan_a_country()
    elif chosen.service:
        serve(chosen.service)
    else:
        print(f"two workers on {os.cpu_count()} CPUs")
        for km in chosen.km:
            print("  ".join(f"{name} {value:.4g}" for name, value in measure(km).items()), flush=True)


if __name__ == "__main__":
    main()
