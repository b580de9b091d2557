"""One crc32c per row, by which damage, swapped rows and rows of another item show.

A row's checksum runs over the seed of its array, the key of its item, its row in every array that comes before the
checksum, and its status. Numbers are little-endian bytes; a text is the number of its UTF-8 bytes and those bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import numpy as np

from rs_embed_dask.store.receipt import plain, settings_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rs_embed_dask.store.layout import ModelLayout

__all__ = ["NO_CHECKSUM", "json_checksum", "model_seed", "row_checksums"]

NO_CHECKSUM: Final = 0
"""What stands where no checksum was recorded; a checksum of 0 is stored as 1."""


def row_checksums(
    columns: Sequence[np.ndarray[Any, Any]], *, keys: np.ndarray[Any, Any], seed: int = 0
) -> np.ndarray[Any, Any]:
    """Checksum rows, which belong to items with these keys, over columns in stored form."""
    sums = [google_crc32c.extend(seed, part) for part in _parts(keys.astype("uint64"))]
    for column in columns:
        sums = [google_crc32c.extend(crc, part) for crc, part in zip(sums, _parts(column), strict=True)]
    recorded: np.ndarray[Any, Any] = np.maximum(np.asarray(sums, dtype="uint32"), np.uint32(NO_CHECKSUM + 1))
    return recorded


def _parts(column: np.ndarray[Any, Any]) -> Iterator[bytes]:
    """Write the rows of a column as bytes."""
    if column.dtype.kind in "OUT":
        for text in column:
            content = str(text).encode("utf-8", "surrogatepass")
            yield b"%d:%b" % (len(content), content)
        return
    rows = column.astype(column.dtype.newbyteorder("<"), copy=False).reshape(len(column), -1 if column.size else 0)
    yield from (row.tobytes() for row in rows)


def model_seed(layout: ModelLayout, request: Mapping[str, Any]) -> int:
    """Tell models and requests apart: rows of another model, or of a store made in another way, do not match."""
    return json_checksum([layout.to_dict(), settings_digest(request)])


def json_checksum(data: Any) -> int:
    """Checksum JSON-ready data, whatever the order of its keys."""
    return int(google_crc32c.value(json.dumps(plain(data), sort_keys=True, separators=(",", ":")).encode()))
