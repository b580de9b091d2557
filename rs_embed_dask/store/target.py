"""Where a store lives: a local path, an fsspec URL, or a Zarr store held in memory.

Everything below Zarr's own array code that the store needs of its place is here: reading and writing one key, listing
the top level and removing a folder, with errors that name the value, the reason and the fix.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from zarr.abc.store import Store as ZarrStore
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from rs_embed_dask.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

__all__ = ["ROOT_KEY", "Location", "Target", "explained"]

T = TypeVar("T")

Target: TypeAlias = "str | os.PathLike[str] | ZarrStore"
"""A local path, a URL that fsspec understands, or a Zarr store object."""

ROOT_KEY: Final = "zarr.json"
"""The key of the root document, which is the store's own commit record."""


@contextlib.contextmanager
def explained(what: str, value: object, fix: str) -> Iterator[None]:
    """Turn what storage and codecs raise into a `StoreError` with a fix.

    Parameters
    ----------
    what : str
        What was being read or written, for example ``"store chunk galileo/embedding"``.
    value : object
        The path or key at fault.
    fix : str
        What the user can do about a fault that is not one of permission or space.

    Raises
    ------
    StoreError
        In place of an `OSError`, and of the `ValueError`, `RuntimeError` or `KeyError` of a codec that met bytes
        which are not a chunk.
    """
    try:
        yield
    except PermissionError as error:
        reason = f"no permission ({error.strerror or error})"
        raise StoreError(what, value=value, reason=reason, fix="make it writable, or choose another path") from error
    except OSError as error:
        raise StoreError(what, value=value, reason=f"{type(error).__name__}: {error}", fix=fix) from error
    except (ValueError, RuntimeError, KeyError, EOFError) as error:
        if isinstance(error, StoreError):
            raise
        reason = f"its bytes cannot be understood ({type(error).__name__}: {error})"
        raise StoreError(what, value=value, reason=reason, fix=fix) from error


@dataclass(frozen=True)
class Location:
    """The place of one store.

    Parameters
    ----------
    target : str or zarr.abc.store.Store
        As `Location.of` made it: an absolute path, a URL, or a Zarr store object.
    read_only : bool, default False
        Refuse every write.
    """

    target: str | ZarrStore
    read_only: bool = False

    @classmethod
    def of(cls, target: Target, *, read_only: bool = False) -> Location:
        """Understand what a user gives as the place of a store.

        Parameters
        ----------
        target : str, path-like or zarr.abc.store.Store
            A local path, ``file://`` or another fsspec URL, or a Zarr store.
        read_only : bool, default False
            Refuse every write.

        Raises
        ------
        StoreError
            If it is none of these.
        """
        if isinstance(target, ZarrStore):
            return cls(target, read_only)
        given: object = target
        text = str(os.fspath(given)) if isinstance(given, (str, os.PathLike)) else ""
        if not text:
            fix = "give a path, a URL such as s3://bucket/run.zarr, or a zarr store object"
            raise StoreError("store target", value=target, reason="it is no path, URL or Zarr store", fix=fix)
        if "://" not in text:
            return cls(str(Path(text).expanduser().absolute()), read_only)
        parts = urlsplit(text)
        if parts.scheme in {"file", "local"}:
            # Zarr's LocalStore renames each file into place; fsspec's local files are written where they stand.
            return cls(str(Path(unquote(parts.netloc + parts.path)).absolute()), read_only)
        return cls(text, read_only)

    @property
    def name(self) -> str:
        """The place as it stands in messages."""
        return self.target if isinstance(self.target, str) else repr(self.target)

    @property
    def is_portable(self) -> bool:
        """Whether another process can open the same place."""
        return isinstance(self.target, str)

    @cached_property
    def storage(self) -> ZarrStore:
        """The Zarr store object."""
        if isinstance(self.target, ZarrStore):
            return self.target
        if "://" not in self.target:
            return LocalStore(self.target, read_only=self.read_only)
        try:
            return FsspecStore.from_url(self.target, read_only=self.read_only)
        except (ImportError, ValueError) as error:
            fix = "check the URL's scheme, and install its filesystem (s3fs, gcsfs, adlfs)"
            raise StoreError("store target", value=self.target, reason=str(error), fix=fix) from error

    def read(self, key: str) -> bytes | None:
        """Read one key.

        Returns
        -------
        bytes or None
            None where there is no such key.
        """
        with explained("store key", f"{self.name}/{key}", "check that the path is a store and can be read"):
            try:
                found = sync(self.storage.get(key, default_buffer_prototype()))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if found is None else found.to_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Write one key, whole: a reader sees the old content or the new, never a part."""
        with explained("store key", f"{self.name}/{key}", "check the disk's space and that the path can be written"):
            sync(self.storage.set(key, default_buffer_prototype().buffer.from_bytes(content)))

    def remove(self, prefix: str) -> None:
        """Remove a folder or a key at the top level, if it is there."""
        with explained("store folder", f"{self.name}/{prefix}", "check that the path can be written"):
            if sync(self.storage.exists(prefix)):
                sync(self.storage.delete(prefix))
            sync(self.storage.delete_dir(prefix))

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Tell which of some keys are not there; all are asked for at once."""
        with explained("store target", self.name, "check that the path can be read"):
            return sync(_missing(self.storage, keys))

    def names(self) -> list[str]:
        """List the names at the top level, without what a killed write left behind."""
        with explained("store target", self.name, "check that the path is a folder that can be read"):
            found = sync(_collected(self.storage.list_dir("")))
        return sorted(name for name in found if not (name.startswith("zarr.") and name.endswith(".partial")))

    def __getstate__(self) -> dict[str, Any]:
        if not self.is_portable:
            fix = "write from the process that holds it, or give a path or URL as the target"
            reason = "a store in memory cannot be sent to another process"
            raise StoreError("store target", value=self.name, reason=reason, fix=fix)
        return {"target": self.target, "read_only": self.read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


async def _missing(storage: ZarrStore, keys: Sequence[str]) -> list[str]:
    found = await asyncio.gather(*(storage.exists(key) for key in keys))
    return [key for key, there in zip(keys, found, strict=True) if not there]


async def _collected(found: AsyncIterator[T]) -> list[T]:
    return [one async for one in found]


def in_memory() -> MemoryStore:
    """Make an empty place in memory, for results that nobody asked to keep."""
    return MemoryStore()
