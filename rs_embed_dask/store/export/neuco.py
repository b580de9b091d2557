"""A model's vectors as the CSV of NeuCo-Bench: ``id``, then one column per dimension."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.export.whole import whole_file
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import vector_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from rs_embed_dask.store.document import Target

__all__ = ["to_neuco_csv"]

_ROWS: Final = 1024
_NAMED: Final = 5
_DIGITS: Final = "%.9g"  # enough to read the same float32 back


def to_neuco_csv(run: xr.DataTree | Target, path: str | Path, *, model: str | Sequence[str] | None = None) -> Path:
    """Write a model's vectors as NeuCo-Bench reads them, chunk by chunk.

    Parameters
    ----------
    run : DataTree, path or URL
        What `compute_embeddings` returned, or a store.
    path : path
        The file to write.
    model : str, optional
        The model; needed where the run has several with vectors.

    Returns
    -------
    Path
        The file: ``id``, then columns ``0`` to ``D - 1``, in the order of the items. An item without a vector is left
        out, with a warning.

    Raises
    ------
    StoreError
        If the run cannot be read, the file cannot be written, two items have one id, or the model is not one with
        vectors.
    UnknownNameError
        If there is no such model.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.to_neuco_csv("run.zarr", "run.csv", model="rcf")  # doctest: +SKIP
    """
    tree = tree_of(run)
    labels = vector_labels(tree, model)
    if len(labels) != 1:
        fix = f"give model= one of {', '.join(labels)}"
        raise StoreError("model", value=model, reason="the file holds one model", fix=fix)
    ids = pd.Index([str(one) for one in tree[ITEMS]["id"].to_numpy()], name="id")
    if not ids.is_unique:
        twice = str(ids[ids.duplicated()][0])
        fix = "repeat the call that made the run with one of its spans and the same out=, and export what it returns"
        raise StoreError("id", value=twice, reason="two items have this id", fix=fix)
    field: Any = tree[labels[0]]["embedding"]
    chunk = field.chunks[0][0] if field.chunks else 1
    step = chunk * max(1, _ROWS // chunk)
    absent: list[str] = []
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        for first in range(0, len(ids), step):
            rows = pd.DataFrame(field[first : first + step].to_numpy(), index=ids[first : first + step])
            has = np.isfinite(rows.to_numpy()).any(axis=1)
            absent += rows.index[~has].tolist()
            rows[has].to_csv(file, float_format=_DIGITS, header=first == 0)
    if absent:
        told = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
        warnings.warn(f"{len(absent)} items without a vector were left out: {told}", UserWarning, stacklevel=2)
    return Path(path).expanduser()
