"""Real Sentinel-2 images and Galileo's real weights, end to end on this machine: ``make real DATA=DIR``.

The images of DIR are served as cloud-optimised GeoTIFFs with STAC items by a local copy of the Planetary Computer's
services, which the unmodified client signs links with. Two worker processes read them through the
`planetary_computer` provider, run Galileo nano (weights from DIR) and the baseline `rcf`, and write two stores:

* ``belgium.zarr``: one square kilometre, each month of 2020-11 .. 2021-10 and the whole year as one series. Two months
  have no optical data. The series lacks band B8A, for which B08 stands in.
* ``granule.zarr``: the whole granule 29RKH (110 km of the Sahara, decimated to 100 m and read at 200) in 121 squares.
* ``river.zarr``: a Sentinel-2 scene of New Zealand with a river, read from its file.
"""

from __future__ import annotations

import argparse
import calendar
import datetime as dt
import os
import shutil
import time
from pathlib import Path

import rasterio
from distributed import Client

import rs_embed_dask as rs
from examples import real_picture
from tests.services import real_imagery
from tests.services.service import Service

MODELS = ("galileo-nano", "rcf")
UTM_BELGIUM, UTM_GRANULE = "EPSG:32631", "EPSG:32629"
BELGIUM = (664_000.0, 5_611_120.0, 665_000.0, 5_612_120.0)
GRANULE_CORNER = (202_000.0, 2_692_400.0)
GRANULE_SIDE_M, GRANULE_COUNT = 9_600.0, 11
RIVER_SCENE = "galileo/20201002T221611_20201002T221610_T60HWB.tif"
RIVER_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
RIVER_SIDE_M, RIVER_COUNT = 880.0, 3
MONTH_DAYS = 30
STORES = ("belgium", "granule", "river")


def models(data, patch_px):
    weights = data / "galileo" / "nano" / "encoder.pt"
    galileo = rs.ModelSpec("galileo", variant="nano", weights=weights, options={"patch_px": patch_px})
    return [galileo, rs.ModelSpec("rcf", options={"patch_px": patch_px, "bias": 0.0})]


def tiles(patch_px):
    """A tile a token: Galileo's tokens carry their position, which would show in a picture of a larger image."""
    return rs.InputPrep.tile(tile_px=patch_px, max_tiles=1024)


def months():
    """A span of at most 30 days from the first of each month, and the whole series."""
    for number in range(12):
        year, month = 2020 + (number + 10) // 12, (number + 10) % 12 + 1
        first = dt.date(year, month, 1)
        days = min(MONTH_DAYS, calendar.monthrange(year, month)[1])
        yield f"{year}-{month:02}", rs.TemporalSpec.range(first, first + dt.timedelta(days=days))
    yield "whole series", rs.TemporalSpec.range("2020-11-01", "2021-11-01")


def squares(corner, side_m, count, crs):
    """Squares side by side, row by row from the south-west."""
    for row in range(count):
        for column in range(count):
            x, y = corner[0] + column * side_m, corner[1] + row * side_m
            yield rs.BBox(x, y, x + side_m, y + side_m, crs=crs)


def belgium(data, out, provider, client):
    ids, spans = zip(*months(), strict=True)
    place = rs.BBox(*BELGIUM, crs=UTM_BELGIUM)
    return rs.compute_embeddings(
        [place] * len(spans),
        models(data, 4),
        list(spans),
        out=out,
        client=client,
        prep=tiles(4),
        ids=ids,
        output="grid",
        provider=provider,
        # the composites are free of clouds already and have no SCL
        fetch=rs.FetchSpec(mask="none"),
        chunk_items=4,
    )


def granule(data, out, provider, client):
    return rs.compute_embeddings(
        list(squares(GRANULE_CORNER, GRANULE_SIDE_M, GRANULE_COUNT, UTM_GRANULE)),
        models(data, 8),
        rs.TemporalSpec.range("2020-02-19", "2020-02-20"),
        out=out,
        client=client,
        prep=tiles(8),
        output="grid",
        provider=provider,
        fetch=rs.FetchSpec(resolution_m=200),
        chunk_items=16,
    )


def river(data, out, client):
    path = data / RIVER_SCENE
    with rasterio.open(path) as scene:
        crs, (left, bottom, _, _) = str(scene.crs), scene.bounds
    return rs.compute_embeddings(
        list(squares((left, bottom), RIVER_SIDE_M, RIVER_COUNT, crs)),
        models(data, 4),
        rs.TemporalSpec.range("2020-10-02", "2020-10-03"),
        out=out,
        client=client,
        prep=tiles(4),
        output="grid",
        provider=rs.open_provider("files", source=path, sensor="sentinel-2-l1c", bands=RIVER_BANDS),
        fetch=rs.FetchSpec(mask="none"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real images and weights")
    parser.add_argument("--out", type=Path, default=Path("real-out"), help="where stores and picture go")
    chosen = parser.parse_args()
    data, out = chosen.data.resolve(), chosen.out
    if not (data / "galileo" / "nano" / "encoder.pt").exists():
        parser.error(f"--data {chosen.data}: it has no galileo/nano/encoder.pt. Fix: name the folder of the real data")
    out.mkdir(parents=True, exist_ok=True)
    for name in STORES:
        # a store of an earlier run was made from a service at another port: it would be refused as another request
        shutil.rmtree(out / f"{name}.zarr", ignore_errors=True)
    started = time.perf_counter()
    with Service(real_imagery.build(data, out / "catalogue"), hrefs="azure") as service:
        # workers are made after this, so the planetary-computer client in them talks to the local service
        os.environ.update(service.environment())
        provider = rs.open_provider("planetary_computer", url=service.url)
        stand_in = rs.open_provider("planetary_computer", url=service.url, assets={"nir08": "B08"})
        with rs.cluster("local", processes=2) as made, Client(made) as client:
            belgium(data, out / "belgium.zarr", stand_in, client)
            granule(data, out / "granule.zarr", provider, client)
            river(data, out / "river.zarr", client)
        print(f"\nthe service answered {sum(service.counts().values()):,} requests: {dict(service.counts())}")
    for name in STORES:
        print(f"\n{rs.status(out / f'{name}.zarr')}")
    real_picture.save(out / "real.png", out=out, data=data)
    print(f"\n{time.perf_counter() - started:.0f} s. The picture: {out / 'real.png'}")
    print(f"Every item: rs-embed-dask status {out / 'belgium.zarr'} --items")


if __name__ == "__main__":
    main()
