"""A call as a process: embeds some places into a store, and prints how that ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask.engine.report import ChunkDone, RunStarted
from rs_embed_dask.errors import StoreBusyError
from rs_embed_dask.store import fence, swap

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
MODEL = "bandstats"


WRITING = threading.RLock()
"""Held while this process has a lock of the store: one that stood still with it would stop all others."""


MAY_WRITE = threading.Event()
"""Cleared when this process is about to stand still, so that no other thread takes `WRITING` first, again and again."""


def write_one_at_a_time():
    locked, mine = swap.locked, threading.local()
    MAY_WRITE.set()

    @contextlib.contextmanager
    def guarded(*arguments, **options):
        if not getattr(mine, "depth", 0):
            MAY_WRITE.wait()
        with WRITING, locked(*arguments, **options):
            mine.depth = getattr(mine, "depth", 0) + 1
            try:
                yield
            finally:
                mine.depth -= 1

    fence.locked = swap.locked = guarded


def place(number):
    return rs.PointBuffer(lon=4 + number * 0.05, lat=50, buffer_m=80)


def call(out, numbers, client, **options):
    provider = rs.open_provider("synthetic", seed=3)
    places = [place(number) for number in numbers]
    settings = {"provider": provider, "progress": False, "chunk_items": 4} | options
    return rs.compute_embeddings(places, MODEL, SPAN, out=out, client=client, **settings)


def part_of(text, out):
    """The options of part K of N, which says when it has begun; the first stands still with its first chunk stored."""
    number, count = map(int, text.split("/"))
    write_one_at_a_time()

    def progress(event):
        if isinstance(event, RunStarted):
            Path(f"{out}.begun-{number}").touch()
        if isinstance(event, ChunkDone) and number == 1:
            MAY_WRITE.clear()
            with WRITING:
                print("stored", flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)

    return {"part": (number, count), "progress": progress}


def main(out, first, stop, wait, part=""):
    with (
        # with one thread, some chunks are open when the first is stored
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        try:
            options = part_of(part, out) if part else {}
            call(out, range(int(first), int(stop)), client, wait=float(wait), **options)
        except StoreBusyError as error:
            print("busy:", error, flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
