"""Pixels of a GeoTIFF that lies behind a link, from the fewest bytes that hold them.

The first request brings the head of the file, which in a cloud-optimised one holds everything but pixels; it is kept
for the next read of the same file. Each further request brings one run of neighbouring blocks. GDAL then decodes from
memory: it never opens a connection, so it has nothing to leak, to retry or to remember wrongly.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urldefrag

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.providers.excerpt import excerpt, specimen
from rs_embed_dask.providers.ranges import Access, Piece, read_range
from rs_embed_dask.providers.tiff import Layout, NotTiffError, read_layout

__all__ = ["GeoTiff", "open_geotiff"]

HEAD_BYTES: Final = 32_768
KEPT_HEADS: Final = 1024
# a gap this small is cheaper to read than to ask around
WORTHWHILE_GAP: Final = 65_536
AT_ONCE: Final = 8
QUIET: Final = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GeoTiff:
    """A file whose head is known: where its pixels lie on the ground and in the file.

    Parameters
    ----------
    href
        Plain link, with a label for messages behind ``#``.
    crs
        Coordinate system as WKT, and as ``EPSG:n`` where it has a code.
    transform
        From (column, row) to (x, y) in `crs`.
    nodata
        The value that the file says is missing, or None.
    bands
        Number of bands.
    layout
        Where the blocks lie.
    head
        The bytes read so far.
    """

    href: str
    crs: str
    transform: Affine
    nodata: float | None
    bands: int
    layout: Layout
    head: tuple[Piece, ...]

    def read(self, band: int, rows: tuple[int, int], columns: tuple[int, int], *, access: Access) -> Pixels:
        """Return the pixels [rows) x [columns) of a band as float32, NaN where the file says that they are missing.

        Parameters
        ----------
        band
            From 1.
        rows, columns
            First pixel and the one behind the last, inside the image.
        access
            How the file is reached.

        Raises
        ------
        ProviderError
            As `rs_embed_dask.providers.ranges.read_range`, or if the bytes cannot be decoded.
        """
        raw = self.raw(rows, columns, access=access, band=band)[0]
        pixels: Pixels = raw.astype(np.float32)
        if self.nodata is not None and not np.isnan(self.nodata):
            pixels[raw == self.nodata] = np.nan
        return pixels

    def raw(
        self, rows: tuple[int, int], columns: tuple[int, int], *, access: Access, band: int | None = None
    ) -> npt.NDArray[Any]:
        """Return the numbers of a band, or of all bands, as they lie in the file: (B, H, W).

        Blocks that hold every band are fetched once for all of them; bands in planes of their own are fetched side by
        side. Parameters and errors are those of `read`.
        """
        blocks = self.layout.under(rows, columns)
        planes = range(self.layout.offsets.shape[0]) if band is None else (self.layout.plane(band - 1),)
        spans = {plane: tuple(self.layout.spans(blocks, plane)) for plane in planes}
        known = [*self.head, *(access.kept.of(self.href) if access.kept else ())]
        missing = runs((span[2:] for found in spans.values() for span in found), ((p.start, p.stop) for p in known))
        pieces = [*known, *self._fetch_all(missing, access)]
        window = Window(
            columns[0] - blocks.column * self.layout.block_width,
            rows[0] - blocks.row * self.layout.block_height,
            columns[1] - columns[0],
            rows[1] - rows[0],
        )
        whole = self.layout.offsets.shape[0] == 1
        found = []
        for plane in planes:
            bytes_of = {(row, column): cut(pieces, offset, length) for row, column, offset, length in spans[plane]}
            data = excerpt(self.layout, blocks, band=plane, found=bytes_of)
            wanted = (None if whole else plane + 1) if band is None else band
            found.append(self._decoded(data, wanted, window))
        return np.concatenate(found)

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
        piece = read_range(self.href, start, stop - start, access=access)
        if piece.size != self.head[0].size:
            _HEADS.drop(self.href)
            raise TransientError(label(self.href), reason="the file changed while it was read", fix="read it again")
        if access.kept is not None:
            access.kept.add(self.href, piece)
        return piece


class _Heads:
    """The heads of the files that this process read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, GeoTiff] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, href: str) -> GeoTiff | None:
        with self._lock:
            found = self._kept.get(urldefrag(href).url)
            if found is not None:
                self._kept.move_to_end(urldefrag(href).url)
            return found

    def keep(self, opened: GeoTiff) -> None:
        with self._lock:
            self._kept[urldefrag(opened.href).url] = opened
            while len(self._kept) > KEPT_HEADS:
                self._kept.popitem(last=False)

    def drop(self, href: str) -> None:
        with self._lock:
            self._kept.pop(urldefrag(href).url, None)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


_HEADS: Final = _Heads()


def forget_heads() -> None:
    """Drop every kept head, as a new process would have none."""
    _HEADS.clear()


def open_geotiff(href: str, *, access: Access) -> GeoTiff:
    """Return a file with its head read, from memory where this process has read it before.

    Parameters
    ----------
    href
        Plain link, with a label for messages behind ``#``.
    access
        How the file is reached.

    Raises
    ------
    ProviderError
        If the file is no GeoTIFF, or does not say where it lies.
    """
    kept = _HEADS.get(href)
    if kept is not None:
        return kept
    pieces: list[Piece] = []

    def fetch(offset: int, length: int) -> bytes:
        for piece in pieces:
            if piece.start <= offset and offset + length <= piece.stop:
                return piece.data[offset - piece.start : offset - piece.start + length]
        pieces.append(read_range(href, offset, max(length, HEAD_BYTES), access=access))
        return pieces[-1].data[:length]

    fault = ""
    try:
        layout = read_layout(fetch)
    except NotTiffError as error:
        fault = str(error)
    if fault:
        fix = "only GeoTIFF assets are read; name the asset that is one"
        raise ProviderError(label(href), value=urldefrag(href).url, reason=fault, fix=fix)
    opened = _describe(href, layout, tuple(pieces))
    _HEADS.keep(opened)
    return opened


def _describe(href: str, layout: Layout, head: tuple[Piece, ...]) -> GeoTiff:
    """Ask GDAL for what only it understands: coordinate system, transform and missing value."""
    if layout.placed:
        with ExitStack() as stack:
            source = _open(stack, specimen(layout))
            if source.crs is not None:
                code = source.crs.to_epsg()
                crs = f"EPSG:{code}" if code else source.crs.to_wkt()
                return GeoTiff(href, crs, source.transform, source.nodata, source.count, layout, head)
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


def runs(blocks: Iterable[tuple[int, int]], known: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the fewest runs of bytes [start, stop) that hold blocks of (offset, length) beyond what is known.

    Parameters
    ----------
    blocks
        Offset and length of each.
    known
        Runs that are there already.

    Examples
    --------
    >>> runs([(40_000, 100), (40_108, 100), (9_000_000, 50)], [(0, 32_768)])
    [(40000, 40208), (9000000, 9000050)]
    """
    have = tuple(known)
    found: list[tuple[int, int]] = []
    for offset, length in sorted(set(blocks)):
        stop = offset + length
        if any(a <= offset and stop <= b for a, b in have):
            continue
        if found and offset - found[-1][1] <= WORTHWHILE_GAP:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((offset, stop))
    return found


def label(href: str) -> str:
    """Return what a link is called in messages."""
    return unquote(urldefrag(href).fragment) or "file"
