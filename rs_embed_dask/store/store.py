"""The store of a run: made by the client, written by any worker, read by anyone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import making
from rs_embed_dask.store.document import Document
from rs_embed_dask.store.receipt import plain
from rs_embed_dask.store.target import ROOT_KEY, Location
from rs_embed_dask.store.view import StoreView
from rs_embed_dask.store.writer import Chunk, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rs_embed_dask.store.layout import ChunkResult, Item, ModelLayout
    from rs_embed_dask.store.target import Target

__all__ = ["Store"]


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
        begun = making.claim(location, chunk_items)
        document = making.fill(location, begun, items, models=models, request=request, receipt=receipt or {})
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
        self._renew(making.append_items(self._location, self._document, items, request=request))
        return self.n_items - before

    def add_models(self, layouts: Sequence[ModelLayout], *, request: dict[str, Any] | None = None) -> None:
        """Add models, with every item pending for them.

        Only the client calls this.
        """
        self._check_writable()
        self._renew(making.add_models(self._location, self._document, layouts, request=request))

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
