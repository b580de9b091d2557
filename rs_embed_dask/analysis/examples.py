"""What a search is like: vectors of places, items and rows, from whatever a user points at."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import xarray as xr

from rs_embed_dask.analysis.areas import areas_of
from rs_embed_dask.analysis.nearest import mean_direction
from rs_embed_dask.analysis.zones import area_sums
from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.specs import BBox, PointBuffer, Polygon
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.tables import outlines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.export.fields import MapField

__all__ = ["Examples", "cells_at", "token_at", "token_vector"]

_PAIR = 2
_FIX = "give a place, an item's id, a vector, or a list of these"


@dataclass(frozen=True, eq=False)
class Examples:
    """Where examples are looked up: the vectors of some rows of a run, (item, dim), or the fields of a map."""

    tree: xr.DataTree
    rows: NDArray[np.int64]
    table: xr.DataArray | None
    fields: Sequence[MapField]

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.fields[0].dim if self.table is None else int(self.table.sizes["dim"])

    def query(self, like: Any, negatives: Any = None) -> NDArray[np.float64]:
        """Return the vector to search for: twice the mean direction of the positives less that of the negatives."""
        wanted = mean_direction(self._several("like", like))
        if negatives is not None:
            wanted = 2 * wanted - mean_direction(self._several("negatives", negatives))
        if not np.linalg.norm(wanted) > 0:
            reason = "they point nowhere: their directions cancel"
            raise SpecError("like", reason=reason, fix="give other positives or negatives")
        return wanted

    def _several(self, name: str, given: Any) -> NDArray[np.float64]:
        """Return the vectors of one example or of several, one row each."""
        listed = _shapes(given) if _is_frame(given) else list(given) if _is_list(given) else [given]
        if not listed:
            raise SpecError(name, value=[], reason="there is no example", fix=_FIX)
        return np.stack([self._one(name, each) for each in listed])

    def _one(self, name: str, given: Any) -> NDArray[np.float64]:
        if isinstance(given, str):
            return self._item(name, given)
        if isinstance(given, BBox | PointBuffer | Polygon | shapely.Geometry | Mapping) or self._is_pair(given):
            return self._place(name, given)
        vector = np.asarray(given.data if isinstance(given, Embedding) else given)
        if vector.dtype.kind not in "fiu" or vector.shape != (self.dim,):
            reason = f"it is no place, and no vector of {self.dim} numbers"
            raise SpecError(name, value=given, reason=reason, fix=_FIX)
        return _known(name, vector.astype(np.float64), given)

    def _is_pair(self, given: Any) -> bool:
        return isinstance(given, tuple | list) and len(given) == _PAIR and self.dim != _PAIR

    def _item(self, name: str, item: str) -> NDArray[np.float64]:
        """Return the mean direction of the item's vectors: it has one for each span."""
        if self.table is None:
            fix = "give a place or a vector"
            raise StoreError(name, value=item, reason="only items with one vector each have an id here", fix=fix)
        ids = np.asarray(self.table["item"].to_numpy(), dtype=object)
        rows = np.flatnonzero(ids == item)
        if not len(rows):
            raise UnknownNameError.among(name, item, ids)
        return self._rows(name, rows, item)

    def _rows(self, name: str, rows: NDArray[Any], given: Any) -> NDArray[np.float64]:
        assert self.table is not None
        vectors = self.table[np.sort(rows)].to_numpy().astype(np.float64)
        there = vectors[np.isfinite(vectors).all(axis=1)]
        return _known(name, mean_direction(there) if len(there) else vectors[0], given)

    def _place(self, name: str, given: Any) -> NDArray[np.float64]:
        point = _point(given)
        if self.table is not None:
            lon, lat = point or _middle(given)
            inside = np.flatnonzero(outlines(self.tree).iloc[self.rows].contains(shapely.Point(lon, lat)))
            if not len(inside):
                fix = "embed it with rs.get_embedding, and give that vector"
                raise StoreError(name, value=given, reason="no item of the run lies there", fix=fix)
            return self._rows(name, inside, given)
        if point is not None:
            return _known(name, _mean(token_at(self.fields, *point)), given)
        _, areas = areas_of(given)
        spans = {one.time for one in self.fields}
        parts = [area_sums([one for one in self.fields if one.time == span], areas).means for span in sorted(spans)]
        return _known(name, _mean(np.concatenate(parts)), given)


def cells_at(fields: Sequence[MapField], lon: float, lat: float) -> list[tuple[MapField, int, int]]:
    """Return the fields that a point lies in, and the row and column of its cell in each."""
    found = []
    for field in fields:
        x, y = (float(one[0]) for one in project(WGS84, field.crs, [lon], [lat]))
        if not np.isfinite([x, y]).all():  # beyond the reach of the projection
            continue
        width, _, left, _, height, top = field.transform
        row, col = int(np.floor((y - top) / height)), int(np.floor((x - left) / width))
        if 0 <= row < field.shape[0] and 0 <= col < field.shape[1]:
            found.append((field, row, col))
    return found


def token_at(fields: Sequence[MapField], lon: float, lat: float) -> NDArray[np.float64]:
    """Return the vector of the token that a point lies in, of each span that has one; (spans, dim)."""
    vectors = [token_vector(*cell) for cell in cells_at(fields, lon, lat)]
    there = [vector for vector in vectors if np.isfinite(vector).all()]
    return np.array(there, np.float64).reshape(-1, fields[0].dim)


def token_vector(field: MapField, row: int, col: int) -> NDArray[np.float32]:
    """Read the vector of one token; NaN where there is none; (dim,)."""
    return field.read((slice(row, row + 1), slice(col, col + 1)))[:, 0, 0]


def _is_frame(given: Any) -> bool:
    return hasattr(given, "geometry") and hasattr(given, "to_crs")


def _shapes(frame: Any) -> list[shapely.Geometry]:
    return list(frame.to_crs(WGS84).geometry)


def _is_list(given: Any) -> bool:
    if isinstance(given, np.ndarray | xr.DataArray):
        return given.ndim > 1
    return isinstance(given, list | tuple) and not all(isinstance(one, numbers.Real) for one in given)


def _mean(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    there = vectors[np.isfinite(vectors).all(axis=1)]
    return mean_direction(there) if len(there) else np.full(vectors.shape[1], np.nan)


def _point(given: Any) -> tuple[float, float] | None:
    if isinstance(given, Mapping) and given.get("type") == "Point":
        given = given["coordinates"]
    if isinstance(given, shapely.Point):
        return given.x, given.y
    if isinstance(given, tuple | list):
        return float(given[0]), float(given[1])
    return None


def _middle(given: Any) -> tuple[float, float]:
    _, (area,) = areas_of(given)
    middle = area.lonlat.centroid
    return middle.x, middle.y


def _known(name: str, vector: NDArray[np.float64], given: Any) -> NDArray[np.float64]:
    if not (np.isfinite(vector).all() and np.linalg.norm(vector) > 0):
        reason = "there is no vector of it"
        raise StoreError(name, value=given, reason=reason, fix="see rs.status for what was computed, or name another")
    return vector
