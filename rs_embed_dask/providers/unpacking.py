"""Blocks of the usual kinds of TIFF, unpacked without GDAL.

Most files of public catalogues are packed by deflate or zstd. GDAL unpacks them by the same libraries, but it opens a
dataset for each read, takes new memory for each block, and adds up differences number by number: together that takes
longer than to unpack. All other files are left to it, and so is whatever cannot be unpacked here: GDAL reads it, or
says what is wrong with it. The pixels are the same, but for two kinds that GDAL does not read right: a last strip that
is packed whole, of which it returns something else each time, and zstd in several frames, which it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from imagecodecs import DeflateError, ZstdError, deflate_decode, delta_decode, zstd_decode

from rs_embed_dask.imagery.scratch import scratch
from rs_embed_dask.providers.tiff import BITS, SAMPLES, TILE_HEIGHT, TILE_WIDTH, Block, NotTiffError, TiffLayout

__all__ = ["unpacked"]

COMPRESSION, PHOTOMETRIC, FILL_ORDER, PREDICTOR, SAMPLE_FORMAT = 259, 262, 266, 317, 339
UNPACK: Final[Mapping[int, Callable[..., Any]]] = {
    8: deflate_decode,
    32946: deflate_decode,  # its number before it got one of its own
    50000: zstd_decode,
}
SHORT: Final = 3
STRAY: Final = frozenset({32996})
"""Tags by which GDAL sees an image otherwise than it is seen here; in strips, those of tiles too."""
PLAIN: Final = frozenset({0, 1, 2, 3})
"""Photometric interpretations whose numbers are those of the pixels: grey, colours and palettes."""
TYPES: Final = {
    (format_, bits): np.dtype(f"{letter}{bits // 8}")
    for format_, letter, sizes in ((1, "u", (8, 16, 32)), (2, "i", (8, 16, 32)), (3, "f", (32, 64)))
    for bits in sizes
}
NONE, DIFFERENCES, FLOATS = 1, 2, 3
PREDICTORS: Final = {"u": (NONE, DIFFERENCES), "i": (NONE, DIFFERENCES), "f": (NONE, DIFFERENCES, FLOATS)}
LARGEST: Final = 2**22
"""Bytes of a block: a read unpacks as many at a time as it has requests in flight, GDAL as many as there are cores."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _BlockPart:
    """Rows and columns of a block that are needed, and their place in the window."""

    rows: Span
    columns: Span
    place: tuple[slice, slice]

    @classmethod
    def of(cls, block: Block, layout: TiffLayout, *, rows: Span, columns: Span) -> _BlockPart:
        down, into_rows = _overlap(rows, block[0], layout.block_height)
        across, into_columns = _overlap(columns, block[1], layout.block_width)
        return cls(down, across, (into_rows, into_columns))


def _overlap(span: Span, index: int, size: int) -> tuple[Span, slice]:
    """Return which pixels of a block lie in a span along one axis, and their place in the span."""
    begin = index * size
    first, last = max(span[0], begin), min(span[1], begin + size)
    return (first - begin, last - begin), slice(first - span[0], last - span[0])


@dataclass(frozen=True, slots=True)
class _Packing:
    """How the blocks of an image are packed, and how they keep its numbers."""

    unpack: Callable[..., Any]
    dtype: np.dtype[Any]
    order: str
    predictor: int
    samples: int

    @classmethod
    def of(cls, layout: TiffLayout) -> _Packing | None:
        """Return what an image is, where it is one of the usual kinds, written in the usual way."""
        directory = layout.directory
        entries = directory.entries
        stray = STRAY if layout.tiled else STRAY | {TILE_WIDTH, TILE_HEIGHT}
        told = [entries[tag] for tag in (COMPRESSION, PHOTOMETRIC, FILL_ORDER, PREDICTOR) if tag in entries]
        if not stray.isdisjoint(entries) or any((each.kind, each.count) != (SHORT, 1) for each in told):
            return None
        formats, bits = (directory.numbers(tag) if tag in entries else np.ones(1) for tag in (SAMPLE_FORMAT, BITS))
        unpack = UNPACK.get(directory.number(COMPRESSION, 1))
        dtype = TYPES.get((int(formats[0]), int(bits[0])))
        predictor = directory.number(PREDICTOR, NONE)
        is_usual = (
            (formats == formats[0]).all()
            and (bits == bits[0]).all()
            and directory.number(FILL_ORDER, 1) == 1
            and directory.number(PHOTOMETRIC, 1) in PLAIN
            and layout.block_bytes <= LARGEST
        )
        if unpack is None or dtype is None or not is_usual or predictor not in PREDICTORS[dtype.kind]:
            return None
        samples = directory.number(SAMPLES, 1) if layout.offsets.shape[0] == 1 else 1
        return cls(unpack, dtype, directory.order, predictor, samples)

    def pixels(self, rows: npt.NDArray[np.uint8], n_columns: int) -> npt.NDArray[Any]:
        """Return the first columns of unpacked rows as pixels (H, W, B); the rows may be changed."""
        shape, size = (len(rows), -1, self.samples), self.dtype.str[1:]
        if self.predictor == FLOATS:  # differences of bytes, of which a row has the most significant ones first
            of_bytes = rows.reshape(shape)
            delta_decode(of_bytes, axis=1, out=of_bytes)
            apart = rows.reshape(len(rows), self.dtype.itemsize, *shape[1:])[:, :, :n_columns]
            return np.ascontiguousarray(np.moveaxis(apart, 1, -1)).view(f">{size}")[..., 0]
        stored = rows.view(f"{self.order}{size}").reshape(shape)[:, :n_columns]
        if self.predictor == NONE:
            return stored
        whole = stored.astype(self.dtype, copy=False).view(f"u{self.dtype.itemsize}")  # the bits of floats, too
        delta_decode(whole, axis=1, out=whole)
        return whole.view(self.dtype)


def _rows_in(layout: TiffLayout, row: int) -> int:
    """Return how many rows a block holds: tiles are whole, the last strip ends with the image."""
    return layout.block_height if layout.tiled else min(layout.block_height, layout.height - row * layout.block_height)


def unpacked(
    layout: TiffLayout,
    blocks: Sequence[tuple[Block, memoryview]],
    *,
    rows: Span,
    columns: Span,
    band: int | None,
) -> npt.NDArray[Any] | None:
    """Return the numbers of a window (B, H, W) of the blocks of a plane: of one of its bands (from 0), or of all.

    None where GDAL has to read them.
    """
    try:
        packing = _Packing.of(layout)
    except NotTiffError:  # a tag of another type, of which GDAL knows what it means
        return None
    under = layout.under(rows, columns)
    if packing is None or len(blocks) < under.rows * under.columns:  # blocks that are left out are nodata or 0
        return None
    bands = slice(None) if band is None else slice(band, band + 1)
    numbers = scratch((len(range(packing.samples)[bands]), rows[1] - rows[0], columns[1] - columns[0]), packing.dtype)
    line = layout.block_width * packing.samples * packing.dtype.itemsize
    memory = scratch((layout.block_height, line), np.uint8)
    for block, body in blocks:
        try:
            got = packing.unpack(body, out=memory.reshape(-1))  # the last strip of some writers is whole
        except (DeflateError, ZstdError):
            return None
        if len(got) < _rows_in(layout, block[0]) * line:
            return None
        part = _BlockPart.of(block, layout, rows=rows, columns=columns)
        pixels = packing.pixels(memory[slice(*part.rows)], part.columns[1])
        numbers[:, *part.place] = np.moveaxis(pixels[:, part.columns[0] :, bands], -1, 0)
    return numbers
