"""What a store holds, and what is left to do in it: the half of a store that only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.codes import UNDONE, Status
from rs_embed_dask.store.document import ITEMS, Document
from rs_embed_dask.store.items import ItemMatch, decoded_items, matched
from rs_embed_dask.store.rows import read_rows
from rs_embed_dask.store.target import explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Set as AbstractSet

    import pandas as pd

    from rs_embed_dask.store.layout import Item, ModelLayout
    from rs_embed_dask.store.target import Location, Target

__all__ = ["StoreView"]


class StoreView:
    """A store as a reader sees it.

    Parameters
    ----------
    location : Location
        Its place.
    document : Document, optional
        Its root document, read when it is first needed where it is left out.
    """

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
        """First row of a chunk and the row after its last.

        Raises
        ------
        StoreError
            If there is no such chunk.
        """
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
        """Read rows of one array in stored form (days as int32, texts as strings).

        Raises
        ------
        StoreError
            If there is no such array or a chunk of it cannot be understood.
        """
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
        """Find the chunks that have a row to compute; the status array is read once.

        Parameters
        ----------
        label : str
            The model.
        only : set of Status, optional
            Take up these; by default everything that is not done (`UNDONE`: pending, read failed, model failed).
        reason : str, optional
            Of those, only rows whose reason contains this text, in any case.

        Returns
        -------
        numpy.ndarray of int64
            Chunk numbers, ascending.
        """
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
        """List every item of every model with its status, reason, valid share and dates.

        See Also
        --------
        rs_embed_dask.store.status.status_table
        """
        from rs_embed_dask.store.status import status_table

        return status_table(self)
