"""A run as a table of pandas or GeoPandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rs_embed_dask.store.accessor import RunAccessor
from rs_embed_dask.store.reader import tree_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import pandas as pd
    import xarray as xr

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.tables import Layout

__all__ = ["to_dataframe", "to_geodataframe"]


def to_dataframe(
    run: xr.DataTree | Target, model: str | Sequence[str] | None = None, layout: Layout = "wide"
) -> pd.DataFrame:
    """Return the vectors of a run as a table, in the order of its items.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    model : str or list of str, optional
        The models; default all.
    layout : {"wide", "long"}, default "wide"
        Wide: one row per item, with columns ``MODEL_0001`` ..., ``MODEL_status``, ``MODEL_pooling`` and
        ``MODEL_within`` ("shape" or "box", what counts of the place) for each model. Long: one row per model, item and
        dimension, with columns ``model``, ``status``, ``pooling``, ``within``, ``dimension`` (from 1) and ``value``.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``id`` and ``span`` (its label, or "2022-06-01/2022-09-01", the end excluded). Columns that
        came with the places come first. An item without a vector has NaN, and its status says why.

    Raises
    ------
    StoreError
        If the run cannot be read, or a model holds grids, which have no row in a table.
    UnknownNameError
        If there is no such model or layout.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> table = rs.to_dataframe("run.zarr", model="rcf")  # doctest: +SKIP
    >>> table.loc["field-17"]  # doctest: +SKIP
    """
    return RunAccessor(tree_of(run)).to_dataframe(model, layout)


def to_geodataframe(
    run: xr.DataTree | Target, model: str | Sequence[str] | None = None, layout: Layout = "wide"
) -> gpd.GeoDataFrame:
    """Return the vectors of a run as a table with the places' footprints.

    Parameters
    ----------
    run, model, layout
        As `to_dataframe`.

    Returns
    -------
    geopandas.GeoDataFrame
        The table of `to_dataframe` with ``geometry`` in longitude and latitude (EPSG:4326).

    Raises
    ------
    StoreError, UnknownNameError
        As `to_dataframe`.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_geodataframe("run.zarr").to_file("run.gpkg")  # doctest: +SKIP
    """
    return RunAccessor(tree_of(run)).to_geodataframe(model, layout)
