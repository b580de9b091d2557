"""How far one scheduler goes: the real scheduler, driver and store against simulated workers, and the same in parts.

Workers speak Dask's protocol, and wait where others would read (see `scale_workers`); there are no pixels. Chunks are
written, and in the end every item has to be in the store with its own numbers. The bound is what the workers alone
would do: their reads at once over the mean time of a read.

The scheduler, the driver and all workers are three processes (for n parts, three for each), so that the CPU that an
item costs is told apart. A scheduler with a core of its own saturates at 1 / (its CPU per item); beyond that, workers
wait, and the run is better parted.

    python -m benchmarks.scale [--items 2000] [--workers 10,100] [--parts 1,2] [--read-s 0.1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import product

import numpy as np
import psutil

from benchmarks.many_places import ROOT, Memory
from benchmarks.scratch import scratch

LABEL, MODEL = "rcf", {"id": "rcf", "options": {"features": 8}}


def farm(options):
    """Be all the workers of one scheduler."""
    from benchmarks.scale_workers import serve

    asyncio.run(serve(options))


class Clock:
    """Counts what a run takes from its start to its end: items, seconds, CPU of the driver and of the scheduler."""

    def __init__(self, scheduler):
        self.processes, self.before, self.spent = (psutil.Process(), psutil.Process(scheduler)), None, {}

    def now(self):
        return [time.perf_counter(), *(sum(one.cpu_times()[:2]) for one in self.processes)]

    def __call__(self, event):
        """Take an event of the run."""
        from rs_embed_dask.engine.report import RunFinished, RunStarted

        if isinstance(event, RunStarted):
            self.before = self.now()
        if isinstance(event, RunFinished) and event.report.is_over:
            took = [after - before for after, before in zip(self.now(), self.before, strict=True)]
            items = event.report.counts[LABEL].total()
            self.spent = dict(zip(("wall_s", "driver_s", "scheduler_s"), took, strict=True)) | {"items": items}


def imported():
    """Import what a scheduler needs to read a graph: seconds that it spends once, not for each item."""
    import rs_embed_dask.engine.graph  # noqa: F401


def drive(options):
    """Be the driver of a run, or of a part of it."""
    from distributed import Client

    import rs_embed_dask as rs
    from benchmarks.places import JUNE

    numbers = np.arange(options.drive)
    coordinates = np.stack([2 + 0.02 * (numbers % 1000), 10 + 0.02 * (numbers // 1000)], axis=1)
    clock = Clock(options.scheduler)
    part = None if options.part is None else tuple(map(int, options.part.split("/")))
    with Client(options.address) as client:
        client.run_on_scheduler(imported)
        rs.compute_embeddings(
            coordinates,
            MODEL,
            JUNE,
            buffer_m=20,
            out=options.folder,
            provider="synthetic",
            client=client,
            progress=clock,
            part=part,
            chunk_items=options.chunk_items,
        )
    print(json.dumps(clock.spent), flush=True)


class Site:
    """A scheduler with its workers, each a process."""

    def __init__(self, folder, options, *, workers, out):
        folder.mkdir()
        self.folder, self.started = folder, {}
        at = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "distributed.cli.dask_scheduler", "--scheduler-file", at, *SCHEDULER)
        while not at.exists():
            time.sleep(0.05)
        self.address = json.loads(at.read_text())["address"]
        settings = ["--farm", workers, "--slots", options.slots, "--read-s", options.read_s]
        self.farm = self.start("farm", "benchmarks.scale", *settings, *self.common(out))

    def common(self, folder):
        return "--address", self.address, "--folder", folder

    def start(self, name, module, *words):
        with (self.folder / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", module, *map(str, words)]
            env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            one = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        self.started[name] = one
        return one

    def drive(self, options, items, out, part):
        words = ["--drive", items, "--chunk-items", options.chunk_items, "--scheduler", self.scheduler.pid]
        return self.start("driver", "benchmarks.scale", *words, *self.common(out), *part)

    def said(self, one):
        """The next line of a process; its end is the end."""
        line = one.stdout.readline()
        if not line:
            name = next(name for name, started in self.started.items() if started is one)
            raise SystemExit((self.folder / f"{name}.log").read_text())
        return line

    def close(self):
        for one in self.started.values():
            one.kill()
            one.wait()
            one.stdout.close()


SCHEDULER = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]


def check(out, items):
    """Every item is there once, with its own numbers."""
    from benchmarks.scale_workers import vectors
    from rs_embed_dask.store import Status, Store

    store = Store.open(out)
    assert store.counts() == {LABEL: {Status.OK: items}}, store.counts()
    np.testing.assert_array_equal(store.values(LABEL, "embedding"), vectors(np.arange(items)))


def measure(options, items, *, workers, parts):
    """Run so many items on so many workers, in so many parts; return the figures."""
    with scratch(options.scratch) as folder, ExitStack() as stack:
        out, each = folder / "run.zarr", workers // parts
        sites = []
        for number in range(parts):
            sites.append(Site(folder / f"site-{number}", options, workers=each, out=out))
            stack.callback(sites[-1].close)
        assert [site.said(site.farm) for site in sites] == ["ready\n"] * parts
        names = [["--part", f"{number + 1}/{parts}"] if parts > 1 else [] for number in range(parts)]
        drivers = [site.drive(options, items, out, name) for site, name in zip(sites, names, strict=True)]
        watched = [[Memory(site.scheduler.pid) for site in sites], [Memory(driver.pid) for driver in drivers]]
        for memory in (*watched[0], *watched[1]):
            memory.start()
        spent = [json.loads(site.said(driver)) for site, driver in zip(sites, drivers, strict=True)]
        peaks = [max(memory.peak for memory in some) for some in watched]
        check(out, items)
    totals = {name: sum(one[name] for one in spent) for name in spent[0]}
    assert totals["items"] == items, totals
    slowest = max(one["wall_s"] for one in spent)
    return totals | {"wall_s": slowest, "scheduler_mib": peaks[0], "driver_mib": peaks[1]}


def row(options, items, workers, parts):
    """Measure and describe one run."""
    found = measure(options, items, workers=workers, parts=parts)
    rate, bound = found["items"] / found["wall_s"], workers * options.slots / options.read_s
    scheduler, driver = (1000 * found[name] / found["items"] for name in ("scheduler_s", "driver_s"))
    own = parts * 1000 / max(scheduler, driver)
    cells = [f"{items:,}", f"{workers:,}", parts, f"{rate:.0f}", f"{bound:,.0f}", f"{rate / bound:.2f}"]
    cells += [f"{scheduler:.2f}", f"{driver:.2f}", f"{own:.0f}"]
    return [*cells, f"{found['scheduler_mib']:.0f}", f"{found['driver_mib']:.0f}"]


HEAD = ["items", "workers", "parts", "items/s", "bound", "share", "scheduler ms", "driver ms", "room", "MiB", "MiB"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", default="2000", help="items of a run; a list is run through")
    parser.add_argument("--workers", default="10,100", help="workers, over all parts")
    parser.add_argument("--parts", default="1,2", help="parts, each with a scheduler of its own")
    parser.add_argument("--read-s", type=float, default=0.1, help="mean seconds of a read")
    parser.add_argument("--slots", type=int, default=1, help="reads at once on a worker")
    parser.add_argument("--chunk-items", type=int, default=64)
    parser.add_argument("--scratch", default=None, help="a folder to write the store in; made if absent")
    for name, kind in (("farm", int), ("drive", int), ("address", str), ("folder", str), ("scheduler", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.farm or options.drive:
        farm(options) if options.farm else drive(options)
        return
    print("ms: CPU of an item; room: items/s of schedulers and drivers with a core each; MiB: scheduler, then driver")
    print(" ".join(f"{name:>12}" for name in HEAD))
    each = ([int(one) for one in text.split(",")] for text in (options.items, options.workers, options.parts))
    for items, workers, parts in product(*each):
        print(" ".join(f"{cell:>12}" for cell in row(options, items, workers, parts)), flush=True)


if __name__ == "__main__":
    main()
