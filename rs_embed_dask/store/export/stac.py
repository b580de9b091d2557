"""Maps and runs as STAC: a collection per model, an item per block, or place, and span."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import (
    HALF_TURN,
    POLE,
    UTM_NORTH_LIMIT,
    UTM_SOUTH_LIMIT,
    WGS84,
    project,
    side_text,
    split_at_antimeridian,
    unwrapped,
)
from rs_embed_dask.store.conventions import proj_attrs
from rs_embed_dask.store.document import Location, explained
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.items import any_tree, is_run
from rs_embed_dask.store.export.stac_items import EXTENSIONS, ZARR, bbox_of, collection_of, place_items, times_of
from rs_embed_dask.store.tables import model_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.export.fields import MapField, Window

__all__ = ["EXTENSIONS", "to_stac"]

_ZONE: Final = re.compile(r"utm(\d\d)")
_POLES: Final = {"ups_n": POLE, "ups_s": -POLE}


def to_stac(
    source: xr.DataTree | Target,
    path: str | Path | None = None,
    *,
    href: str | None = None,
    license: str = "other",  # noqa: A002 - STAC's own word
    model: str | Sequence[str] | None = None,
) -> pystac.Catalog:
    """Describe a map or a run as a STAC catalogue: a collection per model, an item per block or place, and span.

    Parameters
    ----------
    source : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path; or a run, or a store's path.
    path : path, optional
        A folder to write the catalogue to, whose links are then relative.
    href : str, optional
        Where readers find the store, for the assets; default `source` where it is a path or URL. A run in memory
        needs it.
    license : str, default "other"
        The SPDX identifier of the terms on which the embeddings are given. They follow from the terms of the imagery
        and of the model's weights, so only you can tell.
    model : str or list of str, optional
        The models to describe; default all.

    Returns
    -------
    pystac.Catalog
        Each item has the footprint of its block or place, the span, ``emb:`` fields, those of ``proj:`` where it is a
        grid, and an asset ``embeddings``: the Zarr group, with what to take of it in its description.

    Raises
    ------
    SpecError
        If there is no `href`, or the map was cropped across blocks.
    StoreError
        If the map cannot be read, or the catalogue cannot be written.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> catalogue = rs.to_stac("county.zarr", "stac", license="CC-BY-4.0")  # doctest: +SKIP
    """
    tree = any_tree(source)
    place = href or (None if source is tree else _href(source))
    if place is None:
        reason, fix = "a run or map in memory has no address", "give href=, where its store is found"
        raise SpecError("href", value=href, reason=reason, fix=fix)
    what = "runs" if is_run(tree) else "maps"
    catalogue = pystac.Catalog(what, "Embeddings by remote-sensing foundation models")
    for collection in _collections(tree, model, place.rstrip("/"), terms=license):
        if collection is not None:
            catalogue.add_child(collection)
    if path is not None:
        folder = str(Path(path).expanduser().absolute())
        with explained("export", folder, "check that its folder can be written, and the disk's space"):
            catalogue.normalize_and_save(folder, pystac.CatalogType.SELF_CONTAINED)
    return catalogue


def _collections(
    tree: xr.DataTree, model: str | Sequence[str] | None, place: str, *, terms: str
) -> Iterator[pystac.Collection | None]:
    if is_run(tree):
        yield from (place_items(tree, label, place, terms=terms) for label in model_labels(tree, model))
        return
    for _, fields in groupby(fields_of(tree, model), key=lambda one: one.label):
        yield _collection(list(fields), place, terms)


def _href(source: Any) -> str | None:
    location = Location.of(source, read_only=True)
    return location.name if location.is_portable else None


def _collection(fields: Sequence[MapField], place: str, terms: str) -> pystac.Collection | None:
    """Describe one model's maps; None where no block has a vector."""
    items = [_item(one, place, block) for one in fields for block in one.blocks()]
    if not items:
        return None
    first = fields[0]
    described = f"{first.dim} dimensions per token of {side_text(first.token_m, first.crs)}"
    return collection_of(first.label, described, items, facts=_embedding(first), links=first.attrs, terms=terms)


def _embedding(field: MapField) -> dict[str, Any]:
    """Return the fields of the embeddings extension, as the map's own conventions have them."""
    attrs = field.attrs
    facts = {"emb:type": attrs["geoemb:type"], "emb:dimensions": int(attrs["geoemb:dimensions"])}
    facts |= {"data_type": attrs["geoemb:data_type"], "gsd": field.token_m}
    for name in ("chip_layout", "quantization"):
        if f"geoemb:{name}" in attrs:
            facts[f"emb:{name}"] = {k: v for k, v in attrs[f"geoemb:{name}"].items() if k != "scale"}
    return facts


def _item(field: MapField, place: str, block: tuple[int, int, Window]) -> pystac.Item:
    row, col, (rows, cols) = block
    width, _, left, _, height, top = field.transform
    where = (width, 0.0, left + cols.start * width, 0.0, height, top + rows.start * height)
    shape = rows.stop - rows.start, cols.stop - cols.start
    outline = shapely.orient_polygons(_outline(field, where, shape))
    start, end = times_of(field.start, field.end)
    model = field.made_by.get("model", {})
    told = {name: model.get(name) for name in ("window", "stride")}
    told |= {"positions": field.positions or None, "random_weights": field.is_random or None}
    properties = _embedding(field) | proj_attrs(field.crs) | {"proj:transform": list(where), "proj:shape": list(shape)}
    item = pystac.Item(
        f"{field.label}_{field.group}_{field.start}_{row}_{col}",
        geometry=shapely.geometry.mapping(outline),
        bbox=bbox_of(outline),
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties=properties | {"emb:runtime_parameters": {k: v for k, v in told.items() if v is not None}},
        stac_extensions=list(EXTENSIONS),
    )
    described = f"rows {row * shape[0]}:{(row + 1) * shape[0]}, columns {col * shape[1]}:{(col + 1) * shape[1]}"
    asset = pystac.Asset(
        f"{place}/{field.label}/{field.group}",
        title=f"embedding by {field.label}",
        description=f"{described} of embedding (time, dim, y, x) at time {field.start}",
        media_type=ZARR,
        roles=["data", "embeddings"],
    )
    item.add_asset("embeddings", asset)
    return item


def _outline(field: MapField, transform: tuple[float, ...], shape: tuple[int, int]) -> shapely.Geometry:
    """Outline a block in longitude and latitude: the part of its square that its zone owns."""
    width, _, left, _, height, top = transform
    square = shapely.box(left, top + shape[0] * height, left + shape[1] * width, top)
    pole = _POLES.get(field.group)
    if pole is not None:
        at = project(WGS84, field.crs, [0.0], [pole])
        if square.covers(shapely.Point(at[0][0], at[1][0])):
            corners = np.asarray(square.exterior.coords)
            _, lat = project(field.crs, WGS84, corners[:, 0], corners[:, 1])
            edge = float(np.copysign(np.abs(lat).min(), pole))
            return shapely.box(-HALF_TURN, min(edge, pole), HALF_TURN, max(edge, pole))
    whole = unwrapped(square, field.crs, "block")
    zone = _ZONE.fullmatch(field.group)
    if zone is None:
        return split_at_antimeridian(shapely.intersection(whole, shapely.box(-540, -POLE, 540, POLE)))
    west = 6.0 * int(zone[1]) - 186.0
    turn = 360.0 * round((west + 3.0 - float(whole.centroid.x)) / 360.0)
    moved = shapely.transform(whole, lambda xy: xy + np.array([turn, 0.0]))
    part = shapely.intersection(moved, shapely.box(west, UTM_SOUTH_LIMIT, west + 6.0, UTM_NORTH_LIMIT))
    return moved if part.is_empty else part
