"""Independent geodesy for the tests of grids."""

from __future__ import annotations

import math
from functools import lru_cache

import shapely
from pyproj import Geod, Transformer

GEOD = Geod(ellps="WGS84")


@lru_cache
def transformer(source, target):
    return Transformer.from_crs(source, target, always_xy=True)


def lonlat(grid, x, y):
    return transformer(grid.crs, 4326).transform(x, y)


def ground_error(grid):
    """How far, relative, the sides and the middle lines of a grid are from rows and columns times the resolution."""
    left, bottom, right, top = grid.bounds
    mid_x, mid_y = (left + right) / 2, (bottom + top) / 2
    lines = [((left, y), (right, y)) for y in (bottom, mid_y, top)] + [
        ((x, bottom), (x, top)) for x in (left, mid_x, right)
    ]
    errors = []
    for (x0, y0), (x1, y1) in lines:
        lon0, lat0 = lonlat(grid, x0, y0)
        lon1, lat1 = lonlat(grid, x1, y1)
        metres = GEOD.inv(lon0, lat0, lon1, lat1)[2]
        errors.append(abs(metres / math.hypot(x1 - x0, y1 - y0) - 1))
    return max(errors)


def covers(grid, spatial):
    to_grid = transformer(4326, grid.crs)
    points = shapely.get_coordinates(shapely.segmentize(spatial.unwrapped, 0.05))
    x, y = to_grid.transform(points[:, 0], points[:, 1])
    left, bottom, right, top = grid.bounds
    slack = 0.1
    return (x.min() >= left - slack and x.max() <= right + slack) and (
        y.min() >= bottom - slack and y.max() <= top + slack
    )
