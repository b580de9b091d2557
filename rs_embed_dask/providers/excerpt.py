"""A small TIFF made of a few blocks of a large one, for GDAL to decode.

The excerpt is whole in itself: the large file's description of its pixels, the wanted blocks as they are, and nothing
that points elsewhere. So GDAL cannot come upon bytes that were never fetched and take them for zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from rs_embed_dask.providers.tiff import (
    HEIGHT,
    NUMBERS,
    ROWS_PER_STRIP,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_COUNTS,
    TILE_OFFSETS,
    WIDTH,
    Blocks,
    Directory,
    Entry,
    Layout,
)

__all__ = ["excerpt", "specimen"]

# these hold addresses of other directories
POINTERS: Final = frozenset({330, 34665, 34853, 40965})
# GeoTIFF's keys: what they say is known by the time pixels are read, and understanding them takes GDAL longest
GEO_KEYS: Final = frozenset({34735, 34736, 34737})
LONG, LONG8 = 4, 16


def specimen(layout: Layout) -> bytes:
    """Return a TIFF of one block without data, for GDAL to say what the large file is: system, transform, bands."""
    return _excerpt(layout, Blocks(0, 0, 1, 1), band=0, found={})


def excerpt(layout: Layout, blocks: Blocks, *, band: int, found: Mapping[tuple[int, int], bytes]) -> bytes:
    """Return a TIFF of a rectangle of blocks.

    Parameters
    ----------
    layout
        Of the large file.
    blocks
        Which blocks; the image is cut to them.
    band
        From 0; where bands lie in planes of their own, only this one has data.
    found
        The bytes of each block that has data, by row and column.

    Returns
    -------
    bytes
        A file of the same kind (byte order, classic or big), which GDAL opens from memory. It has no coordinate system.
    """
    entries = {tag: entry for tag, entry in layout.directory.entries.items() if tag not in GEO_KEYS}
    plain = replace(layout, directory=replace(layout.directory, entries=entries))
    return _excerpt(plain, blocks, band=band, found=found)


def _excerpt(layout: Layout, blocks: Blocks, *, band: int, found: Mapping[tuple[int, int], bytes]) -> bytes:
    directory = layout.directory
    planes = layout.offsets.shape[0]
    counts = np.zeros((planes, blocks.rows, blocks.columns), np.uint64)
    offsets = np.zeros_like(counts)
    at = 0
    for (row, column), data in found.items():
        here = layout.plane(band), row - blocks.row, column - blocks.column
        counts[here], offsets[here] = len(data), at
        at += len(data)
    tags = _tags(layout, blocks, offsets, counts)
    start = len(_directory_bytes(directory, tags))
    tags = _tags(layout, blocks, np.where(counts > 0, offsets + np.uint64(start), 0), counts)
    return _directory_bytes(directory, tags) + b"".join(found.values())


def _tags(layout: Layout, blocks: Blocks, offsets: np.ndarray, counts: np.ndarray) -> dict[int, Entry]:
    """Return the large file's entries with size and blocks of the excerpt."""
    directory = layout.directory
    width = min(blocks.columns * layout.block_width, layout.width - blocks.column * layout.block_width)
    height = min(blocks.rows * layout.block_height, layout.height - blocks.row * layout.block_height)
    kind = LONG8 if directory.big else LONG

    def entry(*values: int) -> Entry:
        return Entry(kind, len(values), np.array(values, directory.order + NUMBERS[kind]).tobytes())

    tags = {tag: known for tag, known in directory.entries.items() if tag not in POINTERS}
    places, lengths = (TILE_OFFSETS, TILE_COUNTS) if layout.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    tags |= {WIDTH: entry(width), HEIGHT: entry(height)}
    tags |= {places: entry(*offsets.ravel()), lengths: entry(*counts.ravel())}
    if not layout.tiled:
        tags[ROWS_PER_STRIP] = entry(layout.block_height)
    return dict(sorted(tags.items()))


def _directory_bytes(directory: Directory, tags: Mapping[int, Entry]) -> bytes:
    """Return header, directory and long values of a file; its length does not depend on the values."""
    order, word = directory.order, "Q" if directory.big else "I"
    mark = b"II" if order == "<" else b"MM"
    if directory.big:
        head, number = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16), struct.pack(f"{order}Q", len(tags))
    else:
        head, number = mark + struct.pack(f"{order}HI", 42, 8), struct.pack(f"{order}H", len(tags))
    size = struct.calcsize(f"={word}")
    at = len(head) + len(number) + len(tags) * (4 + 2 * size) + size
    table, values = b"", b""
    for tag, entry in tags.items():
        inline = entry.value
        if len(inline) > size:
            inline = struct.pack(f"{order}{word}", at + len(values))
            values += entry.value + b"\0" * (len(entry.value) % 2)
        table += struct.pack(f"{order}HH{word}", tag, entry.kind, entry.count) + inline.ljust(size, b"\0")
    return head + number + table + b"\0" * size + values
