"""Search by similarity over runs and maps, and what was found as a table of places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.blocks import field_portions, row_portions, vectors_of
from rs_embed_dask.analysis.codes import Codes
from rs_embed_dask.analysis.examples import Examples
from rs_embed_dask.analysis.nearest import nearest
from rs_embed_dask.analysis.sources import MapSource
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.specs.positions import OWN_SURROUNDINGS
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.export.items import any_fields, is_run
from rs_embed_dask.store.tables import outlines, place_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr
    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.blocks import Portion
    from rs_embed_dask.analysis.nearest import Nearest
    from rs_embed_dask.store.export.fields import MapField

__all__ = ["MOST", "TOKEN_COLUMNS", "Searched", "positions_kept", "token_place"]

MOST: Final = 1_000_000
"""As many may be asked for at once: the best so far are kept in memory."""

TOKEN_COLUMNS: Final = ("group", "span", "x", "y", "crs", "lon", "lat")
"""What is said of each token that is found."""


@dataclass(frozen=True, eq=False)
class Searched:
    """What is searched: one model's vectors in some rows of a run, or its fields of tokens."""

    tree: xr.DataTree
    label: str
    rows: NDArray[np.int64]
    table: xr.DataArray | None
    fields: tuple[MapField, ...]

    @classmethod
    def of(cls, tree: xr.DataTree, label: str, span: int | str | None) -> Searched:
        """Choose the vectors of a model, of one span or of all."""
        table = vectors_of(tree, label)
        if table is not None:
            rows = _rows(tree, span)
            every = len(rows) == table.sizes["item"]
            return cls(tree, label, rows, table if every else table[rows], ())
        fields = any_fields(tree, label) if is_run(tree) else any_fields(tree, label, span=_number(span))
        if is_run(tree) and span is not None:
            kept = set(_rows(tree, span).tolist())
            fields = [one for one in fields if one.time in kept]
        return cls(tree, label, np.empty(0, np.int64), None, tuple(fields))

    def find(
        self, like: Any, negatives: Any, *, k: int, client: Client | None, codes: Path | None = None
    ) -> gpd.GeoDataFrame:
        """Return the k places whose vectors are nearest to the examples, the nearest first."""
        k = whole("k", k, low=1, high=MOST)
        query = Examples(self.tree, self.rows, self.table, self._places).query(like, negatives)
        if codes is None:
            found = nearest(query, self._portions(), k, client=client)
        else:
            found = Codes.at(codes, self._source, client=client).nearest(query, k, client=client)
        return self._items(found) if self.table is not None else self._tokens(found)

    @property
    def _source(self) -> MapSource:
        if is_run(self.tree):
            fix = "leave codes= out"
            raise SpecError("codes", value=self.label, reason="codes are of maps that are in a store", fix=fix)
        return replace(MapSource.of(self.tree, self.label), fields=self.fields)

    @property
    def _places(self) -> tuple[MapField, ...]:
        # In a run, a field's `time` is its row: all of them are of one kind when a place is looked up.
        return tuple(replace(one, time=0) for one in self.fields) if is_run(self.tree) else self.fields

    def _portions(self) -> Iterator[Portion]:
        return field_portions(self.fields) if self.table is None else row_portions(self.table)

    def _items(self, found: Nearest) -> gpd.GeoDataFrame:
        import geopandas as gpd

        rows = self.rows[found.places[:, 1]]
        index = place_index(self.tree)[rows]
        shapes = outlines(self.tree).to_numpy()[rows]
        return gpd.GeoDataFrame({"score": found.scores}, index=index, geometry=shapes, crs=WGS84)

    def _tokens(self, found: Nearest) -> gpd.GeoDataFrame:
        import geopandas as gpd

        rows = [token_place(self.fields[number], row, col) for number, row, col in found.places.tolist()]
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in TOKEN_COLUMNS}
        points = gpd.points_from_xy(columns["lon"], columns["lat"], crs=WGS84)
        return gpd.GeoDataFrame(columns | {"score": found.scores}, geometry=points)


def token_place(field: MapField, row: int, col: int) -> dict[str, Any]:
    """Say where the middle of a token lies, and of which span it is."""
    width, _, left, _, height, top = field.transform
    x, y = left + width * (col + 0.5), top + height * (row + 0.5)
    lon, lat = (float(one[0]) for one in project(field.crs, WGS84, [x], [y]))
    span = f"{field.start}/{field.end}"
    return {"group": field.group, "span": span, "x": x, "y": y, "crs": field.crs, "lon": lon, "lat": lat}


def _rows(tree: xr.DataTree, span: int | str | None) -> NDArray[np.int64]:
    spans = place_index(tree).get_level_values("span")
    if span is None:
        return np.arange(tree[ITEMS].sizes["item"])
    names = list(dict.fromkeys(spans))
    if isinstance(span, str):
        return np.flatnonzero(spans == choice("span", span, names))
    fix = f"use one of {', '.join(names)}, or its number from 0"
    return np.flatnonzero(spans == names[whole("span", span, low=0, high=len(names) - 1, fix=fix)])


def _number(span: int | str | None) -> int | None:
    if isinstance(span, str):
        reason, fix = "a map's spans have numbers", "use 0 for the first along time, or leave span out"
        raise SpecError("span", value=span, reason=reason, fix=fix)
    return span


def positions_kept(fields: tuple[MapField, ...]) -> str:
    """Return what was done about the positions of windows if they are still in the vectors, else an empty text."""
    told = fields[0].positions if fields else ""
    return told if told.startswith("positions kept") and OWN_SURROUNDINGS not in told else ""
