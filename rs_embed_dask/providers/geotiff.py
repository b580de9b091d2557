"""Reading the pixels of GeoTIFFs from as few bytes as possible: a head once, then the blocks that are needed."""

from __future__ import annotations

import copy
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote, urldefrag

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.providers.http import Access, read_range
from rs_embed_dask.providers.kept import Piece
from rs_embed_dask.providers.nearest import Coordinates, mover
from rs_embed_dask.providers.retry import deadline, retried
from rs_embed_dask.providers.tiff import (
    HEIGHT,
    NUMBERS,
    ROWS_PER_STRIP,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_COUNTS,
    TILE_OFFSETS,
    WIDTH,
    Block,
    Blocks,
    BombError,
    Directory,
    NotTiffError,
    TiffEntry,
    TiffLayout,
    TiffLimits,
    check_blocks,
    read_layout,
)

__all__ = ["GeoTiff", "TiffTile", "excerpt", "open_geotiff", "specimen"]

HEAD_BYTES: Final = 32_768
MOST_HEADS: Final = 1024
MOST_HEAD_BYTES: Final = 2**28
# a gap this small is cheaper to read than to split a request for
WORTHWHILE_GAP: Final = 65_536
TIFF: Final = (b"II", b"MM")
AT_ONCE: Final = 8
_BEYOND: Final = "leave out this item, or raise the limits of its provider if you trust the file"
QUIET: Final = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TiffTile:
    """A block of a file: where its bytes lie, and which rows and columns of pixels it holds."""

    offset: int
    length: int
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True, eq=False)
class GeoTiff:
    """A file whose head is known: where its pixels lie on the ground and in the file."""

    href: str
    crs: str
    transform: Affine
    nodata: float | None
    bands: int
    layout: TiffLayout
    head: tuple[Piece, ...]
    alpha: int | None = None

    @property
    def image_bands(self) -> int:
        """How many bands hold an image: all but an alpha band, which says where there is one."""
        return self.bands - (self.alpha is not None)

    def read(self, band: int, rows: tuple[int, int], columns: tuple[int, int], *, access: Access) -> Pixels:
        """Return the pixels [rows) x [columns) of a band as float32, NaN where they are missing."""
        raw, empty = self._seen(band, rows, columns, access)
        pixels: Pixels = raw.astype(np.float32)
        if self.nodata is not None and not np.isnan(self.nodata):
            pixels[raw == self.nodata] = np.nan
        if empty is not None:
            pixels[empty] = np.nan
        return pixels

    def _seen(
        self, band: int, rows: tuple[int, int], columns: tuple[int, int], access: Access
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return the numbers of a band, and where the file's mask or alpha band shows nothing."""
        if self.layout.mask is not None:
            mask = replace(self, layout=self.layout.mask, alpha=None).raw(rows, columns, access=access, band=1)[0]
            return self.raw(rows, columns, access=access, band=band)[0], mask == 0
        if self.alpha is None or self.alpha == band:
            return self.raw(rows, columns, access=access, band=band)[0], None
        if self.layout.offsets.shape[0] == 1:  # blocks that hold both are read once
            every = self.raw(rows, columns, access=access)
            return every[band - 1], every[self.alpha - 1] == 0
        raw, alpha = (self.raw(rows, columns, access=access, band=each)[0] for each in (band, self.alpha))
        return raw, alpha == 0

    def raw(
        self, rows: tuple[int, int], columns: tuple[int, int], *, access: Access, band: int | None = None
    ) -> npt.NDArray[Any]:
        """Return the numbers of a band, or of all bands, as they lie in the file: (B, H, W)."""
        # Blocks that hold every band are fetched once for all of them; bands in planes of their own are
        # fetched side by side. Parameters and errors are those of `read`.
        blocks = self.layout.under(rows, columns)
        planes = range(self.layout.offsets.shape[0]) if band is None else (self.layout.plane(band - 1),)
        spans = {plane: tuple(self.layout.spans(blocks, plane)) for plane in planes}
        self._check(self.layout, blocks, spans, access.limits)
        pieces = self._pieces([span[2:] for of in spans.values() for span in of], access)
        window = Window(
            columns[0] - blocks.column * self.layout.block_width,
            rows[0] - blocks.row * self.layout.block_height,
            columns[1] - columns[0],
            rows[1] - rows[0],
        )
        whole = self.layout.offsets.shape[0] == 1
        decoded = []
        for plane in planes:
            bytes_of = {(row, column): cut(pieces, offset, length) for row, column, offset, length in spans[plane]}
            data = excerpt(self.layout, blocks, band=plane, data_of=bytes_of)
            indexes = (None if whole else plane + 1) if band is None else band
            decoded.append(self._decoded(data, indexes, window))
        return np.concatenate(decoded)

    def tiles(
        self, band: int, rows: tuple[int, int], columns: tuple[int, int], *, limits: TiffLimits
    ) -> list[TiffTile]:
        """Return what a read of these pixels of a band takes, the file's mask or alpha band included."""
        others = [(self.layout.mask, 1)] if self.layout.mask is not None else [(self.layout, self.alpha or band)]
        tiles: dict[int, TiffTile] = {}
        for layout, one in ((self.layout, band), *others):
            blocks, (height, width) = layout.under(rows, columns), (layout.block_height, layout.block_width)
            spans = tuple(layout.spans(blocks, one - 1))
            self._check(layout, blocks, {0: spans}, limits)
            for row, column, offset, length in spans:
                bottom, right = min((row + 1) * height, layout.height), min((column + 1) * width, layout.width)
                tiles[offset] = TiffTile(offset, length, (row * height, bottom), (column * width, right))
        return list(tiles.values())

    def fetched(self, tiles: Iterable[TiffTile], *, access: Access) -> list[Piece]:
        """Fetch tiles; a piece each."""
        spans = [(tile.offset, tile.length) for tile in tiles]
        pieces, size = self._pieces(spans, replace(access, cache=None)), self.head[0].size
        return [Piece(offset, cut(pieces, offset, length), size) for offset, length in spans]

    def corners(self, tile: TiffTile, crs: str) -> tuple[Coordinates, Coordinates]:
        """Return x and y of the corners of a tile, in any system."""
        columns, rows = np.array(tile.columns * 2), np.repeat(tile.rows, 2)
        a, b, c, d, e, f = self.transform[:6]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        transformer = mover(self.crs, crs)
        return (x, y) if transformer is None else transformer.transform(x, y)

    def _pieces(self, needed: list[tuple[int, int]], access: Access) -> list[Piece]:
        """Return pieces that hold blocks of (offset, length), each byte fetched at most once where bytes are kept."""
        head = [(piece.start, piece.stop) for piece in self.head]

        def missing(there: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
            return runs(needed, [*head, *there])

        def fetch(runs_: list[tuple[int, int]]) -> list[Piece]:
            return self._fetch_all(runs_, access)

        if access.cache is None:
            return [*self.head, *fetch(missing(()))]
        return [*self.head, *access.cache.take((self.href, self.head[0].size), missing, fetch)]

    def _check(
        self, layout: TiffLayout, blocks: Blocks, spans: Mapping[int, tuple[Block, ...]], limits: TiffLimits
    ) -> None:
        """Refuse blocks that are not there, and bombs, before any is fetched."""
        fault, touched = "", blocks.rows * blocks.columns * len(spans)
        try:
            for of in spans.values():
                check_blocks(layout, of, touched=touched, size=self.head[0].size, limits=limits)
        except NotTiffError as error:
            fault = str(error)
        if fault:
            raise ProviderError(label(self.href), value=urldefrag(self.href).url, reason=fault, fix=_BEYOND)

    def _decoded(self, data: bytes, band: int | None, window: Window) -> npt.NDArray[Any]:
        fault = ""
        try:
            with ExitStack() as stack:
                raw = _open(stack, data).read(None if band is None else [band], window=window)
        except rasterio.errors.RasterioError as error:
            fault = str(error)
        if fault:
            reason = f"its pixels cannot be decoded: {fault}"
            raise ProviderError(label(self.href), reason=reason, fix="leave out this item")
        return np.asarray(raw)

    def _fetch_all(self, runs_: list[tuple[int, int]], access: Access) -> list[Piece]:
        if len(runs_) <= 1:
            return [self._fetch(start, stop, access) for start, stop in runs_]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rs-range") as threads:
            return list(threads.map(lambda run: self._fetch(run[0], run[1], access), runs_))

    def _fetch(self, start: int, stop: int, access: Access) -> Piece:
        piece = read_range(self.href, start, stop - start, access=access, size=self.head[0].size)
        if piece.size != self.head[0].size:
            _HEADS.drop(self.href)
            raise TransientError(label(self.href), reason="the file changed while it was read", fix="read it again")
        return piece


class _Heads:
    """The heads of the files that this process read last."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, GeoTiff] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[str, Future[GeoTiff | None]] = {}

    def once(self, href: str, read: Callable[[], GeoTiff]) -> GeoTiff:
        """Return a file that one thread opens, while others that need it wait for its outcome, a failure included."""
        url, mine = urldefrag(href).url, Future[GeoTiff | None]()
        with self._lock:
            outcome = self._reading.setdefault(url, mine)
        if outcome is not mine:
            if (fault := outcome.exception()) is not None:
                raise copy.copy(fault)
            return outcome.result() or self.once(href, read)
        try:
            opened = self.get(href) or read()
            self.keep(opened)
            mine.set_result(opened)
        except ProviderError as fault:
            mine.set_exception(fault)
            raise
        finally:
            with self._lock:
                del self._reading[url]
            if not mine.done():
                mine.set_result(None)  # whoever waits reads it
        return opened

    def get(self, href: str) -> GeoTiff | None:
        with self._lock:
            opened = self._files.get(urldefrag(href).url)
            if opened is not None:
                self._files.move_to_end(urldefrag(href).url)
            return opened

    def keep(self, opened: GeoTiff) -> None:
        with self._lock:
            self._files[urldefrag(opened.href).url] = opened
            while len(self._files) > MOST_HEADS or sum(map(_head_bytes, self._files.values())) > MOST_HEAD_BYTES:
                self._files.popitem(last=False)

    def drop(self, href: str) -> None:
        with self._lock:
            self._files.pop(urldefrag(href).url, None)


def _head_bytes(opened: GeoTiff) -> int:
    return sum(len(piece.data) for piece in opened.head)


_HEADS: Final = _Heads()


def open_geotiff(href: str, *, access: Access) -> GeoTiff:
    """Return a file with its head read, from memory where this process has read it before."""

    def read() -> GeoTiff:
        with deadline(ends=access.state.ends_at):
            return retried(lambda: _opened(href, access), access.retry)

    return _HEADS.get(href) or _HEADS.once(href, read)


def _opened(href: str, access: Access) -> GeoTiff:
    pieces: list[Piece] = []

    def fetch(offset: int, length: int) -> bytes:
        for piece in pieces:
            if piece.start <= offset and offset + length <= piece.stop:
                return piece.data[offset - piece.start : offset - piece.start + length]
        pieces.append(read_range(href, offset, max(length, HEAD_BYTES), access=access))
        return pieces[-1].data[:length]

    fault = ""
    try:
        layout = read_layout(fetch, access.limits)
        is_cut = int((layout.offsets + layout.counts).max(initial=0)) > pieces[0].size
    except NotTiffError as error:
        fault, is_cut = str(error), not isinstance(error, BombError)
    first = pieces[0]
    if first.is_of_whole and is_cut and first.data.startswith(TIFF):
        reason = f"the {first.size} bytes that arrived as the whole file are only its beginning"
        raise TransientError(label(href), value=urldefrag(href).url, reason=reason, fix="try again later")
    if fault:
        fix = "only GeoTIFF assets are read; name the asset that is one"
        raise ProviderError(label(href), value=urldefrag(href).url, reason=fault, fix=fix)
    return _describe(href, layout, tuple(pieces))


def _describe(href: str, layout: TiffLayout, head: tuple[Piece, ...]) -> GeoTiff:
    """Ask GDAL for what only it understands: coordinate system, transform and missing value."""
    if layout.placed:
        with ExitStack() as stack:
            source = _open(stack, specimen(layout))
            if source.crs is not None:
                code = source.crs.to_epsg()
                crs = f"EPSG:{code}" if code else source.crs.to_wkt()
                alpha = next((i for i, each in enumerate(source.colorinterp, 1) if each == ColorInterp.alpha), None)
                return GeoTiff(href, crs, source.transform, source.nodata, source.count, layout, head, alpha)
    raise ProviderError(
        label(href),
        value=urldefrag(href).url,
        reason="the file has no coordinate system and transform (raw radar scenes have control points only)",
        fix="use a terrain-corrected collection, such as sentinel-1-rtc in place of sentinel-1-grd",
    )


def _open(stack: ExitStack, data: bytes) -> rasterio.DatasetReader:
    stack.enter_context(rasterio.Env(**QUIET))
    memory = stack.enter_context(MemoryFile(data, ext=".tif"))
    return stack.enter_context(memory.open(driver="GTiff"))


def cut(pieces: Iterable[Piece], offset: int, length: int) -> bytes:
    """Return bytes of a file from the piece that holds them."""
    piece = next(p for p in pieces if p.start <= offset and offset + length <= p.stop)
    return piece.data[offset - piece.start : offset - piece.start + length]


def runs(blocks: Iterable[tuple[int, int]], available: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the fewest runs of bytes [start, stop) that hold blocks of (offset, length) beyond what is available.

    Parameters
    ----------
    blocks
        Offset and length of each.
    available
        Runs that are there already.

    Examples
    --------
    >>> runs([(40_000, 100), (40_108, 100), (9_000_000, 50)], [(0, 32_768)])
    [(40000, 40208), (9000000, 9000050)]
    """
    have = tuple(available)
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(set(blocks)):
        stop = offset + length
        if any(a <= offset and stop <= b for a, b in have):
            continue
        if merged and offset - merged[-1][1] <= WORTHWHILE_GAP:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((offset, stop))
    return merged


def label(href: str) -> str:
    """Return what a link is called in messages."""
    return unquote(urldefrag(href).fragment) or "file"


# these hold addresses of other directories
POINTERS: Final = frozenset({330, 34665, 34853, 40965})
# GeoTIFF's keys: their content is known by the time pixels are read, and parsing them takes GDAL longest
GEO_KEYS: Final = frozenset({34735, 34736, 34737})
LONG, LONG8 = 4, 16


def specimen(layout: TiffLayout) -> bytes:
    """Return a TIFF of one block without data, from which GDAL reads what the large file is: CRS, transform, bands."""
    return _excerpt(layout, Blocks(0, 0, 1, 1), band=0, data_of={})


def excerpt(layout: TiffLayout, blocks: Blocks, *, band: int, data_of: Mapping[tuple[int, int], bytes]) -> bytes:
    """Return a TIFF of a rectangle of blocks."""
    entries = {tag: entry for tag, entry in layout.directory.entries.items() if tag not in GEO_KEYS}
    plain = replace(layout, directory=replace(layout.directory, entries=entries))
    return _excerpt(plain, blocks, band=band, data_of=data_of)


def _excerpt(layout: TiffLayout, blocks: Blocks, *, band: int, data_of: Mapping[tuple[int, int], bytes]) -> bytes:
    directory = layout.directory
    planes = layout.offsets.shape[0]
    counts = np.zeros((planes, blocks.rows, blocks.columns), np.uint64)
    offsets = np.zeros_like(counts)
    at = 0
    for (row, column), data in data_of.items():
        here = layout.plane(band), row - blocks.row, column - blocks.column
        counts[here], offsets[here] = len(data), at
        at += len(data)
    tags = _tags(layout, blocks, offsets, counts)
    start = len(_directory_bytes(directory, tags))
    tags = _tags(layout, blocks, np.where(counts > 0, offsets + np.uint64(start), 0), counts)
    return _directory_bytes(directory, tags) + b"".join(data_of.values())


def _tags(layout: TiffLayout, blocks: Blocks, offsets: np.ndarray, counts: np.ndarray) -> dict[int, TiffEntry]:
    """Return the large file's entries with size and blocks of the excerpt."""
    directory = layout.directory
    width = min(blocks.columns * layout.block_width, layout.width - blocks.column * layout.block_width)
    height = min(blocks.rows * layout.block_height, layout.height - blocks.row * layout.block_height)
    kind = LONG8 if directory.big else LONG

    def entry(*values: int) -> TiffEntry:
        return TiffEntry(kind, len(values), np.array(values, directory.order + NUMBERS[kind]).tobytes())

    tags = {tag: original for tag, original in directory.entries.items() if tag not in POINTERS}
    places, lengths = (TILE_OFFSETS, TILE_COUNTS) if layout.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    tags |= {WIDTH: entry(width), HEIGHT: entry(height)}
    tags |= {places: entry(*offsets.ravel()), lengths: entry(*counts.ravel())}
    if not layout.tiled:
        tags[ROWS_PER_STRIP] = entry(layout.block_height)
    return dict(sorted(tags.items()))


def _directory_bytes(directory: Directory, tags: Mapping[int, TiffEntry]) -> bytes:
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
