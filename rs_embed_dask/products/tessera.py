"""TESSERA: cells of a tenth of a degree, each an array of bytes, a scale per pixel and a landmask that places it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rs_embed_dask.errors import NoImageryError, SpecError
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.products.field import ProductField, Reader, mosaic, year_of
from rs_embed_dask.products.mirror import Mirror, Npy, damaged, download, mirror_of, open_npy
from rs_embed_dask.products.tessera_zarr import DIM, TesseraZarr, decoded
from rs_embed_dask.providers.geotiff import GeoTiff, open_geotiff
from rs_embed_dask.providers.http import AbsentError
from rs_embed_dask.providers.registry import Estimate

if TYPE_CHECKING:
    from rs_embed_dask.models import Card
    from rs_embed_dask.products.mirror import Table
    from rs_embed_dask.specs import ModelSpec, Spatial, TemporalSpec

__all__ = ["Cell", "make"]

_PER_DEGREE: Final = 10
_TURN: Final = 3600
_SPREAD: Final = 100_000
_SHA256_DIGITS: Final = 64


@dataclass(frozen=True, order=True)
class Cell:
    """A cell of a tenth of a degree: `column` and `row` count tenths east of Greenwich and north of the equator."""

    row: int
    column: int

    @property
    def name(self) -> str:
        """Its name, from its centre."""
        return f"grid_{(self.column * 10 + 5) / 100:.2f}_{(self.row * 10 + 5) / 100:.2f}"

    @property
    def key(self) -> int:
        """A number of its own: hundredths of a degree of the centre."""
        return (self.column * 10 + 5) * _SPREAD + self.row * 10 + 5


def cells_under(boxes: Iterable[tuple[float, float, float, float]]) -> list[Cell]:
    """Return the cells that boxes of (west, south, east, north) touch, from south-west to north-east."""
    cells = set()
    for west, south, east, north in boxes:
        columns = range(math.floor(west * _PER_DEGREE), math.floor(east * _PER_DEGREE) + 1)
        rows = range(math.floor(south * _PER_DEGREE), math.floor(north * _PER_DEGREE) + 1)
        cells |= {Cell(row, (column + _TURN // 2) % _TURN - _TURN // 2) for column in columns for row in rows}
    return sorted(cells)


@dataclass(frozen=True)
class TesseraLayout:
    """How a release names its files."""

    registry: str
    tile: str
    landmask: str

    def tile_of(self, version: str, cell: Cell, year: int) -> str:
        """Return the path of a tile, without its suffix."""
        return self.tile.format(version=version, year=year, grid=cell.name)

    def landmask_of(self, version: str, cell: Cell) -> str:
        """Return the path of a landmask."""
        return self.landmask.format(version=version, grid=cell.name)


LAYOUTS: Final = (
    TesseraLayout(
        "npy/{version}/manifest.parquet", "npy/{version}/{year}/{grid}/{grid}", "landmasks/v1/{grid}.tiff"
    ),  # of geotessera 0.11
    TesseraLayout(
        "{version}/registry.parquet",
        "{version}/global_0.1_degree_representation/{year}/{grid}/{grid}",
        "{version}/global_0.1_degree_tiff_all/{grid}.tiff",
    ),  # of 0.7
    TesseraLayout(
        "registry.parquet",
        "global_0.1_degree_representation/{year}/{grid}/{grid}",
        "global_0.1_degree_tiff_all/{grid}.tiff",
    ),  # a folder into which 0.7 put its tiles
)


@dataclass(frozen=True)
class IndexEntry:
    """What a registry states about a tile's two files: sizes and sha256, where it lists them."""

    size: int | None = None
    scales_size: int | None = None
    sha256: str = ""
    scales_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Registry:
    """The tiles of one year."""

    layout: TesseraLayout
    rows: Table
    keys: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.keys)

    def find(self, cell: Cell) -> IndexEntry | None:
        """Look a tile up; None where it was not published."""
        (matches,) = np.nonzero(self.keys == cell.key)
        if not len(matches):
            return None
        at = int(matches[-1])
        size = self._number("file_size", at)
        return IndexEntry(
            self._number("grid_size", at) if size is None else size,
            self._number("scales_size", at),
            self._text("hash", at),
            self._text("scales_hash", at),
        )

    def _number(self, name: str, at: int) -> int | None:
        value: Any = self.rows[name][at] if name in self.rows else None
        return int(value) if value is not None and np.isfinite(value) and value > 0 else None

    def _text(self, name: str, at: int) -> str:
        text = str(self.rows[name][at]) if name in self.rows else ""
        return text.lower() if len(text) == _SHA256_DIGITS else ""


@functools.lru_cache(maxsize=8)
def registry_of(mirror: Mirror, version: str, year: int) -> Registry | None:
    """Read a mirror's registry, once per process; None where it has none, so that tiles are found by trying."""
    more = ("hash", "scales_hash", "file_size", "grid_size", "scales_size", "variant")
    for layout in LAYOUTS:
        rows = mirror.table(layout.registry.format(version=version), needs=("lon", "lat"), more=more, year=year)
        if rows is not None:
            _check_variant(rows, version, mirror.base_url)
            lon, lat = (np.rint(rows[axis].astype(float) * 100).astype(np.int64) for axis in ("lon", "lat"))
            return Registry(layout, rows, lon * _SPREAD + lat)
    return None


def _check_variant(rows: Table, version: str, where: str) -> None:
    """Refuse a registry that lists tiles of another variant of a version, whose vectors mean something else."""
    stated = {str(one).lower() for one in rows.get("variant", ())}
    others = sorted(one for one in stated if one in set(_STATED.values()) - {_STATED.get(version)})
    if version in _STATED and others:
        reason = f"it lists tiles of {', '.join(others)} under {version}, and their vectors cannot be mixed"
        raise SpecError("tessera registry", value=where, reason=reason, fix="name a mirror that has each by itself")


_STATED: Final = {"v1.1-cam": "cambridge", "v1.1-dclimate": "dclimate"}
_PIXEL_M: Final = 10.0
_EXACT: Final = 1e-6
_SMALL: Final = 4 * 2**20
_MUCH: Final = 0.25


def make(card: Card, spec: ModelSpec, provider: object = None) -> Reader:  # noqa: ARG001 - the door of every product
    """Make the reader of a request: of tiles, or of a Zarr store where it is asked for or there is nothing else."""
    options, variant = card.chosen(spec.options), card.variant_for(spec)
    config = dict(variant.config)
    folder, files, mirror = str(config.get("folder", variant.name)), str(options["files"]), mirror_of(options)
    if files == "zarr" or (files == "auto" and not folder):
        return TesseraZarr(mirror, card.years, f"zarr/{config.get('zarr') or folder or variant.name}")
    if not folder:
        fix = "leave files out, or use 'zarr'"
        raise SpecError(f"{card.id} {variant.name}: files", value=files, reason="it has no tiles", fix=fix)
    return Tessera(mirror, card.years, folder, files=files)


@dataclass(frozen=True)
class Tessera:
    """Reads the product."""

    mirror: Mirror
    years: tuple[int, int]
    version: str
    files: str = "auto"

    name = "tessera"
    native_m = _PIXEL_M

    @property
    def place(self) -> str:
        """Where it is read."""
        return self.mirror.base_url

    def grid(self, spatial: Spatial, resolution_m: float | None, *, crs: str | None) -> Grid:
        """Return the pixels of a place: its local UTM grid, on which the product lies too."""
        return grid_for(spatial, resolution_m or self.native_m, crs=crs)

    def read(self, grid: Grid, temporal: TemporalSpec) -> ProductField:
        """Read the vectors of a grid; see `Reader`."""
        year, span = year_of(temporal, self.name, self.years)
        registry = registry_of(self.mirror, self.version, year)
        if registry is not None and not registry.count:
            fix = "choose another year, version or mirror"
            raise NoImageryError(f"{self.name}: year", value=year, reason="the registry has no tile of it", fix=fix)
        cells = cells_under(grid.lonlat_boxes)
        tiles = [tile for cell in cells if (tile := self._tile(cell, year, registry)) is not None]
        reason = f"there is no tile of {year} for {', '.join(cell.name for cell in cells[:4])}"
        absent = reason, "choose a place or year that the registry lists"
        return mosaic(self.name, grid, tiles, span=span, dim=DIM, absent=absent)

    def estimate(self, grid: Grid) -> Estimate:
        """Estimate the cost of a read: the rows of about one tile, 93 kB each."""
        rows = grid.shape[0] * grid.resolution_m / _PIXEL_M
        size = int(rows * 730 * (DIM + 4)) + 2**17
        return Estimate(1, 7, size)

    def _tile(self, cell: Cell, year: int, registry: Registry | None) -> _TesseraTile | None:
        """Open a cell's files, or return None where nothing was published there."""
        entry = IndexEntry() if registry is None else registry.find(cell)
        if entry is None:
            return None
        for layout in LAYOUTS if registry is None else (registry.layout,):
            try:
                return self._opened(cell, layout, entry, year=year)
            except AbsentError:
                if registry is not None:
                    raise
        return None

    def _opened(self, cell: Cell, layout: TesseraLayout, entry: IndexEntry, *, year: int) -> _TesseraTile:
        access = self.mirror.access
        landmask = open_geotiff(self.mirror.href(layout.landmask_of(self.version, cell)), access=access)
        tail = layout.tile_of(self.version, cell, year)
        vectors = open_npy(self.mirror.href(f"{tail}.npy"), access=access, size=entry.size)
        scales = open_npy(self.mirror.href(f"{tail}_scales.npy"), access=access, size=entry.scales_size)
        shape = (landmask.layout.height, landmask.layout.width)
        if np.dtype(vectors.dtype) != np.int8 or vectors.shape != (*shape, DIM):
            raise damaged(vectors.href, f"it holds {vectors.dtype} {vectors.shape}, its landmask has {shape} pixels")
        if np.dtype(scales.dtype) != np.float32 or scales.shape not in {shape, (*shape, DIM)}:
            raise damaged(scales.href, f"it holds {scales.dtype} {scales.shape}, its landmask has {shape} pixels")
        return _TesseraTile(cell, landmask, (vectors, scales), (entry.sha256, entry.scales_sha256), self)

    def rows(self, file: Npy, first: int, stop: int, *, sha256: str) -> NDArray[Any]:
        """Return some rows of a file: by ranges, or out of the cache after a download that is checked."""
        mirror = self.mirror
        is_small = file.size <= _SMALL or (stop - first) / file.shape[0] >= _MUCH
        if not mirror.is_remote or self.files == "ranges" or (self.files == "auto" and not is_small):
            return file.rows(first, stop, access=mirror.access)

        def fetch(path: Path) -> None:
            download(file.href, path, access=mirror.access, cache=mirror.cache, sha256=sha256, size=file.size)

        def read(path: Path) -> NDArray[Any]:
            return replace(file, href=str(path)).rows(first, stop, access=mirror.access)

        tail = file.href.removeprefix(mirror.base_url).lstrip("/")
        return mirror.cache.use(mirror.cached_name(tail, sha256 or file.size), fetch, read, size=file.size)


@dataclass(frozen=True, eq=False)
class _TesseraTile:
    """The files of one cell; it owns what lies in the cell, though its raster reaches beyond."""

    cell: Cell
    landmask: GeoTiff
    files: tuple[Npy, Npy]
    digests: tuple[str, str]
    reader: Tessera

    is_final = True

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def crs(self) -> str:
        return self.landmask.crs

    @functools.cached_property
    def transform(self) -> Affine:
        """The landmask's, moved out to the lattice of 10 m on which the pixels lie."""
        a, b, c, d, e, f, *_ = self.landmask.transform
        left = math.floor(c / _PIXEL_M + _EXACT) * _PIXEL_M
        top = math.ceil(f / _PIXEL_M - _EXACT) * _PIXEL_M
        return Affine(a, b, left, d, e, top)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.files[0].shape[:2]
        return rows, columns

    def owns(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        owned: NDArray[np.bool_] = (np.floor(lon * 10) == self.cell.column) & (np.floor(lat * 10) == self.cell.row)
        return owned

    def read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        first, stop = int(rows.min()), int(rows.max()) + 1
        left, right = int(columns.min()), int(columns.max()) + 1
        here = rows - first, columns
        stored, scales = (
            self.reader.rows(file, first, stop, sha256=digest)[here]
            for file, digest in zip(self.files, self.digests, strict=True)
        )
        land = self.landmask.read(1, (first, stop), (left, right), access=self.reader.mirror.access)
        scale = scales if scales.ndim > 1 else scales[:, None]  # (n, 1) or (n, 128)
        on_land = (land[rows - first, columns - left] != 0)[:, None]
        return decoded(stored, np.where(on_land, scale, np.float32(np.nan))).T
