"""The store of a run: created by the client, written by any worker, read by anyone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import zarr
from zarr.storage import StorePath

from rs_embed_dask.errors import SpecError, StoreBusyError, StoreError
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store.arrays import add_models, append_items, claim, fill, put_table, vacancy
from rs_embed_dask.store.columns import by_group, differing_columns, put_columns
from rs_embed_dask.store.document import ITEMS, ROOT_KEY, Document, Location, explained
from rs_embed_dask.store.fence import fenced
from rs_embed_dask.store.items import ItemColumns, ItemMatch, continued, decoded_items, matched, rows_of, strange_rows
from rs_embed_dask.store.layout import POSITIONS, STATUS, UNDONE, Status
from rs_embed_dask.store.receipt import plain
from rs_embed_dask.store.shards import decoded_status, number_rows, text_rows
from rs_embed_dask.store.validity import check_codes, check_document
from rs_embed_dask.store.writer import Chunk, check_result, read_rows, status_fence, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.layout import ChunkResult, Item, ModelLayout

__all__ = ["Store", "StoreView"]


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
        """The request."""
        return self._document.request

    @property
    def receipt(self) -> dict[str, Any]:
        """What the store was made with."""
        return self._document.receipt

    @property
    def created(self) -> str:
        """When the store was created, UTC."""
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
        digest, count = self._document.items_digest, self.n_items
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
        return differing_columns(self._location, self._document, items.columns, rows=rows)

    def chunk(self, chunk: int, label: str, *, keys: np.ndarray[Any, Any] | None = None) -> Chunk:
        """Find the arrays of one chunk and model, and read the keys of its items unless they are given."""
        layout, span = self.layout(label), self.span(chunk)
        names = [field.name for field in layout.fields if f"{label}/{field.name}" in self._document.metadata]
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
        document = self._document
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
        return f"{group}/{name}" in self._document.metadata

    def _array(self, group: str, name: str) -> zarr.Array[Any]:
        path = f"{group}/{name}"
        if path in self._arrays:
            return self._arrays[path]
        if group != ITEMS:
            self._document.layout(group)
        metadata = self._document.metadata
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

    def open_rows(self, label: str, *, only: AbstractSet[Status] | None = None) -> np.ndarray[Any, Any]:
        """Find all rows that are to be computed; the status array is read once."""
        return self._rows(label, only, None)

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

    def counts(self) -> dict[str, dict[Status, int]]:
        """Count the items of each model by status; a status that no item has is left out."""
        counts = {}
        for label in self.labels:
            codes, times = np.unique(self.values(label, "status"), return_counts=True)
            counts[label] = {Status(int(code)): int(count) for code, count in zip(codes, times, strict=True)}
        return counts


class Store(StoreView):
    """One Zarr v3 group: items, one group per model, and the receipt.

    A store is opened or created by its class methods. It is small and picklable (its place and mode only) where its
    place is a path or a URL. Any number of processes may write to it: each write is fenced against the others.
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
        """Create a store with every item pending.

        Parameters
        ----------
        target : str, path-like or zarr store
            An empty or new place, or one where creating a store was interrupted.
        items : iterable of Item
            The rows in order; read as a stream, a few thousand at a time.
        models : sequence of ModelLayout
            At least one.
        request : dict
            The request, as JSON; `check_request` compares it later.
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
        vacancy(location, chunk_items)  # before the fence puts anything there
        with fenced(location, ROOT_KEY, Document.stamped) as inside:
            begun = claim(inside, chunk_items)
            document = fill(inside, begun, items, models=models, request=request, receipt=receipt or {})
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
            If there is no store, or if it is another program's, has another layout, is incomplete or lacks an array, or
            if its numbers cannot be right.
        """
        if mode not in {"r", "r+"}:
            reason = "a store is opened to read or to read and write"
            raise StoreError("mode", value=mode, reason=reason, fix="use 'r' or 'r+'")
        location = Location.of(target, read_only=mode == "r")
        # Opened read-only at first: writable storage would create the folder of a mistyped path.
        reading = replace(location, read_only=True)
        document = Document.load(reading)
        missing = reading.missing([f"{path}/{ROOT_KEY}" for path in document.metadata])
        if missing:
            fix = "verify the store with repair=True, or restore it from a copy"
            reason = f"{len(missing)} of its arrays are missing"
            raise StoreError("store", value=f"{location.name}/{missing[0]}", reason=reason, fix=fix)
        check_document(reading, document)
        if mode == "r+":
            location.leftovers(remove=True)
        return cls(location, document)

    @classmethod
    def exists(cls, target: Target) -> bool:
        """Return whether there is a finished store at a place.

        Raises
        ------
        StoreError
            If there is a root document that is not ours.
        """
        document = Document.find(Location.of(target, read_only=True))
        return document is not None and document.is_ready

    @classmethod
    def check_vacant(cls, target: Target) -> None:
        """Refuse a place that is not empty and holds no store that was begun. Raises StoreError."""
        vacancy(Location.of(target, read_only=True), 1)

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
        self._write(chunk, label, result, is_open=False)

    def finish_chunk(
        self, chunk: int, label: str, result: ChunkResult, *, only: AbstractSet[Status] | None = None
    ) -> None:
        """Write those rows that are still to compute: what another writer has finished meanwhile stays.

        Parameters
        ----------
        chunk, label, result
            As `write_chunk`.
        only : set of Status, optional
            The statuses of the rows that may be written. Default: all that are not done.
        """
        self._write(chunk, label, result, is_open=True, only=only)

    def _write(
        self, chunk: int, label: str, result: ChunkResult, *, is_open: bool, only: AbstractSet[Status] | None = None
    ) -> None:
        self._check_writable()
        part = self.chunk(chunk, label)
        check_result(part, result)
        with fenced(self._location, *status_fence(part)) as inside:
            if is_open:
                result = result.at(self.pending_rows(chunk, label, only))
            if len(result.rows):
                write_rows(part.at(inside), result)

    def append_items(
        self,
        items: Iterable[Item],
        *,
        request: dict[str, Any] | None = None,
        after: int | None = None,
        digest: str = "",
    ) -> int:
        """Add rows, pending for every model, and return how many.

        Parameters
        ----------
        items : iterable of Item
            The rows in order.
        request : dict, optional
            Replaces the stored request.
        after : int, optional
            Refuse if the store does not have this many rows: they were matched with those.
        digest : str, optional
            The digest of all items that the store then has, as `ItemColumns.digest`.
        """
        with self._changing() as (inside, document):
            if after is not None and document.n_items != after:
                reason = f"another run has added {document.n_items - after} items meanwhile"
                fix = "repeat the call: it adds only what is still missing"
                raise StoreBusyError("store", value=self._location.name, reason=reason, fix=fix)
            self._renew(append_items(inside, document, items, request=request, digest=digest))
        return self.n_items - document.n_items

    def add_models(self, layouts: Sequence[ModelLayout], *, request: dict[str, Any] | None = None) -> None:
        """Add models, with every item pending for them."""
        with self._changing() as (inside, document):
            self._renew(add_models(inside, document, layouts, request=request))

    def set_columns(self, columns: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> None:
        """Keep columns that came with the places, such as labels, for some rows; the others keep what they have."""
        if columns:
            with self._changing() as (inside, document):
                self._renew(put_columns(inside, document, columns, rows=rows))

    def update_receipt(self, **parts: Any) -> None:
        """Add to the receipt; a part that is a dictionary keeps what it has, any other is replaced."""
        added = plain(parts)
        with self._changing() as (inside, document):
            old = document.receipt
            merged = {name: old[name] | new for name, new in added.items() if _are_dicts(old.get(name), new)}
            self._renew(replace(document, receipt=old | added | merged).save(inside))

    def keep_positions(
        self, label: str, facts: dict[str, Any], *, table: PositionTable | None = None, instead_of: Any = None
    ) -> None:
        """Keep what was decided about a model's positions, unless another run has decided it meanwhile.

        Parameters
        ----------
        label : str
            The model.
        facts : dict
            The decision, for the receipt.
        table : PositionTable, optional
            What was measured; a table that is there already stays.
        instead_of : dict, optional
            What the receipt had when this was decided.
        """
        with self._changing() as (inside, document):
            decided = document.receipt.get("positions", {})
            if decided.get(label) != instead_of:
                self._renew(document)
                return
            metadata, path = document.metadata, f"{label}/{POSITIONS.name}"
            if table is not None and path not in metadata:
                metadata = by_group(metadata | {path: put_table(inside, label, table)})
            receipt = document.receipt | {"positions": decided | {label: plain(facts)}}
            self._renew(replace(document, receipt=receipt, metadata=metadata).save(inside))

    @contextmanager
    def _changing(self) -> Iterator[tuple[Location, Document]]:
        """Give the root document as it is now, and a place where it can be replaced."""
        self._check_writable()
        with fenced(self._location, ROOT_KEY, Document.stamped) as inside:
            yield inside, Document.load(inside)

    def _renew(self, document: Document) -> None:
        self._document_read = document
        self._arrays.clear()

    def _check_writable(self) -> None:
        if self._location.read_only:
            fix = "open it with mode='r+'"
            raise StoreError("store", value=self._location.name, reason="it was opened for reading", fix=fix)


def _are_dicts(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)
