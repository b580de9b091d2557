"""A fence around what belongs together: data, and the one key that commits them.

Whoever writes rows or items first claims the key that commits them (a status chunk, or the root document), then writes
the data, then the key. Two writers never mix. On a local disk, the second waits for the kernel's lock. On an object
store, the claim puts a mark of its own into the key, each datum is put only over what was there after the claim, and
the commit only over the claim: from whoever was overtaken, even while frozen before a put, every later put is refused.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from zarr.storage import FsspecStore, ObjectStore

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.store.services import OBJECT_SCHEMES
from rs_embed_dask.store.swap import LostAnswerError, ObjectKey, Tag, locked, put_mode, refusals, tag_of
from rs_embed_dask.store.target import Location

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

__all__ = ["CLAIM", "FencedStore", "OvertakenError", "Stamp", "fenced", "stamped_frame", "stamped_json"]

CLAIM: Final = "claim"
"""The root attribute in which a writer leaves its mark; it is not part of the content."""

Stamp: TypeAlias = Callable[[bytes | None, str], bytes]
"""Writes a mark into the content of a key without changing what it means."""

_TRIES: Final = 20
_MARK: Final = 16
_FRAME: Final = 8 + _MARK


@contextlib.contextmanager
def fenced(location: Location, key: str, stamp: Stamp) -> Iterator[Location]:
    """Claim a key; what is written to the location given is out of other writers' way."""
    if location.service is not None:
        store = FencedStore(location, key)
        store.claim(stamp)
        yield Location(store)
        return
    if _is_without_conditions(location):
        reason = "a store there cannot be protected from a second writer"
        fix = "install rs-embed-dask[object-store], or write to a local disk"
        raise StoreError("store target", value=location.name, reason=reason, fix=fix)
    with locked(location, key):
        yield location


def _is_without_conditions(location: Location) -> bool:
    scheme = urlsplit(location.target).scheme if isinstance(location.target, str) else ""
    return scheme in OBJECT_SCHEMES and isinstance(location.storage, FsspecStore)


def stamped_frame(content: bytes, mark: str) -> bytes:
    """Put a mark behind a compressed chunk, as a frame that every decoder of Zstandard skips."""
    magic, frame = b"\x50\x2a\x4d\x18", bytes.fromhex(mark)
    kept = content[:-_FRAME] if content[-_FRAME:].startswith(magic) else content
    return kept + magic + len(frame).to_bytes(4, "little") + frame


def stamped_json(content: bytes, mark: str) -> bytes:
    """Put a mark into a document."""
    document = json.loads(content)
    document["attributes"][CLAIM] = mark
    return json.dumps(document, indent=1).encode()


class OvertakenError(StoreBusyError):
    """Another run has written what this one had claimed."""


class FencedStore(ObjectStore[Any]):
    """An object store on which one claim is held; it removes nothing, for a removal cannot be made conditional."""

    def __init__(self, location: Location, key: str) -> None:
        super().__init__(location.service)
        self._name = location.name
        self._key = key
        self._tag: Tag = None

    def __repr__(self) -> str:
        return self._name

    def claim(self, stamp: Stamp) -> None:
        """Put a mark into the key, whoever else had."""
        cell = ObjectKey(self.store, self._key)
        for _ in range(_TRIES):
            found = cell.read()
            content = stamp(None if found is None else found[0], secrets.token_hex(_MARK))
            try:
                tag = cell.swap(None if found is None else found[1], content)
            except LostAnswerError:
                tag = None
            if tag is None:  # refused; or the answer was lost, also to an attempt that the client then repeated
                found = cell.read()
                tag = found[1] if found is not None and found[0] == content else None
            if tag is not None:
                self._tag = tag
                return
        raise self._overtaken()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a key, as long as the claim is held."""
        content = value.to_bytes()
        if key == self._key:
            await self._commit(content)
            return
        tag: Tag = None
        for _ in range(_TRIES):
            if await self._put(key, content, tag) is not None:
                return
            # The order counts: a tag that was read while the claim was held is not that of a later holder's value.
            tag = await self._tag_of(key)
            if await self._tag_of(self._key) != self._tag:
                raise self._overtaken()
        raise self._overtaken()

    async def _commit(self, content: bytes) -> None:
        obstore: Any = import_module("obstore")
        for _ in range(_TRIES):
            tag = await self._put(self._key, content, self._tag)
            if tag is None:
                answer = await obstore.get_async(self.store, self._key)
                if (await answer.bytes_async()).to_bytes() == content:
                    tag = tag_of(answer.meta)
                elif tag_of(answer.meta) == self._tag:
                    continue  # the answer was lost, and the put with it
            if tag is None:
                raise self._overtaken()
            self._tag = tag
            return
        raise self._overtaken()

    async def _put(self, key: str, content: bytes, tag: Tag) -> Tag | None:
        obstore: Any = import_module("obstore")
        new_tag: Tag | None = None
        with refusals():
            answer = await obstore.put_async(self.store, key, content, mode=put_mode(tag), use_multipart=False)
            new_tag = tag_of(answer)
        return new_tag  # noqa: RET504  a refusal leaves None

    async def _tag_of(self, key: str) -> Tag | None:
        obstore: Any = import_module("obstore")
        try:
            return tag_of(await obstore.head_async(self.store, key))
        except FileNotFoundError:
            return None

    async def delete(self, key: str) -> None:
        """Leave the key: what is not in the root document is out of sight."""

    async def delete_dir(self, prefix: str) -> None:
        """Leave the folder, for the same reason."""

    def _overtaken(self) -> OvertakenError:
        reason = "another run has written there meanwhile"
        fix = "run again: what is stored stays, and only what is missing is computed"
        return OvertakenError("store", value=f"{self._name}/{self._key}", reason=reason, fix=fix)
