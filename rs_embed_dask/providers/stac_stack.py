"""From items to a lazy stack of raw numbers, built by stackstac and read by our own reader."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.providers.ranges import Access
from rs_embed_dask.providers.stac_items import Asset, StacItem, touches
from rs_embed_dask.providers.stac_reader import labelled, reader

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["Layer", "asset_for", "stack_items"]

Layer = tuple[str, ...]
Cut = tuple[int, ...]
# stackstac wants an EPSG code to place items; they are placed already, and the reader is told the true system
STAND_IN: Final = 3857
INDEX: Final = "#"
TASKS_A_THREAD: Final = 4
_BUILDING: Final = threading.Lock()


def asset_for(item: StacItem, names: Layer) -> tuple[str, Asset] | None:
    """Return the first GeoTIFF asset of an item among `names`, with its name.

    Parameters
    ----------
    item
        The scene.
    names
        Asset names, the preferred first; ``visual#2`` is the second band of the asset ``visual``.
    """
    for name in names:
        asset = item.assets.get(name.partition(INDEX)[0])
        if asset is not None and (not asset.media or "tif" in asset.media.lower()):
            return name, asset
    return None


def stack_items(
    items: Sequence[StacItem],
    layers: Sequence[Layer],
    grid: Grid,
    *,
    access: Access,
    chunks: tuple[Cut, Cut],
    threads: int,
) -> da.Array:
    """Return the raw numbers of all layers of all items on a grid, to be read when computed.

    Parameters
    ----------
    items
        N scenes.
    layers
        A layers, each as the names of the assets that may carry it.
    grid
        Where.
    access
        How files are reached.
    chunks
        How the grid is cut along y and x.
    threads
        How many tasks shall run at once; layers of an item share a task where there are tasks enough without.

    Returns
    -------
    dask array of float32 (N, A, H, W)
        NaN where an item lacks the layer or has no pixel.
    """
    if not items:
        return _missing((0, len(layers), *grid.shape), chunks)
    links = [[_link(item, names, grid) for names in layers] for item in items]
    plain = [_plain_item(str(n), row, grid) for n, row in enumerate(links)]
    if not any(item["assets"] for item in plain):
        return _missing((len(items), len(layers), *grid.shape), chunks)
    names = [str(n) for n in range(len(layers))]
    together = min(max(1, len(items) * len(layers) // (TASKS_A_THREAD * threads)), len(layers))
    with _BUILDING, warnings.catch_warnings():
        # affine 3 announces that `*` will go; stackstac 0.5.1 uses it
        warnings.filterwarnings("ignore", message="Use `@` matmul", category=PendingDeprecationWarning)
        lazy = _stackstac().stack(
            plain,
            assets=names,
            epsg=STAND_IN,
            bounds=grid.bounds,
            resolution=(grid.transform[0], -grid.transform[4]),
            snap_bounds=False,
            chunksize=(1, together, *chunks),
            dtype=np.dtype(np.float32),
            fill_value=np.float32(np.nan),
            rescale=False,
            sortby_date=False,
            xy_coords=False,
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            reader=reader(grid.crs, access),
        )
    # items and bands without any link were dropped: put them back in their places
    lazy = lazy.assign_coords(time=lazy["id"].values).reindex(time=[i["id"] for i in plain], band=names)
    stack: da.Array = lazy.data
    return stack


def _missing(shape: tuple[int, ...], chunks: tuple[Cut, Cut]) -> da.Array:
    import dask.array as da

    nothing: da.Array = da.full(shape, np.nan, dtype=np.float32, chunks=(-1, -1, *chunks))
    return nothing


@functools.cache
def _stackstac() -> ModuleType:
    import stackstac

    module: ModuleType = stackstac
    return module


def _link(item: StacItem, names: Layer, grid: Grid) -> str | None:
    found = asset_for(item, names)
    if found is None or not touches(item, found[1], grid):
        return None
    name, _, index = found[0].partition(INDEX)
    return labelled(found[1].href, f"asset {name} of item {item.id}", int(index) if index else None)


def _plain_item(name: str, links: Sequence[str | None], grid: Grid) -> dict[str, Any]:
    """Return the little that stackstac needs of an item, placed on the whole grid; the reader knows better."""
    return {
        "id": name,
        "properties": {"datetime": "2000-01-01T00:00:00Z", "proj:epsg": STAND_IN, "proj:bbox": grid.bounds},
        "assets": {str(n): {"href": link} for n, link in enumerate(links) if link is not None},
    }
