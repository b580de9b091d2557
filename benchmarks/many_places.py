"""Memory of client and scheduler for 1,000 and 10,000 places in one call: it must not grow with their number.

The scheduler, the workers and the client are processes of their own; the memory of the first and the last is sampled
every 50 ms. Places are made on demand, pixels are four by four and there is one value per item, so that
what is measured is the engine.

    python -m benchmarks.many_places [--places 1000,10000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
EVERY_S = 0.05


class Memory(threading.Thread):
    """The most memory that a process holds, in MiB."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.process, self.peak, self.over = psutil.Process(pid), 0.0, threading.Event()

    def run(self):
        while not self.over.wait(EVERY_S):
            try:
                self.peak = max(self.peak, self.process.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                return


def client(places, address, folder):
    """What runs in the client's process: plan, store, run; prints what the parent needs."""
    from distributed import Client

    from benchmarks.places import Row
    from rs_embed_dask.engine.driver import run_plan
    from rs_embed_dask.engine.plan import Sizes, make_plan
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.providers.synthetic.provider import Synthetic
    from rs_embed_dask.store import Store

    provider = Synthetic(cloud=0.1)
    request = Request({"id": "rcf", "options": {"features": 8}}, provider)
    plan = make_plan(Row(places), request, sizes=Sizes(chunk_items=64))
    target = Path(folder) / f"{places}.zarr"
    store = Store.create(
        target, items=plan.items, models=plan.layouts, request=plan.request.to_dict(), chunk_items=plan.chunk_items
    )
    with Client(address) as connected:
        connected.wait_for_workers(2, timeout=60)
        started, cpu = time.perf_counter(), time.process_time()
        report = run_plan(plan, store, connected, options=Options(progress=False))
        spent = {"wall_s": time.perf_counter() - started, "client_cpu_s": time.process_time() - cpu}
    print(json.dumps(spent | {"items": report.counts["rcf"].total()}))


def measure(places, folder):
    """Run a number of places on a new cluster and print a line."""
    from distributed import Scheduler  # noqa: F401 - imported before the clock starts

    from tests.engine.processes import Processes

    processes = Processes(Path(folder))
    try:
        address = processes.scheduler()
        for name in ("first", "second"):
            processes.worker(address, name)
        scheduler = processes.started["scheduler"]
        command = [sys.executable, "-m", "benchmarks.many_places", "--client", address, "--folder", folder]
        with subprocess.Popen([*command, "--places", str(places)], stdout=subprocess.PIPE, cwd=ROOT) as run:
            watched = Memory(scheduler.pid), Memory(run.pid)
            for one in watched:
                one.start()
            before = scheduler.cpu_times().user
            spent = json.loads(run.stdout.read())
            cpu = scheduler.cpu_times().user - before
            for one in watched:
                one.over.set()
    finally:
        processes.close()
    per_place = 1000 / places
    print(
        f"{places:>8,} places  scheduler {watched[0].peak:6.0f} MiB  client {watched[1].peak:6.0f} MiB  "
        f"scheduler {cpu * per_place:.2f} ms per place  client {spent['client_cpu_s'] * per_place:.2f} ms per place  "
        f"wall {spent['wall_s'] * per_place:.2f} ms per place  ({spent['items']:,} stored)",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--places", default="1000,10000")
    parser.add_argument("--client", default="")
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    counts = [int(count) for count in options.places.split(",")]
    if options.client:
        client(counts[0], options.client, options.folder)
        return
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, folder)


if __name__ == "__main__":
    main()
