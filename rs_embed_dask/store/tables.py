"""A run as a table of places: one row per item with its labels, vectors and status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from rs_embed_dask.errors import StoreError
from rs_embed_dask.specs.base import choice, named
from rs_embed_dask.store.columns import SPAN
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import CHECKSUM, ITEM_FIELDS, Status
from rs_embed_dask.store.receipt import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd
    import xarray as xr

__all__ = [
    "Layout",
    "label_columns",
    "model_labels",
    "outlines",
    "output_columns",
    "place_index",
    "status_names",
    "table",
    "unfolded",
    "vector_labels",
]

Layout = Literal["wide", "long"]
_OWN: Final = frozenset(field.name for field in (*ITEM_FIELDS, CHECKSUM)) | {SPAN}
_POLYGON: Final = '"type": "Polygon"'
_STATUS_NAMES: Final = np.array([code.name.lower() for code in Status], dtype=object)


def model_labels(tree: xr.DataTree, model: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Choose models of a run by their labels; all of them by default."""
    labels = tuple(name for name in tree.children if name != ITEMS)
    if model is None:
        return labels
    return tuple(named("model", model, labels))


def unfolded(value: Any) -> Any:
    """Return a nested attribute that was written as JSON text."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return strict_json(value)
        except ValueError:
            return value
    return value


def vector_labels(tree: xr.DataTree, model: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Choose models that have one vector per item; a model with grids is refused, for it has no row in a table."""
    labels = model_labels(tree, model)
    grids = [name for name in labels if "y" in tree[name]["embedding"].dims]
    if not grids:
        return labels
    vectors = [name for name in labels if name not in grids]
    reason = "it holds a grid per item, and a table has one vector per item"
    choice = f"give model={vectors!r}, or " if vectors else ""
    fix = f"{choice}read its grids with run.rs.grid(id, model={grids[0]!r})"
    raise StoreError("model", value=", ".join(grids), reason=reason, fix=fix)


def status_names(tree: xr.DataTree, label: str) -> np.ndarray[Any, Any]:
    """Name every item's status for a model; (n,)."""
    names: np.ndarray[Any, Any] = _STATUS_NAMES[np.asarray(tree[label]["status"].to_numpy(), dtype="int64")]
    return names


def output_columns(tree: xr.DataTree, label: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return the pooling of a model's vectors, and whether each is of the polygon's shape or of a box."""
    facts = unfolded(tree[label].attrs.get("model", {}))
    output, within = facts.get("output", {}), facts.get("within")
    if "pooling" not in output or within is None:
        return {}
    places = np.asarray(tree[ITEMS]["spatial"].to_numpy(), dtype=object)
    is_polygon = np.array([_POLYGON in text for text in places], dtype=bool)
    return {
        "pooling": np.full(len(places), output["pooling"], dtype=object),
        "within": np.where(is_polygon, within, "box").astype(object),
    }


def place_index(tree: xr.DataTree) -> pd.MultiIndex:
    """Index the rows by id and span."""
    items = tree[ITEMS]
    ids = np.asarray(items["id"].to_numpy(), dtype=object)
    first, after = (np.datetime_as_string(items[name].to_numpy(), unit="D") for name in ("start", "end"))
    spans = np.array([f"{a}/{b}" for a, b in zip(first, after, strict=True)], dtype=object)
    if SPAN in items.variables:
        labels = np.asarray(items[SPAN].to_numpy(), dtype=object)
        spans = np.where(labels == "", spans, labels)
    return pd.MultiIndex.from_arrays([ids, spans], names=["id", "span"])


def label_columns(tree: xr.DataTree) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns that came with the places, such as labels."""
    columns = ((name, one) for name, one in tree[ITEMS].data_vars.items() if name not in _OWN)
    # Under their own names, which differ from the arrays' where the items have such an array.
    return {str(one.attrs.get("long_name", name)): one.to_numpy() for name, one in columns if one.dims == ("item",)}


def outlines(tree: xr.DataTree) -> gpd.GeoSeries:
    """Return the footprints in longitude and latitude."""
    import geopandas as gpd

    return gpd.GeoSeries.from_wkt(tree[ITEMS]["geometry"].to_numpy().astype(object), crs="EPSG:4326")


def table(
    tree: xr.DataTree,
    model: str | Sequence[str] | None,
    *,
    layout: Layout,
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> pd.DataFrame:
    """Build the table of a run, with further columns of one value per item."""
    makers = {"wide": _wide, "long": _long}
    return makers[choice("layout", layout, makers)](
        tree, vector_labels(tree, model), label_columns(tree) | dict(extra or {})
    )


def _wide(tree: xr.DataTree, labels: Sequence[str], columns: dict[str, np.ndarray[Any, Any]]) -> pd.DataFrame:
    index = place_index(tree)
    parts = [pd.DataFrame(columns, index=index)]
    for label in labels:
        vectors = tree[label]["embedding"].to_numpy()  # (n, dim)
        names = [f"{label}_{number:04d}" for number in range(1, vectors.shape[1] + 1)]
        parts.append(pd.DataFrame(vectors, index=index, columns=names))
        facts = {"status": status_names(tree, label)} | output_columns(tree, label)
        parts.append(pd.DataFrame({f"{label}_{name}": one for name, one in facts.items()}, index=index))
    joined = pd.concat(parts, axis=1)
    twice = joined.columns[joined.columns.duplicated()]
    if len(twice):
        reason = "a column of the places has the name of a column of vectors or statuses"
        fix = "rename that column of the places, or choose other models with model="
        raise StoreError("column", value=twice[0], reason=reason, fix=fix)
    return joined


def _long(tree: xr.DataTree, labels: Sequence[str], columns: dict[str, np.ndarray[Any, Any]]) -> pd.DataFrame:
    index = place_index(tree)
    parts = []
    for label in labels:
        vectors = tree[label]["embedding"].to_numpy()  # (n, dim)
        count, dim = vectors.shape
        rows = np.repeat(np.arange(count), dim)
        facts = {
            "model": label,
            "status": status_names(tree, label)[rows],
            **{name: one[rows] for name, one in output_columns(tree, label).items()},
            "dimension": np.tile(np.arange(1, dim + 1), count),
            "value": vectors.ravel(),
        }
        parts.append(pd.DataFrame({name: one[rows] for name, one in columns.items()} | facts, index=index[rows]))
    return pd.concat(parts)
