"""Where the blocks of a TIFF lie: its first image directory, read from as few bytes as possible.

GDAL decodes blocks; this only finds them, so that exactly the bytes of the needed blocks are fetched. It reads the
directory of the full-resolution image (the first) of classic and big TIFF files, tiled or in strips.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Blocks", "Directory", "NotTiffError", "TiffEntry", "TiffLayout", "read_layout"]

Fetch = Callable[[int, int], bytes]
Numbers = npt.NDArray[np.uint64]

CLASSIC, BIG = 42, 43
MOST_ENTRIES: Final = 4096
LONGEST_VALUE: Final = 64_000_000
SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
NUMBERS: Final = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

WIDTH, HEIGHT, SAMPLES, ROWS_PER_STRIP, PLANAR = 256, 257, 277, 278, 284
STRIP_OFFSETS, STRIP_COUNTS = 273, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
PIXEL_SCALE, MATRIX = 33550, 34264
SEPARATE: Final = 2


class NotTiffError(ValueError):
    """The bytes are not those of a TIFF file that can be read here."""


@dataclass(frozen=True, slots=True)
class TiffEntry:
    """One entry of a directory: TIFF type, number of values, and their bytes."""

    kind: int
    count: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """All entries of the first image, with what is needed to read or write them."""

    order: str
    big: bool
    entries: Mapping[int, TiffEntry]

    def numbers(self, tag: int) -> Numbers:
        """Return the values of a tag of whole numbers."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in NUMBERS or not entry.count:
            msg = f"its directory has no usable tag {tag}"
            raise NotTiffError(msg)
        return np.frombuffer(entry.value, np.dtype(self.order + NUMBERS[entry.kind]), entry.count).astype(np.uint64)

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the first value of a tag, or `default` where it is missing."""
        if default is not None and tag not in self.entries:
            return default
        return int(self.numbers(tag)[0])


@dataclass(frozen=True, slots=True)
class Blocks:
    """A rectangle of blocks: first row and column, number of rows and columns."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True)
class TiffLayout:
    """Size of an image and of its blocks, and where each block lies."""

    directory: Directory
    width: int
    height: int
    block_width: int
    block_height: int
    offsets: Numbers
    counts: Numbers
    tiled: bool

    @property
    def placed(self) -> bool:
        """Whether the file states where its pixels lie; one with ground control points alone does not."""
        return PIXEL_SCALE in self.directory.entries or MATRIX in self.directory.entries

    def under(self, rows: tuple[int, int], columns: tuple[int, int]) -> Blocks:
        """Return the blocks under the pixels [rows) x [columns)."""
        top, left = rows[0] // self.block_height, columns[0] // self.block_width
        bottom, right = -(-rows[1] // self.block_height), -(-columns[1] // self.block_width)
        return Blocks(top, left, bottom - top, right - left)

    def plane(self, band: int) -> int:
        """Return the plane that holds a band (from 0); files that keep all bands in one block have one plane."""
        return min(band, int(self.offsets.shape[0]) - 1)

    def spans(self, blocks: Blocks, band: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield row, column, offset and length of each block that has data."""
        plane = self.plane(band)
        for row in range(blocks.row, blocks.row + blocks.rows):
            for column in range(blocks.column, blocks.column + blocks.columns):
                length = int(self.counts[plane, row, column])
                if length:
                    yield row, column, int(self.offsets[plane, row, column]), length


def read_layout(fetch: Fetch) -> TiffLayout:
    """Return the layout of the first image of a TIFF."""
    try:
        return _layout(_directory(fetch))
    except (struct.error, ValueError, ZeroDivisionError) as error:
        if isinstance(error, NotTiffError):
            raise
        msg = f"its directory is damaged ({type(error).__name__}: {error})"
        raise NotTiffError(msg) from error


def _directory(fetch: Fetch) -> Directory:
    head = fetch(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    magic = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if order is None or magic not in {CLASSIC, BIG}:
        msg = f"it begins with {head[:4]!r}, which is not a TIFF"
        raise NotTiffError(msg)
    big = magic == BIG
    number, word = ("Q", "Q") if big else ("H", "I")
    (start,) = struct.unpack(f"{order}{word}", head[8:16] if big else head[4:8])
    (count,) = struct.unpack(f"{order}{number}", fetch(start, struct.calcsize(number)))
    if not 0 < count <= MOST_ENTRIES:
        msg = f"its directory claims {count} entries"
        raise NotTiffError(msg)
    form = f"{order}HH{word}{struct.calcsize(word)}s"
    table = fetch(start + struct.calcsize(f"={number}"), count * struct.calcsize(form))
    entries = {}
    for tag, kind, n, inline in struct.iter_unpack(form, table):
        entries[tag] = TiffEntry(kind, n, _value(fetch, f"{order}{word}", SIZES.get(kind, 0) * n, inline))
    return Directory(order, big, entries)


def _value(fetch: Fetch, pointer: str, length: int, inline: bytes) -> bytes:
    """Return the bytes of one entry's value, which lie in the entry itself where they fit."""
    if length > LONGEST_VALUE:
        msg = f"its directory claims a value of {length} bytes"
        raise NotTiffError(msg)
    if length <= len(inline):
        return inline[:length]
    (at,) = struct.unpack(pointer, inline)
    value = fetch(at, length)
    if len(value) != length:
        msg = f"it ends within its directory: {len(value)} bytes of {length} are there"
        raise NotTiffError(msg)
    return value


def _layout(directory: Directory) -> TiffLayout:
    width, height = directory.number(WIDTH), directory.number(HEIGHT)
    tiled = TILE_OFFSETS in directory.entries
    if tiled:
        block_width, block_height = directory.number(TILE_WIDTH), directory.number(TILE_HEIGHT)
        offsets, counts = directory.numbers(TILE_OFFSETS), directory.numbers(TILE_COUNTS)
    else:
        block_width, block_height = width, min(directory.number(ROWS_PER_STRIP, height), height)
        offsets, counts = directory.numbers(STRIP_OFFSETS), directory.numbers(STRIP_COUNTS)
    planes = directory.number(SAMPLES, 1) if directory.number(PLANAR, 1) == SEPARATE else 1
    shape = (planes, -(-height // block_height), -(-width // block_width))
    if offsets.size != counts.size or offsets.size != np.prod(shape):
        msg = f"its directory lists {offsets.size} blocks where {shape} are needed"
        raise NotTiffError(msg)
    return TiffLayout(
        directory=directory,
        width=width,
        height=height,
        block_width=block_width,
        block_height=block_height,
        offsets=offsets.reshape(shape),
        counts=counts.reshape(shape),
        tiled=tiled,
    )
