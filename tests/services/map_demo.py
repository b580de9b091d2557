"""``python -m tests.services.map_demo --out DIR``: a region of 20 x 20 km as a map (``make map``).

A made landscape is delivered as cloud-optimised GeoTIFFs by a STAC service of this machine. Two worker processes make
a map of it by two models that need no weights; one of them is killed on the way. It ends with numbers, the map's
scores and a picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distributed import Client
from matplotlib.figure import Figure

import rs_embed_dask as rs
from rs_embed_dask.demo.run import KillsOneWorker, clear
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.report import emit
from rs_embed_dask.providers import open_provider
from tests.services import landscape_catalog
from tests.services.landscape_catalog import Landscape
from tests.services.service import Service

KM = 20
SPAN = rs.TemporalSpec.range("2022-04-01", "2022-05-01")
BANDS = ("blue", "green", "red", "nir")
OPTIONS = {"bands": BANDS, "patch_px": 4}
MODELS = [{"id": "rcf", "options": {"features": 32, **OPTIONS}}, {"id": "bandstats", "options": OPTIONS}]


@dataclass(frozen=True)
class Delivered(Landscape):
    """A landscape in four bands and the mask of clouds, in tiles of ten kilometres."""

    def _layers(self, scene, grid, names):
        wanted = landscape_catalog.FINE if grid.resolution_m == landscape_catalog.FINE_M else ("SCL",)
        return super()._layers(scene, grid, wanted)


def landscape_of(km: float) -> Delivered:
    return Delivered(side=8, place_m=1000 * km / 8, span=SPAN)


def make(out: Path, *, km: float) -> int:
    clear(out, "catalogue", "map.zarr", "map.png")
    started = time.perf_counter()
    landscape = landscape_of(km)
    scenes = landscape.write(out / "catalogue")
    print(f"{km:g} x {km:g} km of ground as {scenes} scenes of Sentinel-2, {time.perf_counter() - started:.0f} s")
    with Service(out / "catalogue", hrefs="local") as service:
        provider = open_provider("stac", url=service.url, source="planetary_computer")
        code = _mapped(out, landscape, provider)
        print(f"service  {sum(service.counts().values()):,} requests, {service.bytes_sent() / 1e6:.0f} MB sent")
    print(f"time     {time.perf_counter() - started:.0f} s in all")
    return code


def _mapped(out: Path, landscape: Landscape, provider) -> int:
    plan = rs.plan_map(landscape.whole, MODELS, SPAN, provider=provider)
    half = sum(sum(one.blocks.values()) for one in plan.models) // 2
    started = time.perf_counter()
    with cluster("local", processes=2) as local, Client(local, set_as_default=False) as client:
        mishap = KillsOneWorker(client.run(os.getpid), after=max(1, half), write=partial(print, flush=True))
        shown = partial(emit, (partial(_shows, str(plan)), mishap))
        rs.compute_map(
            landscape.whole, MODELS, SPAN, out=out / "map.zarr", provider=provider, client=client, progress=shown
        )
    status = rs.status(out / "map.zarr")
    print(f"{status}\n\n{rs.map_scores(out / 'map.zarr').T.round(4).to_string()}\n")
    figure = Figure(figsize=(12, 6), layout="constrained")
    for axes, label in zip(figure.subplots(1, len(MODELS)), status.counts, strict=True):
        rs.plot.map(out / "map.zarr", label, ax=axes)
    figure.savefig(out / "map.png", dpi=80)
    print(f"map      {out / 'map.zarr'}, made in {time.perf_counter() - started:.0f} s; a worker was killed on the way")
    print(f"picture  {out / 'map.png'}")
    return 0 if status.is_finished and not status.n_retryable and mishap.killed else 1


def _shows(plan: str, event: object) -> None:
    if type(event).__name__ == "RunStarted":
        print(f"{plan}\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("map-out"), help="folder of catalogue, map and picture")
    parser.add_argument("--km", type=float, default=KM, help="side of the region")
    chosen = parser.parse_args()
    return make(chosen.out, km=chosen.km)


if __name__ == "__main__":
    sys.exit(main())
