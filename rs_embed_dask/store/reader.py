"""Opening a store to read: the lazy tree, one item's grid as a map, the items as a table of places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.accessor import georeferenced, plain_tree
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import COVERAGE
from rs_embed_dask.store.store import Store
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    import geopandas as gpd

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.services import StorageOptions
    from rs_embed_dask.store.view import StoreView

__all__ = ["item_grid", "items_frame", "open_store", "tree_of"]


def open_store(path: Target, *, storage_options: StorageOptions | None = None) -> xr.DataTree:
    """Open a store as a lazy tree, whose items are found by id.

    The arrays are those of ``xarray.open_datatree(path, engine="zarr", chunks={})``. Here ``item`` holds the ids, and
    nested attributes (request, receipt, a model's card) are JSON text, so that the tree survives ``to_netcdf``;
    ``run.rs.request`` and ``run.rs.receipt`` return them as dictionaries.

    Parameters
    ----------
    path : str, path-like or zarr store
        The store's place.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Returns
    -------
    xarray.DataTree
        ``/items`` and one group per model, as Dask arrays; ``run.rs`` has tables and grids.

    Raises
    ------
    StoreError
        If there is no store, or one that cannot be read.

    Examples
    --------
    >>> open_store("run.zarr")["rcf"].embedding.sel(item="field-17")  # doctest: +SKIP
    """
    store = Store.open(located(path, storage_options))
    store.counts()  # refuses status codes that do not exist
    # Of a service, xarray would open the URL by fsspec.
    opening: Any = store.location.target if store.location.service is None else store.location.storage
    # Xarray would read a million numbers for each group, only to learn that they count the rows.
    tree = xr.open_datatree(opening, engine="zarr", chunks={}, drop_variables="item")
    # By Dask, the names of a million items would take twenty seconds.
    return plain_tree(tree, store.values(ITEMS, "id"))


def tree_of(run: xr.DataTree | Target) -> xr.DataTree:
    """Return a run as a tree: itself, or the store at a path; a tree that xarray opened is made plain first."""
    if not isinstance(run, xr.DataTree):
        return open_store(run)
    if ITEMS not in run.children:
        reason = "it has no group 'items'"
        fix = "give what compute_embeddings or open_store returned, or a store's path"
        raise StoreError("run", value=", ".join(run.children) or "an empty tree", reason=reason, fix=fix)
    return plain_tree(run) if run[ITEMS]["item"].dtype.kind in "iu" else run


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
    placed = georeferenced(row["embedding"][:, :rows, :columns], row["transform"], str(row["crs"]))
    if store.has(label, COVERAGE.name):
        shares = store.values(label, COVERAGE.name, (item, item + 1))[0]
        placed = placed.assign_coords(coverage=(("y", "x"), shares[:rows, :columns]))
    return placed


def items_frame(store: StoreView) -> gpd.GeoDataFrame:
    """Read the items as a table of places."""
    import geopandas as gpd

    columns = {name: store.values(ITEMS, name) for name in ("id", "start", "end")}
    outlines = gpd.GeoSeries.from_wkt([str(text) for text in store.values(ITEMS, "geometry")], crs="EPSG:4326")
    days = {name: columns[name].astype("datetime64[D]").astype("datetime64[ns]") for name in ("start", "end")}
    return gpd.GeoDataFrame({"id": columns["id"].astype(object), **days}, geometry=outlines)
