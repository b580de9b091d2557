"""From items to a lazy table of raw numbers, laid out by stackstac and read by our own reader."""

from __future__ import annotations

import functools
import math
import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urldefrag

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.layers import LOST, RawLayer
from rs_embed_dask.providers.assemble import Cut
from rs_embed_dask.providers.geotiff import GeoTiff, TiffTile, label, open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.nearest import Gather, TiffBlock, gathered
from rs_embed_dask.providers.stac.assets import INDEX, Layer, asset_for
from rs_embed_dask.providers.stac.items import Asset, StacItem, touches

if TYPE_CHECKING:
    import dask.array as da
    from rasterio.windows import Window

__all__ = ["AssetReader", "at_a_time", "chunks_for", "labelled", "link_to", "stack_items"]

URL_INDEX: Final = "&index="
OF_ITEM: Final = " of item "


def labelled(href: str, name: str, index: int | None = None) -> str:
    """Return a link that carries its name for messages, and the band to take of a file with several."""
    return f"{href}#{quote(name)}" + ("" if index is None else f"{URL_INDEX}{index}")


@dataclass(frozen=True)
class AssetReader:
    """One asset of one item, seen through the output grid. Opens nothing before `read`; holds no secret."""

    # Satisfies ``stackstac.reader_protocol.Reader``, whose constructor passes more than is needed here.

    url: str = field(repr=False)
    grid: Grid
    cuts: tuple[Cut, Cut]
    access: Access = field(repr=False)

    def read(self, window: Window, **_: object) -> npt.NDArray[np.object_]:
        """Return a block of the grid as a table (1, 1) of its `RawLayer`; `window` says which block it is.

        It is NaN everywhere where the file has nothing, and `LOST` where it cannot be read.
        """
        block = self._block(int(window.row_off), int(window.col_off))
        try:
            layer = self._layer(block)
        except TransientError:
            raise
        except ProviderError as fault:
            if self.access.is_strict:
                raise
            self.access.state.lose(label(self.url.partition(URL_INDEX)[0]).partition(OF_ITEM)[2], fault)
            layer = RawLayer.filled(LOST, block.shape)
        table = np.empty((1, 1), object)
        table[0, 0] = layer
        return table

    def _layer(self, block: TiffBlock) -> RawLayer:
        file, band, under = self._under(block)
        if under is None:
            return RawLayer.filled(np.float32(np.nan), block.shape)
        raw, missing = file.numbers(band, under.rows, under.columns, access=self.access, take=under.take)
        if under.outside is not None:
            missing = under.outside if missing is None else np.logical_or(missing, under.outside, out=missing)
        return RawLayer.of(raw, missing)

    def tiles(self, block: TiffBlock) -> tuple[GeoTiff, list[TiffTile]]:
        """Return the file, and which of its tiles a read of a block takes."""
        file, band, under = self._under(block)
        return file, [] if under is None else file.tiles(band, under.rows, under.columns, limits=self.access.limits)

    def _under(self, block: TiffBlock) -> tuple[GeoTiff, int, Gather | None]:
        """Return the file, its band, and which of its pixels lie under a block, if any do."""
        href, _sep, index = self.url.partition(URL_INDEX)
        file = open_geotiff(href, access=self.access)
        band = int(index or 1)
        if not 1 <= band <= file.bands or (file.image_bands > 1 and not index):
            raise ProviderError(
                label(href),
                value=urldefrag(href).url,
                reason=f"the file has {file.bands} bands" + (f", not {band}" if index else ""),
                fix="name the band by its position, as in {'red': 'visual#1'}",
            )
        shape = file.layout.height, file.layout.width
        return file, band, gathered(block, file.crs, transform=file.transform, shape=shape)

    def _block(self, down: int, across: int) -> TiffBlock:
        (left, _, _, top), (rows, columns), a = self.grid.bounds, self.cuts, self.grid.transform
        return TiffBlock(
            crs=self.grid.crs,
            corner=(left, top),
            resolution=(a[0], -a[4]),
            offset=(sum(rows[:down]), sum(columns[:across])),
            shape=(rows[down], columns[across]),
        )

    def close(self) -> None:
        """Do nothing: a read leaves nothing open."""


def _reader(*, url: str, grid: Grid, cuts: tuple[Cut, Cut], access: Access, **_: Any) -> AssetReader:
    """Make the reader of a link; stackstac passes more than it needs."""
    return AssetReader(url, grid, cuts, access)


LARGEST_PX: Final = 2048
AIM_PX: Final = 1024
WORTH_A_WARNING: Final = 1.25


class ReadAmplificationWarning(UserWarning):
    """Blocks of the source files are fetched more than once, because chunks cut through them."""


def chunks_for(grid: Grid, assets: Iterable[Asset], *, block_px: int, chunk_px: int | None = None) -> tuple[Cut, Cut]:
    """Return how a grid is cut along y and x, as sizes of chunks in pixels."""
    # A grid of at most 2048 pixels per side is one chunk. A larger one is cut where the blocks of the files end, as
    # far as the catalogue states where they lie; several blocks make a chunk. With `chunk_px` it is cut there
    # instead.
    placed = [a for a in assets if a.crs == grid.crs and a.origin is not None and a.pixel is not None]
    finest = min(placed, key=lambda a: a.pixel or (0.0, 0.0), default=None)
    left, _, _, top = grid.bounds
    width, height = grid.transform[0], -grid.transform[4]
    rows, columns = grid.shape
    if finest is None or finest.origin is None or finest.pixel is None:
        return _even(rows, chunk_px), _even(columns, chunk_px)
    steps = [block_px * pixel for pixel in finest.pixel]
    axes = (
        (rows, (top - finest.origin[1]) / height, steps[1] / height),
        (columns, (finest.origin[0] - left) / width, steps[0] / width),
    )
    cuts = tuple(_even(n, chunk_px) if chunk_px else _snapped(n, first, step) for n, first, step in axes)
    factor = math.prod(_times_read(cut, first, step) for cut, (_, first, step) in zip(cuts, axes, strict=True))
    if factor > WORTH_A_WARNING:
        whole = round(steps[0] / width)
        warnings.warn(
            f"chunks of {max(cuts[0])} x {max(cuts[1])} pixels cut through the files' blocks of {block_px} pixels: "
            f"each is fetched {factor:.1f} times. Fix: leave chunk_px out, or give a multiple of {whole}.",
            ReadAmplificationWarning,
            stacklevel=2,
        )
    return cuts[0], cuts[1]


def _even(n: int, chunk_px: int | None) -> Cut:
    size = chunk_px or (n if n <= LARGEST_PX else AIM_PX)
    return (*[size] * (n // size), *([n % size] if n % size else []))


def _snapped(n: int, first: float, step: float) -> Cut:
    """Cut `n` pixels at multiples of a block of `step` pixels, of which one begins at pixel `first`."""
    if n <= LARGEST_PX:
        return (n,)
    stride = step * max(1, math.floor(AIM_PX / step))
    edges = [0]
    index = math.ceil((1 - first) / stride)
    while (edge := round(first + index * stride)) < n:
        if edge > edges[-1]:
            edges.append(edge)
        index += 1
    return tuple(b - a for a, b in zip(edges, [*edges[1:], n], strict=True))


def _times_read(cut: Cut, first: float, step: float) -> float:
    """Return how often a block is touched, on average, along one axis."""
    touched, start = 0, 0
    blocks: set[int] = set()
    for size in cut:
        low = math.floor((start - first) / step + 1e-9)
        high = math.ceil((start + size - first) / step - 1e-9)
        touched += high - low
        blocks.update(range(low, high))
        start += size
    return touched / len(blocks)


# stackstac wants an EPSG code to place items; they are placed already, and the reader gets the true one
STAND_IN: Final = 3857
LEAST_ROUNDS: Final = 3
_BUILDING: Final = threading.Lock()


def stack_items(
    items: Sequence[StacItem],
    layers: Sequence[Layer],
    grid: Grid,
    *,
    access: Access,
    cuts: tuple[Cut, Cut],
    threads: int,
) -> da.Array:
    """Return a table of `RawLayer` (N, A, I, J), to be read when computed: items, layers, and blocks of the grid.

    To stackstac each block is one pixel, so that numbers stay as they are in the files: an array of pixels would have
    one type for all, and four bytes for each.
    """
    import dask.array as da

    shape, blocks = (len(items), len(layers)), (len(cuts[0]), len(cuts[1]))
    links = [[link_to(item, names, grid) for names in layers] for item in items]
    plain = [_plain_item(str(n), row, blocks) for n, row in enumerate(links)]
    if not any(item["assets"] for item in plain):
        nothing: da.Array = da.full((*shape, *blocks), None, dtype=object, chunks=(-1, -1, 1, 1))
        return nothing
    names = [str(n) for n in range(len(layers))]
    with _BUILDING, warnings.catch_warnings():
        # affine 3 announces that `*` will go; stackstac 0.5.1 uses it
        warnings.filterwarnings("ignore", message="Use `@` matmul", category=PendingDeprecationWarning)
        lazy = _stackstac().stack(
            plain,
            assets=names,
            epsg=STAND_IN,
            bounds=(0, 0, *blocks[::-1]),
            resolution=1,
            snap_bounds=False,
            chunksize=(1, at_a_time(*shape, threads=threads), 1, 1),
            dtype=np.dtype(object),
            fill_value=0,  # stands where a layer is not there
            rescale=False,
            sortby_date=False,
            xy_coords=False,
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            reader=functools.partial(_reader, grid=grid, cuts=cuts, access=access),
        )
    if lazy.shape[:2] != shape:  # items and bands without any link were dropped: put them back in their places
        lazy = lazy.assign_coords(time=lazy["id"].values).reindex(time=[i["id"] for i in plain], band=names)
    table: da.Array = lazy.data
    return table


def at_a_time(n_items: int, n_layers: int, *, threads: int) -> int:
    """Return how many layers of an item one task reads: so many that the busiest thread has the fewest files.

    Of several such numbers it is that of the fewest tasks, but all threads take at least three, where there are as many
    files: one with slow files then leaves the next ones to others.
    """

    def cost(layers: int) -> tuple[int, int]:
        tasks = n_items * math.ceil(n_layers / layers)
        return math.ceil(tasks / threads) * layers, tasks

    most = n_items * n_layers // (LEAST_ROUNDS * threads)
    return min(range(1, max(1, min(most, n_layers)) + 1), key=cost)


@functools.cache
def _stackstac() -> ModuleType:
    import stackstac

    module: ModuleType = stackstac
    return module


def link_to(item: StacItem, names: Layer, grid: Grid) -> str | None:
    """Return the link to the file of a layer of an item, with its name and band; None where none touches a grid."""
    named_asset = asset_for(item, names)
    if named_asset is None or not touches(item, named_asset[1], grid):
        return None
    (name, _, index), asset = named_asset[0].partition(INDEX), named_asset[1]
    return labelled(asset.href, f"asset {asset.name or name}{OF_ITEM}{item.id}", int(index) if index else asset.index)


def _plain_item(name: str, links: Sequence[str | None], blocks: tuple[int, int]) -> dict[str, Any]:
    """Return the little that stackstac needs of an item, placed on all blocks; the reader knows better."""
    return {
        "id": name,
        "properties": {"datetime": "2000-01-01T00:00:00Z", "proj:epsg": STAND_IN, "proj:bbox": (0, 0, *blocks[::-1])},
        "assets": {str(n): {"href": link} for n, link in enumerate(links) if link is not None},
    }
