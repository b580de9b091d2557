"""Tiles of several projections brought to one grid, once, each pixel from its own tile by nearest neighbour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.errors import NoImageryError, SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid, centres

if TYPE_CHECKING:
    from rs_embed_dask.providers.registry import Estimate
    from rs_embed_dask.specs import Spatial, TemporalSpec

__all__ = [
    "ProductField",
    "Reader",
    "ReadsManyPlaces",
    "ServesManyPlaces",
    "ServesProducts",
    "Tile",
    "mosaic",
    "year_of",
]

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ProductField:
    """The vectors of one place."""

    values: Vectors
    grid: Grid
    span: Span | None = None
    tiles: tuple[str, ...] = ()
    weights: NDArray[np.float64] | None = None
    unit: bool = False

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where there is a vector, (h, w)."""
        return np.asarray(np.isfinite(self.values).all(axis=0))

    def pooled(self, pooling: str, share: NDArray[np.float32] | None = None) -> Vectors:
        """Return one vector (D,): the mean (in float64) or the maximum of those that are there, at least one."""
        # `share` (h, w): of each pixel, what lies inside the place; those outside do not count
        valid = self.valid if share is None else self.valid & (share > 0)
        vectors = self.values[:, valid]  # (D, n)
        if pooling == "max":
            return np.asarray(vectors.max(axis=1))
        parts = [one[valid].astype(np.float64) for one in (self.weights, share) if one is not None]
        if parts:
            mean = np.average(vectors.astype(np.float64), axis=1, weights=np.prod(parts, axis=0))
        else:
            mean = vectors.mean(axis=1, dtype=np.float64)
        length = float(np.linalg.norm(mean)) if self.unit else 1.0
        return np.asarray(mean / (length or 1.0), np.float32)


class Reader(Protocol):
    """What the engine requires of a product. A small frozen value that pickles; it opens files when it reads."""

    @property
    def name(self) -> str:
        """The product, for messages."""

    @property
    def place(self) -> str:
        """Where it is read: an address or a folder."""

    @property
    def native_m(self) -> float | None:
        """Side of its pixels in metres; None for cells of degrees, which maps take if centred on multiples of them."""

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place, at the product's own resolution where none is given. Raises SpecError."""

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:
        """Read the vectors of a grid."""

    def estimate(self, grid: Grid) -> Estimate:
        """Estimate the cost of a read without a request."""


@runtime_checkable
class ServesProducts(Protocol):
    """A provider that has products of its own, such as Earth Engine."""

    def product(self, collection: str, bands: tuple[str, ...], grid: Grid, *, span: Span) -> Vectors:
        """Return decoded vectors (D, h, w), NaN where there are none."""


@runtime_checkable
class ServesManyPlaces(ServesProducts, Protocol):
    """A provider that reads a product at several places by one request."""

    @property
    def places_at_once(self) -> int:
        """Most places of one request."""

    def requests_of(self, shape: tuple[int, int], bands: int) -> float:
        """Return how many requests a place takes, or its share of one."""

    def products(self, collection: str, bands: tuple[str, ...], grids: Sequence[Grid], *, span: Span) -> list[Vectors]:
        """Return what `product` would at each place."""


@runtime_checkable
class ReadsManyPlaces(Protocol):
    """A reader that has a better way than `read` for several places."""

    @property
    def places_at_once(self) -> int:
        """Most places that are best read together."""

    def read_many(self, grids: Sequence[Grid], temporal: TemporalSpec) -> list[ProductField]:
        """Return what `read` would of each grid."""


def year_of(temporal: TemporalSpec, name: str, years: tuple[int, int]) -> tuple[int, Span]:
    """Return the year that a span lies in, and the whole of it."""
    year, last = temporal.start_date.year, (temporal.end_date - dt.timedelta(days=1)).year
    if year != last:
        reason = f"there is one vector per year, and this span reaches from {year} to {last}"
        raise SpecError(f"{name}: temporal", value=str(temporal), reason=reason, fix="request each year by itself")
    if not years[0] <= year <= years[1]:
        reason, fix = f"it is published for {years[0]} to {years[1]}", "choose one of these years"
        raise NoImageryError(f"{name}: year", value=year, reason=reason, fix=fix)
    return year, Span(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))


Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]


class Tile(Protocol):
    """One file of a product."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def crs(self) -> str:
        """Its projection."""

    @property
    def transform(self) -> Affine:
        """From (column, row) to (x, y); row 0 may be north or south."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def is_final(self) -> bool:
        """Whether a pixel of its own that has no vector stays without, though another tile may have one there."""

    def owns(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Mask:
        """Return which places belong to this tile where several overlap."""

    def read(self, rows: Numbers, columns: Numbers) -> NDArray[np.float32]:
        """Return the decoded vectors (D, n) of n pixels, NaN where there is none."""


def mosaic(
    name: str, grid: Grid, tiles: Sequence[Tile], *, span: Span, dim: int, absent: tuple[str, str]
) -> ProductField:
    """Bring a product's tiles to a grid; where there is none, `absent` has the reason and the fix."""
    if not tiles:
        raise NoImageryError(f"{name}: place", value=grid.center_lonlat, reason=absent[0], fix=absent[1])
    # A pixel takes the vector under its centre: of the tile that it belongs to, or of the first other one that
    # has a vector there, where its own does not reach it or is not final. Nothing is interpolated, and no pixel
    # goes through two projections.
    values = np.full((dim, *grid.shape), np.nan, np.float32)
    open_ = np.ones(grid.shape, dtype=bool)
    used: dict[str, None] = {}
    from rs_embed_dask.providers.nearest import pixels_under

    spots = [pixels_under(grid, tile.crs, transform=tile.transform, shape=tile.shape) for tile in tiles]
    lon, lat = centres(grid)
    for is_own in (True, False):
        for tile, (rows, columns, inside) in zip(tiles, spots, strict=True):
            taken = open_ & inside & (tile.owns(lon, lat) == is_own)
            if not taken.any():
                continue
            mine = taken.copy()
            vectors = tile.read(rows[taken], columns[taken])
            there = np.isfinite(vectors).all(axis=0)
            if there.any():
                used[tile.name] = None
            taken[taken] = there
            values[:, taken] = vectors[:, there]
            open_ &= ~(mine if is_own and tile.is_final else taken)
    return ProductField(values, grid, span, tuple(used))
