"""TESSERA's Zarr stores: one array per UTM zone and years, a scale per pixel, rows counted from the north."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.products.field import ProductField, mosaic, year_of
from rs_embed_dask.products.mirror import Mirror, damaged
from rs_embed_dask.products.zarr_mirror import MirroredZarr
from rs_embed_dask.providers.registry import Estimate

if TYPE_CHECKING:
    from rs_embed_dask.specs import Spatial, TemporalSpec

__all__ = ["TesseraZarr", "decoded", "forget_zones", "zones_of"]

DIM: Final = 128
LARGEST_SCALE: Final = 1.0
_PIXEL_M: Final = 10.0
_ZONES: Final = 60
_ZONE_DEGREES: Final = 6
_TRANSFORM: Final = 6
_CHUNK_PX: Final = 32
_INDEX_BYTES: Final = 2**18


def decoded(stored: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return bytes times their scale, NaN unless it lies between 0 and 1: others say why there is no vector."""
    good = (scale > 0) & (scale < LARGEST_SCALE)
    return np.where(good, stored.astype(np.float32) * np.where(good, scale, 0), np.nan).astype(np.float32)


def zones_of(lon: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the UTM zones of longitudes, without the exceptions of Norway and Svalbard."""
    zones: NDArray[np.int64] = np.floor((np.asarray(lon) + 180) / _ZONE_DEGREES).astype(np.int64) % _ZONES + 1
    return zones


@dataclass(frozen=True, eq=False)
class TesseraZone:
    """The arrays of one zone, opened."""

    embeddings: Any
    scales: Any
    years: tuple[int, ...]
    crs: str
    transform: Affine


@functools.lru_cache(maxsize=_ZONES)
def _zone(mirror: Mirror, folder: str, number: int) -> TesseraZone | None:
    """Open a zone's arrays, once per process; None where the store has no such zone."""
    import zarr

    name = f"utm{number:02d}"
    try:
        group = zarr.open_group(
            MirroredZarr(mirror, folder), path=name, mode="r", zarr_format=3, use_consolidated=False
        )
        found: dict[str, Any] = {one: group[one] for one in ("embeddings", "scales", "time")}
        return _parsed(found, dict(group.attrs), number)
    except FileNotFoundError:
        return None
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:  # whatever is there instead
        raise damaged(mirror.href(f"{folder}/{name}"), f"it is no such group ({error})") from error


def _parsed(found: dict[str, Any], attrs: dict[str, Any], number: int) -> TesseraZone:
    """Return the zone that arrays and attributes hold. Raises ValueError, or what Python does, where they hold none."""
    embeddings, scales = found["embeddings"], found["scales"]
    years, (rows, columns) = tuple(int(year) for year in found["time"][:]), embeddings.shape[-2:]
    steps = [float(number) for number in attrs.get("spatial:transform", ())]
    is_whole = (
        embeddings.shape == (len(years), DIM, rows, columns)
        and scales.shape == (len(years), rows, columns)
        and (embeddings.dtype, scales.dtype) == (np.int8, np.float32)
        and attrs.get("proj:code") == f"EPSG:{32600 + number}"
        and steps[:2] + steps[3:5] == [_PIXEL_M, 0.0, 0.0, -_PIXEL_M]
        and len(steps) == _TRANSFORM
    )
    if not is_whole:
        raise ValueError("its arrays, projection or pixels are not those of the format")
    return TesseraZone(embeddings, scales, years, f"EPSG:{32600 + number}", Affine(*steps))


def forget_zones() -> None:
    """Forget the zones that are open."""
    _zone.cache_clear()


@dataclass(frozen=True)
class TesseraZarr:
    """Reads the product from a Zarr store at a mirror."""

    mirror: Mirror
    years: tuple[int, int]
    folder: str

    name = "tessera"
    native_m = _PIXEL_M

    @property
    def place(self) -> str:
        """Where it is read."""
        return self.mirror.href(self.folder)

    @property
    def services(self) -> tuple[str, ...]:
        """Address that every read asks."""
        return self.mirror.services

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place: its local UTM grid, on which the product lies too."""
        return grid_for(spatial, resolution_m or self.native_m, crs=crs)

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:
        """Read the vectors of a grid; see `Reader`."""
        year, span = year_of(temporal, self.name, self.years)
        numbers = dict.fromkeys(
            number
            for west, _, east, _ in grid.lonlat_boxes
            for number in zones_of(np.arange(math.floor(west), math.floor(east) + 1.0)).tolist()
        )
        tiles = [
            _ZoneTile(number, zone, zone.years.index(year), self.place)
            for number in numbers
            if (zone := _zone(self.mirror, self.folder, number)) is not None and year in zone.years
        ]
        reason = f"{self.place} has no {year} in zone {', '.join(map(str, numbers))}"
        absent = reason, "choose a place and year that the store has, or another variant or mirror"
        return mosaic(self.name, grid, tiles, span=span, dim=DIM, absent=absent)

    def estimate(self, grid: Grid) -> Estimate:
        """Estimate the cost of a read: two chunks of 32 x 32 px for each such square, and the indexes of two shards."""
        squares = math.prod(side * grid.resolution_m / _PIXEL_M / _CHUNK_PX + 1 for side in grid.shape)
        size = int(squares * _CHUNK_PX**2 * (DIM + 4)) + 2 * _INDEX_BYTES
        return Estimate(1, round(2 * squares) + 8, size)


@dataclass(frozen=True, eq=False)
class _ZoneTile:
    """One zone in one year; it owns what lies in the zone."""

    number: int
    zone: TesseraZone
    at: int
    place: str

    is_final = True

    @property
    def name(self) -> str:
        return f"utm{self.number:02d}"

    @property
    def crs(self) -> str:
        return self.zone.crs

    @property
    def transform(self) -> Affine:
        return self.zone.transform

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.zone.scales.shape[-2:]
        return rows, columns

    def owns(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:  # noqa: ARG002
        owned: NDArray[np.bool_] = zones_of(lon) == self.number
        return owned

    def read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        top, left = int(rows.min()), int(columns.min())
        window = slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1)
        here = rows - top, columns - left
        try:
            scale = self.zone.scales[self.at, *window][here]
            if not ((scale > 0) & (scale < LARGEST_SCALE)).any():
                return np.full((DIM, len(rows)), np.nan, np.float32)
            stored = self.zone.embeddings[self.at, :, *window][:, *here]
        except (ValueError, RuntimeError) as error:  # of the library, about what a shard holds
            raise damaged(f"{self.place}/{self.name}", f"a shard of it cannot be decoded ({error})") from error
        is_there = stored.any(axis=0)  # zeros throughout fill a chunk that is not there; a vector has a direction
        return decoded(stored, np.where(is_there, scale, 0))
