"""Polygons from any source, each in its own reference system, brought to the plane of a map where the map is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import Polygon
from rs_embed_dask.specs.ground import WGS84, crs_facts, crs_text, lonlat_bounds
from rs_embed_dask.specs.outline import cut, moved, outlines, to_degrees
from rs_embed_dask.specs.places import places, read_frame

if TYPE_CHECKING:
    import geopandas as gpd

    from rs_embed_dask.specs.places import PlacesLike

__all__ = ["Area", "areas_of"]

_MARGIN: Final = 1.0  # degrees
_FIX: Final = "give a GeoDataFrame of polygons, a BBox, a Polygon, a shapely polygon, a list, or a vector file's path"


@dataclass(frozen=True, eq=False)
class Area:
    """One polygon, or several that count as one."""

    shape: shapely.Geometry
    crs: str

    @cached_property
    def _degrees(self) -> shapely.Geometry:
        return shapely.union_all([to_degrees(part, self.crs) for part in outlines(self.shape)])

    @property
    def lonlat(self) -> shapely.Geometry:
        """The shape in longitude and latitude, cut at the antimeridian."""
        return self._degrees

    def near(self, crs: str, bounds: tuple[float, float, float, float]) -> shapely.Geometry | None:
        """Return the shape in the plane of a map, as far as it lies near the map's bounds; None where it does not.

        A shape in the map's own system keeps its numbers; edges of others bend with the projection, to 1 cm.
        """
        if self.crs == crs and not crs_facts(crs).degrees:
            return self.shape if shapely.box(*bounds).intersects(self.shape) else None
        west, south, east, north = lonlat_bounds(crs, bounds)
        around = west - _MARGIN, max(south - _MARGIN, -90.0), east + _MARGIN, min(north + _MARGIN, 90.0)
        parts = list(cut(self._degrees, around))
        return moved(parts, crs) if parts else None


def areas_of(source: PlacesLike) -> tuple[gpd.GeoDataFrame, list[Area]]:
    """Return areas as a table, with the columns of the source, and each as it is.

    Raises
    ------
    SpecError
        If there is none, or one has no area, is not simple, or states no reference system.
    """
    import geopandas as gpd

    if isinstance(source, str | PathLike):
        source = read_frame(fspath(source))
    if isinstance(source, gpd.GeoDataFrame | gpd.GeoSeries):
        table = source if isinstance(source, gpd.GeoDataFrame) else gpd.GeoDataFrame(geometry=source)
        if table.crs is None:
            raise SpecError("polygons", reason="the frame does not state its crs", fix="use frame.set_crs")
        crs = crs_text("polygons.crs", table.crs)
        areas = [Area(_sound(shape, number), crs) for number, shape in enumerate(table.geometry)]
    else:
        listed: list[Any] = places(source)
        areas = [
            Area(shapely.from_wkt(one.wkt), one.crs)
            if isinstance(one, Polygon) and not crs_facts(one.crs).degrees
            else Area(one.unwrapped, WGS84)
            for one in listed
        ]
        table = gpd.GeoDataFrame(geometry=[one.lonlat for one in areas], crs=WGS84)
    if not areas:
        raise SpecError("polygons", value=0, reason="there are none", fix=_FIX)
    return table, areas


def _sound(shape: Any, number: int) -> shapely.Geometry:
    flat = None if shape is None else shapely.force_2d(shape)
    if flat is None or not isinstance(flat, shapely.Polygon | shapely.MultiPolygon) or flat.is_empty:
        kind = "missing" if flat is None else "empty" if flat.is_empty else f"a {flat.geom_type}"
        raise SpecError("polygons", value=f"row {number}", reason=f"its geometry is {kind}", fix=_FIX)
    if not flat.is_valid:
        reason = f"its outline is not simple ({shapely.is_valid_reason(flat)})"
        raise SpecError("polygons", value=f"row {number}", reason=reason, fix="use frame.make_valid()")
    if not np.isfinite(flat.bounds).all():
        raise SpecError("polygons", value=f"row {number}", reason="a coordinate is not finite", fix=_FIX)
    return flat
