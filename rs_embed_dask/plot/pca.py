"""Embeddings as colours, in arrays with labels."""

from __future__ import annotations

from typing import Final

import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.store.export.pca import COLOURS, MOST_SAMPLES, Pca, fit_pca

__all__ = ["Pca", "fit_pca", "pseudo_rgb"]

DIM: Final = "dim"


def pseudo_rgb(embedding: xr.DataArray, *, pca: Pca | None = None) -> xr.DataArray:
    """Convert embeddings to colours.

    Parameters
    ----------
    embedding : xarray.DataArray
        With a dimension ``dim``: (item, dim) or (item, dim, y, x) of a store, (dim, y, x) of `get_embedding`; NumPy or
        Dask.
    pca : Pca, optional
        A fit to use, so that two stores get comparable colours; by default it is fitted to the embedding itself, to
        evenly spaced items where it is large.

    Returns
    -------
    xarray.DataArray of float32
        The same with ``rgb`` (red, green, blue; 0 to 1) as the last dimension in place of ``dim``; NaN where there
        is no data. Lazy where the embedding is.

    Raises
    ------
    SpecError
        If there is no dimension ``dim``, or if no vector is complete.
    """
    if DIM not in getattr(embedding, "dims", ()):
        reason = "it has no dimension 'dim'"
        raise SpecError("embedding", value=embedding, reason=reason, fix="give ds['embedding'] of a store")
    fitted = fit_pca(_thinned(embedding).transpose(..., DIM).values) if pca is None else pca
    colours: xr.DataArray = xr.apply_ufunc(
        fitted.colours,
        embedding.chunk({DIM: -1}) if embedding.chunks else embedding,
        input_core_dims=[[DIM]],
        output_core_dims=[["rgb"]],
        dask="parallelized",
        output_dtypes=["float32"],
        dask_gufunc_kwargs={"output_sizes": {"rgb": len(fitted.axes)}},
    )
    named = list("rgb") if len(fitted.axes) == COLOURS else list(range(len(fitted.axes)))
    return colours.assign_coords(rgb=named).rename("colour")


def _thinned(embedding: xr.DataArray) -> xr.DataArray:
    """Take evenly spaced items, so that a fit of a large store reads a bounded part of it."""
    if "item" not in embedding.dims:
        return embedding
    vectors = embedding.size // embedding.sizes[DIM]
    return embedding.isel(item=slice(None, None, max(1, -(-vectors // (4 * MOST_SAMPLES)))))
