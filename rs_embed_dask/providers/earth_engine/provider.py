"""Google Earth Engine, read with its own client and xee: composited there, one request a place.

What is asked for is worked out here: grids, sizes, names of bands. The service is asked for pixels and nothing else.
All frames of a place, and all models' frames where they read the same sensor, travel in one request as long as it fits
the 48 MiB that the service allows, and in the fewest pieces beyond.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.frame import finish
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensors import sensor, sensor as sensor_named, source, sources_of
from rs_embed_dask.providers.earth_engine.image import collection_of
from rs_embed_dask.providers.earth_engine.orders import (
    BYTES_PER_VALUE,
    DAYS_BASE,
    LIMIT_BYTES,
    Cut,
    Look,
    Order,
    OrderLayer,
    cut,
    layers_of,
)
from rs_embed_dask.providers.earth_engine.read import ask, order_task
from rs_embed_dask.providers.earth_engine.session import EarthAccess, credentials_of, open_session
from rs_embed_dask.providers.registry import Check, Estimate, load
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Source
    from rs_embed_dask.providers.registry import Provider

__all__ = [
    "SENSOR",
    "EarthEngine",
    "annual_embedding",
    "annual_read",
    "lazy_cubes",
    "plan_orders",
    "scenes_of",
]

SENSOR: Final = "satellite-embedding"


def annual_read(grid: Grid, year: int) -> Read:
    """Say what to read for one year of a place."""
    whole = Span(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))
    return Read(grid, SENSOR, sensor(SENSOR).band_names, (whole,), FetchSpec(mask="none", composite="mosaic"))


def annual_embedding(grid: Grid, year: int, *, provider: Provider) -> npt.NDArray[np.float32]:
    """Read the embeddings of a place and year.

    Parameters
    ----------
    grid : Grid
        Where.
    year : int
        From 2017.
    provider : Provider
        One that serves ``satellite-embedding``, as `EarthEngine` does.

    Returns
    -------
    ndarray of float32 (64, H, W)
        Row 0 is north. NaN where there is no vector.

    Raises
    ------
    AccessError, TransientError, ProviderError
        If the service refuses or is out of order.
    """
    found: npt.NDArray[np.float32] = load(provider, annual_read(grid, year)).values[0]
    return found


def scenes_of(provider: EarthEngine, sensor: str, grid: Grid, *, span: Span, fetch: FetchSpec) -> tuple[Scene, ...]:
    """List the scenes that touch a grid."""
    source = provider.table(sensor)
    cloud = source.properties.cloud
    look = Look((source.assets[0][0],), fetch.max_cloud_pct if cloud else None, None, "median", plain=True)
    of = sensor_named(sensor)
    bands = ("vv",) if of.kind == "radar" else look.bands
    layer = OrderLayer(look._replace(bands=bands), span.start.toordinal(), span.end.toordinal())
    order = Order(provider, of.id, grid, (layer,), layer.start, 1)
    columns = ["system:index", "system:time_start", *cloud[:1]]

    def listed() -> Any:
        import ee

        found = collection_of(order, layer.look, source)
        return found.reduceColumns(ee.Reducer.toList(len(columns)), columns).get("list").getInfo()

    open_session(provider.access)
    rows = ask(provider.access, listed, what=f"earth_engine: scenes of {of.id}")
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


def plan_orders(provider: EarthEngine, reads: Sequence[Read]) -> tuple[Cut, tuple[OrderLayer, ...]]:
    """Say which layers some reads of one grid want, each once, and into how many requests they are cut."""
    source = provider.table(reads[0].sensor)
    plain = provider.passes == "each"
    layers = dict.fromkeys(layer for read in reads for layer in layers_of(read, source, plain=plain))
    listed = tuple(layers)
    return cut(reads[0].grid.shape, listed, limit_bytes=provider.limit_bytes), listed


def lazy_cubes(provider: EarthEngine, reads: Sequence[Read]) -> list[xr.Dataset]:
    """Build the lazy cubes of reads of one grid and sensor: all of them share the fewest requests that hold them."""
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


def _place(layer: OrderLayer, whole: Order, made: Cut) -> EarthPlace:
    number = whole.layers.index(layer)
    run, first = made.run_of(number)
    return EarthPlace(run, sum(before.look.depth for before in whole.layers[first:number]), layer)


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
    reply: Reply, *, places: Sequence[EarthPlace], scales: Sequence[float], offsets: Sequence[float], bands: Any
) -> Reply:
    raw = np.stack([reply[at.offset : at.offset + len(scales)] for at in places])  # (T, B, H, W)
    if any(scale != 1 for scale in scales):
        raw *= np.asarray(scales, np.float32)[:, None, None]
    if any(offsets):
        raw += np.asarray(offsets, np.float32)[:, None, None]
    return finish(raw, bands) if bands else raw


def _counts(reply: Reply, *, places: Sequence[EarthPlace]) -> npt.NDArray[np.uint16]:
    found = np.stack([reply[at.offset + len(at.layer.look.bands)] for at in places])  # (T, H, W)
    counted: npt.NDArray[np.uint16] = np.nan_to_num(found, nan=0.0).astype(np.uint16)
    return counted


def _days(replies: Sequence[Reply], *, places: Sequence[EarthPlace], since: int, step: int) -> npt.NDArray[np.int64]:
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

    from rs_embed_dask.imagery.cube import coordinates

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


LINEAR_RADAR: Final = "COPERNICUS/S1_GRD_FLOAT"
_SECONDS_A_REQUEST: Final = 1.0  # a guess: an eighth of a second to several, by what is composited
_SECONDS_A_SCENE_BAND: Final = 0.005
_BYTES_PER_S: Final = 20e6
_BYTES_ON_THE_WIRE: Final = 4
_LEAST_BYTES: Final = 16 * 16 * 1024 * BYTES_PER_VALUE


@dataclass(frozen=True)
class EarthEngine:
    """Reads Earth Engine's collections, composited on its side.

    A small value without credentials: each worker process finds them where `credentials` says, once.

    Parameters
    ----------
    project, endpoint, credentials, key_file, at_once
        As of `EarthAccess`: who is charged, the address (``standard`` or ``high_volume``), where workers find
        credentials, and the most requests in flight over all workers of a run, default 40.
    retry
        How faults are borne; ``timeout_s`` is the deadline of a request, default 310 s.
    radar
        In what Sentinel-1 is composited: ``linear`` power (default) or ``db``. Cubes hold decibels either way.
    orbit
        ``ascending`` or ``descending`` passes of Sentinel-1 alone. Default: both.
    any_mode
        Take Sentinel-1 scenes of any mode and polarisation that have the bands, not just dual-polarised IW.
    passes
        ``once`` (default): overlapping scenes of one pass of a satellite count once; ``each``: every image counts.
    limit_bytes
        Most bytes of one request, as the service counts them.
    threads
        Requests that one read keeps in flight where it needs several.

    Raises
    ------
    SpecError
        If a value cannot be used.

    Examples
    --------
    >>> provider = EarthEngine(project="my-project")
    >>> "satellite-embedding" in provider.sensors()
    True
    """

    project: str | None = None
    endpoint: str = "standard"
    credentials: str = "user"
    key_file: str | None = None
    at_once: int = EarthAccess.at_once
    retry: RetryPolicy = field(default_factory=lambda: EarthAccess().retry)
    radar: Literal["linear", "db"] = "linear"
    orbit: Literal["ascending", "descending"] | None = None
    any_mode: bool = False
    passes: Literal["once", "each"] = "once"
    limit_bytes: int = LIMIT_BYTES
    threads: int = 4

    name: ClassVar[str] = "earth_engine"

    def __post_init__(self) -> None:
        if isinstance(self.retry, Mapping):
            object.__setattr__(self, "retry", RetryPolicy(**self.retry))
        choice("EarthEngine.radar", self.radar, ("linear", "db"))
        choice("EarthEngine.passes", self.passes, ("once", "each"))
        if self.orbit is not None:
            choice("EarthEngine.orbit", self.orbit, ("ascending", "descending"))
        whole("EarthEngine.limit_bytes", self.limit_bytes, low=_LEAST_BYTES, high=LIMIT_BYTES)
        whole("EarthEngine.threads", self.threads, low=1, high=256)
        if self.access.retry.attempts < 1:
            fix = "allow one attempt or more"
            raise SpecError("EarthEngine.retry", value=self.retry, reason="it allows no attempt", fix=fix)

    @property
    def access(self) -> EarthAccess:
        """How the service is reached."""
        return EarthAccess(self.project, self.endpoint, self.credentials, self.key_file, self.at_once, self.retry)

    @property
    def taste(self) -> tuple[object, ...]:
        """What of the provider its pixels depend on."""
        return self.name, self.radar, self.orbit, self.any_mode, self.passes

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""
        return frozenset(each.sensor for each in sources_of(self.name))

    def table(self, name: str) -> Source:
        """Return how a sensor is served here.

        Raises
        ------
        UnknownNameError, SpecError
            If the sensor is not known, or not served.
        """
        of = sensor_named(name)
        linear = of.kind == "radar" and of.id == "sentinel-1-grd" and self.radar == "linear"
        return source(self.name, LINEAR_RADAR if linear else name)

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time. A read does not need it.

        Parameters
        ----------
        sensor
            A sensor by any name.
        grid, span
            Where and when.
        fetch
            Its cloud limit counts.

        Raises
        ------
        AccessError, TransientError, ProviderError
            If the service refuses or is out of order.
        """
        return scenes_of(self, sensor, grid, span=span, fetch=fetch)

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read. Nothing is asked until it is computed.

        Parameters
        ----------
        read
            What is wanted.

        Returns
        -------
        xarray.Dataset
            ``pixels`` (time, band, y, x) float32 in canonical units and ``n_obs`` (time, y, x). A frame without
            imagery is NaN with a count of 0: whether there is any is known when the pixels come.

        Raises
        ------
        SpecError, UnknownNameError
            If a band, mask or composite is not served.
        """
        return self.cubes((read,))[0]

    def cubes(self, reads: Sequence[Read]) -> list[xr.Dataset]:
        """Return the lazy cubes of several reads of one place and sensor; those of one grid share their requests.

        Parameters
        ----------
        reads
            They may differ in bands, frames, cloud limit, mask, composite and the size of pixels.

        Returns
        -------
        list of xarray.Dataset
            One a read, as `cube` makes it.
        """
        made: dict[int, xr.Dataset] = {}
        for grid in dict.fromkeys(read.grid for read in reads):
            mine = {number: read for number, read in enumerate(reads) if read.grid == grid}
            made |= zip(mine, lazy_cubes(self, tuple(mine.values())), strict=True)
        return [made[number] for number in range(len(reads))]

    def product(self, collection: str, bands: tuple[str, ...], grid: Grid, *, span: Span) -> npt.NDArray[np.float32]:
        """Read vectors that the service has: (D, H, W), NaN where there are none; see `annual_embedding`.

        Parameters
        ----------
        collection, bands
            The product's id, and which of its bands.
        grid, span
            Where, and which year.

        Raises
        ------
        AccessError, TransientError, ProviderError
            If the service refuses or is out of order.
        """
        from rs_embed_dask.providers.registry import load

        read = annual_read(grid, span.start.year)
        cube = load(self, replace(read, sensor=sensor_named(collection).id, bands=bands))
        found: npt.NDArray[np.float32] = cube.values[0]
        return found

    def estimate(self, read: Read) -> Estimate:
        """Say what a read will cost, without asking anyone: the requests are exact, the seconds a guess."""
        made, layers = plan_orders(self, (read,))
        rows, cols = read.grid.shape
        size = rows * cols * sum(layer.look.depth for layer in layers) * _BYTES_ON_THE_WIRE
        days = sum(span.days for span in read.frames)
        scenes = max(1, round(days / sensor_named(read.sensor).revisit_days))
        seconds = made.requests * _SECONDS_A_REQUEST + scenes * len(read.bands) * _SECONDS_A_SCENE_BAND
        return Estimate(scenes, made.requests, size, seconds + size / _BYTES_PER_S)

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` makes the provider again. They hold no credentials."""
        from dataclasses import asdict

        default = EarthEngine()
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if value != getattr(default, name)}
        if "retry" in plain:
            plain["retry"] = asdict(self.retry)
        return {"name": self.name, **plain}

    def checks(self, *, live: bool) -> list[Check]:
        """Say whether libraries and credentials are here; `live` asks the service what only it can settle.

        Raises
        ------
        AccessError
            If the service refuses.
        """
        found = [_libraries(), _credentials(self)]
        if not live or not all(check.is_well for check in found):
            return found
        question = "does the service open a session?"
        try:
            open_session(self.access)
        except ProviderError as error:
            return [*found, Check(question, str(error), is_well=False)]
        return [*found, Check(question, f"yes: {self.access.url}", is_well=True)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what differs from the defaults only, for one travels in every task."""
        options = self.describe()
        return _made, ({name: value for name, value in options.items() if name != "name"},)


def _made(options: dict[str, Any]) -> EarthEngine:
    return EarthEngine(**options)


def _libraries() -> Check:
    question = "are the libraries here?"
    try:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("earthengine-api", "xee")]
    except importlib.metadata.PackageNotFoundError as error:
        fix = "pip install 'rs-embed-dask[earth_engine]'"
        return Check(question, f"no: {error.name} is missing; {fix}", is_well=False)
    return Check(question, ", ".join(versions), is_well=True)


def _credentials(provider: EarthEngine) -> Check:
    question = f"are the credentials here ({provider.credentials})?"
    try:
        credentials = credentials_of(provider.access)
    except ProviderError as error:
        return Check(question, str(error), is_well=False)
    return Check(question, f"yes: {type(credentials).__name__}, not shown", is_well=True)
