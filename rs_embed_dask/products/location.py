"""Vectors of the coordinates alone: a baseline without imagery, worked out wherever it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rs_embed_dask.imagery.grid import Grid, centres, grid_for
from rs_embed_dask.preprocess.waves import scales_of, waves
from rs_embed_dask.products.field import ProductField
from rs_embed_dask.providers.registry import Estimate

if TYPE_CHECKING:
    from rs_embed_dask.models import Card
    from rs_embed_dask.specs import ModelSpec, Spatial, TemporalSpec

__all__ = ["Coordinates", "make"]


def make(card: Card, spec: ModelSpec, provider: object = None) -> Coordinates:  # noqa: ARG001 - the door of every product
    """Make the reader of a request."""
    return Coordinates(scales_of(int(card.chosen(spec.options)["scales"])))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Coordinates:
    """Works out the waves of every pixel's centre."""

    scales: int

    name = "location"
    place = "the coordinates"
    native_m = 10.0

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place: those of Sentinel-2's lattice where no resolution is given."""
        return grid_for(spatial, resolution_m or self.native_m, crs=crs)

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:  # noqa: ARG002 - the same at all times
        """Return the vectors of a grid; see `Reader`."""
        return ProductField(waves(*centres(grid), self.scales), grid)

    def estimate(self, grid: Grid) -> Estimate:  # noqa: ARG002 - the same for every place
        """Estimate the cost of a read: nothing travels."""
        return Estimate()
