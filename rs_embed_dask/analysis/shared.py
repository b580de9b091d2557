"""Models of one or several runs over the places that all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.vectors import is_embedded, items_of, runs_of, sphere_m, vectors_of
from rs_embed_dask.errors import StoreError
from rs_embed_dask.specs.base import named
from rs_embed_dask.store.tables import unfolded

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["ModelRows", "SharedPlaces", "shared_places"]

_SAME_PLACE_M: Final = 1000.0
_SENSOR: Final = "urn:rs-embed-dask:sensor:"


@dataclass(frozen=True, eq=False)
class ModelRows:
    """A model of a run, and the rows of its items there."""

    tree: xr.DataTree
    label: str
    rows: NDArray[np.int64]

    def vectors(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the vectors of these places; (n, dim)."""
        return vectors_of(self.tree, self.label, self.rows[chosen])

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.tree[self.label]["embedding"].shape[1])

    @property
    def is_embedded(self) -> NDArray[np.bool_]:
        """Whether each place has a vector; (n,)."""
        return is_embedded(self.tree, self.label)[self.rows]

    @property
    def prepared(self) -> str:
        """How its inputs were prepared, in a few words."""
        attrs = {name: unfolded(value) for name, value in self.tree[self.label].attrs.items()}
        root = {name: unfolded(value) for name, value in self.tree.attrs.items()}
        facts, receipt = attrs.get("model", {}), root.get("receipt", {})
        sensors = [str(one).removeprefix(_SENSOR) for one in attrs.get("geoemb:source_data") or () if _SENSOR in one]
        provider = root.get("request", {}).get("provider")
        source = provider.get("name") if isinstance(provider, dict) else provider
        frames = receipt.get("outputs", {}).get(self.label, {}).get("frames")
        pooling = facts.get("output", {}).get("pooling")
        weights = receipt.get("weights", {}).get(self.label) or {}
        words = (
            ", ".join(sensors),
            f"from {source}" if source else "",
            f"{attrs['geoemb:gsd']:g} m" if "geoemb:gsd" in attrs else "",
            f"frames: {frames}" if frames else "",
            f"pooled by {pooling}" if pooling else "",
            "RANDOM WEIGHTS" if weights.get("random") else "",
        )
        return "; ".join(word for word in words if word) or "the store does not say"


@dataclass(frozen=True, eq=False)
class SharedPlaces:
    """The places that all runs have, and every model's rows for them."""

    items: pd.DataFrame
    models: dict[str, ModelRows]
    alone: int = 0
    """Items that not all of the runs have."""

    @cached_property
    def complete(self) -> NDArray[np.int64]:
        """The places of which every model has a vector."""
        has = [one.is_embedded for one in self.models.values()]
        rows: NDArray[np.int64] = np.flatnonzero(np.all(has, axis=0)) if has else np.arange(len(self.items))
        return rows

    @property
    def dropped(self) -> int:
        """Shared items that a model has no vector of."""
        return len(self.items) - len(self.complete)


def shared_places(runs: Any, models: Sequence[str] | None = None) -> SharedPlaces:
    """Find the places that all runs have, by id, and by id and span where a run has several spans of a place."""
    known = runs_of(runs)
    if not known:
        raise StoreError("runs", value=runs, reason="there is no model in them", fix="give a run with vectors")
    chosen = list(known) if models is None else named("models", models, known)
    tables = {id(known[name][0]): items_of(known[name][0]) for name in chosen}
    keys = _keys(list(tables.values()))
    first, common = next(iter(tables)), _common(list(keys.values()))
    rows = {one: keys[number].get_indexer(common) for number, one in enumerate(tables)}
    items = tables[first].iloc[rows[first]]
    for one, table in tables.items():
        _check_places(items, table.iloc[rows[one]])
    found = {name: ModelRows(*known[name], rows[id(known[name][0])]) for name in chosen}
    return SharedPlaces(items, found, sum(len(table) - len(common) for table in tables.values()))


def _keys(tables: list[pd.DataFrame]) -> dict[int, pd.Index]:
    by_id = [table.index.get_level_values("id") for table in tables]
    if all(one.is_unique for one in by_id):
        return dict(enumerate(by_id))
    both = [table.index for table in tables]
    for index in both:
        if not index.is_unique:
            value, fix = str(index[index.duplicated()][0]), "give every place its own id, and every span its own label"
            raise StoreError("runs", value=value, reason="two items share an id and a span", fix=fix)
    return dict(enumerate(both))


def _common(keys: list[pd.Index]) -> pd.Index:
    common = keys[0]
    for other in keys[1:]:
        common = common[common.isin(other)]
    if not len(common):
        fix = "compute them for the same places with the same ids (ids=), and the same spans"
        raise StoreError("runs", reason="no item is in all runs", fix=fix)
    return common


def _check_places(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Refuse items with the same id that lie elsewhere: ids that only count the rows of different lists."""
    apart = np.linalg.norm(sphere_m(*_lonlat(one)) - sphere_m(*_lonlat(other)), axis=1)
    worst = int(np.argmax(apart))
    if apart[worst] > _SAME_PLACE_M:
        reason = f"two runs have it {apart[worst] / 1000:.1f} km apart"
        raise StoreError("id", value=str(one.index[worst][0]), reason=reason, fix="give a place one id in all runs")


def _lonlat(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return table["lon"].to_numpy(), table["lat"].to_numpy()
