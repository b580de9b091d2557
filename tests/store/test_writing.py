from __future__ import annotations

import json
import pickle
import shutil

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import ChunkResult, ModelLayout, Status, Store, open_store
from tests.store.samples import (
    GRID,
    POOLED,
    REQUEST,
    assert_same,
    content,
    fill_store,
    make_items,
    make_result,
    make_store,
    vector,
)


def test_writing_twice_is_writing_once(tmp_path):
    once, twice = make_store(tmp_path / "once"), make_store(tmp_path / "twice")
    fill_store(once)
    for _ in range(2):
        fill_store(twice)
    assert_same(content(once), content(twice))


def test_a_fresh_store_is_all_pending_and_blank(tmp_path):
    store = make_store(tmp_path / "s")
    assert store.counts() == {"galileo": {Status.PENDING: 10}, "rcf": {Status.PENDING: 10}}
    assert store.pending("galileo").tolist() == [0, 1, 2]
    assert np.isnan(store.values("rcf", "embedding")).all()
    assert set(store.values("rcf", "reason").tolist()) == {""}


def test_pending_chunks_shrink_as_they_are_written(tmp_path):
    store = make_store(tmp_path / "s")
    store.write_chunk(1, "galileo", make_result(store, POOLED, 1))
    assert store.pending("galileo").tolist() == [0, 2]
    assert store.pending("rcf").tolist() == [0, 1, 2]
    store.write_chunk(2, "galileo", make_result(store, POOLED, 2, offsets=[1]))
    assert store.pending("galileo").tolist() == [0, 2]
    assert store.pending_rows(2, "galileo").tolist() == [0]
    assert store.pending_rows(0, "galileo").tolist() == [0, 1, 2, 3]


def test_a_part_of_a_chunk_keeps_the_others(tmp_path):
    store = make_store(tmp_path / "s")
    store.write_chunk(0, "rcf", make_result(store, GRID, 0))
    failed = make_result(store, GRID, 0, offsets=[2], status=Status.READ_FAILED, reason="HTTP 503")
    store.write_chunk(0, "rcf", failed)
    assert store.values("rcf", "status", (0, 4)).tolist() == [1, 1, 4, 1]
    assert store.values("rcf", "reason", (0, 4)).tolist() == ["", "", "HTTP 503", ""]
    grids = store.values("rcf", "embedding", (0, 4))
    assert np.isnan(grids[2]).all()
    np.testing.assert_array_equal(grids[0], vector(GRID, 0))
    store.write_chunk(0, "rcf", make_result(store, GRID, 0, offsets=[2]))
    undisturbed = make_store(tmp_path / "other")
    undisturbed.write_chunk(0, "rcf", make_result(undisturbed, GRID, 0))
    assert_same(content(store), content(undisturbed))


def test_rows_may_come_in_any_order(tmp_path):
    store = make_store(tmp_path / "s")
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0, offsets=[3, 0, 2, 1]))
    other = make_store(tmp_path / "other")
    other.write_chunk(0, "galileo", make_result(other, POOLED, 0))
    assert_same(content(store), content(other))


def test_what_a_crash_left_in_a_pending_row_is_blanked(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    withdrawn = ChunkResult(rows=np.array([1]), status=np.array([0]))
    store.write_chunk(0, "galileo", withdrawn)
    assert store.pending_rows(0, "galileo").tolist() == [1]
    assert np.isnan(store.values("galileo", "embedding")[1]).all()
    assert not np.isnan(store.values("galileo", "embedding")[[0, 2, 3]]).any()


def test_one_kind_of_failure_is_found_again(tmp_path):
    store = make_store(tmp_path / "s", 12, models=[POOLED])
    fill_store(store)
    put = [
        (0, Status.READ_FAILED, "HTTP 503 from the asset"),
        (1, Status.MODEL_FAILED, "no finite value"),
        (2, Status.NO_DATA, "no scene"),
    ]
    for chunk, status, reason in put:
        result = make_result(store, POOLED, chunk, offsets=[1], status=status, reason=reason)
        store.write_chunk(chunk, "galileo", result)
    assert store.pending("galileo").tolist() == [0, 1]
    assert store.pending("galileo", only={Status.READ_FAILED}).tolist() == [0]
    assert store.pending("galileo", only={Status.PENDING}).size == 0
    assert store.pending("galileo", only={Status.NO_DATA}).tolist() == [2]
    assert store.pending("galileo", reason="FINITE").tolist() == [1]
    assert store.pending_rows(0, "galileo", {Status.READ_FAILED}, reason="503").tolist() == [1]
    assert store.pending_rows(0, "galileo", {Status.READ_FAILED}, reason="404").size == 0


def test_secrets_never_reach_the_store(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    result = make_result(store, POOLED, 0, status=Status.READ_FAILED, reason="GET https://host/a.tif?sig=SECRET failed")
    result.scenes = ["https://host/b.tif?sig=SECRET"] * 4
    store.write_chunk(0, "galileo", result)
    store.add_models([GRID], request={"source": "https://host/c?sig=SECRET"})
    store.update_receipt(provider={"url": "https://host/d?token=SECRET"})
    assert store.values("galileo", "reason")[0] == "GET https://host/a.tif failed"
    assert all(b"SECRET" not in path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file())
    assert Store.open(tmp_path / "s").receipt == {"provider": {"url": "https://host/d"}}


def test_scenes_and_reasons_are_bounded(tmp_path):
    store = make_store(tmp_path / "s", 1, models=[POOLED])
    result = make_result(store, POOLED, 0, reason="x" * 5000)
    result.scenes = ["\n".join(f"S2A_MSIL2A_2021{number:04}" for number in range(2000))]
    store.write_chunk(0, "galileo", result)
    scenes = store.values("galileo", "scenes")[0].splitlines()
    assert scenes[-1] == "..."
    assert scenes[-2] == f"S2A_MSIL2A_2021{len(scenes) - 2:04}"
    assert len("\n".join(scenes)) <= 8010
    assert len(store.values("galileo", "reason")[0]) <= 1010


def test_a_finished_store_of_a_hundred_thousand_items_is_known_to_be_finished_from_its_statuses_alone(tmp_path):
    """`benchmarks.store_resume` times it."""
    store = make_store(tmp_path / "s", 64, chunk_items=64, models=[POOLED])
    root = json.loads((tmp_path / "s/zarr.json").read_text())
    root["attributes"]["rs_embed_dask"]["n_items"] = 100_000
    for name, array in root["consolidated_metadata"]["metadata"].items():
        if "shape" in array:
            array["shape"][0] = 100_000
            (tmp_path / "s" / name / "zarr.json").write_text(json.dumps(array))
    (tmp_path / "s/zarr.json").write_text(json.dumps(root))
    for shard in range(1, 25):
        shutil.copy(tmp_path / "s/items/key/c/0", tmp_path / f"s/items/key/c/{shard}")
    zarr.open_array(tmp_path / "s/galileo/status", mode="r+")[:] = 1
    assert len(list((tmp_path / "s/galileo/status/c").iterdir())) == 1563
    for array in (*(tmp_path / "s/items").iterdir(), *(tmp_path / "s/galileo").iterdir()):
        if array.name not in {"status", "key"}:
            shutil.rmtree(array / "c", ignore_errors=True)
    assert len(list((tmp_path / "s").rglob("c"))) == 2
    assert Store.open(store.target, "r+").pending("galileo").size == 0


def test_half_precision_is_kept(tmp_path):
    layout = ModelLayout("half", dim=5, dtype="float16")
    store = make_store(tmp_path / "s", 4, models=[layout])
    store.write_chunk(0, "half", make_result(store, layout, 0))
    assert store.values("half", "embedding").dtype == "float16"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": np.array([0, 1, 2, 4])}, "has 4 rows"),
        ({"rows": np.array([-1, 1, 2, 3])}, "has 4 rows"),
        ({"rows": np.array([0, 1, 1, 3])}, "comes twice"),
        ({"status": np.array([1, 1, 1, 9])}, "one status code"),
        ({"status": np.array([1, 1])}, "one status code"),
        ({"embedding": np.zeros((4, 6))}, "holds \\(5,\\)"),
        ({"embedding": np.zeros((4, 5, 2, 2))}, "holds \\(5,\\)"),
        ({"embedding": np.zeros((3, 5))}, "3 values for 4 rows"),
        ({"reason": ["x"]}, "1 values for 4 rows"),
        ({"valid_fraction": np.zeros((4, 3))}, "shape"),
        ({"n_obs": np.zeros(5)}, "5 values for 4 rows"),
        ({"first_date": ["not a day"] * 4}, "day|Error"),
        ({"keys": np.zeros(3, "uint64")}, "3 keys for 4 rows"),
    ],
)
def test_results_that_do_not_fit_change_nothing(tmp_path, change, reason):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    result = make_result(store, POOLED, 0)
    for name, value in change.items():
        setattr(result, name, value)
    before = content(store)
    with pytest.raises(StoreError, match=reason) as caught:
        store.write_chunk(0, "galileo", result)
    assert caught.value.fix
    assert_same(content(store), before)


def test_vectors_of_other_items_are_refused_before_anything_is_written(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    before = content(store)
    result = make_result(store, POOLED, 0, status=Status.PARTIAL)
    result.keys = np.asarray([item.key for item in store.items(0)], dtype="uint64")
    result.keys[2] += 1
    with pytest.raises(StoreError, match="has other items in these rows") as caught:
        store.write_chunk(0, "galileo", result)
    assert caught.value.value == "[2]"
    assert_same(content(store), before)
    result.keys[2] -= 1
    store.write_chunk(0, "galileo", result)
    assert store.counts() == {"galileo": {Status.PARTIAL: 4}}


def test_a_chunk_of_fill_values_is_written(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    store.write_chunk(0, "galileo", ChunkResult(np.arange(4), np.full(4, int(Status.OK))))
    assert all((tmp_path / "s/galileo" / field.name / "c/0").exists() for field in POOLED.fields)


def test_a_checksum_is_what_the_page_says(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    group = zarr.open_group(tmp_path / "s", mode="r")
    seed, row = group["galileo/checksum"].attrs["seed"], 2
    numbers = [
        "embedding",
        "valid_fraction",
        "n_obs",
        "n_days",
        "n_expected",
        "first_date",
        "last_date",
        "frame_start",
        "frame_end",
        "status",
    ]
    parts = [group["items/key"][row].tobytes(), *(group[f"galileo/{name}"][row].tobytes() for name in numbers)]
    for name in ("reason", "scenes"):
        text = str(group[f"galileo/{name}"][row][()]).encode()
        parts.append(b"%d:%b" % (len(text), text))
    assert google_crc32c.extend(seed, b"".join(parts)) == int(group["galileo/checksum"][row])


def test_names_that_are_not_there(tmp_path):
    store = make_store(tmp_path / "s")
    with pytest.raises(StoreError, match="use one of: galileo, rcf"):
        store.pending("satmae")
    with pytest.raises(StoreError, match="use 0 to 2"):
        store.items(3)
    with pytest.raises(StoreError, match=r"use one of .*embedding"):
        store.values("galileo", "embeddings")


def test_a_store_opened_for_reading_refuses_writes(tmp_path):
    make_store(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    for write in (
        lambda: store.write_chunk(0, "galileo", make_result(store, POOLED, 0)),
        lambda: store.append_items(make_items(1)),
        lambda: store.add_models([GRID]),
        lambda: store.update_receipt(a=1),
    ):
        with pytest.raises(StoreError, match=r"mode='r\+'"):
            write()


def test_a_store_travels_as_its_place_only(tmp_path):
    store = make_store(tmp_path / "s")
    packed = pickle.dumps(store)
    assert len(packed) < 400
    worker = pickle.loads(packed)
    worker.write_chunk(0, "galileo", make_result(worker, POOLED, 0))
    assert store.pending("galileo").tolist() == [1, 2]


@pytest.fixture(params=["memory url", "file url", "memory store"])
def target(request, tmp_path):
    return {
        "memory url": f"memory://{tmp_path.name}/run.zarr",
        "file url": f"{tmp_path.as_uri()}/a%20folder/run.zarr",
        "memory store": MemoryStore(),
    }[request.param]


def test_every_kind_of_target_holds_the_same(target, tmp_path):
    store = make_store(target)
    fill_store(store)
    local = make_store(tmp_path / "local")
    fill_store(local)
    assert_same(content(Store.open(target)), content(local))
    assert store.append_items(make_items(3, first=10)) == 3
    store.add_models([ModelLayout("third", dim=2)])
    reopened = Store.open(target, "r+")
    assert reopened.pending("galileo").tolist() == [2, 3]
    assert reopened.items(3)[0].id == "place-12"
    tree = open_store(target)
    assert tree["third"].sizes["item"] == 13
    np.testing.assert_array_equal(tree["galileo/embedding"][9], np.arange(5) + 9)


def test_a_file_url_is_a_folder(tmp_path):
    make_store(f"{tmp_path.as_uri()}/s")
    assert xr.open_zarr(tmp_path / "s", group="galileo").sizes["item"] == 10


def test_a_url_travels_to_another_process_and_memory_does_not(tmp_path):
    url = f"memory://{tmp_path.name}/travels"
    assert pickle.loads(pickle.dumps(make_store(url))).n_items == 10
    with pytest.raises(StoreError, match="cannot be sent"):
        pickle.dumps(make_store(MemoryStore()))


def test_items_are_taken_as_a_stream(tmp_path):
    held = []

    def stream():
        for item in make_items(20):
            held.append(item.index)
            yield item

    store = Store.create(tmp_path / "s", items=stream(), models=[POOLED], request=REQUEST, chunk_items=8)
    assert held == list(range(20))
    assert store.n_items == 20
    assert store.n_chunks == 3
