"""Writing one block of a map: whole, again and again if need be, the status last.

The status is a block's commit record, a file of its own, so no two tasks ever write to one file. Data are written
first; a block that had a status before and is written again is first set back to pending. What holds nothing is not
written, unless something else is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.sync import sync

from rs_embed_dask.errors import StoreError, redact
from rs_embed_dask.store.document import explained
from rs_embed_dask.store.layout import Status
from rs_embed_dask.store.map_layout import BlockKey

if TYPE_CHECKING:
    from rs_embed_dask.store.layout import Field
    from rs_embed_dask.store.map_layout import BlockResult, MapGroup, MapLayout

__all__ = ["StoredBlock"]


@dataclass(frozen=True)
class StoredBlock:
    """The arrays and the place of one block."""

    arrays: Mapping[str, zarr.Array[Any]]
    layout: MapLayout
    group: MapGroup
    key: BlockKey
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

    def write(self, result: BlockResult) -> None:
        """Write the block. Raises StoreError where the result does not fit."""
        values = [(one, self._encoded(one, getattr(result, one.name))) for one in self.layout.data_fields]
        if self.status != Status.PENDING:
            self._put(self.layout.status, np.asarray(int(Status.PENDING)))
        for one, value in values:
            if value is not None:
                self._put(one, value)
        self._put(self.layout.status, np.asarray(int(result.status)))

    def write_coverage(self, values: np.ndarray[Any, Any]) -> None:
        """Write which share of each token the regions cover, when a neighbouring region is added."""
        one = next(one for one in self.layout.data_fields if one.name == "coverage")
        encoded = self._encoded(one, values)
        if encoded is not None:
            self._put(one, encoded)

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
    sides = array.shards or array.chunks
    first = [(one.start or 0) if isinstance(one, slice) else one for one in at]
    key = array.metadata.encode_chunk_key(tuple(start // side for start, side in zip(first, sides, strict=True)))
    return bool(sync((array.store_path / key).exists()))
