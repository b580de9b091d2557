"""The commands that ask a run or a map give what the verbs give."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app
from tests.analysis.samples import FLOAT, random_map, random_run
from tests.store.map_samples import square


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    random_map(folder / "map.zarr", layouts=(FLOAT,), blocks=square(82, 10, 1, 2))
    random_run(folder / "run.zarr", dim=6, label="float")
    return folder


def told(*words):
    done = CliRunner().invoke(app, [str(one) for one in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_search_prints_or_writes_what_was_found(stores):
    printed = told("search", stores / "run.zarr", "--like", "place-2", "--unlike", "place-5", "-k", 3)
    found = rs.search(str(stores / "run.zarr"), ["place-2"], negatives=["place-5"], k=3)
    assert [line.split("\t")[0] for line in printed.splitlines()[1:]] == list(found.index.get_level_values("id"))
    data = rs.open_map(str(stores / "map.zarr"))["float"]["utm31"].to_dataset()
    place = rs.search(str(stores / "map.zarr"), data.embedding.to_numpy()[0, :, 2, 2], k=1).geometry.iloc[0]
    told("search", stores / "map.zarr", f"--like={place.x},{place.y}", "-k", 5, "--out", stores / "like.geojson")
    written = gpd.read_file(stores / "like.geojson")
    np.testing.assert_allclose(written["score"], rs.search(str(stores / "map.zarr"), place, k=5)["score"])


def test_zonal_writes_a_table(stores):
    data = rs.open_map(str(stores / "map.zarr"))["float"]["utm31"]
    frame = gpd.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(*data.attrs["spatial:bbox"])], crs="EPSG:32631")
    frame.to_file(stores / "a.gpkg")
    told("zonal", stores / "map.zarr", stores / "a.gpkg", "--stat", "sum", "--out", stores / "a.parquet")
    written = gpd.read_parquet(stores / "a.parquet")
    assert written["float_tokens"].iloc[0] == np.isfinite(data.embedding.to_numpy()[0]).all(axis=0).sum()


def test_classes_probes_and_change_make_maps_and_tables(stores):
    told("classes", stores / "map.zarr", "-k", 3, "--out", stores / "classes.zarr")
    told("classes", stores / "map.zarr", "--like", stores / "classes.zarr", "--out", stores / "same.zarr")
    made = [rs.open_map(str(stores / name))["classes"]["utm31"].embedding for name in ("classes.zarr", "same.zarr")]
    np.testing.assert_array_equal(*made)
    points = rs.search(str(stores / "map.zarr"), np.ones(6), k=12)
    points[["score", "geometry"]].to_file(stores / "labels.geojson")
    printed = told(
        "probe", stores / "map.zarr", stores / "labels.geojson", "--to", stores / "run.zarr", "--out", stores / "t.csv"
    )
    assert "Probe(score: values from float, ridge, 12 labelled vectors)" in printed
    assert (stores / "t.csv").read_text().splitlines()[0] == "id,span,score,uncertainty,geometry"
    refused = CliRunner().invoke(app, ["change", str(stores / "run.zarr"), "--out", str(stores / "c.csv")])
    assert refused.exit_code == 2
