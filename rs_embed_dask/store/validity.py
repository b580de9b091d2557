"""What cannot be right in a store's document, found before anybody relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import CENSUS, CHECKSUM, COORDS, COVERAGE, ITEM_FIELDS, STATUS, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rs_embed_dask.store.document import Document, Location
    from rs_embed_dask.store.layout import Field

__all__ = ["check_codes", "check_document", "document_faults"]

_FIX: Final = "verify the store with repair=True (`rs-embed-dask verify STORE --repair`), or restore it from a copy"
_LATER: Final = frozenset({CHECKSUM.name, COVERAGE.name, *(field.name for field in CENSUS)})
"""Arrays that stores of earlier versions lack."""
_CODES: Final = np.asarray([int(code) for code in Status])


def check_document(location: Location, document: Document) -> None:
    """Refuse numbers that cannot be right, arrays of another shape or type, and items that are lost."""
    for what, value, reason in document_faults(document):
        raise StoreError(f"store {what}", value=f"{value} in {location.name}", reason=reason, fix=_FIX)
    count = -(-document.n_items // document.item_rows)
    path = f"{ITEMS}/key/c"
    numbers = {key.rpartition("/")[2] for key in location.keys(path)}
    lost = next((number for number in range(count) if str(number) not in numbers), None)
    if lost is not None:
        reason = f"it is missing; {document.n_items:,} items have {count:,} such files"
        raise StoreError("store key", value=f"{path}/{lost} in {location.name}", reason=reason, fix=_FIX)


def document_faults(document: Document) -> Iterator[tuple[str, object, str]]:
    """List what cannot be right in a document: what, its value, why."""
    sizes = {"n_items": document.n_items, "chunk_items": document.chunk_items, "item_rows": document.item_rows}
    yield from ((name, size, "a store has at least one") for name, size in sizes.items() if size < 1)
    if document.item_rows % document.chunk_items:
        yield "item_rows", document.item_rows, f"it is no multiple of chunk_items, {document.chunk_items}"
    yield from _array_faults(document, ITEMS, [(one, ()) for one in (*ITEM_FIELDS, CHECKSUM)])
    for layout in document.layouts:
        shapes = [(one, layout.shape(one, 1)[1:]) for one in (*COORDS, *layout.fields)]
        yield from _array_faults(document, layout.label, shapes)
        attributes = document.metadata[f"{layout.label}/{STATUS.name}"].get("attributes", {})
        strange = sorted(set(attributes.get("flag_values", ())) - {int(code) for code in Status})
        if strange:
            yield f"{layout.label}/status", strange, "this version does not know these status codes"


def _array_faults(
    document: Document, group: str, shapes: Iterable[tuple[Field, tuple[int, ...]]]
) -> Iterator[tuple[str, object, str]]:
    for field, tail in shapes:
        path = f"{group}/{field.name}"
        array = document.metadata.get(path)
        if array is None:
            if field.name not in _LATER:
                yield "array", path, "its metadata are missing"
            continue
        shape, dtype = [document.n_items, *tail], "string" if field.kind == "text" else field.dtype
        if array.get("shape") != shape or array.get("data_type") != dtype:
            found = f"{path} of shape {array.get('shape')} and type {array.get('data_type')}"
            yield "array", found, f"{document.n_items:,} items need shape {shape} and type {dtype}"


def check_codes(codes: np.ndarray[Any, Any], place: str, *, first: int) -> None:
    """Refuse status codes that do not exist."""
    strange = np.flatnonzero(~np.isin(codes, _CODES))
    if len(strange):
        row = int(strange[0])
        reason = f"row {first + row} has status {int(codes[row])}, which is none"
        raise StoreError("store status", value=place, reason=reason, fix=_FIX)
