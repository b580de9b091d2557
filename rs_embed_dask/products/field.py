"""What a product's reader is, and what it gives: vectors on a grid, NaN where the product has none."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rs_embed_dask.errors import NoImageryError, SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid

if TYPE_CHECKING:
    from rs_embed_dask.providers.protocol import Estimate
    from rs_embed_dask.specs import Spatial, TemporalSpec

__all__ = ["Field", "Reader", "ServesProducts", "year_of"]

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Field:
    """The vectors of one place.

    Attributes
    ----------
    values : ndarray of float32 (D, h, w)
        NaN where the product has no vector.
    grid : Grid
        Where each of them lies.
    span : Span or None
        The time that they stand for; None for a product of one time.
    tiles : tuple of str
        Names of the files that they came from.
    weights : ndarray (h, w) or None
        What each counts in a mean; None: all the same.
    unit : bool
        Whether a mean is brought to length one.
    """

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

    def pooled(self, pooling: str) -> Vectors:
        """Return one vector (D,): the mean (in float64) or the maximum of those that are there, at least one."""
        valid = self.valid
        vectors = self.values[:, valid]  # (D, n)
        if pooling == "max":
            return np.asarray(vectors.max(axis=1))
        if self.weights is None:
            mean = vectors.mean(axis=1, dtype=np.float64)
        else:
            mean = np.average(vectors.astype(np.float64), axis=1, weights=self.weights[valid])
        length = float(np.linalg.norm(mean)) if self.unit else 1.0
        return np.asarray(mean / (length or 1.0), np.float32)


class Reader(Protocol):
    """What the engine asks of a product. A small frozen value that pickles; it opens files when it reads."""

    @property
    def name(self) -> str:
        """The product, for messages."""

    @property
    def place(self) -> str:
        """Where it is read: an address or a folder."""

    @property
    def native_m(self) -> float | None:
        """Side of its pixels in metres; None for cells of degrees, whose grid differs from place to place."""

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place, at the product's own resolution where none is asked for. Raises SpecError."""

    def read(self, grid: Grid, temporal: TemporalSpec) -> Field:
        """Read the vectors of a grid.

        Raises
        ------
        NoImageryError
            Nothing was published there and then.
        SpecError
            The span fits no vector of the product.
        TransientError, ProviderError
            The files could not be read.
        """

    def estimate(self, grid: Grid) -> Estimate:
        """Say what a read will cost, without asking anyone."""


@runtime_checkable
class ServesProducts(Protocol):
    """A provider that has products of its own, such as Earth Engine."""

    def product(self, collection: str, bands: tuple[str, ...], grid: Grid, *, span: Span) -> Vectors:
        """Return decoded vectors (D, h, w), NaN where there are none."""


def year_of(temporal: TemporalSpec, name: str, years: tuple[int, int]) -> tuple[int, Span]:
    """Return the year that a span lies in, and the whole of it.

    Raises
    ------
    SpecError
        Where the span is of several years.
    NoImageryError
        Where the product has not been published for that year.
    """
    year, last = temporal.start_date.year, (temporal.end_date - dt.timedelta(days=1)).year
    if year != last:
        reason = f"there is one vector a year, and this span reaches from {year} to {last}"
        raise SpecError(f"{name}: temporal", value=str(temporal), reason=reason, fix="ask for each year by itself")
    if not years[0] <= year <= years[1]:
        reason, fix = f"it is published for {years[0]} to {years[1]}", "choose one of these years"
        raise NoImageryError(f"{name}: year", value=year, reason=reason, fix=fix)
    return year, Span(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))
