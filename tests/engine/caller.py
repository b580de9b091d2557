"""A call as a process: embeds some places into a store, and prints how that ended."""

from __future__ import annotations

import sys

from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreBusyError

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
MODEL = "bandstats"


def place(number):
    return rs.PointBuffer(lon=4 + number * 0.05, lat=50, buffer_m=80)


def call(out, numbers, client, **options):
    provider = rs.open_provider("synthetic", seed=3)
    places = [place(number) for number in numbers]
    return rs.compute_embeddings(
        places, MODEL, SPAN, out=out, provider=provider, client=client, progress=False, chunk_items=4, **options
    )


def main(out, first, stop, wait):
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        try:
            call(out, range(int(first), int(stop)), client, wait=float(wait))
        except StoreBusyError as error:
            print("busy:", error, flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
