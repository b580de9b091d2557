"""The store of a run: created by the client, written by any worker, read by anyone."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from rs_embed_dask.errors import StoreBusyError
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store.arrays import add_models, append_items, claim, fill, put_table, vacancy
from rs_embed_dask.store.columns import by_group, put_columns
from rs_embed_dask.store.document import ROOT_KEY, Document, Location
from rs_embed_dask.store.document_view import DocumentStore
from rs_embed_dask.store.fence import OvertakenError, fenced
from rs_embed_dask.store.layout import POSITIONS, Status
from rs_embed_dask.store.receipt import plain, settled
from rs_embed_dask.store.validity import check_document
from rs_embed_dask.store.view import StoreView
from rs_embed_dask.store.writer import check_result, status_fence, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AbstractSet

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.layout import ChunkResult, Item, ModelLayout

__all__ = ["Store"]

_TRIES: Final = 20
_PAUSE_S: Final = 0.5


class Store(StoreView, DocumentStore[Document]):
    """One Zarr v3 group: items, one group per model, and the receipt.

    A store is opened or created by its class methods. It is small and picklable (its place and mode only) where its
    place is a path or a URL. Any number of processes may write to it: each write is fenced against the others.
    """

    repair = "verify the store with repair=True, or restore it from a copy"

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
    def _check(cls, location: Location, document: Document) -> None:
        check_document(location, document)

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

    def update_receipt(self, **entries: Any) -> None:
        """Add to the receipt; an entry that is a dictionary keeps what it has, any other is replaced.

        A function makes the entry of the one that is there, an empty one if there is none, so that what several runs
        add up at the same moment is the sum of all.
        """

        def merge(inside: Location, document: Document) -> Document:
            old = document.receipt
            added = plain(settled(entries, old))
            merged = {name: old[name] | new for name, new in added.items() if _are_dicts(old.get(name), new)}
            return replace(document, receipt=old | added | merged).save(inside)

        self._amend(merge)

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

        def keep(inside: Location, document: Document) -> Document:
            decided = document.receipt.get("positions", {})
            if decided.get(label) != instead_of:
                return document
            metadata, path = document.metadata, f"{label}/{POSITIONS.name}"
            if table is not None and path not in metadata:
                metadata = by_group(metadata | {path: put_table(inside, label, table)})
            receipt = document.receipt | {"positions": decided | {label: plain(facts)}}
            return replace(document, receipt=receipt, metadata=metadata).save(inside)

        self._amend(keep)

    def _amend(self, change: Callable[[Location, Document], Document]) -> None:
        """Change the root document beside other runs on this store: whoever was overtaken begins again with theirs."""
        for left in reversed(range(_TRIES)):
            try:
                with self._changing() as (inside, document):
                    self._renew(change(inside, document))
                    return
            except OvertakenError:
                if not left:
                    raise
                time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311  so that two do not overtake each other for ever


def _are_dicts(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)
