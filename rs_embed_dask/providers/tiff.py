"""Where the blocks of a TIFF lie: its first image directory, read from as few bytes as possible.

Others decode blocks; this only finds them, so that exactly the bytes of the needed blocks are fetched. It reads the
directory of the full-resolution image (the first) of classic and big TIFF files, tiled or in strips, and that of the
mask beside it, if there is one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.specs.base import Record, positive

__all__ = [
    "Block",
    "Blocks",
    "BombError",
    "Directory",
    "NotTiffError",
    "TiffEntry",
    "TiffLayout",
    "TiffLimits",
    "check_blocks",
    "read_layout",
]

Fetch = Callable[[int, int], bytes]
Numbers = npt.NDArray[np.uint64]
Block = tuple[int, int, int, int]
"""Row, column, offset and length."""

CLASSIC, BIG = 42, 43
MOST_ENTRIES: Final = 4096
LONGEST_VALUES: Final = 128_000_000
# compressing makes incompressible pixels a little larger, and short blocks have tables
_LARGEST_GROWTH, _OVERHEAD = 2, 65_536
SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
NUMBERS: Final = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

BITS: Final = 258
WIDTH, HEIGHT, SAMPLES, ROWS_PER_STRIP, PLANAR = 256, 257, 277, 278, 284
STRIP_OFFSETS, STRIP_COUNTS = 273, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
PIXEL_SCALE, MATRIX = 33550, 34264
PLACE: Final = frozenset({PIXEL_SCALE, 33922, MATRIX})  # a mask lies where its image lies, and does not say so
SEPARATE: Final = 2
OTHERS: Final = {
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"\x89HDF": "HDF5 or NetCDF 4",
    b"CDF": "NetCDF",
    b"PK\x03\x04": "a ZIP archive",
}
"""How files begin that catalogues list in place of TIFFs."""
SUBFILE, REDUCED, IS_MASK = 254, 1, 4
MOST_DIRECTORIES: Final = 64


@dataclass(frozen=True)
class TiffLimits(Record):
    """How much a file may make its reader hold, whatever it claims.

    Parameters
    ----------
    image_px
        Most pixels of an image.
    block_bytes
        Most bytes of one decoded block.
    ratio
        Most bytes that one compressed byte may become, in blocks of more than `small_bytes`.
    small_bytes
        Blocks that decode to at most this may be compressed to nothing, as empty ones are.
    read_bytes
        Most bytes of the decoded blocks that one read touches.
    whole_bytes
        Most bytes of a file that a server sends whole because it cannot send parts.
    """

    image_px: int = 2**40
    block_bytes: int = 2**28
    ratio: float = 500.0
    small_bytes: int = 2**25
    read_bytes: int = 2**31
    whole_bytes: int = 2**30

    def __post_init__(self) -> None:
        for field in fields(self):
            positive(f"TiffLimits.{field.name}", getattr(self, field.name))


_LIMITS: Final = TiffLimits()


class NotTiffError(ValueError):
    """The bytes are not those of a TIFF file that can be read here."""


class BombError(NotTiffError):
    """The file claims more than the limits allow."""


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
    mask: TiffLayout | None = None

    @property
    def block_bytes(self) -> int:
        """Bytes of one decoded block."""
        bits = int(self.directory.numbers(BITS).max()) if BITS in self.directory.entries else 1
        samples = self.directory.number(SAMPLES, 1) if self.offsets.shape[0] == 1 else 1
        return self.block_width * self.block_height * samples * -(-bits // 8)

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

    def spans(self, blocks: Blocks, band: int) -> Iterator[Block]:
        """Yield row, column, offset and length of each block that has data."""
        plane = self.plane(band)
        for row in range(blocks.row, blocks.row + blocks.rows):
            for column in range(blocks.column, blocks.column + blocks.columns):
                length = int(self.counts[plane, row, column])
                if length:
                    yield row, column, int(self.offsets[plane, row, column]), length


def check_blocks(layout: TiffLayout, spans: Iterable[Block], *, touched: int, size: int, limits: TiffLimits) -> None:
    """Refuse blocks that lie beyond the end of a file of `size` bytes, or that would be too large once decoded."""
    decoded = layout.block_bytes
    if touched * decoded > limits.read_bytes:
        reason = f"{touched} blocks of {decoded} bytes would be read at once, and the limit is {limits.read_bytes}"
        raise NotTiffError(reason)
    for row, column, offset, length in spans:
        where = f"its block in row {row}, column {column}"
        if offset + length > size:
            reason = f"{where} lies at {offset} to {offset + length}, beyond the end of the file at {size}"
            raise NotTiffError(reason)
        if decoded > max(limits.small_bytes, limits.ratio * length):
            reason = f"{where} would grow from {length} to {decoded} bytes, more than {limits.ratio:g} times"
            raise NotTiffError(reason)
        if length > _LARGEST_GROWTH * decoded + _OVERHEAD:
            reason = f"{where} takes {length} bytes for {decoded} bytes of pixels"
            raise NotTiffError(reason)


def read_layout(fetch: Fetch, limits: TiffLimits = _LIMITS) -> TiffLayout:
    """Return the layout of the first image of a TIFF, with that of its mask."""
    try:
        return _with_mask(fetch, limits)
    except (struct.error, ValueError, ZeroDivisionError) as error:
        if isinstance(error, NotTiffError):
            raise
        msg = f"its directory is damaged ({type(error).__name__}: {error})"
        raise NotTiffError(msg) from error


def _checked(layout: TiffLayout, limits: TiffLimits) -> TiffLayout:
    if layout.width * layout.height > limits.image_px:
        reason = f"it claims {layout.width} x {layout.height} pixels, and the limit is {limits.image_px}"
        raise BombError(reason)
    if layout.block_bytes > limits.block_bytes:
        sides = f"{layout.block_width} x {layout.block_height} pixels"
        reason = f"its blocks of {sides} take {layout.block_bytes} bytes, and the limit is {limits.block_bytes}"
        raise BombError(reason)
    return layout


def _with_mask(fetch: Fetch, limits: TiffLimits) -> TiffLayout:
    start, table = _header(fetch)
    directory, following = table.read(start)
    image = _checked(_layout(directory), limits)
    for _ in range(MOST_DIRECTORIES):
        if not following:
            break
        start = following
        entries, following = table.entries(start)
        kinds = [inline for tag, _, _, inline in entries if tag == SUBFILE]
        subfile = struct.unpack(f"{table.order}I", kinds[0][:4])[0] if kinds else 0
        if subfile & IS_MASK and not subfile & REDUCED:
            own = table.read(start, leave=SUBFILE)[0]
            place = {tag: entry for tag, entry in directory.entries.items() if tag in PLACE}
            mask = _checked(_layout(replace(own, entries={**place, **own.entries})), limits)
            return replace(image, mask=mask if (mask.width, mask.height) == (image.width, image.height) else None)
    return image


def _header(fetch: Fetch) -> tuple[int, _Table]:
    """Return where the first directory begins, and how directories are read."""
    head = fetch(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    magic = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if order is None or magic not in {CLASSIC, BIG}:
        other = next((name for start, name in OTHERS.items() if head.startswith(start)), None)
        msg = f"it is {other}, not a TIFF" if other else f"it begins with {head[:4]!r}, which is not a TIFF"
        raise NotTiffError(msg)
    big = magic == BIG
    (start,) = struct.unpack(f"{order}{'Q' if big else 'I'}", head[8:16] if big else head[4:8])
    return start, _Table(fetch, order, big)


@dataclass(frozen=True, slots=True)
class _Table:
    """Reads directories: those of big files have longer numbers."""

    fetch: Fetch
    order: str
    big: bool

    def entries(self, start: int) -> tuple[list[tuple[int, int, int, bytes]], int]:
        """Return tag, kind, count and inline value of each entry, and where the next directory begins (0: nowhere)."""
        number, word = ("Q", "Q") if self.big else ("H", "I")
        (count,) = struct.unpack(f"{self.order}{number}", self.fetch(start, struct.calcsize(number)))
        if not 0 < count <= MOST_ENTRIES:
            msg = f"its directory claims {count} entries"
            raise NotTiffError(msg)
        form = f"{self.order}HH{word}{struct.calcsize(word)}s"
        length = count * struct.calcsize(form)
        table = self.fetch(start + struct.calcsize(f"={number}"), length + struct.calcsize(word))
        following = table[length:]
        whole = len(following) == struct.calcsize(word)
        after = struct.unpack(f"{self.order}{word}", following)[0] if whole else 0
        return list(struct.iter_unpack(form, table[:length])), after

    def read(self, start: int, leave: int | None = None) -> tuple[Directory, int]:
        """Return a directory with all values but those of one tag, and where the next begins."""
        listed, after = self.entries(start)
        claimed = sum(SIZES.get(kind, 0) * n for tag, kind, n, _ in listed if tag != leave)
        if claimed > LONGEST_VALUES:
            msg = f"its directory claims values of {claimed} bytes"
            raise NotTiffError(msg)
        pointer = f"{self.order}{'Q' if self.big else 'I'}"
        entries = {
            tag: TiffEntry(kind, n, _value(self.fetch, pointer, SIZES.get(kind, 0) * n, inline))
            for tag, kind, n, inline in listed
            if tag != leave
        }
        return Directory(self.order, self.big, entries), after


def _value(fetch: Fetch, pointer: str, length: int, inline: bytes) -> bytes:
    """Return the bytes of one entry's value, which lie in the entry itself where they fit."""
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
    if offsets.size != counts.size or offsets.size != math.prod(shape):
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
