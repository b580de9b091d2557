"""The items and vectors of runs as tables and matrices, and where they lie."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import RsEmbedError, StoreError
from rs_embed_dask.store.columns import SPAN
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.layout import EMBEDDED
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import label_columns, place_index, vector_labels

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


__all__ = ["EARTH_M", "is_embedded", "items_of", "needed", "runs_of", "sphere_m", "vectors_of"]

EARTH_M: Final = 6_371_008.8
"""The mean radius of the Earth, in metres."""


def needed(module: str, extra: str = "analysis") -> ModuleType:
    """Import a module of an extra, or say in one sentence how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = {"sklearn": "scikit-learn"}.get(module.partition(".")[0], module.partition(".")[0])
        fix = f"pip install 'rs-embed-dask[{extra}]'"
        raise RsEmbedError(extra, reason=f"{name} is not installed", fix=fix) from error


def runs_of(runs: Any) -> dict[str, tuple[xr.DataTree, str]]:
    """Name every model of one run, of several, or of a mapping of names to runs: its run and its label there.

    A label that several runs have is named after its run: ``name/label``.
    """
    if isinstance(runs, Mapping) and not isinstance(runs, xr.DataTree):  # a tree is a mapping too
        named = {str(name): tree_of(run) for name, run in runs.items()}
    else:
        listed = list(runs) if isinstance(runs, Sequence) and not isinstance(runs, str) else [runs]
        named = {str(number): tree_of(run) for number, run in enumerate(listed, 1)}
    pairs = [(name, label) for name, tree in named.items() for label in vector_labels(tree)]
    labels = [label for _, label in pairs]
    return {label if labels.count(label) == 1 else f"{name}/{label}": (named[name], label) for name, label in pairs}


def items_of(tree: xr.DataTree) -> pd.DataFrame:
    """Return one row per item, indexed by id and span: lon, lat, start, end, then the columns of the places."""
    import pandas as pd

    items = tree[ITEMS]
    own: dict[str, Any] = {name: np.asarray(items[name].to_numpy(), "float64") for name in ("lon", "lat")}
    own |= {name: np.asarray(items[name].to_numpy(), "datetime64[ns]") for name in ("start", "end")}
    columns = {name: values for name, values in label_columns(tree).items() if name not in {*own, SPAN}}
    return pd.DataFrame(own | columns, index=place_index(tree))


def is_embedded(tree: xr.DataTree, label: str) -> NDArray[np.bool_]:
    """Say which items have a vector; (n,)."""
    codes = [int(code) for code in EMBEDDED]
    return np.isin(np.asarray(tree[label]["status"].to_numpy(), dtype="int64"), codes)


def vectors_of(tree: xr.DataTree, label: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Read vectors of a model, of all items or of these rows; (n, dim), NaN where an item has none."""
    field = tree[label]["embedding"]
    if field.ndim != 2:  # noqa: PLR2004 - (item, dim)
        fix = "give a run with one vector per item, as OutputSpec.pooled() makes it"
        raise StoreError("model", value=label, reason="it holds a grid per item", fix=fix)
    return np.asarray((field if rows is None else field.isel(item=rows)).to_numpy(), dtype="float32")


def sphere_m(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place longitudes and latitudes on a sphere, in metres from its centre; (n, 3).

    Straight distances between such points order as those on the ground do, across poles and antimeridian too.
    """
    east, north = np.radians(lon), np.radians(lat)
    unit = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)
    return EARTH_M * unit
