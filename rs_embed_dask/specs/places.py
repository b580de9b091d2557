"""Places from any source: specs, shapely geometries, tables, GeoJSON, vector files."""

from __future__ import annotations

import importlib
import json
import numbers
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import shapely
from shapely.geometry import shape as shape_of_mapping

from rs_embed_dask.errors import RsEmbedError, SpecError, UnknownNameError, shown
from rs_embed_dask.specs.accepted import CrsLike, ShapeLike, TableLike
from rs_embed_dask.specs.base import number
from rs_embed_dask.specs.columns import PlaceColumn, PlaceList, PointColumn, ShapeColumn, one_place
from rs_embed_dask.specs.ground import WGS84, crs_text
from rs_embed_dask.specs.tables import geometry_of, has_pairs, is_table
from rs_embed_dask.specs.where import BBox, PointBuffer, Polygon, Spatial, spatial_from_dict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JSON_SUFFIXES", "PlaceLike", "PlacesLike", "check_places", "place_column", "places", "read_frame"]

PlaceLike: TypeAlias = Spatial | ShapeLike
PlacesLike: TypeAlias = "PlaceLike | TableLike | Iterable[PlaceLike]"
_SPECS: Final = ("BBox", "PointBuffer", "Polygon")
JSON_SUFFIXES: Final = (".geojson", ".json")
_PARQUET: Final = (".parquet", ".geoparquet")
_PAIR: Final = 2
_MOST_BAD_ROWS: Final = 5
_TABLE_FIX: Final = "read a table with pandas and give that: places(pandas.read_csv(path), buffer_m=500)"
_FIX: Final = (
    "give a BBox, PointBuffer or Polygon, a shapely geometry, a list of them, a (longitude, latitude) pair, a "
    "GeoDataFrame, a table with the columns lon and lat, a GeoJSON mapping or the path of a vector file"
)


def places(source: PlacesLike, crs: CrsLike | None = None, *, buffer_m: float | None = None) -> list[Spatial]:
    """Make a list of places from anything that holds geometries.

    Parameters
    ----------
    source : a place, places or a table
        One of

        - a `BBox`, `PointBuffer`, `Polygon`, or the dictionary of one;
        - a shapely Point, Polygon or MultiPolygon, or anything with ``__geo_interface__``;
        - a GeoJSON mapping: a geometry, Feature or FeatureCollection;
        - a GeoDataFrame or GeoSeries; of several geometry columns the active one counts;
        - a pandas DataFrame with one column of geometries, or with the columns ``lon`` and ``lat`` (also ``longitude``,
          ``lng``, ``decimalLongitude`` and so on, in any case; ``x`` and ``y`` where `crs` is given);
        - the path of a GeoJSON file, or of another vector file (GeoPackage, Shapefile, GeoParquet, ...);
        - a (longitude, latitude) pair: a tuple, list or array of two numbers;
        - an array of shapely geometries, or of coordinates with shape (n, 2), longitude first;
        - a list or other iterable of such pairs and of the first three.
    crs : str or int or CRS, optional
        The reference system of geometries that state none. Default: longitude and latitude in degrees. Of a
        three-dimensional or compound one the horizontal part counts: heights are dropped.
    buffer_m : float, optional
        Half the side in metres of the square around a point; required for points.

    Returns
    -------
    list of BBox or PointBuffer or Polygon
        In the order of the source, at least one.

    Raises
    ------
    SpecError
        If the source or one of its rows is not valid, or larger than 1,000,000 km2; rows are named by their index.

    Examples
    --------
    >>> places([(4.35, 50.85), (5.57, 50.63)], buffer_m=500)
    [PointBuffer(4.35, 50.85, buffer_m=500), PointBuffer(5.57, 50.63, buffer_m=500)]
    >>> import pandas as pd
    >>> places(pd.DataFrame({"lon": [4.35], "lat": [50.85]}), buffer_m=500)
    [PointBuffer(4.35, 50.85, buffer_m=500)]
    """
    column = place_column(source, crs, buffer_m=buffer_m)
    return _checked(column, column.__getitem__) if isinstance(column, ShapeColumn) else list(column)


def place_column(source: PlacesLike, crs: CrsLike | None = None, *, buffer_m: float | None = None) -> PlaceColumn:
    """Return the same places as a column: a frame, or an array of coordinates or geometries, stays one."""
    user_crs = None if crs is None else crs_text("places.crs", crs)
    if is_table(source):
        return _table_column(source, user_crs, buffer_m)
    if isinstance(source, np.ndarray) and not _is_pair(source):
        return _array_column(source, user_crs or WGS84, buffer_m)
    return PlaceList(_listed(source, user_crs, buffer_m))


def check_places(column: PlaceColumn) -> None:
    """Refuse a column with a place that is not valid, as `places` does; objects were checked when they were made."""
    if isinstance(column, ShapeColumn):
        _checked(column, lambda row: (column[row], None)[1])


def _checked(column: ShapeColumn, convert: Callable[[Any], Any]) -> list[Any]:
    return _rows(range(len(column)), convert, labels=column.labels)


def _array_column(source: np.ndarray[Any, Any], crs: str, buffer_m: float | None) -> PlaceColumn:
    """Understand coordinates (n, 2), or an array of geometries."""
    if source.ndim == _PAIR and source.shape[1] == _PAIR and source.dtype.kind in "fiu":
        points = PointColumn.of(source.astype("float64"), buffer_m=buffer_m, crs=crs)
        if points is not None:
            return points
        source = shapely.points(source.astype("float64"))
    column = _geometry_column(source, crs, buffer_m=buffer_m)
    return column or PlaceList(_rows(source.tolist(), partial(_place, crs=crs, buffer_m=buffer_m)))


def _geometry_column(
    shapes: np.ndarray[Any, Any], crs: str, *, buffer_m: float | None, labels: Any = None
) -> PlaceColumn | None:
    """Make a column of points, or one of polygons; None for anything else, and for points that are not valid."""
    if shapes.ndim != 1 or not len(shapes) or not shapely.is_geometry(shapes).all() or shapely.is_empty(shapes).any():
        return None
    kinds = set(np.unique(shapely.get_type_id(shapes)).tolist())
    if kinds == {shapely.GeometryType.POINT.value}:
        return PointColumn.of(shapely.get_coordinates(shapes), buffer_m=buffer_m, crs=crs)
    if kinds <= {shapely.GeometryType.POLYGON.value, shapely.GeometryType.MULTIPOLYGON.value}:
        return ShapeColumn(shapes, crs, labels)
    return None


def _listed(source: object, user_crs: str | None, buffer_m: float | None) -> Sequence[Spatial]:
    """Make a list of places from what is no frame."""
    if isinstance(source, str | PathLike):
        return _from_file(fspath(source), user_crs, buffer_m)
    if isinstance(source, Mapping) and source.get("type") == "FeatureCollection":
        return _from_collection(source, user_crs, buffer_m)
    convert = partial(_place, crs=user_crs or WGS84, buffer_m=buffer_m)
    if _is_single(source):
        return [convert(source)]
    if not isinstance(source, Iterable):
        raise SpecError("places", value=source, reason=f"{type(source).__name__} does not hold places", fix=_FIX)
    return _rows(source, convert)


def _is_single(source: object) -> bool:
    one = isinstance(source, BBox | PointBuffer | Polygon | shapely.Geometry | Mapping) or _is_pair(source)
    return one or hasattr(source, "__geo_interface__")


def _is_pair(source: object) -> bool:
    """Detect two numbers: a tuple, a list, an array or a Series."""
    if not isinstance(source, tuple | list) and getattr(source, "ndim", 0) != 1:
        return False
    values: Any = source
    return len(values) == _PAIR and all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)


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
        more = f"; {len(others)} more bad row{'s' if len(others) > 1 else ''}: {listed}" if others else ""
        raise type(first)(
            f"{name} {first.what}", value=first.value, reason=first.reason + more, fix=first.fix
        ) from first
    if not converted:
        raise SpecError("places", value=[], reason="there are no places", fix="give at least one")
    return converted


def _place(row: object, *, crs: str, buffer_m: float | None) -> Spatial:
    """Make one place from one row."""
    if isinstance(row, BBox | PointBuffer | Polygon):
        return one_place(row)
    if isinstance(row, Mapping) and row.get("type") in _SPECS and "coordinates" not in row:
        return one_place(spatial_from_dict(row))
    shape = _shape(row)
    if isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        return one_place(Polygon.from_geometry(shape, crs))
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
    values: Any = row
    if (isinstance(row, tuple | list) or getattr(row, "ndim", 0) == 1) and len(values) == _PAIR:
        lon, lat = values
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


def _table_column(table: Any, user_crs: str | None, buffer_m: float | None, *, path: str = "") -> PlaceColumn:
    values, own_crs, labels = geometry_of(table, user_crs, path or type(table).__name__)
    if own_crs is None and user_crs is None:
        kind, other = ("file", "save it with its crs, as GeoPackage") if path else ("frame", "use frame.set_crs")
        fix = f"pass crs=, for example places({'path' if path else 'frame'}, crs='EPSG:4326'), or {other}"
        value = path or type(table).__name__
        raise SpecError("places", value=value, reason=f"the {kind} does not state its crs", fix=fix)
    crs = _agreed(own_crs, user_crs, "the frame")
    shapes = np.asarray(values, dtype=object)
    column = (
        _geometry_column(shapes, crs, buffer_m=buffer_m, labels=labels)
        if shapes.ndim == 1
        else PointColumn.of(_numbers(shapes), buffer_m=buffer_m, crs=crs)
    )
    return column or PlaceList(_rows(values, partial(_place, crs=crs, buffer_m=buffer_m), labels=labels))


def _numbers(pairs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return pairs as numbers; NaN where some are none, so that each row is looked at."""
    try:
        return pairs.astype("float64")
    except (TypeError, ValueError):
        return np.full(pairs.shape, np.nan)


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
    if suffix in JSON_SUFFIXES and "://" not in path:
        return _from_json(path, user_crs, buffer_m)
    column = _table_column(read_frame(path), user_crs, buffer_m, path=path)
    check_places(column)  # names the bad rows, which a column alone does not
    return list(column)


def read_frame(path: str) -> Any:
    """Read a vector file as a GeoDataFrame; a CSV with the columns lon and lat as a table of points."""
    suffix = Path(path).suffix.lower()
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
        fix = f"save it as GeoJSON, GeoPackage or GeoParquet; {_TABLE_FIX}"
        raise SpecError("places", value=path, reason=reason, fix=fix) from error
    if not hasattr(frame, "to_crs") and suffix == ".csv":
        frame = importlib.import_module("pandas").read_csv(path, encoding="utf-8-sig")
    if not hasattr(frame, "to_crs") and not has_pairs(frame):
        reason = f"it is a table without geometries, with the columns {', '.join(map(str, frame.columns[:8]))}"
        raise SpecError("places", value=path, reason=reason, fix=_TABLE_FIX)
    return frame


def _from_json(path: str, user_crs: str | None, buffer_m: float | None) -> list[Spatial]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        reason = f"it is not JSON ({error})"
        fix = "check that the file is complete and UTF-8"
        fix = "rename it to .geojsonl if each line is a Feature" if "Extra data" in reason else fix
        raise SpecError("places", value=path, reason=reason, fix=fix) from error
    if not isinstance(data, Mapping) or "type" not in data:
        fix = "wrap the features in a FeatureCollection"
        raise SpecError("places", value=path, reason="it is JSON but not GeoJSON", fix=fix)
    if data["type"] == "FeatureCollection":
        return _from_collection(data, user_crs, buffer_m)
    crs = _agreed(_declared_crs(data), user_crs, "the GeoJSON")
    return [_place(data, crs=crs, buffer_m=buffer_m)]
