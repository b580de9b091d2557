"""What it costs that embedding workers are killed: device time lost, and what a worker needs before its first batch.

Each worker of a local cluster reads and embeds; one after another is killed with SIGKILL, by a seeded schedule, so
that each is killed once in EVERY seconds. Lost is the device time of batches whose results were never stored, and the
time from a kill until the new process begins its first batch: start, imports, weights. That time depends on what else
the machine does, so the processor time that it takes is printed too. Nothing may be lost or doubled: the store is
verified, and its vectors are compared with those of an undisturbed run.

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
                print("begin", time.time(), time.process_time(), file=file, flush=True)
                infer(self, model, batch)
                print("end", time.time(), time.process_time(), file=file, flush=True)

        Embedder._infer = logged  # noqa: SLF001


def spans_of(folder):
    """The batches of each process, as beginnings and ends, and the processor time before its first.

    A batch that was cut off has no end.
    """
    processes, before = {}, {}
    for path in Path(folder).glob("*.log"):
        pid = int(path.stem)
        spans = processes.setdefault(pid, [])
        for line in path.read_text(encoding="utf-8").splitlines():
            word, moment, spent = line.split()
            if word == "begin":
                spans.append([float(moment), None])
                before.setdefault(pid, float(spent))
            else:
                spans[-1][1] = float(moment)
    return processes, before


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


def lost(processes, struck, stored_s):
    """Device time of discarded batches, and how long each killed worker was without a process that embeds.

    With that, of which process: a worker that is killed again before its first batch has none.
    """
    computed = 0.0
    for pid, spans in processes.items():
        computed += sum((struck[pid] if end is None else end) - begin for begin, end in spans)
    firsts = sorted((spans[0][0], pid) for pid, spans in processes.items() if spans)
    restarts = {}
    for moment in sorted(struck.values()):
        later = [first for first in firsts if first[0] > moment]
        if later:
            begun, pid = later[0]
            restarts[pid] = begun - moment
            firsts.remove(later[0])
    return max(0.0, computed - stored_s), restarts


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
        processes, before = spans_of(logs)
        discarded, restarts = lost(processes, killer.struck, actual["embed_seconds"])
    kills, wall = len(killer.struck), actual["wall_seconds"]
    if not restarts:
        raise SystemExit("no killed worker embedded again before the end: give a longer --every, or more --kills")
    restart, each = statistics.mean(restarts.values()), discarded / kills
    spent = statistics.mean(before[pid] for pid in restarts)
    print(f"{kills} kills in {wall:.0f} s of {options.workers} workers: nothing lost, nothing doubled, all equal")
    print(f"a kill costs {each:.1f} s of discarded work and {restart:.1f} s until the new process embeds")
    print(f"of these, the process needs {spent:.1f} s of the processor; load of the machine: {os.getloadavg()[1]:.1f}")
    print(f"lost device time / all = {(each + restart) * kills / (wall * options.workers):.4f}, with these kills")
    share = (each + restart) / DECIDED_EVERY_S
    print(f"lost / (bound of {SHARE:.0%} at a kill every {DECIDED_EVERY_S} s) = {share / SHARE:.3f}")
    print(f"start / (bound of {SHARE:.0%} of {ALLOCATION_S} s) = {restart / ALLOCATION_S / SHARE:.3f}")


if __name__ == "__main__":
    main()
