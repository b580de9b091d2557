"""Reading the pixels of GeoTIFFs from as few bytes as possible: a head once, then the blocks that are needed."""

from __future__ import annotations

import copy
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.imagery.scratch import scratch
from rs_embed_dask.imagery.threads import lasting_threads
from rs_embed_dask.providers.excerpt import decode, excerpt_head, opened, specimen
from rs_embed_dask.providers.heads import HeadFolder
from rs_embed_dask.providers.http import Access, read_range, split_link, worthwhile_gap
from rs_embed_dask.providers.kept import Piece
from rs_embed_dask.providers.nearest import Coordinates, mover
from rs_embed_dask.providers.ranges import Run, at_once, runs
from rs_embed_dask.providers.retry import deadline, retried
from rs_embed_dask.providers.tiff import (
    Block,
    Blocks,
    BombError,
    NotTiffError,
    TiffLayout,
    TiffLimits,
    check_blocks,
    read_layout,
)
from rs_embed_dask.providers.unpacking import unpacked

__all__ = ["GeoTiff", "TiffTile", "open_geotiff"]

HEAD_BYTES: Final = 32_768
MOST_HEADS: Final = 1024
MOST_HEAD_BYTES: Final = 2**28
TIFF: Final = (b"II", b"MM")
_BEYOND: Final = "leave out this item, or raise the limits of its provider if you trust the file"

Pixels = npt.NDArray[np.float32]
Take = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""From the pixels of a window (H, W) to those that are asked for."""


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
        raw, missing = self.numbers(band, rows, columns, access=access)
        pixels: Pixels = raw.astype(np.float32)
        if missing is not None:
            pixels[missing] = np.nan
        return pixels

    def numbers(
        self, band: int, rows: tuple[int, int], columns: tuple[int, int], *, access: Access, take: Take | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return the numbers of a window of a band, or what is taken of them, and where they mean nothing, if anywhere.

        NaN means nothing too, and is not among those.
        """
        raw, empty = self._seen(band, rows, columns, access)
        if take is not None:
            raw, empty = take(raw), None if empty is None else take(empty)
        if self.nodata is not None and not np.isnan(self.nodata):
            missing: npt.NDArray[np.bool_] = np.equal(raw, self.nodata, out=scratch(raw.shape, np.bool_))
            empty = missing if empty is None else np.logical_or(missing, empty, out=missing)
        return raw, empty

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
            own = [(span, view(pieces, *span[2:])) for span in spans[plane]]
            picked = band - 1 if band is not None and whole else None
            numbers = unpacked(self.layout, own, rows=rows, columns=columns, band=picked)
            if numbers is None:
                body, places = _body(spans[plane], pieces)
                head = excerpt_head(self.layout, blocks, band=plane, places=places)
                indexes = (None if whole else plane + 1) if band is None else band
                numbers = self._decoded([head, *body], indexes, window)
            decoded.append(numbers)
        return np.concatenate(decoded) if len(decoded) > 1 else decoded[0]

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
        return [Piece(offset, bytes(view(pieces, offset, length)), size) for offset, length in spans]

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

        def missing(there: Iterable[Run]) -> list[Run]:
            return runs(needed, [*head, *there], worthwhile_gap(self.href))

        def fetch(wanted: list[Run]) -> list[Piece]:
            return at_once(lambda run: self._fetch(*run, access), wanted)

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
            raise ProviderError(label(self.href), value=split_link(self.href)[0], reason=fault, fix=_BEYOND)

    def _decoded(self, parts: list[bytes], band: int | None, window: Window) -> npt.NDArray[Any]:
        fault = ""
        try:
            return decode(parts, None if band is None else [band], window)
        except rasterio.errors.RasterioError as error:
            fault = str(error)
        reason = f"its pixels cannot be decoded: {fault}"
        raise ProviderError(label(self.href), reason=reason, fix="leave out this item")

    def _fetch(self, start: int, stop: int, access: Access) -> Piece:
        piece = read_range(self.href, start, stop - start, access=access, size=self.head[0].size)
        if piece.size != self.head[0].size:
            _HEADS.drop(self.href)
            _FOLDER.drop(self.href)
            raise TransientError(label(self.href), reason="the file changed while it was read", fix="read it again")
        return piece


class _Heads:
    """The heads of the files that this process read last."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, GeoTiff] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self._reading: dict[str, Future[GeoTiff | None]] = {}

    def once(self, href: str, read: Callable[[], GeoTiff]) -> GeoTiff:
        """Return a file that one thread opens, while others that need it wait for its outcome, a failure included."""
        url, mine = split_link(href)[0], Future[GeoTiff | None]()
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
            opened = self._files.get(split_link(href)[0])
            if opened is not None:
                self._files.move_to_end(split_link(href)[0])
            return opened

    def keep(self, opened: GeoTiff) -> None:
        with self._lock:
            self._let_go(split_link(opened.href)[0])
            self._files[split_link(opened.href)[0]] = opened
            self._held += _head_bytes(opened)
            while len(self._files) > MOST_HEADS or self._held > MOST_HEAD_BYTES:
                self._let_go(next(iter(self._files)))

    def drop(self, href: str) -> None:
        with self._lock:
            self._let_go(split_link(href)[0])

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._files.clear()
            self._held = 0

    def _let_go(self, url: str) -> None:
        opened = self._files.pop(url, None)
        self._held -= 0 if opened is None else _head_bytes(opened)


def _head_bytes(opened: GeoTiff) -> int:
    return sum(len(piece.data) for piece in opened.head)


_HEADS: Final = _Heads()


def open_geotiff(href: str, *, access: Access) -> GeoTiff:
    """Return a file with its head read, from memory where this process has read it before."""

    def read() -> GeoTiff:
        with deadline(ends=access.state.ends_at):
            return retried(lambda: _opened(href, access), access.retry)

    return _HEADS.get(href) or _HEADS.once(href, read)


_FOLDER: Final = HeadFolder()


def _opened(href: str, access: Access) -> GeoTiff:
    kept = _FOLDER.get(href)
    pieces: list[Piece] = [] if kept is None else [kept]

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
        raise TransientError(label(href), value=split_link(href)[0], reason=reason, fix="try again later")
    if fault:
        fix = "only GeoTIFF assets are read; name the asset that is one"
        raise ProviderError(label(href), value=split_link(href)[0], reason=fault, fix=fix)
    file = _describe(href, layout, tuple(pieces))
    if len(pieces) > 1 or _holds_blocks(layout, first):
        return file
    if kept is None and not first.is_of_whole:
        _FOLDER.put(href, first)
    return replace(file, head=(Piece(0, b"", first.size),))  # its directory has been read, and that is all it holds


def _holds_blocks(layout: TiffLayout, head: Piece) -> bool:
    """Return whether a head holds blocks of the image, or of its mask."""
    of_mask = layout.mask is not None and _holds_blocks(layout.mask, head)
    return of_mask or bool((layout.offsets + layout.counts <= head.stop).any())


_Placed = tuple[str, Affine, float | None, int, int | None]
"""Reference system, transform, missing value, number of bands, and which of them is an alpha band."""
_USUAL_BYTES: Final = 2**16


def _placed(data: bytes) -> _Placed | None:
    """Return what GDAL understands of the directory of a file."""
    with opened(data) as source:
        if source.crs is None:
            return None
        code = source.crs.to_epsg()
        crs = f"EPSG:{code}" if code else source.crs.to_wkt()
        alpha = next((i for i, each in enumerate(source.colorinterp, 1) if each == ColorInterp.alpha), None)
        return crs, source.transform, source.nodata, source.count, alpha


def _placed_in_turn(data: bytes) -> _Placed | None:
    """Return what `_placed` does, from one thread for all callers: GDAL opens PROJ's database once for each thread."""
    return lasting_threads("rs-ground", 1).submit(_placed, data).result()


# the bands of a scene, and its dates, have the same
_placed_again = functools.lru_cache(maxsize=256)(_placed_in_turn)


def _describe(href: str, layout: TiffLayout, head: tuple[Piece, ...]) -> GeoTiff:
    """Return a file, with what only GDAL understands of it: coordinate system, transform and missing value."""
    data = specimen(layout) if layout.placed else b""
    placed = None if not data else _placed_again(data) if len(data) < _USUAL_BYTES else _placed_in_turn(data)
    if placed is not None:
        crs, transform, nodata, bands, alpha = placed
        return GeoTiff(href, crs, transform, nodata, bands, layout, head, alpha)
    raise ProviderError(
        label(href),
        value=split_link(href)[0],
        reason="the file has no coordinate system and transform (raw radar scenes have control points only)",
        fix="use a terrain-corrected collection, such as sentinel-1-rtc in place of sentinel-1-grd",
    )


def _body(
    spans: Iterable[Block], pieces: Iterable[Piece]
) -> tuple[list[bytes], dict[tuple[int, int], tuple[int, int]]]:
    """Return the bytes of the pieces that hold blocks, and where in them each block lies: row and column to offset."""
    body: list[bytes] = []
    begins: dict[int, int] = {}
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for row, column, offset, length in spans:
        piece = _holding(pieces, offset, length)
        if id(piece) not in begins:
            begins[id(piece)] = sum(map(len, body))
            body.append(piece.data)
        places[row, column] = begins[id(piece)] + offset - piece.start, length
    return body, places


def _holding(pieces: Iterable[Piece], offset: int, length: int) -> Piece:
    return next(piece for piece in pieces if piece.start <= offset and offset + length <= piece.stop)


def view(pieces: Iterable[Piece], offset: int, length: int) -> memoryview:
    """Return bytes of a file, as they lie in the piece that holds them."""
    piece = _holding(pieces, offset, length)
    return memoryview(piece.data)[offset - piece.start : offset - piece.start + length]


def label(href: str) -> str:
    """Return what a link is called in messages."""
    return unquote(split_link(href)[1]) or "file"
