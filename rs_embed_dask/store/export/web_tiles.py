"""The colours of a map as tiles of the web's projection. Pictures alone are warped: vectors are never resampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from affine import Affine
from rasterio.io import MemoryFile

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import WGS84, crs_facts, lonlat_bounds, project, unit_m, wrap_lon
from rs_embed_dask.store.export.colours import NO_COLOUR, basis_of, halved, painted
from rs_embed_dask.store.export.layers import Layer
from rs_embed_dask.store.export.mosaic import mosaic
from rs_embed_dask.store.export.pca import COLOURS
from rs_embed_dask.store.export.preview import PREVIEW, levels_of, stored_basis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.export.colours import Colouring
    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.map_layout import MapGroup
    from rs_embed_dask.store.map_store import MapView

    _Reader = Callable[[slice, slice], NDArray[Any]]

__all__ = ["MERCATOR", "MOST_TOKENS", "TILE_PX", "FieldColours", "WebTiles", "png_of", "tile_bounds"]

MERCATOR: Final = "EPSG:3857"
TILE_PX: Final = 512
MOST_TOKENS: Final = 2**22
"""As many tokens are coloured in memory where the map has no preview."""

_HALF_M: Final = 20_037_508.342789244  # from the middle of the projection to its edge
_LAST_LAT: Final = 85.05
_DEEPEST: Final = 24
_FINER: Final = 8  # pixels per side of a token at the deepest zoom, which viewers enlarge smoothly
_PROBES: Final = 33  # points per side of a tile that tell which cells it covers, to a fraction of one
_MARGIN: Final = 3  # cells: where zones meet, a pixel takes the colour of the next token but one at most
_TURN: Final = 360.0


def tile_bounds(x: int, y: int, z: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a tile in metres of the web's projection; y counts from the north."""
    side = 2 * _HALF_M / 2**z
    left, top = -_HALF_M + x * side, _HALF_M - y * side
    return left, top - side, left + side, top


@dataclass(frozen=True, eq=False)
class FieldColours:
    """One field's colours at every zoom, the finest first, each read window by window."""

    crs: str
    levels: tuple[MapGroup, ...]
    reads: tuple[_Reader, ...]
    bounds: tuple[float, float, float, float]
    """West, south, east and north in degrees; east may be above 180."""

    @classmethod
    def stored(cls, field: MapField, view: MapView) -> Self:
        """Read them from the preview of a store."""
        levels = levels_of(field)
        paths = [f"{field.label}/{PREVIEW}/{field.group}/{one.group}/rgb" for one in levels]
        return cls._of(field, [partial(_window, view.array(one), field.time) for one in paths])

    @classmethod
    def made(cls, field: MapField, basis: Colouring) -> Self:
        """Colour all vectors of a field, a block at a time; three bytes per token stay in memory, and a third more."""
        levels = levels_of(field)
        rgb = np.full((1, COLOURS, *levels[0].shape), NO_COLOUR, np.uint8)
        for window in field.windows():
            rgb[0][:, *window] = painted(field.read(window), basis)
        zooms = [rgb]
        for _ in levels[1:]:
            zooms.append(halved(zooms[-1]))
        return cls._of(field, [partial(_window, one, 0) for one in zooms])

    @classmethod
    def _of(cls, field: MapField, reads: Sequence[_Reader]) -> Self:
        width, _, left, _, height, top = field.transform
        rows, cols = field.shape
        around = left, top + height * rows, left + width * cols, top
        return cls(field.crs, tuple(levels_of(field)), tuple(reads), lonlat_bounds(field.crs, around))

    def meets(self, bounds: tuple[float, float, float, float]) -> bool:
        """Whether the field may have a token within west, south, east and north."""
        west, south, east, north = bounds
        own_west, own_south, own_east, own_north = self.bounds
        across = any(own_west <= east + turn and west + turn <= own_east for turn in (-_TURN, 0.0, _TURN))
        return across and own_south <= north and south <= own_north

    def layer(self, x: NDArray[np.float64], y: NDArray[np.float64], pixel_m: float) -> Layer | None:
        """Read the cells around points of the field's projection, as small as pixels or up to half of that."""
        factor = pixel_m / unit_m(self.crs) / self.levels[0].step
        at = min(max(0, math.floor(math.log2(factor))), len(self.levels) - 1)
        level = self.levels[at]
        width, _, left, _, height, top = level.transform
        cols = _span((x - left) / width, level.shape[1])
        rows = _span((y - top) / height, level.shape[0])
        if cols is None or rows is None:
            return None
        moved = (width, 0.0, left + width * cols.start, 0.0, height, top + height * rows.start)
        return Layer(self.reads[at](rows, cols), self.crs, moved, 2**at)


def _window(array: Any, time: int, rows: slice, cols: slice) -> NDArray[Any]:
    return np.asarray(array[time, :, rows, cols])


def _span(places: NDArray[np.float64], count: int) -> slice | None:
    """Return the cells that some places lie in, with a margin; None where none is in the array."""
    there = places[np.isfinite(places)]
    if not there.size:
        return None
    first, last = max(0.0, there.min() - _MARGIN), min(float(count), there.max() + _MARGIN + 1)
    return slice(math.floor(first), math.ceil(last)) if first < last else None


@dataclass(frozen=True, eq=False)
class WebTiles:
    """The tiles of one model and span of a map.

    A tile reads of each zone that it touches one window of the zoom whose cells are as large as its pixels or up to
    half of that: at most about 1,500 x 1,500 cells of three bytes. Each pixel has the colour of the cell that its
    middle lies in.
    """

    fields: tuple[FieldColours, ...]
    token_m: float

    @classmethod
    def of(cls, fields: Sequence[MapField], view: MapView | None) -> Self:
        """Take the colours of a stored preview, or make them of the vectors where there is none.

        Raises
        ------
        SpecError
            If there is no preview and the map is too large for colours in memory, or no token has a vector.
        """
        token_m = min(one.token_m for one in fields)
        if view is not None and stored_basis(view, fields[0].label) is not None:
            return cls(tuple(FieldColours.stored(one, view) for one in fields), token_m)
        count = sum(math.prod(one.shape) for one in fields)
        if count > MOST_TOKENS:
            reason = f"it has {count:,} tokens and no preview, and up to {MOST_TOKENS:,} are coloured in memory"
            fix = "make the preview once, with rs.build_preview(path), and give the map's path"
            raise SpecError("map", value=fields[0].label, reason=reason, fix=fix)
        basis = basis_of(fields)
        return cls(tuple(FieldColours.made(one, basis) for one in fields), token_m)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees, round the globe where the map crosses 180 degrees."""
        west, south, east, north = self._around
        crosses = west < -_TURN / 2 or east > _TURN / 2
        sides = (-_TURN / 2, _TURN / 2) if crosses else (west, east)
        return sides[0], max(-_LAST_LAT, south), sides[1], min(_LAST_LAT, north)

    @property
    def middle(self) -> tuple[float, float]:
        """Longitude and latitude of the middle of the picture."""
        west, _, east, _ = self._around
        _, south, _, north = self.bounds
        _, up = project(WGS84, MERCATOR, [0, 0], [south, north])
        (lat,) = project(MERCATOR, WGS84, [0], [up.mean()])[1]
        return wrap_lon((west + east) / 2), float(lat)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the picture, as shares of the globe's."""
        west, _, east, _ = self._around
        _, south, _, north = self.bounds
        _, up = project(WGS84, MERCATOR, [0, 0], [south, north])
        return (east - west) / _TURN, float(up[1] - up[0]) / (2 * _HALF_M)

    @property
    def _around(self) -> tuple[float, float, float, float]:
        """West, south, east and north of all fields, each on the turn of the globe that is nearest to the first."""
        west, south, east, north = np.array([one.bounds for one in self.fields]).T
        turns = _TURN * np.round(((west + east) - (west + east)[0]) / 2 / _TURN)
        return float((west - turns).min()), float(south.min()), float((east - turns).max()), float(north.max())

    @property
    def deepest(self) -> int:
        """The zoom beyond which tiles show nothing more."""
        _, south, _, north = self.bounds
        nearest = 0.0 if south < 0 < north else min(abs(south), abs(north))
        pixel_m = 2 * _HALF_M * math.cos(math.radians(nearest)) / TILE_PX
        return min(_DEEPEST, max(0, math.ceil(math.log2(pixel_m / (self.token_m / _FINER)))))

    def rgba(self, x: int, y: int, z: int) -> NDArray[np.uint8] | None:
        """Return one tile (4, 512, 512), transparent where there is no vector; None where there is none at all."""
        left, bottom, right, top = tile_bounds(x, y, z)
        (west, east), (south, north) = project(MERCATOR, WGS84, [left, right], [bottom, top])
        near = [one for one in self.fields if one.meets((west, south, east, north))]
        if not near:
            return None
        size = (right - left) / TILE_PX
        few, middles = np.linspace(0.5, TILE_PX - 0.5, _PROBES), np.arange(TILE_PX) + 0.5
        probes = np.meshgrid(left + few * size, top - few * size)
        layers = [
            one.layer(*project(MERCATOR, one.crs, *probes), _ground(one, size, south, north))  # (33, 33) each
            for one in near
        ]
        found = [one for one in layers if one is not None]
        if not found:
            return None
        across, down = np.meshgrid(left + middles * size, top - middles * size)
        rgb = mosaic(found, MERCATOR, x=across, y=down)
        alpha = np.where((rgb != NO_COLOUR).any(axis=0), 255, 0).astype(np.uint8)
        return np.concatenate([rgb, alpha[None]]) if alpha.any() else None

    def png(self, x: int, y: int, z: int) -> bytes | None:
        """Return one tile as a PNG."""
        rgba = self.rgba(x, y, z)
        return None if rgba is None else png_of(rgba, tile_bounds(x, y, z))


def png_of(rgba: NDArray[np.uint8], bounds: tuple[float, float, float, float]) -> bytes:
    """Write a tile (4, 512, 512) as a PNG."""
    shape = dict(zip(("count", "height", "width"), rgba.shape, strict=True))
    left, bottom, right, top = bounds
    # rasterio warns of pictures that lie nowhere
    where = Affine((right - left) / TILE_PX, 0, left, 0, (bottom - top) / TILE_PX, top)
    with MemoryFile() as file:
        with file.open(driver="PNG", dtype="uint8", transform=where, **shape) as picture:
            picture.write(rgba)
        return bytes(file.read())


def _ground(field: FieldColours, size: float, south: float, north: float) -> float:
    """Return the metres on the ground of a tile's pixel, where the field is nearest to the tile's middle."""
    if crs_facts(field.crs).degrees:  # a degree of longitude is as many pixels at every latitude
        return size
    _, own_south, _, own_north = field.bounds
    return size * math.cos(math.radians(min(max((own_south + own_north) / 2, south), north)))
