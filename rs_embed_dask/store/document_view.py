"""What readers and writers of all stores have in common: one state of the root document, and its replacement."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.document import ROOT_KEY, Location, RootDocument
from rs_embed_dask.store.fence import fenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

    from rs_embed_dask.store.document import Target

__all__ = ["DocumentStore", "DocumentView"]

_D = TypeVar("_D", bound=RootDocument[Any])


class DocumentView(Generic[_D]):
    """A store as a reader sees it."""

    documents: type[_D]

    def __init__(self, location: Location, document: _D | None = None) -> None:
        self._location = location
        self._document_read = document
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._location.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_location": self._location, "_document_read": None, "_arrays": {}}

    @property
    def document(self) -> _D:
        """The root document, as it was when it was first asked for."""
        if self._document_read is None:
            self._document_read = self.documents.load(self._location)
        return self._document_read

    def reload(self) -> None:
        """Look at what other runs have changed meanwhile."""
        self._renew(self.documents.load(self._location))

    def _renew(self, document: _D) -> None:
        self._document_read = document
        self._arrays = {}

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
        """The request."""
        return self.document.request

    @property
    def receipt(self) -> dict[str, Any]:
        """What the store was made with."""
        return self.document.receipt

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the models, in the order they were added."""
        return tuple(one.label for one in self.document.layouts)


class DocumentStore(DocumentView[_D]):
    """A store that is written."""

    repair: ClassVar[str]
    """What may be done where arrays are missing."""

    @classmethod
    def open(cls, target: Target, mode: Literal["r", "r+"] = "r") -> Self:
        """Open a store and check that its arrays are there.

        Parameters
        ----------
        target : str, path-like or zarr store
            Its place.
        mode : {"r", "r+"}, default "r"
            Read only, or read and write.

        Raises
        ------
        StoreError
            If there is no store, or if it is another program's, has another layout, is incomplete or lacks an array, or
            if its numbers cannot be right.
        """
        if mode not in {"r", "r+"}:
            reason = "a store is opened to read or to read and write"
            raise StoreError("mode", value=mode, reason=reason, fix="use 'r' or 'r+'")
        location = Location.of(target, read_only=mode == "r")
        # Opened read-only at first: writable storage would create the folder of a mistyped path.
        reading = replace(location, read_only=True)
        document = cls.documents.load(reading)
        missing = reading.missing([f"{path}/{ROOT_KEY}" for path in document.metadata])
        if missing:
            reason = f"{len(missing)} of its arrays are missing"
            raise StoreError("store", value=f"{location.name}/{missing[0]}", reason=reason, fix=cls.repair)
        cls._check(reading, document)
        if mode == "r+":
            location.leftovers(remove=True)
        return cls(location, document)

    @classmethod
    def _check(cls, location: Location, document: _D) -> None:
        """Refuse numbers that cannot be right."""

    @classmethod
    def exists(cls, target: Target) -> bool:
        """Return whether there is a finished store at a place.

        Raises
        ------
        StoreError
            If there is a root document that is not ours.
        """
        document = cls.documents.find(Location.of(target, read_only=True))
        return document is not None and document.is_ready

    @contextmanager
    def _changing(self) -> Iterator[tuple[Location, _D]]:
        """Give the root document as it is now, and a place where it can be replaced."""
        self._check_writable()
        with fenced(self._location, ROOT_KEY, self.documents.stamped) as inside:
            yield inside, self.documents.load(inside)

    def _check_writable(self) -> None:
        if self._location.read_only:
            fix = "open it with mode='r+'"
            raise StoreError("store", value=self._location.name, reason="it was opened for reading", fix=fix)
