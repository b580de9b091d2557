"""A map as fields of vectors, one per model, group and span, which are read window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dask
import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs.base import named, whole
from rs_embed_dask.specs.ground import unit_m
from rs_embed_dask.store.layout import Status
from rs_embed_dask.store.map_reader import open_map

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target

__all__ = ["MapField", "Window", "fields_of", "map_tree", "spread"]

Window = tuple[slice, slice]
"""Rows and columns of a field."""

_LARGEST_SIDE: Final = 256
_EMBEDDED: Final = (int(Status.OK), int(Status.PARTIAL))


@dataclass(frozen=True, eq=False)
class MapField:
    """One model's vectors of one group and span; they are read when asked for."""

    label: str
    group: str
    time: int
    """Number of the span."""
    start: dt.date
    end: dt.date
    """The day after the span's last."""
    vectors: xr.DataArray
    """(dim, y, x)."""
    crs: str
    transform: tuple[float, float, float, float, float, float]
    attrs: Mapping[str, Any]
    """What the group says of its vectors, by conventions."""
    made_by: Mapping[str, Any]
    """The request, the receipt and the facts of the model, as far as the map has them."""
    status: xr.DataArray | None
    """What became of the blocks (block_row, block_column), where none was cut through since."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.sizes["dim"])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return int(self.vectors.sizes["y"]), int(self.vectors.sizes["x"])

    @property
    def side(self) -> int:
        """Tokens per side of what is read at once: of a block, where the map is lazy."""
        chunks = self.vectors.chunksizes.get("y")
        return int(max(chunks)) if chunks else _LARGEST_SIDE

    @property
    def token_m(self) -> float:
        """Side of a token in metres; of one in degrees, along the equator."""
        return abs(self.transform[0]) * unit_m(self.crs)

    @property
    def is_random(self) -> bool:
        """Whether the network had random weights."""
        return bool(self._receipt("weights").get("random"))

    @property
    def positions(self) -> str:
        """What was done with the positions of the windows, in a sentence; empty where there was nothing to do."""
        return str(self._receipt("positions").get("statement", ""))

    @property
    def derived(self) -> Mapping[str, Any]:
        """What the bands are, where they were derived from a map of embeddings; empty for embeddings."""
        found: Mapping[str, Any] = self.made_by.get("model", {}).get("derived") or {}
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that the first band numbers from 0, of a map of classes."""
        return tuple(self.derived.get("classes", ()))

    def _receipt(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.made_by.get("receipt", {}).get(name, {}).get(self.label) or {}
        return found

    def windows(self, side: int | None = None) -> Iterator[Window]:
        """Go through the field row by row in squares of tokens."""
        step, (rows, cols) = side or self.side, self.shape
        for top in range(0, rows, step):
            for left in range(0, cols, step):
                yield slice(top, min(top + step, rows)), slice(left, min(left + step, cols))

    def blocks(self) -> Iterator[tuple[int, int, Window]]:
        """Go through the blocks that hold vectors: row and column in the zone, and their window.

        Raises
        ------
        SpecError
            If the map was cropped across blocks.
        """
        if self.status is None:
            fix = "give the map as compute_map or open_map returned it, or its path"
            raise SpecError("map", value=self.label, reason="it was cut, and not along its blocks", fix=fix)
        rows, cols = (self.status[name].values.tolist() for name in ("block_row", "block_column"))
        side = self.shape[0] // len(rows)
        for i, j in np.argwhere(np.isin(self.status.values, _EMBEDDED)).tolist():
            yield rows[i], cols[j], (slice(i * side, (i + 1) * side), slice(j * side, (j + 1) * side))

    def read(self, window: Window) -> NDArray[np.float32]:
        """Read a window; NaN where there is no vector; (dim, rows, columns)."""
        # In this process, whatever client is connected: a window is a few megabytes, and its pixels are wanted here.
        with dask.config.set(scheduler="synchronous"):
            return np.asarray(self.vectors[:, window[0], window[1]].values, dtype=np.float32)


def map_tree(source: xr.DataTree | Target) -> xr.DataTree:
    """Return a map as a tree: itself, or the store at a path."""
    return source if isinstance(source, xr.DataTree) else open_map(source)


def fields_of(
    tree: xr.DataTree,
    model: str | Sequence[str] | None = None,
    group: str | None = None,
    *,
    span: int | None = None,
) -> list[MapField]:
    """List the fields of a map: of some models, one group or span, or of all.

    Raises
    ------
    UnknownNameError
        If the map has no such model or group.
    SpecError
        If it has no such span, or is no map.
    """
    labels = {name: node for name, node in tree.children.items() if _groups(node)}
    if not labels:
        reason = "it holds no maps of embeddings, or nothing of them is computed yet"
        fix = "give what compute_map or open_map returned, or a map's path; rs.status says what is computed"
        raise SpecError("map", value=", ".join(tree.children) or "an empty tree", reason=reason, fix=fix)
    chosen = list(dict.fromkeys(labels if model is None else named("model", model, labels)))
    fields: list[MapField] = []
    for label in chosen:
        groups = _groups(labels[label])
        if group is not None and group not in groups and len(chosen) == 1:
            raise UnknownNameError.among("group", group, groups)
        made_by = {str(name): facts for name, facts in tree.attrs.items()}
        made_by["model"] = labels[label].attrs.get("model", {})
        for name in groups if group is None else {group} & groups.keys():
            fields += _spans(label, groups[name], span=span, made_by=made_by)
    if not fields:
        raise UnknownNameError.among("group", group, sorted({one for node in labels.values() for one in _groups(node)}))
    return fields


def _groups(node: xr.DataTree) -> dict[str, xr.DataTree]:
    return {name: one for name, one in node.children.items() if {"y", "x", "dim"} <= set(_vectors(one).dims)}


def _vectors(node: xr.DataTree) -> Any:
    return node.dataset.get("embedding", xr.DataArray())


def _spans(label: str, node: xr.DataTree, *, span: int | None, made_by: Mapping[str, Any]) -> Iterator[MapField]:
    data = node.to_dataset()
    count = data.sizes["time"]
    if span is not None:
        fix = f"use 0 to {count - 1}, in the order of the map's time"
        whole("span", span, low=-count, high=count - 1, fix=fix)
    crs = data.attrs.get("proj:code") or data.attrs["proj:wkt2"]
    for number in range(count) if span is None else [span % count]:
        start, end = (data[name].values[number].astype("M8[D]").item() for name in ("time", "time_end"))
        vectors = data["embedding"].isel(time=number).transpose("dim", "y", "x")
        where = str(crs), _transform(data)
        yield MapField(
            label, str(node.name), number, start, end, vectors, *where, data.attrs, made_by, _status(data, number)
        )


def _status(data: xr.Dataset, number: int) -> xr.DataArray | None:
    if "status" not in data or not {"block_row", "block_column"} <= set(data.coords):
        return None
    status = data["status"].isel(time=number).transpose("block_row", "block_column")
    sides = {data.sizes[name] / count for name, count in zip(("y", "x"), status.shape, strict=True)}
    chunk = data["embedding"].chunksizes.get("y", sides)
    return status if sides == {float(max(chunk))} else None


def _transform(data: xr.Dataset) -> tuple[float, float, float, float, float, float]:
    """Return the affine of the tokens' corners, also where the map was cropped since."""
    width, _, _, _, height, _ = data.attrs["spatial:transform"]
    return width, 0.0, float(data.x[0]) - width / 2, 0.0, height, float(data.y[0]) - height / 2


def spread(windows: list[Window]) -> Iterator[Window]:
    """Go through windows in an order of which each beginning is spread over all of them."""
    # Steps of the golden section: after any number of them, no gap is much larger than another.
    size = len(windows)
    step = next((step for step in range(round(size * 0.618), size) if math.gcd(step, size) == 1), 1)
    return (windows[(size // 2 + turn * step) % size] for turn in range(size))
