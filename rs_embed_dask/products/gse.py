"""AlphaEarth Foundations, annual: signed-square bytes in south-up GeoTIFFs, one UTM zone each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.products.field import ProductField, ServesManyPlaces, ServesProducts, mosaic, year_of
from rs_embed_dask.products.mirror import Mirror, damaged, mirror_of
from rs_embed_dask.providers.geotiff import GeoTiff, open_geotiff
from rs_embed_dask.providers.reach import services_of
from rs_embed_dask.providers.registry import Estimate
from rs_embed_dask.specs.ground import outline, project

if TYPE_CHECKING:
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.models import Card
    from rs_embed_dask.products.mirror import Table
    from rs_embed_dask.specs import ModelSpec, Spatial, TemporalSpec

__all__ = ["Gse", "decoded", "make"]

BANDS: Final = tuple(f"A{number:02d}" for number in range(64))
COLLECTION: Final = "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"
INDEXES: Final = ("aef_index.parquet", "aef_index.csv")
_BOX: Final = ("utm_west", "utm_south", "utm_east", "utm_north")
_STORED: Final = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
_MEANING: Final = np.where(_STORED == -128, np.nan, np.sign(_STORED) * (_STORED / 127.5) ** 2).astype(np.float32)  # noqa: PLR2004
_ZONES: Final = 60


def decoded(stored: NDArray[np.int8]) -> NDArray[np.float32]:
    """Decode stored bytes: ``sign(v) (v / 127.5)**2``, NaN for -128."""
    meant: NDArray[np.float32] = _MEANING[stored.view(np.uint8)]
    return meant


def make(card: Card, spec: ModelSpec, provider: object = None) -> Gse:
    """Make the reader of a request."""
    options = card.chosen(spec.options)
    through = provider if options["source"] == "auto" and isinstance(provider, ServesProducts) else None
    years = card.years
    return Gse(mirror_of(options), years, str(options["index"]), unit=bool(options["renormalise"]), through=through)


@dataclass(frozen=True)
class Gse:
    """Reads the product."""

    mirror: Mirror
    years: tuple[int, int]
    index: str = ""
    unit: bool = False
    through: ServesProducts | None = None

    name = "gse"
    native_m = 10.0

    @property
    def place(self) -> str:
        """Where it is read."""
        return self.mirror.base_url if self.through is None else COLLECTION

    @property
    def services(self) -> tuple[str, ...]:
        """Addresses that every read asks."""
        return services_of(self.mirror if self.through is None else self.through)

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place: its local UTM grid, on which the product lies too."""
        return grid_for(spatial, resolution_m or self.native_m, crs=crs)

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:
        """Read the vectors of a grid; see `Reader`."""
        year, span = year_of(temporal, self.name, self.years)
        if self.through is not None:
            return self._served(self.through.product(COLLECTION, BANDS, grid, span=span), grid, span)
        tiles = self._tiles(grid, year)
        absent = f"no tile of {year} touches it", "choose a place on land, or another year"
        field = mosaic(self.name, grid, tiles, span=span, dim=len(BANDS), absent=absent)
        return replace(field, unit=self.unit)

    @property
    def places_at_once(self) -> int:
        """How many places one request reads."""
        return self.through.places_at_once if isinstance(self.through, ServesManyPlaces) else 1

    def read_many(self, grids: Sequence[Grid], temporal: TemporalSpec) -> list[ProductField]:
        """Read the vectors of several grids, in few requests where the provider can."""
        if not isinstance(self.through, ServesManyPlaces):
            return [self.read(grid, temporal) for grid in grids]
        _, span = year_of(temporal, self.name, self.years)
        served = self.through.products(COLLECTION, BANDS, grids, span=span)
        return [self._served(values, grid, span) for values, grid in zip(served, grids, strict=True)]

    def _served(self, values: NDArray[np.float32], grid: Grid, span: Span) -> ProductField:
        names = (f"{COLLECTION}/{span.start.year}",)
        return ProductField(np.asarray(values, np.float32), grid, span, names, unit=self.unit)

    def estimate(self, grid: Grid) -> Estimate:
        """Estimate the cost of a read: about one block of all bands per 256 pixels of each side."""
        if isinstance(self.through, ServesManyPlaces):
            requests = self.through.requests_of(grid.shape, len(BANDS))
            return Estimate(1, requests, int(np.prod(grid.shape)) * len(BANDS) * 4)
        blocks = int(np.prod([-(-side * grid.resolution_m // 2560) + 1 for side in grid.shape]))
        size = blocks * 256 * 256 * len(BANDS)
        return Estimate(1, blocks + 1, size)

    def _tiles(self, grid: Grid, year: int) -> list[_GseTile]:
        """Find the files under a grid by the index, whose boxes are exact where names state nothing."""
        rows = self._rows(year)
        systems = np.asarray(rows["crs"], dtype=str)
        zones = _zones_near(grid)
        tiles = []
        for crs in sorted(set(systems.tolist())):
            zone = int(crs[-2:])
            if zone not in zones:
                continue
            here = np.flatnonzero(systems == crs)
            west, south, east, north = (rows[name][here].astype(float) for name in _BOX)
            left, bottom, right, top = _bounds(grid, crs)
            for at in here[(west < right) & (east > left) & (south < top) & (north > bottom)]:
                tail = str(rows["path"][at]).rpartition("/annual/")[2]
                tiles.append(self._opened(tail, zone))
        return sorted(tiles, key=lambda tile: tile.name)

    def _rows(self, year: int) -> Table:
        names = (self.index,) if self.index else INDEXES
        for name in names:
            rows = self.mirror.table(name, needs=("crs", "path", *_BOX), year=year)
            if rows is None:
                continue
            if not len(rows["path"]):
                fix = "choose another year, or another mirror with base_url"
                raise NoImageryError(f"{self.name}: year", value=year, reason="the mirror has no tile of it", fix=fix)
            return rows
        raise damaged(self.mirror.href(names[0]), "there is no index of the tiles")

    def _opened(self, tail: str, zone: int) -> _GseTile:
        href = self.mirror.href(tail)
        return _GseTile(open_geotiff(href, access=self.mirror.access), tail, zone, self.mirror)


@dataclass(frozen=True, eq=False)
class _GseTile:
    """One file; it owns what lies in its zone of six degrees."""

    file: GeoTiff
    name: str
    zone: int
    mirror: Mirror

    is_final = False  # it is not published which zone has the pixels of Norway and Svalbard

    @property
    def crs(self) -> str:
        return self.file.crs

    @property
    def transform(self) -> Affine:
        return self.file.transform

    @property
    def shape(self) -> tuple[int, int]:
        return self.file.layout.height, self.file.layout.width

    def owns(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        owned: NDArray[np.bool_] = ((lon + 180) // 6 + 1 == self.zone) & ((lat < 0) == self.crs.startswith("EPSG:327"))
        return owned

    def read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        top, left = int(rows.min()), int(columns.min())
        window = (top, int(rows.max()) + 1), (left, int(columns.max()) + 1)
        raw: NDArray[Any] = self.file.raw(*window, access=self.mirror.access)
        if raw.dtype != np.int8 or len(raw) != len(BANDS):
            raise damaged(self.file.href, f"it holds {len(raw)} bands of {raw.dtype}, not {len(BANDS)} of int8")
        return decoded(raw[:, rows - top, columns - left])


def _zones_near(grid: Grid) -> set[int]:
    """Return the UTM zones under a grid and their neighbours, whose tiles reach over the border."""
    zones: set[int] = set()
    for west, _, east, _ in grid.lonlat_boxes:
        first, last = int((west + 180) // 6), int((east + 180) // 6)
        zones |= {number % _ZONES + 1 for number in range(first - 1, last + 2)}
    return zones


def _bounds(grid: Grid, crs: str) -> tuple[float, float, float, float]:
    """Return the box round a grid in another projection."""
    points = outline(shapely.box(*grid.bounds), grid.crs)
    x, y = project(grid.crs, crs, points[:, 0], points[:, 1])
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
