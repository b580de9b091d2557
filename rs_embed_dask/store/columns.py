"""The columns that came with the places, such as labels, kept beside the items as plain arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import zarr
from zarr.storage import StorePath

from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import CHECKSUM, ITEM_FIELDS, Field
from rs_embed_dask.store.nodes import array_document, make_array
from rs_embed_dask.store.shards import encoded_shard
from rs_embed_dask.store.writer import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.store.document import Document, Location

    Values = np.ndarray[Any, Any]

__all__ = ["SPAN", "by_group", "differing_columns", "put_columns", "stored_name"]

SPAN: Final = "span"
"""The column that holds the label of each item's span, where spans have labels."""

_OWN: Final = frozenset(field.name for field in (*ITEM_FIELDS, CHECKSUM))
_ZONELESS: Final = "datetime64[ms]"
_NO_TIME: Final = int(np.datetime64("NaT").astype("int64"))
_TIMES: Final = {
    "units": "milliseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": _NO_TIME,
}


def stored_name(name: str) -> str:
    """Name a column's array: with an underscore after it where the items have an array of that name."""
    return f"{name}_" if name in _OWN or not name or "/" in name or name.startswith(".") else name


def put_columns(location: Location, document: Document, columns: Mapping[str, Values], *, rows: Values) -> Document:
    """Write columns for some rows; other rows keep what they have, or have a missing value."""
    metadata = dict(document.metadata)
    for name, values in columns.items():
        path = f"{ITEMS}/{stored_name(name)}"
        before = _stored(location, document, path) if path in metadata else None
        field, encoded = _field(name, _merged(before, _plain(values), rows, document.n_items))
        size, chunk = document.item_rows, document.chunk_items
        if path not in metadata or not _is_alike(metadata[path], field):
            shards = {"shape": (document.n_items,), "chunks": (chunk,), "shards": (size,), "compressors": None}
            make_array(location, path, field, **shards)
            metadata[path] = array_document(location, path)
        starts = range(0, document.n_items, size)
        parts = (encoded_shard(field, encoded[row : row + size], chunk_rows=chunk, shard_rows=size) for row in starts)
        location.write_all({f"{path}/c/{number}": part for number, part in enumerate(parts)})
    return replace(document, metadata=by_group(metadata)).save(location)


def by_group(metadata: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put the arrays of each group together, as Zarr reads consolidated metadata."""
    groups = list(dict.fromkeys(path.partition("/")[0] for path in metadata))
    return dict(sorted(metadata.items(), key=lambda pair: groups.index(pair[0].partition("/")[0])))


def differing_columns(
    location: Location, document: Document, columns: Mapping[str, Values], *, rows: Values
) -> dict[str, Values]:
    """Return the columns that a store lacks, or has with other values in these rows."""
    differing = {}
    for name, values in columns.items():
        path = f"{ITEMS}/{stored_name(name)}"
        stored = _stored(location, document, path)[rows] if path in document.metadata else None
        if stored is None or not _are_equal(stored, _plain(values)):
            differing[name] = values
    return differing


def _are_equal(first: Values, second: Values) -> bool:
    if "O" in {first.dtype.kind, second.dtype.kind} or first.dtype.kind != second.dtype.kind:
        return bool((pd.Series(first.astype(object)).fillna("") == pd.Series(second.astype(object)).fillna("")).all())
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind in "fM"))


def _plain(values: Values) -> Values:
    """Convert a table's column to numbers, times or texts."""
    series: Any = pd.Series(values)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return np.asarray(series.to_numpy(), dtype=_ZONELESS)
    if pd.api.types.is_bool_dtype(series.dtype) and not series.hasnans:
        return np.asarray(series.to_numpy(dtype="bool"))
    if pd.api.types.is_integer_dtype(series.dtype) and not series.hasnans:
        return np.asarray(series.to_numpy(dtype="int64"))
    if pd.api.types.is_numeric_dtype(series.dtype):
        return np.asarray(series.to_numpy(dtype="float64", na_value=np.nan))
    texts = ["" if value is None or value is pd.NA or value != value else str(value) for value in series]  # noqa: PLR0124
    return np.asarray(texts, dtype=object)


def _merged(before: Values | None, values: Values, rows: Values, count: int) -> Values:
    """Put values into the rows of a column; what has no value is missing."""
    if before is None and len(rows) == count and np.array_equal(rows, np.arange(count)):
        return values
    if before is not None and before.dtype.kind != values.dtype.kind:
        whole = before.astype("float64" if {before.dtype.kind, values.dtype.kind} <= set("biuf") else object)
    elif before is not None:
        whole = before.copy()
    elif values.dtype.kind in "biuf":
        whole = np.full(count, np.nan)
    else:
        whole = np.full(count, np.datetime64("NaT") if values.dtype.kind == "M" else "", dtype=values.dtype)
    whole[rows] = values
    return _plain(whole) if whole.dtype.kind == "O" else whole


def _field(name: str, values: Values) -> tuple[Field, Values]:
    """Describe a column's array, and write its values as that holds them."""
    column, attrs = stored_name(name), {"long_name": name}
    kind = values.dtype.kind
    if kind == "M":
        return Field(column, dtype="int64", fill=_NO_TIME, attrs=attrs | _TIMES), values.astype("int64")
    if kind == "O":
        return Field(column, kind="text", attrs=attrs), values
    if kind == "b":
        return Field(column, dtype="bool", fill=False, attrs=attrs), values
    if kind == "i":
        return Field(column, dtype="int64", fill=0, attrs=attrs), values
    return Field(column, dtype="float64", attrs=attrs), values.astype("float64")


def _is_alike(content: Mapping[str, Any], field: Field) -> bool:
    dtype = "string" if field.kind == "text" else field.dtype
    return content.get("data_type") == dtype and ("units" in content["attributes"]) == ("units" in field.all_attrs)


def _stored(location: Location, document: Document, path: str) -> Values:
    """Read a column as numbers, times or texts."""
    content = document.metadata[path]
    array = zarr.Array.from_dict(StorePath(location.storage, path), content)
    values = read_rows(array, (0, document.n_items), location.name)
    if "units" in content["attributes"]:
        return values.astype(_ZONELESS)
    return np.asarray([str(value) for value in values], dtype=object) if content["data_type"] == "string" else values
