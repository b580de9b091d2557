"""The accessor ``.rs`` of a run: tables, grids, request and receipt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.show.against import PlanReport
from rs_embed_dask.store.columns import SPAN
from rs_embed_dask.store.conventions import proj_attrs, spatial_attrs
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.tables import Layout, model_labels, outlines, table, unfolded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import pandas as pd

__all__ = ["REPORT", "RunAccessor", "georeferenced", "plain_tree", "selected"]

REPORT: Final = "report"
"""The part of a receipt that holds plan against actual."""

_TEXT: Final = np.dtype("O", metadata={"element_type": str})
"""Texts as xarray marks them, so that lazy ones are written to netCDF chunk by chunk."""


@xr.register_datatree_accessor("rs")  # type: ignore[no-untyped-call]
class RunAccessor:
    """What a run offers beyond xarray's own methods, as ``run.rs``."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models."""
        return model_labels(self._tree)

    @property
    def request(self) -> dict[str, Any]:
        """The request."""
        return dict(unfolded(self._tree.attrs.get("request", {})))

    @property
    def receipt(self) -> dict[str, Any]:
        """What the run was made with."""
        return dict(unfolded(self._tree.attrs.get("receipt", {})))

    @property
    def report(self) -> PlanReport:
        """What the last run that computed was expected to take, beside what it took; see `PlanReport`.

        Raises
        ------
        StoreError
            If no run has ended yet, or by an earlier version only.
        """
        kept = self.receipt.get(REPORT)
        if kept is None:
            fix = "compute or resume the run to its end; a finished one of an earlier version has none"
            raise StoreError("report", reason="no run that ended has left one in the receipt", fix=fix)
        return PlanReport.from_dict(kept)

    def facts(self, model: str) -> dict[str, Any]:
        """Return what the store says of a model: the conventions' attributes and its card."""
        (label,) = model_labels(self._tree, model)
        return {str(name): unfolded(value) for name, value in self._tree[label].attrs.items()}

    def to_dataframe(self, model: str | Sequence[str] | None = None, layout: Layout = "wide") -> pd.DataFrame:
        """Return the table of `rs_embed_dask.to_dataframe`."""
        return table(self._tree, model, layout=layout)

    def to_geodataframe(self, model: str | Sequence[str] | None = None, layout: Layout = "wide") -> gpd.GeoDataFrame:
        """Return the table of `rs_embed_dask.to_geodataframe`."""
        import geopandas as gpd

        shapes = outlines(self._tree)
        rows = table(self._tree, model, layout=layout, extra={"geometry": shapes.to_numpy()})
        return gpd.GeoDataFrame(rows, geometry="geometry", crs=shapes.crs)

    def grid(self, item: str | int, model: str | None = None) -> xr.DataArray:
        """Return one item's grid as a map that rioxarray knows: coordinates x and y, and a CRS.

        Parameters
        ----------
        item : str or int
            The item's id, or its row.
        model : str, optional
            The model's label; needed where several models hold grids.

        Returns
        -------
        xarray.DataArray
            (dim, y, x).

        Raises
        ------
        StoreError, UnknownNameError
            If there is no such item or model, if the id stands for several items, or if the item has no grid.
        """
        group = self._tree[self._grid_label(model)]
        row = group.isel(item=self._row(item))
        rows, columns = (int(side) for side in row["grid_shape"].to_numpy())
        if rows == 0:
            reason = str(row["reason"].to_numpy()) or "it was not computed yet"
            raise StoreError("item", value=item, reason=f"it has no grid: {reason}", fix="see status() for the reason")
        values = row["embedding"].to_numpy()[:, :rows, :columns]
        placed = georeferenced(values, row["transform"].to_numpy(), str(row["crs"].to_numpy()))
        if "coverage" in row:
            placed = placed.assign_coords(coverage=(("y", "x"), row["coverage"].to_numpy()[:rows, :columns]))
        return placed

    def _grid_label(self, model: str | None) -> str:
        labels = model_labels(self._tree, model)
        grids = [label for label in labels if "y" in self._tree[label]["embedding"].dims]
        if len(grids) == 1:
            return grids[0]
        if grids:
            reason, fix = "several models hold grids", f"give model= one of {', '.join(grids)}"
        else:
            reason = "one vector per item is stored, no grids"
            fix = "run the request with OutputSpec.grid()"
        raise StoreError("model", value=model, reason=reason, fix=fix)

    def _row(self, item: str | int) -> int:
        ids = np.asarray(self._tree[ITEMS]["id"].to_numpy(), dtype=object)
        if isinstance(item, str):
            rows = np.flatnonzero(ids == item)
            if len(rows) == 0:
                raise UnknownNameError.among("item", item, ids)
            if len(rows) > 1:
                reason = f"{len(rows)} items have this id"
                fix = f"give the row: {', '.join(map(str, rows[:8]))}"
                raise StoreError("item", value=item, reason=reason, fix=fix)
            return int(rows[0])
        if not 0 <= item < len(ids):
            fix = f"use 0 to {len(ids) - 1}, or an id"
            raise StoreError("item", value=item, reason=f"the run has {len(ids)} items", fix=fix)
        return item


def georeferenced(grid: np.ndarray[Any, Any], transform: np.ndarray[Any, Any], crs: str) -> xr.DataArray:
    """Return a grid as a map with x, y and a CRS."""
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


def plain_tree(tree: xr.DataTree, ids: np.ndarray[Any, Any] | None = None) -> xr.DataTree:
    """Make a stored tree usable by name and by netCDF: ids as the index, nested attributes as JSON text."""
    ids = np.asarray(tree[ITEMS]["id"].to_numpy() if ids is None else ids, dtype=object)
    coords = {"item": ids}
    if SPAN in tree[ITEMS].variables:
        coords[SPAN] = np.asarray(tree[ITEMS][SPAN].to_numpy(), dtype=object)
    groups = {name: _plain_group(node.to_dataset(inherit=False), coords) for name, node in tree.children.items()}
    root = xr.Dataset(attrs={name: _folded(value) for name, value in tree.attrs.items()})
    return xr.DataTree.from_dict({"/": root, **groups})


def _plain_group(data: xr.Dataset, coords: dict[str, np.ndarray[Any, Any]]) -> xr.Dataset:
    attrs = {"item": data["item"].attrs | {"long_name": "id of the item"}, SPAN: {"long_name": "label of the span"}}
    along = {name: ("item", values, attrs[name]) for name, values in coords.items()}
    folded = {name: _folded(value) for name, value in data.attrs.items()}
    named = data.drop_vars(SPAN, errors="ignore").assign_coords(along).assign_attrs(folded)
    named.encoding = {}
    for name in named.variables:
        one = named[name]
        if name == "item" or one.dtype.kind != "T":
            kept = {
                key: one.encoding[key] for key in ("dtype", "units", "calendar", "_FillValue") if key in one.encoding
            }
            named[name].encoding = {} if name == "item" else kept
        else:
            # NumPy's variable-length strings are unknown to netCDF and pandas
            named[name] = one.astype(_TEXT)
            named[name].encoding = {}
    return named


def selected(tree: xr.DataTree, rows: np.ndarray[Any, Any], labels: Sequence[str]) -> xr.DataTree:
    """Return some rows and models of a run, in this order."""
    count, own = tree[ITEMS].sizes["item"], model_labels(tree)
    is_whole = len(rows) == count and np.array_equal(rows, np.arange(count))
    if is_whole and tuple(labels) == own:
        return tree
    groups = {name: tree.children[name].to_dataset(inherit=False) for name in (ITEMS, *labels)}
    chosen = groups if is_whole else {name: group.isel(item=rows) for name, group in groups.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs), **chosen})


def _folded(value: Any) -> Any:
    """Return an attribute as netCDF can hold it: nested and missing values become JSON text."""
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
        texts = len(value) > 1 and all(isinstance(one, str) for one in value)
        return value if value and (numbers or texts) else json.dumps(value)
    return value
