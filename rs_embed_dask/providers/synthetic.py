"""A made landscape with seasons and clouds: pixels without a network, for trying things out, tests and benchmarks.

It is the offline twin of the real providers: scenes hold the numbers that the agencies' files would (offset, nodata and
quality bands included), and go the same way to a cube.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensors import sensor as sensor_named, source, sources_of
from rs_embed_dask.providers.made.camera import Camera, Pause
from rs_embed_dask.providers.made.faults import Fault
from rs_embed_dask.providers.made.ground import class_at
from rs_embed_dask.providers.made.noise import number
from rs_embed_dask.providers.made.passes import Orbit, passes, tiles_of
from rs_embed_dask.providers.made.spectra import CLASSES
from rs_embed_dask.providers.protocol import Estimate

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid_types import Grid

__all__ = ["CLASSES", "Fault", "Synthetic"]

_MICRO: Final = 1_000_000
_SECONDS_A_VALUE: Final = 6e-8
_SECONDS_A_READ: Final = 0.006


@dataclass(frozen=True)
class Synthetic:
    """The provider of the made landscape.

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
    faults : sequence of Fault
        Places that cannot be read, and how. Default: none.

    Raises
    ------
    SpecError
        If a number is out of range.
    """

    seed: int = 0
    cloud: float = 0.3
    revisit_days: int = 5
    latency_s: tuple[float, float] | None = None
    faults: tuple[Fault, ...] = ()

    def __init__(
        self,
        seed: int = 0,
        *,
        cloud: float = 0.3,
        revisit_days: int = 5,
        latency_s: float | Iterable[float] | None = None,
        faults: Iterable[Fault | Mapping[str, Any]] = (),
    ) -> None:
        if not 0 <= cloud <= 1:
            raise SpecError("Synthetic.cloud", value=cloud, reason="a share lies in [0, 1]", fix="give 0.3 for 30 %")
        if not revisit_days >= 1:
            raise SpecError("Synthetic.revisit_days", value=revisit_days, reason="it is below 1", fix="give 1 or more")
        made = tuple(fault if isinstance(fault, Fault) else Fault.from_dict(fault) for fault in faults)
        values = {"seed": int(seed), "cloud": float(cloud), "revisit_days": int(revisit_days)}
        for name, value in {**values, "latency_s": _latency(latency_s), "faults": made}.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """``synthetic``."""
        return "synthetic"

    def sensors(self) -> frozenset[str]:
        """Return the ids of all sensors of the tables.

        Returns
        -------
        frozenset of str
        """
        return frozenset(each.sensor for each in sources_of(self.name))

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, one a pass and tile of one degree.

        Parameters
        ----------
        sensor : str
            A sensor by any name.
        grid : Grid
            Where.
        span : Span
            When, half-open, by UTC date.
        fetch : FetchSpec
            Its cloud limit.

        Returns
        -------
        tuple of Scene
            In order of time.
        """
        of = sensor_named(sensor)
        days = self.revisit_days if of.id.startswith("sentinel-2") else round(of.revisit_days)
        orbit = Orbit(of, days, self.seed, self.cloud)
        limit = math.inf if fetch.max_cloud_pct is None else fetch.max_cloud_pct
        scenes = (scene for tile in tiles_of(grid) for scene in passes(orbit, tile, span))
        return ordered(scene for scene in scenes if (scene.cloud_pct or 0.0) <= limit)

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read.

        Parameters
        ----------
        read : Read
            What is wanted.

        Returns
        -------
        xarray.Dataset
            As `Provider.cube` says.

        Raises
        ------
        NoImageryError
            If no scene is clear enough.
        TransientError, ProviderError, AccessError
            Faults on demand.
        """
        from rs_embed_dask.providers.assemble import lazy_cube

        for fault in self.faults:
            fault.strike(read)
        gone = any(fault.kind == "no_imagery" and fault.hits(read) for fault in self.faults)
        scenes = () if gone else self.search(read.sensor, read.grid, read.span, fetch=read.fetch)
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
        slow = sum(fault.seconds for fault in self.faults if fault.kind == "slow" and fault.hits(read))
        if self.latency_s is None:
            return slow
        median, sigma = self.latency_s
        lon, lat = read.grid.center_lonlat
        place = (round(lon * _MICRO), round(lat * _MICRO), read.span.start.toordinal(), len(read.sensor))
        share = min(max(number(self.seed, 401, *place), 1e-9), 1 - 1e-9)
        return slow + median * math.exp(sigma * NormalDist().inv_cdf(share))

    def estimate(self, read: Read) -> Estimate:
        """Say what a read will cost: time only, nothing travels.

        Parameters
        ----------
        read : Read
            What is wanted.

        Returns
        -------
        Estimate
        """
        of = sensor_named(read.sensor)
        days = self.revisit_days if of.id.startswith("sentinel-2") else of.revisit_days
        scenes = max(1, round(sum(span.days for span in read.frames) / days))
        values = scenes * (len(read.bands) + 1) * math.prod(read.grid.shape)
        wait = 0.0 if self.latency_s is None else self.latency_s[0] * math.exp(self.latency_s[1] ** 2 / 2)
        return Estimate(scenes=scenes, seconds=wait + _SECONDS_A_READ + values * _SECONDS_A_VALUE)

    def describe(self) -> dict[str, Any]:
        """Return what `open_provider` makes the provider from.

        Returns
        -------
        dict
            JSON values.
        """
        latency = None if self.latency_s is None else list(self.latency_s)
        return {
            "name": self.name,
            "seed": self.seed,
            "cloud": self.cloud,
            "revisit_days": self.revisit_days,
            "latency_s": latency,
            "faults": [fault.to_dict() for fault in self.faults],
        }

    def truth(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Return what really lies at some places.

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
        raise SpecError("Synthetic.latency_s", value=value, reason="it is no median and sigma", fix=fix)
    return parts[0], parts[1]
