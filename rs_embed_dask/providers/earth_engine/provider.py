"""Google Earth Engine, read with its own client and xee: composited there, one request per place.

Of a product, up to 64 small places are read by one request (`sheet`).

Grids, sizes and band names are computed here; only pixels are requested from the service. All frames of a place,
and all models' frames where they read the same sensor, travel in one request as long as it fits the 48 MiB that the
service allows, and in the fewest pieces beyond.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import added_sensors, sensor as sensor_named, source, sources_of
from rs_embed_dask.providers.addresses import plain_address
from rs_embed_dask.providers.earth_engine.catalogue import CATALOGUE, stated_collection
from rs_embed_dask.providers.earth_engine.orders import BYTES_PER_VALUE, EXTRA_BANDS, LIMIT_BYTES, Settings
from rs_embed_dask.providers.earth_engine.read import lazy_cubes, order_of, plan_orders, scenes_of, values_of
from rs_embed_dask.providers.earth_engine.session import EXTRA, EarthAccess, credentials_of, open_session
from rs_embed_dask.providers.earth_engine.sheet import MOST_PLACES, replies_of, requests_of
from rs_embed_dask.providers.registry import Check, Estimate, load
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.stated import StatedCollection
    from rs_embed_dask.providers.registry import Provider

__all__ = ["SENSOR", "EarthEngine", "annual_embedding", "annual_read"]

SENSOR: Final = "satellite-embedding"


def annual_read(grid: Grid, year: int) -> Read:
    """Return the read of all embedding bands for one calendar year of a place."""
    span = Span(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))
    return Read(grid, SENSOR, sensor_named(SENSOR).band_names, (span,), FetchSpec(mask="none", composite="mosaic"))


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
    vectors: npt.NDArray[np.float32] = load(provider, annual_read(grid, year)).values[0]
    return vectors


def _product_read(collection: str, bands: tuple[str, ...], grid: Grid, *, span: Span) -> Read:
    return replace(annual_read(grid, span.start.year), sensor=sensor_named(collection).id, bands=bands)


_COLLECTION: Final = re.compile(r"[\w.:-]+(/[\w.:-]+)+")
_BYTES_ON_THE_WIRE: Final = 4
_LEAST_BYTES: Final = 16 * 16 * 1024 * BYTES_PER_VALUE


@dataclass(frozen=True)
class EarthEngine:
    """Reads Earth Engine's collections, composited on its side.

    A small value without credentials: each worker process finds them once, at the place that `credentials` names.

    Parameters
    ----------
    project, endpoint, credentials, key_file, at_once
        As of `EarthAccess`: who is charged, the address (``standard`` or ``high_volume``), where workers find
        credentials, and the most requests in flight over all workers of a run, default 40.
    retry
        Attempts and waits after transient faults; ``timeout_s``, default 310 s, is how long the service may compute,
        and half the longest that a request may take in all.
    patience
        The same under its earlier name.
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
    collections
        Your own collection for a sensor, by its name: images with the bands, numbers and properties that the public
        collection has, as ``{"sentinel-2-l2a": "projects/me/assets/s2"}``. The only way to ``modis-l1b``, which no
        public collection has: see ``docs/earth_engine.md`` for what its images have to hold.
    catalogue
        Address of the public data catalogue, which says what the numbers of other collections mean.

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
    patience: InitVar[RetryPolicy | Mapping[str, Any] | None] = field(default=None, kw_only=True)
    radar: Literal["linear", "db"] = "linear"
    orbit: Literal["ascending", "descending"] | None = None
    any_mode: bool = False
    passes: Literal["once", "each"] = "once"
    limit_bytes: int = LIMIT_BYTES
    threads: int = 4
    catalogue: str = CATALOGUE
    collections: Mapping[str, str] | tuple[tuple[str, str], ...] = ()

    name: ClassVar[str] = "earth_engine"
    places_at_once: ClassVar[int] = MOST_PLACES

    def __post_init__(self, patience: RetryPolicy | Mapping[str, Any] | None) -> None:
        object.__setattr__(self, "retry", RetryPolicy.of(self.retry if patience is None else patience))
        choice("EarthEngine.radar", self.radar, ("linear", "db"))
        choice("EarthEngine.passes", self.passes, ("once", "each"))
        if self.orbit is not None:
            choice("EarthEngine.orbit", self.orbit, ("ascending", "descending"))
        whole("EarthEngine.limit_bytes", self.limit_bytes, low=_LEAST_BYTES, high=LIMIT_BYTES)
        whole("EarthEngine.threads", self.threads, low=1, high=256)
        plain_address("EarthEngine.catalogue", self.catalogue, fix="leave it out")
        named = _own_collections(self.collections)
        object.__setattr__(self, "collections", tuple(sorted(named.items())))
        for sensor_id, collection in named.items():
            source(self.name, sensor_id)  # which refuses a sensor without a table
            _check_collection(sensor_id, collection)
        _ = self.access  # which validates its fields

    @property
    def access(self) -> EarthAccess:
        """How the service is reached."""
        return EarthAccess(self.project, self.endpoint, self.credentials, self.key_file, self.at_once, self.retry)

    @property
    def settings(self) -> Settings:
        """What its requests depend on."""
        own = tuple(dict(self.collections).items())
        return Settings(self.access, self.radar, self.orbit, self.any_mode, self.passes, self.limit_bytes, own)

    @property
    def services(self) -> tuple[str, ...]:
        """Address that every read asks."""
        return (self.access.url,)

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""
        public = frozenset(each.sensor for each in sources_of(self.name) if each.collection)
        return public | frozenset(dict(self.collections)) | added_sensors(self.name)

    def collection(self, name: str) -> StatedCollection:
        """Return what the public data catalogue states of a collection; of other assets nothing is known."""
        return stated_collection(self.catalogue, name, self.retry)

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time; see `Provider`. A read does not need it."""
        return scenes_of(self.settings, sensor, grid, span=span, fetch=fetch)

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read; see `Provider`. Nothing is requested until it is computed.

        A frame without imagery is NaN with a count of 0, for only the pixels show whether there is any.
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
            One per read, as `cube` makes it.
        """
        cubes: dict[int, xr.Dataset] = {}
        for grid in dict.fromkeys(read.grid for read in reads):
            mine = {number: read for number, read in enumerate(reads) if read.grid == grid}
            cubes |= zip(mine, lazy_cubes(self.settings, tuple(mine.values())), strict=True)
        return [cubes[number] for number in range(len(reads))]

    def product(self, collection: str, bands: tuple[str, ...], grid: Grid, *, span: Span) -> npt.NDArray[np.float32]:
        """Read some bands of a product for the year of a span: (D, H, W), NaN where there are none."""
        vectors: npt.NDArray[np.float32] = load(self, _product_read(collection, bands, grid, span=span)).values[0]
        return vectors

    def products(
        self, collection: str, bands: tuple[str, ...], grids: Sequence[Grid], *, span: Span
    ) -> list[npt.NDArray[np.float32]]:
        """Read the same bands and year at several places, up to 64 of them by one request."""
        reads = [_product_read(collection, bands, grid, span=span) for grid in grids]
        orders = [order_of(self.settings, read) for read in reads]
        return [
            self.product(collection, bands, read.grid, span=span) if reply is None else values_of(read, order, reply)
            for read, order, reply in zip(reads, orders, replies_of(orders), strict=True)
        ]

    def requests_of(self, shape: tuple[int, int], bands: int) -> float:
        """Return how many requests a place of a product takes, or its share of one."""
        return requests_of(shape, bands + EXTRA_BANDS, self.limit_bytes)

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read without a request: the requests are exact."""
        pieces, layers = plan_orders(self.settings, (read,))
        rows, cols = read.grid.shape
        size = rows * cols * sum(layer.look.depth for layer in layers) * _BYTES_ON_THE_WIRE
        days = sum(span.days for span in read.frames)
        scenes = max(1, round(days / sensor_named(read.sensor).revisit_days))
        return Estimate(scenes, pieces.requests, size)

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider. They hold no credentials."""
        default = EarthEngine()
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if value != getattr(default, name)}
        if self.collections:
            plain["collections"] = dict(self.collections)
        if "retry" in plain:
            plain["retry"] = asdict(self.retry)
        return {"name": self.name, **plain}

    def checks(self, *, live: bool) -> list[Check]:
        """Check libraries and credentials here, and if `live` that the service opens a session (AccessError if not)."""
        local = [_libraries(), _credentials(self)]
        if not live or not all(check.is_well for check in local):
            return local
        question = "does the service open a session?"
        try:
            open_session(self.access)
        except ProviderError as error:
            return [*local, Check(question, str(error), is_well=False)]
        return [*local, Check(question, f"yes: {self.access.url}", is_well=True)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what differs from the defaults only, for one travels in every task."""
        options = self.describe()
        return _rebuilt, ({name: value for name, value in options.items() if name != "name"},)


def _own_collections(given: Any) -> dict[str, Any]:
    """Return the collection named for each sensor, by its id; refuse two for one."""
    try:
        pairs = [(sensor_named(name).id, collection) for name, collection in dict(given).items()]
    except (TypeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        fix = "give {'sentinel-2-l2a': 'projects/my-project/assets/my-images'}"
        reason = "it is no mapping of a sensor to a collection"
        raise SpecError("EarthEngine.collections", value=given, reason=reason, fix=fix) from error
    for sensor_id, _ in pairs:
        chosen = [collection for other, collection in pairs if other == sensor_id]
        if len(chosen) > 1:
            reason = "one sensor has several names here"
            what = f"EarthEngine.collections: {sensor_id}"
            raise SpecError(what, value=chosen, reason=reason, fix="name it once")
    return dict(pairs)


def _check_collection(sensor_id: str, collection: object) -> None:
    if not isinstance(collection, str) or not _COLLECTION.fullmatch(collection):
        fix = "give the id of an image collection, such as projects/my-project/assets/my-images"
        raise SpecError(f"EarthEngine.collections: {sensor_id}", value=collection, reason="it is no id", fix=fix)


def _rebuilt(options: dict[str, Any]) -> EarthEngine:
    return EarthEngine(**options)


def _libraries() -> Check:
    question = "are the libraries here?"
    try:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("earthengine-api", "xee")]
    except importlib.metadata.PackageNotFoundError as error:
        return Check(question, f"no: {error.name} is missing; {EXTRA}", is_well=False)
    return Check(question, ", ".join(versions), is_well=True)


def _credentials(provider: EarthEngine) -> Check:
    question = f"are the credentials here ({provider.credentials})?"
    try:
        credentials = credentials_of(provider.access)
    except ProviderError as error:
        return Check(question, str(error), is_well=False)
    return Check(question, f"yes: {type(credentials).__name__}, not shown", is_well=True)
