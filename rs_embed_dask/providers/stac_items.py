"""STAC items as small values: where their files lie, when they were taken, and which are one acquisition twice."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from rs_embed_dask.crs import project
from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.imagery.sensor_types import PropertyNames

__all__ = ["Asset", "StacItem", "newest", "parse_item", "touches"]

Box = tuple[float, float, float, float]
DATASTRIP_START: Final = re.compile(r"_S(\d{8}T\d{6})")
EDGE_POINTS: Final = 9
TURN: Final = 360.0


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an item: its plain link, and where it lies as far as the catalogue says.

    Parameters
    ----------
    href
        Plain link.
    media
        Media type, or an empty text.
    crs
        Coordinate system as ``EPSG:n`` or WKT, or None.
    box
        Left, bottom, right and top in `crs`, or None.
    origin, pixel
        Upper left corner and pixel size in `crs`, or None.
    """

    href: str
    media: str = ""
    crs: str | None = None
    box: Box | None = None
    origin: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class StacItem:
    """One scene of a catalogue, with what a read needs of it.

    Parameters
    ----------
    id, collection
        Names.
    time
        When it was taken, in UTC; the middle for one that spans a period.
    box
        West, south, east and north in degrees as the catalogue says; longitudes may lie beyond 180.
    properties
        Plain JSON values.
    assets
        Files by name.
    """

    id: str
    collection: str
    time: dt.datetime
    box: Box
    properties: Mapping[str, Any] = field(hash=False)
    assets: Mapping[str, Asset] = field(hash=False)

    def first(self, names: Iterable[str]) -> Any:
        """Return the first property of `names` that is there, or None."""
        return next((self.properties[n] for n in names if self.properties.get(n) is not None), None)


def parse_item(item: Mapping[str, Any]) -> StacItem:
    """Return a STAC item dictionary as a `StacItem`.

    Accepts ``proj:epsg``, ``proj:code``, ``proj:wkt2`` and ``proj:projjson`` on the item or on an asset, and
    transforms of six or nine numbers.

    Raises
    ------
    KeyError, ValueError
        If the dictionary lacks what every STAC item has.
    """
    properties = item["properties"]
    box = [float(v) for v in item["bbox"]]
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])  # noqa: PLR2004 - 3-D boxes
    return StacItem(
        id=str(item["id"]),
        collection=str(item["collection"]),
        time=_time(properties),
        box=(west, south, east + TURN if east < west else east, north),
        properties={k: v for k, v in properties.items() if isinstance(v, str | int | float | bool)},
        assets={name: _asset(asset, properties) for name, asset in item["assets"].items()},
    )


def _time(properties: Mapping[str, Any]) -> dt.datetime:
    if properties.get("datetime"):
        return _utc(properties["datetime"])
    first, last = _utc(properties["start_datetime"]), _utc(properties["end_datetime"])
    return first + (last - first) / 2


def _utc(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _asset(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Asset:
    own = {k: v for k, v in asset.items() if k.startswith("proj:") and v is not None}
    stated = {k: v for k, v in properties.items() if k.startswith("proj:") and v is not None}
    shape, transform = (own.get(k, stated.get(k)) for k in ("proj:shape", "proj:transform"))
    crs = _crs(own) or _crs(stated)
    plain = Asset(href=str(asset["href"]), media=str(asset.get("type") or ""), crs=crs)
    if crs is None:
        return plain
    if shape is not None and transform is not None:
        a, b, c, d, e, f = (float(v) for v in transform[:6])
        columns, rows = np.array([0, shape[1], 0, shape[1]]), np.array([0, 0, shape[0], shape[0]])
        x, y = c + a * columns + b * rows, f + d * columns + e * rows
        box = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        return Asset(plain.href, plain.media, crs, box, (c, f), (abs(a), abs(e)))
    stated_box = own.get("proj:bbox", stated.get("proj:bbox"))
    if stated_box is None:
        return plain
    left, bottom, right, top = (float(v) for v in stated_box)
    return Asset(plain.href, plain.media, crs, (left, bottom, right, top))


def _crs(fields: Mapping[str, Any]) -> str | None:
    if fields.get("proj:epsg"):
        return f"EPSG:{int(fields['proj:epsg'])}"
    return next((fields[k] for k in ("proj:code", "proj:wkt2") if isinstance(fields.get(k), str) and fields[k]), None)


def touches(item: StacItem, asset: Asset, grid: Grid) -> bool:
    """Tell whether a file can hold pixels of a grid.

    The grid's outline is moved into the file's own system, where the file is a rectangle: that holds across zones and
    the antimeridian, where boxes in degrees do not. Where the catalogue states no footprint, its box in degrees is
    taken, shifted by whole turns.

    Parameters
    ----------
    item, asset
        The scene and its file.
    grid
        What is to be read.
    """
    if asset.crs is not None and asset.box is not None:
        x, y = project(grid.crs, asset.crs, *_outline(grid))
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            bounds = float(x[known].min()), float(y[known].min()), float(x[known].max()), float(y[known].max())
            return _overlap(bounds, asset.box)
    west, south, east, north = item.box
    return any(
        _overlap(box, (west + turn, south, east + turn, north))
        for box in grid.lonlat_boxes
        for turn in (-TURN, 0.0, TURN)
    )


def _outline(grid: Grid) -> tuple[Any, Any]:
    left, bottom, right, top = grid.bounds
    along_x, along_y = np.linspace(left, right, EDGE_POINTS), np.linspace(bottom, top, EDGE_POINTS)
    x = np.concatenate([along_x, along_x, np.full(EDGE_POINTS, left), np.full(EDGE_POINTS, right)])
    y = np.concatenate([np.full(EDGE_POINTS, bottom), np.full(EDGE_POINTS, top), along_y, along_y])
    return x, y


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def newest(items: Iterable[StacItem], names: PropertyNames) -> tuple[StacItem, ...]:
    """Return the items in order of time and id, without repeats.

    An id counts once. Of scenes with the same tile, time, platform and datastrip start, which are one acquisition
    processed more than once, the one that was generated last counts. Two datastrips of one tile are two halves: both
    stay.

    Parameters
    ----------
    items
        In any order, with any repeats.
    names
        Where the catalogue keeps tile, platform, datastrip and time of generation.
    """
    kept: dict[tuple[Any, ...], StacItem] = {}
    for item in items:
        key = _acquisition(item, names)
        if key not in kept or _made(item, names) > _made(kept[key], names):
            kept[key] = item
    return tuple(sorted(kept.values(), key=lambda item: (item.time, item.id)))


def _acquisition(item: StacItem, names: PropertyNames) -> tuple[Any, ...]:
    tile = item.first(names.tile)
    if tile is None:
        return item.collection, item.id
    strip = DATASTRIP_START.search(str(item.first(names.datastrip) or ""))
    return item.collection, tile, item.time, item.first(names.platform), strip.group(1) if strip else ""


def _made(item: StacItem, names: PropertyNames) -> tuple[str, str]:
    made = item.first(names.generated)
    return (_utc(made).isoformat(timespec="microseconds") if made else "", item.id)
