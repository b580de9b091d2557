"""Runs in the formats of other programs, read back by other libraries: values, ids, order and places are the same."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import shapely
import xarray as xr
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.store.export import FORMATS, neuco
from tests.store.export.conftest import FAILED
from tests.store.export.test_stac import validator
from tests.store.samples import GRID, make_items, vector

__all__ = ["validator"]

PLACES = [{"lon": i.spatial.lon, "lat": i.spatial.lat, "buffer_m": 260.0, "crs": "EPSG:4326"} for i in make_items(10)]


def test_numpy_reads_all_items_of_one_file(vectors, known, tmp_path):
    path = rs.export(vectors, "rs-embed", tmp_path / "run.npz")
    with np.load(path) as arrays:
        assert sorted(arrays.files) == ["embeddings__galileo", "embeddings__other"]
        assert arrays["embeddings__galileo"].dtype == np.float32
        np.testing.assert_array_equal(arrays["embeddings__galileo"], known)
        np.testing.assert_array_equal(arrays["embeddings__other"], np.arange(10)[:, None] + np.arange(2))
    manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert manifest["ids"] == [f"place-{row}" for row in range(10)]
    assert manifest["spatials"] == PLACES
    assert manifest["temporal"] == {"mode": "year", "year": 2021}
    galileo = manifest["models"][0]
    assert (manifest["status"], galileo["status"], galileo["failed_indices"]) == ("partial", "partial", [FAILED])
    assert galileo["errors_by_index"] == {str(FAILED): "read_failed: host away"}
    assert galileo["metas"][0] == {"model": "galileo", "id": "place-0", "status": "ok"}


def test_xarray_reads_the_netcdf_file(vectors, known, tmp_path):
    path = rs.to_rs_embed(vectors, tmp_path / "run.nc", model="galileo")
    with xr.open_dataset(path, engine="netcdf4") as data:
        assert list(data) == ["embeddings__galileo"]
        assert data["embeddings__galileo"].dims == ("point", "dim")
        np.testing.assert_array_equal(data["embeddings__galileo"], known)


@pytest.mark.parametrize("kind", ["npz", "netcdf"])
def test_a_folder_has_a_file_per_item(mixed, known, tmp_path, kind):
    rs.to_rs_embed(mixed, tmp_path / "items", kind=kind)
    loaded = rs.load_export(tmp_path / "items")
    assert (loaded.layout, loaded.n_items, loaded.spatials) == ("per_item", 10, PLACES)
    np.testing.assert_array_equal(loaded.embedding("galileo"), known)
    ending = {"npz": "npz", "netcdf": "nc"}[kind]
    with (
        xr.open_dataset(tmp_path / "items" / "p00003.nc")
        if kind == "netcdf"
        else np.load(tmp_path / "items" / f"p00003.{ending}") as one
    ):
        np.testing.assert_array_equal(one["embedding__rcf"], vector(GRID, 3))


def test_grids_of_unlike_shapes_have_a_key_each(mixed, tmp_path):
    path = rs.to_rs_embed(mixed, tmp_path / "run.npz", model="rcf")
    with np.load(path) as arrays:
        assert arrays.files == [f"embedding__rcf__{row:05d}" for row in range(10)]
        for row in range(10):
            np.testing.assert_array_equal(arrays[f"embedding__rcf__{row:05d}"], vector(GRID, row))


def test_pandas_reads_the_csv_of_neuco_bench(vectors, known, tmp_path, monkeypatch):
    monkeypatch.setattr(neuco, "_ROWS", 4)
    with pytest.warns(UserWarning, match="1 items without a vector were left out: place-6"):
        path = rs.export(vectors, "neuco-csv", tmp_path / "run.csv", model="galileo")
    table = pd.read_csv(path, index_col="id")
    kept = [row for row in range(10) if row != FAILED]
    assert list(table) == list("01234")
    assert table.index.tolist() == [f"place-{row}" for row in kept]
    np.testing.assert_array_equal(table.to_numpy("float32"), known[kept])
    with pytest.raises(StoreError, match="holds one model"):
        rs.to_neuco_csv(vectors, tmp_path / "all.csv")


def test_rasterio_reads_a_file_per_grid(mixed, tmp_path):
    rs.export(mixed, "cog", tmp_path / "grids", model="rcf", dims="all")
    files = sorted((tmp_path / "grids").iterdir())
    assert [one.name for one in files] == [f"rcf_place-{row}_2021-01-01_2022-01-01.tif" for row in range(10)]
    for row in (2, 3):
        with rasterio.open(files[row]) as image:
            np.testing.assert_array_equal(image.read(), vector(GRID, row))
            assert image.crs == "EPSG:32631"
            assert tuple(image.transform)[:6] == (40.0, 0, 600_000 + row, 0, -40.0, 5_600_000)
            assert image.descriptions == ("dimension 0", "dimension 1", "dimension 2")
    (one,) = rs.to_cog(mixed, tmp_path / "one.tif", [1], group="place-4")
    with rasterio.open(one) as image:
        np.testing.assert_array_equal(image.read(), vector(GRID, 4)[1:2])
    with pytest.raises(UnknownNameError, match="place-44"):
        rs.to_cog(mixed, tmp_path / "x.tif", group="place-44")
    with pytest.raises(SpecError, match="one span each"):
        rs.to_cog(mixed, tmp_path, span=0)


def test_pystac_reads_an_item_per_place(mixed, tmp_path, validator):
    rs.export(mixed, "stac", tmp_path / "stac")
    catalogue = pystac.Catalog.from_file(str(tmp_path / "stac" / "catalog.json"))
    for path in (tmp_path / "stac").rglob("*.json"):
        assert pystac.read_file(str(path)).validate(validator), path
    assert [one.id for one in catalogue.get_children()] == ["galileo", "rcf"]
    items = {one.id: one for one in catalogue.get_items(recursive=True)}
    assert len(items) == 19
    assert f"galileo_{FAILED}" not in items
    places = rs.to_geodataframe(mixed, "galileo").geometry
    for row in (0, 9):
        item = items[f"rcf_{row}"]
        assert shapely.geometry.shape(item.geometry).equals(places.iloc[row])
        assert item.properties["title"] == f"place-{row}"
        assert item.properties["proj:transform"] == [40.0, 0, 600_000 + row, 0, -40.0, 5_600_000]
        assert item.properties["proj:shape"] == ([4, 6] if row % 2 == 0 else [3, 2])
        assert item.properties["start_datetime"] == "2021-01-01T00:00:00Z"
        assert item.assets["embeddings"].href.endswith("mixed.zarr/rcf")
    assert items["galileo_0"].properties["emb:dimensions"] == 5
    assert "proj:code" not in items["galileo_0"].properties


def test_the_command_knows_every_format(vectors, tmp_path):
    done = CliRunner().invoke(app, ["export", vectors, str(tmp_path / "run.npz"), "--format", "rs-embed"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run.npz").exists()
    help_text = " ".join(CliRunner().invoke(app, ["export", "--help"]).output.split())
    for name in FORMATS:
        assert name in help_text
