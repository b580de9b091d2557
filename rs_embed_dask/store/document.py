"""The root document of a store: its commit record.

One key, ``zarr.json``, lists what the store holds: the number of items, the models, the request, the receipt, and the
metadata of every array (Zarr's consolidated metadata, which xarray reads instead of hundreds of small files). Whatever
is created or added becomes visible when this key is replaced, which every supported store does atomically. We write
the document ourselves, because Zarr would write its attributes and its consolidated metadata in two steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from zarr.abc.store import Store as ZarrStore
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.layout import LAYOUT_VERSION, ModelLayout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

__all__ = ["ITEMS", "MARK", "ROOT_KEY", "Document", "Location", "Target", "explained", "group_document", "now"]

T = TypeVar("T")

Target: TypeAlias = "str | os.PathLike[str] | ZarrStore"
"""A local path, a URL that fsspec understands, or a Zarr store object."""

ROOT_KEY: Final = "zarr.json"
"""The key of the root document, which is the store's own commit record."""


@contextlib.contextmanager
def explained(what: str, value: object, fix: str) -> Iterator[None]:
    """Turn the errors of storage and codecs into a `StoreError` with a fix."""
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
    """The place of one store."""

    target: str | ZarrStore
    read_only: bool = False

    @classmethod
    def of(cls, target: Target, *, read_only: bool = False) -> Location:
        """Resolve a path, a URL or a Zarr store object."""
        if isinstance(target, ZarrStore):
            return cls(target, read_only)
        unchecked: object = target
        text = str(os.fspath(unchecked)) if isinstance(unchecked, (str, os.PathLike)) else ""
        if not text:
            fix = "give a path, a URL such as s3://bucket/run.zarr, or a zarr store object"
            raise StoreError("store target", value=target, reason="it is not a path, URL or Zarr store", fix=fix)
        if "://" not in text:
            return cls(str(Path(text).expanduser().absolute()), read_only)
        parts = urlsplit(text)
        if parts.scheme in {"file", "local"}:
            # Zarr's LocalStore renames each file into place; fsspec writes local files in place, so not atomically.
            return cls(str(Path(unquote(parts.netloc + parts.path)).absolute()), read_only)
        return cls(text, read_only)

    @property
    def name(self) -> str:
        """The place as messages show it."""
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
        """Read one key."""
        with explained("store key", f"{self.name}/{key}", "check that the path is a store and can be read"):
            try:
                content = sync(self.storage.get(key, default_buffer_prototype()))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if content is None else content.to_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Write one key atomically: a reader sees the old content or the new, never a part."""
        with explained("store key", f"{self.name}/{key}", "check the disk's space and that the path can be written"):
            sync(self.storage.set(key, default_buffer_prototype().buffer.from_bytes(content)))

    def remove(self, prefix: str) -> None:
        """Remove a folder or a key at the top level, if it is there."""
        with explained("store folder", f"{self.name}/{prefix}", "check that the path can be written"):
            if sync(self.storage.exists(prefix)):
                sync(self.storage.delete(prefix))
            sync(self.storage.delete_dir(prefix))

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List the keys that do not exist; all are looked up concurrently."""
        with explained("store target", self.name, "check that the path can be read"):
            return sync(_missing(self.storage, keys))

    def names(self) -> list[str]:
        """List the names at the top level, without the partial files of killed writes."""
        with explained("store target", self.name, "check that the path is a folder that can be read"):
            names = sync(_collected(self.storage.list_dir("")))
        return sorted(name for name in names if not (name.startswith("zarr.") and name.endswith(".partial")))

    def __getstate__(self) -> dict[str, Any]:
        if not self.is_portable:
            fix = "write from the process that holds it, or give a path or URL as the target"
            reason = "a store in memory cannot be sent to another process"
            raise StoreError("store target", value=self.name, reason=reason, fix=fix)
        return {"target": self.target, "read_only": self.read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


async def _missing(storage: ZarrStore, keys: Sequence[str]) -> list[str]:
    exists = await asyncio.gather(*(storage.exists(key) for key in keys))
    return [key for key, there in zip(keys, exists, strict=True) if not there]


async def _collected(stream: AsyncIterator[T]) -> list[T]:
    return [one async for one in stream]


MARK: Final = "rs_embed_dask"
"""The root attribute that identifies a store of this package."""

ITEMS: Final = "items"
"""The group of the items."""

_CREATING: Final = "creating"
_READY: Final = "ready"


def now() -> str:
    """Return the present time as UTC in ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def group_document(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the Zarr v3 metadata of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


@dataclass(frozen=True)
class Document:
    """The content of the root document."""

    chunk_items: int
    item_rows: int
    n_items: int = 0
    layouts: tuple[ModelLayout, ...] = ()
    request: dict[str, Any] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    is_ready: bool = False

    @property
    def n_chunks(self) -> int:
        """Number of chunks of each model."""
        return -(-self.n_items // self.chunk_items)

    def layout(self, label: str) -> ModelLayout:
        """Find a model by its label."""
        for one in self.layouts:
            if one.label == label:
                return one
        labels = ", ".join(one.label for one in self.layouts) or "none"
        raise StoreError("label", value=label, reason="the store has no such model", fix=f"use one of: {labels}")

    def to_bytes(self) -> bytes:
        """Serialise the document as JSON."""
        mark = {
            "layout": LAYOUT_VERSION,
            "state": _READY if self.is_ready else _CREATING,
            "n_items": self.n_items,
            "chunk_items": self.chunk_items,
            "item_rows": self.item_rows,
            "models": [one.to_dict() | {"attrs": {}} for one in self.layouts],
        }
        times = {"created": self.created, "updated": self.updated}
        attributes = {"title": "embeddings of remote-sensing foundation models", **times, MARK: mark}
        attributes |= {"request": self.request, "receipt": self.receipt}
        content = group_document(attributes)
        if self.is_ready:
            content["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": self.metadata}
        return json.dumps(content, indent=1).encode()

    def save(self, location: Location) -> Self:
        """Replace the root document with this one: the moment at which a change becomes visible."""
        saved = replace(self, updated=now())
        location.write(ROOT_KEY, saved.to_bytes())
        return saved

    @classmethod
    def load(cls, location: Location) -> Document:
        """Read the root document of a store."""
        document = cls.find(location)
        if document is None:
            reason = "there is no store at this place"
            fix = "check the path, or run a request with out= this path"
            raise StoreError("store", value=location.name, reason=reason, fix=fix)
        if not document.is_ready:
            reason = "its making was cut short, so that it holds no result yet"
            fix = "run the request again: it makes the store anew"
            raise StoreError("store", value=location.name, reason=reason, fix=fix)
        return document

    @classmethod
    def find(cls, location: Location) -> Document | None:
        """Read the root document if there is one, ready or not."""
        content = location.read(ROOT_KEY)
        if content is None:
            return None
        foreign = "it is not a store of rs-embed-dask"
        try:
            data = json.loads(content)
            attributes = data["attributes"]
            mark = attributes[MARK]
            version = mark["layout"]
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{foreign} ({type(error).__name__} in {ROOT_KEY})"
            fix = "check the path, or choose an empty one"
            raise StoreError("store", value=location.name, reason=reason, fix=fix) from error
        if version != LAYOUT_VERSION:
            reason = f"its layout is version {version}, this package reads version {LAYOUT_VERSION}"
            fix = "use the package version that is in its receipt"
            raise StoreError("store", value=location.name, reason=reason, fix=fix)
        try:
            return cls._parsed(data, attributes, mark)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"its {ROOT_KEY} lacks or garbles {error}"
            fix = "restore the file, or make the store anew"
            raise StoreError("store", value=location.name, reason=reason, fix=fix) from error

    @classmethod
    def _parsed(cls, data: dict[str, Any], attributes: dict[str, Any], mark: dict[str, Any]) -> Document:
        is_ready = mark["state"] == _READY
        metadata = data["consolidated_metadata"]["metadata"] if is_ready else {}
        layouts = []
        for sizes in mark["models"] if is_ready else ():
            group = metadata[sizes["label"]]["attributes"]
            layouts.append(ModelLayout.from_dict(sizes | {"attrs": group["model"]}))
        return cls(
            chunk_items=int(mark["chunk_items"]),
            item_rows=int(mark["item_rows"]),
            n_items=int(mark["n_items"]),
            layouts=tuple(layouts),
            request=attributes["request"],
            receipt=attributes["receipt"],
            metadata=metadata,
            created=attributes["created"],
            updated=attributes["updated"],
            is_ready=is_ready,
        )
