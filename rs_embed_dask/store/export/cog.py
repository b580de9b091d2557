"""Maps, and the grids of runs, as cloud-optimised GeoTIFFs: one per model, group or item, and span."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import whole
from rs_embed_dask.store.export.colours import NO_COLOUR, basis_of, painted
from rs_embed_dask.store.export.items import any_fields, any_tree, file_safe, is_run
from rs_embed_dask.store.export.palette import palette_of
from rs_embed_dask.store.export.preview import stored_basis
from rs_embed_dask.store.export.whole import whole_file
from rs_embed_dask.store.map_store import MapStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.export.palette import Palette
    from rs_embed_dask.store.export.pca import Pca

    _Pixels = Callable[[NDArray[np.float32]], NDArray[Any]]

__all__ = ["to_cog"]

PCA: Final = "pca"
_COLOURS: Final = ("red: component 1", "green: component 2", "blue: component 3")
_SUFFIXES: Final = {".tif", ".tiff"}
_TILE_SIDES: Final = (512, 256, 128)
_LARGEST_TILE: Final = 2**24
_TILE_INTERLEAVE: Final = (3, 11)
_PIXEL: Final = 16  # a GeoTIFF's tiles have sides of multiples of 16 pixels


def to_cog(
    source: xr.DataTree | Target,
    path: str | Path,
    dims: str | Sequence[int] | None = None,
    *,
    model: str | Sequence[str] | None = None,
    group: str | None = None,
    span: int | None = None,
) -> list[Path]:
    """Write a map as cloud-optimised GeoTIFFs: one per model, group and span, block by block; or the grids of a run.

    Parameters
    ----------
    source : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path; or a run whose models hold grids.
    path : path
        A file that ends in ``.tif``, for a map of one model, group and span, or a folder, for any: its files are
        called ``MODEL_GROUP_START_END.tif``, and those of a run ``MODEL_ID_START_END.tif``.
    dims : "pca", "all" or list of int, optional
        Default: ``"pca"``; of a map of classes one byte per token, 1 for the first class and 0 where there is none,
        with the names and colours of the classes; of other maps that were made of one, all bands, with their names.
        ``"pca"``: three bytes per token, 1 to 255 with 0 where there is no vector, of the first three principal
        components; those of the map's preview where `source` is a path and `build_preview` was called, else of a
        sample of all fields written. ``"all"``, or numbers of dimensions from 0: float32, NaN where there is no
        vector; bytes are multiplied by their scale.
    model : str or list of str, optional
        The models to write; default all.
    group : str, optional
        Only this zone of a map, or the item of a run with this id; default all.
    span : int, optional
        Only this span, by its number along ``time``; default all.

    Returns
    -------
    list of Path
        The files: zstd, tiled, with overviews of means (of classes: of the most frequent), nodata, and the bands'
        names. Tags say the model, the span, what was done with positions, whether the weights were random, and the
        names of classes. With GDAL 3.11 or later the bands of a tile lie side by side (``INTERLEAVE=TILE``); before,
        each pixel's lie together.

    Raises
    ------
    SpecError
        If a dimension does not exist, or one file cannot hold what is asked for.
    UnknownNameError
        If the map has no such model or group.
    StoreError
        If the map cannot be read or a file cannot be written.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_cog("county.zarr", "colours", model="rcf")  # doctest: +SKIP
    [PosixPath('colours/rcf_utm31_2022-01-01_2023-01-01.tif')]
    """
    tree, target = any_tree(source), Path(path).expanduser()
    fields = any_fields(tree, model, group, span=span)
    files = _files(fields, target)
    coloured = [one for one in fields if _is_coloured(one, dims)]
    bases = _bases(coloured, None if source is tree or is_run(tree) else source) if coloured else {}
    for one, file in zip(fields, files, strict=True):
        _write(one, file, _look(one, dims, bases))
    return files


@dataclass(frozen=True, eq=False)
class _Look:
    """What a file holds of a field."""

    names: Sequence[str]
    pixels: _Pixels
    dtype: str
    palette: Palette | None = None


def _is_coloured(field: MapField, dims: str | Sequence[int] | None) -> bool:
    return not field.derived if dims is None else isinstance(dims, str) and dims == PCA


def _look(field: MapField, dims: str | Sequence[int] | None, bases: Mapping[str, Pca]) -> _Look:
    if _is_coloured(field, dims):
        return _Look(_COLOURS, partial(painted, basis=bases[field.label]), "uint8")
    if dims is None and field.classes:
        return _Look(["class"], _numbered, "uint8", palette_of([field]))
    chosen = _chosen("all" if dims is None else dims, field.dim)
    bands = field.derived.get("bands") or [f"dimension {number}" for number in range(field.dim)]
    return _Look([str(bands[number]) for number in chosen], partial(_some, chosen=chosen), "float32")


def _numbered(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the numbers of classes from 1, and 0 where there is none; (1, rows, columns)."""
    numbers = bands[:1] + 1
    return np.where(np.isfinite(numbers), numbers, NO_COLOUR).astype(np.uint8)


def _chosen(dims: str | Sequence[int], dim: int) -> list[int]:
    if isinstance(dims, str):
        if dims == "all":
            return list(range(dim))
        raise SpecError("dims", value=dims, reason="it is no choice of dimensions", fix='use "pca", "all" or numbers')
    chosen = [whole("dims", one, low=0, high=dim - 1) for one in dims]
    if not chosen or len(set(chosen)) < len(chosen):
        reason, fix = "each dimension is named once, and at least one is", 'use "all" or a list such as [0, 1, 2]'
        raise SpecError("dims", value=dims, reason=reason, fix=fix)
    return chosen


def _files(fields: Sequence[MapField], target: Path) -> list[Path]:
    if target.suffix.lower() in _SUFFIXES:
        if len(fields) > 1:
            listed = ", ".join(f"{one.label} {one.group} {one.start}" for one in fields[:4])
            reason = f"one file holds one model, group and span, and the map has {len(fields)} ({listed}, ...)"
            raise SpecError("path", value=target, reason=reason, fix="give a folder, or model=, group= and span=")
        return [target]
    target.mkdir(parents=True, exist_ok=True)
    names = [f"{one.label}_{file_safe(one.group)}_{one.start}_{one.end}" for one in fields]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    numbered = [f"{name}_{one.time}" if name in twice else name for name, one in zip(names, fields, strict=True)]
    return [target / f"{name}.tif" for name in numbered]


def _bases(fields: Sequence[MapField], stored: Target | None) -> dict[str, Pca]:
    """Return one basis per model: that of the store's preview, or a new one."""
    view = None if stored is None else MapStore.open(stored)
    bases = {}
    for label in dict.fromkeys(one.label for one in fields):
        kept = None if view is None else stored_basis(view, label)
        bases[label] = kept or basis_of([one for one in fields if one.label == label])
    return bases


def _some(vectors: NDArray[np.float32], chosen: list[int]) -> NDArray[np.float32]:
    return vectors[chosen]


def _write(field: MapField, file: Path, look: _Look) -> None:
    """Write a plain tiled file window by window, and copy it to the one that is wanted, which GDAL does in tiles."""
    import rasterio
    from rasterio.shutil import copy

    with whole_file(file) as partial, _scratch(file) as plain, rasterio.Env():
        with rasterio.open(plain, "w", **_plain(field, look)) as image:
            for number, name in enumerate(look.names, start=1):
                image.set_band_description(number, name)
            image.update_tags(**_tags(field))
            if look.palette is not None:
                image.write_colormap(1, _table(look.palette))
            side = image.block_shapes[0][0]
            for rows, cols in field.windows(-(-max(field.side, side) // side) * side):
                window = ((rows.start, rows.stop), (cols.start, cols.stop))
                image.write(look.pixels(field.read((rows, cols))), window=window)
        copy(plain, partial, driver="COG", **_cog(len(look.names), np.dtype(look.dtype).itemsize, look.palette))


def _table(palette: Palette) -> dict[int, tuple[int, ...]]:
    """Return the colour table of classes from 1; 0 is transparent."""
    colours = np.rint(palette.table * 255).astype(int).tolist()
    return {NO_COLOUR: (0, 0, 0, 0)} | {number: (*rgb, 255) for number, rgb in enumerate(colours, start=1)}


@contextmanager
def _scratch(file: Path) -> Iterator[Path]:
    """Give a path beside a file that is gone afterwards."""
    path = file.with_name(f".{file.name}.plain.tif")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _plain(field: MapField, look: _Look) -> dict[str, Any]:
    import rasterio

    rows, cols = field.shape
    side = -(-field.side // _PIXEL) * _PIXEL
    return {
        "driver": "GTiff",
        "count": len(look.names),
        "height": rows,
        "width": cols,
        "dtype": look.dtype,
        "crs": rasterio.crs.CRS.from_user_input(field.crs),
        "transform": rasterio.Affine(*field.transform),
        "nodata": NO_COLOUR if look.dtype == "uint8" else float("nan"),
        "tiled": True,
        "blockxsize": side,
        "blockysize": side,
        "interleave": "band",
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "if_safer",
    } | ({"photometric": "rgb"} if look.names == _COLOURS else {})


def _cog(bands: int, size: int, palette: Palette | None = None) -> dict[str, Any]:
    """Return options of the COG driver; a tile that holds every band must fit in a request."""
    import rasterio

    version = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2])
    by_tile = version >= _TILE_INTERLEAVE and bands > 1
    per_pixel = size * (1 if by_tile else bands)
    side = next((side for side in _TILE_SIDES if per_pixel * side**2 <= _LARGEST_TILE), _TILE_SIDES[-1])
    options = {"compress": "zstd", "predictor": "yes", "blocksize": side, "bigtiff": "if_safer"}
    way = "average" if palette is None else "mode"  # there is nothing between two classes
    options |= {"resampling": way, "overview_resampling": way, "overviews": "ignore_existing"}
    return options | ({"interleave": "tile"} if by_tile else {})


def _tags(field: MapField) -> dict[str, str]:
    facts = {"MODEL": field.label, "GROUP": field.group, "SPAN": f"{field.start}/{field.end}"}
    facts |= {"WEIGHTS": "random"} if field.is_random else {}
    facts |= {"CLASSES": json.dumps(field.classes)} if field.classes else {}
    return facts | ({"POSITIONS": field.positions} if field.positions else {})
