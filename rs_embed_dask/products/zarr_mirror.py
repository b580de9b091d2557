"""Zarr at a mirror, read by the same requests as all files: judged addresses, one retry policy, ranges of shards."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest

from rs_embed_dask.providers.http import AbsentError, read_range

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

    from rs_embed_dask.products.mirror import Mirror

__all__ = ["MirroredZarr", "forget_indexes"]

_INDEXES: Final = 128  # of shards, at most a quarter of a megabyte each


class MirroredZarr(Store):
    """A folder of a mirror as a store of Zarr, for reading."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, mirror: Mirror, folder: str) -> None:
        super().__init__(read_only=True)
        self.mirror, self.folder = mirror, folder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MirroredZarr) and (self.mirror, self.folder) == (other.mirror, other.folder)

    def __hash__(self) -> int:
        return hash((self.mirror.base_url, self.folder))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a file or a part of it; None where there is none."""
        try:
            data = await asyncio.to_thread(_read, self.mirror, f"{self.folder}/{key}", byte_range)
        except AbsentError:
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of files."""
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Tell whether there is a file."""
        try:
            await asyncio.to_thread(_size, self.mirror, f"{self.folder}/{key}")
        except AbsentError:
            return False
        return True

    async def set(self, key: str, value: Buffer) -> NoReturn:  # noqa: ARG002 - as the library calls it
        """Refuse to write."""
        raise PermissionError(key)

    async def delete(self, key: str) -> NoReturn:
        """Refuse to delete."""
        raise PermissionError(key)

    def list(self) -> AsyncIterator[str]:
        """Refuse to list, which no mirror offers."""
        raise PermissionError(self.folder)

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        raise PermissionError(prefix)

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        raise PermissionError(prefix)


def _read(mirror: Mirror, tail: str, span: ByteRequest | None) -> bytes:
    if isinstance(span, SuffixByteRequest):
        return _index(mirror, tail, span.suffix)
    if isinstance(span, RangeByteRequest):
        start, stop = span.start, span.end
    else:
        start, stop = 0 if span is None else span.offset, _size(mirror, tail)
    return bytes(read_range(mirror.href(tail), start, stop - start, access=mirror.access).data)


@functools.lru_cache(maxsize=_INDEXES)
def _index(mirror: Mirror, tail: str, length: int) -> bytes:
    """Read the end of a shard, where its index lies, once per process."""
    size = _size(mirror, tail)
    return bytes(read_range(mirror.href(tail), max(0, size - length), min(size, length), access=mirror.access).data)


def _size(mirror: Mirror, tail: str) -> int:
    return read_range(mirror.href(tail), 0, 1, access=mirror.access).size


def forget_indexes() -> None:
    """Forget the indexes of shards."""
    _index.cache_clear()
