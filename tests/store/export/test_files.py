"""Exports, read back by other libraries."""

from __future__ import annotations

import json

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray as xr
from geoparquet_io.core import check_parquet_structure

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.store.export import geoparquet
from tests.store.export.conftest import FAILED
from tests.store.samples import GRID, vector


def test_geopandas_reads_the_parquet_file(vectors, known, tmp_path):
    path = rs.export(vectors, "geoparquet", tmp_path / "run.parquet")
    table = gpd.read_parquet(path)
    wide = rs.to_geodataframe(vectors)
    assert [column for column in table if column != "bbox"] == [
        *("row", "id", "span", "galileo_status", "other_status", "galileo", "other", "geometry")
    ]
    rows = table["row"].to_numpy()
    assert sorted(rows) == list(range(10))
    assert table["id"].tolist() == [f"place-{row}" for row in rows]
    assert table.crs == wide.crs
    assert table.geometry.geom_equals(wide.geometry.iloc[rows].reset_index(drop=True)).all()
    for row, one, status in zip(rows, table["galileo"], table["galileo_status"], strict=True):
        assert status == ("read_failed" if row == FAILED else "ok")
        if row == FAILED:
            assert one is None
        else:
            np.testing.assert_array_equal(one, known[row])
    np.testing.assert_array_equal(np.stack(table["other"]), rows[:, None] + np.arange(2))


def test_the_file_is_in_hilbert_order_and_has_a_covering(vectors, tmp_path):
    path = rs.to_geoparquet(vectors, tmp_path / "run.parquet")
    table = gpd.read_parquet(path)
    distances = table.geometry.hilbert_distance()
    assert distances.is_monotonic_increasing
    assert table["row"].tolist() != sorted(table["row"])
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]
    found = gpd.read_parquet(path, bbox=(3.9, 49.9, 4.1, 50.05))
    assert sorted(found["id"]) == ["place-0", "place-7"]
    footer = pq.read_schema(path).metadata
    assert json.loads(footer[b"emb"])["galileo"]["geoemb:dimensions"] == 5
    assert json.loads(footer[b"rs_embed_dask"])["request"]["output"] == {"mode": "pooled"}


def test_duckdb_reads_the_parquet_file(vectors, tmp_path):
    path = rs.to_geoparquet(vectors, tmp_path / "run.parquet", model="galileo")
    query = f"select id, galileo[5], bbox.xmin from '{path}' where galileo_status = 'ok' order by row limit 3"
    rows = duckdb.sql(query).fetchall()
    assert [row[:2] for row in rows] == [("place-0", 4.0), ("place-1", 5.0), ("place-2", 6.0)]
    assert rows[0][2] == pytest.approx(rs.to_geodataframe(vectors).total_bounds[0])


def test_geoparquet_io_finds_nothing_to_mend(vectors, tmp_path):
    path = str(rs.to_geoparquet(vectors, tmp_path / "run.parquet"))
    quiet = {"return_results": True, "quiet": True}
    about = check_parquet_structure.check_metadata_and_bbox(path, **quiet)
    assert about | {"version": "1.1.0", "has_bbox_metadata": True, "bbox_column_name": "bbox", "issues": []} == about
    assert check_parquet_structure.check_compression(path, **quiet)["current_compression"] == "ZSTD"
    groups = check_parquet_structure.check_row_groups(path, **quiet)
    assert groups | {"passed": True, "issues": []} == groups
    assert groups["stats"]["total_rows"] == 10


def test_small_reads_and_row_groups_give_the_same_file(vectors, tmp_path, monkeypatch):
    whole = pq.read_table(rs.to_geoparquet(vectors, tmp_path / "whole.parquet"))
    monkeypatch.setattr(geoparquet, "_GROUP_BYTES", 900)
    monkeypatch.setattr(geoparquet, "_READ_BYTES", 1)
    path = rs.to_geoparquet(vectors, tmp_path / "parts.parquet")
    assert pq.ParquetFile(path).num_row_groups == 4
    assert pq.read_table(path).equals(whole)


def test_netcdf_holds_the_run(mixed, known, tmp_path):
    path = rs.export(mixed, "netcdf", tmp_path / "run.nc")
    with xr.open_datatree(path, engine="netcdf4") as tree:
        assert set(tree.children) == {"items", "galileo", "rcf"}
        np.testing.assert_array_equal(tree["galileo/embedding"], known)
        np.testing.assert_array_equal(tree["rcf/embedding"][2], vector(GRID, 2))
        assert tree["items/id"].values.tolist() == [f"place-{row}" for row in range(10)]
        assert tree["galileo/reason"].values[FAILED] == "host away"
        assert tree["items/start"].values[0] == np.datetime64("2021-01-01")
        assert tree.rs.request == rs.open_store(mixed).rs.request
        assert rs.to_dataframe(tree, "galileo").equals(rs.to_dataframe(mixed, "galileo"))
        assert rs.to_geodataframe(tree, "galileo").geometry.equals(rs.to_geodataframe(mixed, "galileo").geometry)


@pytest.mark.parametrize("load", [False, True])
def test_the_tree_itself_survives_to_netcdf(mixed, known, tmp_path, load):
    tree = rs.open_store(mixed)
    (tree.load() if load else tree).to_netcdf(tmp_path / "tree.nc")
    with xr.open_dataset(tmp_path / "tree.nc", group="galileo") as group:
        np.testing.assert_array_equal(group["embedding"], known)
        assert json.loads(group.attrs["model"])["card"] == {"id": "galileo"}


def test_only_chosen_models_are_written(mixed, tmp_path):
    path = rs.to_netcdf(mixed, tmp_path / "run.nc", model="rcf")
    with xr.open_datatree(path) as tree:
        assert set(tree.children) == {"items", "rcf"}


def test_a_failed_export_leaves_nothing(vectors, mixed, tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="netcdf"):
        rs.export(vectors, "netcfd", tmp_path / "x.nc")
    with pytest.raises(StoreError, match="grid per item"):
        rs.export(mixed, "geoparquet", tmp_path / "x.parquet")
    with pytest.raises(StoreError, match="folder exists"):
        rs.export(vectors, "geoparquet", tmp_path / "no" / "x.parquet")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(geoparquet, "_list_column", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="No space left"):
        rs.to_geoparquet(vectors, tmp_path / "out" / "x.parquet")
    assert list((tmp_path / "out").iterdir()) == []
