"""``python -m tests.services.demo --out DIR``: the demo on a STAC service of this machine (``make demo``).

The same walk as ``rs-embed-dask demo``, but pixels come as they do from Planetary Computer: scenes are written as
cloud-optimised GeoTIFFs with STAC items, found by a search, and read by byte ranges from a service that answers slowly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rs_embed_dask.demo.run import clear, walk
from rs_embed_dask.demo.stage import Stage
from rs_embed_dask.providers import open_provider
from tests.services.landscape_catalog import Landscape
from tests.services.loopback import Call, Fault
from tests.services.service import Service

ANSWER_S = 0.02


def slowly(call: Call) -> Fault | None:
    """Answer like a service that is far away."""
    return Fault(delay_s=ANSWER_S) if call.kind in {"range", "search"} else None


def serve_and_walk(out: Path, *, side: int) -> int:
    clear(out, "catalogue")
    landscape = Landscape(side)
    scenes = landscape.write(out / "catalogue")
    print(f"{side * landscape.place_m / 1000:g} km of ground as {scenes} scenes of Sentinel-2 in {out / 'catalogue'}")
    with Service(out / "catalogue", hrefs="local", rule=slowly) as service:
        print(f"a STAC API and its cloud-optimised GeoTIFFs at {service.url}\n", flush=True)
        provider = open_provider("stac", url=service.url, source="planetary_computer")
        code = walk(out, Stage(landscape, provider, landscape.span))
        answered, sent_mb = sum(service.counts().values()), service.bytes_sent() / 1e6
    print(f"service  {answered:,} requests answered, {sent_mb:.0f} MB sent")
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder of catalogue, store and picture")
    parser.add_argument("--side", type=int, default=8, choices=range(2, 9), help="places along each side")
    chosen = parser.parse_args()
    return serve_and_walk(chosen.out, side=chosen.side)


if __name__ == "__main__":
    sys.exit(main())
