"""The demo's landscape as a catalogue: scenes of the made landscape, written as an agency would deliver them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.synthetic.provider import Camera, Synthetic
from rs_embed_dask.specs import BBox, FetchSpec, TemporalSpec
from tests.services.catalog import Catalog, Layer, Scene as Delivery

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.scenes import Scene

__all__ = [
    "Landscape",
]

_SENSOR: Final = "sentinel-2-l2a"
_FINE_M: Final = 10.0
_COARSE_M: Final = 20.0
_FINE: Final = ("B02", "B03", "B04", "B08")
_COARSE: Final = ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")
_PLACE_PX: Final = 64
_TILE_PLACES: Final = 4
_SWATH_ENDS: Final = 1.72
_SPRING: Final = TemporalSpec.range("2022-04-01", "2022-07-30")


@dataclass(frozen=True)
class Tile:
    """One tile of the scenes.

    Parameters
    ----------
    name : str
        As agencies name theirs.
    crs : str
        Its projection.
    corner : (float, float)
        Its north-western corner.
    shape : (int, int)
        Rows and columns of its finest pixels.
    """

    name: str
    crs: str
    corner: tuple[float, float]
    shape: tuple[int, int]

    def grid(self, pixel_m: float) -> Grid:
        """Return its pixels of some size."""
        rows, columns = (round(side * _FINE_M / pixel_m) for side in self.shape)
        return Grid(self.crs, (pixel_m, 0.0, self.corner[0], 0.0, -pixel_m, self.corner[1]), (rows, columns))


@dataclass(frozen=True)
class Landscape:
    """A square of made ground with river, town, wood and fields, cut into places side by side.

    Parameters
    ----------
    side : int
        Places along each side.
    seed : int
        Of the landscape.
    cloud : float
        Mean cloud cover, 0..1.
    crs, corner : str, (float, float)
        Where: a projection, and its coordinates of the south-western corner.
    span : TemporalSpec
        When the scenes are taken, one every ten days.
    """

    side: int = 8
    seed: int = 11
    cloud: float = 0.35
    crs: str = "EPSG:32631"
    corner: tuple[float, float] = (617_680.0, 5_620_480.0)
    span: TemporalSpec = _SPRING

    @property
    def place_m(self) -> float:
        """Side of a place."""
        return _PLACE_PX * _FINE_M

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in metres of the projection."""
        left, bottom = self.corner
        return left, left + self.side * self.place_m, bottom, bottom + self.side * self.place_m

    def tiles(self) -> list[Tile]:
        """Return the tiles that scenes are delivered in, of at most four by four places."""
        left, _, _, top = self.extent
        found = []
        for row in range(0, self.side, _TILE_PLACES):
            for column in range(0, self.side, _TILE_PLACES):
                shape = min(_TILE_PLACES, self.side - row), min(_TILE_PLACES, self.side - column)
                corner = left + column * self.place_m, top - row * self.place_m
                found.append(Tile(f"31UF{row}{column}", self.crs, corner, (shape[0] * _PLACE_PX, shape[1] * _PLACE_PX)))
        return found

    def places(self) -> list[BBox]:
        """Return the places, row by row from the north-west."""
        left, bottom = self.corner
        found = []
        for row in reversed(range(self.side)):
            for column in range(self.side):
                x, y = left + column * self.place_m, bottom + row * self.place_m
                found.append(BBox(x, y, x + self.place_m, y + self.place_m, crs=self.crs))
        return found

    def write(self, root: Path) -> int:
        """Write every scene as cloud-optimised GeoTIFFs with STAC items.

        The south-eastern corner lies outside the swath, so that some places have no imagery.

        Parameters
        ----------
        root : Path
            A folder for the catalogue.

        Returns
        -------
        int
            Number of scenes, one a tile and day.
        """
        catalog = Catalog(root)
        provider = Synthetic(self.seed, cloud=self.cloud, revisit_days=10)
        span = Span(self.span.start_date, self.span.end_date)
        scenes = provider.search(_SENSOR, self.tiles()[0].grid(_FINE_M), span, fetch=FetchSpec())
        for scene in scenes:
            for tile in self.tiles():
                catalog.add(self._delivered(scene, tile))
        catalog.save()
        return len(catalog.items)

    def _delivered(self, scene: Scene, tile: Tile) -> Delivery:
        """Photograph one tile of a scene, in the pixel sizes of the agency's files."""
        layers = (*self._layers(scene, tile.grid(_FINE_M), _FINE), *self._layers(scene, tile.grid(_COARSE_M), _COARSE))
        about = {**scene.properties, "eo:cloud_cover": scene.cloud_pct, "s2:mgrs_tile": tile.name}
        name = f"S2_{tile.name}_{scene.datetime:%Y%m%d}"
        return Delivery(name, _SENSOR, scene.datetime, self.crs, layers, about)

    def _layers(self, scene: Scene, grid: Grid, names: tuple[str, ...]) -> tuple[Layer, ...]:
        """Photograph some bands of a scene."""
        known = {band.name: band.common for band in sensor(_SENSOR).bands}
        assets = tuple((known[name], name) if name in known else (name,) for name in names)
        raw = Camera(_SENSOR, self.seed, self.cloud)([scene], grid, assets)[0]  # (A, H, W)
        raw[:, self._outside(grid)] = 0
        return tuple(Layer(name, values, grid.transform, nodata=0) for name, values in zip(names, raw, strict=True))

    def _outside(self, grid: Grid) -> NDArray[np.bool_]:
        """Tell which pixels lie beyond the swath's edge, a line across the south-eastern corner."""
        left, right, bottom, top = self.extent
        x, y = np.meshgrid(grid.xs, grid.ys)
        return np.asarray((x - left) / (right - left) + (top - y) / (top - bottom) > _SWATH_ENDS)
