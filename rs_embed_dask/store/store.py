"""The store of a run: created by the client, written by any worker, read by anyone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import zarr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.arrays import add_models, append_items, claim, fill
from rs_embed_dask.store.document import ITEMS, ROOT_KEY, Document, Location, explained
from rs_embed_dask.store.items import ItemMatch, decoded_items, matched
from rs_embed_dask.store.layout import UNDONE, Status
from rs_embed_dask.store.receipt import plain
from rs_embed_dask.store.writer import Chunk, read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set as AbstractSet

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
        start, stop = self.span(chunk)
        columns = {name: self.values(ITEMS, name, (start, stop)) for name in ("id", "spatial", "temporal")}
        return decoded_items(columns, start)

    def match_items(self, items: Iterable[Item]) -> ItemMatch:
        """Compare a request's items with the store's, by place and span."""
        return matched(self.values(ITEMS, "key"), items)

    def values(self, group: str, name: str, span: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
        """Read rows of one array in stored form (days as int32, texts as strings)."""
        return read_rows(self._array(group, name), span or (0, self.n_items), self._location.name)

    def has(self, group: str, name: str) -> bool:
        """Return whether there is an array: stores of earlier versions lack some."""
        return f"{group}/{name}" in self._document.metadata

    def _array(self, group: str, name: str) -> zarr.Array[Any]:
        path = f"{group}/{name}"
        if path not in self._arrays:
            self._open_group(group)
        if path not in self._arrays:
            names = ", ".join(path.partition("/")[2] for path in self._arrays if path.startswith(f"{group}/"))
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
            array = opened[f"{group}/{name}"]
            if isinstance(array, zarr.Array):
                self._arrays[f"{group}/{name}"] = array

    def pending(
        self, label: str, *, only: AbstractSet[Status] | None = None, reason: str | None = None
    ) -> np.ndarray[Any, Any]:
        """Find the chunks that have a row to compute; the status array is read once."""
        return np.unique(self._rows(label, only, reason) // self.chunk_items)

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
    place is a path or a URL. One process at a time writes a chunk; one client at a time adds items or models.
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
            If there is no store, or if it is another program's, has another layout, is incomplete or lacks an array.
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
            fix = "restore it from a copy, or make the store anew"
            reason = f"{len(missing)} of its arrays are missing"
            raise StoreError("store", value=f"{location.name}/{missing[0]}", reason=reason, fix=fix)
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
        arrays = {field.name: self._array(label, field.name) for field in layout.fields if self.has(label, field.name)}
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

    def _renew(self, document: Document) -> None:
        self._document_read = document
        self._arrays.clear()

    def _check_writable(self) -> None:
        if self._location.read_only:
            fix = "open it with mode='r+'"
            raise StoreError("store", value=self._location.name, reason="it was opened for reading", fix=fix)
