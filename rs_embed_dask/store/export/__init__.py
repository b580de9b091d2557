"""Runs and maps as tables and as files of other formats; one module per format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.store.export.frames import to_dataframe, to_geodataframe
from rs_embed_dask.store.export.geoparquet import to_geoparquet
from rs_embed_dask.store.export.netcdf import to_netcdf
from rs_embed_dask.store.export.neuco import to_neuco_csv
from rs_embed_dask.store.export.rs_embed import to_rs_embed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr

    from rs_embed_dask.store.document import Target

__all__ = [
    "FORMATS",
    "export",
    "to_dataframe",
    "to_geodataframe",
    "to_geoparquet",
    "to_netcdf",
    "to_neuco_csv",
    "to_rs_embed",
]


def _cog(run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None) -> Path:
    from rs_embed_dask.store.export.cog import to_cog

    for one in [model] if model is None or isinstance(model, str) else model:
        to_cog(run, path, "all", model=one)
    return Path(path).expanduser()


def _stac(run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None) -> Path:
    from rs_embed_dask.store.export.stac import to_stac

    if model is not None:
        raise StoreError("model", value=model, reason="the catalogue describes all models", fix="leave model= out")
    to_stac(run, path)
    return Path(path).expanduser()


FORMATS: Final[dict[str, Callable[..., Path]]] = {
    "cog": _cog,
    "geoparquet": to_geoparquet,
    "netcdf": to_netcdf,
    "neuco-csv": to_neuco_csv,
    "rs-embed": to_rs_embed,
    "stac": _stac,
}
"""What writes each format."""


def export(
    run: xr.DataTree | Target,
    format: str,  # noqa: A002 - the word that users type
    path: str | Path,
    *,
    model: str | Sequence[str] | None = None,
) -> Path:
    """Write a run, or a map, as files of another format.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store; for "cog" and "stac" also a map.
    format : {"geoparquet", "netcdf", "rs-embed", "neuco-csv", "cog", "stac"}
        The format; see `to_geoparquet`, `to_netcdf`, `to_rs_embed`, `to_neuco_csv`, `to_cog` (all dimensions) and
        `to_stac`.
    path : path
        The file or folder to write; an existing file is replaced once the new one is complete.
    model : str or list of str, optional
        The models to write; default all.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    UnknownNameError
        If there is no such format or model.
    SpecError, StoreError
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
