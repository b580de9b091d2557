"""Places from any source: specs, shapely geometries, GeoDataFrames, GeoJSON, vector files."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import shapely
from shapely.geometry import shape as shape_of_mapping

from rs_embed_dask.errors import RsEmbedError, SpecError, UnknownNameError, shown
from rs_embed_dask.specs.base import number
from rs_embed_dask.specs.ground import WGS84, crs_text
from rs_embed_dask.specs.where import BBox, PointBuffer, Polygon, Spatial, spatial_from_dict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["places"]

_SPECS: Final = ("BBox", "PointBuffer", "Polygon")
_JSON: Final = (".geojson", ".json")
_PARQUET: Final = (".parquet", ".geoparquet")
_MOST_BAD_ROWS: Final = 5
_FIX: Final = (
    "give a BBox, PointBuffer or Polygon, a shapely geometry, a list of them, a GeoDataFrame, a GeoJSON mapping or the "
    "path of a vector file"
)


def places(source: object, crs: object = None, *, buffer_m: float | None = None) -> list[Spatial]:
    """Make a list of places from anything that holds geometries.

    Parameters
    ----------
    source : object
        One of

        - a `BBox`, `PointBuffer`, `Polygon`, or the dictionary of one;
        - a shapely Point, Polygon or MultiPolygon, or anything with ``__geo_interface__``;
        - a GeoJSON mapping: a geometry, Feature or FeatureCollection;
        - a GeoDataFrame or GeoSeries;
        - the path of a GeoJSON file, or of another vector file (GeoPackage, Shapefile, GeoParquet, ...);
        - a list or other iterable of the first three, and of (longitude, latitude) pairs.
    crs : str or int or CRS, optional
        The reference system of geometries that state none. Default: longitude and latitude in degrees.
    buffer_m : float, optional
        Half the side in metres of the square around a point; required for points.

    Returns
    -------
    list of BBox or PointBuffer or Polygon
        In the order of the source, at least one.

    Raises
    ------
    SpecError
        If the source or one of its rows is not valid; rows are named by their index.

    Examples
    --------
    >>> places([(4.35, 50.85), (5.57, 50.63)], buffer_m=500)
    [PointBuffer(4.35, 50.85, buffer_m=500), PointBuffer(5.57, 50.63, buffer_m=500)]
    """
    user_crs = None if crs is None else crs_text("places.crs", crs)
    if isinstance(source, str | PathLike):
        return _from_file(fspath(source), user_crs, buffer_m)
    if _is_frame(source):
        return _from_frame(source, user_crs, buffer_m)
    if isinstance(source, Mapping) and source.get("type") == "FeatureCollection":
        return _from_collection(source, user_crs, buffer_m)
    convert = partial(_place, crs=user_crs or WGS84, buffer_m=buffer_m)
    if _is_single(source):
        return [convert(source)]
    if not isinstance(source, Iterable):
        raise SpecError("places", value=source, reason=f"{type(source).__name__} does not hold places", fix=_FIX)
    return _rows(source, convert)


def _is_frame(source: object) -> bool:
    """Detect a GeoDataFrame or GeoSeries without importing geopandas."""
    return all(hasattr(source, name) for name in ("geometry", "crs", "index", "to_crs"))


def _is_single(source: object) -> bool:
    one = isinstance(source, BBox | PointBuffer | Polygon | shapely.Geometry | Mapping) or _is_pair(source)
    return one or hasattr(source, "__geo_interface__")


def _is_pair(source: object) -> bool:
    """Detect a (longitude, latitude) tuple; a list always holds several places."""
    match source:
        case (int() | float(), int() | float()):
            return isinstance(source, tuple)
    return False


def _rows(rows: Iterable[object], convert: Callable[[object], Spatial], labels: Any = None) -> list[Spatial]:
    """Convert every row; the error describes the first bad one and lists the others."""
    converted: list[Spatial] = []
    bad: list[tuple[int, RsEmbedError]] = []
    for index, row in enumerate(rows):
        try:
            converted.append(convert(row))
        except (SpecError, UnknownNameError) as error:
            bad.append((index, error))
    if bad:
        index, first = bad[0]
        name = f"places[{index}]" + (f" (index {shown(labels[index])})" if labels is not None else "")
        others = [str(row) for row, _ in bad[1:]]
        listed = ", ".join(others[:_MOST_BAD_ROWS]) + (" ..." if len(others) > _MOST_BAD_ROWS else "")
        more = f"; {len(others)} more bad rows: {listed}" if others else ""
        raise type(first)(
            f"{name} {first.what}", value=first.value, reason=first.reason + more, fix=first.fix
        ) from first
    if not converted:
        raise SpecError("places", value=[], reason="there are no places", fix="give at least one")
    return converted


def _place(row: object, *, crs: str, buffer_m: float | None) -> Spatial:
    """Make one place from one row."""
    if isinstance(row, BBox | PointBuffer | Polygon):
        return row
    if isinstance(row, Mapping) and row.get("type") in _SPECS and "coordinates" not in row:
        return spatial_from_dict(row)
    shape = _shape(row)
    if isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        return Polygon.from_geometry(shape, crs)
    if isinstance(shape, shapely.Point) and not shape.is_empty:
        if buffer_m is None:
            fix = "pass buffer_m=, half the side in metres of a square around each point"
            raise SpecError("point", value=shape.wkt, reason="a point has no extent", fix=fix)
        return PointBuffer(shape.x, shape.y, buffer_m, crs)
    if shape.is_empty:
        fix = "drop the row, for example frame[~frame.is_empty]"
        raise SpecError("geometry", value=shape.wkt, reason="the geometry is empty", fix=fix)
    reason = f"a {shape.geom_type} is not a place"
    several = shape.geom_type in {"MultiPoint", "GeometryCollection"}
    fix = "explode it into single geometries" if several else "buffer it into a polygon first"
    raise SpecError("geometry", value=shape.wkt, reason=reason, fix=fix)


def _shape(row: object) -> shapely.Geometry:
    if isinstance(row, shapely.Geometry):
        return row
    if row is None:
        raise SpecError("geometry", value=None, reason="the geometry is missing", fix="drop the row")
    match row:
        case (lon, lat):
            return shapely.Point(number("longitude", lon), number("latitude", lat))
    data = getattr(row, "__geo_interface__", row)
    if not isinstance(data, Mapping):
        raise SpecError("place", value=row, reason=f"{type(row).__name__} is not a place", fix=_FIX)
    if data.get("type") == "Feature":
        return _shape(data.get("geometry"))
    try:
        return shape_of_mapping(data)
    except (shapely.errors.ShapelyError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"this is not a GeoJSON geometry ({type(error).__name__}: {error})"
        raise SpecError("geometry", value=dict(data), reason=reason, fix="check its type and coordinates") from error


def _agreed(own_crs: str | None, user_crs: str | None, what: str) -> str:
    """Return the reference system of a source that may state its own."""
    if own_crs is not None and user_crs is not None and own_crs != user_crs:
        reason = f"{what} states {own_crs[:40]}"
        fix = "leave crs out, or change the source's own (to_crs, set_crs)"
        raise SpecError("places.crs", value=user_crs, reason=reason, fix=fix)
    return own_crs or user_crs or WGS84


def _from_frame(frame: Any, user_crs: str | None, buffer_m: float | None) -> list[Spatial]:
    own_crs = None if frame.crs is None else crs_text("places.crs", frame.crs)
    if own_crs is None and user_crs is None:
        fix = "pass crs=, for example places(frame, crs='EPSG:4326'), or use frame.set_crs"
        raise SpecError("places", value=type(frame).__name__, reason="the frame does not state its crs", fix=fix)
    convert = partial(_place, crs=_agreed(own_crs, user_crs, "the frame"), buffer_m=buffer_m)
    return _rows(frame.geometry, convert, labels=list(frame.index))


def _from_collection(data: Mapping[str, Any], user_crs: str | None, buffer_m: float | None) -> list[Spatial]:
    features = data.get("features")
    if not isinstance(features, list):
        reason = "the FeatureCollection has no list of features"
        raise SpecError("places", value=data, reason=reason, fix="add 'features': [...]")
    crs = _agreed(_declared_crs(data), user_crs, "the GeoJSON")
    return _rows(features, partial(_place, crs=crs, buffer_m=buffer_m))


def _declared_crs(data: Mapping[str, Any]) -> str | None:
    """Read the ``crs`` member, which GeoJSON had before RFC 7946 and GDAL still writes."""
    member = data.get("crs")
    name = member.get("properties", {}).get("name") if isinstance(member, Mapping) else None
    return crs_text("places.crs", name) if name is not None else None


def _from_file(path: str, user_crs: str | None, buffer_m: float | None) -> list[Spatial]:
    suffix = Path(path).suffix.lower()
    if "://" not in path and not Path(path).exists():
        raise SpecError("places", value=path, reason="there is no such file", fix="check the path of the vector file")
    if suffix in _JSON and "://" not in path:
        return _from_json(path, user_crs, buffer_m)
    try:
        geopandas = importlib.import_module("geopandas")
    except ModuleNotFoundError as error:
        fix = "pip install geopandas, or save the places as GeoJSON"
        raise SpecError("places", value=path, reason="geopandas is needed to read this file", fix=fix) from error
    read = geopandas.read_parquet if suffix in _PARQUET else geopandas.read_file
    try:
        frame = read(path)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = f"geopandas cannot read it ({type(error).__name__}: {str(error)[:200]})"
        fix = "save it as GeoJSON, GeoPackage or GeoParquet"
        raise SpecError("places", value=path, reason=reason, fix=fix) from error
    if not _is_frame(frame):
        reason = f"it is a table without geometries, with the columns {', '.join(map(str, frame.columns[:8]))}"
        fix = "pass geopandas.GeoDataFrame(table, geometry=geopandas.points_from_xy(table.lon, table.lat), crs=4326)"
        raise SpecError("places", value=path, reason=reason, fix=fix)
    return _from_frame(frame, user_crs, buffer_m)


def _from_json(path: str, user_crs: str | None, buffer_m: float | None) -> list[Spatial]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        reason = f"it is not JSON ({error})"
        raise SpecError("places", value=path, reason=reason, fix="check that the file is complete and UTF-8") from error
    if not isinstance(data, Mapping) or "type" not in data:
        fix = "wrap the features in a FeatureCollection"
        raise SpecError("places", value=path, reason="it is JSON but not GeoJSON", fix=fix)
    if data["type"] == "FeatureCollection":
        return _from_collection(data, user_crs, buffer_m)
    crs = _agreed(_declared_crs(data), user_crs, "the GeoJSON")
    return [_place(data, crs=crs, buffer_m=buffer_m)]
