"""The store of a run: made by the client, written by any worker, read by anyone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.document import ITEMS, ROOT_KEY, Document, Location, explained, group_document
from rs_embed_dask.store.items import ItemMatch, blocks, decoded_items, encoded_items, matched
from rs_embed_dask.store.layout import COORDS, ITEM_FIELDS, UNDONE, Status
from rs_embed_dask.store.receipt import items_attrs, model_attrs, plain
from rs_embed_dask.store.writer import Chunk, read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set as AbstractSet

    import pandas as pd

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.layout import ChunkResult, Field, Item, ModelLayout

__all__ = [
    "Store",
    "StoreView",
    "add_models",
    "append_items",
    "claim",
    "fill",
]

_ITEM_ROWS: Final = 4096


def claim(location: Location, chunk_items: int) -> Document:
    """Take an empty place, or one where a store was begun and never finished."""
    if chunk_items < 1:
        reason = "a chunk holds at least one item"
        raise StoreError("chunk_items", value=chunk_items, reason=reason, fix="use 64 to 4096")
    names = location.names()
    found = Document.find(location) if ROOT_KEY in names else None
    if found is not None and found.is_ready:
        fix = "open it to go on, or choose another path"
        raise StoreError("store", value=location.name, reason="there is a finished store already", fix=fix)
    if found is None and names:
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
    """Stream the items in, make the models' arrays and say that the store is ready."""
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
        for field in (*COORDS, *layout.fields):
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
    """Tell how the items' arrays are stored: in the chunks of the data, as xarray wants them, but in few files."""
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
    found: dict[str, Any] = json.loads(content)
    return found


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
    """Collect what the root document says of every group and array."""
    groups = {ITEMS: ITEM_FIELDS} | {one.label: (*COORDS, *one.fields) for one in document.layouts}
    found: dict[str, dict[str, Any]] = {}
    for group, fields in groups.items():
        found[group] = _array_document(location, group)
        for field in fields:
            found[f"{group}/{field.name}"] = _array_document(location, f"{group}/{field.name}")
    return found


class StoreView:
    """A store as a reader sees it."""

    def __init__(self, location: Location, document: Document | None = None) -> None:
        self._location = location
        self._document_read = document
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._location.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_location": self._location, "_document_read": None, "_arrays": {}}

    @property
    def _document(self) -> Document:
        if self._document_read is None:
            self._document_read = Document.load(self._location)
        return self._document_read

    @property
    def location(self) -> Location:
        """The place."""
        return self._location

    @property
    def target(self) -> Target:
        """The place: an absolute path, a URL or a Zarr store object."""
        return self._location.target

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for."""
        return self._document.request

    @property
    def receipt(self) -> dict[str, Any]:
        """What it was made with."""
        return self._document.receipt

    @property
    def created(self) -> str:
        """When it was made, UTC."""
        return self._document.created

    @property
    def updated(self) -> str:
        """When items, models or the receipt last changed, UTC."""
        return self._document.updated

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self._document.n_items

    @property
    def chunk_items(self) -> int:
        """Rows of one chunk."""
        return self._document.chunk_items

    @property
    def n_chunks(self) -> int:
        """Number of chunks of each model."""
        return self._document.n_chunks

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the models, in the order they were added."""
        return tuple(layout.label for layout in self._document.layouts)

    @property
    def layouts(self) -> tuple[ModelLayout, ...]:
        """The models."""
        return self._document.layouts

    def layout(self, label: str) -> ModelLayout:
        """Find a model by its label."""
        return self._document.layout(label)

    def span(self, chunk: int) -> tuple[int, int]:
        """First row of a chunk and the row after its last."""
        if not 0 <= chunk < self.n_chunks:
            fix = f"use 0 to {self.n_chunks - 1}"
            raise StoreError("chunk", value=chunk, reason=f"the store has {self.n_chunks} chunks", fix=fix)
        return chunk * self.chunk_items, min((chunk + 1) * self.chunk_items, self.n_items)

    def items(self, chunk: int) -> list[Item]:
        """Read the items of one chunk, and only those."""
        start, stop = self.span(chunk)
        columns = {name: self.values(ITEMS, name, (start, stop)) for name in ("id", "spatial", "temporal")}
        return decoded_items(columns, start)

    def match_items(self, items: Iterable[Item]) -> ItemMatch:
        """Compare a request's items with the store's, by place and span."""
        return matched(self.values(ITEMS, "key"), items)

    def values(self, group: str, name: str, span: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
        """Read rows of one array in stored form (days as int32, texts as strings)."""
        return read_rows(self._array(group, name), span or (0, self.n_items), self._location.name)

    def _array(self, group: str, name: str) -> zarr.Array[Any]:
        path = f"{group}/{name}"
        if path not in self._arrays:
            self._open_group(group)
        if path not in self._arrays:
            names = ", ".join(known.partition("/")[2] for known in self._arrays if known.startswith(f"{group}/"))
            raise StoreError("array", value=path, reason="the store has no such array", fix=f"use one of {names}")
        return self._arrays[path]

    def _open_group(self, group: str) -> None:
        if group != ITEMS:
            self._document.layout(group)
        names = [path.partition("/")[2] for path in self._document.metadata if path.startswith(f"{group}/")]
        mode: Literal["r", "r+"] = "r" if self._location.read_only else "r+"
        with explained("store", self._location.name, "check that the path is a store and can be read"):
            opened = zarr.open_group(self._location.storage, mode=mode, use_consolidated=True)
        for name in names:
            found = opened[f"{group}/{name}"]
            if isinstance(found, zarr.Array):
                self._arrays[f"{group}/{name}"] = found

    def pending(
        self, label: str, *, only: AbstractSet[Status] | None = None, reason: str | None = None
    ) -> np.ndarray[Any, Any]:
        """Find the chunks that have a row to compute; the status array is read once."""
        return np.unique(self._rows(label, only, reason) // self.chunk_items)

    def pending_rows(
        self, chunk: int, label: str, only: AbstractSet[Status] | None = None, *, reason: str | None = None
    ) -> np.ndarray[Any, Any]:
        """Find the rows of a chunk that are to compute, as offsets inside the chunk."""
        span = self.span(chunk)
        return self._rows(label, only, reason, span=span) - span[0]

    def _rows(
        self, label: str, only: AbstractSet[Status] | None, reason: str | None, *, span: tuple[int, int] | None = None
    ) -> np.ndarray[Any, Any]:
        codes = [int(code) for code in (UNDONE if only is None else only)]
        rows = np.flatnonzero(np.isin(self.values(label, "status", span), codes))
        if reason is not None and len(rows):
            texts = self.values(label, "reason", span)[rows]
            rows = rows[[reason.casefold() in str(text).casefold() for text in texts]]
        return rows + (span[0] if span else 0)

    def counts(self) -> dict[str, dict[Status, int]]:
        """Count the items of each model by status; a status that no item has is left out."""
        found = {}
        for label in self.labels:
            codes, times = np.unique(self.values(label, "status"), return_counts=True)
            found[label] = {Status(int(code)): int(count) for code, count in zip(codes, times, strict=True)}
        return found

    def status_table(self) -> pd.DataFrame:
        """List every item of every model with its status, reason, valid share and dates."""
        from rs_embed_dask.store.status import status_table

        return status_table(self)


class Store(StoreView):
    """One Zarr v3 group: items, one group a model, and the receipt.

    A store is opened or made by its class methods. It is small and picklable (its place and mode only) where its place
    is a path or a URL. One process at a time writes a chunk; one client at a time adds items or models.
    """

    @classmethod
    def create(
        cls,
        target: Target,
        *,
        items: Iterable[Item],
        models: Sequence[ModelLayout],
        request: dict[str, Any],
        chunk_items: int,
        receipt: dict[str, Any] | None = None,
    ) -> Self:
        """Make a store with every item pending.

        Parameters
        ----------
        target : str, path-like or zarr store
            An empty or new place, or one where the making of a store was cut short.
        items : iterable of Item
            The rows in order; read as a stream, a few thousand at a time.
        models : sequence of ModelLayout
            At least one.
        request : dict
            What was asked for, as JSON; `check_request` compares it later.
        chunk_items : int
            Rows of one chunk, the unit of writing.
        receipt : dict, optional
            What the run is made with, from `build_receipt`.

        Raises
        ------
        StoreError
            If the place holds a finished store or anything else, or cannot be written.
        """
        location = Location.of(target)
        begun = claim(location, chunk_items)
        document = fill(location, begun, items, models=models, request=request, receipt=receipt or {})
        return cls(location, document)

    @classmethod
    def open(cls, target: Target, mode: Literal["r", "r+"] = "r") -> Self:
        """Open a store and check that its arrays are there.

        Parameters
        ----------
        target : str, path-like or zarr store
            Its place.
        mode : {"r", "r+"}, default "r"
            Read only, or read and write.

        Raises
        ------
        StoreError
            If there is no store, or if it is another program's, of another layout, half made or lacks an array.
        """
        if mode not in {"r", "r+"}:
            reason = "a store is opened to read or to read and write"
            raise StoreError("mode", value=mode, reason=reason, fix="use 'r' or 'r+'")
        location = Location.of(target, read_only=mode == "r")
        # Read as a reader: a writer's storage would make the folder of a mistyped path.
        reading = replace(location, read_only=True)
        document = Document.load(reading)
        missing = reading.missing([f"{path}/{ROOT_KEY}" for path in document.metadata])
        if missing:
            fix = "restore it from a copy, or make the store anew"
            reason = f"{len(missing)} of its arrays are missing"
            raise StoreError("store", value=f"{location.name}/{missing[0]}", reason=reason, fix=fix)
        return cls(location, document)

    @classmethod
    def exists(cls, target: Target) -> bool:
        """Tell whether there is a finished store at a place.

        Raises
        ------
        StoreError
            If there is a root document that is not ours to understand.
        """
        found = Document.find(Location.of(target, read_only=True))
        return found is not None and found.is_ready

    def write_chunk(self, chunk: int, label: str, result: ChunkResult) -> None:
        """Write rows of one chunk and model: idempotent, whole chunks, the status last.

        Parameters
        ----------
        chunk : int
            The chunk.
        label : str
            The model.
        result : ChunkResult
            Some or all of its rows; the others keep what they have.

        Raises
        ------
        StoreError
            If the result does not fit, or if the store cannot be read or written.
        """
        self._check_writable()
        layout = self.layout(label)
        arrays = {field.name: self._array(label, field.name) for field in layout.fields}
        write_rows(Chunk(arrays, layout, *self.span(chunk), self._location.name), result)

    def append_items(self, items: Iterable[Item], *, request: dict[str, Any] | None = None) -> int:
        """Add rows, pending for every model, and return how many.

        Only the client calls this, while no worker writes.
        """
        self._check_writable()
        before = self.n_items
        self._renew(append_items(self._location, self._document, items, request=request))
        return self.n_items - before

    def add_models(self, layouts: Sequence[ModelLayout], *, request: dict[str, Any] | None = None) -> None:
        """Add models, with every item pending for them.

        Only the client calls this.
        """
        self._check_writable()
        self._renew(add_models(self._location, self._document, layouts, request=request))

    def update_receipt(self, **parts: Any) -> None:
        """Add to the receipt or replace parts of it.

        Only the client calls this.
        """
        self._check_writable()
        self._renew(replace(self._document, receipt=self.receipt | plain(parts)).save(self._location))

    def set_request(self, request: dict[str, Any]) -> None:
        """Replace the request, for example with one that names more models.

        Only the client calls this.
        """
        self._check_writable()
        self._renew(replace(self._document, request=plain(request)).save(self._location))

    def _renew(self, document: Document) -> None:
        self._document_read = document
        self._arrays.clear()

    def _check_writable(self) -> None:
        if self._location.read_only:
            fix = "open it with mode='r+'"
            raise StoreError("store", value=self._location.name, reason="it was opened for reading", fix=fix)
