"""Opening a store to read: the lazy tree, one item's grid as a map, the items as a table of places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.conventions import proj_attrs, spatial_attrs
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import ITEM_FIELDS
from rs_embed_dask.store.store import Store

if TYPE_CHECKING:
    import geopandas as gpd

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.store import StoreView

_ROWS: Final = next(one for one in ITEM_FIELDS if one.name == "item")

__all__ = ["item_grid", "items_frame", "open_store"]


def open_store(path: Target) -> xr.DataTree:
    """Open a store as a lazy tree, as ``xarray.open_datatree(path, engine="zarr", chunks={})`` returns it.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place.

    Returns
    -------
    xarray.DataTree
        ``/items`` and one group per model, as Dask arrays.

    Raises
    ------
    StoreError
        If there is no store, or one that cannot be read.

    Examples
    --------
    >>> open_store("run.zarr")["rcf"].embedding.isel(item=0)  # doctest: +SKIP
    """
    store = Store.open(path)
    store.counts()  # refuses status codes that do not exist
    # Of a service, xarray would open the URL by fsspec.
    opening: Any = store.location.target if store.location.service is None else store.location.storage
    # Xarray would read a million numbers for each group, only to learn that they count the rows.
    tree: Any = xr.open_datatree(opening, engine="zarr", chunks={}, drop_variables=_ROWS.name)
    rows = xr.Variable(_ROWS.name, pd.RangeIndex(store.n_items), _ROWS.all_attrs)
    for group in (ITEMS, *store.labels):
        tree[group].dataset = tree[group].to_dataset(inherit=False).assign_coords({_ROWS.name: rows})
    opened: xr.DataTree = tree
    return opened


def item_grid(store: StoreView, label: str, item: int) -> xr.DataArray:
    """Read one item's token grid as a georeferenced map."""
    layout = store.layout(label)
    if layout.grid_shape is None:
        fix = "run the request with OutputSpec.grid()"
        raise StoreError("label", value=label, reason="the store holds one vector per item for it, no grids", fix=fix)
    if not 0 <= item < store.n_items:
        fix = f"use 0 to {store.n_items - 1}"
        raise StoreError("item", value=item, reason=f"the store has {store.n_items} items", fix=fix)
    names = ("embedding", "grid_shape", "transform", "crs")
    row = {name: store.values(label, name, (item, item + 1))[0] for name in names}
    rows, columns = (int(side) for side in row["grid_shape"])
    if rows == 0:
        reason = str(store.values(label, "reason", (item, item + 1))[0]) or "it was not computed yet"
        fix = "see status() for what became of it"
        raise StoreError("item", value=item, reason=f"it has no grid: {reason}", fix=fix)
    return _georeferenced(row["embedding"][:, :rows, :columns], row["transform"], str(row["crs"]))


def _georeferenced(grid: np.ndarray[Any, Any], transform: np.ndarray[Any, Any], crs: str) -> xr.DataArray:
    import rioxarray  # noqa: F401  registers the .rio accessor

    a, _, c, _, e, f = (float(value) for value in transform)
    rows, columns = grid.shape[1:]
    array = xr.DataArray(
        grid,
        dims=("dim", "y", "x"),
        coords={"y": f + e * (np.arange(rows) + 0.5), "x": c + a * (np.arange(columns) + 0.5)},
        name="embedding",
        attrs=proj_attrs(crs) | spatial_attrs(tuple(transform), (rows, columns)),
    )
    named: xr.DataArray = array.rio.write_crs(crs)
    return named


def items_frame(store: StoreView) -> gpd.GeoDataFrame:
    """Read the items as a table of places."""
    import geopandas as gpd

    columns = {name: store.values(ITEMS, name) for name in ("id", "start", "end")}
    outlines = gpd.GeoSeries.from_wkt([str(text) for text in store.values(ITEMS, "geometry")], crs="EPSG:4326")
    days = {name: columns[name].astype("datetime64[D]").astype("datetime64[ns]") for name in ("start", "end")}
    return gpd.GeoDataFrame({"id": columns["id"].astype(object), **days}, geometry=outlines)
