from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import zarr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import ModelLayout, Status, Store, item_grid, items_frame, open_store
from rs_embed_dask.store.layout import COORDS
from tests.store.samples import GRID, POOLED, REQUEST, fill_store, make_items, make_store, mixed_items, vector


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("layout") / "run.zarr"
    fill_store(make_store(path))
    return path


def test_plain_xarray_opens_one_model(path):
    opened = xr.open_zarr(path, group="galileo")
    assert dict(opened.sizes) == {"item": 10, "dim": 5, "frame": 2}
    assert set(opened.coords) == {"item", "id", "lon", "lat", "start", "end"}
    np.testing.assert_array_equal(opened["embedding"][7], np.arange(5) + 7)
    assert opened["embedding"].dtype == "float32"
    assert opened.chunks["item"] == (4, 4, 2)
    assert str(opened["id"].values[9]) == "place-9"


def test_dates_decode_and_missing_ones_are_not_a_time(tmp_path):
    store = make_store(tmp_path / "s")
    opened = xr.open_zarr(tmp_path / "s", group="galileo")
    assert opened["start"].values[0] == np.datetime64("2021-01-01")
    assert opened["end"].values[0] == np.datetime64("2022-01-01")
    assert np.isnat(opened["first_date"].values).all()
    fill_store(store)
    opened = xr.open_zarr(tmp_path / "s", group="galileo")
    assert opened["first_date"].values[3] == np.datetime64("2021-01-08")
    assert opened["frame_end"].values[3, 1] == np.datetime64("2021-03-02")


def test_status_carries_its_meaning(path):
    status = xr.open_zarr(path, group="rcf")["status"]
    meanings = dict(zip(status.attrs["flag_values"], status.attrs["flag_meanings"].split(), strict=True))
    assert meanings == {int(code): code.name.lower() for code in Status}
    assert status.dtype == "uint8"
    assert (status.values == Status.OK).all()


def test_a_datatree_holds_items_and_models(path):
    tree = xr.open_datatree(path, engine="zarr")
    assert set(tree.children) == {"items", "galileo", "rcf"}
    assert tree.attrs["request"] == REQUEST
    assert tree.attrs["rs_embed_dask"]["n_items"] == 10
    assert tree["items/geometry"].values[0].startswith("POLYGON ((")


def test_open_store_is_lazy_and_the_same(path):
    tree = open_store(path)
    assert tree["galileo/embedding"].chunks is not None
    np.testing.assert_array_equal(tree["galileo/embedding"], xr.open_zarr(path, group="galileo")["embedding"])
    plain = xr.open_datatree(path, engine="zarr", chunks={})
    for group in ("items", "galileo", "rcf"):
        ids, numbers = tree[group].indexes["item"], plain[group].indexes["item"]
        assert ids.tolist() == [f"place-{number}" for number in numbers]
        xr.testing.assert_equal(
            tree[group].to_dataset(inherit=False).assign_coords(item=numbers), plain[group].to_dataset(inherit=False)
        )
    assert tree["rcf"].sel(item="place-7")["embedding"].equals(tree["rcf"]["embedding"][7])


def test_small_grids_are_padded_with_nan(path):
    grids = xr.open_zarr(path, group="rcf")["embedding"].values
    assert grids.shape == (10, 3, 4, 6)
    np.testing.assert_array_equal(grids[1, :, :3, :2], vector(GRID, 1))
    assert np.isnan(grids[1, :, 3:]).all()
    assert np.isnan(grids[1, :, :, 2:]).all()
    assert not np.isnan(grids[2]).any()


def test_an_items_grid_is_a_map(path):
    grid = item_grid(Store.open(path), "rcf", 1)
    assert grid.shape == (3, 3, 2)
    assert grid.rio.crs.to_epsg() == 32631
    assert grid.attrs["spatial:transform"] == [40, 0, 600_001, 0, -40, 5_600_000]
    np.testing.assert_array_equal(grid["x"], [600_021, 600_061])
    np.testing.assert_array_equal(grid["y"], [5_599_980, 5_599_940, 5_599_900])
    assert grid.attrs["proj:code"] == "EPSG:32631"
    assert grid.attrs["spatial:bbox"] == [600_001, 5_599_880, 600_081, 5_600_000]


def test_an_item_without_a_grid_says_why(tmp_path):
    store = make_store(tmp_path / "s")
    with pytest.raises(StoreError, match="not computed yet"):
        item_grid(store, "rcf", 0)
    with pytest.raises(StoreError, match=r"OutputSpec\.grid"):
        item_grid(store, "galileo", 0)
    with pytest.raises(StoreError, match="has 10 items"):
        item_grid(store, "rcf", 10)


def test_places_of_every_kind_come_back_as_they_were(tmp_path):
    items = mixed_items()
    store = Store.create(tmp_path / "s", items=items, models=[POOLED], request={}, chunk_items=3)
    read = [*store.items(0), *store.items(1)]
    assert [(one.spatial, one.temporal) for one in read] == [(one.spatial, one.temporal) for one in items]
    assert [one.index for one in read] == [0, 1, 2, 3]
    assert [one.id for one in read] == ["across", "1", "a triangle, é", "utm"]
    frame = items_frame(store)
    assert frame.crs.to_epsg() == 4326
    for outline, item in zip(frame.geometry, items, strict=True):
        assert outline.equals_exact(item.spatial.geometry, tolerance=1e-6)
    assert frame["start"][1] == np.datetime64("2022-06-01")


def test_centres_are_coordinates(path):
    opened = xr.open_zarr(path, group="rcf")
    np.testing.assert_allclose(opened["lon"], 4.0 + np.arange(10) * 0.01)
    np.testing.assert_allclose(opened["lat"], 50.0 + np.arange(10) % 7 * 0.1)


def test_every_array_is_in_the_stable_specification(path):
    known = {"float32", "float64", "uint8", "uint32", "uint64", "int32", "int64", "string"}
    documents = [json.loads(found.read_text()) for found in path.rglob("zarr.json")]
    arrays = [one for one in documents if one["node_type"] == "array"]
    assert {one["data_type"] for one in arrays} == known
    assert {one["zarr_format"] for one in documents} == {3}
    assert all(one["dimension_names"][0] == "item" for one in arrays)


def test_the_root_says_the_same_as_each_array(path):
    root = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    found = {p.parent.relative_to(path).as_posix(): json.loads(p.read_text()) for p in path.rglob("zarr.json")}
    found.pop(".")
    assert root == found


def test_zarr_alone_reads_it(path):
    group = zarr.open_group(path, mode="r")
    assert group["galileo/embedding"].shape == (10, 5)
    assert sorted(name for name, _ in group.groups()) == ["galileo", "items", "rcf"]


def test_all_arrays_of_a_model_share_row_chunks(path):
    group = zarr.open_group(path, mode="r")
    for layout in (POOLED, GRID):
        assert {group[f"{layout.label}/{field.name}"].chunks[0] for field in (*COORDS, *layout.fields)} == {4}
    assert {array.chunks for _, array in group["items"].arrays()} == {(4,)}
    assert {array.shards for _, array in group["items"].arrays()} == {(4096,)}
    assert xr.open_zarr(path, group="items").chunks["item"] == (4, 4, 2)


@pytest.mark.parametrize("chunk_items", [1, 3, 64, 5000])
def test_items_chunks_are_whole_multiples(tmp_path, chunk_items):
    store = make_store(tmp_path / "s", 5, chunk_items=chunk_items)
    rows = zarr.open_group(tmp_path / "s", mode="r")["items/id"].shards[0]
    assert rows % chunk_items == 0
    assert rows <= max(4096, chunk_items)
    assert [item.id for chunk in range(store.n_chunks) for item in store.items(chunk)] == [
        f"place-{i}" for i in range(5)
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": "items"}, "cannot name a group"),
        ({"label": "a/b"}, "cannot name a group"),
        ({"label": ""}, "cannot name a group"),
        ({"dim": 0}, "at least 1"),
        ({"grid_shape": (0, 3)}, "at least 1"),
        ({"dtype": "int8"}, "stored as floats"),
    ],
)
def test_layouts_that_cannot_be_stored(change, reason):
    with pytest.raises(StoreError, match=reason) as caught:
        ModelLayout(**({"label": "m", "dim": 3} | change))
    assert caught.value.fix


def test_chunks_beyond_a_gibibyte_are_refused(tmp_path):
    wide = ModelLayout("wide", dim=1024, grid_shape=(64, 64))
    with pytest.raises(StoreError, match="use at most 64"):
        Store.create(tmp_path / "s", items=make_items(2), models=[wide], request={}, chunk_items=100)
