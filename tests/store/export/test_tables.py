"""Tables and names of a run."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.specs.where import PointBuffer
from tests.store.export.conftest import FAILED

SPAN = "2021-01-01/2022-01-01"
IDS = [f"place-{row}" for row in range(10)]


def test_a_wide_table_has_one_row_per_item_in_order(vectors, known):
    table = rs.to_dataframe(vectors)
    assert table.index.names == ["id", "span"]
    assert table.index.tolist() == [(name, SPAN) for name in IDS]
    galileo = [f"galileo_{number:04d}" for number in range(1, 6)]
    assert list(table) == [*galileo, "galileo_status", "other_0001", "other_0002", "other_status"]
    np.testing.assert_array_equal(table[galileo], known)
    np.testing.assert_array_equal(table[["other_0001", "other_0002"]], np.arange(10)[:, None] + np.arange(2))
    assert table["galileo_status"].tolist() == ["read_failed" if row == FAILED else "ok" for row in range(10)]


def test_a_long_table_has_one_row_per_dimension(vectors, known):
    table = rs.to_dataframe(vectors, model=["other", "galileo"], layout="long")
    assert list(table) == ["model", "status", "dimension", "value"]
    assert len(table) == 10 * 2 + 10 * 5
    galileo = table[table.model == "galileo"]
    np.testing.assert_array_equal(galileo["value"].to_numpy().reshape(10, 5), known)
    assert galileo.loc[("place-3", SPAN), "dimension"].tolist() == [1, 2, 3, 4, 5]
    assert set(galileo.loc[(IDS[FAILED], SPAN), "status"]) == {"read_failed"}


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_a_geotable_has_each_places_footprint(vectors, layout):
    table = rs.to_geodataframe(vectors, layout=layout)
    assert table.crs == "EPSG:4326"
    for row in (0, 3, 9):
        place = PointBuffer(lon=4.0 + row * 0.01, lat=50.0 + (row % 7) * 0.1, buffer_m=260).geometry
        for shape in table.loc[[(IDS[row], SPAN)]].geometry:
            assert shape.symmetric_difference(place).area < 1e-4 * place.area


def test_the_tree_has_the_same_methods(vectors):
    tree = rs.open_store(vectors)
    assert tree.rs.to_dataframe("galileo").equals(rs.to_dataframe(vectors, "galileo"))
    assert tree.rs.to_geodataframe().equals(rs.to_geodataframe(xr.open_datatree(vectors, engine="zarr")))
    assert tree.rs.models == ("galileo", "other")
    assert tree.rs.request["fetch"] == {"resolution_m": 10.0, "mask": "scl"}
    assert tree.rs.receipt == {}
    assert tree.rs.facts("galileo")["model"]["card"] == {"id": "galileo"}


def test_items_are_found_by_id(vectors):
    tree = rs.open_store(vectors)
    np.testing.assert_array_equal(tree["galileo"].embedding.sel(item="place-7"), np.arange(5) + 7)
    assert tree["galileo"].embedding.sel(item=["place-2", "place-1"]).values[:, 0].tolist() == [2, 1]


def test_a_grid_is_a_map(mixed):
    run = rs.open_store(mixed)
    field = run.rs.grid("place-1")
    assert field.shape == (3, 3, 2)
    assert field.rio.crs.to_epsg() == 32631
    assert field.rio.resolution() == (40, -40)
    assert field.y.values.tolist() == [5_599_980, 5_599_940, 5_599_900]
    assert field.x.values.tolist() == [600_021, 600_061]
    np.testing.assert_array_equal(field.values[2], np.full((3, 2), 3))
    assert run.rs.grid(1, model="rcf").identical(field)


def test_what_has_no_table_or_grid_is_refused_with_the_fix(mixed, vectors):
    with pytest.raises(StoreError, match=r"rcf.*grid per item.*model=\['galileo'\]"):
        rs.to_dataframe(mixed)
    assert rs.to_dataframe(mixed, model="galileo").shape == (10, 6)
    with pytest.raises(StoreError, match="no grids"):
        rs.open_store(vectors).rs.grid("place-1")
    with pytest.raises(UnknownNameError, match="place-1"):
        rs.open_store(mixed).rs.grid("plaice-1")
    with pytest.raises(StoreError, match="10 items"):
        rs.open_store(mixed).rs.grid(10)
    with pytest.raises(UnknownNameError, match="galileo"):
        rs.to_dataframe(vectors, model="galilei")
    with pytest.raises(UnknownNameError, match="wide"):
        rs.to_dataframe(vectors, layout="tall")
    with pytest.raises(StoreError, match="no group 'items'"):
        rs.to_dataframe(xr.DataTree())


def test_columns_of_the_places_come_first_and_may_not_collide(vectors):
    tree = rs.open_store(vectors)
    crops = np.array(["wheat", "maize"] * 5, dtype=object)
    tree["items"] = tree["items"].to_dataset().assign(crop=("item", crops))
    table = rs.to_dataframe(tree)
    assert next(iter(table)) == "crop"
    assert table["crop"].tolist() == crops.tolist()
    assert rs.to_dataframe(tree, "other", "long")["crop"].tolist() == np.repeat(crops, 2).tolist()
    tree["items"] = tree["items"].to_dataset().assign(other_0001=("item", crops))
    with pytest.raises(StoreError, match=r"other_0001.*rename"):
        rs.to_dataframe(tree)
