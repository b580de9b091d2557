"""How much of each cell of a grid lies inside a polygon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import Polygon
from rs_embed_dask.specs.ground import WGS84, crs_facts, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.specs import Spatial

__all__ = ["coverage_of", "covered_cells", "footprint"]

_STEPS: Final = 64
_TURN: Final = 360.0


def footprint(spatial: Spatial, crs: str) -> shapely.Geometry | None:
    """Return a polygon in another reference system, its edges dense enough to bend with it; None for other places."""
    if not isinstance(spatial, Polygon):
        return None
    if spatial.crs == crs and not crs_facts(crs).degrees:
        return shapely.from_wkt(spatial.wkt)  # exactly its own numbers
    is_planar = not (crs_facts(spatial.crs).degrees or crs_facts(crs).degrees)
    shape, own = (shapely.from_wkt(spatial.wkt), spatial.crs) if is_planar else (spatial.unwrapped, WGS84)
    left, bottom, right, top = shape.bounds
    fine = shapely.segmentize(shape, max(right - left, top - bottom) / _STEPS)
    if crs == own:
        return fine
    return shapely.transform(fine, lambda xy: np.column_stack(project(own, crs, xy[:, 0], xy[:, 1])))


def coverage_of(shape: shapely.Geometry, grid: Grid) -> NDArray[np.float32]:
    """Return the share of each cell that lies inside a shape in the grid's reference system: (rows, columns)."""
    left, _, right, _ = grid.bounds
    if crs_facts(grid.crs).degrees:  # an unwrapped shape may lie one turn away from the grid
        middle = (shape.bounds[0] + shape.bounds[2]) / 2
        turns = _TURN * round(((left + right) / 2 - middle) / _TURN)
        shape = shapely.transform(shape, lambda xy: xy + np.array([turns, 0.0])) if turns else shape
    ((cells, covered),) = covered_cells([shape], grid.bounds, grid.shape)
    shares = np.zeros(grid.shape, np.float32)
    shares.flat[cells] = covered
    if not shares.any():
        fix = "use within='box', or a larger place"
        raise SpecError("place", value=shape.bounds, reason="it lies outside what the model sees of its image", fix=fix)
    return shares


def covered_cells(
    shapes: Sequence[shapely.Geometry], bounds: tuple[float, float, float, float], size: tuple[int, int]
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the cells of a grid (rows, columns) that each shape touches, numbered row by row, and their shares."""
    from exactextract import exact_extract
    from exactextract.feature import JSONFeatureSource
    from exactextract.raster import NumPyRasterSource

    cells = NumPyRasterSource(np.zeros(size, np.uint8), *bounds)
    areas = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes]
    found = exact_extract(cells, JSONFeatureSource(areas), ["cell_id", "coverage"])
    numbers = [one["properties"] for one in found]  # in the order of the areas, which it goes through one by one
    return [(np.asarray(one["cell_id"], np.int64), np.asarray(one["coverage"], np.float64)) for one in numbers]
