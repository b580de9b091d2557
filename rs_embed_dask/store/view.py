"""The store of a run as a reader sees it: one state of its root document, and the arrays that this lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from zarr.storage import StorePath

from rs_embed_dask.errors import SpecError, StoreError
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store.columns import differing_columns
from rs_embed_dask.store.document import ITEMS, Document, explained
from rs_embed_dask.store.document_view import DocumentView
from rs_embed_dask.store.items import ItemColumns, ItemMatch, continued, decoded_items, matched, rows_of, strange_rows
from rs_embed_dask.store.layout import POSITIONS, STATUS, UNDONE, Status
from rs_embed_dask.store.lease import ALL_CHUNKS
from rs_embed_dask.store.shards import decoded_status, number_rows, text_rows
from rs_embed_dask.store.validity import check_codes
from rs_embed_dask.store.writer import Chunk, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Set as AbstractSet

    from rs_embed_dask.store.layout import Item, ModelLayout
    from rs_embed_dask.store.lease import ChunkRange

__all__ = ["StoreView"]


class StoreView(DocumentView[Document]):
    """A store of places as a reader sees it."""

    documents = Document

    @property
    def created(self) -> str:
        """When the store was created, UTC."""
        return self.document.created

    @property
    def updated(self) -> str:
        """When items, models or the receipt last changed, UTC."""
        return self.document.updated

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.document.n_items

    @property
    def chunk_items(self) -> int:
        """Rows of one chunk."""
        return self.document.chunk_items

    @property
    def n_chunks(self) -> int:
        """Number of chunks of each model."""
        return self.document.n_chunks

    @property
    def layouts(self) -> tuple[ModelLayout, ...]:
        """The models."""
        return self.document.layouts

    def layout(self, label: str) -> ModelLayout:
        """Find a model by its label."""
        return self.document.layout(label)

    def span(self, chunk: int) -> tuple[int, int]:
        """First row of a chunk and the row after its last."""
        if not 0 <= chunk < self.n_chunks:
            fix = f"use 0 to {self.n_chunks - 1}"
            raise StoreError("chunk", value=chunk, reason=f"the store has {self.n_chunks} chunks", fix=fix)
        return chunk * self.chunk_items, min((chunk + 1) * self.chunk_items, self.n_items)

    def items(self, chunk: int) -> list[Item]:
        """Read the items of one chunk, and only those."""
        return self._items(*self.span(chunk))

    def item(self, row: int) -> Item:
        """Read one item."""
        return self._items(row, row + 1)[0]

    def _items(self, start: int, stop: int) -> list[Item]:
        columns = {name: self.values(ITEMS, name, (start, stop)) for name in ("id", "spatial", "temporal", "key")}
        damaged = [start + row for row in strange_rows(columns)]
        if damaged:
            value = f"{ITEMS}: rows {damaged} in {self._location.name}"
            reason = "their keys are not those of their places"
            raise StoreError("store items", value=value, reason=reason, fix="run verify on the store")
        return decoded_items(columns, start)

    def match_items(self, items: Iterable[Item]) -> ItemMatch:
        """Compare a request's items with the store's, by place and span."""
        digest, count = self.document.items_digest, self.n_items
        # A million keys take seconds, and most calls that find a store ask for what it was made from, or for more.
        if digest and isinstance(items, ItemColumns):
            first = items if len(items) == count else items.take(slice(0, count))
            if first.digest == digest:
                return continued(items, count)
        return matched(self.values(ITEMS, "key"), items)

    def rows_of(self, items: ItemColumns) -> np.ndarray[Any, Any]:
        """Find the row of each item of a request, all of which the store has."""
        match = self.match_items(items)
        if match.is_in_order and not match.absent and not match.new:
            return np.arange(self.n_items)
        return rows_of(self.values(ITEMS, "key"), items.keys)

    def differing_columns(self, items: ItemColumns, rows: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns of a request that the store lacks, or has with other values in these rows."""
        return differing_columns(self._location, self.document, items.columns, rows=rows)

    def chunk(self, chunk: int, label: str, *, keys: np.ndarray[Any, Any] | None = None) -> Chunk:
        """Find the arrays of one chunk and model, and read the keys of its items unless they are given."""
        layout, span = self.layout(label), self.span(chunk)
        names = [field.name for field in layout.fields if f"{label}/{field.name}" in self.document.metadata]
        arrays = {name: self._array(label, name) for name in names}
        own = self.values(ITEMS, "key", span) if keys is None else keys[slice(*span)]
        return Chunk(arrays, layout, *span, self._location.name, own)

    def values(self, group: str, name: str, span: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
        """Read rows of one array in stored form (days as int32, texts as strings)."""
        values = self._all_rows(group, name) if span is None else None
        if values is None:
            values = read_rows(self._array(group, name), span or (0, self.n_items), self._location.name)
        if name == STATUS.name:
            check_codes(values, f"{self._location.name}/{group}/{name}", first=span[0] if span else 0)
        return values

    def _all_rows(self, group: str, name: str) -> np.ndarray[Any, Any] | None:
        """Read a whole array of small chunks at once, which Zarr takes a millisecond each for; None if it must."""
        document = self.document
        if group == ITEMS and name in {"key", "id"}:
            keys = [f"{ITEMS}/{name}/c/{shard}" for shard in range(-(-self.n_items // document.item_rows))]
            shards, chunks = self._location.read_all(keys), document.item_rows // self.chunk_items
            if name == "id":
                values = text_rows(shards, shard_chunks=chunks, chunk_rows=self.chunk_items)
            else:
                values = number_rows(shards, "uint64", shard_chunks=chunks)
        elif name == STATUS.name and group in self.labels:
            contents = self._location.read_all([f"{group}/{name}/c/{chunk}" for chunk in range(self.n_chunks)])
            values = decoded_status(contents, self.chunk_items)
        else:
            return None
        return None if values is None or len(values) < self.n_items else values[: self.n_items]

    def has(self, group: str, name: str) -> bool:
        """Return whether there is an array: stores of earlier versions lack some."""
        return f"{group}/{name}" in self.document.metadata

    def _array(self, group: str, name: str) -> zarr.Array[Any]:
        path = f"{group}/{name}"
        if path in self._arrays:
            return self._arrays[path]
        if group != ITEMS:
            self.document.layout(group)
        metadata = self.document.metadata
        if path not in metadata:
            names = ", ".join(one.partition("/")[2] for one in metadata if one.startswith(f"{group}/"))
            raise StoreError("array", value=path, reason="the store has no such array", fix=f"use one of {names}")
        # From the document at hand, not from the disk again: what is read is then one state of the store.
        with explained("store", self._location.name, "check that the path is a store and can be read"):
            array = zarr.Array.from_dict(StorePath(self._location.storage, path), metadata[path])
            # Zarr would remove a chunk that holds nothing but its fill value: not what a damaged store lacks, then.
            self._arrays[path] = array.with_config({"write_empty_chunks": True})
        return self._arrays[path]

    def pending(
        self, label: str, *, only: AbstractSet[Status] | None = None, reason: str | None = None
    ) -> np.ndarray[Any, Any]:
        """Find the chunks that have a row to compute; the status array is read once."""
        return np.unique(self._rows(label, only, reason) // self.chunk_items)

    def open_rows(
        self, label: str, *, only: AbstractSet[Status] | None = None, chunks: ChunkRange = ALL_CHUNKS
    ) -> np.ndarray[Any, Any]:
        """Find all rows of some chunks that are to be computed; the status array is read once."""
        rows = self._rows(label, only, None)
        start, stop = (np.inf if end is None else end * self.chunk_items for end in chunks)
        return rows[(rows >= start) & (rows < stop)]

    def pending_rows(
        self, chunk: int, label: str, only: AbstractSet[Status] | None = None, *, reason: str | None = None
    ) -> np.ndarray[Any, Any]:
        """Find the rows of a chunk that are still to compute, as offsets inside the chunk."""
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

    def table(self, label: str) -> PositionTable | None:
        """Read the table of positions of a model; None if there is none."""
        if not self.has(label, POSITIONS.name):
            return None
        path, fix = f"{self._location.name}/{label}/{POSITIONS.name}", "restore it from a copy"
        array = self._array(label, POSITIONS.name)
        with explained("store array", path, fix):
            mean, facts = np.asarray(array[...]), array.attrs.asdict().get("table")
        try:
            return PositionTable.from_dict(cast("dict[str, Any]", facts), mean)
        except SpecError as error:
            raise StoreError("store array", value=path, reason=str(error), fix=fix) from error

    def counts(self, *, chunks: ChunkRange = ALL_CHUNKS) -> dict[str, dict[Status, int]]:
        """Count the items of each model by status, of some chunks; a status that no item has is left out."""
        start, stop = (None if end is None else end * self.chunk_items for end in chunks)
        counts = {}
        for label in self.labels:
            codes, times = np.unique(self.values(label, "status")[start:stop], return_counts=True)
            counts[label] = {Status(int(code)): int(count) for code, count in zip(codes, times, strict=True)}
        return counts
