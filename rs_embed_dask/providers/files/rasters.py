"""Raster files: what each states beside its pixels, and the pixels under a grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.numbers import Numbers
from rs_embed_dask.providers.nearest import pixels_under
from rs_embed_dask.specs.ground import crs_facts

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid import Grid

__all__ = ["Head", "LayerPixels", "RasterLayer", "Spot", "gather", "head_of", "layer_of", "read_layer"]

Spot = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]
"""Rows and columns of a file or an array, and which pixels of a grid they are for."""

_HALF_TURN: Final = 180.0
_TURN: Final = 360.0


@dataclass(frozen=True)
class RasterLayer:
    """One band of one file."""

    path: str
    index: int
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    numbers: Numbers
    masked: bool = False
    alpha: int | None = None


@dataclass(frozen=True)
class LayerPixels:
    """Numbers of one band at some pixels, what is stated of them, and which the file shows; None for all."""

    raw: npt.NDArray[Any]
    numbers: Numbers
    shown: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Head:
    """What a file states beside its pixels; `alpha` is the band that says where there are any, counted from 1."""

    crs: str | None
    gcps: int
    transform: tuple[float, ...]
    shape: tuple[int, int]
    names: tuple[str | None, ...]
    numbers: tuple[Numbers, ...]
    masked: tuple[bool, ...]
    alpha: int | None
    tags: tuple[tuple[str, str], ...]

    @property
    def images(self) -> tuple[int, ...]:
        """The bands that hold an image, counted from 1."""
        return tuple(i for i in range(1, len(self.names) + 1) if i != self.alpha)


@lru_cache(maxsize=65_536)
def _head(path: str, _modified_ns: int) -> Head:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # head_of raises a better error
            with rasterio.open(path) as file:
                return _described(file)
    except RasterioIOError as error:
        reason = f"it is not a raster file that GDAL can read ({error})"
        raise ProviderError("raster file", value=path, reason=reason, fix="check the file, or take it out") from error


def _described(file: rasterio.DatasetReader) -> Head:
    tags = {key.lower(): value for key, value in file.tags().items()}
    interpretations = list(file.colorinterp)
    return Head(
        crs=file.crs.to_wkt() if file.crs else None,
        gcps=len(file.gcps[0]),
        transform=tuple(file.transform)[:6],
        shape=file.shape,
        names=tuple(file.descriptions),
        numbers=tuple(_numbers(file, index, tags) for index in file.indexes),
        masked=tuple(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in file.mask_flag_enums),
        alpha=interpretations.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in interpretations else None,
        tags=tuple(sorted(tags.items())),
    )


def _numbers(file: rasterio.DatasetReader, index: int, tags: dict[str, str]) -> Numbers:
    """Return what a file states of a band: GDAL's own fields, else tags that were kept from another format."""
    stated: dict[str, Any] = {**tags, **{key.lower(): value for key, value in file.tags(index).items()}}
    if (file.scales[index - 1], file.offsets[index - 1]) != (1.0, 0.0):
        stated |= {"scale_factor": file.scales[index - 1], "add_offset": file.offsets[index - 1]}
    own = {"nodata": file.nodatavals[index - 1], "units": file.units[index - 1]}
    numbers = Numbers.stated(stated | {key: value for key, value in own.items() if value not in {None, ""}})
    return numbers.beside(file.crs.to_wkt() if file.crs else None)


def head_of(path: Path) -> Head:
    """Return what a file states beside its pixels; one without a reference system is refused."""
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
            reason=f"it has no coordinate reference system{points}, so the place of its pixels is unknown",
            fix="warp it to a map projection first, or read sentinel-1-rtc" if head.gcps else "assign it one first",
        )
    return head


def layer_of(path: Path, index: int, *, alpha: bool = True) -> RasterLayer:
    """Return one band of a file, hidden where its mask or its alpha band hides it; `alpha` is False to ignore that."""
    head = head_of(path)
    place = head.crs or "", head.transform, head.shape
    return RasterLayer(
        str(path), index, *place, head.numbers[index - 1], head.masked[index - 1], head.alpha if alpha else None
    )


def gather(grid: Grid, crs: str, *, transform: Sequence[float], shape: tuple[int, int]) -> Spot:
    """Find the pixel under each pixel centre of a grid, also where longitudes run beyond 180 degrees."""
    rows, columns, inside = pixels_under(grid, crs, transform=Affine(*transform), shape=shape)
    edges = transform[2], transform[2] + transform[0] * shape[1]
    if max(map(abs, edges)) > _HALF_TURN and crs_facts(crs).degrees:
        for turn in (_TURN, -_TURN):
            a, b, c, *rest = transform
            turned = Affine(a, b, c + turn, *rest)
            more_rows, more_columns, more = pixels_under(grid, crs, transform=turned, shape=shape)
            rows, columns = np.where(inside, rows, more_rows), np.where(inside, columns, more_columns)
            inside = inside | more
    return rows[inside], columns[inside], inside


def read_layer(layer: RasterLayer, grid: Grid) -> tuple[LayerPixels, npt.NDArray[np.bool_]] | None:
    """Read the pixels of a file under a grid, nearest neighbours."""
    rows, columns, inside = gather(grid, layer.crs, transform=layer.transform, shape=layer.shape)
    if not rows.size:
        return None
    top, left = int(rows.min()), int(columns.min())
    window = Window(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
    spot = rows - top, columns - left
    try:
        with rasterio.open(layer.path) as file:
            pixels = file.read(layer.index, window=window)[spot]
            masks = [file.read_masks(layer.index, window=window)] if layer.masked else []
            masks += [] if layer.alpha is None else [file.read(layer.alpha, window=window)]
    except RasterioIOError as error:
        what, reason = f"file {Path(layer.path).name}", f"its pixels cannot be read: {error.__cause__ or error}"
        raise ProviderError(what, value=layer.path, reason=reason, fix="replace it") from error
    shown = np.logical_and.reduce([mask[spot] > 0 for mask in masks]) if masks else None
    return LayerPixels(pixels, layer.numbers, shown), inside
