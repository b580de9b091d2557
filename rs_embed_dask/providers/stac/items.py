"""Items of a STAC catalogue: what a read needs of each, where it lies, and which of several count."""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import shapely.errors
import shapely.geometry
from pyproj import CRS
from pyproj.exceptions import CRSError

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.frame import baseline_in
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.providers.stac.bands import BandFacts, band_facts
from rs_embed_dask.specs.ground import WGS84, project

__all__ = [
    "WORLD",
    "Asset",
    "Box",
    "StacItem",
    "distinct",
    "granule",
    "is_contradictory",
    "newest",
    "parse_item",
    "touches",
]

Box = tuple[float, float, float, float]
DATASTRIP_START: Final = re.compile(r"_S(\d{8}T\d{6})")
TILE: Final = re.compile(r"T?0?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])")
TILE_INSIDE: Final = re.compile(r"(?<![0-9A-Z])T?0?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?![0-9A-Z])")
PATH_ROW: Final = ("landsat:wrs_path", "landsat:wrs_row")
SAME_TIME: Final = dt.timedelta(seconds=1)
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
    bands: tuple[BandFacts, ...] = ()
    roles: frozenset[str] = frozenset()
    gsd: float | None = None
    name: str = ""
    """What the catalogue calls it, where a table calls it otherwise."""
    index: int | None = None
    """The band of the file that is meant, where it holds several."""


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
    outline: shapely.Geometry | None = field(default=None, compare=False)
    """Its footprint in degrees, by which catalogues search; None where it states none that can be used."""

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
        outline=_stated_outline(item.get("geometry")),
    )


def _stated_outline(geometry: Any) -> shapely.Geometry | None:
    try:
        outline = shapely.geometry.shape(geometry)
    except (shapely.errors.ShapelyError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return outline if outline.is_valid and not outline.is_empty else None


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
    roles, sizes = asset.get("roles"), _finite([asset["gsd"]] if asset.get("gsd") else ())
    plain = Asset(
        href=asset["href"],
        media=str(asset.get("type") or ""),
        crs=crs,
        bands=band_facts(asset, properties),
        roles=frozenset(map(str, roles)) if isinstance(roles, list) else frozenset(),
        gsd=sizes[0] if sizes else None,
    )
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
    stated = _footprint_touches(asset, grid)
    if stated is not None and (stated or _agree(asset, item.box)):
        return stated
    return _box_touches(item, grid)


def is_contradictory(item: StacItem, asset: Asset, grid: Grid) -> bool:
    """Return whether a file's footprint and the item's box contradict each other on whether it touches a grid."""
    stated = _footprint_touches(asset, grid)
    return stated is not None and stated != _box_touches(item, grid) and not _agree(asset, item.box)


def _footprint_touches(asset: Asset, grid: Grid) -> bool | None:
    """Return whether the footprint that a file is said to have touches a grid; None where nothing is said."""
    if asset.crs is None or asset.box is None:
        return None
    bounds = _bounds_in(grid, asset.crs)
    return None if bounds is None else _overlap(bounds, asset.box)


@functools.lru_cache(maxsize=64)
def _bounds_in(grid: Grid, crs: str) -> Box | None:
    """Return the box in a system that holds a grid; None where the system does not reach it."""
    x, y = project(grid.crs, crs, *_edges(grid.bounds))
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return None
    return float(x[finite].min()), float(y[finite].min()), float(x[finite].max()), float(y[finite].max())


def _box_touches(item: StacItem, grid: Grid) -> bool:
    west, south, east, north = item.box
    return any(
        _overlap(box, (west + turn, south, east + turn, north))
        for box in grid.lonlat_boxes
        for turn in (-TURN, 0.0, TURN)
    )


def _agree(asset: Asset, box: Box) -> bool:
    """Return whether an item's box in degrees lies within a file's footprint, but for rounding."""
    if box == WORLD or asset.crs is None or asset.box is None:  # one of them is not stated
        return True
    lon, lat = project(asset.crs, WGS84, *_edges(asset.box))
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
    # An id counts once. Of scenes of one granule that were sensed within a second of each other, which are one
    # acquisition processed or copied more than once, the one that was processed last counts, whatever platform or
    # collection its copy names. Two datastrips of one granule are two halves: both stay.
    listed = list(items)
    granules: defaultdict[str, list[StacItem]] = defaultdict(list)
    for item in listed:
        granules[granule(item, names) or f"{item.collection}/{item.id}"].append(item)
    kept = [
        max(copies, key=functools.partial(_processed, names=names))
        for members in granules.values()
        for strips in _within_a_second(members, lambda item: item.time)
        for copies in _strips(strips, names)
    ]
    return tuple(sorted(kept, key=lambda item: (item.time, item.id)))


def granule(item: StacItem, names: PropertyNames) -> str:
    """Return path and row, or the tile, of a scene however it is written, else the tile in its id; else nothing."""
    path_row = [str(item.properties[name]).lstrip("0") for name in PATH_ROW if name in item.properties]
    if len(path_row) == len(PATH_ROW):
        return "/".join(path_row)
    stated = str(item.first(names.tile) or "").upper().removeprefix("MGRS-")
    if stated:
        tile = TILE.fullmatch(stated)
        return tile[1] if tile else stated
    inside = TILE_INSIDE.search(item.id.upper())
    return inside[1] if inside else ""


def _within_a_second(items: Iterable[StacItem], moment: Callable[[StacItem], dt.datetime]) -> Iterator[list[StacItem]]:
    """Yield the items in groups that begin within a second."""
    group: list[StacItem] = []
    for item in sorted(items, key=lambda item: (moment(item), item.id)):
        if group and moment(item) - moment(group[0]) > SAME_TIME:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _strips(items: Sequence[StacItem], names: PropertyNames) -> list[list[StacItem]]:
    """Divide copies of a granule by datastrip; those that state none belong to the only one there is."""
    starts = {item.id: start for item in items if (start := strip_start(item, names)) is not None}
    groups = list(_within_a_second((item for item in items if item.id in starts), lambda item: starts[item.id]))
    rest = [item for item in items if item.id not in starts]
    return [[*groups[0], *rest]] if len(groups) == 1 else [*groups, *([rest] if rest else [])]


def strip_start(item: StacItem, names: PropertyNames) -> dt.datetime | None:
    stated = DATASTRIP_START.search(str(item.first(names.datastrip) or ""))
    try:
        return dt.datetime.strptime(stated[1], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC) if stated else None
    except ValueError:
        return None


def _processed(item: StacItem, names: PropertyNames) -> tuple[float, str, str]:
    """Rank a scene by its processing: baseline, then time, then id, which counts up in some catalogues."""
    baseline = baseline_in(item.first(names.baseline), item.first(names.product))
    stamp = str(item.first(names.generated) or "")
    try:
        made = _utc(stamp).isoformat(timespec="microseconds") if stamp else ""
    except ValueError:
        made = ""
    return -1.0 if baseline is None else baseline, made, item.id


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
