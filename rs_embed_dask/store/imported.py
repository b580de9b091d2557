"""An export of rs-embed as a store: the same places, spans and vectors, for tables, pictures and comparisons."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.specs import BBox, PointBuffer, TemporalSpec, spatial_from_dict
from rs_embed_dask.store.document import Location
from rs_embed_dask.store.export.payload import sanitised
from rs_embed_dask.store.layout import ChunkResult, Item, ModelLayout, Status
from rs_embed_dask.store.lease import leased
from rs_embed_dask.store.loaded import load_export
from rs_embed_dask.store.reader import open_store
from rs_embed_dask.store.receipt import build_receipt, plain
from rs_embed_dask.store.store import Store

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.loaded import ExportResult, ModelResult

__all__ = ["import_export"]

_CHUNK_BYTES: Final = 2**26
_MOST_ROWS: Final = 256


def import_export(
    path: str | PathLike[str], out: Target, *, temporal: TemporalSpec | Sequence[TemporalSpec] | None = None
) -> xr.DataTree:
    """Turn an export of rs-embed into a store.

    Parameters
    ----------
    path : path
        The ``.npz``, ``.nc`` or ``.json`` of a combined export, or a folder with a file per item; see `load_export`.
    out : path or URL
        The store to create.
    temporal : TemporalSpec or list of them, optional
        The span, or one for each item, where the export does not state it.

    Returns
    -------
    xarray.DataTree
        As `open_store` returns it: ``/items`` and a group per model. An item without a vector, or of whose vector a
        number is missing or infinite, has the status ``no_data``, and the export's error as its reason. A model without
        any vector is left out: a warning names it with the export's error, and so does the request of the store
        (``imported``, ``left_out``). Saved inputs are left out. Grids have no coordinates: an export does not state
        where they lie.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_export`.
    StoreError
        If the export states no span and `temporal` is not given, a place is unknown, no model has a vector, or the
        store cannot be written or is there already.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> old = rs.import_export("old.npz", "old.zarr")  # doctest: +SKIP
    >>> print(rs.compare(old, "new.zarr"))  # doctest: +SKIP
    """
    loaded = load_export(path)
    rows = [row for row, place in enumerate(loaded.spatials) if place]
    spans = _spans(loaded, temporal)
    ids = [str(one) for one in loaded.manifest.get("ids") or range(loaded.n_items)]
    items = [Item(n, _place(loaded.spatials[row]), spans[row], ids[row]) for n, row in enumerate(rows)]
    models = {sanitised(name): one for name, one in loaded.models.items() if _has(one.embeddings).any()}
    left_out = {
        name: _why_none(one, _errors(loaded.manifest, name))
        for name, one in loaded.models.items()
        if sanitised(name) not in models
    }
    told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    if not items or not models:
        reason = f"no model has a vector; {told}" if items else "it has no item with a place"
        raise StoreError("export", value=str(path), reason=reason, fix="check the export's manifest")
    layouts = [_layout(label, one) for label, one in models.items()]
    chunk = min(_MOST_ROWS, *(max(1, _CHUNK_BYTES // (4 * one.embeddings[0].size)) for one in models.values()))  # type: ignore[index]
    request = _request(loaded, models, left_out)
    receipt = build_receipt(request, weights={label: {"official": False} for label in models})
    with leased(Location.of(out)):
        store = Store.create(out, items=items, models=layouts, request=request, chunk_items=chunk, receipt=receipt)
        for label, one in models.items():
            _fill(store, label, one, rows=rows, errors=_errors(loaded.manifest, one.name))
    if left_out:
        warnings.warn(f"models without a vector were left out: {told}", UserWarning, stacklevel=2)
    return open_store(out)


def _has(embeddings: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Say which items have what can be used: every number of a vector, or any of a grid; (n,)."""
    if embeddings is None:
        return np.zeros(0, bool)
    finite = np.isfinite(embeddings).reshape(len(embeddings), -1)
    return np.asarray(finite.any(axis=1) if embeddings.ndim > len("nd") else finite.all(axis=1))


def _why_none(one: ModelResult, errors: Mapping[int, str]) -> str:
    """Say why a model has no vector."""
    blank = "numbers of every vector are missing or infinite"
    usual = "no item has one, or they differ in shape" if one.embeddings is None else blank
    return one.error or next(iter(errors.values()), usual)


def _place(place: Mapping[str, Any]) -> Any:
    if "type" in place:
        return spatial_from_dict(place)
    kind = next((kind for kind, name in ((BBox, "minlon"), (PointBuffer, "lon")) if name in place), None)
    if kind is None:
        fix = "check the export's manifest"
        raise StoreError("place", value=dict(place), reason="it is neither a box nor a point", fix=fix)
    return kind.from_dict(place)


def _spans(loaded: ExportResult, given: TemporalSpec | Sequence[TemporalSpec] | None) -> list[TemporalSpec]:
    stated = loaded.manifest.get("temporals")
    if given is None and stated is None:
        stated = loaded.temporal and [loaded.temporal] * loaded.n_items
    if given is not None:
        listed = [given] * loaded.n_items if isinstance(given, TemporalSpec) else list(given)
    elif stated is not None:
        listed = [TemporalSpec.from_dict({k: v for k, v in one.items() if v is not None}) for one in stated]
    else:
        raise StoreError("temporal", reason="the export does not state its span", fix="give temporal=")
    if len(listed) != loaded.n_items:
        reason = f"the export has {loaded.n_items} items"
        raise StoreError("temporal", value=len(listed), reason=reason, fix="give one span, or one for each item")
    return listed


def _layout(label: str, one: ModelResult) -> ModelLayout:
    shape = np.asarray(one.embeddings).shape
    grid = (int(shape[2]), int(shape[3])) if len(shape) > len("nd") else None
    return ModelLayout(label, int(shape[1]), grid, attrs={"imported": "rs-embed", "name": one.name})


def _request(loaded: ExportResult, models: Mapping[str, ModelResult], left_out: Mapping[str, str]) -> dict[str, Any]:
    manifest = loaded.manifest
    told = {name: manifest.get(name) for name in ("created_at", "package_version", "backend", "device")}
    request: dict[str, Any] = plain(
        {
            "models": [{"label": label, "id": one.name} for label, one in models.items()],
            "output": manifest.get("output"),
            "provider": {"name": str(manifest.get("backend") or "unknown"), "rebuild": False},
            "imported": {"layout": loaded.layout, "left_out": dict(left_out)} | told,
        }
    )
    return request


def _fill(store: Store, label: str, one: ModelResult, *, rows: Sequence[int], errors: Mapping[int, str]) -> None:
    """Write a model's vectors chunk by chunk."""
    layout, vectors = store.layout(label), np.asarray(one.embeddings)
    for chunk in range(store.n_chunks):
        first, stop = store.span(chunk)
        taken = list(rows[first:stop])
        block = vectors[taken]
        has, some = _has(block), np.isfinite(block).reshape(len(block), -1).any(axis=1)
        usual = np.where(some, "numbers of the export's vector are missing or infinite", "the export has no vector")
        told = zip(taken, has, usual, strict=True)
        reasons = ["" if there else errors.get(row, str(why)) for row, there, why in told]
        count = len(taken)
        result = ChunkResult(
            rows=np.arange(count),
            status=np.where(has, int(Status.OK), int(Status.NO_DATA)).astype("uint8"),
            embedding=[vector if there else None for vector, there in zip(block, has, strict=True)],
            reason=reasons,
        )
        if layout.grid_shape is not None:
            result.transform, result.crs = np.full((count, 6), np.nan), [""] * count
        store.write_chunk(chunk, label, result)


def _errors(manifest: Mapping[str, Any], name: str) -> dict[int, str]:
    """Return what a combined export says of the items without a vector."""
    entries = [one for one in manifest.get("models") or [] if one.get("model") == name]
    return {int(row): str(text) for one in entries for row, text in (one.get("errors_by_index") or {}).items()}
