"""Raster files: what each says without its pixels, and exact nearest neighbours of its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers.sampling import Block, nearest_pixels

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid_types import Grid

__all__ = ["Head", "Layer", "gather", "head_of", "read_layer"]


@dataclass(frozen=True)
class Layer:
    """One band of one file.

    Parameters
    ----------
    path : str
        The file.
    index : int
        Band, from 1.
    crs : str
        WKT.
    transform : tuple of float
        Six numbers, from (column, row) of pixel corners to coordinates.
    shape : (int, int)
        Rows and columns.
    nodata : float, optional
        What the file says means missing.
    """

    path: str
    index: int
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    nodata: float | None


@dataclass(frozen=True)
class Head:
    """What a file says without its pixels.

    Parameters
    ----------
    crs : str or None
        WKT.
    gcps : int
        Number of ground control points.
    transform, shape, nodata
        As for a `Layer`.
    names : tuple of str or None
        Description of each band.
    tags : tuple of (str, str)
        Tags of the file, names in lower case.
    """

    crs: str | None
    gcps: int
    transform: tuple[float, ...]
    shape: tuple[int, int]
    nodata: float | None
    names: tuple[str | None, ...]
    tags: tuple[tuple[str, str], ...]


@lru_cache(maxsize=65_536)
def _head(path: str, _modified_ns: int) -> Head:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # head_of says it better
            with rasterio.open(path) as file:
                return Head(
                    crs=file.crs.to_wkt() if file.crs else None,
                    gcps=len(file.gcps[0]),
                    transform=tuple(file.transform)[:6],
                    shape=file.shape,
                    nodata=None if file.nodata is None else float(file.nodata),
                    names=tuple(file.descriptions),
                    tags=tuple(sorted((key.lower(), value) for key, value in file.tags().items())),
                )
    except RasterioIOError as error:
        reason = f"it is no raster file that GDAL can read ({error})"
        raise ProviderError("raster file", value=path, reason=reason, fix="check the file, or take it out") from error


def head_of(path: Path) -> Head:
    """Return what a file says without its pixels, refusing one that lies nowhere.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Head

    Raises
    ------
    ProviderError
        If it is missing, no raster, or has no reference system.
    """
    try:
        modified = path.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise ProviderError("raster file", value=str(path), reason="it does not exist", fix="check the path") from error
    head = _head(str(path), modified)
    if head.crs is None:
        points = (
            f" but {head.gcps} ground control points, as uncalibrated GRD files of Sentinel-1 have" if head.gcps else ""
        )
        raise ProviderError(
            "raster file",
            value=path.name,
            reason=f"it has no coordinate reference system{points}, so nobody knows where its pixels lie",
            fix="warp it to a map projection first, or read sentinel-1-rtc" if head.gcps else "assign it one first",
        )
    return head


def _block_of(grid: Grid) -> Block:
    a, _, c, _, e, f = grid.transform
    return Block(grid.crs, (c, f), (a, -e), (0, 0), grid.shape)


def gather(
    grid: Grid, crs: str, *, transform: Sequence[float], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Find the pixel under each pixel centre of a grid.

    Parameters
    ----------
    grid : Grid
        Where to, (H, W).
    crs, transform, shape
        Of the image.

    Returns
    -------
    rows, columns : ndarray of int64 (P,)
        Of the P pixels of the grid that lie inside the image, in raster order.
    inside : ndarray of bool (H, W)
        Which they are.
    """
    rows, columns = nearest_pixels(_block_of(grid), crs, Affine(*transform))
    rows, columns = np.broadcast_arrays(rows, columns)
    inside: npt.NDArray[np.bool_] = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside], inside


def read_layer(layer: Layer, grid: Grid) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
    """Read the pixels of a file under a grid, nearest neighbours.

    Parameters
    ----------
    layer : Layer
        One band of one file.
    grid : Grid
        Where to, (H, W).

    Returns
    -------
    (ndarray (P,), ndarray of bool (H, W)) or None
        Raw numbers of the pixels inside the file, and which those are. None if none is.
    """
    rows, columns, inside = gather(grid, layer.crs, transform=layer.transform, shape=layer.shape)
    if not rows.size:
        return None
    top, left = int(rows.min()), int(columns.min())
    window = Window(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
    with rasterio.open(layer.path) as file:
        pixels = file.read(layer.index, window=window)
    return pixels[rows - top, columns - left], inside
