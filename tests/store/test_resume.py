from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from rs_embed_dask.errors import StoreError, StoreMismatchError
from rs_embed_dask.specs import ModelSpec, PointBuffer, TemporalSpec
from rs_embed_dask.specs.places import place_column
from rs_embed_dask.store import (
    Item,
    ItemColumns,
    Location,
    Status,
    Store,
    build_receipt,
    check_request,
    differences,
    items as items_module,
    request_digest,
)
from rs_embed_dask.store.document import Document
from tests.store.samples import GRID, POOLED, REQUEST, content, fill_store, make_items, make_store


def changed(**parts):
    return copy.deepcopy(REQUEST) | parts


def test_the_same_request_goes_on(tmp_path):
    store = make_store(tmp_path / "s")
    check_request(store.request, REQUEST, place="s")
    check_request(store.request, copy.deepcopy(REQUEST), place="s")


def test_another_request_is_refused_with_each_difference_named(tmp_path):
    store = make_store(tmp_path / "s")
    other = changed(fetch={"resolution_m": 20.0, "mask": "scl"}, output={"mode": "grid"}, prep="tile")
    with pytest.raises(StoreMismatchError) as caught:
        check_request(store.request, other, place="s")
    message = str(caught.value)
    assert "fetch.resolution_m was 10.0 and is now 20.0" in message
    assert "output.mode was 'pooled' and is now 'grid'" in message
    assert "prep was not set and is now 'tile'" in message
    assert "mask" not in message
    assert "write to another out=" in caught.value.fix
    assert "fetch.resolution_m=10.0" in caught.value.fix
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


def test_a_model_that_changed_is_named_by_its_label():
    old = {"models": [{"label": "a", "dtype": "auto"}, {"label": "b"}]}
    new = {"models": [{"label": "a", "dtype": "bfloat16"}]}
    assert [str(one) for one in differences(old, new)] == ["models[a].dtype was 'auto' and is now 'bfloat16'"]


def test_more_models_fewer_models_and_other_items_are_no_difference():
    old = {"models": [{"label": "a"}], "items": 3, "chunk_items": 64}
    assert differences(old, {"models": [{"label": "a"}, {"label": "b"}], "items": 5, "chunk_items": 32}) == []
    assert differences(old, {"models": [{"label": "c"}]}) == []


def test_models_are_compared_by_the_label_of_their_spec():
    nano, tiny = ModelSpec.of("galileo:nano"), ModelSpec.of("galileo:tiny")
    assert differences({"models": [nano.to_dict()]}, {"models": [tiny.to_dict()]}) == []
    half = nano.to_dict() | {"dtype": "bfloat16"}
    assert [one.where for one in differences({"models": [nano.to_dict()]}, {"models": [half]})] == [
        "models[galileo-nano].dtype"
    ]


def test_lists_and_tuples_are_the_same_request():
    assert differences({"bands": ["red", "nir"]}, {"bands": ("red", "nir")}) == []


def test_more_items_are_a_top_up(tmp_path):
    path = tmp_path / "s"
    fill_store(make_store(path, 6))
    store = Store.open(path, "r+")
    match = store.match_items(make_items(9))
    assert (match.present, len(match.new), match.absent) == (6, 3, 0)
    assert store.append_items(match.new, request=REQUEST | {"note": "more"}) == 3
    assert store.pending("galileo").tolist() == [1, 2]
    assert store.pending_rows(1, "galileo").tolist() == [2, 3]
    fill_store(store)
    fresh = make_store(tmp_path / "fresh", 9)
    fill_store(fresh)
    seen = content(Store.open(path))
    for name, values in content(fresh).items():
        np.testing.assert_array_equal(seen[name], values, err_msg=name)
    opened = xr.open_zarr(path, group="rcf")
    assert opened["id"].values.tolist() == [f"place-{row}" for row in range(9)]
    np.testing.assert_array_equal(opened["item"], np.arange(9))
    assert Store.open(path).request["note"] == "more"


def columns(count, first=0):
    """Items of which the places are an array."""
    rows = np.arange(first, first + count)
    points = place_column(np.stack([4 + rows * 0.01, 50 + rows * 0.0], axis=1), buffer_m=260)
    return ItemColumns(points, [TemporalSpec.year(2021)] * count)


@pytest.fixture
def keyed(monkeypatch):
    """The numbers of items that a key was made for."""
    counts, make_keys = [], items_module._keys

    def counting(places, spans):
        counts.append(len(places))
        return make_keys(places, spans)

    monkeypatch.setattr(items_module, "_keys", counting)
    return counts


def test_the_columns_that_a_store_was_made_from_are_known_without_their_keys(tmp_path, keyed):
    store = Store.create(tmp_path / "s", items=columns(6), models=[POOLED], request=REQUEST, chunk_items=4)
    store.add_models([GRID])
    store.update_receipt(note="here")
    keyed.clear()
    for more in (0, 2):
        match = Store.open(tmp_path / "s").match_items(columns(6 + more))
        new = list(columns(6 + more))[6:]
        assert (match.present, match.absent, match.is_in_order) == (6, 0, True)
        assert [(item.spatial, item.temporal) for item in match.new] == [(item.spatial, item.temporal) for item in new]
    assert keyed == []
    for other, (present, new, absent) in {
        columns(5): (5, 0, 1),
        columns(6, first=1): (5, 1, 1),
        ItemColumns.of(list(columns(6))): (6, 0, 0),
    }.items():
        keyed.clear()
        match = Store.open(tmp_path / "s").match_items(other)
        assert (match.present, len(match.new), match.absent) == (present, new, absent)
        assert sum(keyed) == len(other)


def test_columns_are_known_again_after_a_top_up(tmp_path, keyed):
    store = Store.create(tmp_path / "s", items=columns(6), models=[POOLED], request=REQUEST, chunk_items=4)
    for first, is_in_order in ((0, True), (2, False)):
        asked = columns(9, first)
        match = store.match_items(asked)
        assert match.is_in_order is is_in_order
        store.append_items(match.new, digest=asked.digest if match.is_in_order else "")
        keyed.clear()
        match = Store.open(tmp_path / "s").match_items(columns(9, first))
        assert (match.present, len(match.new)) == (9, 0)
        assert keyed == ([] if is_in_order else [9])
    store.append_items(make_items(1, first=50))
    assert Store.open(tmp_path / "s").match_items(columns(9)).absent == 3


def test_a_store_that_lost_rows_is_not_known_by_its_digest(tmp_path):
    Store.create(tmp_path / "s", items=columns(6), models=[POOLED], request=REQUEST, chunk_items=4)
    document = replace(Document.load(Location.of(tmp_path / "s")), n_items=4)
    store = Store(Location.of(tmp_path / "s"), document)
    assert len(store.match_items(columns(6)).new) == 2


def test_nothing_new_appends_nothing(tmp_path):
    store = make_store(tmp_path / "s", 6)
    updated = store.updated
    assert store.append_items([]) == 0
    assert store.updated == updated


def test_another_span_of_the_same_place_is_a_new_item(tmp_path):
    store = make_store(tmp_path / "s", 3)
    later = [Item(0, item.spatial, TemporalSpec.year(2022)) for item in make_items(3)]
    match = store.match_items(later)
    assert (match.present, len(match.new), match.absent) == (0, 3, 3)
    store.append_items(match.new)
    assert store.items(1)[1].temporal == TemporalSpec.year(2022)


def test_the_same_item_twice_is_two_items(tmp_path):
    items = make_items(2) + make_items(2)
    store = Store.create(tmp_path / "s", items=items, models=[POOLED], request={}, chunk_items=4)
    assert store.match_items(items).present == 4
    match = store.match_items([*items, items[0]])
    assert (match.present, len(match.new)) == (4, 1)


def test_appending_across_the_chunks_of_the_items(tmp_path):
    store = make_store(tmp_path / "s", 5, chunk_items=3000)
    assert store.append_items(make_items(3500, first=5)) == 3500
    assert store.append_items(make_items(10, first=3505)) == 10
    assert [item.id for item in store.items(1)][:2] == ["place-3000", "place-3001"]
    assert store.values("items", "id").tolist() == [f"place-{row}" for row in range(3515)]
    assert xr.open_zarr(tmp_path / "s", group="galileo")["id"].values[3514] == "place-3514"


def test_another_model_is_a_top_up(tmp_path):
    store = make_store(tmp_path / "s", models=[POOLED])
    fill_store(store)
    store.add_models([GRID], request=REQUEST)
    assert store.labels == ("galileo", "rcf")
    assert store.pending("galileo").size == 0
    assert store.pending("rcf").tolist() == [0, 1, 2]
    fill_store(store)
    assert Store.open(tmp_path / "s").counts()["rcf"] == {Status.OK: 10}


def test_a_worker_that_opened_before_a_top_up_sees_it_when_it_opens_again(tmp_path):
    store = make_store(tmp_path / "s", 6)
    worker = Store.open(tmp_path / "s", "r+")
    store.append_items(make_items(4, first=6))
    assert worker.n_items == 6
    assert pickle.loads(pickle.dumps(worker)).n_items == 10


def test_the_receipt_says_what_it_was_made_with(tmp_path):
    receipt = build_receipt(
        REQUEST,
        cards={"galileo": {"title": "Galileo"}},
        weights={"galileo": {"sha256": "ab" * 32, "licence": "MIT", "url": "https://host/w?sig=SECRET"}},
        provider={"name": "synthetic", "seed": 0},
    )
    assert receipt["request_sha256"] == request_digest(REQUEST)
    assert receipt["weights"]["galileo"] == {"sha256": "ab" * 32, "licence": "MIT", "url": "https://host/w"}
    assert receipt["versions"]["numpy"] == np.__version__
    assert {"python", "zarr", "torch", "dask"} <= set(receipt["versions"])
    items = make_items(2)
    store = Store.create(tmp_path / "s", items=items, models=[POOLED], request=REQUEST, chunk_items=2, receipt=receipt)
    store.update_receipt(finished={"seconds": 3.5})
    found = xr.open_datatree(tmp_path / "s", engine="zarr").attrs
    assert found["receipt"] == receipt | {"finished": {"seconds": 3.5}}
    assert found["created"] <= found["updated"]
    assert found["created"].endswith("Z")


def test_a_digest_knows_no_order_of_keys():
    assert request_digest({"a": 1, "b": [1, 2]}) == request_digest({"b": (1, 2), "a": 1})
    assert request_digest({"a": 1}) != request_digest({"a": 2})


@pytest.mark.parametrize("bad", [{"a": {1, 2}}, {"a": float("nan")}, {"a": PointBuffer(lon=1, lat=2, buffer_m=3)}])
def test_a_request_that_is_no_json_is_refused(tmp_path, bad):
    with pytest.raises(StoreError, match="cannot be written as JSON"):
        Store.create(tmp_path / "s", items=make_items(1), models=[POOLED], request=bad, chunk_items=1)
    with pytest.raises(StoreError, match="cannot be written as JSON"):
        build_receipt(bad)
