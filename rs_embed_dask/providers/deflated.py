"""Deflated blocks, unpacked no further than the last row that is needed.

GDAL unpacks blocks whole. Most files of public catalogues are deflated, which is a stream that can be left anywhere, so
a window that lies high in a block, or is much smaller than it, costs only part of the work. All else is left to GDAL.
The checksum at the end of a stream that was left is not seen: damage is found where it cannot be unpacked, as in files
that are compressed in other ways, which have no checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.scratch import scratch
from rs_embed_dask.providers.tiff import BITS, SAMPLES, Block, NotTiffError, TiffLayout

__all__ = ["unpacked"]

COMPRESSION, PHOTOMETRIC, FILL_ORDER, PREDICTOR, SAMPLE_FORMAT = 259, 262, 266, 317, 339
DEFLATE: Final = frozenset({8, 32946})
PLAIN: Final = frozenset({0, 1, 2, 3})
"""Photometric interpretations whose numbers are those of the pixels: grey, colours and palettes."""
TYPES: Final = {
    (format_, bits): np.dtype(f"{letter}{bits // 8}")
    for format_, letter, sizes in ((1, "u", (8, 16, 32)), (2, "i", (8, 16, 32)), (3, "f", (32, 64)))
    for bits in sizes
}
NONE, DIFFERENCES, FLOATS = 1, 2, 3
LARGEST: Final = 2**22
"""Bytes of a block: a read unpacks as many at a time as it has requests in flight, GDAL as many as there are cores."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows and columns of a block that are needed, and their place in the window."""

    rows: Span
    columns: Span
    place: tuple[slice, slice]

    @classmethod
    def of(cls, block: Block, layout: TiffLayout, *, rows: Span, columns: Span) -> _Part:
        down, into_rows = _overlap(rows, block[0], layout.block_height)
        across, into_columns = _overlap(columns, block[1], layout.block_width)
        return cls(down, across, (into_rows, into_columns))


def _overlap(span: Span, index: int, size: int) -> tuple[Span, slice]:
    """Return which pixels of a block lie in a span along one axis, and their place in the span."""
    begin = index * size
    first, last = max(span[0], begin), min(span[1], begin + size)
    return (first - begin, last - begin), slice(first - span[0], last - span[0])


def unpacked(
    layout: TiffLayout,
    blocks: Sequence[tuple[Block, memoryview]],
    *,
    rows: Span,
    columns: Span,
    band: int | None,
) -> npt.NDArray[Any] | None:
    """Return the numbers of a window (B, H, W) of the blocks of a plane: of one of its bands (from 0), or of all.

    None where GDAL reads them: at least as quickly, or because only it can, or to say what is wrong with them.
    """
    try:
        kind = _kind(layout)
    except NotTiffError:  # a tag of another type, of which GDAL knows what it means
        return None
    under = layout.under(rows, columns)
    if kind is None or len(blocks) < under.rows * under.columns:  # blocks that are left out are nodata or 0
        return None
    parts = [_Part.of(block, layout, rows=rows, columns=columns) for block, _ in blocks]
    # To restore a row takes at most as long as to unpack it: so long as both together are no more rows than the blocks
    # have, GDAL, which unpacks them all, takes longer.
    if sum(2 * part.rows[1] - part.rows[0] for part in parts) > len(parts) * layout.block_height:
        return None
    samples = layout.directory.number(SAMPLES, 1) if layout.offsets.shape[0] == 1 else 1
    bands = slice(None) if band is None else slice(band, band + 1)
    shape = len(range(samples)[bands]), rows[1] - rows[0], columns[1] - columns[0]
    numbers = scratch(shape, kind)
    for part, (_, body) in zip(parts, blocks, strict=True):
        lines, size = part.rows[1], layout.block_width * samples * kind.itemsize
        try:
            stream = zlib.decompressobj().decompress(body, lines * size + 1)  # what ends here is checked
        except zlib.error:
            return None
        if len(stream) < lines * size:
            return None
        stored = np.frombuffer(stream, np.uint8, lines * size).reshape(lines, size)[slice(*part.rows)]
        pixels = _restored(stored, layout, kind, samples)
        numbers[:, *part.place] = np.moveaxis(pixels[:, slice(*part.columns), bands], -1, 0)
    return numbers


def _kind(layout: TiffLayout) -> np.dtype[Any] | None:
    """Return the type of the numbers of an image that is deflated in one of the usual ways."""
    directory = layout.directory
    kinds = {
        (int(format_), int(bits))
        for format_ in (directory.numbers(SAMPLE_FORMAT) if SAMPLE_FORMAT in directory.entries else (1,))
        for bits in (directory.numbers(BITS) if BITS in directory.entries else (1,))
    }
    kind = TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    predictors = {NONE, DIFFERENCES, FLOATS} if kind is not None and kind.kind == "f" else {NONE, DIFFERENCES}
    is_usual = (
        directory.number(COMPRESSION, 1) in DEFLATE
        and directory.number(PREDICTOR, NONE) in predictors
        and directory.number(FILL_ORDER, 1) == 1
        and directory.number(PHOTOMETRIC, 1) in PLAIN
        and layout.block_bytes <= LARGEST
    )
    return kind if is_usual else None


def _restored(stored: npt.NDArray[np.uint8], layout: TiffLayout, kind: np.dtype[Any], samples: int) -> npt.NDArray[Any]:
    """Return the pixels (H, W, B) of rows of bytes, in which a predictor has left only what differs from it."""
    predictor, order = layout.directory.number(PREDICTOR, NONE), layout.directory.order
    shape = len(stored), layout.block_width, samples
    if predictor == FLOATS:  # differences of bytes, the most significant ones of a row first
        sums = np.cumsum(stored.reshape(len(stored), -1, samples), axis=1, dtype=np.uint8)
        apart = sums.reshape(len(stored), kind.itemsize, -1)
        return np.ascontiguousarray(np.moveaxis(apart, 1, 2)).view(np.dtype(f">{kind.str[1:]}")).reshape(shape)
    if predictor == DIFFERENCES:  # of whole numbers, floats' too
        whole = np.dtype(f"u{kind.itemsize}")
        differences = stored.view(np.dtype(order + whole.str[1:])).reshape(shape)
        return np.cumsum(differences, axis=1, dtype=whole).view(kind)
    return stored.view(np.dtype(order + kind.str[1:])).reshape(shape)
