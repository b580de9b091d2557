"""Writing one block of a map: whole, again and again if need be, the status last.

The status is a block's commit record, a file of its own, so no two tasks ever write to one file. Data are written
first, then their checksum; a block that had a status before and is written again is first set back to pending. What
holds nothing is not written, unless something else is there already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.sync import sync

from rs_embed_dask.errors import StoreError, redact
from rs_embed_dask.store.checksum import NO_CHECKSUM, json_checksum, row_checksums
from rs_embed_dask.store.document import explained
from rs_embed_dask.store.fence import stamped_frame
from rs_embed_dask.store.layout import STATUS, Status
from rs_embed_dask.store.map_layout import COVERAGE, BlockKey
from rs_embed_dask.store.nodes import arrays_at
from rs_embed_dask.store.shards import blank_status

if TYPE_CHECKING:
    from rs_embed_dask.store.fence import Stamp
    from rs_embed_dask.store.layout import Field
    from rs_embed_dask.store.map_layout import BlockResult, MapGroup, MapLayout, TimeSpan
    from rs_embed_dask.store.target import Location

__all__ = ["StoredBlock"]


@dataclass(frozen=True)
class StoredBlock:
    """The arrays and the place of one block."""

    arrays: Mapping[str, zarr.Array[Any]]
    layout: MapLayout
    group: MapGroup
    key: BlockKey
    span: TimeSpan
    place: str

    def __post_init__(self) -> None:
        rows, cols = self.group.blocks
        if not (0 <= self.key.row < rows and 0 <= self.key.col < cols):
            reason, fix = f"the group has {rows} x {cols} blocks", "use the rows and columns of the group's lattice"
            raise StoreError("block", value=tuple(self.key), reason=reason, fix=fix)

    def _at(self, one: Field) -> tuple[Any, ...]:
        """Return where the block lies in an array."""
        side, (_, _, time, row, col) = self.layout.block, self.key
        where = {"time": time, "dim": slice(None), "block_row": row, "block_column": col}
        where |= {"y": slice(row * side, (row + 1) * side), "x": slice(col * side, (col + 1) * side)}
        return tuple(where[name] for name in one.dims)

    def _shape(self, one: Field) -> tuple[int, ...]:
        lengths = {"dim": self.layout.dim, "y": self.layout.block, "x": self.layout.block}
        return tuple(lengths[name] for name in one.dims if name in lengths)

    def read(self, one: Field) -> np.ndarray[Any, Any]:
        """Read one array's part in stored form: without its spans, in rows and columns of tokens."""
        fix = "delete the block's status file: the block is then computed again"
        with explained("map block", self._where(one), fix):
            return np.asarray(self.arrays[one.name][self._at(one)])

    @property
    def status(self) -> Status:
        """What became of the block so far."""
        return Status(int(self.read(self.layout.status)))

    def file(self, one: Field) -> str:
        """Name the file of one array that holds the block."""
        return f"{self.arrays[one.name].path}/{_chunk_key(self.arrays[one.name], self._at(one))}"

    @property
    def fence(self) -> tuple[str, Stamp]:
        """The key that commits the block, and how a claim is put into it."""
        return self.file(self.layout.status), lambda content, mark: stamped_frame(content or blank_status(1), mark)

    def at(self, location: Location) -> StoredBlock:
        """Return the block as another way into its store reaches it, such as that behind a fence."""
        return replace(self, arrays=arrays_at(self.arrays, location))

    def checksum(self, values: Mapping[str, np.ndarray[Any, Any]], code: int) -> int:
        """Compute the checksum of what is, or is to be, stored; `values` by array, in stored form."""
        # Not of the coverage, which grows with the regions that are asked for.
        about = [self.layout.to_dict() | {"attrs": {}}, self.group.to_dict(), [f"{day}" for day in self.span]]
        seed = json_checksum([*about, self.key.row, self.key.col])
        columns = [values[one.name][None] for one in self.layout.data_fields if one.name in values]
        codes = np.asarray([code], dtype=STATUS.dtype)
        return int(row_checksums([*columns, codes], keys=np.zeros(1, "uint64"), seed=seed)[0])

    def write(self, result: BlockResult) -> None:
        """Write the block. Raises StoreError where the result does not fit."""
        encoded = [(one, self._encoded(one, getattr(result, one.name))) for one in self.layout.data_fields]
        encoded = [(one, self._grown(one, value) if one.name == COVERAGE else value) for one, value in encoded]
        values = {one.name: value for one, value in encoded if value is not None}
        is_decided = result.status != Status.PENDING
        kept = {name: value for name, value in values.items() if name != COVERAGE}
        checksum = self.checksum(kept, result.status) if is_decided else NO_CHECKSUM
        if self.status != Status.PENDING:
            self._put(self.layout.status, np.asarray(int(Status.PENDING)))
        for one, value in encoded:
            if value is not None:
                self._put(one, value)
        self._put(self.layout.checksum, np.asarray(checksum, dtype="uint32"))
        self._put(self.layout.status, np.asarray(int(result.status)))

    def reset(self, *, is_status_lost: bool, location: Location) -> None:
        """Set the block back to pending; `location` is the way into the store behind its fence."""
        if is_status_lost:
            location.remove(self.file(self.layout.status))
        moved = self.at(location)
        moved.arrays[STATUS.name][self._at(self.layout.status)] = int(Status.PENDING)
        moved.arrays[self.layout.checksum.name][self._at(self.layout.checksum)] = NO_CHECKSUM

    def write_coverage(self, values: np.ndarray[Any, Any]) -> None:
        """Add to what share of each token the regions cover, when a neighbouring region is added."""
        one = next(one for one in self.layout.data_fields if one.name == COVERAGE)
        grown = self._grown(one, self._encoded(one, values))
        if grown is not None:
            self._put(one, grown)

    def _grown(self, one: Field, values: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any] | None:
        """Return the larger of two coverages: regions only grow, and a worker that stood still knows a smaller one."""
        if values is None:
            return None
        with contextlib.suppress(StoreError):  # what cannot be read is replaced
            values = np.fmax(values, self.read(one))
        return values

    def _encoded(self, one: Field, value: Any) -> np.ndarray[Any, Any] | None:
        """Bring a value to the block's shape and stored form; None leaves a layer that no span has of its own."""
        shape = self._shape(one)
        if one.kind == "text":
            return one.encoded([redact(str(value))]).reshape(())
        if value is None:
            return None if "time" not in one.dims else one.blank(shape)
        given = np.asarray(value)
        if given.shape not in {shape, ()} or (one.name == "embedding" and given.dtype != np.dtype(one.dtype)):
            reason = f"it has shape {given.shape} and type {given.dtype}"
            fix = f"give {one.dtype} of shape {shape}"
            raise StoreError(f"BlockResult.{one.name}", value=tuple(self.key), reason=reason, fix=fix)
        return np.broadcast_to(one.encoded(given), shape)

    def _put(self, one: Field, values: np.ndarray[Any, Any]) -> None:
        array = self.arrays[one.name]
        with explained("map block", self._where(one), "check the disk's space and that the path can be written"):
            if _is_blank(values, one.fill_value) and not _exists(array, self._at(one)):
                return
            # Written even where blank: what was there before must not stay.
            array.with_config({"write_empty_chunks": True})[self._at(one)] = values

    def _where(self, one: Field) -> str:
        label, group, time, row, col = self.key
        return f"{self.place}/{label}/{group}/{one.name} span {time}, row {row}, column {col}"


def _is_blank(values: np.ndarray[Any, Any], fill: object) -> bool:
    if isinstance(fill, float) and np.isnan(fill):
        return bool(np.isnan(values).all())
    return bool((values == fill).all())


def _exists(array: zarr.Array[Any], at: tuple[Any, ...]) -> bool:
    """Return whether the one file of an array that holds a block is there."""
    return bool(sync((array.store_path / _chunk_key(array, at)).exists()))


def _chunk_key(array: zarr.Array[Any], at: tuple[Any, ...]) -> str:
    sides = array.shards or array.chunks
    first = [(one.start or 0) if isinstance(one, slice) else one for one in at]
    return array.metadata.encode_chunk_key(tuple(start // side for start, side in zip(first, sides, strict=True)))
