"""The demo's landscape as a catalogue: scenes of the made landscape, written as an agency would deliver them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rs_embed_dask.demo.stage import SPRING, Square
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.synthetic.provider import Camera, Synthetic
from rs_embed_dask.specs import FetchSpec, TemporalSpec
from tests.services.catalog import Catalog, Layer, Scene as Delivery

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.scenes import Scene

SENSOR = "sentinel-2-l2a"
FINE_M = 10.0
COARSE_M = 20.0
FINE = ("B02", "B03", "B04", "B08")
COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")
TILE_PLACES = 4
SWATH_ENDS = 1.72


@dataclass(frozen=True)
class Tile:
    """One tile of the scenes: its north-western corner, and rows and columns of its finest pixels."""

    name: str
    crs: str
    corner: tuple[float, float]
    shape: tuple[int, int]

    def grid(self, pixel_m: float) -> Grid:
        """Return its pixels of some size."""
        rows, columns = (round(side * FINE_M / pixel_m) for side in self.shape)
        return Grid(self.crs, (pixel_m, 0.0, self.corner[0], 0.0, -pixel_m, self.corner[1]), (rows, columns))


@dataclass(frozen=True)
class Landscape(Square):
    """A square of made ground with river, town, wood and fields; a scene is taken every ten days of `span`."""

    seed: int = 11
    cloud: float = 0.35
    span: TemporalSpec = SPRING

    def tiles(self) -> list[Tile]:
        """Return the tiles that scenes are delivered in, of at most four by four places."""
        left, _, _, top = self.extent
        place_px = round(self.place_m / FINE_M)
        tiles = []
        for row in range(0, self.side, TILE_PLACES):
            for column in range(0, self.side, TILE_PLACES):
                shape = min(TILE_PLACES, self.side - row), min(TILE_PLACES, self.side - column)
                corner = left + column * self.place_m, top - row * self.place_m
                tiles.append(Tile(f"31UF{row}{column}", self.crs, corner, (shape[0] * place_px, shape[1] * place_px)))
        return tiles

    def write(self, root: Path) -> int:
        """Write every scene as GeoTIFFs with STAC items into a folder, and return how many: one per tile and day."""
        catalog = Catalog(root)
        provider = Synthetic(self.seed, cloud=self.cloud, revisit_days=10)
        span = Span(self.span.start_date, self.span.end_date)
        scenes = provider.search(SENSOR, self.tiles()[0].grid(FINE_M), span, fetch=FetchSpec())
        for scene in scenes:
            for tile in self.tiles():
                catalog.add(self._delivered(scene, tile))
        catalog.save()
        return len(catalog.items)

    def _delivered(self, scene: Scene, tile: Tile) -> Delivery:
        """Photograph one tile of a scene, in the pixel sizes of the agency's files."""
        layers = (*self._layers(scene, tile.grid(FINE_M), FINE), *self._layers(scene, tile.grid(COARSE_M), COARSE))
        about = {**scene.properties, "eo:cloud_cover": scene.cloud_pct, "s2:mgrs_tile": tile.name}
        name = f"S2_{tile.name}_{scene.datetime:%Y%m%d}"
        return Delivery(name, SENSOR, scene.datetime, self.crs, layers, about)

    def _layers(self, scene: Scene, grid: Grid, names: tuple[str, ...]) -> tuple[Layer, ...]:
        """Photograph some bands of a scene."""
        common_names = {band.name: band.common for band in sensor(SENSOR).bands}
        assets = tuple((common_names[name], name) if name in common_names else (name,) for name in names)
        raw = Camera(SENSOR, self.seed, self.cloud)([scene], grid, assets)[0]  # (A, H, W)
        raw[:, self._outside(grid)] = 0
        return tuple(Layer(name, values, grid.transform, nodata=0) for name, values in zip(names, raw, strict=True))

    def _outside(self, grid: Grid) -> NDArray[np.bool_]:
        """Tell which pixels lie beyond the swath's edge, a line across the south-eastern corner."""
        left, right, bottom, top = self.extent
        x, y = np.meshgrid(grid.xs, grid.ys)
        return np.asarray((x - left) / (right - left) + (top - y) / (top - bottom) > SWATH_ENDS)
