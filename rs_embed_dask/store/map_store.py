"""The store of a map: made by the client, written by any worker, block by block, read by anyone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from zarr.storage import StorePath

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store.document import ROOT_KEY, Location, explained
from rs_embed_dask.store.document_view import DocumentStore, DocumentView
from rs_embed_dask.store.fence import fenced
from rs_embed_dask.store.layout import POSITIONS, UNDONE, Status
from rs_embed_dask.store.map_arrays import claim_map, fill_map, keep_positions, map_vacancy, top_up
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_document import MapDocument
from rs_embed_dask.store.map_layout import BlockKey
from rs_embed_dask.store.map_writer import StoredBlock
from rs_embed_dask.store.receipt import plain, settled
from rs_embed_dask.store.swap import cell_of, exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Set as AbstractSet

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.map_layout import Asked, BlockResult, MapGroup, MapLayout, TimeSpan

__all__ = ["MapStore", "MapView"]

_STATUS: Final = "status"
_SCORES: Final = "scores.npz"


class MapView(DocumentView[MapDocument]):
    """A map as a reader sees it."""

    documents = MapDocument

    @property
    def spans(self) -> tuple[TimeSpan, ...]:
        """The spans along ``time``, in the order they were added."""
        return self.document.spans

    def layout(self, label: str) -> MapLayout:
        """Find a model by its label."""
        return self.document.layout(label)

    def groups(self, label: str) -> tuple[MapGroup, ...]:
        """List the groups of a model."""
        self.document.layout(label)
        return self.document.groups[label]

    def asked(self, label: str, group: str, time: int) -> BlockSet:
        """Return the blocks of a group that were asked for in a span."""
        self.document.group(label, group)
        return self.document.wanted.get((label, group), {}).get(time, BlockSet())

    def decided(self, label: str, group: str) -> dict[int, list[tuple[int, int]]]:
        """List the blocks of each span that were ever given a status, without reading it."""
        blocks = defaultdict(list)
        for _, (time, row, col) in self._status_keys(label, group):
            blocks[time].append((row, col))
        return blocks

    def statuses(self, label: str, group: str) -> dict[int, dict[tuple[int, int], Status]]:
        """Read what became of the blocks of each span; what is not listed is pending."""
        keys = list(self._status_keys(label, group))
        found: dict[int, dict[tuple[int, int], Status]] = defaultdict(dict)
        unpack = Zstd()
        # A million blocks have a million such files. Zarr takes ten times as long for each.
        for (key, (time, row, col)), content in zip(keys, self._location.read_all([k for k, _ in keys]), strict=True):
            if content is not None:
                with explained("map status", f"{self._location.name}/{key}", "delete it: the block is computed again"):
                    found[time][row, col] = Status(unpack.decode(content)[0])
        return found

    def _status_keys(self, label: str, group: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
        folder = f"{label}/{self.document.group(label, group).group}/{_STATUS}/c"
        for key in self._location.keys(folder):
            numbers = key.rpartition("/c/")[2].split("/")
            if all(map(str.isdecimal, numbers)):  # and not what a killed write left behind
                time, row, col = map(int, numbers)
                yield key, (time, row, col)

    def pending(
        self, label: str, *, only: AbstractSet[Status] | None = None
    ) -> Iterator[tuple[MapGroup, int, BlockSet]]:
        """Go through what is to compute: the blocks of each group and span that were asked for and are not done."""
        codes = UNDONE if only is None else only
        for group in self.groups(label):
            statuses = self.statuses(label, group.group)
            for time, blocks in sorted(self.document.wanted.get((label, group.group), {}).items()):
                others = BlockSet.of(at for at, code in statuses[time].items() if code not in codes)
                chosen = blocks - others
                if Status.PENDING not in codes:
                    chosen = BlockSet.of(at for at in chosen if statuses[time].get(at) in codes)
                if len(chosen):
                    yield group, time, chosen

    def counts(self) -> dict[str, dict[Status, int]]:
        """Count the blocks asked for of each model by status, over all groups and spans."""
        counts = {}
        for label in self.labels:
            total: Counter[Status] = Counter()
            for group in self.groups(label):
                statuses = self.statuses(label, group.group)
                for time, blocks in self.document.wanted.get((label, group.group), {}).items():
                    codes = Counter(code for at, code in statuses[time].items() if at in blocks)
                    codes[Status.PENDING] += len(blocks) - codes.total()
                    total += codes
            counts[label] = {code: total[code] for code in sorted(total)}
        return counts

    def block(self, key: BlockKey) -> StoredBlock:
        """Find one block, to read it or to write it."""
        layout, group = self.layout(key.label), self.document.group(key.label, key.group)
        if not 0 <= key.time < len(self.spans):
            reason, fix = f"the map has {len(self.spans)} spans", "use the number of one of them, from 0"
            raise StoreError("span", value=key.time, reason=reason, fix=fix)
        arrays = {one.name: self.array(f"{key.label}/{key.group}/{one.name}") for one in layout.fields}
        return StoredBlock(arrays, layout, group, key, self.spans[key.time], self._location.name)

    def array(self, path: str) -> zarr.Array[Any]:
        """Open one array by its path in the store."""
        if path not in self._arrays:
            described = self.document.metadata.get(path, {})
            if described.get("node_type") != "array":
                raise StoreError("array", value=path, reason="the map has no such array", fix="see its groups")
            # From the document at hand, not from the disk again: what is read is then one state of the map.
            with explained("store array", f"{self._location.name}/{path}", "restore it from a copy"):
                self._arrays[path] = zarr.Array.from_dict(StorePath(self._location.storage, path), described)
        return self._arrays[path]

    def scores(self, label: str) -> bytes | None:
        """Read what `keep_scores` wrote of a model; None if there is nothing."""
        return self._location.read(self.scores_key(label))

    def scores_key(self, label: str) -> str:
        """Name the file of the sums of a model's scores."""
        return f"{self.layout(label).label}/{_SCORES}"

    def positions(self, label: str) -> np.ndarray[Any, Any] | None:
        """Read a model's table of positions, (dim, row, column); None if there is none."""
        path = f"{self.layout(label).label}/{POSITIONS.name}"
        if path not in self.document.metadata:
            return None
        with explained("store array", f"{self._location.name}/{path}", "restore it from a copy"):
            return np.asarray(self.array(path)[...])

    def table(self, label: str) -> PositionTable | None:
        """Return the table by which positions are taken from a model's tokens, or would be."""
        facts, mean = self.receipt.get("positions", {}).get(label, {}), self.positions(label)
        # A run may have ended between the table and what was said of it.
        return None if mean is None or "table" not in facts else PositionTable.from_dict(facts["table"], mean)


class MapStore(MapView, DocumentStore[MapDocument]):
    """A map that is written: made or opened by its class methods.

    It is small and picklable (its place and mode only) where its place is a path or a URL. Any process writes any
    block, each block one at a time; one client at a time adds spans, models and regions.
    """

    repair = "restore it from a copy, or make the map anew"

    @classmethod
    def create(
        cls,
        target: Target,
        asked: Sequence[Asked],
        *,
        request: dict[str, Any],
        receipt: dict[str, Any] | None = None,
    ) -> Self:
        """Make a map with every block pending.

        Parameters
        ----------
        target : str, path-like or zarr store
            An empty or new place, or one where the making of a map was cut short.
        asked : sequence of Asked
            At least one model, with its spans and blocks.
        request : dict
            The request, as JSON; `check_request` compares it later.
        receipt : dict, optional
            What the run is made with, from `build_receipt`.

        Raises
        ------
        StoreError
            If the place holds a finished store or anything else, or cannot be written.
        """
        location = Location.of(target)
        map_vacancy(location)  # before the fence puts anything there
        with fenced(location, ROOT_KEY, MapDocument.stamped) as inside:
            document = fill_map(inside, claim_map(inside), asked, request=request, receipt=receipt or {})
        return cls(location, document)

    def write_block(self, key: BlockKey, result: BlockResult) -> None:
        """Write one block: idempotent, whole, the status last. Raises StoreError if it does not fit."""
        self._write(key, result, frozenset(Status))

    def finish_block(self, key: BlockKey, result: BlockResult, *, only: AbstractSet[Status] | None = None) -> None:
        """Write one block if it has one of these statuses; of what another writer has finished, coverage alone grows.

        Parameters
        ----------
        key, result
            As `write_block`.
        only : set of Status, optional
            Default: all that are not done.
        """
        self._write(key, result, (UNDONE if only is None else only) | {Status.PENDING})

    def _write(self, key: BlockKey, result: BlockResult, codes: AbstractSet[Status]) -> None:
        self._check_writable()
        block = self.block(key)
        with fenced(self._location, *block.fence) as inside:
            if block.status in codes:
                block.at(inside).write(result)
            elif result.coverage is not None:
                block.at(inside).write_coverage(result.coverage)

    def top_up(
        self,
        asked: Sequence[Asked],
        *,
        request: dict[str, Any] | None = None,
        receipt: dict[str, Any] | None = None,
    ) -> None:
        """Add spans, models, groups, blocks and tables of positions; what is there stays where and as it is.

        Only the client calls this.

        Parameters
        ----------
        asked : sequence of Asked
            As `create`.
        request : dict, optional
            The request that takes the place of the stored one.
        receipt : dict, optional
            Parts of the receipt, which are added or replaced.

        Raises
        ------
        StoreMismatchError
            If a model or group is there with another shape.
        """
        with self._changing() as (inside, document):
            request = document.request if request is None else request
            self._renew(top_up(inside, document, asked, request=request, receipt=receipt or {}))

    def keep_positions(self, label: str, table: np.ndarray[Any, Any], **attrs: Any) -> None:
        """Write a model's table of positions (dim, row, column), with what is to be known of it."""
        with self._changing() as (inside, document):
            self._renew(keep_positions(inside, document, label, table=table, attrs=attrs))

    def keep_scores(self, label: str, content: bytes, *, over: bytes | None) -> None:
        """Write the sums that a model's scores are made from, in place of those that were read or written before."""
        self._check_writable()
        key = self.scores_key(label)
        if not exchange(cell_of(self._location, key), content, over=over):
            fix = "run again: what is stored stays, and only what is missing is computed"
            where, reason = f"{self._location.name}/{key}", "another run has written there meanwhile"
            raise StoreBusyError("store", value=where, reason=reason, fix=fix)

    def update_receipt(self, **parts: Any) -> None:
        """Add to the receipt or replace parts of it, also by a function of what is there. Only the client calls it."""
        with self._changing() as (inside, document):
            old = document.receipt
            self._renew(replace(document, receipt=old | plain(settled(parts, old))).save(inside))

    def relist(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change what the root document lists: the metadata of groups and arrays by path."""
        with self._changing() as (inside, document):
            self._renew(replace(document, metadata=change(dict(document.metadata))).save(inside))
