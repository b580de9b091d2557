"""Vectors with labels, to learn from: items of a run, or places on a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rs_embed_dask.analysis.areas import areas_of
from rs_embed_dask.analysis.examples import token_at
from rs_embed_dask.analysis.tasks import known_labels
from rs_embed_dask.analysis.zones import area_sums
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs.base import choice, several
from rs_embed_dask.specs.ground import WGS84
from rs_embed_dask.store.tables import label_columns, place_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from rs_embed_dask.store.export.fields import MapField

__all__ = ["TrainingSet"]

_FEWEST = 2
_FIX = "give the name of a column of the run's places, a Series by id, or one label per item"


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Vectors (n, dim) and their labels (n,): numbers, or texts of classes; what has none of either is left out."""

    target: str
    vectors: NDArray[np.float64]
    labels: NDArray[Any]

    @property
    def are_classes(self) -> bool:
        """Whether the labels are names and not numbers."""
        return self.labels.dtype.kind == "O"

    @classmethod
    def of(cls, target: str, vectors: NDArray[Any], labels: Any) -> TrainingSet:
        """Take the vectors that are there and have a label. Raises SpecError where two do not, or all agree."""
        import pandas as pd

        column = pd.Series(np.asarray(labels, dtype=object) if getattr(labels, "dtype", None) == "T" else labels)
        kept = np.isfinite(vectors).all(axis=1) & (column.notna() & (column.astype(str) != "")).to_numpy()
        values = known_labels(target, column[kept])
        if len(set(values.tolist())) < _FEWEST:
            reason = f"{int(kept.sum())} of {len(vectors)} have a vector and a label, and not two different labels"
            raise SpecError("labels", value=target, reason=reason, fix="give labels of more places")
        return cls(target, np.asarray(vectors[kept], np.float64), values)

    @classmethod
    def of_run(cls, tree: xr.DataTree, table: xr.DataArray, labels: Any) -> TrainingSet:
        """Take the items of a run, labelled by a column of theirs, by id, or in their order."""
        import pandas as pd

        index, vectors = place_index(tree), table.to_numpy()
        if isinstance(labels, str):
            columns = label_columns(tree)
            if labels not in columns:
                raise UnknownNameError.among("labels", labels, columns)
            return cls.of(labels, vectors, columns[labels])
        if isinstance(labels, Mapping):
            labels = pd.Series(labels)
        if isinstance(labels, pd.Series):
            by = index if labels.index.nlevels == index.nlevels else index.get_level_values("id")
            return cls.of("label" if labels.name is None else str(labels.name), vectors, labels.reindex(by).to_numpy())
        listed = several("labels", labels, fix=_FIX)
        if len(listed) != len(index):
            reason = f"{len(listed)} labels for {len(index)} items"
            raise SpecError("labels", value=len(listed), reason=reason, fix=_FIX)
        return cls.of("label", vectors, listed)

    @classmethod
    def of_map(cls, fields: Sequence[MapField], frame: Any, column: str | None) -> TrainingSet:
        """Take places on a map: the token of a point, the mean vector of a polygon."""
        if not (hasattr(frame, "geometry") and hasattr(frame, "columns")):
            fix = "give a GeoDataFrame of points or polygons with a column of labels"
            raise SpecError("labels", value=type(frame).__name__, reason="places on a map are needed", fix=fix)
        others = {str(name): name for name in frame.columns if name != frame.geometry.name}
        if column is None and len(others) != 1:
            raise UnknownNameError.among("column", column, others)
        chosen = next(iter(others)) if column is None else choice("column", column, others)
        return cls.of(chosen, _vectors(fields, frame), frame[others[chosen]].to_numpy())


def _vectors(fields: Sequence[MapField], frame: gpd.GeoDataFrame) -> NDArray[np.float64]:
    vectors = np.full((len(frame), fields[0].dim), np.nan)
    is_point = np.array([isinstance(one, shapely.Point) for one in frame.geometry], dtype=bool)
    if (~is_point).any():
        _, areas = areas_of(frame[~is_point])
        vectors[~is_point] = area_sums(fields, areas).means
    points = frame[is_point].to_crs(WGS84).geometry
    for row, point in zip(np.flatnonzero(is_point), points, strict=True):
        found = token_at(fields, point.x, point.y)
        if len(found):
            vectors[row] = found[0]
    return vectors
