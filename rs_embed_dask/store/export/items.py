"""The grids of a run as fields, one per model and item, so that they are written as those of maps are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.store.accessor import RunAccessor
from rs_embed_dask.store.document import ITEMS, MAP, Location, kind_of
from rs_embed_dask.store.export.fields import MapField, fields_of
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.reader import open_store, tree_of
from rs_embed_dask.store.tables import model_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.store.document import Target

__all__ = ["any_fields", "any_tree", "file_safe", "is_run"]


def any_tree(source: xr.DataTree | Target) -> xr.DataTree:
    """Return a run or a map as a tree: itself, or the store at a path."""
    if isinstance(source, xr.DataTree):
        return tree_of(source) if is_run(source) else source
    is_map = kind_of(Location.of(source, read_only=True)) == MAP
    return open_map(source) if is_map else open_store(source)


def is_run(tree: xr.DataTree) -> bool:
    """Whether a tree holds items; else it is a map."""
    return ITEMS in tree.children


def file_safe(name: str) -> str:
    """Return a name that a file may have: what is neither letter, digit, dot, hyphen nor underscore becomes one."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "item"


def any_fields(
    tree: xr.DataTree,
    model: str | Sequence[str] | None = None,
    group: str | None = None,
    *,
    span: int | None = None,
) -> list[MapField]:
    """List the fields of a map, or the grids of a run, whose groups are the ids of its items."""
    if not is_run(tree):
        return fields_of(tree, model, group, span=span)
    if span is not None:
        reason, fix = "the items of a run have one span each", "choose an item by group=ID"
        raise SpecError("span", value=span, reason=reason, fix=fix)
    ids = [str(one) for one in tree[ITEMS]["id"].to_numpy()]
    if group is not None and group not in ids:
        raise UnknownNameError.among("item", group, ids)
    labels = [label for label in model_labels(tree, model) if "y" in tree[label]["embedding"].dims]
    fields = [one for label in labels for one in _grids(tree, label, ids, group)]
    if not fields:
        reason, fix = "no item has a grid", "run the request with OutputSpec.grid(), or export vectors"
        raise SpecError("run", value=", ".join(tree.children), reason=reason, fix=fix)
    return fields


def _grids(tree: xr.DataTree, label: str, ids: list[str], group: str | None) -> list[MapField]:
    node: Any = tree[label]
    run, items = RunAccessor(tree), tree[ITEMS]
    shapes = node["grid_shape"].to_numpy()
    transforms, systems = node["transform"].to_numpy(), node["crs"].to_numpy()
    start, end = (items[name].to_numpy().astype("M8[D]") for name in ("start", "end"))
    facts = run.facts(label)
    made_by: dict[str, Any] = {"request": run.request, "receipt": run.receipt, "model": facts.get("model", {})}
    fields = []
    for row in np.flatnonzero(shapes[:, 0] > 0).tolist():
        if group is not None and ids[row] != group:
            continue
        height, width = (int(side) for side in shapes[row])
        vectors = node["embedding"][row, :, :height, :width]
        a, b, c, d, e, f = (float(one) for one in transforms[row])
        days = start[row].item(), end[row].item()
        where = str(systems[row]), (a, b, c, d, e, f)
        fields.append(MapField(label, ids[row], row, *days, vectors, *where, facts, made_by, None))
    return fields
