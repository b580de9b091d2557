"""Opening a map to read: a lazy tree of its models and zones, cropped to the blocks that were computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.store.conventions import cf_attrs, spatial_attrs
from rs_embed_dask.store.layout import POSITIONS
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.map_layout import MapGroup, MapLayout
    from rs_embed_dask.store.services import StorageOptions

__all__ = ["SOURCE", "open_map"]

SOURCE: Final = "source"
"""Where the root of a tree says, by its encoding, which place it was opened from."""


def open_map(path: Target, *, storage_options: StorageOptions | None = None) -> xr.DataTree:
    """Open a map as a lazy tree, cropped to the blocks that were computed.

    Parameters
    ----------
    path : str, path-like or zarr store
        The map's place.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Returns
    -------
    xarray.DataTree
        One node per model, with ``position_mean (dim, row, column)`` where positions were taken away, and in it one
        per UTM zone (``"utm01"`` to ``"utm60"``), polar cap or chosen projection, or ``"lonlat"`` of a product in
        cells of degrees. In each, as Dask arrays of one block a chunk: ``embedding (time, dim, y, x)`` in float32,
        ``valid_fraction``, ``n_obs``, ``first_date`` and ``last_date (time, y, x)``, ``coverage (y, x)``, ``status``
        and ``reason (time, block_row, block_column)``; with ``x`` and ``y`` in metres of the projection, or degrees,
        ``time``, ``time_end`` and ``spatial_ref``. Groups without a computed block are left out.

        Vectors are float32 whatever the file holds, for xarray adds float16 up in float16, where sums and means
        overflow or lose digits: those of float16 are widened, and codes of int8 multiplied by their scale, block by
        block as they are read. Plain xarray gives what the file holds.

    Raises
    ------
    StoreError
        If there is no map, or one that cannot be read.

    Examples
    --------
    >>> open_map("county.zarr")["galileo-nano"]["utm31"].embedding.isel(time=0)  # doctest: +SKIP
    """
    view = MapStore.open(located(path, storage_options))
    root = xr.Dataset(attrs={"request": view.request, "receipt": view.receipt})
    root.encoding[SOURCE] = view.location
    nodes = {"/": root}
    for label in view.labels:
        table = view.positions(label)
        facts = view.document.metadata[label]["attributes"]
        nodes[label] = xr.Dataset({} if table is None else {POSITIONS.name: (POSITIONS.dims, table)}, attrs=facts)
        for group in view.groups(label):
            decided = view.decided(label, group.group).values()
            blocks = BlockSet.of(one for listed in decided for one in listed)
            if len(blocks):
                nodes[f"{label}/{group.group}"] = _cropped(view, view.layout(label), group=group, blocks=blocks)
    return xr.DataTree.from_dict(nodes)


def _cropped(view: MapStore, layout: MapLayout, *, group: MapGroup, blocks: BlockSet) -> xr.Dataset:
    """Open one group, with coordinates for what is left of it only."""
    opening: Any = view.location.storage
    path = f"{layout.label}/{group.group}"
    # Without Dask first: a zone has half a million blocks, and a graph of them all would be made before the crop.
    whole = xr.open_zarr(opening, group=path, chunks=None, consolidated=False, drop_variables=["x", "y"])
    top, left, bottom, right = blocks.bounds
    side = layout.block
    rows, cols = slice(top * side, bottom * side), slice(left * side, right * side)
    part = whole.isel(y=rows, x=cols, block_row=slice(top, bottom), block_column=slice(left, right))
    part = part.chunk({"time": 1, "y": side, "x": side, "dim": -1, "block_row": -1, "block_column": -1})
    a, b, c, d, e, f = group.transform
    transform = (a, b, c + a * cols.start, d, e, f + e * rows.start)
    placed = part.assign_coords(
        x=("x", group.axis("x", cols.start, cols.stop), view.array(f"{path}/x").attrs.asdict()),
        y=("y", group.axis("y", rows.start, rows.stop), view.array(f"{path}/y").attrs.asdict()),
        block_row=np.arange(top, bottom),
        block_column=np.arange(left, right),
        spatial_ref=((), 0, cf_attrs(group.crs, transform)),
    )
    placed.attrs |= spatial_attrs(transform, (rows.stop - rows.start, cols.stop - cols.start))
    return _in_numbers(placed)


def _in_numbers(stored: xr.Dataset) -> xr.Dataset:
    """Give vectors in float32 instead of halves or codes; xarray has masked what is not there already."""
    vectors = stored.embedding.astype("float32")
    if "scale" in stored:
        vectors = (vectors * stored.scale.astype("float32")).transpose(*vectors.dims).assign_attrs(vectors.attrs)
    return stored.assign(embedding=vectors).drop_vars("scale", errors="ignore")
