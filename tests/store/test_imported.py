"""Exports of rs-embed as stores."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Status, Store
from tests.store.export.conftest import FAILED, make_filled
from tests.store.samples import POOLED, YEAR, make_items

POINT = {"lon": 4.5, "lat": 50.7, "buffer_m": 1280.0, "crs": "EPSG:4326"}
BOX = {"minlon": 4.0, "minlat": 50.0, "maxlon": 4.1, "maxlat": 50.1, "crs": "EPSG:4326"}


def write(folder, arrays, **manifest):
    """An export as rs-embed 0.3.1 writes it."""
    np.savez_compressed(folder / "old.npz", **arrays)
    span = {"mode": "range", "year": None, "start": "2022-06-01", "end": "2022-09-01"}
    told = {"status": "ok", "n_items": 2, "spatials": [POINT, BOX], "temporal": span, "backend": "gee"} | manifest
    (folder / "old.json").write_text(json.dumps(told), "utf-8")
    return folder / "old.npz"


def test_an_export_becomes_a_store(tmp_path):
    vectors = np.arange(6, dtype="float32").reshape(2, 3)
    entry = {"model": "satmae++", "status": "ok", "embeddings": {"npz_key": "embeddings__satmae"}, "metas": [{}, {}]}
    path = write(tmp_path, {"embeddings__satmae": vectors}, models=[entry])
    tree = rs.import_export(path, tmp_path / "old.zarr")
    np.testing.assert_array_equal(tree["satmae"]["embedding"], vectors)
    assert tree["items"]["id"].values.tolist() == ["0", "1"]
    assert tree["items"]["start"].values[0] == np.datetime64("2022-06-01")
    store = Store.open(tmp_path / "old.zarr")
    items = store.items(0)
    assert items[0].spatial == rs.PointBuffer(4.5, 50.7, buffer_m=1280)
    assert items[1].spatial == rs.BBox(4.0, 50.0, 4.1, 50.1)
    assert store.request["imported"]["layout"] == "combined"
    assert store.counts()["satmae"] == {Status.OK: 2}
    assert rs.verify(tmp_path / "old.zarr").is_sound
    table = rs.to_geodataframe(tree)
    np.testing.assert_allclose(table.geometry.iloc[1].bounds, (4.0, 50.0, 4.1, 50.1))


def test_items_without_a_vector_say_why(tmp_path):
    keys = {"npz_keys": ["embedding__prithvi__00001"], "indices": [1]}
    entry = {"model": "prithvi", "status": "partial", "embeddings": keys, "errors_by_index": {"0": "no imagery"}}
    grid = np.ones((3, 2, 2), "float32")
    path = write(tmp_path, {"embedding__prithvi__00001": grid}, models=[entry], temporal=None)
    with pytest.raises(StoreError, match="does not state its span"):
        rs.import_export(path, tmp_path / "old.zarr")
    tree = rs.import_export(path, tmp_path / "old.zarr", temporal=YEAR)
    np.testing.assert_array_equal(tree["prithvi"]["embedding"][1], grid)
    assert tree["prithvi"]["reason"].values.tolist() == ["no imagery", ""]
    assert tree["prithvi"]["status"].values.tolist() == [int(Status.NO_DATA), int(Status.OK)]
    assert tree["items"]["end"].values[0] == np.datetime64("2022-01-01")


def test_a_vector_with_missing_numbers_is_none_and_a_model_without_any_is_named(tmp_path):
    arrays = {"one": np.array([[1, 2, 3], [1, np.inf, 3]]), "blank": np.full((2, 3), np.nan)}
    entries = [{"model": name, "status": "ok", "embeddings": {"npz_key": name}} for name in arrays]
    entries += [
        {"model": "odd", "status": "ok", "embeddings": {"npz_keys": ["odd__0", "odd__1"]}},
        {"model": "away", "status": "failed", "embeddings": None, "error": "no weights"},
    ]
    path = write(tmp_path, arrays | {"odd__0": np.ones(2), "odd__1": np.ones(3)}, models=entries)
    with pytest.warns(UserWarning, match="models without a vector were left out: blank: numbers of every vector"):
        tree = rs.import_export(path, tmp_path / "old.zarr")
    assert list(tree.children) == ["items", "one"]
    assert tree["one"]["status"].values.tolist() == [int(Status.OK), int(Status.NO_DATA)]
    assert tree["one"]["reason"].values.tolist() == ["", "numbers of the export's vector are missing or infinite"]
    assert Store.open(tmp_path / "old.zarr").request["imported"]["left_out"] == {
        "blank": "numbers of every vector are missing or infinite",
        "odd": "no item has one, or they differ in shape",
        "away": "no weights",
    }


def test_a_run_comes_back_as_it_was(tmp_path):
    run = make_filled(tmp_path / "run.zarr", [POOLED])
    for name in ("run.npz", "run.nc", "items"):
        rs.to_rs_embed(run, tmp_path / name)
        rs.import_export(tmp_path / name, tmp_path / f"{name}.zarr")
        again, first = Store.open(tmp_path / f"{name}.zarr"), Store.open(run)
        np.testing.assert_array_equal(again.values("items", "key"), first.values("items", "key"))
        np.testing.assert_array_equal(again.values("galileo", "embedding"), first.values("galileo", "embedding"))
        assert again.counts() == {"galileo": {Status.OK: 9, Status.NO_DATA: 1}}
        if name != "items":
            assert again.values("items", "id").tolist() == [item.id for item in make_items(10)]
            assert again.values("galileo", "reason")[FAILED] == "read_failed: host away"


def test_what_is_no_export_is_refused(tmp_path):
    entry = {"model": "prithvi", "status": "failed", "embeddings": None, "error": "x"}
    with pytest.raises(StoreError, match="no model has a vector; prithvi: x"):
        rs.import_export(write(tmp_path, {}, models=[entry]), tmp_path / "old.zarr")
    vectors = {"embeddings__prithvi": np.ones((2, 3))}
    odd = write(tmp_path, vectors, models=[entry], spatials=[{"place": 1}, BOX])
    with pytest.raises(StoreError, match="neither a box nor a point"):
        rs.import_export(odd, tmp_path / "old.zarr")
    assert not (tmp_path / "old.zarr").exists()
