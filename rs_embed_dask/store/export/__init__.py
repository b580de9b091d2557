"""Runs and maps as tables and as files of other formats; one module per format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.store.export.frames import to_dataframe, to_geodataframe
from rs_embed_dask.store.export.geoparquet import to_geoparquet
from rs_embed_dask.store.export.netcdf import to_netcdf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import xarray as xr

    from rs_embed_dask.store.document import Target

__all__ = ["FORMATS", "export", "to_dataframe", "to_geodataframe", "to_geoparquet", "to_netcdf"]

FORMATS: Final[dict[str, Callable[..., Path]]] = {"geoparquet": to_geoparquet, "netcdf": to_netcdf}
"""What writes each format."""


def export(
    run: xr.DataTree | Target,
    format: str,  # noqa: A002 - the word that users type
    path: str | Path,
    *,
    model: str | Sequence[str] | None = None,
) -> Path:
    """Write a run as a file of another format.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    format : {"geoparquet", "netcdf"}
        The format; see `to_geoparquet` and `to_netcdf`.
    path : path
        The file to write; an existing file is replaced once the new one is complete.
    model : str or list of str, optional
        The models to write; default all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UnknownNameError
        If there is no such format or model.
    StoreError
        If the run cannot be read, or does not fit the format.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.export("run.zarr", "geoparquet", "run.parquet")  # doctest: +SKIP
    """
    if format not in FORMATS:
        raise UnknownNameError.among("format", format, FORMATS)
    options: dict[str, Any] = {"model": model}
    return FORMATS[format](run, path, **options)
