"""Runs and maps as tables and as files of other formats; one module per format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.store.export.frames import to_dataframe, to_geodataframe
from rs_embed_dask.store.export.geoparquet import to_geoparquet
from rs_embed_dask.store.export.netcdf import to_netcdf
from rs_embed_dask.store.export.neuco import to_neuco_csv
from rs_embed_dask.store.export.rs_embed import to_rs_embed
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.services import StorageOptions

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


def _to_cog(source: xr.DataTree | Target, path: str | Path, **options: Any) -> Path:
    from rs_embed_dask.store.export.cog import to_cog

    to_cog(source, path, **options)
    return Path(path).expanduser()


def _to_stac(source: xr.DataTree | Target, path: str | Path, **options: Any) -> Path:
    from rs_embed_dask.store.export.stac import to_stac

    to_stac(source, path, **options)
    return Path(path).expanduser()


FORMATS: Final[dict[str, Callable[..., Path]]] = {
    "cog": _to_cog,
    "geoparquet": to_geoparquet,
    "netcdf": to_netcdf,
    "neuco-csv": to_neuco_csv,
    "rs-embed": to_rs_embed,
    "stac": _to_stac,
}
"""What writes each format."""

_OPTIONS: Final = {"cog": ("dims", "group", "span"), "stac": ("href", "license")}
"""What may be said of a format besides the models."""


def export(
    run: xr.DataTree | Target,
    format: str,  # noqa: A002 - the word that users type
    path: str | Path,
    *,
    model: str | Sequence[str] | None = None,
    storage_options: StorageOptions | None = None,
    **options: Any,
) -> Path:
    """Write a run or a map in another format.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` or `compute_map` returned, or a store.
    format : {"geoparquet", "netcdf", "rs-embed", "neuco-csv", "cog", "stac"}
        The format; see `to_geoparquet`, `to_netcdf`, `to_rs_embed` and `to_neuco_csv`, of places, and `to_cog` and
        `to_stac`, of places and maps.
    path : path
        The file to write; an existing file is replaced once the new one is complete. COGs of several models, zones,
        items or spans, and a STAC catalogue, take a folder.
    model : str or list of str, optional
        The models to write; default all.
    storage_options : dict, optional
        Of the object store of a run that is given by its URL; as `compute_embeddings`.
    **options
        ``dims``, ``group`` and ``span`` of `to_cog`; ``href`` and ``license`` of `to_stac`.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    UnknownNameError
        If there is no such format, option or model.
    SpecError
        If an option is invalid.
    StoreError
        If the run cannot be read, or does not fit the format.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.export("run.zarr", "geoparquet", "run.parquet")  # doctest: +SKIP
    """
    if format not in FORMATS:
        raise UnknownNameError.among("format", format, FORMATS)
    for name in options:
        if name not in _OPTIONS.get(format, ()):
            raise UnknownNameError.among(f"option of {format}", name, ("model", *_OPTIONS.get(format, ())))
    return FORMATS[format](located(run, storage_options), path, model=model, **options)
