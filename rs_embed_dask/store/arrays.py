"""The groups and arrays of a store: creating them, filling in the items, and growing them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import zarr
from zarr.codecs import ZstdCodec

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.conventions import items_attrs, model_attrs
from rs_embed_dask.store.document import ITEMS, ROOT_KEY, Document, explained, group_document
from rs_embed_dask.store.items import blocks, encoded_items
from rs_embed_dask.store.layout import COORDS, ITEM_FIELDS
from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.layout import Field, Item, ModelLayout

__all__ = ["add_models", "append_items", "claim", "fill"]

_ITEM_ROWS: Final = 4096


def claim(location: Location, chunk_items: int) -> Document:
    """Take an empty place, or one where creating a store was interrupted."""
    if chunk_items < 1:
        reason = "a chunk holds at least one item"
        raise StoreError("chunk_items", value=chunk_items, reason=reason, fix="use 64 to 4096")
    names = location.names()
    document = Document.find(location) if ROOT_KEY in names else None
    if document is not None and document.is_ready:
        fix = "open it to go on, or choose another path"
        raise StoreError("store", value=location.name, reason="there is a finished store already", fix=fix)
    if document is None and names:
        reason = f"the folder is not empty and holds no store (it has {', '.join(names[:3])})"
        raise StoreError("store", value=location.name, reason=reason, fix="choose a new or an empty folder")
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
    """Stream the items in, make the models' arrays and mark the store as ready."""
    if not models:
        raise StoreError("models", value=len(models), reason="a store holds at least one model", fix="name a model")
    _check_models(models, begun.chunk_items)
    _make_group(location, ITEMS, items_attrs())
    for field in ITEM_FIELDS:
        _make_array(location, f"{ITEMS}/{field.name}", field, **_sharded(begun))
    n_items = _write_items(location, begun, items)
    if n_items == 0:
        raise StoreError("items", value=0, reason="a store holds at least one item", fix="give at least one place")
    document = replace(begun, n_items=n_items, request=plain(request), receipt=plain(receipt), is_ready=True)
    document = _with_models(location, document, models)
    return replace(document, metadata=_metadata(location, document)).save(location)


def append_items(
    location: Location, document: Document, items: Iterable[Item], *, request: dict[str, Any] | None = None
) -> Document:
    """Add rows at the end: they are pending for every model."""
    n_items = _write_items(location, document, items)
    if n_items == document.n_items:
        return document
    grown = replace(document, n_items=n_items, request=document.request if request is None else plain(request))
    for layout in document.layouts:
        for field in _present(document, layout.label, (*COORDS, *layout.fields)):
            _grow(location, f"{layout.label}/{field.name}", n_items)
        _copy_coords(location, grown, layout.label, first=document.n_items)
    return replace(grown, metadata=_metadata(location, grown)).save(location)


def add_models(
    location: Location, document: Document, models: Sequence[ModelLayout], *, request: dict[str, Any] | None = None
) -> Document:
    """Add models: every item is pending for them."""
    _check_models((*document.layouts, *models), document.chunk_items)
    for layout in models:
        location.remove(layout.label)
    grown = _with_models(location, document, models)
    if request is not None:
        grown = replace(grown, request=plain(request))
    return replace(grown, metadata=_metadata(location, grown)).save(location)


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


def _with_models(location: Location, document: Document, models: Sequence[ModelLayout]) -> Document:
    for layout in models:
        _make_group(location, layout.label, model_attrs(layout))
        for field in COORDS:
            _make_array(location, f"{layout.label}/{field.name}", field, **_sharded(document))
        for field in layout.fields:
            path, shape = f"{layout.label}/{field.name}", layout.shape(field, document.n_items)
            _make_array(location, path, field, shape=shape, chunks=(document.chunk_items, *shape[1:]))
        _copy_coords(location, document, layout.label, first=0)
    return replace(document, layouts=(*document.layouts, *models))


def _make_group(location: Location, path: str, attributes: dict[str, Any]) -> None:
    location.write(f"{path}/{ROOT_KEY}", json.dumps(group_document(attributes), indent=1).encode())


def _sharded(document: Document) -> dict[str, Any]:
    """Return the storage of the items' arrays: the chunks of the data, as xarray needs them, in few files."""
    chunks = {"chunks": (document.chunk_items,), "shards": (document.item_rows,), "compressors": None}
    return {"shape": (document.n_items,), **chunks}


def _make_array(location: Location, path: str, field: Field, **storing: Any) -> None:
    dtype: Any = str if field.kind == "text" else "int32" if field.kind == "day" else field.dtype
    with explained("store array", f"{location.name}/{path}", "check the disk's space and that the path can be written"):
        zarr.create_array(
            location.storage,
            name=path,
            dtype=dtype,
            fill_value=field.fill_value,
            attributes=field.all_attrs,
            dimension_names=field.dims,
            overwrite=True,
            **({"compressors": [ZstdCodec(level=1, checksum=True)]} | storing),
        )


def _array_document(location: Location, path: str) -> dict[str, Any]:
    content = location.read(f"{path}/{ROOT_KEY}")
    if content is None:
        fix = "restore it, or make the store anew"
        raise StoreError("store array", value=f"{location.name}/{path}", reason="it is missing", fix=fix)
    document: dict[str, Any] = json.loads(content)
    return document


def _grow(location: Location, path: str, rows: int) -> None:
    content = _array_document(location, path)
    content["shape"][0] = rows
    location.write(f"{path}/{ROOT_KEY}", json.dumps(content, indent=2).encode())


def _open_array(location: Location, path: str) -> zarr.Array[Any]:
    with explained("store array", f"{location.name}/{path}", "restore it, or make the store anew"):
        return zarr.open_array(location.storage, path=path, mode="r+")


def _write_items(location: Location, document: Document, items: Iterable[Item]) -> int:
    """Write items after the last row, a block at a time, and return the number of rows then."""
    rows = document.n_items
    first_block = document.item_rows - rows % document.item_rows
    stream = iter(items)
    size = first_block
    while block := next(blocks(stream, size), None):
        columns = encoded_items(block, rows)
        for field in ITEM_FIELDS:
            path = f"{ITEMS}/{field.name}"
            _grow(location, path, rows + len(block))
            with explained("store array", f"{location.name}/{path}", "check the disk's space"):
                _open_array(location, path)[rows : rows + len(block)] = columns[field.name]
        rows += len(block)
        size = document.item_rows
    return rows


def _copy_coords(location: Location, document: Document, label: str, *, first: int) -> None:
    """Copy the coordinates of the rows from ``first`` on, file by file, so that each group can be read alone."""
    for field in COORDS:
        for shard in range(first // document.item_rows, -(-document.n_items // document.item_rows)):
            key = f"{field.name}/c/{shard}"
            content = location.read(f"{ITEMS}/{key}")
            if content is None:
                reason = "it is missing"
                fix = "restore it, or make the store anew"
                raise StoreError("store key", value=f"{location.name}/{ITEMS}/{key}", reason=reason, fix=fix)
            location.write(f"{label}/{key}", content)


def _metadata(location: Location, document: Document) -> dict[str, dict[str, Any]]:
    """Collect the metadata of every group and array for the root document."""
    groups = {ITEMS: ITEM_FIELDS} | {one.label: (*COORDS, *one.fields) for one in document.layouts}
    metadata: dict[str, dict[str, Any]] = {}
    for group, fields in groups.items():
        metadata[group] = _array_document(location, group)
        for field in _present(document, group, fields):
            metadata[f"{group}/{field.name}"] = _array_document(location, f"{group}/{field.name}")
    return metadata
