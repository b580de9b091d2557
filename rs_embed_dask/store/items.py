"""Items as rows of a store, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, islice, repeat
from operator import is_
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import shapely

from rs_embed_dask.specs import TemporalSpec, spatial_from_dict
from rs_embed_dask.specs.columns import PlaceColumn, PlaceList
from rs_embed_dask.specs.ground import local_crs, project, utm_zones
from rs_embed_dask.store.layout import ITEM_FIELDS, Item

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ItemColumns",
    "ItemMatch",
    "blocks",
    "continued",
    "decoded_items",
    "encoded_items",
    "footprints",
    "matched",
    "rows_of",
    "strange_rows",
]

T = TypeVar("T")

_WGS84: Final = "EPSG:4326"
_SMALL_M: Final = 1_500.0
_POLE_FREE: Final = 70.0
_HALF_TURN: Final = 180.0
_CORNERS: Final = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]], dtype="float64")


def footprints(places: PlaceColumn) -> np.ndarray[Any, Any]:
    """Outline places in longitude and latitude."""
    outlines = np.empty(len(places), dtype=object)
    centers, halves = places.centers(), places.buffers()
    is_small = (halves <= _SMALL_M) & (np.abs(centers[:, 1]) < _POLE_FREE)
    small = np.flatnonzero(is_small)
    lon, lat = centers[small].T
    zones = np.where(lat < 0, -1, 1) * utm_zones(lon, lat)
    for zone in np.unique(zones):
        rows = small[zones == zone]
        outlines[rows], crosses = _squares(centers[rows], halves[rows], local_crs(*centers[rows[0]].tolist()))
        is_small[rows[crosses]] = False
    for row in np.flatnonzero(~is_small).tolist():
        outlines[row] = places[row].geometry
    return outlines


def _squares(
    centers: np.ndarray[Any, Any], halves: np.ndarray[Any, Any], crs: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Outline small squares of one zone; mark those that cross the antimeridian, which must be cut in two."""
    x, y = project(_WGS84, crs, centers[:, 0], centers[:, 1])
    corners = np.stack([x, y], axis=-1)[:, None, :] + halves[:, None, None] * _CORNERS  # (n, 5, 2)
    lon, lat = project(crs, _WGS84, corners[..., 0].ravel(), corners[..., 1].ravel())
    rings = np.stack([lon, lat], axis=-1).reshape(-1, len(_CORNERS), 2)  # (n, 5, 2)
    return shapely.polygons(rings), np.ptp(rings[..., 0], axis=1) > _HALF_TURN


_WKT_DIGITS = 7


@dataclass(frozen=True, eq=False)
class ItemColumns(Sequence[Item]):
    """Places, spans and names in order, each made into an `Item` only when it is asked for."""

    places: PlaceColumn
    spans: Sequence[TemporalSpec]
    ids: Any = None
    first: int = 0
    columns: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    spans_each: int = 1

    @classmethod
    def of(cls, items: Sequence[Item]) -> ItemColumns:
        """Take a list apart."""
        if isinstance(items, ItemColumns):
            return items
        places = PlaceList([item.spatial for item in items])
        return cls(places, [item.temporal for item in items], [item.id for item in items])

    @classmethod
    def crossed(
        cls,
        places: PlaceColumn,
        seasons: Mapping[str, TemporalSpec],
        ids: Any = None,
        *,
        columns: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ) -> ItemColumns:
        """Pair every place with every span, place by place; the column ``span`` holds the spans' labels."""
        count, each = len(places), len(seasons)
        rows = np.repeat(np.arange(count), each)
        names = (np.arange(count).astype(str).astype(object) if ids is None else np.asarray(ids, dtype=object))[rows]
        labels = np.asarray(list(seasons) * count, dtype=object)
        repeated = {name: values.take(rows) for name, values in (columns or {}).items()}
        spans = list(seasons.values()) * count
        return cls(places.take(rows), spans, names, columns=repeated | {"span": labels}, spans_each=each)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, row: Any) -> Any:
        name = "" if self.ids is None else str(self.ids[row])
        return Item(range(self.first, self.first + len(self))[row], self.places[row], self.spans[row], name)

    def take(self, rows: Any) -> ItemColumns:
        """Return some of the items, by a slice or an array of numbers."""
        is_cut, ids = isinstance(rows, slice), self.ids
        numbers = range(*rows.indices(len(self))) if is_cut else rows.tolist()
        spans = self.spans[rows] if is_cut else [self.spans[row] for row in numbers]
        return ItemColumns(self.places.take(rows), spans, None if ids is None else [ids[row] for row in numbers])

    def texts(self) -> tuple[list[str], list[str]]:
        """Return places and spans as JSON."""
        return self.places.json_lines(), _by_span(self.spans, TemporalSpec.to_json)

    @cached_property
    def keys(self) -> np.ndarray[Any, Any]:
        """The key of every item, (n,), made from a block of texts at a time."""
        parts = [_keys(*self.take(slice(row, row + _BLOCK)).texts()) for row in range(0, len(self), _BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, "uint64")

    @cached_property
    def digest(self) -> str:
        """A digest of all places and spans that is made without a text for each; nothing where it cannot be."""
        digest, is_packed = hashlib.sha256(), False
        for piece in self.places.packed():
            digest.update(piece)
            is_packed = True
        for text, run in groupby(_by_span(self.spans, TemporalSpec.to_json)):
            digest.update(f"\n{len(list(run))} {text}".encode())
        return digest.hexdigest() if is_packed else ""


def _by_span(spans: Sequence[TemporalSpec], value: Callable[[TemporalSpec], T]) -> list[T]:
    """Return a value of every span; those of one object, which most requests have for all, are made once."""
    if len(spans) and all(map(is_, spans, repeat(spans[0]))):
        return [value(spans[0])] * len(spans)
    values = {number: value(span) for number, span in {id(span): span for span in spans}.items()}
    return [values[id(span)] for span in spans]


_BLOCK: Final = 16_384


def _keys(places: Sequence[str], spans: Sequence[str]) -> np.ndarray[Any, Any]:
    """Digest places and spans, each as `Item.key` does."""
    digest = hashlib.blake2b
    pairs = zip(places, spans, strict=True)
    packed = b"".join([digest(f"{place}\n{span}".encode(), digest_size=8).digest() for place, span in pairs])
    return np.frombuffer(packed, "<u8").astype("uint64")


def blocks(items: Iterable[Item], sizes: Iterable[int]) -> Iterator[ItemColumns]:
    """Cut items into blocks of these sizes at most, holding one block at a time."""
    if isinstance(items, ItemColumns):
        start = 0
        for size in sizes:
            if start >= len(items):
                return
            yield items.take(slice(start, start + size))
            start += size
        return
    stream = iter(items)
    for size in sizes:
        block = list(islice(stream, size))
        if not block:
            return
        yield ItemColumns.of(block)


def encoded_items(items: ItemColumns, first: int) -> dict[str, np.ndarray[Any, Any]]:
    """Convert items to the stored rows of ``/items``."""
    places, spans = items.texts()
    centers = items.places.centers()
    rows = np.arange(first, first + len(items))
    names = list(map(str, rows.tolist() if items.ids is None else items.ids))
    columns: dict[str, Any] = {
        "item": rows,
        "id": names if all(names) else [name or str(row) for name, row in zip(names, rows.tolist(), strict=True)],
        "lon": centers[:, 0],
        "lat": centers[:, 1],
        "start": _by_span(items.spans, lambda span: np.datetime64(span.start_date, "D")),
        "end": _by_span(items.spans, lambda span: np.datetime64(span.end_date, "D")),
        "geometry": shapely.to_wkt(footprints(items.places), rounding_precision=_WKT_DIGITS),
        "spatial": places,
        "temporal": spans,
        "key": _keys(places, spans),
    }
    return {one.name: one.encoded(columns[one.name]) for one in ITEM_FIELDS}


def strange_rows(columns: Mapping[str, Iterable[Any]]) -> list[int]:
    """List the rows whose key is not that of their place and span: one of the three is damaged."""
    own = _keys(list(map(str, columns["spatial"])), list(map(str, columns["temporal"])))
    rows: list[int] = np.flatnonzero(own != np.asarray(columns["key"])).tolist()
    return rows


def decoded_items(columns: Mapping[str, Iterable[Any]], first: int) -> list[Item]:
    """Read items back from their stored rows."""
    rows = zip(columns["id"], columns["spatial"], columns["temporal"], strict=True)
    return [
        Item(
            index=first + offset,
            spatial=spatial_from_dict(json.loads(str(spatial))),
            temporal=TemporalSpec.from_dict(json.loads(str(temporal))),
            id=str(name),
        )
        for offset, (name, spatial, temporal) in enumerate(rows)
    ]


def rows_of(keys: np.ndarray[Any, Any], asked: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Find the row of each item in a store that has all of them; the same place and span twice has two rows."""
    order = np.argsort(keys, kind="stable")
    asked_order = np.argsort(asked, kind="stable")
    in_order = asked[asked_order]
    times = np.empty(len(asked), dtype="int64")
    times[asked_order] = np.arange(len(asked)) - np.searchsorted(in_order, in_order)
    rows: np.ndarray[Any, Any] = order[np.searchsorted(keys[order], asked) + times]
    return rows


@dataclass(frozen=True)
class ItemMatch:
    """How a request's items compare with a store's."""

    present: int
    new: Sequence[Item]
    absent: int
    is_in_order: bool = False
    """Whether the store's rows, followed by the new ones, are the request's items in their order."""


def continued(columns: ItemColumns, count: int) -> ItemMatch:
    """Say that a store has just the first of these items, in their order."""
    return ItemMatch(count, columns.take(slice(count, None)), 0, is_in_order=True)


def matched(keys: np.ndarray[Any, Any], items: Iterable[Item]) -> ItemMatch:
    """Compare items with the keys of a store; the same place and span twice counts twice."""
    columns = items if isinstance(items, ItemColumns) else ItemColumns.of(list(items))
    asked = columns.keys
    if np.array_equal(keys, asked):
        return continued(columns, len(keys))
    stored, counts = np.unique(keys, return_counts=True)
    # The first items with a key are those that are there, as often as the store has it; the others are new.
    order = np.argsort(asked, kind="stable")
    places = np.searchsorted(stored, asked[order])
    is_stored = np.append(stored, 0)[places] == asked[order]
    is_stored &= places < len(stored)
    times = np.arange(len(order)) - np.searchsorted(asked[order], asked[order])
    is_new = ~is_stored | (times >= np.append(counts, 0)[places])
    new = np.sort(order[is_new])
    present = len(order) - len(new)
    is_in_order = np.array_equal(keys, asked[: len(keys)])
    return ItemMatch(present, columns.take(new), len(keys) - present, is_in_order=is_in_order)
