"""Places with what came with them: their ids, and the other columns of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs.places import JSON_SUFFIXES, check_places, place_column, read_frame
from rs_embed_dask.specs.tables import is_table, plain_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.specs.columns import PlaceColumn

__all__ = ["LabelledPlaces", "labelled_places"]

_IDS_FIX: Final = "give one id per place, the name of a column, or leave ids= out"


@dataclass(frozen=True, eq=False)
class LabelledPlaces:
    """Places in order, the id of each where there are ids, and further columns of one value per place."""

    column: PlaceColumn
    ids: NDArray[np.object_] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def labelled_places(
    source: object, crs: Any = None, *, buffer_m: float | None = None, ids: str | Sequence[object] | None = None
) -> LabelledPlaces:
    """Read places as `places` does, with ids (a list, or a column's name; by default a frame's index) and columns."""
    table, columns = _opened(source)
    column = place_column(table, crs, buffer_m=buffer_m)
    if isinstance(source, str | PathLike):
        check_places(column)  # names the bad rows, which a column alone does not
    names: NDArray[np.object_] | None
    if isinstance(ids, str):
        names = _column_ids(ids, columns)
        columns = {name: values for name, values in columns.items() if name != ids}
    else:
        names = _index_ids(table) if ids is None else _listed_ids(ids, len(column))
    return LabelledPlaces(column, names, columns)


def _opened(source: object) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Return what holds the places, and its other columns."""
    if isinstance(source, str | PathLike):
        path = fspath(source)
        if Path(path).suffix.lower() in JSON_SUFFIXES and Path(path).exists():
            source = _features(path) or source
        elif Path(path).exists() or "://" in path:
            source = read_frame(path)
    if is_table(source):
        return source, plain_columns(source)
    if isinstance(source, Mapping) and source.get("type") == "FeatureCollection":
        return source, _properties(source.get("features"))
    return source, {}


def _features(path: str) -> Any:
    """Read a GeoJSON file; None where it is not one, which whoever reads the places explains."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        return None
    return data if isinstance(data, Mapping) and data.get("type") == "FeatureCollection" else None


def _properties(features: object) -> dict[str, NDArray[Any]]:
    """Collect the properties of GeoJSON features, and their ids where all have one."""
    if not isinstance(features, list) or not all(isinstance(one, Mapping) for one in features):
        return {}
    rows = [one.get("properties") or {} for one in features]
    rows = [row | ({"id": one["id"]} if "id" in one else {}) for row, one in zip(rows, features, strict=True)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): _array([row.get(name) for row in rows]) for name in names}


def _array(values: list[Any]) -> NDArray[Any]:
    """Make numbers of what is all numbers; anything else stays as it is."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or kinds == {bool}:
        return np.asarray(values)
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype="float64")
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _column_ids(name: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.object_]:
    if not columns:
        reason = "the places have no columns"
        raise SpecError("ids", value=name, reason=reason, fix=_IDS_FIX)
    if name not in columns:
        raise UnknownNameError.among("ids: column", name, columns)
    return _texts(np.asarray(columns[name]))


def _listed_ids(ids: Sequence[object], count: int) -> NDArray[np.object_]:
    # As an array: what is given may be a table's column, whose rows have names of their own.
    values = np.asarray(ids, dtype=object)
    if values.shape != (count,):
        reason = f"{values.size} ids were given for {count} {'place' if count == 1 else 'places'}"
        raise SpecError("ids", value=values.size, reason=reason, fix=_IDS_FIX)
    return _texts(values)


def _index_ids(table: Any) -> NDArray[np.object_] | None:
    """Return a frame's index as ids, unless it only counts the rows."""
    if not is_table(table):
        return None
    values = table.index.to_numpy()
    counts = values.dtype.kind in "iu" and np.array_equal(values, np.arange(len(values)))
    return None if counts else _texts(values)


def _texts(values: NDArray[Any]) -> NDArray[np.object_]:
    """Write ids as texts; refuse one that is missing."""
    texts = np.empty(len(values), dtype=object)
    for row, value in enumerate(values.tolist() if values.dtype.kind in "iuf" else values):
        is_number = isinstance(value, float) and value == value and value.is_integer()  # noqa: PLR0124  not NaN
        texts[row] = str(int(value)) if is_number else str(value).strip()
        if value is None or texts[row] in {"", "nan", "None", "NaT", "<NA>"}:
            raise SpecError(f"ids[{row}]", value=value, reason="the id is missing", fix="give every place an id")
    return texts
