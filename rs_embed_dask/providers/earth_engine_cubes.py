"""From reads to lazy cubes: one task a request, and small tasks that take each read's pixels out of the replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.harmonise import finish
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.earth_engine_orders import DAYS_BASE, Cut, Layer, Order, cut, layers_of
from rs_embed_dask.providers.earth_engine_read import order_task

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.providers.earth_engine import EarthEngine

__all__ = ["lazy_cubes", "plan_orders"]

_Tasks = dict[tuple[Any, ...], Any]
Reply = npt.NDArray[np.float32]


class Place(NamedTuple):
    """Where a frame lies in a reply.

    Attributes
    ----------
    run : int
        Number of the run of layers.
    offset : int
        Its first band in the reply.
    layer : Layer
        What it is.
    """

    run: int
    offset: int
    layer: Layer


def plan_orders(provider: EarthEngine, reads: Sequence[Read]) -> tuple[Cut, tuple[Layer, ...]]:
    """Say which layers some reads of one grid want, each once, and into how many requests they are cut.

    Parameters
    ----------
    provider : EarthEngine
        Who reads.
    reads : sequence of Read
        Of one grid and sensor.

    Returns
    -------
    cut : Cut
        The requests.
    layers : tuple of Layer
        In the order of the reads.

    Raises
    ------
    SpecError, UnknownNameError
        If the provider cannot serve what a read wants.
    """
    source = provider.table(reads[0].sensor)
    plain = provider.passes == "each"
    layers = dict.fromkeys(layer for read in reads for layer in layers_of(read, source, plain=plain))
    listed = tuple(layers)
    return cut(reads[0].grid.shape, listed, limit_bytes=provider.limit_bytes), listed


def lazy_cubes(provider: EarthEngine, reads: Sequence[Read]) -> list[xr.Dataset]:
    """Build the lazy cubes of reads of one grid and sensor: all of them share the fewest requests that hold them.

    Parameters
    ----------
    provider : EarthEngine
        Who reads.
    reads : sequence of Read
        They may differ in bands, frames, cloud limit, mask and composite.

    Returns
    -------
    list of xarray.Dataset
        ``pixels`` (time, band, y, x), ``n_obs`` (time, y, x) and ``days`` (time, 2). Nothing has been asked of anyone.

    Raises
    ------
    SpecError, UnknownNameError
        If the provider cannot serve what a read wants.
    """
    from dask.base import tokenize

    made, layers = plan_orders(provider, reads)
    whole = Order.of(provider, reads[0], layers)
    name = f"earth-engine-{tokenize(whole)}"
    tasks: _Tasks = {}
    for number, (first, after) in enumerate(made.runs):
        for i, j, window in made.windows:
            part = whole.grid if made.requests == len(made.runs) else whole.grid.crop(window)
            tasks[name, number, i, j] = (order_task, replace(whole, grid=part, layers=layers[first:after]))
    return [_dataset(read, whole, made, name=name, tasks=tasks) for read in reads]


def _dataset(read: Read, whole: Order, made: Cut, *, name: str, tasks: _Tasks) -> xr.Dataset:
    """Take one read's part out of the replies, and label it."""
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    source = whole.provider.table(read.sensor)
    wanted = layers_of(read, source, plain=whole.provider.passes == "each")
    runs = [list(group) for _, group in groupby((_place(layer, whole, made) for layer in wanted), lambda at: at.run)]
    token = tokenize(read, whole)
    names = {part: f"earth-engine-{part}-{token}" for part in ("pixels", "n_obs", "days")}
    layers: dict[str, Any] = {name: tasks, **{each: {} for each in names.values()}}
    values = _values(read, whole)
    for k, places in enumerate(runs):
        run = places[0].run
        for i, j, _ in made.windows:
            reply = (name, run, i, j)
            layers[names["pixels"]][names["pixels"], k, 0, i, j] = (partial(values, places=places), reply)
            layers[names["n_obs"]][names["n_obs"], k, i, j] = (partial(_counts, places=places), reply)
        replies = [(name, run, i, j) for i, j, _ in made.windows]
        layers[names["days"]][names["days"], k, 0] = (
            partial(_days, places=places, since=whole.since, step=whole.step),
            replies,
        )
    graph = HighLevelGraph(layers, {name: set(), **{each: {name} for each in names.values()}})
    times = tuple(len(places) for places in runs)
    arrays = {
        "pixels": da.Array(graph, names["pixels"], (times, (len(read.bands),), made.rows, made.cols), dtype=np.float32),
        "n_obs": da.Array(graph, names["n_obs"], (times, made.rows, made.cols), dtype=np.uint16),
        "days": da.Array(graph, names["days"], (times, (2,)), dtype=np.int64),
    }
    return _labelled(read, whole, arrays)


def _place(layer: Layer, whole: Order, made: Cut) -> Place:
    number = whole.layers.index(layer)
    run, first = made.run_of(number)
    return Place(run, sum(before.look.depth for before in whole.layers[first:number]), layer)


def _values(read: Read, whole: Order) -> partial[Reply]:
    """Say how raw numbers become canonical units: the table's scale and offset; power becomes decibels."""
    of, source = sensor(read.sensor), whole.provider.table(read.sensor)
    bands = tuple(of.band(band) for band in read.bands)
    scalings = [source.scaling(band) for band in bands]
    scales = tuple(scaling.scale for scaling in scalings)
    offsets = tuple(scaling.offset for scaling in scalings)
    in_power = of.kind == "radar" and all(scaling.encoding == "linear" for scaling in scalings)
    return partial(_finished, scales=scales, offsets=offsets, bands=bands if in_power else ())


def _finished(
    reply: Reply, *, places: Sequence[Place], scales: Sequence[float], offsets: Sequence[float], bands: Any
) -> Reply:
    raw = np.stack([reply[at.offset : at.offset + len(scales)] for at in places])  # (T, B, H, W)
    if any(scale != 1 for scale in scales):
        raw *= np.asarray(scales, np.float32)[:, None, None]
    if any(offsets):
        raw += np.asarray(offsets, np.float32)[:, None, None]
    return finish(raw, bands) if bands else raw


def _counts(reply: Reply, *, places: Sequence[Place]) -> npt.NDArray[np.uint16]:
    found = np.stack([reply[at.offset + len(at.layer.look.bands)] for at in places])  # (T, H, W)
    counted: npt.NDArray[np.uint16] = np.nan_to_num(found, nan=0.0).astype(np.uint16)
    return counted


def _days(replies: Sequence[Reply], *, places: Sequence[Place], since: int, step: int) -> npt.NDArray[np.int64]:
    """Return the first and the last day of each frame's observations, counted from the year 1; 0 for none."""
    found = np.zeros((len(places), 2), np.int64)
    for row, at in zip(found, places, strict=True):
        packed = np.concatenate([reply[at.offset + len(at.layer.look.bands) + 1].ravel() for reply in replies])
        known = packed[np.isfinite(packed)].astype(np.int64)
        if known.size:
            row[0] = since + step * int((known // DAYS_BASE).min())
            row[1] = since + step * int((known % DAYS_BASE).max())
    return found


def _labelled(read: Read, whole: Order, arrays: dict[str, Any]) -> xr.Dataset:
    import xarray as xr

    from rs_embed_dask.imagery.labels import coordinates

    source = whole.provider.table(read.sensor)
    look = layers_of(read, source, plain=whole.provider.passes == "each")[0].look
    mapped = {"grid_mapping": "spatial_ref"}
    edges = np.array([[span.start, span.end] for span in read.frames], "datetime64[ns]")
    radar = sensor(read.sensor).kind == "radar"
    return xr.Dataset(
        {
            "pixels": (("time", "band", "y", "x"), arrays["pixels"], mapped),
            "n_obs": (("time", "y", "x"), arrays["n_obs"], mapped),
            "days": (("time", "edge"), arrays["days"]),
        },
        coords={
            "time": ("time", np.array([span.midpoint for span in read.frames], "datetime64[ns]")),
            "frame_edges": (("time", "edge"), edges),
            "band": ("band", list(read.bands)),
            **coordinates(read.grid),
        },
        attrs={
            "sensor": read.sensor,
            "units": list(read.units),
            "scenes": [],
            "collection": source.collection,
            "crs": read.grid.crs,
            "transform": list(read.grid.transform),
            "composite": look.how,
            "mask": look.mask or "none",
            "orbit": (whole.provider.orbit or "any") if radar else "",
            "composited_in": ("power" if whole.provider.radar == "linear" else "decibels") if radar else "",
        },
    )
