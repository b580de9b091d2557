"""Tables: which column of a frame holds the places, and in what reference system."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.ground import WGS84, crs_facts, crs_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LAT", "LON", "Column", "X", "Y", "geometry_of", "has_pairs", "is_table", "plain_columns"]

LON: Final = frozenset({"lon", "lons", "long", "lng", "longitude", "longitudes", "decimallongitude"})
LAT: Final = frozenset({"lat", "lats", "latitude", "latitudes", "decimallatitude"})
X: Final = frozenset({"x", "easting", "eastings"})
Y: Final = frozenset({"y", "northing", "northings"})
_WORDS: Final = re.compile(r"[a-z]+|\d+")
_BESIDE: Final = frozenset(
    {"deg", "degs", "degree", "degrees", "dd", "decimal", "wgs", "84", "epsg", "4326", "gps", "site", "point"}
    | {"coord", "coords", "coordinate", "center", "centre", "centroid", "e", "n", "east", "north"}
)
"""What stands beside the name of a coordinate and leaves its meaning as it is: its unit, its system, what it is of."""
_TEXTS: Final = frozenset({"wkt", "geometry", "geom", "the_geom"})
_MARKS: Final = ("\ufeff", "\u00ef\u00bb\u00bf")
"""The byte order mark that spreadsheets write, and the same bytes read as Latin-1."""
_SEPARATORS: Final = (";", "\t", "|")
_SHOWN: Final = 8


class Column(NamedTuple):
    """The places of a table: one geometry or pair per row, and the reference system that the table states."""

    values: Iterable[object]
    crs: str | None
    labels: list[Any]


def is_table(source: object) -> bool:
    """Detect a pandas DataFrame, a GeoDataFrame with or without an active geometry, and a GeoSeries."""
    frame = all(hasattr(source, name) for name in ("columns", "index", "iloc"))
    return frame or all(hasattr(source, name) for name in ("geometry", "crs", "index", "to_crs"))


def geometry_of(table: Any, user_crs: str | None, source: str) -> Column:
    """Return the places of a table: its active geometry, else its only geometry column, else lon and lat.

    Errors name the table by `source`: its type, or the path that it was read from.
    """
    if not hasattr(table, "columns"):
        return Column(table.geometry, _stated(table.crs), list(table.index))
    if hasattr(table, "dask"):
        reason = "a Dask frame is not read here"
        raise SpecError("places", value=source, reason=reason, fix="give frame.compute()")
    labels = list(table.index)
    active = getattr(table, "_geometry_column_name", None)  # `.geometry` raises where there is none
    names = list(table.columns)
    if active in names:
        return Column(table.geometry, _stated(table.crs), labels)
    held = [position for position in range(len(names)) if _holds_geometries(table.iloc[:, position])]
    if len(held) > 1:
        listed = ", ".join(str(names[position]) for position in held)
        reason = f"{len(held)} columns hold geometries ({listed}) and none is the active one"
        first = names[held[0]]
        fix = f"give the one that is meant, for example places(frame[{first!r}]) or frame.set_geometry({first!r})"
        raise SpecError("places", value=source, reason=reason, fix=fix)
    if held:
        column = table.iloc[:, held[0]]
        return Column(column, _stated(getattr(column.array, "crs", None)), labels)
    return _from_pairs(table, user_crs, labels)


def plain_columns(table: Any) -> dict[str, Any]:
    """Return the columns of a frame that are neither geometries nor, where there are none, the coordinates."""
    if not hasattr(table, "columns"):
        return {}
    held = [_holds_geometries(table.iloc[:, position]) for position in range(len(table.columns))]
    pairs = frozenset() if any(held) else LON | LAT | X | Y
    columns = {}
    for position, (name, is_geometry) in enumerate(zip(table.columns, held, strict=True)):
        if not is_geometry and _plain(name) not in pairs:
            columns[str(name)] = table.iloc[:, position].array
    return columns


def _stated(crs: object) -> str | None:
    return None if crs is None else crs_text("places.crs", crs)


def _holds_geometries(column: Any) -> bool:
    if str(column.dtype) == "geometry":
        return True
    first = next((value for value in column if value is not None), None) if column.dtype == object else None
    return isinstance(first, shapely.Geometry)


def _from_pairs(table: Any, user_crs: str | None, labels: list[Any]) -> Column:
    """Read columns of longitudes and latitudes, which state their reference system, or of x and y, which do not."""
    plain = [_plain(name) for name in table.columns]
    degrees, metres = ([_positions(plain, of) for of in pair] for pair in ((LON, LAT), (X, Y)))
    chosen = degrees if any(degrees) else metres
    if [len(positions) for positions in chosen] != [1, 1]:
        raise _no_pairs(table, plain, chosen)
    if chosen is degrees and user_crs is not None and not crs_facts(user_crs).degrees:
        reason = "the columns are named as degrees, and this is a projected reference system"
        raise SpecError("places.crs", value=user_crs, reason=reason, fix="leave crs out, or name the columns x and y")
    if chosen is metres and user_crs is None:
        reason = "columns x and y do not say in which reference system they are"
        raise SpecError("places", value=_names(table), reason=reason, fix="pass crs=, or name them lon and lat")
    columns = (table.iloc[:, positions[0]].tolist() for positions in chosen)
    return Column(list(zip(*columns, strict=True)), user_crs or WGS84, labels)


def has_pairs(table: Any) -> bool:
    """Whether a table has columns of longitudes and latitudes."""
    plain = [_plain(name) for name in table.columns]
    return bool(_positions(plain, LON) and _positions(plain, LAT))


def _positions(plain: list[str], names: frozenset[str]) -> list[int]:
    """Return which columns have one of some names, else which have one with a unit or the like beside it."""
    exact = [position for position, name in enumerate(plain) if name in names]
    return exact or [position for position, name in enumerate(plain) if _bare(name) in names]


def _bare(name: str) -> str:
    return " ".join(word for word in _WORDS.findall(name) if word not in _BESIDE)


def _plain(name: object) -> str:
    text = str(name)
    for mark in _MARKS:
        text = text.removeprefix(mark)
    return text.strip().strip('"').lower()


def _names(table: Any) -> str:
    names = [str(name) for name in table.columns]
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _no_pairs(table: Any, plain: list[str], chosen: list[list[int]]) -> SpecError:
    """Say what the columns lack."""
    several = [position for positions in chosen if len(positions) > 1 for position in positions]
    if several:
        reason = f"several columns may be meant ({', '.join(str(table.columns[i]) for i in several)})"
        fix = "keep one pair, for example places(frame[['lon', 'lat']])"
    elif texts := [str(name) for name, word in zip(table.columns, plain, strict=True) if word in _TEXTS]:
        reason = f"the column {texts[0]} holds no geometries, and text does not state its crs"
        fix = f"give geopandas.GeoSeries.from_wkt(frame[{texts[0]!r}], crs='EPSG:4326')"
    elif joined := next((mark for mark in _SEPARATORS if len(plain) == 1 and mark in plain[0]), None):
        reason = "its columns were not separated"
        fix = f"read it with pandas.read_csv(path, sep={joined!r}), and decimal=',' where its numbers have commas"
    else:
        reason = "it has neither a column of geometries nor the columns lon and lat"
        fix = "name the columns lon and lat, or make it a GeoDataFrame"
    return SpecError("places", value=f"columns {_names(table)}", reason=reason, fix=fix)
