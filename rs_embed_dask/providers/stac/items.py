"""Items of a STAC catalogue: what a read needs of each, where it lies, and which of several count."""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.specs.ground import WGS84, project

__all__ = ["WORLD", "Asset", "Box", "StacItem", "distinct", "newest", "parse_item", "touches"]

Box = tuple[float, float, float, float]
DATASTRIP_START: Final = re.compile(r"_S(\d{8}T\d{6})")
EDGE_POINTS: Final = 9
TURN: Final = 360.0
WORLD: Final = (-180.0, -90.0, 180.0, 90.0)
SLACK: Final = 0.05


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an item: its plain link, and where it lies as far as the catalogue states."""

    href: str
    media: str = ""
    crs: str | None = None
    box: Box | None = None
    origin: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class StacItem:
    """One scene of a catalogue, with what a read needs of it."""

    id: str
    collection: str
    time: dt.datetime
    box: Box
    properties: Mapping[str, Any] = field(hash=False)
    assets: Mapping[str, Asset] = field(hash=False)

    fault: ProviderError | None = field(default=None, compare=False)
    """Why it cannot be understood; it then has no assets, and lies anywhere in what was searched."""

    def first(self, names: Iterable[str]) -> Any:
        """Return the first property of `names` that is there, or None."""
        return next((self.properties[n] for n in names if self.properties.get(n) is not None), None)

    def number(self, names: Iterable[str]) -> float | None:
        """Return the first property of `names` that is there as a number, None if it is not one."""
        try:
            return float(self.first(names))
        except (TypeError, ValueError):
            return None


def parse_item(item: Mapping[str, Any], *, collection: str = "") -> StacItem:
    """Return a STAC item dictionary as a `StacItem`, of `collection` if it does not say of which."""
    # Accepts ``proj:epsg``, ``proj:code``, ``proj:wkt2`` and ``proj:projjson`` on the item or on an asset, and
    # transforms of six or nine numbers. What is missing or malformed and not needed is left out.
    properties = item["properties"]
    moment = _time(properties)
    stated = item.get("assets")
    assets = {
        str(name): _asset(asset, properties)
        for name, asset in (stated.items() if isinstance(stated, Mapping) else ())
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and asset["href"]
    }
    west, south, east, north = _box(item)
    return StacItem(
        id=str(item.get("id") or f"unnamed_{moment:%Y%m%dT%H%M%S}_{_crc(assets):08x}"),
        collection=str(item.get("collection") or collection),
        time=moment,
        box=(west, south, east + TURN if east < west else east, north),
        properties={k: v for k, v in properties.items() if isinstance(v, str | int | float | bool)},
        assets=assets,
    )


def _crc(assets: Mapping[str, Asset]) -> int:
    return zlib.crc32("\n".join(sorted(asset.href for asset in assets.values())).encode())


def _box(item: Mapping[str, Any]) -> Box:
    """Return the box that an item states, else that of its geometry, else the world, so that its files decide."""
    stated = item.get("bbox")
    numbers = _finite(stated) if isinstance(stated, list) else ()
    if len(numbers) in {4, 6}:
        half = len(numbers) // 2
        return numbers[0], numbers[1], numbers[half], numbers[half + 1]
    points = list(_points(item.get("geometry")))
    if not points:
        return WORLD
    longitudes, latitudes = zip(*points, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def _points(geometry: Any) -> Iterator[tuple[float, float]]:
    """Yield the positions of a GeoJSON geometry, whatever its type."""
    parts = geometry
    if isinstance(geometry, Mapping):
        parts = geometry.get("coordinates") or geometry.get("geometries")
    numbers = _finite(parts) if isinstance(parts, list) else ()
    if len(numbers) >= 2:  # noqa: PLR2004 - a position is longitude, latitude and perhaps a height
        yield numbers[0], numbers[1]
    elif isinstance(parts, list):
        for part in parts:
            yield from _points(part)


def _finite(values: Iterable[Any]) -> tuple[float, ...]:
    """Return values as numbers, or nothing if one is not."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


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
    crs = _crs(own) or _crs(stated)
    plain = Asset(href=asset["href"], media=str(asset.get("type") or ""), crs=crs)
    if crs is None:
        return plain
    try:
        return _placed(plain, {**stated, **own})
    except (TypeError, ValueError, IndexError):
        return plain


def _placed(plain: Asset, fields: Mapping[str, Any]) -> Asset:
    """Return an asset with the footprint that its fields state. Raises for one that no file can have."""
    shape, transform, stated_box = (fields.get(f"proj:{name}") for name in ("shape", "transform", "bbox"))
    if shape is not None and transform is not None:
        a, b, c, d, e, f = (float(v) for v in transform[:6])
        columns, rows = np.array([0, shape[1], 0, shape[1]]), np.array([0, 0, shape[0], shape[0]])
        x, y = c + a * columns + b * rows, f + d * columns + e * rows
        box = _solid((float(x.min()), float(y.min()), float(x.max()), float(y.max())))
        return replace(plain, box=box, origin=(c, f), pixel=(abs(a), abs(e)) if a and e else None)
    if stated_box is None:
        return plain
    left, bottom, right, top = (float(v) for v in stated_box)
    return replace(plain, box=_solid((left, bottom, right, top)))


def _solid(box: Box) -> Box:
    if not (all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]):
        msg = f"no file has the footprint {box}"
        raise ValueError(msg)
    return box


def _crs(fields: Mapping[str, Any]) -> str | None:
    """Return the first reference system that fields state and that there is."""
    code, json_text = fields.get("proj:epsg"), fields.get("proj:projjson")
    stated = (
        f"EPSG:{code}" if code else None,
        fields.get("proj:code"),
        fields.get("proj:wkt2"),
        json.dumps(json_text) if isinstance(json_text, Mapping) else None,
    )
    return next((text for text in stated if isinstance(text, str) and text and _is_crs(text)), None)


@functools.lru_cache(maxsize=1024)
def _is_crs(text: str) -> bool:
    try:
        CRS.from_user_input(text)
    except CRSError:
        return False
    return True


def touches(item: StacItem, asset: Asset, grid: Grid) -> bool:
    """Return whether a file can hold pixels of a grid."""
    # The grid's outline is moved into the file's own system, where the file is a rectangle: that holds across
    # zones and the antimeridian, where boxes in degrees do not. Where the catalogue states no footprint, or one that
    # contradicts the item's box in degrees, that box is taken, shifted by whole turns; the file itself decides then.
    if asset.crs is not None and asset.box is not None:
        x, y = project(grid.crs, asset.crs, *_outline(grid))
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            bounds = float(x[finite].min()), float(y[finite].min()), float(x[finite].max()), float(y[finite].max())
            if _overlap(bounds, asset.box):
                return True
            if _agree(asset.crs, asset.box, item.box):
                return False
    west, south, east, north = item.box
    return any(
        _overlap(box, (west + turn, south, east + turn, north))
        for box in grid.lonlat_boxes
        for turn in (-TURN, 0.0, TURN)
    )


def _agree(crs: str, footprint: Box, box: Box) -> bool:
    """Return whether an item's box in degrees lies within a file's footprint, but for rounding."""
    if box == WORLD:  # it states none
        return True
    lon, lat = project(crs, WGS84, *_edges(footprint))
    finite = np.isfinite(lon) & np.isfinite(lat)
    if not finite.any():
        return True
    middle = (box[0] + box[2]) / 2
    lon, lat = (lon[finite] - middle + TURN / 2) % TURN + middle - TURN / 2, lat[finite]
    slack_x, slack_y = SLACK * (box[2] - box[0]), SLACK * (box[3] - box[1])
    return bool(
        lon.min() <= box[0] + slack_x
        and lon.max() >= box[2] - slack_x
        and lat.min() <= box[1] + slack_y
        and lat.max() >= box[3] - slack_y
    )


def _outline(grid: Grid) -> tuple[Any, Any]:
    return _edges(grid.bounds)


def _edges(box: Box) -> tuple[Any, Any]:
    left, bottom, right, top = box
    along_x, along_y = np.linspace(left, right, EDGE_POINTS), np.linspace(bottom, top, EDGE_POINTS)
    x = np.concatenate([along_x, along_x, np.full(EDGE_POINTS, left), np.full(EDGE_POINTS, right)])
    y = np.concatenate([np.full(EDGE_POINTS, bottom), np.full(EDGE_POINTS, top), along_y, along_y])
    return x, y


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def newest(items: Iterable[StacItem], names: PropertyNames) -> tuple[StacItem, ...]:
    """Return the items in order of time and id, without repeats."""
    # An id counts once. Of scenes with the same tile, time, platform and datastrip start, which are one
    # acquisition processed more than once, the one that was generated last counts. Two datastrips of one tile are
    # two halves: both stay.
    newest_by_key: dict[tuple[Any, ...], StacItem] = {}
    for item in items:
        key = _acquisition(item, names)
        if key not in newest_by_key or _processed(item, names) > _processed(newest_by_key[key], names):
            newest_by_key[key] = item
    return tuple(sorted(newest_by_key.values(), key=lambda item: (item.time, item.id)))


def _acquisition(item: StacItem, names: PropertyNames) -> tuple[Any, ...]:
    tile = item.first(names.tile)
    if tile is None:
        return item.collection, item.id
    strip = DATASTRIP_START.search(str(item.first(names.datastrip) or ""))
    return item.collection, tile, item.time, item.first(names.platform), strip.group(1) if strip else ""


def _processed(item: StacItem, names: PropertyNames) -> tuple[str, str]:
    stamp = str(item.first(names.generated) or "")
    try:
        return (_utc(stamp).isoformat(timespec="microseconds") if stamp else "", item.id)
    except ValueError:
        return "", item.id


def distinct(items: Iterable[StacItem]) -> tuple[StacItem, ...]:
    """Return each scene once, in order of time and id, different scenes by different ids."""
    # a page may repeat an item of the last, and a catalogue may give two scenes one id
    scenes = {(item.time, item.id, item.collection, _crc(item.assets)): item for item in items}
    seen: Counter[str] = Counter()
    kept = []
    for _, item in sorted(scenes.items(), key=lambda entry: entry[0]):
        seen[item.id] += 1
        kept.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}~{seen[item.id]}"))
    return tuple(kept)
