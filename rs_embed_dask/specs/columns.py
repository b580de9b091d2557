"""Places as columns: a million of them as an array, each made into an object only when it is asked for."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import HALF_TURN, POLE, WGS84, crs_facts, lonlat_bounds, project
from rs_embed_dask.specs.where import DEGREE_M, PointBuffer, Polygon, Spatial, exact_wkt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["PlaceColumn", "PlaceList", "PointColumn", "ShapeColumn", "one_place"]

_BLOCK: Final = 16_384
_LITTLE: Final = 1
_LARGEST_AREA_M2: Final = 1e12
_SURELY_SMALL: Final = _LARGEST_AREA_M2 / 1.25e10  # in square degrees, of which none is larger on the ellipsoid


def one_place(spatial: Spatial) -> Spatial:
    """Return what is read as one place; refuse what only a map can be of."""
    if isinstance(spatial, PointBuffer):
        return spatial
    left, bottom, right, top = spatial.own_bounds
    if crs_facts(spatial.crs).degrees and 0 < (right - left) * (top - bottom) < _SURELY_SMALL:
        return spatial  # to know the area of a polygon takes as long as to make it
    area_m2, most_m2 = spatial.area_m2, _LARGEST_AREA_M2
    if area_m2 > most_m2:
        reason = f"its area is {area_m2 / 1e6:,.0f} km2 and at most {most_m2 / 1e6:,.0f} km2 are read as one place"
        fix = "split it into smaller places, or use compute_map, whose regions may have any size"
        raise SpecError(type(spatial).__name__, value=spatial, reason=reason, fix=fix)
    return spatial


def _widened(bounds: NDArray[np.float64], metres: float) -> NDArray[np.float64]:
    """Widen rectangles (n, 4) in degrees by metres on each side."""
    up = metres / DEGREE_M
    nearest = np.radians(np.abs(bounds[:, 1::2]).max(axis=1, initial=0))
    side = up / np.maximum(np.cos(nearest), up)
    ups = np.full_like(side, up)
    widened: NDArray[np.float64] = bounds + np.stack([-side, -ups, side, ups], axis=1)
    return widened


class PlaceColumn(Sequence[Spatial]):
    """Places in order, with what is asked of many at once."""

    @abstractmethod
    def take(self, rows: Any) -> Self:
        """Return some of the places, by a slice or an array of numbers."""

    def json_lines(self) -> list[str]:
        """Return what `to_json` returns for each place."""
        return [place.to_json() for place in self]

    def centers(self) -> NDArray[np.float64]:
        """Return longitude and latitude of each middle, (n, 2), in degrees."""
        return np.asarray([place.center for place in self], dtype="float64").reshape(-1, 2)

    def buffers(self) -> NDArray[np.float64]:
        """Return half the side of each square around a point in metres, (n,); NaN for every other place."""
        return np.asarray([getattr(place, "buffer_m", math.nan) for place in self], dtype="float64")

    def sizes(self) -> Iterable[Spatial]:
        """Return places such that each of the others has the size of one of them."""
        seen: dict[tuple[float, str] | int, Spatial] = {}
        for row, place in enumerate(self):
            seen.setdefault((place.buffer_m, place.crs) if isinstance(place, PointBuffer) else row, place)
        return seen.values()

    def in_parts(self) -> list[int]:
        """List the rows of polygons that have several parts."""
        polygons = ((row, place) for row, place in enumerate(self) if isinstance(place, Polygon))
        return [row for row, place in polygons if place.wkt.startswith("MULTI")]

    def extent(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north of all places in degrees, roughly; east may exceed 180."""
        is_point = [isinstance(place, PointBuffer) for place in self]
        pairs = zip(self, is_point, strict=True)  # a million squares are not drawn
        bounds = np.asarray(
            [place.center * 2 if plain else place.unwrapped.bounds for place, plain in pairs], "float64"
        )
        widest_m = max((place.buffer_m for place in self.sizes() if isinstance(place, PointBuffer)), default=0.0)
        bounds[is_point] = _widened(bounds[is_point], widest_m)
        (west, south), (east, north) = bounds[:, :2].min(axis=0).tolist(), bounds[:, 2:].max(axis=0).tolist()
        return west, south, east, north

    @property
    def has_polygons(self) -> bool:
        """Whether any place is a polygon."""
        return any(isinstance(place, Polygon) for place in self)

    def packed(self) -> Iterable[bytes]:
        """Return bytes that only the same column has, or none where they cost as much as the texts."""
        return ()


@dataclass(frozen=True, eq=False)
class PlaceList(PlaceColumn):
    """Places of any kind, in a list."""

    places: Sequence[Spatial]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: Any) -> Any:
        return self.places[row]

    def __iter__(self) -> Iterator[Spatial]:
        return iter(self.places)

    def take(self, rows: Any) -> PlaceList:
        """Return some of the places."""
        return PlaceList(self.places[rows] if isinstance(rows, slice) else [self.places[row] for row in rows.tolist()])


@dataclass(frozen=True, eq=False)
class PointColumn(PlaceColumn):
    """Squares of one size around points, (n, 2)."""

    points: NDArray[np.float64]
    buffer_m: float
    crs: str

    @classmethod
    def of(cls, points: NDArray[np.float64], *, buffer_m: float | None, crs: str) -> PointColumn | None:
        """Make the column, or None where some point is not valid: making it alone tells why."""
        if buffer_m is None or not len(points) or not np.isfinite(points).all():
            return None
        if crs_facts(crs).degrees and (np.abs(points) > (HALF_TURN, POLE)).any():
            return None
        first = PointBuffer(float(points[0, 0]), float(points[0, 1]), buffer_m, crs)
        column = cls(points + 0.0, first.buffer_m, first.crs)
        centers = column.centers()
        is_clear = (POLE - np.abs(centers[:, 1])) * DEGREE_M > first.buffer_m * math.sqrt(2)
        return column if np.isfinite(centers).all() and is_clear.all() else None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, row: Any) -> Any:
        x, y = self.points[row].tolist()
        return PointBuffer(x, y, self.buffer_m, self.crs)

    def take(self, rows: Any) -> PointColumn:
        """Return some of the places."""
        return PointColumn(self.points[rows], self.buffer_m, self.crs)

    def json_lines(self) -> list[str]:
        """Return what `to_json` returns for each place."""
        head = f'{{"buffer_m": {self.buffer_m!r}, "crs": {json.dumps(self.crs)}, "lat": '
        pairs = zip(*self.points.T.tolist(), strict=True)
        return [f'{head}{y!r}, "lon": {x!r}, "type": "PointBuffer"}}' for x, y in pairs]

    def centers(self) -> NDArray[np.float64]:
        """Return longitude and latitude of each point, (n, 2), in degrees."""
        if self.crs == WGS84:
            return self.points
        return np.stack(project(self.crs, WGS84, self.points[:, 0], self.points[:, 1]), axis=1)

    def extent(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north of all squares in degrees."""
        centers = self.centers()
        bounds = np.concatenate([centers.min(axis=0), centers.max(axis=0)])[None]
        west, south, east, north = _widened(bounds, self.buffer_m)[0].tolist()
        return west, south, east, north

    def buffers(self) -> NDArray[np.float64]:
        """Return half the side of each square in metres, (n,)."""
        return np.full(len(self), self.buffer_m)

    def in_parts(self) -> list[int]:
        """List the rows of polygons that have several parts: there are none."""
        return []

    @property
    def has_polygons(self) -> bool:
        """Whether any place is a polygon: none is."""
        return False

    def sizes(self) -> Iterable[Spatial]:
        """Return one place, as all have its size."""
        return (self[0],)

    def packed(self) -> Iterable[bytes]:
        """Return size, reference system and coordinates."""
        return f"{len(self)} points {self.buffer_m!r} {self.crs}".encode(), self.points.astype("<f8").tobytes()


@dataclass(frozen=True, eq=False)
class ShapeColumn(PlaceColumn):
    """Polygons as shapely geometries of one reference system; whether they are valid is asked for later."""

    shapes: NDArray[np.object_]
    crs: str
    labels: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: Any) -> Any:
        return one_place(Polygon.from_geometry(self.shapes[row], self.crs))

    def take(self, rows: Any) -> ShapeColumn:
        """Return some of the places."""
        return ShapeColumn(self.shapes[rows], self.crs, None if self.labels is None else np.asarray(self.labels)[rows])

    def extent(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north of all polygons in degrees, without a look at each."""
        west, south, east, north = shapely.total_bounds(self.shapes).tolist()
        bounds = west, south, east, north
        return bounds if self.crs == WGS84 else lonlat_bounds(self.crs, bounds)

    def in_parts(self) -> list[int]:
        """List the rows of polygons that have several parts."""
        rows: list[int] = np.flatnonzero(shapely.get_num_geometries(self.shapes) > 1).tolist()
        return rows

    @property
    def has_polygons(self) -> bool:
        """Whether any place is a polygon: all are."""
        return len(self) > 0

    def json_lines(self) -> list[str]:
        """Return what `to_json` returns for each place."""
        head = f'{{"crs": {json.dumps(self.crs)}, "type": "Polygon", "wkt": "'
        return [f'{head}{text}"}}' for text in exact_wkt(shapely.force_2d(self.shapes)).tolist()]

    def packed(self) -> Iterable[bytes]:
        """Return the reference system and the shapes, some thousands at a time."""
        yield f"{len(self)} shapes {self.crs}".encode()
        for row in range(0, len(self), _BLOCK):
            shapes = shapely.force_2d(self.shapes[row : row + _BLOCK])
            yield b"".join(shapely.to_wkb(shapes, byte_order=_LITTLE).tolist())
