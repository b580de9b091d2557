"""Exports of rs-embed, and those that this package writes in its layouts, read back."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.store.export.payload import ENDINGS, sanitised, state_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ExportResult", "ModelResult", "load_export"]

_ENDINGS: Final = (*ENDINGS.values(), ".netcdf")


@dataclass
class ModelResult:
    """What an export has of one model.

    Parameters
    ----------
    name : str
        The model.
    status : {"ok", "partial", "failed"}
        Whether all items have a vector.
    embeddings : ndarray of float32, optional
        (n, D) or (n, D, h, w), NaN for an item without one; None where no item has any.
    inputs : ndarray of float32, optional
        (n, C, H, W), where inputs were saved.
    meta : list of dict
        One per item; empty for one that failed.
    error : str, optional
        Why no item has a vector.

    Examples
    --------
    >>> ModelResult("rcf", "failed", None, None, [], "no imagery").status
    'failed'
    """

    name: str
    status: str
    embeddings: NDArray[np.float32] | None
    inputs: NDArray[np.float32] | None
    meta: list[dict[str, Any]]
    error: str | None = None


@dataclass
class ExportResult:
    """An export in memory.

    Parameters
    ----------
    layout : {"combined", "per_item"}
        How it was laid out.
    spatials : list of dict
        The place of each item.
    temporal : dict, optional
        The span of all items.
    n_items : int
        Number of items.
    status : {"ok", "partial", "failed"}
        Whether all models have a vector for each item.
    models : dict of str to ModelResult
        By name.
    manifest : dict
        The run's manifest, or the first item's.

    Examples
    --------
    >>> ExportResult("combined", [], None, 0, "ok", {}, {}).ok_models
    []
    """

    layout: str
    spatials: list[dict[str, Any]]
    temporal: dict[str, Any] | None
    n_items: int
    status: str
    models: dict[str, ModelResult] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def embedding(self, model: str) -> NDArray[np.float32]:
        """Return a model's vectors.

        Parameters
        ----------
        model : str
            One of `models`.

        Returns
        -------
        ndarray of float32
            (n, D) or (n, D, h, w).

        Raises
        ------
        KeyError
            If the export has no such model.
        ValueError
            If no item has a vector.
        """
        if model not in self.models:
            message = f"the export has no model {model!r}; it has {', '.join(sorted(self.models))}"
            raise KeyError(message)
        one = self.models[model]
        if one.embeddings is None:
            message = f"{model} has no embeddings (status {one.status}): {one.error}"
            raise ValueError(message)
        return one.embeddings

    @property
    def ok_models(self) -> list[str]:
        """Models with a vector for each item."""
        return [name for name, one in self.models.items() if one.status == "ok"]

    @property
    def failed_models(self) -> list[str]:
        """Models without any vector."""
        return [name for name, one in self.models.items() if one.status == "failed"]


def load_export(path: str | os.PathLike[str]) -> ExportResult:
    """Read what `export_batch` wrote, here or in rs-embed.

    Parameters
    ----------
    path : path
        The ``.npz``, ``.nc`` or ``.json`` of a combined export, or the folder of one with a file per item.

    Returns
    -------
    ExportResult
        With all arrays in memory. Pickled objects are refused.

    Raises
    ------
    FileNotFoundError
        If it is not there, or the manifest beside it is not.
    ValueError
        If it is no export, or two files claim one item.

    Examples
    --------
    >>> load_export("vectors.npz").embedding("prithvi")  # doctest: +SKIP
    """
    place = Path(path).expanduser()
    if not place.exists():
        message = f"there is no export at {str(place)!r}"
        raise FileNotFoundError(message)
    return _per_item(place) if place.is_dir() else _combined(place)


def _combined(path: Path) -> ExportResult:
    if path.suffix == ".json":
        pairs = [path.with_suffix(ending) for ending in _ENDINGS if path.with_suffix(ending).exists()]
        if not pairs:
            message = f"{str(path)!r} has no .npz or .nc file of the same name beside it"
            raise FileNotFoundError(message)
        path = pairs[0]
    manifest, arrays = _manifest(path.with_suffix(".json")), _arrays(path)
    count = int(manifest.get("n_items", 0))
    entries = [one for one in manifest.get("models") or [] if isinstance(one, dict)]
    models = {str(entry.get("model", "")): _model(entry, arrays, count) for entry in entries}
    spatials, temporal = list(manifest.get("spatials") or []), manifest.get("temporal") or None
    return ExportResult("combined", spatials, temporal, count, str(manifest.get("status", "ok")), models, manifest)


def _model(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], count: int) -> ModelResult:
    name, metas = str(entry.get("model", "")), list(entry.get("metas") or [])
    kept = [metas[row] if row < len(metas) and isinstance(metas[row], dict) else {} for row in range(count)]
    embeddings, inputs = (
        _rows(entry.get(part) or {}, arrays, f"{key}__{sanitised(name)}", count)
        for part, key in (("embeddings", "embeddings"), ("inputs", "inputs_bchw"))
    )
    error = entry.get("error") or next(iter((entry.get("errors_by_index") or {}).values()), None)
    status = str(entry.get("status", "failed"))
    return ModelResult(name, status, embeddings, inputs, kept, str(error) if error and embeddings is None else None)


def _rows(
    entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], usual: str, count: int
) -> NDArray[np.float32] | None:
    """Return the rows of one part: stored together, or one by one under their numbers."""
    key = entry.get("npz_key") or usual
    listed = [one for one in entry.get("npz_keys") or [] if one in arrays]
    numbers = entry.get("indices")
    if key in arrays:
        together = np.asarray(arrays[key], np.float32)
        if len(together) == count:
            return together
        return _stacked(dict(zip(numbers or [], together, strict=False)), count)
    rows = numbers if numbers and len(numbers) == len(listed) else [_number(one, n) for n, one in enumerate(listed)]
    return _stacked({row: arrays[one] for row, one in zip(rows, listed, strict=True)}, count)


def _number(key: str, place: int) -> int:
    """Return the row in a key such as ``embedding__prithvi__00012``."""
    tail = key.rpartition("__")[2]
    return int(tail) if tail.isdecimal() else place


def _stacked(rows: Mapping[int, NDArray[Any]], count: int) -> NDArray[np.float32] | None:
    """Stack rows of one shape, NaN for those that are missing; None where there are none, or shapes differ."""
    shapes = {one.shape for one in rows.values()}
    if len(shapes) != 1 or not all(0 <= row < count for row in rows):
        return None
    stacked = np.full((count, *shapes.pop()), np.nan, np.float32)
    for row, one in rows.items():
        stacked[row] = one
    return stacked


def _per_item(folder: Path) -> ExportResult:
    items: dict[int, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(one for one in folder.iterdir() if one.suffix in _ENDINGS):
        if not path.with_suffix(".json").exists():
            continue
        manifest = _manifest(path.with_suffix(".json"))
        number = _item_number(manifest, path.stem)
        if number is None:
            continue
        if number in items:
            message = f"{items[number][0].name} and {path.name} both claim item {number}; remove one of them"
            raise ValueError(message)
        items[number] = path, manifest
    if not items:
        message = f"{str(folder)!r} has no .npz or .nc file of an item with its .json beside it"
        raise ValueError(message)
    return _joined(items)


def _item_number(manifest: Mapping[str, Any], stem: str) -> int | None:
    number = manifest.get("point_index")
    if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        return number
    return int(stem[1:]) if stem[:1] == "p" and stem[1:].isdecimal() else None


def _joined(items: Mapping[int, tuple[Path, dict[str, Any]]]) -> ExportResult:
    count = max(items) + 1
    spatials: list[dict[str, Any]] = [{} for _ in range(count)]
    parts: defaultdict[str, list[tuple[int, Mapping[str, Any], dict[str, Any]]]] = defaultdict(list)
    for number, (path, manifest) in sorted(items.items()):
        spatials[number] = manifest.get("spatial") or {}
        arrays = _arrays(path)
        for entry in manifest.get("models") or []:
            key = sanitised(str(entry.get("model", "")))
            found = {
                part: arrays.get((entry.get(part) or {}).get("npz_key") or f"{usual}__{key}")
                for part, usual in (("embedding", "embedding"), ("input", "input_chw"))
            }
            parts[str(entry.get("model", ""))].append((number, entry, found))
    models = {name: _of_items(name, rows, count) for name, rows in parts.items() if name}
    first = items[min(items)][1]
    status = state_of([{"status": one.status} for one in models.values()])
    return ExportResult("per_item", spatials, first.get("temporal") or None, count, status, models, first)


def _of_items(name: str, rows: Sequence[tuple[int, Mapping[str, Any], dict[str, Any]]], count: int) -> ModelResult:
    meta: list[dict[str, Any]] = [{} for _ in range(count)]
    for number, entry, _ in rows:
        meta[number] = entry.get("meta") or {}
    embeddings, inputs = (
        _stacked({number: found[part] for number, _, found in rows if found[part] is not None}, count)
        for part in ("embedding", "input")
    )
    status = state_of([entry for _, entry, _ in rows])
    errors = [str(entry["error"]) for _, entry, _ in rows if entry.get("error")]
    return ModelResult(name, status, embeddings, inputs, meta, errors[0] if errors and status == "failed" else None)


def _manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        message = f"the export has no manifest {str(path)!r}"
        raise FileNotFoundError(message)
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        message = f"the manifest {str(path)!r} is not JSON: {error}"
        raise ValueError(message) from error
    if not isinstance(manifest, dict):
        message = f"the manifest {str(path)!r} is not a JSON object"
        raise ValueError(message)  # noqa: TRY004 - rs-embed raises it too
    return manifest


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    if path.suffix not in _ENDINGS:
        message = f"{path.name} is none of .npz, .nc and .json"
        raise ValueError(message)
    with xr.open_dataset(path) as data:
        return {str(key): one.to_numpy() for key, one in data.data_vars.items()}
