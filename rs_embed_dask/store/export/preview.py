"""Previews of a map, in its store: three colours at every zoom, which viewers of the ``multiscales`` convention show.

A preview is derived and may be built again at any time. The store lists it once it is whole: a run that adds to the
map takes it off the list, and so does building it anew until it is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from zarr.codecs import ZstdCodec

from rs_embed_dask.specs.ground import unit_m
from rs_embed_dask.store.conventions import level_attrs, pyramid_attrs
from rs_embed_dask.store.document import ROOT_KEY, explained
from rs_embed_dask.store.export.colours import NO_COLOUR, halved, painted, sampled
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.pca import COLOURS, Pca, fit_pca
from rs_embed_dask.store.layout import Field
from rs_embed_dask.store.map_arrays import make_coords, placed
from rs_embed_dask.store.map_layout import MapGroup
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.nodes import array_document, make_array, make_group, open_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray as xr
    import zarr
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Location, Target
    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.map_store import MapView

    _Reader = Callable[[slice, slice], NDArray[Any]]

__all__ = ["PREVIEW", "build_preview", "levels_of", "stored_basis"]

PREVIEW: Final = "preview"
POOLED: Final = "pooled"

_TILE: Final = 512
_POOLED_TILE: Final = 64
_SMALLEST: Final = 256
_RGB: Final = Field(
    "rgb",
    dtype="uint8",
    dims=("time", "band", "y", "x"),
    fill=NO_COLOUR,
    attrs={"long_name": "first three principal components as red, green and blue", "_FillValue": NO_COLOUR},
)
_BASIS: Final = (
    Field("mean", dtype="float64", dims=("dim",), attrs={"long_name": "mean vector of the sample"}),
    Field("axes", dtype="float64", dims=("component", "dim"), attrs={"long_name": "principal components"}),
    Field("explained", dtype="float64", dims=("component",), attrs={"long_name": "share of the sample's variance"}),
    Field("low", dtype="float64", dims=("component",), attrs={"long_name": "projection that is drawn darkest"}),
    Field("high", dtype="float64", dims=("component",), attrs={"long_name": "projection that is drawn brightest"}),
)


def build_preview(path: Target, *, embeddings: bool = False) -> list[str]:
    """Write previews of a map into its store: what QGIS and viewers in a browser show at every zoom.

    Parameters
    ----------
    path : path or URL
        The map. One process may build at a time, while nothing computes blocks of the map.
    embeddings : bool, default False
        Write coarser embeddings too, each vector the mean of the two by two below it.

    Returns
    -------
    list of str
        The pyramids, as paths in the store. ``MODEL/preview/GROUP`` has one group per zoom, ``0`` the finest, with
        ``rgb (time, band, y, x)`` in bytes (0: no vector). All groups of a model share one basis: the principal
        components of vectors from every group and span, which ``MODEL/preview`` holds. ``MODEL/pooled/GROUP`` has
        ``embedding (time, dim, y, x)`` from zoom ``1`` on. Models without a vector have none.

    Raises
    ------
    StoreError
        If there is no map, or it cannot be written.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.build_preview("county.zarr")  # doctest: +SKIP
    ['rcf/preview/utm31']
    """
    view = MapStore.open(path, "r+")
    _clear(view)
    tree = open_map(path)
    pyramids = [
        pyramid
        for label in view.labels
        if tree[label].children
        for pyramid in _build(view, tree, label, embeddings=embeddings)
    ]
    tops = sorted({one.rpartition("/")[0] for one in pyramids})
    keys = sorted(key for top in tops for key in view.location.keys(top) if key.endswith(f"/{ROOT_KEY}"))
    listed = {path: array_document(view.location, path) for key in keys for path in [key.removesuffix(f"/{ROOT_KEY}")]}
    view.relist(lambda all_listed: all_listed | listed)
    return pyramids


def _clear(view: MapStore) -> None:
    """Take old pyramids off the list, then out of the store."""
    folders = [f"{label}/{name}" for label in view.labels for name in (PREVIEW, POOLED)]
    view.relist(lambda listed: {one: facts for one, facts in listed.items() if not _is_below(one, folders)})
    for one in folders:
        view.location.remove(one)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(f"{path}/".startswith(f"{one}/") for one in folders)


def _build(view: MapStore, tree: xr.DataTree, label: str, *, embeddings: bool) -> Iterator[str]:
    """Write all pyramids of one model."""
    location, fields = view.location, fields_of(tree, label)
    samples = sampled(fields)
    if not len(samples):
        return
    basis = fit_pca(samples)
    make_group(location, f"{label}/{PREVIEW}", {})
    for one in _BASIS:
        values = getattr(basis, one.name)
        make_array(location, f"{label}/{PREVIEW}/{one.name}", one, shape=values.shape, chunks=values.shape)
        with explained("preview", f"{location.name}/{label}", "check the disk's space"):
            open_array(location, f"{label}/{PREVIEW}/{one.name}")[...] = values
    # Means of codes are no codes; other vectors are kept as the map keeps them.
    dtype = view.layout(label).dtype.replace("int8", "float32")
    pooled = {POOLED: partial(_write_pooled, dtype=dtype)} if embeddings else {}
    make = {PREVIEW: partial(_write_colours, basis=basis)} | pooled
    for name, write in make.items():
        make_group(location, f"{label}/{name}", {})
        for group, spans in groupby(fields, key=lambda one: one.group):
            pyramid = _Pyramid(location, f"{label}/{name}/{group}", tuple(spans))
            if write(pyramid):
                yield pyramid.path


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """Where the zooms of one group are written."""

    location: Location
    path: str
    fields: tuple[MapField, ...]

    @cached_property
    def levels(self) -> list[MapGroup]:
        return levels_of(self.fields[0])

    def make(self, one: Field, levels: Sequence[MapGroup], chunks: tuple[int, ...]) -> None:
        """Make the arrays of some zooms, empty."""
        make_group(self.location, self.path, pyramid_attrs(levels))
        spans = [(field.start, field.end) for field in self.fields]
        for level in levels:
            path = f"{self.path}/{level.group}"
            make_group(self.location, path, level_attrs(level))
            make_coords(self.location, path, level, spans=spans)
            array = placed(replace(one, attrs=dict(one.attrs) | level_attrs(level)))
            shape = (len(spans), chunks[1], *level.shape)
            packing = {"compressors": [ZstdCodec(level=3, checksum=True)]}
            make_array(self.location, f"{path}/{one.name}", array, shape=shape, chunks=chunks, **packing)

    def fill(self, name: str, read: _Reader, *, time: int, first: int, side: int) -> None:
        """Write one span of all zooms from `first` on, whose vectors or colours `read` gives; the others follow."""
        for level in self.levels[first:]:
            array = open_array(self.location, f"{self.path}/{level.group}/{name}")
            rows, cols = level.shape
            for top in range(0, rows, side):
                for left in range(0, cols, side):
                    at = slice(top, min(top + side, rows)), slice(left, min(left + side, cols))
                    with explained("preview", f"{self.location.name}/{array.path}", "check the disk's space"):
                        array[time, :, *at] = read(*at)
            read = partial(_coarser, array, time)


def levels_of(field: MapField) -> list[MapGroup]:
    """Return the zooms of a field, each half as wide as the one before, until one fits in 256 x 256 cells.

    The sides of the first are rounded up to what can be halved so often.
    """
    halvings = 0
    while -(-max(field.shape) // 2**halvings) > _SMALLEST:
        halvings += 1
    least_rows, least_cols = (-(-side // 2**halvings) for side in field.shape)
    width, _, left, _, _, top = field.transform
    cell_m = width * unit_m(field.crs)
    return [
        MapGroup(str(k), field.crs, cell_m * 2**k, 1, (left, top), (least_rows * 2**up, least_cols * 2**up))
        for k, up in enumerate(range(halvings, -1, -1))
    ]


def _write_colours(pyramid: _Pyramid, basis: Pca) -> bool:
    pyramid.make(_RGB, pyramid.levels, (1, COLOURS, _TILE, _TILE))
    for time, field in enumerate(pyramid.fields):
        pyramid.fill(_RGB.name, partial(_colours, field, basis), time=time, first=0, side=_TILE)
    return True


def _write_pooled(pyramid: _Pyramid, dtype: str) -> bool:
    if len(pyramid.levels) == 1:
        return False
    field = pyramid.fields[0]
    doc = {"long_name": f"embedding by {field.label}, means of the vectors below"}
    one = Field("embedding", dtype=dtype, dims=("time", "dim", "y", "x"), attrs=doc)
    pyramid.make(one, pyramid.levels[1:], (1, field.dim, _POOLED_TILE, _POOLED_TILE))
    for time, field in enumerate(pyramid.fields):
        pyramid.fill(one.name, partial(_pooled, field), time=time, first=1, side=_POOLED_TILE)
    return True


def _colours(field: MapField, basis: Pca, rows: slice, cols: slice) -> NDArray[np.uint8]:
    """Colour a tile block by block, so that no more than a block's vectors are in memory."""
    tile = np.full((COLOURS, rows.stop - rows.start, cols.stop - cols.start), NO_COLOUR, np.uint8)
    corner = rows.start, cols.start
    bottom, right = min(rows.stop, field.shape[0]), min(cols.stop, field.shape[1])
    for top in range(rows.start, bottom, field.side):
        for left in range(cols.start, right, field.side):
            at = slice(top, min(top + field.side, bottom)), slice(left, min(left + field.side, right))
            inside = [slice(one.start - edge, one.stop - edge) for one, edge in zip(at, corner, strict=True)]
            tile[:, *inside] = painted(field.read(at), basis)
    return tile


def _pooled(field: MapField, rows: slice, cols: slice) -> NDArray[Any]:
    """Return the means of two by two vectors of the field."""
    whole = np.full((field.dim, 2 * (rows.stop - rows.start), 2 * (cols.stop - cols.start)), np.nan, np.float32)
    found = field.read((slice(2 * rows.start, 2 * rows.stop), slice(2 * cols.start, 2 * cols.stop)))
    whole[:, : found.shape[1], : found.shape[2]] = found
    return halved(whole)


def _coarser(finer: zarr.Array[Any], time: int, rows: slice, cols: slice) -> NDArray[Any]:
    """Return the means of two by two cells of a finer zoom."""
    return halved(np.asarray(finer[time, :, 2 * rows.start : 2 * rows.stop, 2 * cols.start : 2 * cols.stop]))


def stored_basis(view: MapView, label: str) -> Pca | None:
    """Read the basis of a model's preview; None where there is none."""
    if f"{label}/{PREVIEW}/{_BASIS[0].name}" not in view.document.metadata:
        return None
    return Pca(**{one.name: np.asarray(view.array(f"{label}/{PREVIEW}/{one.name}")[...]) for one in _BASIS})
