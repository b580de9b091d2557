"""A run as one netCDF file with a group per model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.export.payload import write_netcdf
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import model_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.store.document import Target

__all__ = ["to_netcdf"]


def to_netcdf(run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None) -> Path:
    """Write a run as a netCDF-4 file, chunk by chunk.

    ``xarray.open_datatree`` reads it back: ``/items`` and one group per model, as in the store. Nested attributes are
    JSON text.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    path : path
        The file to write.
    model : str or list of str, optional
        The models to write; default all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the run cannot be read, the file cannot be written, or netCDF4 is not installed.
    UnknownNameError
        If there is no such model.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_netcdf("run.zarr", "run.nc")  # doctest: +SKIP
    """
    tree = tree_of(run)
    groups = {name: tree[name].to_dataset() for name in (ITEMS, *model_labels(tree, model))}
    write_netcdf(xr.DataTree.from_dict({"/": tree.to_dataset(), **groups}), path)
    return Path(path).expanduser()
