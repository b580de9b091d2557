"""The groups and arrays of a map's store: made, and grown by spans, groups and models; nothing there ever moves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from zarr.codecs import BloscCodec

from rs_embed_dask.errors import StoreError
from rs_embed_dask.specs.ground import crs_facts
from rs_embed_dask.store.conventions import cf_attrs, map_group_attrs, map_model_attrs
from rs_embed_dask.store.document import ROOT_KEY, explained
from rs_embed_dask.store.layout import POSITIONS, Field
from rs_embed_dask.store.map_document import MapDocument
from rs_embed_dask.store.map_layout import DEGREE_AXES, MAP_COORDS
from rs_embed_dask.store.nodes import array_document, check_vacant, grow, make_array, make_group, open_array, put_array
from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.map_layout import Asked, MapGroup, MapLayout, TimeSpan

__all__ = ["claim_map", "fill_map", "keep_positions", "make_coords", "map_vacancy", "placed", "top_up"]

_SPANS_AT_ONCE: Final = 1024
_AXIS_CHUNK: Final = 2**18


def map_vacancy(location: Location) -> list[str]:
    """Make sure that a place is empty, or that the making of a map was interrupted there; list what is there."""
    names = location.names()
    begun = MapDocument.find(location) if ROOT_KEY in names else None
    check_vacant(location, names, None if begun is None else begun.is_ready)
    return names


def claim_map(location: Location) -> MapDocument:
    """Take an empty place, or one where a map was begun and never finished."""
    names = map_vacancy(location)
    begun = MapDocument().save(location)
    for name in names:
        if name != ROOT_KEY:
            location.remove(name)
    return begun


def fill_map(
    location: Location, begun: MapDocument, asked: Sequence[Asked], *, request: dict[str, Any], receipt: dict[str, Any]
) -> MapDocument:
    """Make the arrays of what is asked and mark the store as ready."""
    if not asked:
        raise StoreError("map", value=0, reason="a map holds at least one model", fix="name a model")
    document = replace(begun, request=plain(request), receipt=plain(receipt), is_ready=True)
    return _extended(location, document, asked)


def top_up(
    location: Location, old: MapDocument, asked: Sequence[Asked], *, request: dict[str, Any], receipt: dict[str, Any]
) -> MapDocument:
    """Add spans, models, groups, blocks and tables of positions, and parts of the receipt."""
    renewed = replace(old, request=plain(request), receipt=old.receipt | plain(receipt))
    return _extended(location, renewed, asked)


def keep_positions(
    location: Location, document: MapDocument, label: str, *, table: np.ndarray[Any, Any], attrs: dict[str, Any]
) -> MapDocument:
    """Write a model's table of positions, whole."""
    path = f"{document.layout(label).label}/{POSITIONS.name}"
    kept = replace(POSITIONS, attrs=dict(POSITIONS.attrs) | plain(attrs))
    metadata = document.metadata | {path: put_array(location, path, kept, values=table)}
    return replace(document, metadata=metadata).save(location)


def _extended(location: Location, old: MapDocument, asked: Sequence[Asked]) -> MapDocument:
    """Make what is new before the root document tells of it."""
    new = old.asking(asked)
    for layout in new.layouts:
        label = layout.label
        there = {one.group for one in old.groups.get(label, ())}
        if layout not in old.layouts:
            location.remove(label)
        make_group(location, label, map_model_attrs(layout, [one.group for one in new.groups[label]]))
        for group in new.groups[label]:
            if group.group not in there:
                location.remove(f"{label}/{group.group}")
                _make_map_group(location, new, layout, group=group)
            elif len(new.spans) > len(old.spans):
                _add_spans(location, new, f"{label}/{group.group}", layout=layout)
    kept = {path: one for path, one in old.metadata.items() if path.endswith(f"/{POSITIONS.name}")}
    for one in asked:
        path = f"{one.layout.label}/{POSITIONS.name}"
        if one.positions is not None and path not in kept:
            kept[path] = put_array(location, path, POSITIONS, values=one.positions)
    return replace(new, metadata=kept | dict(_metadata(location, new))).save(location)


def _make_map_group(location: Location, document: MapDocument, layout: MapLayout, *, group: MapGroup) -> None:
    path = f"{layout.label}/{group.group}"
    make_group(location, path, map_group_attrs(layout, group))
    make_coords(location, path, group, spans=document.spans)
    for one in layout.fields:
        make_array(location, f"{path}/{one.name}", placed(one), **layout.storing(one, group, len(document.spans)))


def make_coords(location: Location, path: str, group: MapGroup, *, spans: Sequence[TimeSpan]) -> None:
    """Make and fill the coordinates of arrays that lie in one projection."""
    more: dict[str, dict[str, Any]] = {"spatial_ref": cf_attrs(group.crs, group.transform)}
    more |= DEGREE_AXES if crs_facts(group.crs).degrees else {}
    for one in MAP_COORDS:
        shape = {"x": (group.shape[1],), "y": (group.shape[0],), "spatial_ref": ()}.get(one.name, (len(spans),))
        chunks = tuple(min(side, _AXIS_CHUNK) for side in shape) if one.name in {"x", "y"} else (_SPANS_AT_ONCE,)
        described = replace(one, attrs=dict(one.attrs) | more.get(one.name, {}))
        # Evenly spaced numbers: only their bytes, taken apart, are alike.
        packing = {"compressors": [BloscCodec(cname="zstd", clevel=5, shuffle="shuffle")]}
        make_array(location, f"{path}/{one.name}", described, shape=shape, chunks=chunks[: len(shape)], **packing)
    for name in ("x", "y"):
        _write(location, f"{path}/{name}", group.axis(name))
    _write_spans(location, spans, path)


def placed(one: Field) -> Field:
    """Say in which coordinates an array lies, so that xarray, rioxarray and GDAL find them."""
    names = (["time_end"] if "time" in one.dims else []) + (["spatial_ref"] if "y" in one.dims else [])
    mapping = {"grid_mapping": "spatial_ref"} if "y" in one.dims else {}
    return replace(one, attrs=dict(one.attrs) | mapping | {"coordinates": " ".join(names)})


def _add_spans(location: Location, document: MapDocument, path: str, *, layout: MapLayout) -> None:
    for one in (*MAP_COORDS, *layout.fields):
        if one.dims[:1] == ("time",):
            grow(location, f"{path}/{one.name}", len(document.spans))
    _write_spans(location, document.spans, path)


def _write_spans(location: Location, spans: Sequence[TimeSpan], path: str) -> None:
    for at, name in enumerate(("time", "time_end")):
        days = np.asarray([span[at] for span in spans], dtype="datetime64[D]")
        _write(location, f"{path}/{name}", days.astype("int64").astype("int32"))


def _write(location: Location, path: str, values: np.ndarray[Any, Any]) -> None:
    with explained("store array", f"{location.name}/{path}", "check the disk's space and that the path can be written"):
        open_array(location, path)[...] = values


def _metadata(location: Location, document: MapDocument) -> Iterator[tuple[str, dict[str, Any]]]:
    """Collect the metadata of every group and array for the root document."""
    for layout in document.layouts:
        yield layout.label, array_document(location, layout.label)
        for group in document.groups[layout.label]:
            path = f"{layout.label}/{group.group}"
            yield path, array_document(location, path)
            for one in (*MAP_COORDS, *layout.fields):
                yield f"{path}/{one.name}", array_document(location, f"{path}/{one.name}")
