"""What it costs that embedding workers are killed: device time lost, and what a worker needs before its first batch.

Each worker of a local cluster reads and embeds; one after another is killed with SIGKILL, by a seeded schedule, so
that each is killed once in EVERY seconds. Lost is the device time of batches whose results were never stored, and the
time from a kill until the new process begins its first batch: start, imports, weights. Both depend on what else the
machine does, so they are printed as processor time too, which is what they take on a machine of their own. Nothing may
be lost or doubled: the store is verified, and its vectors are compared with those of an undisturbed run.

    python -m benchmarks.preemption [--every 300] [--kills 4] [--workers 2] [--model galileo:base] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from distributed import Client, WorkerPlugin

import rs_embed_dask as rs
from benchmarks.places import JUNE, Row
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.embedder import Embedder
from rs_embed_dask.store import Status

ALLOCATION_S = 720
SHARE = 0.05
WARM = 64
DECIDED_EVERY_S = 300


class Log(WorkerPlugin):
    """Has each process write down when its batches begin and end."""

    def __init__(self, folder):
        self.folder = folder

    def setup(self, worker):  # noqa: ARG002 - Dask gives it
        infer, path = Embedder._infer, Path(self.folder) / f"{os.getpid()}.log"  # noqa: SLF001

        def logged(self, model, batch):
            with path.open("a", encoding="utf-8") as file:
                started = time.thread_time()
                print("begin", time.time(), time.process_time(), file=file, flush=True)
                infer(self, model, batch)
                print("end", time.time(), time.thread_time() - started, file=file, flush=True)

        Embedder._infer = logged  # noqa: SLF001


@dataclass
class Process:
    """What one process did: its batches as beginnings and ends, processor time before the first, and in all of them.

    A batch that was cut off has no end.
    """

    spans: list = field(default_factory=list)
    start_cpu: float = 0.0
    batch_cpu: float = 0.0


def processes_of(folder):
    """What the processes did, by their number."""
    processes = {}
    for path in Path(folder).glob("*.log"):
        one = processes.setdefault(int(path.stem), Process())
        for line in path.read_text(encoding="utf-8").splitlines():
            word, moment, spent = line.split()
            if word == "begin":
                one.start_cpu = one.start_cpu if one.spans else float(spent)
                one.spans.append([float(moment), None])
            else:
                one.spans[-1][1] = float(moment)
                one.batch_cpu += float(spent)
    return processes


class Killer(threading.Thread):
    """Kills one worker after another, at seeded moments."""

    def __init__(self, client, *, every, kills, seed):
        super().__init__(daemon=True)
        self.client, self.every, self.kills = client, every, kills
        self.draw = random.Random(seed)
        self.over = threading.Event()
        self.struck = {}

    def workers(self):
        info = self.client.scheduler_info(n_workers=-1)["workers"]
        return {worker["name"]: address for address, worker in info.items()}

    def run(self):
        names = sorted(self.workers())
        for number in range(self.kills):
            if self.over.wait(self.every / len(names) * self.draw.uniform(0.8, 1.2)):
                return
            address = self.workers()[names[number % len(names)]]
            pid = self.client.run(os.getpid, workers=[address])[address]
            os.kill(pid, signal.SIGKILL)
            self.struck[pid] = time.time()


@dataclass
class Loss:
    """Seconds lost: discarded in all, as wall time and as processor time; of each restart, the same."""

    discarded: float
    discarded_cpu: float
    restarts: list
    restarts_cpu: list


def lost(processes, struck, stored_s):
    """Device time of discarded batches, and how long each killed worker was without a process that embeds."""
    ended = sum(end - begin for one in processes.values() for begin, end in one.spans if end is not None)
    cut_off = sum(struck[pid] - begin for pid, one in processes.items() for begin, end in one.spans if end is None)
    cpu_share = sum(one.batch_cpu for one in processes.values()) / ended
    firsts = sorted((one.spans[0][0], one.start_cpu) for one in processes.values() if one.spans)
    restarts = []
    for moment in sorted(struck.values()):
        later = [first for first in firsts if first[0] > moment]
        if later:
            restarts.append((later[0][0] - moment, later[0][1]))
            firsts.remove(later[0])
    if not restarts:
        raise SystemExit("no killed worker embedded again before the end: give a longer --every, or more --kills")
    discarded = max(0.0, ended + cut_off - stored_s)
    return Loss(discarded, discarded * cpu_share, *map(list, zip(*restarts, strict=True)))


def embed(count, out, client, model):
    """Embed so many places; the report of the run."""
    row = Row(count, buffer_m=320)
    name, _, variant = model.partition(":")
    spec = rs.ModelSpec(name, variant=variant or None, weights="random")
    landscape = rs.open_provider("synthetic", cloud=0.1, revisit_days=15)
    places = [row[number].spatial for number in range(count)]
    run = rs.compute_embeddings(places, spec, JUNE, provider=landscape, out=out, client=client, progress=False)
    return run.rs.report.actual


def check(out, sample):
    """Every place is there once, whole, and equal to the sample of an undisturbed run."""
    assert not rs.verify(out).damages
    counts = rs.status(out).counts
    assert all(set(each) <= {Status.OK, Status.PARTIAL} for each in counts.values()), counts
    one, other = rs.open_store(out), rs.open_store(sample)
    for label in counts:
        vectors = other[label].embedding.values
        np.testing.assert_allclose(one[label].embedding.values[: len(vectors)], vectors, rtol=1e-4, atol=1e-5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=float, default=DECIDED_EVERY_S)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="galileo:base")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster("local", processes=options.workers) as local,
        Client(local) as client,
    ):
        sample, out, logs = (Path(folder) / name for name in ("sample.zarr", "run.zarr", "logs"))
        logs.mkdir()
        embed(WARM, Path(folder) / "warm.zarr", client, options.model)
        rate = WARM / embed(WARM, sample, client, options.model)["wall_seconds"]
        count = max(WARM, round(rate * options.every / options.workers * (options.kills + 1)))
        print(f"{count} places of {options.model}, at {rate:.2f} a second when nothing is killed", flush=True)
        client.register_plugin(Log(logs))
        killer = Killer(client, every=options.every, kills=options.kills, seed=options.seed)
        killer.start()
        actual = embed(count, out, client, options.model)
        killer.over.set()
        killer.join()
        check(out, sample)
        loss = lost(processes_of(logs), killer.struck, actual["embed_seconds"])
    tell(loss, len(killer.struck), actual["wall_seconds"], options.workers)


def tell(loss, kills, wall_s, workers):
    """Print what was lost, and what it is of the bounds."""
    print(f"{kills} kills in {wall_s:.0f} s of {workers} workers: nothing lost, nothing doubled, all equal")
    print(f"load of the machine, which has {os.cpu_count()} processors: {os.getloadavg()[1]:.1f}")
    for what, discarded, restarts in (
        ("wall time", loss.discarded, loss.restarts),
        ("processor time", loss.discarded_cpu, loss.restarts_cpu),
    ):
        each, restart = discarded / kills, statistics.mean(restarts)
        share = (each + restart) / DECIDED_EVERY_S
        print(f"{what}: a kill costs {each:.1f} s of discarded work and {restart:.1f} s until the new process embeds")
        print(f"  lost / (bound of {SHARE:.0%} at a kill every {DECIDED_EVERY_S} s) = {share / SHARE:.3f}")
        print(f"  start / (bound of {SHARE:.0%} of {ALLOCATION_S} s) = {restart / ALLOCATION_S / SHARE:.3f}")


if __name__ == "__main__":
    main()
