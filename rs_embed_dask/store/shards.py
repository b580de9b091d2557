"""The arrays of the items as bytes: one file for thousands of rows, in the small chunks that xarray needs.

Written here, because Zarr takes longer for one shard of texts than the texts take to make; what is written is plain
Zarr v3 (codecs ``sharding_indexed``, ``bytes`` or ``vlen-utf8``, ``crc32c``), and the tests read it with Zarr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import numpy as np
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.store.layout import Field

__all__ = ["blank_status", "decoded_status", "encoded_shard", "number_rows", "text_rows"]

_ABSENT: Final = 2**64 - 1
_CRC_BYTES: Final = 4
_PAIR: Final = 2


def encoded_shard(field: Field, values: np.ndarray[Any, Any], *, chunk_rows: int, shard_rows: int) -> bytes:
    """Write rows, in stored form, as one shard; they begin with the shard and may end before it does."""
    filled = -(-len(values) // chunk_rows)
    whole = np.concatenate([values, field.blank((filled * chunk_rows - len(values),))])
    parts = [_inner(field, whole[row : row + chunk_rows]) for row in range(0, len(whole), chunk_rows)]
    lengths = np.array([len(part) for part in parts], dtype="<u8")
    index = np.full((shard_rows // chunk_rows, _PAIR), _ABSENT, dtype="<u8")
    index[:filled, 0] = np.cumsum(lengths) - lengths
    index[:filled, 1] = lengths
    table = index.tobytes()
    return b"".join([*parts, table, google_crc32c.value(table).to_bytes(_CRC_BYTES, "little")])


def _inner(field: Field, values: np.ndarray[Any, Any]) -> bytes:
    if field.kind == "text":
        return bytes(VLenUTF8().encode(values))
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def number_rows(shards: Sequence[bytes | None], dtype: str, *, shard_chunks: int) -> np.ndarray[Any, Any] | None:
    """Read the numbers of whole shards, or None if one is not there or is not whole."""
    parts = []
    for shard in shards:
        lengths = _lengths(shard, shard_chunks)
        if shard is None or lengths is None:
            return None
        parts.append(np.frombuffer(shard[: sum(lengths)], np.dtype(dtype).newbyteorder("<")).astype(dtype))
    return np.concatenate(parts)


def text_rows(shards: Sequence[bytes | None], *, shard_chunks: int, chunk_rows: int) -> np.ndarray[Any, Any] | None:
    """Read the texts of whole shards, or None if one is not there or is not whole."""
    codec, parts = VLenUTF8(), []
    for shard in shards:
        lengths = _lengths(shard, shard_chunks)
        if shard is None or lengths is None:
            return None
        start = 0
        for length in lengths:
            try:
                texts = codec.decode(shard[start : start + length])
            except (ValueError, RuntimeError):
                return None
            if len(texts) != chunk_rows:
                return None
            parts.append(texts)
            start += length
    return np.concatenate(parts)


def _lengths(shard: bytes | None, shard_chunks: int) -> list[int] | None:
    """Read the lengths of a shard's chunks, which lie one behind the other; None if it is not whole."""
    size = shard_chunks * _PAIR * 8
    if shard is None or len(shard) < size + _CRC_BYTES:
        return None
    table, digest = shard[-size - _CRC_BYTES : -_CRC_BYTES], shard[-_CRC_BYTES:]
    index = np.frombuffer(table, "<u8").reshape(-1, _PAIR)
    filled = index[index[:, 0] != _ABSENT]
    lengths = filled[:, 1]
    in_order = np.array_equal(index[: len(filled), 0], np.cumsum(lengths) - lengths)
    is_whole = int(lengths.sum()) == len(shard) - size - _CRC_BYTES
    if google_crc32c.value(table) != int.from_bytes(digest, "little") or not in_order or not is_whole:
        return None
    stated: list[int] = lengths.tolist()
    return stated


def blank_status(rows: int) -> bytes:
    """Write a status chunk with every row pending."""
    return bytes(Zstd(level=1, checksum=True).encode(np.zeros(rows, dtype="uint8")))


def decoded_status(chunks: Sequence[bytes | None], rows: int) -> np.ndarray[Any, Any] | None:
    """Read status chunks; what is not there is pending. None if one is not whole."""
    codec, codes = Zstd(), np.zeros((len(chunks), rows), dtype="uint8")
    for number, chunk in enumerate(chunks):
        if chunk is None:
            continue
        try:
            content = codec.decode(chunk)
        except RuntimeError:
            return None
        if len(content) != rows:
            return None
        codes[number] = np.frombuffer(content, dtype="uint8")
    return codes.reshape(-1)
