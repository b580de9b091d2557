"""One model's fields of a map together with the store that they are in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.store import MapStore, request_digest
from rs_embed_dask.store.export.fields import fields_of, map_tree
from rs_embed_dask.store.map_layout import NO_CODE
from rs_embed_dask.store.map_reader import SOURCE

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from rs_embed_dask.store import Target
    from rs_embed_dask.store.export.fields import MapField

__all__ = ["MapSource", "stored_window"]


@dataclass(frozen=True, eq=False)
class MapSource:
    """The fields of one model of a map, and the store that they are in."""

    view: MapStore
    fields: tuple[MapField, ...]

    @classmethod
    def of(cls, source: xr.DataTree | Target, label: str, span: int | None = None) -> Self:
        """Choose a model's fields. Raises SpecError where the tree does not say where its store is."""
        tree = map_tree(source)
        if SOURCE not in tree.encoding:
            fix = "give what compute_map or open_map returned, or the map's path"
            raise SpecError("map", value=label, reason="the tree does not say which store it is of", fix=fix)
        return cls(MapStore.open(tree.encoding[SOURCE]), tuple(fields_of(tree, label, span=span)))

    @property
    def label(self) -> str:
        """The model."""
        return self.fields[0].label

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these vectors, as the map has them now, from all others."""
        places = [[one.group, str(one.start), list(one.transform), list(one.shape)] for one in self.fields]
        done = {code.name: count for code, count in self.view.counts()[self.label].items()}
        known = {"map": request_digest(self.view.request), "updated": self.view.document.updated, "model": self.label}
        return known | {"fields": places, "blocks": done}

    def place(self, number: int, rows: slice, cols: slice) -> dict[str, Any]:
        """Return where a window of a field lies in the store, as `stored_window` takes it."""
        field = self.fields[number]
        assert field.status is not None
        first = [int(field.status[name][0]) * field.side for name in ("block_row", "block_column")]
        down, across = (slice(edge + one.start, edge + one.stop) for edge, one in zip(first, (rows, cols), strict=True))
        return {"path": f"{self.label}/{field.group}", "time": field.time, "at": (down, across)}


def stored_window(view: MapStore, *, path: str, time: int, at: tuple[slice, slice]) -> NDArray[np.float32]:
    """Read a window from a store, no more than the chunks that it touches; (dim, rows, columns)."""
    stored = np.asarray(view.array(f"{path}/embedding")[time, :, *at])
    values = stored.astype(np.float32)
    if stored.dtype != np.int8:
        return values
    scale = np.asarray(view.array(f"{path}/scale")[time, *at]).astype(np.float32)
    return np.where(stored == NO_CODE, np.float32(np.nan), values * scale)
