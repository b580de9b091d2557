"""A provider, a model and places whose every number is known, for runs on real worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client, LocalCluster

from rs_embed_dask.engine.estimate import Figures
from rs_embed_dask.engine.plan import Plan
from rs_embed_dask.engine.recipe import ModelEntry, Need, ReadGroup, Recipe
from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import AccessError, NoImageryError, ProviderError, TransientError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.providers import Estimate
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs import FetchSpec, OutputSpec, PointBuffer, TemporalSpec
from rs_embed_dask.store import Item, ModelLayout, Store

SENSOR = "sentinel-2-l2a"
BANDS = ("blue", "green", "red")
SPAN = TemporalSpec.range("2022-06-01", "2022-07-01")
STEP = 0.02


def place(index):
    """The place of an item: its number can be read off its coordinates."""
    return PointBuffer(lon=2 + STEP * (index % 100), lat=50 + STEP * (index // 100), buffer_m=40)


def number_of(grid):
    lon, lat = grid.center_lonlat
    return round((lon - 2) / STEP) + 100 * round((lat - 50) / STEP)


class Places(Sequence):
    """Items made when they are asked for."""

    def __init__(self, count, temporal=SPAN):
        self.count, self.temporal = count, temporal

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return Item(index, place(index), self.temporal, f"p{index}")


class OddError(Exception):
    """An error that no list of the engine's names."""


@dataclass(frozen=True)
class Numbers:
    """A provider whose pixels tell the item's number: value = number + 1000 x band.

    `folder` is where it leaves marks: one file for each read that began, and where it looks for ``go`` before it
    answers for an item in `held`. `faults` says for some items what goes wrong.
    """

    folder: str = ""
    held: tuple[int, ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    latency_s: tuple[float, float] | None = None
    name: str = field(default="numbers", init=False)

    def sensors(self):
        return frozenset({SENSOR})

    def search(self, sensor, grid, span, *, fetch):
        return ()

    def describe(self):
        return {"name": self.name}

    def estimate(self, read):
        return Estimate(len(read.frames), 3 * len(read.frames), 1000)

    def cube(self, read):
        number = number_of(read.grid)
        self._mark(number)
        if self.latency_s is not None:
            median, sigma = self.latency_s
            time.sleep(median * np.exp(sigma * np.random.default_rng(number).standard_normal()))
        self._fail(number, dict(self.faults).get(number, ""))
        shape = (len(read.frames), len(read.bands), *read.grid.shape)
        offsets = np.array([1000 * BANDS.index(band) for band in read.bands], "float32")
        pixels = np.broadcast_to(number + offsets[None, :, None, None], shape).astype("float32")
        counts = np.full((shape[0], *shape[2:]), 2, "uint16")
        days = [np.datetime64(span.start, "D") for span in read.frames]
        coords = {"band": list(read.bands), "time": np.array(days, "datetime64[ns]")}
        data = {"pixels": (("time", "band", "y", "x"), pixels), "n_obs": (("time", "y", "x"), counts)}
        dates = [str(span.start) for span in read.frames]
        attrs = {"scenes": [f"scene-{number}"], "first_dates": dates, "last_dates": dates}
        return xr.Dataset(data, coords=coords, attrs=attrs)

    def _mark(self, number):
        if not self.folder:
            return
        (Path(self.folder) / f"read-{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if number in self.held:
            until((Path(self.folder) / "go").exists, 60)

    def _fail(self, number, fault):
        kind, _, times = fault.partition(":")
        fix = "none is needed, this is a test"
        if kind == "none":
            raise NoImageryError("imagery", value=number, reason="nothing was taken there", fix=fix)
        if kind == "lasting":
            raise ProviderError("tile", value=number, reason="it is corrupt", fix=fix)
        if kind == "access":
            raise AccessError("tile", value=number, reason="403", fix=fix)
        if kind == "odd":
            raise OddError("nobody foresaw this")
        if kind == "bug":
            raise KeyError("B04")
        if kind == "kill":
            die()
        if kind == "transient" and len(reads_of(self.folder, number)) <= int(times):
            raise TransientError("service", value=429, reason="too many requests", fix=fix, retry_after_s=0.01)


def until(happened, seconds=90):
    """Wait for something to happen; new processes of a loaded machine take half a minute to import everything."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def die():
    """Die at once, as by a lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def reads_of(folder, number="*"):
    return sorted(path.name for path in Path(folder).glob(f"read-{number}-*"))


@dataclass(frozen=True)
class Found:
    values: Any
    grid: Any
    valid_fraction: Any
    coverage: Any = None
    fit: Any = None
    windows: Any = None


@dataclass(frozen=True)
class Means:
    """A model: the mean of each band, and the number of bands that it saw."""

    faults: tuple[tuple[int, str], ...] = ()
    batch_s: float = 0.0

    @property
    def weights_info(self):
        return {"path": "none", "licence": "CC0"}

    def embed_cubes(self, samples, output, prep, *, crops=None, outlines=None):
        if self.batch_s:
            time.sleep(self.batch_s)
        return [self._one(cubes["s2"]) for cubes in samples]

    def _one(self, cube):
        fault = dict(self.faults).get(number_of(cube.read.grid), "")
        if fault == "raise":
            raise RuntimeError("an image of nothing")
        if fault == "error":
            return ProviderError("pixels", reason="too dark", fix="none is needed, this is a test")
        if fault == "kill":
            die()
        return Found(np.nanmean(cube.values, axis=(0, 2, 3)), None, cube.valid_fraction)


@dataclass(frozen=True)
class Loading:
    """Makes a model; picklable."""

    model: Any

    def __call__(self):
        if isinstance(self.model, Exception):
            raise self.model
        return self.model


def plan_of(items, provider, models=None, *, chunk_items=8, batch_items=8, retry=None):
    """A plan of fakes: one read per item for all models."""
    models = {"means": Means()} if models is None else models
    needs = tuple(Need(label, "s2", BANDS) for label in models)
    fetch = FetchSpec(resolution_m=10.0, composite="median")
    entries = tuple(ModelEntry(label, f"{label}-{model!r}", Loading(model)) for label, model in models.items())
    recipe = Recipe(
        provider,
        (ReadGroup(SENSOR, 10.0, fetch, Frames("single"), needs),),
        entries,
        OutputSpec.pooled(),
        retry or RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02),
        batch_items,
    )
    count = len(items)
    batches = dict.fromkeys(models, -(-count // batch_items))
    figures = Figures(count, -(-count // chunk_items), count, 0, 0, 0, 0, 1000, batches, 1, 1)
    layouts = tuple(ModelLayout(label, dim=len(BANDS)) for label in models)
    return Plan(Request(tuple(models), provider), recipe, items, layouts, chunk_items, figures)


def store_of(plan, target, kind=Store):
    return kind.create(
        target,
        items=plan.items,
        models=plan.layouts,
        request=plan.request.to_dict(),
        chunk_items=plan.chunk_items,
    )


def expected(count, missing=()):
    """What an undisturbed run stores."""
    numbers = np.arange(count, dtype="float32")
    found = numbers[:, None] + 1000 * np.arange(3, dtype="float32")  # (N, D)
    found[list(missing)] = np.nan
    return found


def with_faults(plan, **changes):
    """The same plan with another provider."""
    return replace(plan, recipe=replace(plan.recipe, provider=replace(plan.recipe.provider, **changes)))


@contextmanager
def threads():
    """A client of two workers that are threads of this process."""
    resources = {"FETCH": 4, "EMBED": 1}
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=8, processes=False, resources=resources, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
