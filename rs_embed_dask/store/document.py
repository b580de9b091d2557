"""The root document of a store: its commit record.

One key, ``zarr.json``, lists what the store holds: the number of items, the models, the request, the receipt, and the
metadata of every array (Zarr's consolidated metadata, which xarray reads instead of hundreds of small files). Whatever
is created or added becomes visible when this key is replaced, which every supported store does atomically. We write
the document ourselves, because Zarr would write its attributes and its consolidated metadata in two steps.
"""

from __future__ import annotations

import datetime as dt
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeAlias, TypeVar

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.checksum import json_checksum
from rs_embed_dask.store.fence import CLAIM, stamped_json
from rs_embed_dask.store.layout import LAYOUT_VERSION, ModelLayout
from rs_embed_dask.store.receipt import strict_json
from rs_embed_dask.store.target import ROOT_KEY, Location, Target, explained

__all__ = [
    "CLAIM",
    "COPY_KEY",
    "ITEMS",
    "MAP",
    "MARK",
    "PLACES",
    "ROOT_KEY",
    "Document",
    "Location",
    "RootDocument",
    "Target",
    "explained",
    "group_document",
    "is_as_written",
    "kind_of",
    "now",
]

COPY_KEY: Final = "zarr.json.copy"
"""A copy of the root document, for the repair of a damaged one. It is written after it: it never lists too much."""

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


def is_as_written(content: bytes) -> bool:
    """Whether a root document has the checksum that it states; those of earlier versions state none."""
    data = json.loads(content)
    data["attributes"].pop(CLAIM, None)
    stated = data["attributes"][MARK].pop("checksum", None)
    return stated is None or bool(stated == json_checksum(data))


PLACES: Final = "places"
MAP: Final = "map"
_OPENS: Final = {PLACES: "it holds places: open it with open_store", MAP: "it holds a map: open it with open_map"}

_Marked: TypeAlias = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def kind_of(location: Location) -> str:
    """Return what is at a place: a map, or places; places also where nothing is, or nothing that can be understood."""
    for key in (ROOT_KEY, COPY_KEY):
        content = location.read(key)
        try:
            mark = {} if content is None else _understood(content, location)[2]
        except StoreError:  # whoever opens it says what is wrong
            continue
        if mark:
            return str(mark.get("kind", PLACES))
    return PLACES


def _of_kind(content: bytes, location: Location, kind: str) -> _Marked:
    """Understand a root document of a kind."""
    parts = _understood(content, location)
    there = parts[2].get("kind", PLACES)
    if there != kind:
        reason, _, fix = _OPENS.get(there, "it holds something else: check the path").partition(": ")
        raise StoreError("store", value=location.name, reason=reason, fix=f"{fix}, or choose another path")
    return parts


def _understood(content: bytes, location: Location) -> _Marked:
    foreign = "it is not a store of rs-embed-dask"
    try:
        data = strict_json(content)
        attributes = data["attributes"]
        mark = attributes[MARK]
        version = mark["layout"]
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{foreign} ({type(error).__name__} in {ROOT_KEY}: {str(error)[:100]})"
        fix = "check the path, or choose an empty one"
        raise StoreError("store", value=location.name, reason=reason, fix=fix) from error
    if version != LAYOUT_VERSION:
        reason = f"its layout is version {version}, this package reads version {LAYOUT_VERSION}"
        fix = "use the package version that is in its receipt"
        raise StoreError("store", value=location.name, reason=reason, fix=fix)
    return data, attributes, mark


class _Labelled(Protocol):
    @property
    def label(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


_L = TypeVar("_L", bound=_Labelled)


@dataclass(frozen=True, kw_only=True)
class RootDocument(ABC, Generic[_L]):
    """What the root documents of all stores hold: the models, the request, the receipt, and the metadata of arrays."""

    layouts: tuple[_L, ...] = ()
    request: dict[str, Any] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    is_ready: bool = False

    kind: ClassVar[str]
    noun: ClassVar[str]
    title: ClassVar[str]

    @property
    @abstractmethod
    def _mark(self) -> dict[str, Any]:
        """What identifies a store of this kind, and its sizes."""

    @property
    def _listed(self) -> dict[str, dict[str, Any]]:
        """The metadata in the order in which they are written."""
        return self.metadata

    @classmethod
    @abstractmethod
    def _parsed(cls, mark: dict[str, Any], models: list[dict[str, Any]], **common: Any) -> Self:
        """Make a document of its mark and models, and of what all kinds have."""

    def layout(self, label: str) -> _L:
        """Find a model by its label."""
        for one in self.layouts:
            if one.label == label:
                return one
        labels = ", ".join(one.label for one in self.layouts) or "none"
        reason = f"the {self.noun} has no such model"
        raise StoreError("label", value=label, reason=reason, fix=f"use one of: {labels}")

    def to_bytes(self) -> bytes:
        """Serialise the document as JSON."""
        mark = {"layout": LAYOUT_VERSION, "state": _READY if self.is_ready else _CREATING}
        mark |= self._mark | {"models": [one.to_dict() | {"attrs": {}} for one in self.layouts]}
        times = {"created": self.created, "updated": self.updated}
        attributes = {"title": self.title, **times, MARK: mark, "request": self.request, "receipt": self.receipt}
        content = group_document(attributes)
        if self.is_ready:
            content["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": self._listed}
            mark["checksum"] = json_checksum(content)
        return json.dumps(content, indent=1).encode()

    def save(self, location: Location) -> Self:
        """Replace the root document with this one: the moment at which a change becomes visible."""
        saved = replace(self, updated=now())
        content = saved.to_bytes()
        location.write(ROOT_KEY, content)
        if self.is_ready:
            location.write(COPY_KEY, content)  # after the commit: what was refused must not be restored one day
        return saved

    @classmethod
    def stamped(cls, content: bytes | None, mark: str) -> bytes:
        """Put a mark into the content of the root document, or begin one."""
        return stamped_json(cls().to_bytes() if content is None else content, mark)

    @classmethod
    def load(cls, location: Location) -> Self:
        """Read the root document of a store. Raises StoreError where there is none, or it was never finished."""
        document = cls.find(location)
        if document is None:
            reason = "there is no store at this place"
            fix = "check the path, or run a request with out= this path"
            raise StoreError("store", value=location.name, reason=reason, fix=fix)
        if not document.is_ready:
            reason = "it is being made, or its making was cut short: it holds no result yet"
            fix = "wait for the run that makes it; if there is none, run the request again"
            raise StoreError("store", value=location.name, reason=reason, fix=fix)
        return document

    @classmethod
    def find(cls, location: Location) -> Self | None:
        """Read the root document if there is one, ready or not."""
        content = location.read(ROOT_KEY)
        return None if content is None else cls.of(content, location)

    @classmethod
    def of(cls, content: bytes, location: Location) -> Self:
        """Understand a root document."""
        data, attributes, mark = _of_kind(content, location, cls.kind)
        try:
            is_ready = mark["state"] == _READY
            metadata = data["consolidated_metadata"]["metadata"] if is_ready else {}
            sizes = mark["models"] if is_ready else ()
            models = [one | {"attrs": metadata[one["label"]]["attributes"]["model"]} for one in sizes]
            common = {name: attributes[name] for name in ("request", "receipt", "created", "updated")}
            return cls._parsed(mark, models, metadata=metadata, is_ready=is_ready, **common)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"its {ROOT_KEY} lacks or garbles {error}"
            fix = f"restore the file, or make the {cls.noun} anew"
            raise StoreError("store", value=location.name, reason=reason, fix=fix) from error


@dataclass(frozen=True, kw_only=True)
class Document(RootDocument[ModelLayout]):
    """The root document of a store of places."""

    chunk_items: int = 1
    item_rows: int = 1
    n_items: int = 0
    items_digest: str = ""

    kind: ClassVar[str] = PLACES
    noun: ClassVar[str] = "store"
    title: ClassVar[str] = "embeddings of remote-sensing foundation models"

    @property
    def n_chunks(self) -> int:
        """Number of chunks of each model."""
        return -(-self.n_items // self.chunk_items)

    @property
    def _mark(self) -> dict[str, Any]:
        mark = {"n_items": self.n_items, "chunk_items": self.chunk_items, "item_rows": self.item_rows}
        return mark | ({"items_digest": self.items_digest} if self.items_digest else {})

    @classmethod
    def _parsed(cls, mark: dict[str, Any], models: list[dict[str, Any]], **common: Any) -> Self:
        return cls(
            layouts=tuple(map(ModelLayout.from_dict, models)),
            chunk_items=int(mark["chunk_items"]),
            item_rows=int(mark["item_rows"]),
            n_items=int(mark["n_items"]),
            items_digest=str(mark.get("items_digest", "")),
            **common,
        )
