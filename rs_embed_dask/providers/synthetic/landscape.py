"""The synthetic landscape: noise, ground, clouds, and the satellites that pass over it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensor_types import KELVIN, Band, PropertyNames
from rs_embed_dask.providers.synthetic.spectra import CLASS_OF, CLASSES, VARIANTS, first_of, vegetated
from rs_embed_dask.specs.fetch import ORBITS
from rs_embed_dask.specs.ground import WGS84, project

if TYPE_CHECKING:
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = [
    "Ground",
    "Orbit",
    "Sky",
    "Tile",
    "cell_hash",
    "class_at",
    "cover",
    "ground_of",
    "materials_at",
    "number",
    "passes",
    "quality",
    "rough",
    "sky_over",
    "smooth",
    "through",
    "tiles_of",
    "unit",
]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.uint8]
Tile = tuple[int, int]

_X: Final = 0x9E3779B1
_Y: Final = 0x85EBCA77
_SEED: Final = 0xC2B2AE3D
_MIX: Final = ((15, 0x2C1B3C6D), (12, 0x297A2D39))
_LAST_SHIFT: Final = 15
_WORD: Final = 0xFFFFFFFF
_SPAN: Final = 1 << 32


def number(*parts: int) -> float:
    """Return a number in [0, 1) that depends on some whole numbers only."""
    value = 0
    for part in parts:
        value = (value * _X ^ (part & _WORD) * _SEED) & _WORD
        value = _mixed(value)
    return value / _SPAN


def _mixed(value: int) -> int:
    for shift, factor in _MIX:
        value = ((value ^ value >> shift) * factor) & _WORD
    return value ^ value >> _LAST_SHIFT


def cell_hash(column: npt.NDArray[np.int64], row: npt.NDArray[np.int64], seed: int) -> Hashes:
    """Return 32 well-mixed bits for each cell of a lattice."""
    value = column.astype(np.uint32) * np.uint32(_X)
    value = value ^ (row.astype(np.uint32) * np.uint32(_Y))
    value ^= np.uint32((seed * _SEED + 1) & _WORD)
    for shift, factor in _MIX:
        value ^= value >> np.uint32(shift)
        value *= np.uint32(factor)
    value ^= value >> np.uint32(_LAST_SHIFT)
    return value


def unit(bits: Hashes) -> Floats:
    """Return hashes as numbers in [0, 1)."""
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(1 / (1 << 24))


def smooth(x: Places, y: Places, size_m: float, *, seed: int) -> Floats:
    """Return smooth noise in [0, 1]: a number at each corner of a lattice, and a smooth passage between."""
    column, a = _between(x, size_m)
    row, b = _between(y, size_m)
    low_left, low_right, high_left, high_right = _corners(column, row, seed)
    low = low_left + (low_right - low_left) * a
    high = high_left + (high_right - high_left) * a
    return low + (high - low) * b


def _between(at: Places, size: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the cell before each place, and how far it is on the way to the next, smoothed."""
    scaled = at * (1.0 / size)
    whole = np.floor(scaled)
    part = (scaled - whole).astype(np.float32)
    return whole.astype(np.int64), part * part * (np.float32(3) - np.float32(2) * part)


def _corners(
    column: npt.NDArray[np.int64], row: npt.NDArray[np.int64], seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the numbers at the four corners round each place: each hashed once where places lie close together."""
    c0, r0 = int(column.min()), int(row.min())
    wide, high = int(column.max()) - c0 + 2, int(row.max()) - r0 + 2
    if wide * high <= column.size:
        table = unit(cell_hash(np.arange(c0, c0 + wide)[None, :], np.arange(r0, r0 + high)[:, None], seed)).ravel()
        at = (row - r0) * wide + (column - c0)
        return table.take(at), table[1:].take(at), table[wide:].take(at), table[wide + 1 :].take(at)
    corners = [unit(cell_hash(column + i, row + j, seed)) for j in (0, 1) for i in (0, 1)]
    return corners[0], corners[1], corners[2], corners[3]


def rough(x: Places, y: Places, size_m: float, *, seed: int, octaves: int = 2) -> Floats:
    """Return noise in [0, 1] with detail: each octave half as large and half as strong."""
    total = smooth(x, y, size_m, seed=seed)
    weight = 1.0
    for octave in range(1, octaves):
        strength = 0.5**octave
        total = total + np.float32(strength) * smooth(x, y, size_m * strength, seed=seed + 7919 * octave)
        weight += strength
    return total * np.float32(1 / weight)


_EARTH_M: Final = 6_378_137.0
_HIGHEST_LAT: Final = 89.9
_CELL_M: Final = 10.0
_FIELD_M: Final = (560.0, 430.0)
_STRIPS: Final = (2, 6)
_TURN: Final = 0.30
_TRACK_M: Final = 6.0
_STREET_M: Final = 110.0
_HOUSE_M: Final = 22.0
_ROAD_M: Final = 12.0
_WINTER, _CROPS = 0.40, 0.75  # shares of the strips: winter crops, and all crops


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground under the pixels of a grid. Arrays have one element per pixel, in raster order."""

    tile: npt.NDArray[np.int16]
    x: Places
    y: Places
    material: Codes
    texture: Floats


@lru_cache(maxsize=8)
def ground_of(grid: Grid, seed: int) -> Ground:
    """Return the ground under a grid; kept for a while, for the frames of a read share it."""
    columns, rows = np.meshgrid(grid.xs, grid.ys)
    lon, lat = (np.asarray(part).ravel() for part in project(grid.crs, WGS84, columns, rows))
    lon = _wrapped(lon)
    x, y = _map(lon, lat)
    tile = np.floor(np.stack([lon, lat])).astype(np.int16)
    material = materials_at(x, y, seed)
    bits = cell_hash(np.floor(x / _CELL_M).astype(np.int64), np.floor(y / _CELL_M).astype(np.int64), seed + 71)
    patch = smooth(x, y, 70.0, seed=seed + 72)
    texture = np.float32(0.86) + np.float32(0.14) * unit(bits) + np.float32(0.14) * patch
    return Ground(tile, x, y, material, texture)


def class_at(lon: npt.ArrayLike, lat: npt.ArrayLike, seed: int) -> Codes:
    """Return the class of the ground at some places."""
    east, north = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    x, y = _map(_wrapped(east.ravel()), north.ravel())
    classes: Codes = np.asarray(CLASS_OF)[materials_at(x, y, seed)]
    return classes.reshape(east.shape)


def _wrapped(lon: Places) -> Places:
    return (lon + 180.0) % 360.0 - 180.0


def _map(lon: Places, lat: Places) -> tuple[Places, Places]:
    """Return Mercator metres: no shear, no seams but the antimeridian, whatever the latitude."""
    north = np.radians(np.clip(lat, -_HIGHEST_LAT, _HIGHEST_LAT))
    return _EARTH_M * np.radians(lon), _EARTH_M * np.arcsinh(np.tan(north))


def materials_at(x: Places, y: Places, seed: int) -> Codes:
    """Return what lies at some places of the map."""
    bent = 40.0 * (smooth(x, y, 520.0, seed=seed + 1) - np.float32(0.5))
    east, north = x + bent, y - 1.3 * bent
    materials = _fields(east, north, seed)
    wood = rough(x, y, 1500.0, seed=seed + 2, octaves=3)
    trees = wood > np.float32(0.60)
    materials[trees] = first_of("forest") + (wood[trees] > np.float32(0.67)) * np.uint8(VARIANTS // 2)
    town = smooth(x, y, 2300.0, seed=seed + 3) + np.float32(0.25) * smooth(x, y, 400.0, seed=seed + 4)
    built = town > np.float32(0.93)
    materials[built] = _streets(x[built], y[built], seed)
    river = np.abs(rough(x, y, 3800.0, seed=seed + 5) - np.float32(0.5))
    lake = smooth(x, y, 1300.0, seed=seed + 6)
    meadow = (river < np.float32(0.022)) & ~built
    materials[meadow] = first_of("grassland")
    materials[(river < np.float32(0.010)) | ((lake > np.float32(0.93)) & ~built)] = first_of("water")
    return materials


def _fields(x: Places, y: Places, seed: int) -> Codes:
    """Lay out blocks of parallel strips, each strip one crop, with tracks between the blocks."""
    cos, sin = math.cos(_TURN), math.sin(_TURN)
    along, across = (cos * x + sin * y) / _FIELD_M[0], (cos * y - sin * x) / _FIELD_M[1]
    column, row = np.floor(along).astype(np.int64), np.floor(across).astype(np.int64)
    u, v = along - column, across - row
    bits = cell_hash(column, row, seed + 11)
    lengthwise = (bits & np.uint32(1)).astype(bool)
    fewest, most = _STRIPS
    count = fewest + (bits >> np.uint32(1)) % np.uint32(most - fewest)
    strip = np.floor(np.where(lengthwise, u, v) * count).astype(np.int64)
    bits = cell_hash(column * np.int64(16) + strip, row, seed + 12)
    share = unit(bits)
    variant = (bits & np.uint32(VARIANTS - 1)).astype(np.uint8)
    start = np.select(
        [share < _WINTER, share < _CROPS], [first_of("winter_crop"), first_of("summer_crop")], first_of("grassland")
    )
    materials = start.astype(np.uint8) + variant
    edge_u, edge_v = _TRACK_M / _FIELD_M[0], _TRACK_M / _FIELD_M[1]
    materials[(u < edge_u) | (v < edge_v)] = first_of("grassland") + VARIANTS - 1
    return materials


def _streets(x: Places, y: Places, seed: int) -> Codes:
    """Lay out streets, roofs and gardens."""
    street = (x % _STREET_M < _ROAD_M) | (y % (0.7 * _STREET_M) < _ROAD_M)
    bits = cell_hash(np.floor(x / _HOUSE_M).astype(np.int64), np.floor(y / _HOUSE_M).astype(np.int64), seed + 21)
    kind = np.uint8(1) + (bits % np.uint32(VARIANTS - 1)).astype(np.uint8)
    return (first_of("built") + np.where(street, np.uint8(0), kind)).astype(np.uint8)


_CLOUD_M: Final = 2400.0
_SPREAD: Final = 0.163  # standard deviation of the noise about 0.5
_EDGE: Final = 0.06
_SHADOW_M: Final = (-390.0, 300.0)
_STEPS: Final = np.array([0.0, 0.15, 0.6], np.float32)
_SHADE: Final = 4
_LIGHT_LEFT: Final = 0.45
_CLOUD_K: Final = 258.0
# reflectance of a dense cloud, in percent, by wavelength
_WHITE: Final = ((0.4, 0.9, 1.3, 1.4, 1.65, 2.2), (72.0, 70.0, 62.0, 20.0, 42.0, 34.0))

# mask rule -> values of its band: clear, haze, cloud, dense cloud, shadow
_WRITTEN: Final[Mapping[str, tuple[float, ...]]] = {
    "scl": (0, 10, 8, 9, 3),
    "qa60": (0, 1 << 11, 1 << 10, 1 << 10, 1 << 10),
    "fmask": (1 << 6, 1 << 2 | 1 << 6, 1 << 1 | 1 << 6, 1 << 1 | 1 << 6, 1 << 3 | 1 << 6),
    "qa_pixel": (1 << 6, 1 << 1, 1 << 3, 1 << 3, 1 << 4),
    "state": (0, 2, 1 | 1 << 10, 1 | 1 << 10, 1 << 2),
    "cloud_score_plus": (0.95, 0.55, 0.30, 0.05, 0.40),
}
_SCL_WATER, _SCL_GREEN, _SCL_BARE = 6, 4, 5


@dataclass(frozen=True, eq=False)
class Sky:
    """What stands between the ground and the sensor. Arrays have one element per pixel."""

    state: Codes
    density: Floats


def cover(seed: int, cloud: float, *, tile: tuple[int, int], day: dt.date) -> float:
    """Return the share of a tile that is cloudy on a day: mostly fair, sometimes overcast, `cloud` on average."""
    if cloud <= 0 or cloud >= 1:
        return float(min(max(cloud, 0.0), 1.0))
    share: float = number(seed, 101, tile[0], tile[1], day.toordinal()) ** ((1 - cloud) / cloud)
    return share


def sky_over(ground: Ground, share: float, *, seed: int, day: dt.date) -> Sky | None:
    """Return the clouds over some ground on a day, and the shadows that they throw."""
    if share <= 0:
        return None
    of_day = seed + 104_729 * (day.toordinal() % 20_011)
    limit = np.float32(-10.0 if share >= 1 else 0.5 - _SPREAD * NormalDist().inv_cdf(share))
    depth = (rough(ground.x, ground.y, _CLOUD_M, seed=of_day) - limit) * np.float32(1 / _EDGE)
    state = np.searchsorted(_STEPS, depth, side="left").astype(np.uint8)
    density = np.clip(depth, 0, 1)
    if share < 1:
        thrown = rough(ground.x + _SHADOW_M[0], ground.y + _SHADOW_M[1], _CLOUD_M, seed=of_day) - limit
        state[(thrown > np.float32(_EDGE * 0.3)) & (state == 0)] = _SHADE
    return Sky(state, density)


def through(values: Floats, sky: Sky, bands: tuple[Band, ...]) -> Floats:
    """Return what a sensor sees of the ground through the sky."""
    cloudy = np.flatnonzero(sky.density)
    shade = np.flatnonzero(sky.state == _SHADE)
    density = sky.density[cloudy]
    for b, band in enumerate(bands):
        dense = _CLOUD_K if band.unit == KELVIN else 100 * float(np.interp(band.wavelength_um or 0.0, *_WHITE))
        under = values[b, cloudy]
        values[b, cloudy] = under + (np.float32(dense) - under) * density
        if band.unit != KELVIN:
            values[b, shade] *= np.float32(_LIGHT_LEFT)
    return values


def quality(rule: str, ground: Ground, sky: Sky | None, *, day: dt.date, south: bool) -> npt.NDArray[Any]:
    """Return the quality band that a mask rule reads."""
    written = np.array(_WRITTEN[rule], np.float32 if rule == "cloud_score_plus" else np.uint16)
    state = np.zeros(ground.material.shape, np.uint8) if sky is None else sky.state
    values: npt.NDArray[Any] = written[state]
    if rule == "scl":
        green = np.where(vegetated(day, south=south), _SCL_GREEN, _SCL_BARE)
        water = np.array(CLASS_OF) == CLASSES.index("water")
        below = np.where(water, _SCL_WATER, green).astype(np.uint16)
        values = np.where(state == 0, below[ground.material], values)
    return values


_SWATH_DEG: Final = 3
_DEGREES_PER_HOUR: Final = 15.0
_ONE_DAY: Final = dt.timedelta(days=1)
_OFFSET_FROM: Final = dt.date(2022, 1, 25)
# sensor -> platforms in turn, local solar hour of the pass
_FLEETS: Final = {
    "sentinel-2-l2a": (("sentinel-2a", "sentinel-2b"), 10.5),
    "sentinel-2-l1c": (("sentinel-2a", "sentinel-2b"), 10.5),
    "sentinel-1-rtc": (("sentinel-1a", "sentinel-1b"), 6.0),
    "sentinel-1-grd": (("sentinel-1a", "sentinel-1b"), 6.0),
    "landsat-c2-l2": (("landsat-8", "landsat-9"), 10.2),
    "hls2-l30": (("landsat-8", "landsat-9"), 10.2),
    "hls2-s30": (("sentinel-2a", "sentinel-2b"), 10.5),
    "modis-09a1": (("terra",), 10.5),
}


@dataclass(frozen=True)
class Orbit:
    """How often a sensor passes over the landscape, and under what sky."""

    sensor: Sensor
    revisit_days: int
    seed: int
    cloud: float


def tiles_of(grid: Grid) -> tuple[Tile, ...]:
    """Return the one-degree tiles that a grid touches."""
    tiles: set[Tile] = set()
    for west, south, east, north in grid.lonlat_boxes:
        for lon in range(math.floor(west), math.floor(east) + 1):
            tiles.update(((lon + 180) % 360 - 180, lat) for lat in range(math.floor(south), math.floor(north) + 1))
    return tuple(sorted(tiles))


def passes(orbit: Orbit, tile: Tile, span: Span) -> list[Scene]:
    """List the scenes of a tile in a span, by UTC date."""
    phase = int(number(orbit.seed, 103, tile[0] // _SWATH_DEG) * orbit.revisit_days)
    day = span.start - _ONE_DAY
    day += dt.timedelta(days=-(day.toordinal() + phase) % orbit.revisit_days)
    scenes = []
    while day <= span.end + _ONE_DAY:
        scene = _scene(orbit, tile, day)
        if span.start <= scene.datetime.date() < span.end:
            scenes.append(scene)
        day += dt.timedelta(days=orbit.revisit_days)
    return scenes


_NAMES: Final = PropertyNames()


def _scene(orbit: Orbit, tile: Tile, day: dt.date) -> Scene:
    platforms, hour = _FLEETS[orbit.sensor.id]
    platform = platforms[day.toordinal() // orbit.revisit_days % len(platforms)]
    utc = hour - (tile[0] + 0.5) / _DEGREES_PER_HOUR
    when = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC) + dt.timedelta(hours=utc)
    name = f"{'N' if tile[1] >= 0 else 'S'}{abs(tile[1]):02d}{'E' if tile[0] >= 0 else 'W'}{abs(tile[0]):03d}"
    optical = orbit.sensor.kind == "optical"
    share = cover(orbit.seed, orbit.cloud, tile=tile, day=day) if optical else 0.0
    properties: dict[str, object] = {"platform": platform, "made:day": day.isoformat(), "made:tile": list(tile)}
    if orbit.sensor.id.startswith("sentinel-2"):
        properties["s2:processing_baseline"] = "05.10" if day >= _OFFSET_FROM else "03.01"
        properties["s2:mgrs_tile"] = name
    if not optical:
        properties["assets"] = ["vv", "vh"]
        turn = day.toordinal() // orbit.revisit_days // len(platforms)
        properties[_NAMES.orbit[0]] = ORBITS[turn % len(ORBITS)]
    cloud = round(100 * share, 2) if optical else None
    return Scene(f"made_{orbit.sensor.id}_{name}_{day:%Y%m%d}", when, cloud, properties)
