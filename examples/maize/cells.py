"""The places of the paper's use case: SPAM's cells of one state with more than 2,500 ha of maize."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from examples.maize import spam
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.places import read_frame

STATE, LEAST_HA, PAPER_COUNT = "Illinois", 2500.0, 991


def chosen_cells(yields, areas, *, state=STATE, outline=None, least_ha=LEAST_HA):
    """Choose the cells: a table by grid code, from north-west to south-east, with lon, lat, area_ha and t_ha.

    Tables of SPAM name each cell's state. Rasters do not, so they need `outline`: a vector file whose features together
    are the state. A cell belongs to it if its middle does.
    """
    area, of_yield = spam.read(areas, "H"), spam.read(yields, "Y")
    table = pd.DataFrame({"area_ha": area.numbers, "t_ha": of_yield.numbers}).sort_index()
    table["lon"], table["lat"] = spam.centre(table.index)
    table = table[_inside(table, area.states, state, outline)]
    chosen = table[(table["area_ha"] > least_ha) & (table["t_ha"] > 0)]
    _check(chosen, areas, least_ha)
    return chosen[["lon", "lat", "area_ha", "t_ha"]]


def counted(chosen, *, state=STATE, least_ha=LEAST_HA):
    """Say how many places there are, and whether the paper has as many."""
    said = f"{len(chosen):,} places with more than {least_ha:,.0f} ha of maize"
    if (state, least_ha) != (STATE, LEAST_HA):
        return f"{said}; the paper's are in Illinois, with more than 2,500 ha"
    if len(chosen) == PAPER_COUNT:
        return f"{said}, as in the paper"
    fix = "check the files and the outline; SPAM's tables name each cell's state"
    return f"{said}; WARNING: the paper has {PAPER_COUNT}. Fix: {fix}"


def _inside(table, states, state, outline):
    if outline is not None:
        return _within(read_outline(outline), table)
    if states is None:
        reason = "rasters do not say which state a cell lies in"
        fix = f"give a vector file of {state} (the Census Bureau's cartographic boundaries have it), or SPAM's tables"
        raise SpecError("outline", value=None, reason=reason, fix=fix)
    found = states.reindex(table.index).str.strip().str.casefold() == state.strip().casefold()
    if not found.any():
        raise SpecError(
            "state", value=state, reason="no cell of the table lies in it", fix="give it as ADM1_NAME has it"
        )
    return found


def read_outline(path):
    """Read the polygons of a vector file as one outline in longitude and latitude."""
    fix = "give a file of the state's polygons, such as the Census Bureau's"
    try:
        frame = read_frame(str(path))
    except SpecError as error:
        raise SpecError("outline", value=str(path), reason=error.reason, fix=fix) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise SpecError("outline", value=Path(path).name, reason="it is a table without geometries", fix=fix)
    if frame.crs is None:
        reason = "it states no reference system"
        raise SpecError("outline", value=Path(path).name, reason=reason, fix="give a file that does")
    parts = frame.geometry.make_valid().explode()  # a side may cross another
    polygons = parts[parts.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise SpecError("outline", value=Path(path).name, reason="there is no polygon in it", fix=fix)
    return polygons.to_crs("EPSG:4326").union_all()


def _within(shape, table):
    points = gpd.GeoSeries(gpd.points_from_xy(table["lon"], table["lat"]), index=table.index, crs="EPSG:4326")
    return points.within(shape)


def _check(chosen, areas, least_ha):
    if chosen.empty:
        reason = f"no cell there has more than {least_ha:g} ha of maize and a yield"
        fix = "check that yield and area are not swapped, and that the outline is of the right place"
        raise SpecError("harvested area", value=Path(areas).name, reason=reason, fix=fix)
    ground = spam.ground_ha(chosen["lat"])
    full = np.argmax(chosen["area_ha"].to_numpy() / ground)
    if chosen["area_ha"].iloc[full] > ground[full]:
        reason = f"a cell of {ground[full]:,.0f} ha would have {chosen['area_ha'].iloc[full]:,.0f} ha of maize"
        fix = "check that yield and area are not swapped, and that areas are in hectares"
        raise SpecError("harvested area", value=Path(areas).name, reason=reason, fix=fix)
