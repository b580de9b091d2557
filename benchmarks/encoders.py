"""How fast each encoder is as a user calls it, and how near to what the machine can do.

For each model and batch size: images per second through `Model.embed_cubes`, milliseconds per image in preprocessing
and in the network, and the network's FLOPs as a share of the speed of a large matrix product on this machine in the
same type. Once per model: the memory that the largest batch needs beside weights and pixels (on a CPU the growth of a
child process), and the time of the network against a plain one of the same size (`benchmarks.encoders_plain`), both in
turns: the fastest run of each is compared, 1.00 is equal, and median and middle half of all turns show how much is
noise. Batches that would take longer than what is left of the budget are left out. Weights are random; the GPU part has
been written with care but not been run. Where other work shares the cores, `--threads 1` compares best: threads that
wait for each other measure the crowd.

    python -m benchmarks.encoders [--model galileo:nano,clay] [--device cpu] [--dtype bfloat16] [--batches 1,4,16,64]
                                  [--compile] [--budget 60] [--side 256] [--frames 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.encoders_measure import (
    SEVERAL,
    Watched,
    against_plain,
    cubes,
    flops,
    matmul_peak,
    path_seconds,
    peak_bytes,
)
from rs_embed_dask.inference.device import choose_device
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import all_cards
from rs_embed_dask.preprocess.samples import from_cubes

ROOT = Path(__file__).resolve().parents[1]
PLAIN_IMAGES = 2
LARGEST = 1000  # millions of parameters


def smallest():
    """Of each model the smallest variant that a laptop holds, one for each kind of body and input."""
    smallest_of = {}
    for card in all_cards():
        fit = (v for v in card.variants if v.weights and 0 < v.params < LARGEST)
        for variant in sorted(fit, key=lambda v: v.params):
            key = (card.id, dict(variant.config).get("body"), variant.modality)
            smallest_of.setdefault(key, f"{card.id}:{variant.name}")
    return list(smallest_of.values())


def load(name, options):
    chosen = {"device": options.device, "dtype": options.dtype, **({"compile": True} if options.compile else {})}
    return load_model(name, weights="random", **chosen)


def batches(model, options, end):
    """Yield the batch size, and seconds in all and in the network, of each size that fits before `end`."""
    watched = Watched(model)
    items = cubes(model, max(options.batches), options.side, options.frames)
    rate = path_seconds(model, watched, items[:1], repeats=1)[0]
    if rate < options.budget / 4:  # the first run of a process is slow
        rate = path_seconds(model, watched, items[:1], repeats=1)[0]
    for size in options.batches:
        left = end - time.perf_counter()
        if size * rate > left and size > min(options.batches):
            yield size, None, None
            continue
        repeats = max(1, min(5, int(left / 2 / (size * rate))))
        total, network = path_seconds(model, watched, items[:size], repeats=repeats)
        rate = total / size
        yield size, total, network


def memory(name, size, options):
    """Peak memory of a batch, in MiB; on a CPU measured in a process of its own."""
    arguments = ["--device", options.device, "--dtype", options.dtype, "--side", str(options.side), "--batches"]
    arguments += [str(size), "--threads", str(options.threads), "--frames", str(options.frames)]
    arguments += ["--compile"] if options.compile else []
    command = [sys.executable, "-m", "benchmarks.encoders", "--model", name, "--memory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def own_memory(options):
    """What the child does."""
    model = load(options.models[0], options)
    items = cubes(model, options.batches[0], options.side, options.frames)
    print(peak_bytes(model, items) / 2**20)


def measure(name, options, dtype):
    """Print the lines of one model; the matrix product is timed beside each, as other work on a machine changes it."""
    started = time.perf_counter()
    model = load(name, options)
    (sample,) = cubes(model, 1, options.side, options.frames)
    batch = model.prepare([from_cubes(sample, model.inputs)] * PLAIN_IMAGES)
    work = flops(model.encoder, batch) / len(batch)
    peak, largest = matmul_peak(model.device, dtype), 0
    for size, total, network in batches(model, options, started + options.budget):
        if total is None:
            print(f"{name:28} {size:>5}   left out: the budget of {options.budget:.0f} s would be passed", flush=True)
            continue
        largest = size
        share = work * size / network / peak
        print(
            f"{name:28} {size:>5} {size / total:>9.2f} {(total - network) / size * 1e3:>9.2f} "
            f"{network / size * 1e3:>9.2f} {share:>7.0%}",
            flush=True,
        )
    compared = against_plain(model, batch, seconds=options.budget / 2)
    del model, batch
    facts = f"{work / 1e9:.1f} GFLOP per image; matrix product {peak / 1e9:,.0f} GFLOP/s"
    facts += f"; +{memory(name, largest, options):,.0f} MiB at {largest}" if largest else ""
    if compared is None:
        print(f"{'':28} {facts}; no plain network to compare with", flush=True)
        return
    turns, more = compared
    print(f"{'':28} {facts}; FLOPs / plain = {more:.3f}; time / plain = {turns} of {PLAIN_IMAGES} images", flush=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="", help="ID or ID:VARIANT, with commas between; default: the smallest")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--compile", action="store_true", help="compile the blocks with torch.compile")
    parser.add_argument("--budget", type=float, default=60, help="seconds for the batches of one model")
    parser.add_argument("--side", type=int, default=256, help="pixels of the images that are read")
    parser.add_argument("--frames", type=int, default=SEVERAL, help="frames of models that take several")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.models = [name for name in options.model.split(",") if name] or smallest()
    options.batches.sort()
    return options


def main():
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.memory:
        own_memory(options)
        return
    device = choose_device(options.device)
    auto = "bfloat16" if device.type == "cuda" else "float32"
    dtype = auto if options.dtype == "auto" else options.dtype
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(
        f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads, {dtype}"
        f"{', compiled' if options.compile else ''}; images of {options.side} x {options.side}"
    )
    print(f"{'model':28} {'batch':>5} {'images/s':>9} {'ms prep':>9} {'ms net':>9} {'of peak':>7}")
    for name in options.models:
        measure(name, options, getattr(torch, dtype))


if __name__ == "__main__":
    main()
