"""The place of a store: a folder, a URL or a Zarr store object, and what is read and written there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from zarr.abc.store import Store as ZarrStore
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.durable import DurableStore, clear, files, leftovers
from rs_embed_dask.store.services import OBJECT_SCHEMES, check_address, open_service, service_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rs_embed_dask.store.services import ServiceOptions, StorageOptions

__all__ = ["GUARD", "ROOT_KEY", "Location", "Target", "explained", "located"]

Target: TypeAlias = "str | os.PathLike[str] | ZarrStore | Location"
"""A local path, the URL of an object store or of anything that fsspec understands, a Zarr store object, or a place."""

_T = TypeVar("_T")

ROOT_KEY: Final = "zarr.json"
"""The key of the root document, which is the store's own commit record."""

GUARD: Final = ".lease"
"""The folder of the lease and of the locks; it is no part of the content."""

_AT_ONCE: Final = 64


def _storage_errors() -> tuple[type[BaseException], ...]:
    """Errors of the operating system, and of obstore, which is not imported for this."""
    module: Any = sys.modules.get("obstore.exceptions")
    return (OSError,) if module is None else (OSError, module.BaseError)


@contextlib.contextmanager
def explained(what: str, value: object, fix: str) -> Iterator[None]:
    """Turn what storage and codecs raise into a `StoreError` with a fix."""
    try:
        yield
    except PermissionError as error:
        reason = f"no permission ({error.strerror or error})"
        raise StoreError(what, value=value, reason=reason, fix="make it writable, or choose another path") from error
    except _storage_errors() as error:
        # Of obstore's errors, the rest is a printout of nested values.
        reason = f"{type(error).__name__}: {error}".partition("\n\nDebug source")[0]
        raise StoreError(what, value=value, reason=reason, fix=fix) from error
    except (ValueError, RuntimeError, KeyError, EOFError) as error:
        if isinstance(error, StoreError):
            raise
        reason = f"its bytes cannot be understood ({type(error).__name__}: {error})"
        raise StoreError(what, value=value, reason=reason, fix=fix) from error


@dataclass(frozen=True)
class Location:
    """The place of one store."""

    target: str | ZarrStore
    read_only: bool = False
    options: ServiceOptions = ()
    """Of an object store, beside its URL; none is a secret."""

    @classmethod
    def of(cls, target: Target, *, read_only: bool = False) -> Location:
        """Understand what a user gives as the place of a store."""
        if isinstance(target, Location):
            return replace(target, read_only=read_only)
        if isinstance(target, ZarrStore):
            return cls(target, read_only)
        given: object = target
        text = str(os.fspath(given)) if isinstance(given, (str, os.PathLike)) else ""
        if not text:
            fix = "give a path, a URL such as s3://bucket/run.zarr, or a zarr store object"
            raise StoreError("store target", value=target, reason="it is not a path, URL or Zarr store", fix=fix)
        if "://" not in text:
            return cls(str(Path(text).expanduser().absolute()), read_only)
        parts = urlsplit(text)
        if parts.scheme in {"file", "local"}:
            # Zarr's LocalStore renames each file into place; fsspec's local files are written where they stand.
            return cls(str(Path(unquote(parts.netloc + parts.path)).absolute()), read_only)
        check_address(text)
        return cls(text, read_only)

    @property
    def name(self) -> str:
        """The place as it stands in messages."""
        return self.target if isinstance(self.target, str) else repr(self.target)

    @property
    def is_portable(self) -> bool:
        """Whether another process can open the same place."""
        return isinstance(self.target, str) and urlsplit(self.target).scheme != "memory"

    @cached_property
    def storage(self) -> ZarrStore:
        """The Zarr store object."""
        if isinstance(self.target, ZarrStore):
            return self.target
        if "://" not in self.target:
            return DurableStore(self.target, read_only=self.read_only)
        if urlsplit(self.target).scheme in OBJECT_SCHEMES and find_spec("obstore") is not None:
            return ObjectStore(self._service(), read_only=self.read_only)
        try:
            return FsspecStore.from_url(self.target, read_only=self.read_only)
        except (ImportError, ValueError) as error:
            fix = "check the URL's scheme, and install rs-embed-dask[object-store] or its filesystem for fsspec"
            raise StoreError("store target", value=self.target, reason=str(error), fix=fix) from error

    def _service(self) -> Any:
        with explained("store target", self.target, "check the URL, and the credentials in the environment"):
            return open_service(str(self.target), self.options)

    @property
    def folder(self) -> Path | None:
        """The folder, of a local store."""
        return Path(self.storage.root) if isinstance(self.storage, LocalStore) else None

    @property
    def service(self) -> Any:
        """The obstore object, of a store on an object store."""
        return self.storage.store if isinstance(self.storage, ObjectStore) else None

    @property
    def is_locked_in_process(self) -> bool:
        """Whether other processes reach the place, but not its locks."""
        return self.is_portable and isinstance(self.storage, FsspecStore)

    def read(self, key: str) -> bytes | None:
        """Read one key."""
        with explained("store key", f"{self.name}/{key}", "check that the path is a store and can be read"):
            try:
                content = sync(self.storage.get(key, default_buffer_prototype()))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if content is None else content.to_bytes()

    def read_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read many small keys at once; None for one that is not there."""
        with explained("store target", self.name, "check that the path is a store and can be read"):
            if (folder := self.folder) is not None:
                return [_file(f"{folder}/{key}") for key in keys]
            return sync(_fetched(self.storage, keys))

    def write(self, key: str, content: bytes) -> None:
        """Write one key, whole: a reader sees the old content or the new, never a part."""
        self.write_all({key: content})

    def write_all(self, contents: dict[str, bytes]) -> None:
        """Write some keys, each whole, in any order."""
        first = next(iter(contents), "")
        with explained("store key", f"{self.name}/{first}", "check the disk's space and that the path can be written"):
            sync(_stored(self.storage, contents))

    def remove(self, prefix: str) -> None:
        """Remove a folder or a key, if it is there."""
        self.clear(prefix)
        with explained("store folder", f"{self.name}/{prefix}", "check that the path can be written"):
            if sync(self.storage.exists(prefix)):
                sync(self.storage.delete(prefix))
            sync(self.storage.delete_dir(prefix))

    def clear(self, key: str) -> None:
        """Remove what stands in the way of a key on a local disk; what another folder links to stays."""
        if self.folder is not None:
            with explained("store key", f"{self.name}/{key}", "check that the path can be written"):
                clear(self.folder, key)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List the keys that are not there; all are looked up at once."""
        with explained("store target", self.name, "check that the path can be read"):
            return sync(_missing(self.storage, keys))

    def keys(self, prefix: str) -> set[str]:
        """List every key below a folder."""
        with explained("store target", self.name, "check that the path can be read"):
            return set(sync(_listed(self.storage, prefix)) if self.folder is None else files(self.folder, prefix))

    def leftovers(self, *, remove: bool) -> list[str]:
        """List, and remove, what killed writes left on a local disk; elsewhere they leave nothing."""
        with explained("store target", self.name, "check that the path can be read"):
            return [] if self.folder is None else leftovers(str(self.folder), remove=remove)

    def names(self) -> list[str]:
        """List the names at the top level, without the lease and what a killed write left behind."""
        with explained("store target", self.name, "check that the path is a folder that can be read"):
            names = sync(_names(self.storage))
        partial = [name for name in names if name.startswith("zarr.") and name.endswith(".partial")]
        return sorted(set(names) - {GUARD, *partial})

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self.target, str):
            fix = "write from the process that holds it, or give a path or URL as the target"
            reason = "a store in memory cannot be sent to another process"
            raise StoreError("store target", value=self.name, reason=reason, fix=fix)
        return {"target": self.target, "read_only": self.read_only, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def located(target: _T, storage_options: StorageOptions | None) -> _T | Location:
    """Return a place with the options of its object store; what is given, where there are none."""
    if storage_options is None:
        return target
    given: Any = target
    location = Location.of(given)
    url = location.target if isinstance(location.target, str) else ""
    return replace(location, options=service_options(url, storage_options))


def _file(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  thousands at a time
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


async def _fetched(storage: ZarrStore, keys: Sequence[str]) -> list[bytes | None]:
    room = asyncio.Semaphore(_AT_ONCE)

    async def fetch(key: str) -> bytes | None:
        async with room:
            content = await storage.get(key, default_buffer_prototype())
            return None if content is None else content.to_bytes()

    return await asyncio.gather(*map(fetch, keys))


async def _stored(storage: ZarrStore, contents: dict[str, bytes]) -> None:
    room = asyncio.Semaphore(_AT_ONCE)
    buffer = default_buffer_prototype().buffer

    async def store(key: str, content: bytes) -> None:
        async with room:
            await storage.set(key, buffer.from_bytes(content))

    await asyncio.gather(*(store(*pair) for pair in contents.items()))


async def _missing(storage: ZarrStore, keys: Sequence[str]) -> list[str]:
    exists = await asyncio.gather(*(storage.exists(key) for key in keys))
    return [key for key, there in zip(keys, exists, strict=True) if not there]


async def _listed(storage: ZarrStore, prefix: str) -> list[str]:
    return [key async for key in storage.list_prefix(f"{prefix}/")]


async def _names(storage: ZarrStore) -> list[str]:
    return [name async for name in storage.list_dir("")]
