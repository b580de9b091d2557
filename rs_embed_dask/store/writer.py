"""Writing one chunk of one model: whole, repeatable, the status last.

The status array is a chunk's commit record. Data are written first, then a checksum of each row; a row that had a
status before and is rewritten is first set back to pending. So a crash between any two writes leaves every row either
complete or pending. A chunk is written even where it holds nothing but fill values: only then is a missing file a lost
one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr

from rs_embed_dask.errors import StoreError, redact
from rs_embed_dask.store.checksum import NO_CHECKSUM, row_checksums
from rs_embed_dask.store.document import explained
from rs_embed_dask.store.fence import stamped_frame
from rs_embed_dask.store.layout import CHECKSUM, COVERAGE, STATUS, Status
from rs_embed_dask.store.nodes import arrays_at
from rs_embed_dask.store.shards import blank_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.store.fence import Stamp
    from rs_embed_dask.store.layout import ChunkResult, Field, ModelLayout
    from rs_embed_dask.store.target import Location

__all__ = ["Chunk", "check_result", "read_rows", "status_fence", "write_rows"]

_BAD_BYTES: Final = (ValueError, RuntimeError, KeyError, EOFError)
_FIX: Final = "verify the store with repair=True (or `rs-embed-dask verify STORE --repair`), then resume it"


def read_rows(array: zarr.Array[Any], span: tuple[int, int], place: str) -> np.ndarray[Any, Any]:
    """Read rows of an array in stored form."""
    try:
        return np.asarray(array[span[0] : span[1]])
    except OSError as error:
        what = f"{place}/{array.path}"
        reason = f"{type(error).__name__}: {error}"
        raise StoreError("store chunk", value=what, reason=reason, fix="check the path") from error
    except _BAD_BYTES as error:
        key, cause = _first_bad(array, span, error)
        reason = f"the chunk file is cut short or garbled ({type(cause).__name__}: {cause})"
        raise StoreError("store chunk", value=f"{place}/{key}", reason=reason, fix=_FIX) from error


def _first_bad(array: zarr.Array[Any], span: tuple[int, int], first_error: Exception) -> tuple[str, Exception]:
    """Find the chunk that made a read fail."""
    size = array.chunks[0]
    for number in range(span[0] // size, -(-span[1] // size)):
        try:
            array[number * size : min((number + 1) * size, array.shape[0])]
        except _BAD_BYTES as error:
            return f"{array.path}/c/{number}{'/0' * (array.ndim - 1)}", error
    return array.path, first_error


_CODES: Final = np.array([int(code) for code in Status])


@dataclass(frozen=True)
class Chunk:
    """The arrays and rows of one chunk of one model, and the keys of its items."""

    arrays: Mapping[str, zarr.Array[Any]]
    layout: ModelLayout
    start: int
    stop: int
    place: str
    keys: np.ndarray[Any, Any]

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    def key(self, name: str) -> str:
        """Name the file of the chunk of one array."""
        head, tail = self.ends(name)
        return f"{head}{self.start // self.arrays[name].chunks[0]}{tail}"

    def ends(self, name: str) -> tuple[str, str]:
        """Return what the names of all files of an array begin and end with, around the number of the chunk."""
        array = self.arrays[name]
        return f"{array.path}/c/", "/0" * (array.ndim - 1)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Read the chunk of one array."""
        return read_rows(self.arrays[name], (self.start, self.stop), self.place)

    def write(self, name: str, values: np.ndarray[Any, Any]) -> None:
        """Write the chunk of one array, whole."""
        where = f"{self.place}/{self.layout.label}/{name} rows {self.start} to {self.stop - 1}"
        with explained("store chunk", where, "check the disk's space and that the path can be written"):
            self.arrays[name][self.start : self.stop] = values

    def at(self, location: Location) -> Chunk:
        """Return the chunk as another way into its store reaches it, such as that behind a fence."""
        return replace(self, arrays=arrays_at(self.arrays, location))

    @property
    def has_checksums(self) -> bool:
        """Whether the store has checksums; those of earlier versions have none."""
        return CHECKSUM.name in self.arrays

    def checksums(
        self, columns: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Compute the checksums of rows, given the whole columns of the chunk and the rows' status."""
        seed = self.arrays[CHECKSUM.name].attrs["seed"]
        data = [columns[one.name][rows] for one in self.layout.data_fields if one.name in self.arrays]
        return row_checksums([*data, codes.astype(STATUS.dtype)], keys=self.keys[rows], seed=int(str(seed)))


def write_rows(chunk: Chunk, result: ChunkResult) -> None:
    """Write some or all rows of a chunk; rows that the result does not name keep their values."""
    rows, codes = _checked(result, chunk.size)
    status = chunk.read("status")
    decided = np.flatnonzero(status != Status.PENDING)
    others = decided[~np.isin(decided, rows)]
    blocks = {}
    for field in (one for one in chunk.layout.data_fields if one.name in chunk.arrays):
        block = field.blank(chunk.layout.shape(field, chunk.size))
        if len(others):
            block[others] = chunk.read(field.name)[others]
        _fill(block, field, result)
        blocks[field.name] = block
    if np.any(status[rows] != Status.PENDING):
        status[rows] = Status.PENDING
        chunk.write("status", status)
    for name, block in blocks.items():
        chunk.write(name, block)
    if chunk.has_checksums:
        sums = CHECKSUM.blank((chunk.size,))
        if len(others):
            sums[others] = chunk.read(CHECKSUM.name)[others]
        sums[rows] = np.where(codes == Status.PENDING, NO_CHECKSUM, chunk.checksums(blocks, rows, codes))
        chunk.write(CHECKSUM.name, sums)
    status[rows] = codes
    chunk.write("status", status)


def status_fence(chunk: Chunk) -> tuple[str, Stamp]:
    """Return the key that commits a chunk, and how a claim is put into it."""
    blank = blank_status(chunk.arrays[STATUS.name].chunks[0])
    return chunk.key(STATUS.name), lambda content, mark: stamped_frame(content or blank, mark)


def check_result(chunk: Chunk, result: ChunkResult) -> None:
    """Refuse rows that do not fit, or whose item is another than the one that was embedded."""
    rows, _ = _checked(result, chunk.size)
    if result.keys is None:
        return
    wrong = rows[np.asarray(result.keys, dtype="uint64") != chunk.keys[rows]]
    if len(wrong):
        reason = "the store has other items in these rows than those that were embedded; nothing was written"
        fix = "repeat the call: it computes the store's own items"
        raise StoreError("rows", value=(wrong + chunk.start).tolist(), reason=reason, fix=fix)


def _checked(result: ChunkResult, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows = np.asarray(result.rows, dtype="int64").reshape(-1)  # (n,)
    codes = np.asarray(result.status).reshape(-1)  # (n,)
    if len(rows) and (rows.min() < 0 or rows.max() >= size):
        reason = f"the chunk has {size} rows"
        raise StoreError("ChunkResult.rows", value=rows.tolist(), reason=reason, fix="give offsets inside the chunk")
    if len(np.unique(rows)) != len(rows):
        raise StoreError("ChunkResult.rows", value=rows.tolist(), reason="a row comes twice", fix="give each row once")
    if result.keys is not None and len(result.keys) != len(rows):
        reason = f"there are {len(result.keys)} keys for {len(rows)} rows"
        raise StoreError("ChunkResult.keys", value=len(result.keys), reason=reason, fix="give one key per row")
    if len(codes) != len(rows) or not np.isin(codes, _CODES).all():
        reason = f"there must be one status code for each of {len(rows)} rows"
        raise StoreError("ChunkResult.status", value=codes.tolist(), reason=reason, fix="use the codes of Status")
    return rows, codes.astype("uint8")


def _fill(block: np.ndarray[Any, Any], field: Field, result: ChunkResult) -> None:
    """Put the result's rows into the new content of one array."""
    rows = np.asarray(result.rows, dtype="int64").reshape(-1)  # (n,)
    values = _values(result, field, len(rows))
    if values is None:
        return
    if field.name in {"embedding", COVERAGE.name}:
        _place_grids(block, rows, values)
        return
    try:
        block[rows] = field.encoded(values)
    except (ValueError, TypeError) as error:
        fix = f"give values of shape {(len(rows), *block.shape[1:])}"
        raise StoreError(f"ChunkResult.{field.name}", value=values, reason=str(error), fix=fix) from error


def _values(result: ChunkResult, field: Field, count: int) -> Any:
    values = getattr(result, field.name)
    if values is None and field.name == "grid_shape" and result.embedding is not None:
        return [(0, 0) if one is None else np.shape(one)[-2:] for one in result.embedding]
    if values is None:
        return None
    if len(values) != count:
        reason = f"there are {len(values)} values for {count} rows"
        raise StoreError(f"ChunkResult.{field.name}", value=len(values), reason=reason, fix="give one value per row")
    if field.kind == "text":
        return [redact(str(value)) for value in values]
    return values


def _place_grids(block: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], values: Any) -> None:
    """Put each row's vector or grid into the block; a grid smaller than the layout's is padded at its far edges."""
    is_plane = block.ndim == len(("item", "y", "x"))
    for row, value in zip(rows, values, strict=True):
        if value is None:
            continue
        one = np.asarray(value)
        fits = one.ndim == block.ndim - 1 and (is_plane or one.shape[0] == block.shape[1])
        if not fits or any(side > room for side, room in zip(one.shape, block.shape[1:], strict=True)):
            reason = f"the store holds {block.shape[1:]} per item, this is {one.shape}"
            fix = "make the store with this dim and a grid_shape as large as the largest grid"
            raise StoreError("ChunkResult.embedding", value=one, reason=reason, fix=fix)
        block[(row, *(slice(0, side) for side in one.shape))] = one
