"""The groups and arrays of a store: creating them, filling in the items, and growing them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr
from zarr.storage import StorePath

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.checksum import model_seed, row_checksums
from rs_embed_dask.store.columns import by_group
from rs_embed_dask.store.conventions import items_attrs, model_attrs
from rs_embed_dask.store.document import ITEMS, ROOT_KEY, Document, explained
from rs_embed_dask.store.items import ItemColumns, blocks, encoded_items
from rs_embed_dask.store.layout import CHECKSUM, COORDS, ITEM_FIELDS, POSITIONS, STATUS
from rs_embed_dask.store.nodes import array_document, check_vacant, make_array, make_group, put_array
from rs_embed_dask.store.receipt import plain
from rs_embed_dask.store.shards import encoded_shard
from rs_embed_dask.store.writer import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.layout import Field, Item, ModelLayout

__all__ = ["add_models", "append_items", "claim", "fill", "item_checksums", "put_table", "rewrite", "vacancy"]

_ITEM_ROWS: Final = 4096


def vacancy(location: Location, chunk_items: int) -> list[str]:
    """Make sure that a place is empty, or that creating a store was interrupted there; list what is there."""
    if chunk_items < 1:
        reason = "a chunk holds at least one item"
        raise StoreError("chunk_items", value=chunk_items, reason=reason, fix="use 64 to 4096")
    names = location.names()
    document = Document.find(location) if ROOT_KEY in names else None
    check_vacant(location, names, None if document is None else document.is_ready)
    return names


def claim(location: Location, chunk_items: int) -> Document:
    """Take an empty place, or one where a store was begun and never finished."""
    names = vacancy(location, chunk_items)
    item_rows = chunk_items * max(1, _ITEM_ROWS // chunk_items)
    begun = Document(chunk_items=chunk_items, item_rows=item_rows).save(location)
    for name in names:
        if name != ROOT_KEY:
            location.remove(name)
    return begun


def fill(
    location: Location,
    begun: Document,
    items: Iterable[Item],
    *,
    models: Sequence[ModelLayout],
    request: dict[str, Any],
    receipt: dict[str, Any],
) -> Document:
    """Make the arrays, stream the items in and mark the store as ready."""
    if not models:
        raise StoreError("models", value=len(models), reason="a store holds at least one model", fix="name a model")
    _check_models(models, begun.chunk_items)
    begun = replace(begun, request=plain(request), receipt=plain(receipt), layouts=tuple(models))
    make_group(location, ITEMS, items_attrs())
    for field in (*ITEM_FIELDS, CHECKSUM):
        make_array(location, f"{ITEMS}/{field.name}", field, **_sharded(begun))
    for layout in models:
        _make_model(location, begun, layout)
    n_items = _write_items(location, begun, items)
    if n_items == 0:
        raise StoreError("items", value=0, reason="a store holds at least one item", fix="give at least one place")
    digest = items.digest if isinstance(items, ItemColumns) else ""
    return _grown(location, replace(begun, is_ready=True, items_digest=digest), n_items).save(location)


def append_items(
    location: Location,
    document: Document,
    items: Iterable[Item],
    *,
    request: dict[str, Any] | None = None,
    digest: str = "",
) -> Document:
    """Add rows at the end: they are pending for every model."""
    n_items = _write_items(location, document, items)
    if n_items == document.n_items:
        return document
    grown = replace(document, request=document.request if request is None else plain(request), items_digest=digest)
    return _grown(location, grown, n_items).save(location)


def add_models(
    location: Location, document: Document, models: Sequence[ModelLayout], *, request: dict[str, Any] | None = None
) -> Document:
    """Add models: every item is pending for them."""
    _check_models((*document.layouts, *models), document.chunk_items)
    for layout in models:
        location.remove(layout.label)
    for layout in models:
        _make_model(location, document, layout)
        _copy_coords(location, document, layout.label)
    grown = replace(document, layouts=(*document.layouts, *models))
    if request is not None:
        grown = replace(grown, request=plain(request))
    return _grown(location, grown, document.n_items).save(location)


def _present(document: Document, group: str, fields: Sequence[Field]) -> list[Field]:
    """Leave out what a group that was made by an earlier version does not have."""
    return [one for one in fields if group not in document.metadata or f"{group}/{one.name}" in document.metadata]


def _check_models(models: Sequence[ModelLayout], chunk_items: int) -> None:
    labels = [one.label for one in models]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise StoreError("models", value=twice, reason="two models have one label", fix="give one of them name=")
    for layout in models:
        layout.check_chunk(chunk_items)


def _make_model(location: Location, document: Document, layout: ModelLayout) -> None:
    make_group(location, layout.label, model_attrs(layout))
    for field in COORDS:
        make_array(location, f"{layout.label}/{field.name}", field, **_sharded(document))
    seeded = replace(CHECKSUM, attrs=dict(CHECKSUM.attrs) | {"seed": model_seed(layout, document.request)})
    for field in (*layout.data_fields, seeded, STATUS):
        path, shape = f"{layout.label}/{field.name}", layout.shape(field, document.n_items)
        make_array(location, path, field, shape=shape, chunks=(document.chunk_items, *shape[1:]))
    if layout.table is not None:
        put_table(location, layout.label, layout.table)


def put_table(location: Location, label: str, table: PositionTable) -> dict[str, Any]:
    """Write a model's table of positions, with what is known of it as an attribute, and return its metadata."""
    field = replace(POSITIONS, attrs=dict(POSITIONS.attrs) | {"table": plain(table.to_dict())})
    return put_array(location, f"{label}/{POSITIONS.name}", field, values=table.mean)


def _sharded(document: Document) -> dict[str, Any]:
    """Return the storage of the items' arrays: the chunks of the data, as xarray needs them, in few files."""
    chunks = {"chunks": (document.chunk_items,), "shards": (document.item_rows,), "compressors": None}
    return {"shape": (document.n_items,), **chunks}


def _write_items(location: Location, document: Document, items: Iterable[Item]) -> int:
    """Write items after the last row, a shard at a time, and return the number of rows then."""
    rows, size = document.n_items, document.item_rows
    labels = [layout.label for layout in document.layouts]
    begun = _last_shard(location, document)
    # One shard is written while the next is encoded: flushing to a disk is waiting.
    with ThreadPoolExecutor(1, thread_name_prefix="items") as background:
        writing = background.submit(location.write_all, {})
        for block in blocks(items, chain([size - rows % size], repeat(size))):
            columns = encoded_items(block, rows)
            columns[CHECKSUM.name] = item_checksums(columns)
            contents: dict[str, bytes] = {}
            for field in _present(document, ITEMS, (*ITEM_FIELDS, CHECKSUM)):
                values = np.concatenate([*begun.get(field.name, ()), columns[field.name]])
                shard = encoded_shard(field, values, chunk_rows=document.chunk_items, shard_rows=size)
                # Each group carries the coordinates, so that it can be read alone.
                groups = [ITEMS, *labels] if field in COORDS else [ITEMS]
                contents |= {f"{group}/{field.name}/c/{rows // size}": shard for group in groups}
            writing.result()
            writing = background.submit(location.write_all, contents)
            rows += len(block)
            begun = {}
        writing.result()
    return rows


def _last_shard(location: Location, document: Document) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Read the rows of the last shard, if there is room for more in it."""
    first, stop = document.n_items - document.n_items % document.item_rows, document.n_items
    if first == stop:
        return {}
    columns = {}
    for field in _present(document, ITEMS, (*ITEM_FIELDS, CHECKSUM)):
        path = f"{ITEMS}/{field.name}"
        with explained("store array", f"{location.name}/{path}", "restore it, or make the store anew"):
            array = zarr.Array.from_dict(StorePath(location.storage, path), document.metadata[path])
        columns[field.name] = [read_rows(array, (first, stop), location.name)]
    return columns


def rewrite(location: Location, *, document: Document, path: str, shard: int, values: np.ndarray[Any, Any]) -> None:
    """Write one file of an array of the items, or of a copy beside a model, anew, whatever is there."""
    field = next(one for one in (*ITEM_FIELDS, CHECKSUM) if one.name == path.rpartition("/")[2])
    sizes = {"chunk_rows": document.chunk_items, "shard_rows": document.item_rows}
    location.remove(f"{path}/c/{shard}")  # a folder may be in its place
    location.write(f"{path}/c/{shard}", encoded_shard(field, values, **sizes))


def item_checksums(columns: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Checksum rows of ``/items``, given its columns."""
    return row_checksums([columns[field.name] for field in ITEM_FIELDS], keys=columns["key"])


def _copy_coords(location: Location, document: Document, label: str) -> None:
    """Copy the coordinates, file by file, so that each group can be read alone."""
    for field in COORDS:
        keys = [f"{field.name}/c/{shard}" for shard in range(-(-document.n_items // document.item_rows))]
        contents = location.read_all([f"{ITEMS}/{key}" for key in keys])
        if None in contents:
            key = f"{location.name}/{ITEMS}/{keys[contents.index(None)]}"
            fix = "restore it, or make the store anew"
            raise StoreError("store key", value=key, reason="it is missing", fix=fix)
        pairs = zip(keys, contents, strict=True)
        location.write_all({f"{label}/{key}": content for key, content in pairs if content is not None})


def _grown(location: Location, document: Document, n_items: int) -> Document:
    """Set the number of rows of every array, and collect all metadata for the root document."""
    groups = {ITEMS: (*ITEM_FIELDS, CHECKSUM)} | {one.label: (*COORDS, *one.fields) for one in document.layouts}
    metadata: dict[str, dict[str, Any]] = {}
    changed: dict[str, bytes] = {}
    for group, fields in groups.items():
        metadata[group] = document.metadata.get(group) or array_document(location, group)
        for path in (f"{group}/{field.name}" for field in _present(document, group, fields)):
            content = document.metadata.get(path) or array_document(location, path)
            if content["shape"][0] != n_items:
                content = content | {"shape": [n_items, *content["shape"][1:]]}
                changed[f"{path}/{ROOT_KEY}"] = json.dumps(content, indent=2).encode()
            metadata[path] = content
    tables = {f"{one.label}/{POSITIONS.name}": one.table for one in document.layouts}
    metadata |= {path: array_document(location, path) for path, table in tables.items() if table is not None}
    metadata |= {path: content for path, content in document.metadata.items() if path in tables}
    for path in document.metadata.keys() - metadata.keys():  # columns that came with the places
        content = document.metadata[path] | {"shape": [n_items]}
        changed[f"{path}/{ROOT_KEY}"] = json.dumps(content, indent=2).encode()
        metadata[path] = content
    location.write_all(changed)
    return replace(document, n_items=n_items, metadata=by_group(metadata))
