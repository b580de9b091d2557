"""Reads SPAM2020 V2r0: the harvested area and the yield of maize in cells of 5 arc-minutes, from GeoTIFFs or tables.

Every file says by its name what it holds. One that holds something else is refused before it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from pandas.errors import EmptyDataError, ParserError
from rasterio.errors import RasterioIOError

from rs_embed_dask.errors import SpecError

RASTER = re.compile(
    r"spam(?P<year>\d{4})_?(?P<version>V\dr\d)_(?P<extent>\w+?)_(?P<kind>[AHPY])_(?P<crop>[A-Z]{4})_(?P<tech>[AIR])\.tiff?"
)
TABLE = re.compile(r"spam(?P<year>\d{4})_?(?P<version>V\dr\d)_(?P<extent>\w+?)_(?P<kind>[AHPY])_T(?P<tech>[AIR])\.csv")
YEAR, VERSION, EXTENT, CROP, TECH = "2020", "V2r0", "global", "MAIZ", "A"
KINDS = {"A": "physical area", "H": "harvested area", "P": "production", "Y": "yield"}
TECHS = {"A": "all technologies", "I": "irrigated", "R": "rainfed"}
PER_DEGREE, COLUMNS, ROWS = 12, 4320, 2160
NEAR = 0.1  # of a cell, over the whole globe: some geotransforms have six digits
UNITS = {"H": {"ha": 1.0}, "Y": {"mt/ha": 1.0, "t/ha": 1.0, "kg/ha": 0.001}}
# Between the two lies no median of maize: the world's poorest fields give some 300 kg/ha, the richest some 20 t/ha.
MOST_TONNES, LEAST_KILOGRAMS = 50.0, 100.0
COUNTRY = "US"
TABLE_COLUMNS = ("grid_code", "x", "y", "FIPS0", "ADM1_NAME", "unit")


@dataclass(frozen=True, eq=False)
class Layer:
    """One quantity by cell: ``numbers`` by SPAM's grid code, in ha or t/ha; ``unit`` is what the file has.

    ``states`` has the first-level district of each cell, where the file states it.
    """

    numbers: pd.Series
    unit: str
    states: pd.Series | None = None


def grid_code(lon, lat):
    """SPAM's number of the cell that holds a place: cells are counted from the north-west corner of the globe."""
    column = np.floor((np.asarray(lon, "float64") + 180) * PER_DEGREE).astype("int64")
    row = np.floor((90 - np.asarray(lat, "float64")) * PER_DEGREE).astype("int64")
    return row * COLUMNS + column


def centre(code):
    """Longitude and latitude of the middles of cells."""
    row, column = np.divmod(np.asarray(code, "int64"), COLUMNS)
    return (column + 0.5) / PER_DEGREE - 180, 90 - (row + 0.5) / PER_DEGREE


def ground_ha(lat):
    """The area of a cell, in hectares, on the WGS84 ellipsoid's authalic sphere."""
    half = np.radians(0.5 / PER_DEGREE)
    middle = np.radians(np.asarray(lat, "float64"))
    strip = np.sin(middle + half) - np.sin(middle - half)
    return 6_371_007.2**2 * strip * np.radians(1 / PER_DEGREE) / 1e4


def read(path, kind):
    """Read the yield (``"Y"``) or the harvested area (``"H"``) of maize from a raster or a table of SPAM2020 V2r0."""
    path = Path(path)
    named = RASTER.fullmatch(path.name) or TABLE.fullmatch(path.name)
    check_name(path, named, kind)
    if not path.is_file():
        fix = "download it; docs/maize.md says where"
        raise SpecError(KINDS[kind], value=path.name, reason="there is no such file", fix=fix)
    try:
        return _table(path, kind) if path.suffix == ".csv" else _raster(path, kind)
    except (RasterioIOError, EmptyDataError, ParserError) as error:
        reason, fix = f"it cannot be read ({error})", "download it again; what is there is damaged or something else"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix=fix) from error


def check_name(path, named, kind):
    """Refuse a file whose name says that it holds another quantity, crop, technology, version or extent."""
    wanted = f"spam2020_V2r0_global_{kind}_MAIZ_A.tif or spam2020V2r0_global_{kind}_TA.csv"
    fix = f"give {wanted}, unpacked and by that name"
    if named is None:
        reason = "its name is not one of SPAM's, so what it holds is not known"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix=fix)
    found = {"crop": CROP, **named.groupdict()}
    swapped = {found["kind"], kind} == {"H", "Y"} and found["kind"] != kind
    for name, right, words in (
        ("year", YEAR, "it is of SPAM{}"),
        ("version", VERSION, "it is version {}, whose numbers differ from V2r0's"),
        ("extent", EXTENT, "its extent is {}"),
        ("kind", kind, "it holds the {}" + ("; yield and area are swapped" if swapped else "")),
        ("crop", CROP, "its crop is {}, not maize"),
        ("tech", TECH, "it is of the {} part, not of all maize"),
    ):
        if found[name] != right:
            told = {"kind": KINDS, "tech": TECHS}.get(name, {}).get(found[name], found[name])
            raise SpecError(KINDS[kind], value=path.name, reason=words.format(told), fix=fix)


def _raster(path, kind):
    with rasterio.open(path) as file:
        check_grid(path, file, kind)
        values = file.read(1, masked=True).astype("float64").filled(np.nan)
        left, top = round((file.transform.c + 180) * PER_DEGREE), round((90 - file.transform.f) * PER_DEGREE)
    rows, columns = np.nonzero(~np.isnan(values) & (values != 0))
    codes = pd.Index((rows + top) * COLUMNS + columns + left, name="grid_code")
    return _layer(path, kind, pd.Series(values[rows, columns], index=codes), _unit_of(path, kind, values))


def check_grid(path, file, kind):
    """Refuse a raster that does not lie on SPAM's cells, north up, in degrees."""
    step, of = file.transform, KINDS[kind]
    if file.count != 1:
        raise SpecError(of, value=path.name, reason=f"it has {file.count} bands", fix="give SPAM's file, which has one")
    if file.crs is None or file.crs.to_epsg() != 4326:
        reason = f"its reference system is {file.crs or 'not stated'}"
        raise SpecError(of, value=path.name, reason=reason, fix="give SPAM's file as it is, in EPSG:4326")
    size = np.array([step.a, step.e, step.b, step.d]) * PER_DEGREE
    corner = np.array([step.c + 180, 90 - step.f]) * PER_DEGREE
    if np.abs(size - [1, -1, 0, 0]).max() > NEAR / max(file.shape) or np.abs(corner - corner.round()).max() > NEAR:
        reason = (
            f"its pixels of {step.a:.6g} by {-step.e:.6g} degrees from {step.c:.6g}, {step.f:.6g} are not SPAM's cells"
        )
        fix = "give SPAM's file as it is: 5 arc-minutes, north up, counted from 180 W, 90 N"
        raise SpecError(of, value=path.name, reason=reason, fix=fix)


def _unit_of(path, kind, values):
    """The unit of a raster, which states none: yields in t/ha and in kg/ha are a thousandfold apart."""
    if kind == "H":
        return "ha"
    positive = values[values > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    if 0 < median <= MOST_TONNES:
        return "t/ha"
    if median >= LEAST_KILOGRAMS:
        return "kg/ha"
    reason = f"the median of its yields is {median:.4g}, neither t/ha (up to 50) nor kg/ha (from 100)"
    raise SpecError(KINDS[kind], value=path.name, reason=reason, fix="give SPAM's file as it is")


def _table(path, kind):
    column = f"{CROP}_{TECH}"
    # as bytes of a Windows table too: districts abroad have accents, and only COUNTRY's are looked at
    encoding = {"encoding": "utf-8-sig", "encoding_errors": "replace"}
    header = pd.read_csv(path, nrows=0, **encoding).columns
    missing = [name for name in (*TABLE_COLUMNS, column) if name not in header]
    if missing:
        reason = f"it has no column {', '.join(missing)}"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix="give SPAM's table as it is")
    texts = dict.fromkeys(("FIPS0", "ADM1_NAME", "unit"), str)
    table = pd.read_csv(path, usecols=[*TABLE_COLUMNS, column], dtype=texts, low_memory=False, **encoding)
    table = table[(table["FIPS0"] == COUNTRY) & table[column].notna()]
    if table.empty:
        reason = f"no row of the country {COUNTRY} has a number of maize"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix="give SPAM's table as it is")
    units = sorted(set(table["unit"].fillna("missing").str.strip()))
    if len(units) != 1 or units[0] not in UNITS[kind]:
        reason = f"its unit is {', '.join(units)}"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix=f"one of {', '.join(UNITS[kind])} is known")
    numbers = {name: _numbers(path, kind, table[name]) for name in ("grid_code", "x", "y", column)}
    codes = pd.Index(numbers["grid_code"].astype("int64"), name="grid_code")
    wrong = codes != grid_code(numbers["x"], numbers["y"])
    if wrong.any():
        value = f"{path.name}, grid_code {codes[wrong][0]}"
        raise SpecError(
            KINDS[kind], value=value, reason="its x and y lie in another cell", fix="give SPAM's table as it is"
        )
    states = pd.Series(table["ADM1_NAME"].to_numpy(), index=codes)
    return _layer(path, kind, pd.Series(numbers[column], index=codes), units[0], states=states)


def _numbers(path, kind, column):
    """The numbers of a column, each of which must be one."""
    found = pd.to_numeric(column, errors="coerce").to_numpy("float64")
    wrong = ~np.isfinite(found)
    if wrong.any():
        value = f"{path.name}, {column.name} {column[wrong].iloc[0]}"
        raise SpecError(KINDS[kind], value=value, reason="it is not a finite number", fix="give SPAM's table as it is")
    return found


def _layer(path, kind, values, unit, *, states=None):
    """Refuse numbers that cannot be, and bring the rest to ha or t/ha."""
    if not values.index.is_unique:
        value = f"{path.name}, grid_code {values.index[values.index.duplicated()][0]}"
        raise SpecError(KINDS[kind], value=value, reason="two rows are of this cell", fix="give SPAM's table as it is")
    wrong = values[(values < 0) | ~np.isfinite(values)]
    if len(wrong):
        reason = f"it has the value {wrong.min():g}, which its metadata does not call missing"
        raise SpecError(KINDS[kind], value=path.name, reason=reason, fix="give SPAM's file as it is")
    return Layer(values * UNITS[kind][unit], unit, states)
