"""A synthetic landscape with seasons and clouds: pixels without a network, for trials, tests and benchmarks.

It is the offline twin of the real providers: scenes hold the numbers that the agencies' files would (offset, nodata and
quality bands included), and go the same way to a cube.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.frame import baseline_of
from rs_embed_dask.imagery.scenes import Scene, flies, ordered
from rs_embed_dask.imagery.sensor_types import KELVIN
from rs_embed_dask.imagery.sensors import Band, Scaling, sensor as sensor_named, source, sources_of
from rs_embed_dask.providers.registry import Estimate
from rs_embed_dask.providers.synthetic.landscape import (
    Floats,
    Ground,
    Orbit,
    cell_hash,
    class_at,
    cover,
    ground_of,
    number,
    passes,
    quality,
    sky_over,
    through,
    tiles_of,
)
from rs_embed_dask.providers.synthetic.spectra import CLASSES, backscatter_db, table

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = ["CLASSES", "Camera", "Pause", "Synthetic"]

_MICRO: Final = 1_000_000
_CELL_M: Final = 10.0
_SPECKLE: Final = 0.26
_OFFSET_SINCE: Final = 4.0
_S2_OFFSET: Final = 1000.0
_LARGEST: Final = {"u": 65_535, "i": 32_767}
_FILL: Final = {"scl": 0, "fmask": 255, "qa_pixel": 1}


@dataclass(frozen=True)
class Pause:
    """A wait that stands for a slow service: once per read, in its first task."""

    scene: str
    corner: tuple[float, float]
    seconds: float

    def keep(self, scenes: Sequence[Scene], grid: Grid) -> None:
        """Wait if this is the first task of the read."""
        if scenes and scenes[0].id == self.scene and (grid.transform[2], grid.transform[5]) == self.corner:
            time.sleep(self.seconds)


@dataclass(frozen=True)
class Camera:
    """Takes scenes; the `Fetch` of the synthetic provider."""

    sensor: str
    seed: int
    cloud: float
    pause: Pause | None = None

    def __call__(self, scenes: Sequence[Scene], grid: Grid, assets: tuple[tuple[str, ...], ...]) -> npt.NDArray[Any]:
        """Return the raw numbers of some scenes on a grid."""
        if self.pause is not None:
            self.pause.keep(scenes, grid)
        of = sensor_named(self.sensor)
        bands = tuple(of.band(names[0]) for names in assets if names[0] in of.band_names)
        rule = next((mask.name for mask in of.masks for names in assets[len(bands) :] if mask.band == names[0]), None)
        kind = np.uint16 if of.id.startswith(("sentinel-2", "landsat")) else np.int16
        raw = np.zeros((len(scenes), len(assets), grid.shape[0] * grid.shape[1]), kind)
        if of.kind == "radar" or rule == "cloud_score_plus":
            raw = raw.astype(np.float32)
        ground = ground_of(grid, self.seed)
        for layers, scene in zip(raw, scenes, strict=True):
            self._take(layers, scene, ground, bands, rule)
        return raw.reshape(len(scenes), len(assets), *grid.shape)  # (N, A, H, W)

    def _take(
        self, layers: npt.NDArray[Any], scene: Scene, ground: Ground, bands: tuple[Band, ...], rule: str | None
    ) -> None:
        """Fill the layers (A, P) of one scene."""
        day = dt.date.fromisoformat(scene.properties["made:day"])
        tile = scene.properties["made:tile"]
        south = tile[1] < 0
        if sensor_named(self.sensor).kind == "radar":
            self._write_radar(layers, ground, bands, day, south=south)
        else:
            share = cover(self.seed, self.cloud, tile=(tile[0], tile[1]), day=day)
            sky = sky_over(ground, share, seed=self.seed, day=day)
            values = table(bands, day, south=south, toa=self.sensor.endswith("l1c"))[:, ground.material]  # (B, P)
            for b, band in enumerate(bands):
                if band.unit != KELVIN:
                    values[b] *= ground.texture
            if sky is not None:
                values = through(values, sky, bands)
            self._write_optical(layers[: len(bands)], values, bands, scene)
            if rule is not None:
                layers[-1] = quality(rule, ground, sky, day=day, south=south)
        outside = (ground.tile[0] != tile[0]) | (ground.tile[1] != tile[1])
        if outside.any():
            for b, band in enumerate(bands):
                nodata = source("synthetic", self.sensor).scaling(band).nodata
                layers[b][outside] = np.nan if nodata is None else nodata
            if rule is not None:
                layers[-1][outside] = _FILL.get(rule, 0)

    def _write_optical(self, layers: npt.NDArray[Any], values: Floats, bands: tuple[Band, ...], scene: Scene) -> None:
        """Turn canonical values (B, P) into the numbers of files."""
        where = source("synthetic", self.sensor)
        added = _S2_OFFSET if (baseline_of(scene, where) or 0.0) >= _OFFSET_SINCE else 0.0
        scalings = [where.scaling(band) for band in bands]
        alike = len(set(scalings)) == 1
        # bands of one scaling are encoded together, which is much faster
        for b, scaling in enumerate(scalings[:1] if alike else scalings):
            part = slice(None) if alike else slice(b, b + 1)
            raw = _encoded(values[part], scaling, added if scaling.offset_rule == "s2_baseline" else 0.0)
            if layers.dtype.kind == "f":
                layers[part] = raw
            else:
                raw += np.float32(0.5)  # rounds, for all are positive
                layers[part] = np.clip(raw, 1, _LARGEST[layers.dtype.kind], out=raw)

    def _write_radar(
        self, layers: npt.NDArray[Any], ground: Ground, bands: tuple[Band, ...], day: dt.date, *, south: bool
    ) -> None:
        """Fill the layers of a radar scene: the materials' backscatter with speckle."""
        mean = backscatter_db(tuple(band.common for band in bands), day, south=south)
        column, row = (np.floor(part / _CELL_M).astype(np.int64) for part in (ground.x, ground.y))
        for b, band in enumerate(bands):
            bits = cell_hash(column, row, self.seed + 211 * day.toordinal() + 97 * b)
            grain = bits.view(np.uint8).reshape(-1, 4).sum(1, dtype=np.uint16).astype(np.float32)
            speckle = (grain - np.float32(510)) * np.float32(_SPECKLE / 147.8)  # near normal, in nepers
            db = mean[b, ground.material] + np.float32(10 / np.log(10)) * speckle
            coded = source("synthetic", self.sensor).scaling(band).encoding == "db"
            layers[b] = db if coded else np.float32(10) ** (db * np.float32(0.1))
            if band.common not in {"vv", "vh"}:
                layers[b] = np.nan


def _encoded(values: Floats, scaling: Scaling, added: float) -> Floats:
    """Undo a scaling, in place."""
    if added or scaling.offset:
        values += np.float32(added - scaling.offset)
    if scaling.scale != 1:
        values *= np.float32(1 / scaling.scale)
    return values


@dataclass(frozen=True)
class Synthetic:
    """The provider of a synthetic landscape.

    Parameters
    ----------
    seed : int
        Another seed makes another landscape. Default 0.
    cloud : float
        Mean cloud cover, 0..1. Default 0.3.
    revisit_days : int
        Days between two passes of Sentinel-2. Default 5. Other sensors keep their own.
    latency_s : float or (float, float), optional
        Seconds that each read waits, as a service would: the median of a lognormal distribution, or median and sigma.
        Default: none.

    Raises
    ------
    SpecError
        If a number is out of range.

    Examples
    --------
    >>> Synthetic(seed=1, latency_s=0.5).describe()
    {'name': 'synthetic', 'seed': 1, 'cloud': 0.3, 'revisit_days': 5, 'latency_s': [0.5, 0.0]}
    """

    seed: int = 0
    cloud: float = 0.3
    revisit_days: int = 5
    latency_s: tuple[float, float] | None = None

    name: ClassVar[str] = "synthetic"

    def __init__(
        self,
        seed: int = 0,
        *,
        cloud: float = 0.3,
        revisit_days: int = 5,
        latency_s: float | Iterable[float] | None = None,
    ) -> None:
        if not 0 <= cloud <= 1:
            raise SpecError("Synthetic.cloud", value=cloud, reason="a share lies in [0, 1]", fix="give 0.3 for 30 %")
        if not revisit_days >= 1:
            raise SpecError("Synthetic.revisit_days", value=revisit_days, reason="it is below 1", fix="give 1 or more")
        object.__setattr__(self, "seed", int(seed))
        object.__setattr__(self, "cloud", float(cloud))
        object.__setattr__(self, "revisit_days", int(revisit_days))
        object.__setattr__(self, "latency_s", _latency(latency_s))

    def sensors(self) -> frozenset[str]:
        """Return the ids of all sensors of the tables."""
        return frozenset(each.sensor for each in sources_of(self.name))

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid in order of time, one per pass and one-degree tile; see `Provider`."""
        of = sensor_named(sensor)
        days = self.revisit_days if of.id.startswith("sentinel-2") else round(of.revisit_days)
        orbit = Orbit(of, days, self.seed, self.cloud)
        limit = math.inf if fetch.max_cloud_pct is None else fetch.max_cloud_pct
        scenes = (scene for tile in tiles_of(grid) for scene in passes(orbit, tile, span))
        names = source(self.name, of.id).properties
        wanted = (scene for scene in scenes if flies(scene.first(names.orbit), fetch.orbit))
        return ordered(scene for scene in wanted if (scene.cloud_pct or 0.0) <= limit)

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read, or raise `NoImageryError` if no scene is clear enough; see `Provider`."""
        from rs_embed_dask.providers.assemble import lazy_cube

        scenes = self.search(read.sensor, read.grid, read.span, fetch=read.fetch)
        camera = Camera(read.sensor, self.seed, self.cloud, self._pause(read, scenes))
        return lazy_cube(read, source(self.name, read.sensor), scenes=scenes, fetch=camera)

    def _pause(self, read: Read, scenes: tuple[Scene, ...]) -> Pause | None:
        seconds = self._wait_s(read)
        first = next((s for s in scenes if any(f.start <= s.datetime.date() < f.end for f in read.frames)), None)
        if seconds <= 0 or first is None:
            return None
        return Pause(first.id, (read.grid.transform[2], read.grid.transform[5]), seconds)

    def _wait_s(self, read: Read) -> float:
        """Return how long a read waits: the same for the same place, sensor and span."""
        if self.latency_s is None:
            return 0.0
        median, sigma = self.latency_s
        lon, lat = read.grid.center_lonlat
        place = (round(lon * _MICRO), round(lat * _MICRO), read.span.start.toordinal(), len(read.sensor))
        share = min(max(number(self.seed, 401, *place), 1e-9), 1 - 1e-9)
        return median * math.exp(sigma * NormalDist().inv_cdf(share))

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read: nothing travels."""
        of = sensor_named(read.sensor)
        days = self.revisit_days if of.id.startswith("sentinel-2") else of.revisit_days
        scenes = max(1, round(sum(span.days for span in read.frames) / days))
        return Estimate(scenes=scenes)

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider."""
        latency = None if self.latency_s is None else list(self.latency_s)
        return {"name": self.name, **asdict(self), "latency_s": latency}

    def truth(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Return the class of the ground at some places.

        Parameters
        ----------
        lon, lat : array_like
            Degrees, shapes that broadcast.

        Returns
        -------
        ndarray of uint8
            Positions in `CLASSES`: water, forest, grassland, winter_crop, summer_crop, built.
        """
        return class_at(lon, lat, self.seed)


def _latency(value: float | Iterable[float] | None) -> tuple[float, float] | None:
    if value is None:
        return None
    parts = (float(value), 0.0) if isinstance(value, int | float) else tuple(float(part) for part in value)
    if len(parts) != len(("median", "sigma")) or min(parts) < 0:
        fix = "give seconds, or (median, sigma) such as (0.5, 0.8)"
        raise SpecError("Synthetic.latency_s", value=value, reason="it is not a median and sigma", fix=fix)
    return parts[0], parts[1]
