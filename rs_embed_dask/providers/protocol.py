"""What a provider is: anything with these few methods. And what a read is expected to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import mask_of, sensor
from rs_embed_dask.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from rs_embed_dask.errors import NoImageryError
    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.imagery.sensors import Source

__all__ = ["Estimate", "Pace", "Provider", "Scene", "SharesReads", "estimate_read"]


@dataclass(frozen=True)
class Estimate(Record):
    """What a read is expected to cost. Estimates add up with ``+``.

    Parameters
    ----------
    scenes : int
        Scenes that are read.
    requests : int
        Requests to the service, searches and tokens left out.
    bytes : int
        Bytes that travel.
    seconds : float
        Time that one worker thread takes.
    """

    scenes: int = 0
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.scenes + other.scenes,
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )


@runtime_checkable
class Provider(Protocol):
    """A source of pixels.

    A provider is a small value: it pickles to less than a kilobyte and holds neither credentials nor connections.
    Workers make those themselves when they read.
    """

    @property
    def name(self) -> str:
        """The name under which it is registered."""

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time, unsigned; those beyond the cloud limit are left out."""

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube: ``pixels`` (time, band, y, x) in canonical units and ``n_obs`` (time, y, x).

        Raises
        ------
        NoImageryError
            If no scene falls into any frame.
        """

    def estimate(self, read: Read) -> Estimate:
        """Say what a read will cost, without asking anyone."""

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` makes the provider again."""


@runtime_checkable
class SharesReads(Protocol):
    """A provider that reads what several cubes of one place have in common only once."""

    def cubes(self, reads: Sequence[Read]) -> list[xr.Dataset | NoImageryError]:
        """Return the lazy cubes of reads of one place and sensor, which share their raw pixels."""


@dataclass(frozen=True)
class Pace:
    """How quickly a provider answers, for estimates.

    Parameters
    ----------
    latency_s : float
        Seconds before a request begins to answer.
    bytes_per_s : float
        Then so many bytes a second.
    requests_per_asset : float
        Requests for the parts of one file that a small place needs.
    at_once : int
        Requests that one read keeps in flight.
    """

    latency_s: float = 0.12
    bytes_per_s: float = 20e6
    requests_per_asset: float = 2.0
    at_once: int = 8


REMOTE: Final = Pace()
_OVERLAP: Final = 1.3  # tiles and orbits overlap, so a place has more scenes than one a revisit
_CLOUD_SPREAD: Final = 0.5  # of half the scenes half are clear enough: a limit of c % keeps about c^0.5


def estimate_read(read: Read, source: Source, pace: Pace = REMOTE) -> Estimate:
    """Estimate a read from how often the sensor passes and how its files are blocked. Asks nobody.

    Parameters
    ----------
    read : Read
        What is to be read.
    source : Source
        How it is served.
    pace : Pace
        How quickly.

    Returns
    -------
    Estimate
        Good to a factor of two or so.
    """
    of = sensor(read.sensor)
    days = sum(span.days for span in read.frames)
    limit = read.fetch.max_cloud_pct
    kept = 1.0 if limit is None or of.kind == "radar" else (limit / 100) ** _CLOUD_SPREAD
    scenes = max(1, round(days / of.revisit_days * _OVERLAP * kept))
    per_scene = 0.0
    for band in read.bands:
        per_scene += _block_pixels(read, source, of.band(band).resolution_m)
    layers = len(read.bands)
    if mask_of(read.fetch.mask, source) is not None:
        per_scene += _block_pixels(read, source, of.resolution_m)
        layers += 1
    requests = math.ceil(scenes * layers * pace.requests_per_asset)
    size = round(scenes * per_scene * source.bytes_per_px)
    seconds = requests * pace.latency_s / pace.at_once + size / pace.bytes_per_s
    return Estimate(scenes, requests, size, seconds)


def _block_pixels(read: Read, source: Source, resolution_m: float) -> float:
    """Return the pixels of a file that travel: whole blocks, nearly one more than the place fills along each side."""
    px = source.block_px
    blocks = 1.0
    for side in read.grid.shape:
        blocks *= max(1.0, side * read.grid.resolution_m / resolution_m / px + 1 - 1 / px)
    return blocks * px * px
