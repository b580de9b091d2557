"""Clocks, counters and synthetic pixels for `benchmarks.encoders`."""

from __future__ import annotations

import datetime as dt
import statistics
import threading
import time
from itertools import pairwise

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.encoders_plain import plain
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid

RANGES = {"reflectance_e4": (200, 4000), "db": (-25, -5), "byte": (10, 250), "m": (0, 900)}
DISTINCT = 4
SEVERAL = 3
EVERY_S = 0.005


def cubes(model, count, side, frames=SEVERAL):
    """Give `count` items of `side` x `side` pixels, as a provider would; only four of them differ, to spare memory."""
    distinct = [
        {inputs.modality: _cube(inputs, side, seed, frames) for inputs in model.inputs} for seed in range(DISTINCT)
    ]
    return [distinct[index % DISTINCT] for index in range(count)]


def _cube(inputs, side, seed, several):
    rule = inputs.frames
    frames = 1 if rule.policy == "single" else several
    starts = [dt.date(2022, 1, 1) + dt.timedelta(28 * index) for index in range(frames + 1)]
    grid = Grid("EPSG:32631", (inputs.resolution_m, 0, 6e5 + 5e3 * seed, 0, -inputs.resolution_m, 5.7e6), (side, side))
    read = Read(grid, inputs.sensors[0], inputs.bands, tuple(Span(a, b) for a, b in pairwise(starts)))
    shape = (frames, len(inputs.bands), side, side)
    values = np.random.default_rng(seed).uniform(*RANGES[inputs.unit], shape).astype(np.float32)
    return Cube(values, np.ones((frames, side, side), np.uint16), read)


def settled(device):
    """Wait until a GPU has done what it was given, and read the clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(device, action, *arguments):
    """Run something: its result, and its seconds."""
    start = settled(device)
    result = action(*arguments)
    return result, settled(device) - start


class Watched:
    """Adds up the seconds that a model's network takes on the way of `embed_cubes`; the rest is preprocessing."""

    def __init__(self, model):
        self.network_s, device = 0.0, model.device
        for name in ("tokens", "reduce"):
            setattr(model, name, self._watched(getattr(model, name), device))

    def _watched(self, action, device):
        def run(*arguments):
            result, seconds = timed(device, action, *arguments)
            self.network_s += seconds
            return result

        return run


def path_seconds(model, watched, items, *, repeats):
    """The fastest of several runs of `embed_cubes`: seconds in all, and of these in the network."""
    runs = []
    for _ in range(repeats):
        watched.network_s = 0.0
        results, seconds = timed(model.device, model.embed_cubes, items)
        faults = [one for one in results if isinstance(one, Exception)]
        if faults:
            raise faults[0]
        runs.append((seconds, watched.network_s))
    return min(runs)


def matmul_peak(device, dtype, seconds=1.5):
    """Most multiply-adds, times two, that a square matrix product does per second on this machine."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, timed(device, torch.matmul, left, right)[1])
    return 2 * side**3 / best


def _attention(q, k, v, *_, **__):
    """Two products of matrices for each head; torch counts only its GPU kernels by itself."""
    batch, heads, queries, width = q
    return 2 * batch * heads * queries * k[2] * (width + v[3])


def flops(action, *arguments):
    """Multiply-adds, times two, of matrix products, convolutions and attention."""
    cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}  # noqa: SLF001 - has no other name
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=cpu) as counter:
        action(*arguments)
    return counter.get_total_flops()


class Turns:
    """Two actions in turns, by the clock and by the time of all threads; other work on the machine disturbs the second
    less, and the fastest run of each least.
    """

    def __init__(self, device, *actions):
        self.device, self.actions = device, actions
        self.took = {"clock": [], "threads": []}

    def take(self, *, seconds, least=3, most=201):
        end = time.perf_counter() + seconds
        while (done := len(self.took["clock"])) < least or (time.perf_counter() < end and done < most):
            order = (0, 1) if done % 2 else (1, 0)
            pair = {index: self._once(self.actions[index]) for index in order}
            for at, times in enumerate(self.took.values()):
                times.append((pair[0][at], pair[1][at]))
        return self

    def _once(self, action):
        cpu = time.process_time()
        _, seconds = timed(self.device, action)
        return seconds, time.process_time() - cpu

    def __str__(self):
        ratios = []
        for name, pairs in self.took.items():
            fastest = [min(one) for one in zip(*pairs, strict=True)]
            low, middle, high = statistics.quantiles([one / other for one, other in pairs], n=4)
            ratios.append(f"{fastest[0] / fastest[1]:.3f} by the {name} (median {middle:.3f}, {low:.3f} to {high:.3f})")
        return f"{', '.join(ratios)}, {len(self.took['clock'])} turns"


def against_plain(model, batch, *, seconds):
    """Ours and a plain network in turns: the ratios of times, and of FLOPs; None where there is no plain one."""
    comparison = plain(model, batch)
    if comparison is None:
        return None
    network, frames = comparison[0].to(model.device).eval(), comparison[1]
    cast = {"device_type": model.device.type, "dtype": model.dtype, "enabled": model.dtype != torch.float32}

    def other():
        with torch.inference_mode(), torch.autocast(**cast):
            network(frames)

    def ours():
        model.tokens(batch)

    counted = flops(model.encoder, batch), flops(network, frames)
    ours()
    other()
    return str(Turns(model.device, ours, other).take(seconds=seconds)), counted[0] / counted[1]


class Memory(threading.Thread):
    """The most memory that this process holds above what it held at the start, in bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.over = psutil.Process(), threading.Event()
        self.before, self.peak = self.process.memory_info().rss, 0

    def run(self):
        while not self.over.wait(EVERY_S):
            self.peak = max(self.peak, self.process.memory_info().rss - self.before)


def peak_bytes(model, items):
    """Memory that one run of `embed_cubes` needs beside the weights and the items."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        model.embed_cubes(items)
        return torch.cuda.max_memory_allocated(model.device) - before
    memory = Memory()
    memory.start()
    model.embed_cubes(items)
    memory.over.set()
    memory.join()
    return memory.peak
