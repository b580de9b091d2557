"""What one request asks of Earth Engine, and how a read is cut into requests: plain arithmetic on small values."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.imagery.sensor_tables import NOT_SERVED
from rs_embed_dask.imagery.sensors import mask_of, sensor as sensor_named, source
from rs_embed_dask.providers.earth_engine.session import EarthAccess
from rs_embed_dask.specs.base import Record

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Source

__all__ = [
    "BYTES_PER_VALUE",
    "DAYS_BASE",
    "EXTRA_BANDS",
    "LIMIT_BYTES",
    "Cut",
    "Look",
    "Order",
    "OrderLayer",
    "Settings",
    "cut",
    "layers_of",
]

LIMIT_BYTES: Final = 48 * 2**20
"""Most bytes of a pixel request, as the service counts them."""
BYTES_PER_VALUE: Final = 5
"""float32, and the byte of the mask that the service counts too."""
DAYS_BASE: Final = 4096
"""First and last day share one number of float32, which is exact up to 4096 squared."""
EXTRA_BANDS: Final = 2
"""Bands of each frame beside the sensor's: the count of observations, and their first and last day."""
PARITY_CRS: Final = "EPSG:3857"

_LINEAR_RADAR: Final = "COPERNICUS/S1_GRD_FLOAT"
_MOST_BANDS: Final = 1024
_MOST_SIDE_PX: Final = 32_768
_LEAST_SIDE_PX: Final = 16


class Look(NamedTuple):
    """How the scenes of a frame become one image."""

    bands: tuple[str, ...]
    cloud: float | None
    mask: str | None
    how: str
    plain: bool

    @property
    def depth(self) -> int:
        """Bands that a request has for each frame."""
        return len(self.bands) + EXTRA_BANDS


class OrderLayer(NamedTuple):
    """One frame: half-open, in days since the year 1."""

    look: Look
    start: int
    end: int

    @property
    def first(self) -> dt.date:
        """Its first day."""
        return dt.date.fromordinal(self.start)

    @property
    def after(self) -> dt.date:
        """The day after its last."""
        return dt.date.fromordinal(self.end)


@dataclass(frozen=True)
class Settings(Record):
    """What a request takes from its provider: how the service is reached, and how scenes are composited."""

    access: EarthAccess = field(default_factory=EarthAccess)
    radar: str = "linear"
    orbit: str | None = None
    any_mode: bool = False
    passes: str = "once"
    limit_bytes: int = LIMIT_BYTES
    collections: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether every image counts, overlapping scenes of one pass too."""
        return self.passes == "each"

    @property
    def pixel_options(self) -> tuple[object, ...]:
        """The settings that pixels depend on."""
        return "earth_engine", self.radar, self.orbit, self.any_mode, self.passes, self.collections

    def table(self, name: str) -> Source:
        """Return how Earth Engine serves a sensor: Sentinel-1 comes from another collection in linear power."""
        of = sensor_named(name)
        linear = of.kind == "radar" and of.id == "sentinel-1-grd" and self.radar == "linear"
        table = source("earth_engine", _LINEAR_RADAR if linear else name)
        if named := dict(self.collections).get(of.id):
            return replace(table, collection=named, more_collections=())
        if not table.collection:
            reason, fix = NOT_SERVED[of.id]
            raise SpecError("sensor at earth_engine", value=of.id, reason=reason, fix=fix)
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle values without names, for one travels in every task."""
        return Settings, tuple(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True)
class Order(Record):
    """What one task asks for. It pickles to less than a kilobyte."""

    settings: Settings
    sensor: str
    grid: Grid
    layers: tuple[OrderLayer, ...]
    since: int
    step: int

    @classmethod
    def of(cls, settings: Settings, read: Read, layers: tuple[OrderLayer, ...]) -> Self:
        """Make the order of all layers over the whole grid of a read."""
        since = min(layer.start for layer in layers)
        days = max(layer.end for layer in layers) - since
        return cls(settings, read.sensor, read.grid, layers, since, -(-days // DAYS_BASE))

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First day, and the day after the last."""
        first, after = min(layer.start for layer in self.layers), max(layer.end for layer in self.layers)
        return dt.date.fromordinal(first), dt.date.fromordinal(after)

    @property
    def depth(self) -> int:
        """Bands of the requested image."""
        return sum(layer.look.depth for layer in self.layers)

    def halves(self) -> tuple[int, tuple[Order, Order]] | None:
        """Split an order that was too large: frames first, then the longer side."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return 0, (replace(self, layers=self.layers[:middle]), replace(self, layers=self.layers[middle:]))
        rows, cols = self.grid.shape
        side = max(rows, cols)
        if side < 2 * _LEAST_SIDE_PX:
            return None
        one = side // 2
        if rows >= cols:
            windows = Window(0, 0, one, cols), Window(one, 0, rows - one, cols)
        else:
            windows = Window(0, 0, rows, one), Window(0, one, rows, cols - one)
        first, second = (replace(self, grid=self.grid.crop(window)) for window in windows)
        return (1 if rows >= cols else 2), (first, second)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what the pixels depend on, which the account and the retry policy are not part of."""
        layers = tuple((tuple(layer.look), layer.start, layer.end) for layer in self.layers)
        return "rs_embed_dask.Order", repr((self.settings.pixel_options, self.sensor, self.grid.to_json(), layers))


@dataclass(frozen=True)
class Cut:
    """How a read is cut into requests: every run of layers over every block of the grid."""

    runs: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.runs) * len(self.rows) * len(self.cols)

    @property
    def windows(self) -> list[tuple[int, int, Window]]:
        """Number of the block down and across, and its pixels."""
        windows, top = [], 0
        for i, height in enumerate(self.rows):
            left = 0
            for j, width in enumerate(self.cols):
                windows.append((i, j, Window(top, left, height, width)))
                left += width
            top += height
        return windows

    def run_of(self, layer: int) -> tuple[int, int]:
        """Return the number of the run that holds a layer, and the position of its first layer."""
        return next((number, first) for number, (first, after) in enumerate(self.runs) if first <= layer < after)


def layers_of(read: Read, source: Source, *, plain: bool) -> tuple[OrderLayer, ...]:
    """Return the layers of a read, defaults filled in."""
    fetch = read.fetch
    for band in read.bands:
        source.asset(band)
    how = fetch.composite or "median"
    if how == "clearest":
        fix = "use median or mosaic, or another provider"
        reason = "Earth Engine composites on its side, where no scene is the clearest of a whole place"
        raise SpecError("FetchSpec.composite", value=how, reason=reason, fix=fix)
    if fetch.orbit is not None:
        fix = "leave orbit out, or use another provider"
        reason = "reads of Earth Engine take both directions of flight"
        raise SpecError("FetchSpec.orbit", value=fetch.orbit, reason=reason, fix=fix)
    mask = mask_of(fetch.mask, source)
    mask_name = None if mask is None else fetch.mask or mask[0].name
    limit = fetch.max_cloud_pct if source.properties.cloud else None
    look = Look(read.bands, limit, mask_name, how, plain or read.grid.crs == PARITY_CRS)
    return tuple(OrderLayer(look, span.start.toordinal(), span.end.toordinal()) for span in read.frames)


def cut(shape: tuple[int, int], layers: Sequence[OrderLayer], *, limit_bytes: int = LIMIT_BYTES) -> Cut:
    """Cut layers of a grid into requests that the service answers: by frames first, then the grid by halves."""
    rows, cols = shape
    down = across = 1
    depths = [layer.look.depth for layer in layers]

    def fits(depth: int) -> bool:
        height, width = math.ceil(rows / down), math.ceil(cols / across)
        small = height * width * depth * BYTES_PER_VALUE <= limit_bytes
        return small and depth <= _MOST_BANDS and max(height, width) <= _MOST_SIDE_PX

    while not fits(max(depths)) and max(rows / down, cols / across) > _LEAST_SIDE_PX:
        if rows / down >= cols / across:
            down *= 2
        else:
            across *= 2
    for count in range(1, len(layers) + 1):
        runs = _even(len(layers), count)
        if count == len(layers) or all(fits(sum(depths[first:after])) for first, after in runs):
            break
    return Cut(runs, _sizes(rows, down), _sizes(cols, across))


def _even(total: int, count: int) -> tuple[tuple[int, int], ...]:
    edges = [total * number // count for number in range(count + 1)]
    return tuple(pairwise(edges))


def _sizes(side: int, count: int) -> tuple[int, ...]:
    return tuple(after - first for first, after in _even(side, count) if after > first)
