"""A small TIFF in place of a large one, which GDAL reads: the same directory, and only the blocks that are needed.

Its blocks lie where they lie in the bytes that were fetched, so nothing is sorted or joined before GDAL sees it.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from queue import LifoQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.io import MemoryFile
from rasterio.windows import Window

from rs_embed_dask.imagery.scratch import scratch
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
    TiffEntry,
    TiffLayout,
)

__all__ = ["Places", "decode", "excerpt_head", "opened", "specimen"]

Places = Mapping[tuple[int, int], tuple[int, int]]
"""Where blocks lie, by row and column: offset in the bytes behind the head, and length."""

QUIET: Final = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
LARGEST_KEPT: Final = 2**25
# these hold addresses of other directories
POINTERS: Final = frozenset({330, 34665, 34853, 40965})
# GeoTIFF's keys: their content is known by the time pixels are read, and parsing them takes GDAL longest
GEO_KEYS: Final = frozenset({34735, 34736, 34737})
LONG, LONG8 = 4, 16


def specimen(layout: TiffLayout) -> bytes:
    """Return a TIFF of one block without data, from which GDAL reads what the large file is: CRS, transform, bands."""
    return _head(layout, Blocks(0, 0, 1, 1), band=0, places={})


def excerpt_head(layout: TiffLayout, blocks: Blocks, *, band: int, places: Places) -> bytes:
    """Return the head of a TIFF of a rectangle of blocks, behind which follow the bytes that hold them."""
    entries = {tag: entry for tag, entry in layout.directory.entries.items() if tag not in GEO_KEYS}
    plain = replace(layout, directory=replace(layout.directory, entries=entries))
    return _head(plain, blocks, band=band, places=places)


@contextmanager
def opened(data: bytes) -> Iterator[rasterio.DatasetReader]:
    """Open a TIFF that is in memory."""
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**QUIET))
        memory = stack.enter_context(MemoryFile(data, ext=".tif"))
        yield stack.enter_context(memory.open(driver="GTiff"))


def decode(parts: Sequence[bytes], indexes: list[int] | None, window: Window) -> npt.NDArray[Any]:
    """Return pixels of a TIFF whose bytes follow each other in some parts: (B, H, W).

    As many threads decode at a time as there are cores; more would only hold more memory.
    """
    files = _files()  # once: threads that come first at the same moment may have made several
    file = files.get()
    try:
        file.seek(0)
        for part in parts:
            file.write(part)
        with rasterio.Env(**QUIET), file.open(driver="GTiff") as source:
            shape = len(indexes or source.indexes), int(window.height), int(window.width)
            return np.asarray(source.read(indexes, window=window, out=scratch(shape, _numbers(source.dtypes[0]))))
    finally:
        if len(file) > LARGEST_KEPT:
            file.close()
            file = MemoryFile(ext=".tif")
        files.put(file)


def _numbers(stated: str) -> str:
    """Return the type of the numbers that are read: NumPy has no complex integers."""
    return "complex64" if stated.startswith("complex_int") else stated


@functools.cache
def _files() -> LifoQueue[MemoryFile]:
    """Return files in memory that are written over and over: new memory for each takes as long as a tenth of a read."""
    files: LifoQueue[MemoryFile] = LifoQueue()
    for _ in range(os.cpu_count() or 1):
        files.put(MemoryFile(ext=".tif"))
    return files


def _head(layout: TiffLayout, blocks: Blocks, *, band: int, places: Places) -> bytes:
    directory = layout.directory
    counts = np.zeros((layout.offsets.shape[0], blocks.rows, blocks.columns), np.uint64)
    offsets = np.zeros_like(counts)
    for (row, column), (offset, length) in places.items():
        here = layout.plane(band), row - blocks.row, column - blocks.column
        counts[here], offsets[here] = length, offset
    tags = _tags(layout, blocks, counts)
    offsets[counts > 0] += np.uint64(_directory_length(directory, tags))
    tags[TILE_OFFSETS if layout.tiled else STRIP_OFFSETS] = _entry(directory, offsets)
    return _directory_bytes(directory, tags)


def _entry(directory: Directory, values: npt.ArrayLike) -> TiffEntry:
    kind = LONG8 if directory.big else LONG
    numbers = np.ravel(values).astype(directory.order + NUMBERS[kind])
    return TiffEntry(kind, numbers.size, numbers.tobytes())


def _tags(layout: TiffLayout, blocks: Blocks, counts: np.ndarray) -> dict[int, TiffEntry]:
    """Return the large file's entries with the size of the excerpt and, as places of its blocks too, their lengths."""
    directory = layout.directory
    width = min(blocks.columns * layout.block_width, layout.width - blocks.column * layout.block_width)
    height = min(blocks.rows * layout.block_height, layout.height - blocks.row * layout.block_height)
    tags = {tag: original for tag, original in directory.entries.items() if tag not in POINTERS}
    places, lengths = (TILE_OFFSETS, TILE_COUNTS) if layout.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    tags |= {WIDTH: _entry(directory, width), HEIGHT: _entry(directory, height)}
    tags |= dict.fromkeys((places, lengths), _entry(directory, counts))
    if not layout.tiled:
        tags[ROWS_PER_STRIP] = _entry(directory, layout.block_height)
    return dict(sorted(tags.items()))


def _directory_length(directory: Directory, tags: Mapping[int, TiffEntry]) -> int:
    """Return how long `_directory_bytes` is."""
    head, number, size = (16, 8, 8) if directory.big else (8, 2, 4)
    long = sum(len(entry.value) + len(entry.value) % 2 for entry in tags.values() if len(entry.value) > size)
    return head + number + len(tags) * (4 + 2 * size) + size + long


def _directory_bytes(directory: Directory, tags: Mapping[int, TiffEntry]) -> bytes:
    """Return header, directory and long values of a file."""
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
