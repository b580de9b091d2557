"""Checks of a store's documents: the root, its copy, and the metadata of each group and array."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import CLAIM, COPY_KEY, ITEMS, MARK, ROOT_KEY, Document, is_as_written
from rs_embed_dask.store.fence import stamped_json
from rs_embed_dask.store.layout import POSITIONS
from rs_embed_dask.store.receipt import strict_json
from rs_embed_dask.store.target import Location
from rs_embed_dask.store.validity import document_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rs_embed_dask.store.map_document import MapDocument

__all__ = ["check_metadata", "check_root", "check_table", "without_claim"]


def check_root(location: Location) -> tuple[Document, list[Finding]]:
    """Find the root document, from its copy if need be, and what is wrong with either."""
    content, copy = location.read(ROOT_KEY), location.read(COPY_KEY)
    fault = _fault(content, location)
    if content is not None and not fault:
        document = Document.load(location)
        whole = without_claim(content)
        if whole == without_claim(copy or b"") or (copy is None and "checksum" not in whole["attributes"][MARK]):
            return document, []
        damage = Damage(COPY_KEY, f"it is not the same as {ROOT_KEY}", Remedy.REBUILD)
        return document, [Finding(damage, _copied)]
    if copy is None or _fault(copy, location) or not _is_recent(copy, location):
        document = Document.load(location)
        for what, value, reason in document_faults(document):
            fix = f"restore {ROOT_KEY} from a copy, or make the store anew"
            raise StoreError(f"store {what}", value=f"{value} in {location.name}", reason=reason, fix=fix)
        return document, [Finding(Damage(ROOT_KEY, fault, Remedy.RESTORE))]
    mend = partial(_rewritten, key=ROOT_KEY, content=copy)
    # The claim is put into the copy: what is there cannot be read.
    fence = (ROOT_KEY, lambda _, mark: stamped_json(copy, mark))
    return Document.of(copy, location), [Finding(Damage(ROOT_KEY, fault, Remedy.REBUILD), mend, fence)]


def _copied(location: Location) -> None:
    """Copy the root document as it is now."""
    content = location.read(ROOT_KEY)
    if content is not None:
        _rewritten(location, COPY_KEY, content)


def _rewritten(location: Location, key: str, content: bytes) -> None:
    """Write a document, whatever is in its place."""
    location.clear(key)
    location.write(key, content)


def _fault(content: bytes | None, location: Location) -> str:
    """Say what is wrong with a root document, if anything is."""
    if content is None:
        return "it is missing"
    try:
        document = Document.of(content, location)
    except StoreError as error:
        return error.reason
    if not document.is_ready:
        return ""  # for its reader to refuse
    if not is_as_written(content):
        return "it was changed after it was written"
    return next((f"{what} {value}: {reason}" for what, value, reason in document_faults(document)), "")


def without_claim(document: bytes) -> dict[str, Any]:
    """Read a document without the mark that a writer may have left in it."""
    data: dict[str, Any] = _parsed(document) or {}
    attributes = data.get("attributes")
    named = attributes if isinstance(attributes, dict) else {}
    return data | {"attributes": {name: one for name, one in named.items() if name != CLAIM}}


def _is_recent(copy: bytes, location: Location) -> bool:
    """Whether a copy knows of all items; one that does not would lose those that came later."""
    content = location.read(f"{ITEMS}/key/{ROOT_KEY}")
    rows = None if content is None else (_parsed(content) or {}).get("shape")
    return rows is None or rows == [Document.of(copy, location).n_items]


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        data = strict_json(content)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def check_table(read: Callable[[], object], label: str) -> Iterator[Finding]:
    """Check that a model's table of positions can be read, if it has one."""
    try:
        read()
    except StoreError as error:
        yield Finding(Damage(f"{label}/{POSITIONS.name}", error.reason, Remedy.RESTORE))


def check_metadata(location: Location, document: Document | MapDocument) -> Iterator[Finding]:
    """Compare the metadata of each group and array with what the root document says of it."""
    for path, expected in document.metadata.items():
        key = f"{path}/{ROOT_KEY}"
        content = location.read(key)
        if content is not None and _parsed(content) == expected:
            continue
        reason = "it is missing" if content is None else f"it is not what {ROOT_KEY} says"
        mend = partial(_rewritten, key=key, content=json.dumps(expected, indent=2).encode())
        yield Finding(Damage(key, reason, Remedy.REBUILD), mend)
