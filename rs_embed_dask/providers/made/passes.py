"""When which satellite passes over the made landscape."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.providers.made.noise import number
from rs_embed_dask.providers.made.sky import cover

if TYPE_CHECKING:
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = ["Orbit", "Tile", "passes", "tiles_of"]

Tile = tuple[int, int]

_SWATH_DEG: Final = 3
_DEGREES_AN_HOUR: Final = 15.0
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
    """How often a sensor passes over the made landscape, and under what sky.

    Parameters
    ----------
    sensor : Sensor
        Which.
    revisit_days : int
        Days between two passes.
    seed : int
        Of the landscape.
    cloud : float
        Mean cloud cover, 0..1.
    """

    sensor: Sensor
    revisit_days: int
    seed: int
    cloud: float


def tiles_of(grid: Grid) -> tuple[Tile, ...]:
    """Return the one-degree tiles that a grid touches.

    Parameters
    ----------
    grid : Grid
        Any grid.

    Returns
    -------
    tuple of (int, int)
        West and south edge of each, in whole degrees.
    """
    found: set[Tile] = set()
    for west, south, east, north in grid.lonlat_boxes:
        for lon in range(math.floor(west), math.floor(east) + 1):
            found.update(((lon + 180) % 360 - 180, lat) for lat in range(math.floor(south), math.floor(north) + 1))
    return tuple(sorted(found))


def passes(orbit: Orbit, tile: Tile, span: Span) -> list[Scene]:
    """List the scenes of a tile in a span, by UTC date.

    Parameters
    ----------
    orbit : Orbit
        Who passes how often.
    tile : (int, int)
        The tile.
    span : Span
        Half-open.

    Returns
    -------
    list of Scene
        In order of time.
    """
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


def _scene(orbit: Orbit, tile: Tile, day: dt.date) -> Scene:
    platforms, hour = _FLEETS[orbit.sensor.id]
    platform = platforms[day.toordinal() // orbit.revisit_days % len(platforms)]
    utc = hour - (tile[0] + 0.5) / _DEGREES_AN_HOUR
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
    cloud = round(100 * share, 2) if optical else None
    return Scene(f"made_{orbit.sensor.id}_{name}_{day:%Y%m%d}", when, cloud, properties)
