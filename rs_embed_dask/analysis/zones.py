"""Means, sums and counts of a map's vectors over polygons, each token by the share of it that lies inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rs_embed_dask.analysis.blocks import Portion, computed
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.coverage import covered_cells
from rs_embed_dask.store.columns import SPAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import geopandas as gpd
    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.areas import Area
    from rs_embed_dask.store.export.fields import MapField, Window

__all__ = ["MEAN", "SUM", "AreaSums", "area_sums", "zone_table"]

MEAN, SUM = "mean", "sum"


@dataclass(frozen=True, eq=False)
class AreaSums:
    """What lies in each area: tokens with a vector, counted by their shares, and the sum of their values.

    Parameters
    ----------
    tokens : (areas,) array
    totals : (areas, bands) array
    """

    tokens: NDArray[np.float64]
    totals: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each band, NaN where there is no token; (areas, bands)."""
        return np.asarray(self.totals / np.where(self.tokens > 0, self.tokens, np.nan)[:, None])


def area_sums(fields: Sequence[MapField], areas: Sequence[Area], *, client: Client | None = None) -> AreaSums:
    """Add up fields of one model and one span, over all zones, block by block; blocks that no area touches stay unread.

    Of a map of classes the bands are its classes: a token counts one for its own.
    """
    n_classes = len(fields[0].classes)
    sums = AreaSums(np.zeros(len(areas)), np.zeros((len(areas), n_classes or fields[0].dim)))
    task = partial(_summed, n_classes=n_classes)
    for portion, (tokens, totals) in computed(task, _touched(fields, areas), client):
        rows = portion.given["rows"]
        sums.tokens[rows] += tokens
        sums.totals[rows] += totals
    return sums


def zone_table(
    fields: Sequence[MapField], table: gpd.GeoDataFrame, areas: Sequence[Area], *, stat: str, client: Client | None
) -> gpd.GeoDataFrame:
    """Return the table of the areas with what lies in each, a row for each area and span of the fields."""
    import geopandas as gpd
    import pandas as pd

    for name in _added(fields):
        if name in (*table.columns, *table.index.names):
            fix = f"rename or drop it: frame.drop(columns={name!r}), of an index frame.reset_index(drop=True)"
            raise SpecError("polygons", value=name, reason="they have this column, which is added, already", fix=fix)
    spans = dict.fromkeys((one.start, one.end) for one in fields)
    parts = []
    for start, end in spans:
        columns: dict[str, NDArray[np.float64]] = {}
        for label in dict.fromkeys(one.label for one in fields):
            chosen = [one for one in fields if (one.label, one.start, one.end) == (label, start, end)]
            if chosen:
                sums = area_sums(chosen, areas, client=client)
                columns[_count(label)] = sums.tokens
                values = sums.means if stat == MEAN else sums.totals
                columns |= dict(zip(_names(chosen[0]), values.T, strict=True))
        numbers = pd.DataFrame(columns, index=table.index).assign(**{SPAN: f"{start}/{end}"})
        parts.append(pd.concat([table, numbers], axis=1).set_index(SPAN, append=True))  # an index may repeat itself
    return gpd.GeoDataFrame(pd.concat(parts), geometry=table.geometry.name, crs=table.crs)


def _count(label: str) -> str:
    return f"{label}_tokens"


def _added(fields: Sequence[MapField]) -> list[str]:
    """Name the columns that the table of the areas gets."""
    return [SPAN, *(name for field in fields for name in (_count(field.label), *_names(field)))]


def _names(field: MapField) -> list[str]:
    """Name the columns of a field: by its classes or bands, or by number."""
    if named := field.classes or tuple(field.derived.get("bands", ())):
        return [f"{field.label}_{name}" for name in named]
    return [f"{field.label}_{number:04d}" for number in range(1, field.dim + 1)]


def _touched(fields: Sequence[MapField], areas: Sequence[Area]) -> Iterator[Portion]:
    """Go through the blocks of fields that an area touches, each with its areas in the plane of the field."""
    for number, field in enumerate(fields):
        whole = slice(0, field.shape[0]), slice(0, field.shape[1])
        near = [(row, area.near(field.crs, _bounds(field, whole))) for row, area in enumerate(areas)]
        rows = np.array([row for row, shape in near if shape is not None], np.int64)
        shapes = np.array([shape for _, shape in near if shape is not None], dtype=object)
        tree = shapely.STRtree(shapes)
        for window in field.windows():
            bounds = _bounds(field, window)
            found = np.sort(tree.query(shapely.box(*bounds), predicate="intersects"))
            if len(found):
                given = {"rows": rows[found], "shapes": shapes[found], "bounds": bounds}
                yield Portion((field.vectors[:, window[0], window[1]].data,), number, window, given)


def _bounds(field: MapField, window: Window) -> tuple[float, float, float, float]:
    width, _, left, _, height, top = field.transform
    rows, cols = window
    return left + width * cols.start, top + height * rows.stop, left + width * cols.stop, top + height * rows.start


def _summed(
    vectors: NDArray[Any], *, shapes: NDArray[Any], bounds: tuple[float, float, float, float], n_classes: int, **_: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what one block adds: tokens (areas,) and totals (areas, bands)."""
    values = np.asarray(vectors, np.float64).reshape(len(vectors), -1)  # (bands, tokens)
    there = np.asarray(np.isfinite(values).all(axis=0))
    if n_classes:
        values = (values[0] == np.arange(n_classes)[:, None]).astype(np.float64)
    tokens, totals = np.zeros(len(shapes)), np.zeros((len(shapes), len(values)))
    for row, (cells, covered) in enumerate(covered_cells(list(shapes), bounds, vectors.shape[1:])):
        kept = there[cells]
        tokens[row] = covered[kept].sum()
        totals[row] = values[:, cells[kept]] @ covered[kept]
    return tokens, totals
