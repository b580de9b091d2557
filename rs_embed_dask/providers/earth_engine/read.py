"""From reads to lazy cubes: orders as Dask tasks, each one request, retried where that helps, split where too large."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.frame import finish
from rs_embed_dask.imagery.modis_l1b import brightness
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensor_types import DB
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers.earth_engine.image import collection_of, image_of
from rs_embed_dask.providers.earth_engine.orders import (
    DAYS_BASE,
    Cut,
    Look,
    Order,
    OrderLayer,
    Settings,
    cut,
    layers_of,
)
from rs_embed_dask.providers.earth_engine.session import TooMuchError, as_ours, fault_kinds, open_session
from rs_embed_dask.providers.registry import gate
from rs_embed_dask.providers.retry import retried

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Band
    from rs_embed_dask.providers.earth_engine.session import EarthAccess
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = [
    "ask",
    "fetched",
    "lazy_cubes",
    "order_of",
    "order_task",
    "pixel_grid",
    "plan_orders",
    "scenes_of",
    "values_of",
]


def order_task(order: Order) -> npt.NDArray[np.float32]:
    """Return the pixels of an order, in parts where it is too much for one request."""
    try:
        pixels: npt.NDArray[np.float32] = ask(order.settings.access, lambda: _pixels(order), what=_named(order))
    except TooMuchError:
        halves = order.halves()
        if halves is None:
            raise
    else:
        return pixels
    axis, parts = halves
    return np.concatenate([order_task(part) for part in parts], axis=axis)


def ask(access: EarthAccess, request: Callable[[], Any], *, what: str) -> Any:
    """Make a request, again after transient faults."""

    def once() -> Any:
        open_session(access)
        with gate(access.gate_name, access.at_once):
            return _once(request, what, access)

    return retried(once, access.retry)


def _once(request: Callable[[], Any], what: str, access: EarthAccess) -> Any:
    try:
        return request()
    except fault_kinds() as error:
        fault = as_ours(error, what, advice=access.advice)
    raise fault  # out here, for an error's context travels with it when it is pickled, and may hold a token


def _named(order: Order) -> str:
    lon, lat = order.grid.center_lonlat
    return f"earth_engine: {order.sensor} at {lon:.4f}, {lat:.4f}"


def _pixels(order: Order) -> npt.NDArray[np.float32]:
    return fetched(image_of(order, order.settings.table(order.sensor)), order.grid, depth=order.depth)


def fetched(image: Any, grid: Grid, *, depth: int) -> npt.NDArray[np.float32]:
    """Request an image of so many bands through xee's store, which has its metadata already and so requests none."""
    import ee

    rows, cols = grid.shape
    store = _store()(
        ee.ImageCollection([image]),
        crs=grid.crs,
        crs_transform=grid.transform,
        shape_2d=(cols, rows),
        getitem_kwargs={"max_retries": 0, "initial_delay": 0},
    )
    pixels: npt.NDArray[np.float32] = store.image_to_array(image, grid=pixel_grid(grid), dtype=np.float32)
    if pixels.shape != (depth, rows, cols):
        raise ValueError(f"{pixels.shape} values arrived where {(depth, rows, cols)} were requested")
    return pixels.astype(np.float32, copy=False)


@lru_cache(maxsize=1)
def _store() -> Any:
    """Return xee's store with the metadata of one multi-band float image, so that opening it makes no request."""
    import xee

    band = {"id": "known", "data_type": {"type": "PixelType", "precision": "float"}}
    info = {"size": 1, "props": {}, "properties": [[], []], "first": {"type": "Image", "bands": [band]}}
    return type("KnownStore", (xee.EarthEngineStore,), {"get_info": info})


def pixel_grid(grid: Grid) -> dict[str, Any]:
    """Return a grid as a pixel request has it: negative step in y, so row 0 is north."""
    rows, cols = grid.shape
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    place = {"crsCode": grid.crs} if grid.epsg is not None else {"crsWkt": _wkt(grid.crs)}
    return {
        "dimensions": {"width": cols, "height": rows},
        "affineTransform": dict(zip(names, grid.transform, strict=True)),
        **place,
    }


@lru_cache(maxsize=64)
def _wkt(crs: str) -> str:
    from pyproj import CRS
    from pyproj.enums import WktVersion

    return CRS.from_user_input(crs).to_wkt(WktVersion.WKT1_GDAL)


def scenes_of(settings: Settings, sensor: str, grid: Grid, *, span: Span, fetch: FetchSpec) -> tuple[Scene, ...]:
    """List the scenes that touch a grid."""
    source = settings.table(sensor)
    cloud = source.properties.cloud
    of = sensor_named(sensor)
    bands = ("vv",) if of.kind == "radar" else (source.assets[0][0],)
    look = Look(bands, fetch.max_cloud_pct if cloud else None, None, "median", plain=True)
    layer = OrderLayer(look, span.start.toordinal(), span.end.toordinal())
    order = Order(settings, of.id, grid, (layer,), layer.start, 1)
    columns = ["system:index", "system:time_start", *cloud[:1]]

    def listed() -> Any:
        import ee

        scenes = collection_of(order, look, source)
        return scenes.reduceColumns(ee.Reducer.toList(len(columns)), columns).get("list").getInfo()

    open_session(settings.access)
    rows = ask(settings.access, listed, what=f"earth_engine: scenes of {of.id}")
    return ordered(_scene(row) for row in rows)


def _scene(row: list[Any]) -> Scene:
    name, milliseconds, *cover = row
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return Scene(str(name), when, float(cover[0]) if cover else None)


_Tasks = dict[tuple[Any, ...], Any]
Reply = npt.NDArray[np.float32]


class EarthPlace(NamedTuple):
    """Where a frame lies in a reply."""

    run: int
    offset: int
    layer: OrderLayer


def order_of(settings: Settings, read: Read) -> Order:
    """Return the order of a whole read."""
    return Order.of(settings, read, layers_of(read, settings.table(read.sensor), plain=settings.plain))


def values_of(read: Read, order: Order, reply: Reply) -> Reply:
    """Take the first frame of a read from the reply to its order, in canonical units: (B, H, W)."""
    values: Reply = _values(read, order)(reply, places=[EarthPlace(0, 0, order.layers[0])])[0]
    return values


def plan_orders(settings: Settings, reads: Sequence[Read]) -> tuple[Cut, tuple[OrderLayer, ...]]:
    """Return the distinct layers of some reads of one grid, and how they are cut into requests."""
    source = settings.table(reads[0].sensor)
    layers = tuple(dict.fromkeys(layer for read in reads for layer in layers_of(read, source, plain=settings.plain)))
    return cut(reads[0].grid.shape, layers, limit_bytes=settings.limit_bytes), layers


def lazy_cubes(settings: Settings, reads: Sequence[Read]) -> list[xr.Dataset]:
    """Build the lazy cubes of reads of one grid and sensor: all of them share the fewest requests that hold them."""
    from dask.base import tokenize

    pieces, layers = plan_orders(settings, reads)
    whole = Order.of(settings, reads[0], layers)
    name = f"earth-engine-{tokenize(whole)}"
    tasks: _Tasks = {}
    for number, (first, after) in enumerate(pieces.runs):
        for i, j, window in pieces.windows:
            part = whole.grid if pieces.requests == len(pieces.runs) else whole.grid.crop(window)
            tasks[name, number, i, j] = (order_task, replace(whole, grid=part, layers=layers[first:after]))
    return [_dataset(read, whole, pieces, name=name, tasks=tasks) for read in reads]


def _dataset(read: Read, whole: Order, pieces: Cut, *, name: str, tasks: _Tasks) -> xr.Dataset:
    """Take one read's part out of the replies, and label it."""
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    frames = layers_of(read, whole.settings.table(read.sensor), plain=whole.settings.plain)
    runs = [list(group) for _, group in groupby((_place(layer, whole, pieces) for layer in frames), lambda at: at.run)]
    token = tokenize(read, whole)
    names = {part: f"earth-engine-{part}-{token}" for part in ("pixels", "n_obs", "days")}
    layers: dict[str, Any] = {name: tasks, **{each: {} for each in names.values()}}
    pixels, n_obs, days = (layers[each] for each in names.values())
    values = _values(read, whole)
    for k, places in enumerate(runs):
        replies = [(name, places[0].run, i, j) for i, j, _ in pieces.windows]
        for reply in replies:
            pixels[names["pixels"], k, 0, *reply[2:]] = (partial(values, places=places), reply)
            n_obs[names["n_obs"], k, *reply[2:]] = (partial(_counts, places=places), reply)
        days[names["days"], k, 0] = (partial(_days, places=places, since=whole.since, step=whole.step), replies)
    graph = HighLevelGraph(layers, {name: set(), **{each: {name} for each in names.values()}})
    times = tuple(len(places) for places in runs)
    blocks = pieces.rows, pieces.cols
    arrays = {
        "pixels": da.Array(graph, names["pixels"], (times, (len(read.bands),), *blocks), dtype=np.float32),
        "n_obs": da.Array(graph, names["n_obs"], (times, *blocks), dtype=np.uint16),
        "days": da.Array(graph, names["days"], (times, (2,)), dtype=np.int64),
    }
    return _labelled(read, whole, arrays)


def _place(layer: OrderLayer, whole: Order, pieces: Cut) -> EarthPlace:
    number = whole.layers.index(layer)
    run, first = pieces.run_of(number)
    return EarthPlace(run, sum(before.look.depth for before in whole.layers[first:number]), layer)


def _values(read: Read, whole: Order) -> partial[Reply]:
    """Bind what turns raw numbers into canonical units: scale and offset, decibels of power, kelvin of radiance."""
    of, source = sensor_named(read.sensor), whole.settings.table(read.sensor)
    bands = tuple(of.band(band) for band in read.bands)
    scalings = [source.scaling(band) for band in bands]
    scales = tuple(scaling.scale for scaling in scalings)
    offsets = tuple(scaling.offset for scaling in scalings)
    in_power = any(band.unit == DB for band in bands) and all(scaling.encoding == "linear" for scaling in scalings)
    emissive = tuple((i, bands[i].name) for i, scaling in enumerate(scalings) if scaling.encoding == "radiance")
    power = bands if in_power else ()
    return partial(_finished, scales=scales, offsets=offsets, power=power, emissive=emissive)


def _finished(
    reply: Reply,
    *,
    places: Sequence[EarthPlace],
    scales: Sequence[float],
    offsets: Sequence[float],
    power: Sequence[Band],
    emissive: Sequence[tuple[int, str]],
) -> Reply:
    raw = np.stack([reply[at.offset : at.offset + len(scales)] for at in places])  # (T, B, H, W)
    if any(scale != 1 for scale in scales):
        raw *= np.asarray(scales, np.float32)[:, None, None]
    if any(offsets):
        raw += np.asarray(offsets, np.float32)[:, None, None]
    for i, name in emissive:
        raw[:, i] = brightness(name, raw[:, i])
    return finish(raw, power) if power else raw


def _counts(reply: Reply, *, places: Sequence[EarthPlace]) -> npt.NDArray[np.uint16]:
    counts = np.stack([reply[at.offset + len(at.layer.look.bands)] for at in places])  # (T, H, W)
    whole_counts: npt.NDArray[np.uint16] = np.nan_to_num(counts, nan=0.0).astype(np.uint16)
    return whole_counts


def _days(replies: Sequence[Reply], *, places: Sequence[EarthPlace], since: int, step: int) -> npt.NDArray[np.int64]:
    """Return the first and the last day of each frame's observations, counted from the year 1; 0 for none."""
    ends = np.zeros((len(places), 2), np.int64)
    for row, at in zip(ends, places, strict=True):
        packed = np.concatenate([reply[at.offset + len(at.layer.look.bands) + 1].ravel() for reply in replies])
        observed = packed[np.isfinite(packed)].astype(np.int64)
        if observed.size:
            row[0] = since + step * int((observed // DAYS_BASE).min())
            row[1] = since + step * int((observed % DAYS_BASE).max())
    return ends


def _labelled(read: Read, whole: Order, arrays: dict[str, Any]) -> xr.Dataset:
    import xarray as xr

    from rs_embed_dask.imagery.cube import coordinates

    source = whole.settings.table(read.sensor)
    look = layers_of(read, source, plain=whole.settings.plain)[0].look
    mapped = {"grid_mapping": "spatial_ref"}
    edges = np.array([[span.start, span.end] for span in read.frames], "datetime64[ns]")
    radar = sensor_named(read.sensor).kind == "radar"
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
            "orbit": (whole.settings.orbit or "any") if radar else "",
            "composited_in": ("power" if whole.settings.radar == "linear" else "decibels") if radar else "",
        },
    )
