"""A map of a whole real granule by Galileo's real weights, with scores: ``make real-map DATA=DIR``.

The granule 29RKH of DIR (110 km of the Sahara, every tenth pixel of Sentinel-2: 100 m) is served as cloud-optimised
GeoTIFFs with a STAC item by a local copy of the Planetary Computer's services. Two worker processes make maps of it by
Galileo nano (weights from DIR): with windows that overlap by several shares of their side, each with the positions of
the windows kept, and removed by the package's own rule. It ends with a table of scores and a picture.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import rasterio
from distributed import Client

import rs_embed_dask as rs
from examples import real_map_picture, real_map_scores
from tests.services import real_imagery
from tests.services.catalog import Catalog
from tests.services.service import Service

OVERLAPS = {"0": 0.0, "1/12": 1 / 12, "1/6": 1 / 6, "1/3": 1 / 3, "1/2": 1 / 2}
POSITIONS = {"kept": "kept", "removed": "auto"}
SPAN = rs.TemporalSpec.range("2020-02-19", "2020-02-20")
# The classes of the scene are what the maps are judged by, so that clouds stay in.
FETCH = rs.FetchSpec(resolution_m=100, mask="none")
PATCH_PX = 8
COLUMNS = {
    "inference": "{:.2f}",
    "seam_median": "{:.2f}",
    "seam_p99": "{:.2f}",
    "lattice": "{:.4f}",
    "probe": "{:.3f}",
    "same_place": "{:.1%}",
    "chance": "{:.1%}",
}


def catalogue(data, out):
    """The granule alone, as a catalogue."""
    folder = Catalog(out / "catalogue", account="realimages")
    folder.add(real_imagery.granule(data))
    return folder.save()


def region(data):
    with rasterio.open(data / real_imagery.GRANULE / "B04.tif") as band:
        return rs.BBox(*band.bounds, crs=str(band.crs))


def path_of(out, overlap, positions):
    return out / f"overlap-{overlap.replace('/', '-')}-{positions}.zarr"


def maps(data, out, overlaps):
    """Make every map and yield a row of the table for each."""
    weights = data / "galileo" / "nano" / "encoder.pt"
    model = rs.ModelSpec("galileo", variant="nano", weights=weights, options={"patch_px": PATCH_PX}, name="galileo")
    with Service(catalogue(data, out), hrefs="azure") as service:
        # workers are made after this, so the planetary-computer client in them talks to the local service
        os.environ.update(service.environment())
        provider = rs.open_provider("planetary_computer", url=service.url)
        asked = {"provider": provider, "fetch": FETCH}
        with rs.cluster("local", processes=2) as made, Client(made) as client:
            for overlap in overlaps:
                share = OVERLAPS[overlap]
                figures = rs.plan_map(region(data), model, SPAN, overlap=share, **asked).models[0]
                for name, positions in POSITIONS.items():
                    path, started = path_of(out, overlap, name), time.perf_counter()
                    where = {"out": path, "client": client, "progress": False, "preview": False}
                    rs.compute_map(region(data), model, SPAN, overlap=share, positions=positions, **where, **asked)
                    took = time.perf_counter() - started
                    print(f"overlap {overlap:4} positions {name:8} {figures.windows} windows, {took:.0f} s", flush=True)
                    yield {
                        "overlap": overlap,
                        "positions": name,
                        "inference": (figures.window / figures.stride) ** 2,
                        **rs.map_scores(path).loc["galileo"].to_dict(),
                        **real_map_scores.judged(path, data),
                    }


def printed(table):
    """The table as Markdown."""
    names = ["overlap", "positions", *COLUMNS]
    rows = [[row[name] if name in row and name not in COLUMNS else COLUMNS[name].format(row[name]) for name in names]
            for row in table.to_dict("records")]  # fmt: skip
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real images and weights")
    parser.add_argument("--out", type=Path, default=Path("real-map-out"), help="where maps and picture go")
    parser.add_argument("--overlaps", nargs="+", choices=OVERLAPS, default=[*OVERLAPS], help="shares of a window")
    chosen = parser.parse_args()
    data, out = chosen.data.resolve(), chosen.out
    if not (data / "galileo" / "nano" / "encoder.pt").exists():
        parser.error(f"--data {chosen.data}: it has no galileo/nano/encoder.pt. Fix: name the folder of the real data")
    # a map of an earlier run was made from a service at another port: it would be refused as another request
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    started = time.perf_counter()
    table = pd.DataFrame(maps(data, out, chosen.overlaps))
    table.to_csv(out / "scores.csv", index=False)
    for positions in POSITIONS:
        status = rs.status(path_of(out, chosen.overlaps[0], positions))
        print(f"\n{status}")
    print(f"\n{printed(table)}\n")
    real_map_picture.save(out / "real-map.png", table, data=data, path_of=lambda *which: path_of(out, *which))
    print(f"{time.perf_counter() - started:.0f} s. The picture: {out / 'real-map.png'}")


if __name__ == "__main__":
    main()
