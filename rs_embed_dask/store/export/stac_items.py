"""What the STAC items of maps and of runs share; and the items of a run, one per place and model."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac
import shapely

from rs_embed_dask.specs.ground import HALF_TURN
from rs_embed_dask.store.accessor import RunAccessor
from rs_embed_dask.store.conventions import proj_attrs
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import EMBEDDED
from rs_embed_dask.store.tables import outlines, status_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

__all__ = ["EXTENSIONS", "ZARR", "bbox_of", "collection_of", "place_items", "times_of"]

EXTENSIONS: Final = (
    "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
"""What items are described by, besides STAC itself."""

ZARR: Final = "application/vnd.zarr; version=3"
_EMBEDDED: Final = frozenset(code.name.lower() for code in EMBEDDED)
_LAYOUTS: Final = {"irregular": "variable_grid"}
"""Layouts of chips that the extension calls otherwise than the convention."""


def collection_of(
    label: str,
    described: str,
    items: Sequence[pystac.Item],
    *,
    facts: Mapping[str, Any],
    links: Mapping[str, Any],
    terms: str,
) -> pystac.Collection:
    """Describe a model by its items; `links` has the convention's model and source data."""
    starts, ends = ([item.properties[name] for item in items] for name in ("start_datetime", "end_datetime"))
    outline = shapely.union_all([shapely.geometry.shape(one.geometry) for one in items])
    first, last = (dt.datetime.fromisoformat(one) for one in (min(starts), max(ends)))
    extent = pystac.Extent(pystac.SpatialExtent([bbox_of(outline)]), pystac.TemporalExtent([[first, last]]))
    collection = pystac.Collection(
        label,
        f"Embeddings by {label}: {described}",
        extent,
        license=terms,
        stac_extensions=[EXTENSIONS[0]],
        extra_fields=dict(facts),
    )
    targets = {"emb:model": [links["geoemb:model"]], "emb:source-data": links["geoemb:source_data"]}
    for relation, listed in targets.items():
        collection.add_links([pystac.Link(relation, target) for target in listed])
    collection.add_items(items)
    return collection


def place_items(tree: xr.DataTree, label: str, place: str, *, terms: str) -> pystac.Collection | None:
    """Describe a model's vectors or grids of a run, one item per place that has one; None where none has."""
    facts, items, shapes = RunAccessor(tree).facts(label), tree[ITEMS], outlines(tree)
    states, ids = status_names(tree, label), items["id"].to_numpy()
    first, after = (items[name].to_numpy().astype("M8[D]") for name in ("start", "end"))
    embedding = _embedding(facts)
    listed = []
    for row in np.flatnonzero([state in _EMBEDDED for state in states]).tolist():
        where = _grid(tree[label], row)
        start, end = times_of(first[row].item(), after[row].item())
        item = pystac.Item(
            f"{label}_{row}",
            geometry=shapely.geometry.mapping(shapely.orient_polygons(shapes.iloc[row])),
            bbox=bbox_of(shapes.iloc[row]),
            datetime=None,
            start_datetime=start,
            end_datetime=end,
            properties=embedding | where | {"title": str(ids[row])},
            stac_extensions=list(EXTENSIONS if where else EXTENSIONS[:1]),
        )
        described = f"item {row} of embedding (item, dim{', y, x' if where else ''})"
        title = f"embedding by {label}"
        roles = ["data", "embeddings"]
        asset = pystac.Asset(f"{place}/{label}", title=title, description=described, media_type=ZARR, roles=roles)
        item.add_asset("embeddings", asset)
        listed.append(item)
    if not listed:
        return None
    kind = "a grid per place" if "y" in tree[label]["embedding"].dims else "one vector per place"
    described = f"{kind}, of {embedding['emb:dimensions']} dimensions"
    return collection_of(label, described, listed, facts=embedding, links=facts, terms=terms)


def _embedding(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the embeddings extension, as the store's own conventions have them."""
    told = {"emb:type": facts["geoemb:type"], "emb:dimensions": int(facts["geoemb:dimensions"])}
    told["data_type"] = facts["geoemb:data_type"]
    if "geoemb:gsd" in facts:
        told["gsd"] = float(facts["geoemb:gsd"])
    if "geoemb:chip_layout" in facts:
        layout = dict(facts["geoemb:chip_layout"])
        layout["layout_type"] = _LAYOUTS.get(layout["layout_type"], layout["layout_type"])
        told["emb:chip_layout"] = layout
    return told


def _grid(node: Any, row: int) -> dict[str, Any]:
    """Return where an item's grid lies, as the projection extension has it; nothing of a vector."""
    if "y" not in node["embedding"].dims:
        return {}
    shape = [int(side) for side in node["grid_shape"].to_numpy()[row]]
    transform = [float(one) for one in node["transform"].to_numpy()[row]]
    return proj_attrs(str(node["crs"].to_numpy()[row])) | {"proj:transform": transform, "proj:shape": shape}


def times_of(start: dt.date, end: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """Return a span's first and last second; STAC's spans include both ends."""
    first, stop = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (start, end))
    return first, stop - dt.timedelta(seconds=1)


def bbox_of(outline: shapely.Geometry) -> list[float]:
    """Return west, south, east, north; west is larger than east across 180 degrees."""
    west, south, east, north = outline.bounds
    parts = [one.bounds for one in shapely.get_parts(outline)]
    on_one_side = all(first >= 0 or last <= 0 for first, _, last, _ in parts)
    if west == -HALF_TURN and east == HALF_TURN and on_one_side:
        west = min(first for first, _, _, _ in parts if first >= 0)
        east = max(last for _, _, last, _ in parts if last <= 0)
    return [float(west), float(south), float(east), float(north)]
