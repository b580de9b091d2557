"""A run as one GeoParquet 1.1 file: bbox covering, Hilbert order, labels, one list of numbers per model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.accessor import RunAccessor
from rs_embed_dask.store.export.whole import whole_file
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import label_columns, outlines, place_index, status_names, vector_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import geopandas as gpd
    import xarray as xr

    from rs_embed_dask.store.document import Target

__all__ = ["to_geoparquet"]

_GROUP_BYTES: Final = 128 * 2**20
_READ_BYTES: Final = 32 * 2**20
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


def to_geoparquet(run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None) -> Path:
    """Write the vectors of a run as a GeoParquet 1.1 file, for stores of any size.

    One row per item in Hilbert order, so that a reader that wants a region reads few row groups. ``row`` is the item's
    place in the run. Places, labels and statuses are held in memory; vectors pass through a scratch file beside the
    result.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    path : path
        The file to write.
    model : str or list of str, optional
        The models to write; default all.

    Returns
    -------
    Path
        The file. Columns: ``row``, ``id``, ``span``, those that came with the places, for each model ``MODEL`` (a
        list of float32, null without a vector) and ``MODEL_status``, ``geometry`` (WKB, longitude and latitude) and
        ``bbox``. The footer's ``emb`` holds what is known of each model, ``rs_embed_dask`` the request and receipt.

    Raises
    ------
    StoreError
        If the run cannot be read, the file cannot be written, a model holds grids, or two columns have one name.
    UnknownNameError
        If there is no such model.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_geoparquet("run.zarr", "run.parquet")  # doctest: +SKIP
    >>> import geopandas
    >>> geopandas.read_parquet("run.parquet", bbox=(4.0, 50.0, 5.0, 51.0))  # doctest: +SKIP
    """
    tree = tree_of(run)
    labels = vector_labels(tree, model)
    shapes = outlines(tree)
    order = np.argsort(shapes.hilbert_distance(), kind="stable")  # (n,)
    facts = _facts(tree, labels, shapes, order)
    facts = facts.replace_schema_metadata(_footer(tree, labels, shapes))
    with whole_file(path) as partial, tempfile.TemporaryDirectory(dir=partial.parent, prefix=".vectors-") as folder:
        vectors = {
            label: _scattered(tree[label].to_dataset()["embedding"], order, Path(folder) / label) for label in labels
        }
        _write(partial, facts, vectors)
    return Path(path).expanduser()


def _facts(tree: xr.DataTree, labels: Sequence[str], shapes: gpd.GeoSeries, order: np.ndarray[Any, Any]) -> pa.Table:
    """Build every column but the vectors, in the file's order."""
    index = place_index(tree)
    bounds = shapes.bounds.to_numpy()[order]  # (n, 4)
    columns: dict[str, Any] = {"row": order.astype("int64")}
    columns |= {name: index.get_level_values(name).to_numpy()[order] for name in ("id", "span")}
    pairs = [*((name, one[order]) for name, one in label_columns(tree).items())]
    pairs += [(f"{label}_status", status_names(tree, label)[order]) for label in labels]
    pairs += [("geometry", shapes.to_wkb().to_numpy()[order])]
    for name, one in pairs:
        if name in columns or name in {*labels, "bbox"}:
            reason, fix = "two columns have this name", "rename the column of the places"
            raise StoreError("column", value=name, reason=reason, fix=fix)
        columns[name] = one
    arrays = {name: pa.array(one, from_pandas=True) for name, one in columns.items()}
    corners = [pa.array(np.ascontiguousarray(bounds[:, number])) for number in range(4)]
    return pa.table(arrays | {"bbox": pa.StructArray.from_arrays(corners, names=_CORNERS)})


def _footer(tree: xr.DataTree, labels: Sequence[str], shapes: gpd.GeoSeries) -> dict[str, str]:
    run = RunAccessor(tree)
    known = {"encoding": "WKB", "geometry_types": sorted(set(shapes.geom_type)), "crs": shapes.crs.to_json_dict()}
    covering = {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}}
    known |= {"bbox": [float(one) for one in shapes.total_bounds], "covering": covering}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": known}}
    ours = {"request": run.request, "receipt": run.receipt}
    models = {label: run.facts(label) for label in labels}
    return {name: json.dumps(value) for name, value in {"geo": geo, "emb": models, "rs_embed_dask": ours}.items()}


def _scattered(field: xr.DataArray, order: np.ndarray[Any, Any], scratch: Path) -> np.ndarray[Any, Any]:
    """Read the vectors once, in the order of the store, and lay them out in the order of the file."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    laid = np.memmap(scratch, dtype="float32", mode="w+", shape=field.shape)
    for first, stop in _spans(field):
        laid[places[first:stop]] = field.isel(item=slice(first, stop)).to_numpy()
    return laid


def _spans(field: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Cut the rows at chunk borders into parts of a bounded size, and at least one chunk."""
    count, dim = field.shape
    chunk = field.chunks[0][0] if field.chunks else 1
    step = chunk * max(1, _READ_BYTES // (4 * dim * chunk))
    for first in range(0, count, step):
        yield first, min(first + step, count)


def _write(path: Path, facts: pa.Table, vectors: dict[str, np.ndarray[Any, Any]]) -> None:
    lists = {label: pa.list_(pa.float32(), one.shape[1]) for label, one in vectors.items()}
    at = facts.schema.get_field_index("geometry")
    schema = facts.schema
    for label, kind in reversed(lists.items()):
        schema = schema.insert(at, pa.field(label, kind))
    row_bytes = 256 + sum(4 * one.shape[1] for one in vectors.values())
    rows = max(1, _GROUP_BYTES // row_bytes)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, facts.num_rows, rows):
            part = facts.slice(first, rows)
            for label, one in vectors.items():
                part = part.append_column(label, _list_column(one[first : first + rows], lists[label]))
            writer.write_table(part.select(schema.names).cast(schema), row_group_size=rows)


def _list_column(vectors: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """Make a column of lists, null where a vector has no number at all."""
    absent = np.isnan(vectors).all(axis=1)
    values = pa.array(np.ascontiguousarray(vectors).ravel())
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(absent))
