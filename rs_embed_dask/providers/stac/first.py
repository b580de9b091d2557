"""Fetching the bytes that begin in a place, for the read of that place and for its neighbours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.providers.handed import HandedBytes, HandedTile, extent_of
from rs_embed_dask.providers.nearest import TiffBlock
from rs_embed_dask.providers.retry import deadline

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.providers.handed import Before
    from rs_embed_dask.providers.stac.read import AssetReader

__all__ = ["fetch_first"]


def fetch_first(readers: Sequence[AssetReader], grid: Grid, before: Before, *, threads: int) -> HandedBytes:
    """Fetch the tiles of files under a grid that no read before it fetches."""
    # What fails is left to the read itself; after a fault that may pass, so is all that was not begun.
    started, a = time.perf_counter(), grid.transform
    block = TiffBlock(grid.crs, (a[2], a[5]), (a[0], -a[4]), (0, 0), grid.shape)
    faults: list[TransientError] = []

    def fetched(reader: AssetReader) -> list[HandedTile]:
        if faults:
            return []
        try:
            with deadline(ends=reader.access.state.ends_at):
                return _fetched(reader, block, grid, before)
        except TransientError as fault:
            faults.append(fault)
        except ProviderError:
            pass
        return []

    with ThreadPoolExecutor(threads, thread_name_prefix="rs-first") as pool:
        tiles = [tile for some in pool.map(fetched, readers) for tile in some]
    return HandedBytes(tuple(tiles), time.perf_counter() - started)


def _fetched(reader: AssetReader, block: TiffBlock, grid: Grid, before: Before) -> list[HandedTile]:
    file, tiles = reader.tiles(block)
    places = ((tile, extent_of(file, tile, grid)) for tile in tiles)
    mine = [(tile, extent) for tile, extent in places if extent is not None and not before.has(extent)]
    pieces = file.fetched([tile for tile, _ in mine], access=reader.access)
    return [HandedTile((file.href, piece.size), piece, extent) for piece, (_, extent) in zip(pieces, mine, strict=True)]
