"""Items as rows of a store, and back."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.specs import TemporalSpec, spatial_from_dict
from rs_embed_dask.specs.ground import local_crs, project
from rs_embed_dask.specs.where import PointBuffer
from rs_embed_dask.store.layout import ITEM_FIELDS, Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rs_embed_dask.specs import Spatial

__all__ = ["ItemMatch", "blocks", "decoded_items", "encoded_items", "footprints", "item_key", "matched", "strange_rows"]

_WGS84: Final = "EPSG:4326"
_SMALL_M: Final = 1_500.0
_POLE_FREE: Final = 70.0
_HALF_TURN: Final = 180.0
_CORNERS: Final = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]], dtype="float64")


def footprints(places: Sequence[Spatial]) -> np.ndarray[Any, Any]:
    """Outline places in longitude and latitude."""
    outlines = np.empty(len(places), dtype=object)
    zones: dict[str, list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        if isinstance(place, PointBuffer) and place.buffer_m <= _SMALL_M and abs(place.center[1]) < _POLE_FREE:
            zones[local_crs(*place.center)].append(row)
        else:
            outlines[row] = place.geometry
    for crs, rows in zones.items():
        squares, crosses = _squares([places[row] for row in rows], crs)
        outlines[rows] = squares
        for row in np.asarray(rows)[crosses]:
            outlines[row] = places[row].geometry
    return outlines


def _squares(places: Sequence[Any], crs: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Outline small squares of one zone, and mark those that cross the antimeridian and need more care."""
    centers = np.asarray([place.center for place in places])  # (n, 2)
    halves = np.asarray([place.buffer_m for place in places])  # (n,)
    x, y = project(_WGS84, crs, centers[:, 0], centers[:, 1])
    corners = np.stack([x, y], axis=-1)[:, None, :] + halves[:, None, None] * _CORNERS  # (n, 5, 2)
    lon, lat = project(crs, _WGS84, corners[..., 0].ravel(), corners[..., 1].ravel())
    rings = np.stack([lon, lat], axis=-1).reshape(-1, len(_CORNERS), 2)  # (n, 5, 2)
    return shapely.polygons(rings), np.ptp(rings[..., 0], axis=1) > _HALF_TURN


_WKT_DIGITS = 7


def item_key(spatial_json: str, temporal_json: str) -> int:
    """Digest a place and a span into 64 bits, by which a row is known again."""
    digest = hashlib.blake2b(f"{spatial_json}\n{temporal_json}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def blocks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream of items into lists of at most ``size``, holding one list at a time."""
    stream = iter(items)
    while block := list(islice(stream, size)):
        yield block


def encoded_items(items: Sequence[Item], first: int) -> dict[str, np.ndarray[Any, Any]]:
    """Write items as the stored rows of ``/items``."""
    places = [item.spatial.to_json() for item in items]
    spans = [item.temporal.to_json() for item in items]
    centers = np.asarray([item.spatial.center for item in items], dtype="float64").reshape(-1, 2)  # (n, 2)
    rows = np.arange(first, first + len(items))
    columns: dict[str, Any] = {
        "item": rows,
        "id": [item.id or str(row) for item, row in zip(items, rows, strict=True)],
        "lon": centers[:, 0],
        "lat": centers[:, 1],
        "start": [item.temporal.start_date for item in items],
        "end": [item.temporal.end_date for item in items],
        "geometry": shapely.to_wkt(footprints([item.spatial for item in items]), rounding_precision=_WKT_DIGITS),
        "spatial": places,
        "temporal": spans,
        "key": np.asarray([item_key(*pair) for pair in zip(places, spans, strict=True)], dtype="uint64"),
    }
    return {field.name: field.encoded(columns[field.name]) for field in ITEM_FIELDS}


def strange_rows(columns: Mapping[str, Iterable[Any]]) -> list[int]:
    """List the rows whose key is not that of their place and span: one of the three is damaged."""
    rows = zip(columns["spatial"], columns["temporal"], columns["key"], strict=True)
    return [row for row, (place, span, key) in enumerate(rows) if item_key(str(place), str(span)) != int(key)]


def decoded_items(columns: Mapping[str, Iterable[Any]], first: int) -> list[Item]:
    """Read items back from their stored rows."""
    rows = zip(columns["id"], columns["spatial"], columns["temporal"], columns["key"], strict=True)
    return [
        Item(
            index=first + offset,
            spatial=spatial_from_dict(json.loads(str(spatial))),
            temporal=TemporalSpec.from_dict(json.loads(str(temporal))),
            id=str(name),
            key=int(key),
        )
        for offset, (name, spatial, temporal, key) in enumerate(rows)
    ]


@dataclass(frozen=True)
class ItemMatch:
    """How a request's items compare with a store's."""

    known: int
    new: tuple[Item, ...]
    absent: int


def matched(keys: np.ndarray[Any, Any], items: Iterable[Item]) -> ItemMatch:
    """Compare items with the keys of a store; the same place and span twice counts twice."""
    left = Counter(keys.tolist())
    known, new = 0, []
    for item in items:
        key = item_key(item.spatial.to_json(), item.temporal.to_json())
        if left[key] > 0:
            left[key] -= 1
            known += 1
        else:
            new.append(item)
    return ItemMatch(known, tuple(new), len(keys) - known)
