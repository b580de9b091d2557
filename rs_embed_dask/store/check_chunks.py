"""Checks of a model's chunks: that their files are there, decode, and hold the rows that were written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.durable import PARTIAL
from rs_embed_dask.store.layout import CHECKSUM, COORDS, EMBEDDED, STATUS, Status
from rs_embed_dask.store.writer import status_fence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set as AbstractSet

    from rs_embed_dask.store.document import Document, Location
    from rs_embed_dask.store.layout import Field
    from rs_embed_dask.store.lease import ChunkRange
    from rs_embed_dask.store.view import StoreView
    from rs_embed_dask.store.writer import Chunk

__all__ = ["ChunkCheck", "check_leftovers", "check_model", "check_strays", "lost_chunks"]

_CODES: Final = np.asarray([int(code) for code in Status])
_CHUNK_KEY: Final = re.compile(r"[^/]+/(?P<array>[^/]+)/c/(?:(?P<number>0|[1-9]\d*)(?:/0)*|.*)")
_EMBEDDED: Final = [int(code) for code in EMBEDDED]


@dataclass(eq=False)
class ChunkCheck:
    """What is wrong with one chunk."""

    COUNTED: ClassVar = ("checked", "unrecorded")

    chunk: Chunk
    files: AbstractSet[str]
    status: np.ndarray[Any, Any] | None = None
    lost: set[str] = field(default_factory=set)
    faults: list[tuple[str, str, int]] = field(default_factory=list)
    checked: int = 0
    unrecorded: int = 0

    def __post_init__(self) -> None:
        self.bad = np.zeros(self.chunk.size, dtype=bool)

    def run(self, *, reads_data: bool) -> ChunkCheck:
        """Look at the status, then at the files, then at each row."""
        try:
            self.status = self.chunk.read(STATUS.name)
        except StoreError as error:
            self._blame(STATUS.name, error.reason, np.ones(self.chunk.size, dtype=bool))
            return self
        unknown = ~np.isin(self.status, _CODES)
        if unknown.any():
            codes = sorted({int(code) for code in self.status[unknown]})
            self._blame(STATUS.name, f"there is no status {codes}", unknown)
        columns = self._columns(reads_data=reads_data)
        if reads_data and not self.lost:
            self._compare(columns)
        return self

    def _blame(self, name: str, reason: str, rows: np.ndarray[Any, Any]) -> None:
        """Note a fault of one array, and the rows that it makes worthless."""
        self.lost.add(name)
        self.faults.append((self.chunk.key(name), reason, int((rows & ~self.bad).sum())))
        self.bad |= rows

    def _columns(self, *, reads_data: bool) -> dict[str, np.ndarray[Any, Any]]:
        assert self.status is not None
        decided = self.status != Status.PENDING
        is_needed = bool(np.isin(self.status, _EMBEDDED).any())
        columns = {}
        for name in self.chunk.arrays.keys() - {STATUS.name}:
            is_written = self.chunk.has_checksums or name == "embedding"  # earlier versions left empty chunks out
            if is_needed and is_written and self.chunk.key(name) not in self.files:
                self._blame(name, "it is missing", decided)
            elif reads_data:
                try:
                    columns[name] = self.chunk.read(name)
                except StoreError as error:
                    if decided.any():
                        self._blame(name, error.reason, decided)
        return columns

    def _compare(self, columns: dict[str, np.ndarray[Any, Any]]) -> None:
        """Compare each row with its checksum; an item whose key is lost cannot be compared."""
        assert self.status is not None
        decided = (self.status != Status.PENDING) & (self.chunk.keys != 0)
        if not self.chunk.has_checksums:
            self.unrecorded = int(decided.sum())
            return
        recorded = columns[CHECKSUM.name]
        rows = np.flatnonzero(decided)
        self.checked = len(rows)
        wrong = rows[recorded[rows] != self.chunk.checksums(columns, rows, self.status[rows])]
        if len(wrong):
            mask = np.zeros(self.chunk.size, dtype=bool)
            mask[wrong] = True
            where = _listed(wrong + self.chunk.start)
            reason = "their numbers or texts differ from those that were written, or belong to other items"
            self.faults.append((f"{self.chunk.layout.label} {where}", reason, len(wrong)))
            self.bad |= mask
        self._find_lost_status(columns, np.flatnonzero((self.status == Status.PENDING) & (recorded != 0)))

    def _find_lost_status(self, columns: dict[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> None:
        """Find rows that were written whole but have no status: a write was cut short, or its status was lost."""
        if not len(rows):
            return
        recorded = columns[CHECKSUM.name][rows]
        codes = _CODES[_CODES != Status.PENDING].astype("uint8")
        matches = [recorded == self.chunk.checksums(columns, rows, np.full(len(rows), code)) for code in codes]
        whole = rows[np.any(matches, axis=0)]
        if len(whole):
            reason = f"{_listed(whole + self.chunk.start)} were written, but their status was not, or it is lost"
            self.faults.append((self.chunk.key(STATUS.name), reason, len(whole)))
            self.bad[whole] = True

    def findings(self) -> Iterator[Finding]:
        """List what is wrong; all of it is mended by the first repair."""
        mend: Callable[[Location], None] | None = self.reset
        for where, reason, rows in self.faults:
            yield Finding(Damage(where, reason, Remedy.RECOMPUTE, rows), mend, status_fence(self.chunk))
            mend = None

    def reset(self, inside: Location) -> None:
        """Set the bad rows back to pending: the status first, so that no row is ever OK by mistake."""
        chunk = self.chunk.at(inside)
        lost = [one for one in chunk.layout.data_fields if one.name in self.lost]
        status = _now(chunk, STATUS)  # whatever another writer has done since the check stays
        if lost:
            self.bad |= status != Status.PENDING
        status[self.bad] = Status.PENDING
        if self.status is None:
            inside.remove(chunk.key(STATUS.name))
        inside.clear(chunk.key(STATUS.name))  # a folder may be in its place
        chunk.write(STATUS.name, status)
        for one in lost:
            inside.remove(chunk.key(one.name))
            chunk.write(one.name, one.blank(chunk.layout.shape(one, chunk.size)))
        if chunk.has_checksums:
            sums = _now(chunk, CHECKSUM)
            sums[self.bad] = CHECKSUM.fill
            inside.clear(chunk.key(CHECKSUM.name))
            chunk.write(CHECKSUM.name, sums)


def _now(chunk: Chunk, one: Field) -> np.ndarray[Any, Any]:
    try:
        return chunk.read(one.name)
    except StoreError:  # then every row that had a status is bad
        return one.blank((chunk.size,))


def _listed(rows: np.ndarray[Any, Any]) -> str:
    shown = ", ".join(map(str, rows[:8].tolist()))
    return f"rows {shown}{', ...' if len(rows) > 8 else ''}"  # noqa: PLR2004


def check_model(
    view: StoreView, label: str, *, keys: np.ndarray[Any, Any], counts: Counter[tuple[str, str]]
) -> Iterator[Finding]:
    """Check every chunk of a model, one at a time."""
    files = view.location.keys(label)
    for number in range(view.n_chunks):
        check = ChunkCheck(view.chunk(number, label, keys=keys), files).run(reads_data=True)
        for kind in ChunkCheck.COUNTED:
            counts[kind, label] += getattr(check, kind)
        yield from check.findings()


def lost_chunks(view: StoreView, label: str, span: ChunkRange) -> Iterator[Finding]:
    """Find chunks with embedded rows whose files are missing, by one listing."""
    files = view.location.keys(label)
    status = view.values(label, STATUS.name)
    chunks = np.unique(np.flatnonzero(np.isin(status, _EMBEDDED)) // view.chunk_items)
    keys = np.zeros(view.n_items, dtype="uint64")
    first, stop = span
    ends: list[tuple[str, str]] = []
    for number in chunks[(chunks >= first) & (chunks < (np.inf if stop is None else stop))].tolist():
        if not ends:
            chunk = view.chunk(number, label, keys=keys)
            ends = [chunk.ends(name) for name in (chunk.arrays if chunk.has_checksums else ("embedding",))]
        if not all(f"{head}{number}{tail}" in files for head, tail in ends):
            chunk = view.chunk(number, label, keys=keys)
            yield from ChunkCheck(chunk, files).run(reads_data=False).findings()


def check_leftovers(location: Location) -> Iterator[Finding]:
    """Find what killed writes left."""
    for key in location.leftovers(remove=False):
        damage = Damage(key, "a killed write left it", Remedy.REMOVE)
        yield Finding(damage, lambda _: location.leftovers(remove=True))


def check_strays(location: Location, document: Document) -> Iterator[Finding]:
    """Find files among those of the arrays that belong to no row, and what killed writes left."""
    yield from check_leftovers(location)
    names = {one.name for one in COORDS}
    for group in (ITEMS, *(layout.label for layout in document.layouts)):
        for key in sorted(location.keys(group)):
            match = _CHUNK_KEY.fullmatch(key)
            if match is None or key.endswith(PARTIAL):
                continue
            is_shard = group == ITEMS or match["array"] in names
            count = -(-document.n_items // document.item_rows) if is_shard else document.n_chunks
            if match["number"] is None or int(match["number"]) >= count:
                damage = Damage(key, "it belongs to no row", Remedy.REMOVE)
                yield Finding(damage, partial(_removed, location, key))


def _removed(location: Location, key: str, _: Location) -> None:
    """Remove a file for good, which the fence would not do on an object store; no row needs it."""
    location.remove(key)
