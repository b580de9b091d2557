"""``python -m benchmarks.maps``: what a map costs over the least possible, and what it holds in memory.

For squares of 20, 40 and 80 km, on two worker processes, by a model without weights on the synthetic provider:

* *reads*: pixels that were read over the pixels of the blocks;
* *inference*: tokens that the network computed over the tokens of the blocks;
* *wall*: the time of the run over the larger of reading, spread over all reads at once, and embedding, spread over the
  workers;
* *memory*: the largest resident size of a worker.

``--plan`` plans a square of 1,000 km instead, and ``--service KM`` makes a map from a STAC service of this machine and
compares the bytes that it sent with the least possible: every tile of every file at full resolution once, and the head
of every file once.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
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
from rs_embed_dask.providers.geotiff import HEAD_BYTES, open_geotiff
from rs_embed_dask.providers.http import Access

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
    assert report.plan is not None
    crew = report.plan.crew
    reading, embedding = report.read_seconds / crew.fetch_slots, sum(report.embed_seconds.values()) / crew.embedders
    return {
        "km": km,
        "blocks": blocks,
        "reads": plan.reads[0].excess,
        "inference": plan.models[0].inference,
        "wall_s": wall,
        "read_s": reading,
        "embed_s": embedding,
        "over": wall / max(reading, embedding),
        "idle_mb": idle,
        "peak_mb": max(peaks.values()),
    }


def plan_a_country() -> None:
    """Plan 1,000 x 1,000 km, and print the time and the memory that it takes."""
    before, started = peak_mb(), time.process_time()
    plan = rs.plan_map(square(1000), rs.ModelSpec("galileo", variant="nano"), SPAN, provider="synthetic")
    print(plan)
    print(f"{time.process_time() - started:.1f} s of CPU, {peak_mb() - before:.0f} MB more than {before:.0f} MB before")


def least_bytes(files: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes of all tiles of some files at full resolution, and of their heads."""
    layouts = [open_geotiff(path.as_uri(), access=Access()).layout for path in files]
    heads = (min(HEAD_BYTES, path.stat().st_size) for path in files)
    return sum(int(one.counts.sum()) for one in layouts), sum(heads)


def serve(km: float, kept: Path | None) -> None:
    """Make a map from a STAC service on two workers, and compare what it sent with the least possible."""
    from tests.services.map_demo import MODELS, SPAN as APRIL, landscape_of
    from tests.services.service import Service

    with tempfile.TemporaryDirectory() as scratch:
        folder, landscape = kept or Path(scratch), landscape_of(km)
        if not (folder / "items.json").exists():
            landscape.write(folder)
        tiles, heads = least_bytes(sorted(folder.rglob("*.tif")))
        with (
            Service(folder, hrefs="local") as service,
            cluster("local", processes=2) as local,
            Client(local, set_as_default=False) as client,
        ):
            provider = rs.open_provider("stac", url=service.url, source="planetary_computer")
            request = request_of(MODELS, {"provider": provider})
            run = MapRun(Region.of(landscape.whole), MapRequest(request, (APRIL,)))
            report = compute(run, Path(scratch) / "map.zarr", client=client, options=Options(progress=False))
            own = f"bytes=0-{HEAD_BYTES - 1}"
            first = service.bytes_sent(lambda call: call.kind == "range" and call.byte_range == own)
            rest = service.bytes_sent(lambda call: call.kind == "range" and call.byte_range != own)
            searches = service.bytes_sent(lambda call: call.kind != "range")
    blocks = sum(counts.total() for counts in report.counts.values())
    print(
        f"{km:g} km, {blocks} blocks: tiles {rest / 1e6:.1f} MB of {tiles / 1e6:.1f}, {rest / tiles:.3f} x; "
        f"heads {first / 1e6:.1f} MB of {heads / 1e6:.1f}; searches {searches / 1e6:.1f} MB; "
        f"fetched over the least {(first + rest) / (tiles + heads):.3f} x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--km", type=float, nargs="+", default=[20, 40, 80])
    parser.add_argument("--plan", action="store_true", help="plan 1,000 x 1,000 km")
    parser.add_argument("--service", type=float, metavar="KM", help="read from a STAC service of this machine")
    parser.add_argument("--catalogue", type=Path, help="keep the files of the service here, or take those that are")
    chosen = parser.parse_args()
    if chosen.plan:
        plan_a_country()
    elif chosen.service:
        serve(chosen.service, chosen.catalogue)
    else:
        print(f"two workers on {os.cpu_count()} CPUs")
        for km in chosen.km:
            print("  ".join(f"{name} {value:.4g}" for name, value in measure(km).items()), flush=True)


if __name__ == "__main__":
    main()
