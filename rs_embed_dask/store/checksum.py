"""One crc32c per row, by which damage, swapped rows and rows of another item show.

A row's checksum starts from the seed of its array and runs over the key of its item, its row in every array of
numbers in their order, the status last, then in every array of texts. Numbers are little-endian bytes; a text is the
number of its UTF-8 bytes, a colon and those bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import numpy as np

from rs_embed_dask.store.receipt import plain, settings_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rs_embed_dask.store.layout import ModelLayout

__all__ = ["NO_CHECKSUM", "json_checksum", "model_seed", "row_checksums"]

_TEXTS: Final = "OUT"
"""The kinds of arrays of texts, as NumPy calls them."""

_BLOCK: Final = 256  # rows; their bytes are copied

NO_CHECKSUM: Final = 0
"""What stands where no checksum was recorded; a checksum of 0 is stored as 1."""


def row_checksums(
    columns: Sequence[np.ndarray[Any, Any]], *, keys: np.ndarray[Any, Any], seed: int = 0
) -> np.ndarray[Any, Any]:
    """Checksum rows, which belong to items with these keys, over columns in stored form."""
    numbers = [keys.astype("uint64"), *(one for one in columns if one.dtype.kind not in _TEXTS)]
    texts = [one for one in columns if one.dtype.kind in _TEXTS]
    sums = []
    for first in range(0, len(keys), _BLOCK):
        rows = slice(first, first + _BLOCK)
        heads = np.concatenate([_bytes(one[rows]) for one in numbers], axis=1)  # (n, bytes)
        content, width = heads.tobytes(), heads.shape[1]
        parts = [[content[at : at + width] for at in range(0, len(content), width)]]
        parts += [_counted([one[rows].tolist() for one in texts])] if texts else []
        sums += [google_crc32c.extend(seed, b"".join(row)) for row in zip(*parts, strict=True)]
    recorded: np.ndarray[Any, Any] = np.maximum(np.asarray(sums, dtype="uint32"), np.uint32(NO_CHECKSUM + 1))
    return recorded


def _bytes(column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """See rows of numbers as bytes; (n, bytes)."""
    rows = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
    return rows.reshape(len(column), -1).view("uint8")


def _counted(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """Write each row of some columns of texts as bytes."""
    texts = [list(map(str, one)) for one in columns]
    if all(all(map(str.isascii, one)) for one in texts):  # most are; then a character is a byte
        form, cells = "%d:%s" * len(texts), [part for one in texts for part in (map(len, one), one)]
        return [(form % row).encode() for row in zip(*cells, strict=True)]
    return [b"".join([_counted_text(text) for text in row]) for row in zip(*texts, strict=True)]


def _counted_text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(content), content)


def model_seed(layout: ModelLayout, request: Mapping[str, Any]) -> int:
    """Tell models and requests apart: rows of another model, or of a store made in another way, do not match."""
    return json_checksum([layout.to_dict(), settings_digest(request)])


def json_checksum(data: Any) -> int:
    """Checksum JSON-ready data, whatever the order of its keys."""
    return int(google_crc32c.value(json.dumps(plain(data), sort_keys=True, separators=(",", ":")).encode()))
