"""How TESSERA's tiles are named and listed: cells, folder layouts of its releases, and the registry."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rs_embed_dask.products.mirror import Mirror, Table

__all__ = ["LAYOUTS", "Cell", "Entry", "Layout", "Registry", "cells_under", "registry_of"]

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
        """Its name, made of the centre."""
        return f"grid_{(self.column * 10 + 5) / 100:.2f}_{(self.row * 10 + 5) / 100:.2f}"

    @property
    def key(self) -> int:
        """A number of its own: hundredths of a degree of the centre."""
        return (self.column * 10 + 5) * _SPREAD + self.row * 10 + 5


def cells_under(boxes: Iterable[tuple[float, float, float, float]]) -> list[Cell]:
    """Return the cells that boxes of (west, south, east, north) touch, from south-west to north-east."""
    found = set()
    for west, south, east, north in boxes:
        columns = range(math.floor(west * _PER_DEGREE), math.floor(east * _PER_DEGREE) + 1)
        rows = range(math.floor(south * _PER_DEGREE), math.floor(north * _PER_DEGREE) + 1)
        found |= {Cell(row, (column + _TURN // 2) % _TURN - _TURN // 2) for column in columns for row in rows}
    return sorted(found)


@dataclass(frozen=True)
class Layout:
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
    Layout(
        "npy/{version}/manifest.parquet", "npy/{version}/{year}/{grid}/{grid}", "landmasks/v1/{grid}.tiff"
    ),  # of geotessera 0.11
    Layout(
        "{version}/registry.parquet",
        "{version}/global_0.1_degree_representation/{year}/{grid}/{grid}",
        "{version}/global_0.1_degree_tiff_all/{grid}.tiff",
    ),  # of 0.7
    Layout(
        "registry.parquet",
        "global_0.1_degree_representation/{year}/{grid}/{grid}",
        "global_0.1_degree_tiff_all/{grid}.tiff",
    ),  # a folder into which 0.7 put its tiles
)


@dataclass(frozen=True)
class Entry:
    """What a registry says of a tile's two files: sizes and sha256, where it knows them."""

    size: int | None = None
    scales_size: int | None = None
    sha256: str = ""
    scales_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Registry:
    """The tiles of one year.

    Attributes
    ----------
    layout : Layout
        Of the mirror.
    rows : table
        As it lies there.
    keys : ndarray
        `Cell.key` of each row.
    """

    layout: Layout
    rows: Table
    keys: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.keys)

    def find(self, cell: Cell) -> Entry | None:
        """Look a tile up; None where it was not published."""
        (found,) = np.nonzero(self.keys == cell.key)
        if not len(found):
            return None
        at = int(found[-1])
        size = self._number("file_size", at)
        return Entry(
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
    """Read a mirror's registry, once in a process; None where it has none, so that tiles are found by trying."""
    more = ("hash", "scales_hash", "file_size", "grid_size", "scales_size")
    for layout in LAYOUTS:
        rows = mirror.table(layout.registry.format(version=version), needs=("lon", "lat"), more=more, year=year)
        if rows is not None:
            lon, lat = (np.rint(rows[axis].astype(float) * 100).astype(np.int64) for axis in ("lon", "lat"))
            return Registry(layout, rows, lon * _SPREAD + lat)
    return None
