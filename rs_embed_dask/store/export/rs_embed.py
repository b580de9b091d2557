"""A run in rs-embed's layouts: all items in one file, or a file per item, each with its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.store.accessor import RunAccessor
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.export.payload import (
    ENDINGS,
    array_entry,
    now,
    produced_by,
    sanitised,
    state_of,
    summary,
    write_payload,
)
from rs_embed_dask.store.layout import EMBEDDED
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import model_labels, status_names

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.store.document import Target

__all__ = ["reference_place", "to_rs_embed"]

_ROWS: Final = 256
_EMBEDDED: Final = frozenset(code.name.lower() for code in EMBEDDED)
_THEIRS: Final = {
    "BBox": ("minlon", "minlat", "maxlon", "maxlat", "crs"),
    "PointBuffer": ("lon", "lat", "buffer_m", "crs"),
}


def to_rs_embed(
    run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None, kind: str = "npz"
) -> Path:
    """Write a run as rs-embed's `export_batch` does: arrays with a JSON manifest, which `load_export` reads.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    path : path
        A file that ends in ``.npz`` or ``.nc`` for all items together, or a folder for a file per item.
    model : str or list of str, optional
        The models to write; default all.
    kind : {"npz", "netcdf"}, default "npz"
        What the files of a folder are.

    Returns
    -------
    Path
        The file or folder. Arrays: ``embeddings__MODEL`` (n, D) or (n, D, h, w), NaN for an item without a vector;
        ``embedding__MODEL__00012`` for each item where grids differ in shape, and ``embedding__MODEL`` in the file of
        an item.

    Raises
    ------
    StoreError
        If the run cannot be read, a file cannot be written, or netCDF4 is needed and not installed.
    UnknownNameError
        If there is no such model or kind.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_rs_embed("run.zarr", "run.npz")  # doctest: +SKIP
    PosixPath('run.npz')
    """
    tree, target = tree_of(run), Path(path).expanduser()
    labels = model_labels(tree, model)
    together = next((kind for kind, ending in ENDINGS.items() if target.suffix == ending), None)
    if together is None:
        _write_items(tree, labels, target, kind)
    else:
        _write_together(tree, labels, target, together)
    return target


def reference_place(text: str) -> dict[str, Any]:
    """Return a stored place with the fields that rs-embed's class has; an outline keeps ours."""
    place: dict[str, Any] = json.loads(text)
    names = _THEIRS.get(place["type"])
    return place if names is None else {name: place.get(name, "EPSG:4326") for name in names}


def _places(tree: xr.DataTree) -> list[dict[str, Any]]:
    return [reference_place(str(text)) for text in tree[ITEMS]["spatial"].to_numpy()]


def _ids(tree: xr.DataTree) -> list[str]:
    return [str(one) for one in tree[ITEMS]["id"].to_numpy()]


def _spans(tree: xr.DataTree) -> list[dict[str, Any]]:
    return [json.loads(str(text)) for text in tree[ITEMS]["temporal"].to_numpy()]


def _head(tree: xr.DataTree) -> dict[str, Any]:
    request = RunAccessor(tree).request
    provider = (request.get("provider") or {}).get("name", "")
    return {"created_at": now(), "backend": provider, "device": "", "output": request.get("output")} | produced_by()


def _write_together(tree: xr.DataTree, labels: Sequence[str], target: Path, kind: str) -> None:
    arrays: dict[str, Any] = {}
    entries = []
    for label in labels:
        entry, own = _together(tree, label)
        entries.append(entry)
        arrays |= own
    spans = _spans(tree)
    same = all(one == spans[0] for one in spans)
    manifest = _head(tree) | {
        "status": state_of(entries),
        "stage": "done",
        "n_items": len(spans),
        "spatials": _places(tree),
        "temporal": spans[0] if same else None,
        "ids": _ids(tree),
        "models": entries,
        "summary": summary(entries),
    }
    manifest |= {} if same else {"temporals": spans}
    write_payload(target, arrays, manifest, kind=kind)


def _together(tree: xr.DataTree, label: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's entry in the manifest, and its arrays."""
    states, reasons = status_names(tree, label).tolist(), [str(one) for one in tree[label]["reason"].to_numpy()]
    items = zip(_ids(tree), states, reasons, strict=True)
    has = [state in _EMBEDDED for state in states]
    failed = [row for row, one in enumerate(has) if not one]
    entry: dict[str, Any] = {
        "model": label,
        "sensor": None,
        "status": "ok" if not failed else "failed" if len(failed) == len(has) else "partial",
        "inputs": None,
        "embeddings": None,
        "metas": [_meta(label, *item) if one else None for item, one in zip(items, has, strict=True)],
    }
    if failed:
        entry["failed_indices"] = failed
        entry["errors_by_index"] = {str(row): f"{states[row]}: {reasons[row]}" for row in failed}
    arrays: dict[str, Any] = {}
    if any(has):
        entry["embeddings"], arrays = _vectors(tree, label, [row for row, one in enumerate(has) if one])
    return entry, arrays


def _meta(label: str, name: str, state: str, reason: str) -> dict[str, Any]:
    facts = {"model": label, "id": name, "status": state}
    return facts | ({"reason": reason} if reason else {})


def _vectors(tree: xr.DataTree, label: str, rows: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    field, key = tree[label]["embedding"].astype("float32"), sanitised(label)
    shapes = _shapes(tree, label)
    if shapes is None or len({shapes[row] for row in rows}) == 1:
        if shapes is not None:
            height, width = shapes[rows[0]]
            field = field[:, :, :height, :width]
        name = f"embeddings__{key}"
        return {"npz_key": name, "shape": [int(one) for one in field.shape], "dtype": "float32"}, {name: field}
    names = {f"embedding__{key}__{row:05d}": row for row in rows}
    arrays = {name: field[row, :, : shapes[row][0], : shapes[row][1]] for name, row in names.items()}
    return {"npz_keys": list(names), "indices": list(rows)}, arrays


def _shapes(tree: xr.DataTree, label: str) -> list[tuple[int, int]] | None:
    """Return the shape of every item's grid; None where there is one vector per item."""
    if "y" not in tree[label]["embedding"].dims:
        return None
    return [(int(rows), int(columns)) for rows, columns in tree[label]["grid_shape"].to_numpy()]


def _write_items(tree: xr.DataTree, labels: Sequence[str], folder: Path, kind: str) -> None:
    ids, places, spans, head = _ids(tree), _places(tree), _spans(tree), _head(tree)
    states = {label: status_names(tree, label).tolist() for label in labels}
    reasons = {label: [str(one) for one in tree[label]["reason"].to_numpy()] for label in labels}
    for row, vectors in _rows_of(tree, labels):
        arrays: dict[str, Any] = {}
        entries = []
        for label in labels:
            state, reason = states[label][row], reasons[label][row]
            has, name = state in _EMBEDDED, f"embedding__{sanitised(label)}"
            entry: dict[str, Any] = {"model": label, "status": "ok" if has else "failed", "sensor": None}
            entry |= {"input": None, "embedding": array_entry(name, vectors[label]) if has else None}
            entry["meta"] = _meta(label, ids[row], state, reason) if has else None
            if has:
                arrays[name] = vectors[label]
            else:
                entry["error"] = f"{state}: {reason}"
            entries.append(entry)
        manifest = {"point_index": row, "status": state_of(entries), "spatial": places[row], "temporal": spans[row]}
        manifest |= head | {"models": entries, "summary": summary(entries)}
        write_payload(folder / f"p{row:05d}", arrays, manifest, kind=kind)


def _rows_of(tree: xr.DataTree, labels: Sequence[str]) -> Iterator[tuple[int, Mapping[str, np.ndarray[Any, Any]]]]:
    """Go through the items with their vectors, reading a block of rows at a time."""
    shapes = {label: _shapes(tree, label) for label in labels}
    fields: dict[str, Any] = {label: tree[label]["embedding"] for label in labels}
    chunks = [one.chunks[0][0] if one.chunks else _ROWS for one in fields.values()]
    step = max(chunks, default=_ROWS)
    for first in range(0, tree[ITEMS].sizes["item"], step):
        block = {label: one[first : first + step].to_numpy().astype("float32") for label, one in fields.items()}
        for row in range(first, min(first + step, tree[ITEMS].sizes["item"])):
            own = {label: one[row - first] for label, one in block.items()}
            for label, sides in shapes.items():
                if sides is not None:
                    own[label] = own[label][:, : sides[row][0], : sides[row][1]]
            yield row, own
