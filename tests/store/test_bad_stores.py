"""Places that are no store, and stores that are no longer whole: each gives a StoreError with value, reason and fix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import zarr
from zarr.storage import LocalStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Location, Store, nodes, open_store, status, verify
from tests.store.samples import POOLED, REQUEST, assert_same, content, fill_store, make_items, make_result, make_store

OPENERS = {"Store.open": Store.open, "open_store": open_store, "status": status}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run.zarr"
    fill_store(make_store(path, models=[POOLED]))
    return path


@pytest.fixture
def path(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def edit_root(path, change):
    root = json.loads((path / "zarr.json").read_text())
    change(root)
    (path / "zarr.json").write_text(json.dumps(root))


def set_mark(path, **values):
    edit_root(path, lambda root: root["attributes"]["rs_embed_dask"].update(values))


def edit_array(path, name, **values):
    edit_root(path, lambda root: root["consolidated_metadata"]["metadata"][name].update(values))


def remove(path):
    shutil.rmtree(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def put(path, where, text):
    """Put JSON that Python would not write in place of one value of the root document."""
    *outer, last = where

    def change(root):
        for name in outer:
            root = root[name]
        root[last] = "PLACE"

    edit_root(path, change)
    document = path / "zarr.json"
    document.write_text(document.read_text().replace('"PLACE"', text))


WHERE = {
    "n_items": ("attributes", "rs_embed_dask", "n_items"),
    "request": ("attributes", "request", "note"),
    "receipt": ("attributes", "receipt"),
    "metadata": ("consolidated_metadata", "metadata", "galileo/embedding", "attributes", "note"),
}
EXTREME = {
    "deep lists": ("[" * 100_000 + "]" * 100_000, "nested more than 100 levels"),
    "lists that do not end": ("[" * 100_000, "not a store of rs-embed-dask"),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 100 levels"),
    "lists that the parser takes": ("[" * 400 + "]" * 400, "nested more than 100 levels"),
    "NaN": ("NaN", "NaN is not a finite number"),
    "infinity": ("-Infinity", "-Infinity is not a finite number"),
    "a float beyond all": ("1e999", "1e999 is not a finite number"),
    "an integer of 65 bits": (str(2**64), "18446744073709551616.* is longer than 64 bits"),
    "an integer of a thousand digits": ("-" + "9" * 1000, "is longer than 64 bits"),
    "an integer of a million digits": ("9" * 1_000_000, "not a store of rs-embed-dask.*4300 digits"),
}


BROKEN = {
    "nothing there": (remove, "no store at this place"),
    "an empty folder": (lambda p: (remove(p), p.mkdir()), "no store at this place"),
    "a file": (lambda p: (remove(p), p.write_text("x")), "no store at this place"),
    "no root document": (lambda p: (p / "zarr.json").unlink(), "no store at this place"),
    "a root document cut short": (lambda p: cut(p / "zarr.json"), "not a store of rs-embed-dask"),
    "a root document of bytes": (
        lambda p: (p / "zarr.json").write_bytes(b"\xff\xfe\x00"),
        "not a store of rs-embed-dask",
    ),
    "a list as root document": (lambda p: (p / "zarr.json").write_text("[1]"), "not a store of rs-embed-dask"),
    "another program's store": (
        lambda p: edit_root(p, lambda root: root["attributes"].pop("rs_embed_dask")),
        "not a store of rs-embed-dask",
    ),
    "another layout": (
        lambda p: edit_root(p, lambda root: root["attributes"]["rs_embed_dask"].update(layout=99)),
        "layout is version 99, this package reads version 1",
    ),
    "no number of items": (
        lambda p: edit_root(p, lambda root: root["attributes"]["rs_embed_dask"].pop("n_items")),
        "lacks or garbles 'n_items'",
    ),
    "no metadata": (lambda p: edit_root(p, lambda root: root.pop("consolidated_metadata")), "lacks or garbles"),
    "no request": (
        lambda p: edit_root(p, lambda root: root["attributes"].pop("request")),
        "lacks or garbles 'request'",
    ),
    "a model's metadata missing": (
        lambda p: edit_root(p, lambda root: root["consolidated_metadata"]["metadata"].pop("galileo")),
        "lacks or garbles 'galileo'",
    ),
    "an array missing": (lambda p: remove(p / "galileo" / "embedding"), "1 of its arrays are missing"),
    "a model missing": (lambda p: remove(p / "galileo"), "20 of its arrays are missing"),
    "fewer than no items": (lambda p: set_mark(p, n_items=-1), "n_items.*at least one"),
    "no items": (lambda p: set_mark(p, n_items=0), "n_items.*at least one"),
    "more items than anybody has": (lambda p: set_mark(p, n_items=10**12), r"1,000,000,000,000 items need shape"),
    "chunks of no items": (lambda p: set_mark(p, chunk_items=0), "chunk_items.*at least one"),
    "files of half a chunk": (lambda p: set_mark(p, item_rows=6), "item_rows.*no multiple of chunk_items, 4"),
    "a number that is a text": (lambda p: set_mark(p, n_items="many"), "lacks or garbles"),
    "an array of another type": (
        lambda p: edit_array(p, "galileo/embedding", data_type="float64"),
        r"galileo/embedding of shape \[10, 5\] and type float64.*need shape \[10, 5\] and type float32",
    ),
    "an array of another shape": (
        lambda p: edit_array(p, "galileo/status", shape=[9]),
        r"galileo/status of shape \[9\]",
    ),
    "an array without metadata": (
        lambda p: edit_root(p, lambda root: root["consolidated_metadata"]["metadata"].pop("items/lon")),
        "items/lon.*metadata are missing",
    ),
    "a status of a later version": (
        lambda p: edit_array(p, "galileo/status", attributes={"flag_values": [*range(8)]}),
        r"\[7\].*does not know these status codes",
    ),
    "keys lost": (lambda p: (p / "items/key/c/0").unlink(), "items/key/c/0.*is missing; 10 items have 1 such files"),
    "half made": (
        lambda p: edit_root(p, lambda root: root["attributes"]["rs_embed_dask"].update(state="creating")),
        "making was cut short",
    ),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize(("breaking", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_opened_says_why(path, breaking, reason, opener):
    breaking(path)
    with pytest.raises(StoreError, match=reason) as caught:
        opener(path)
    assert str(path) in str(caught.value.value)
    assert caught.value.fix


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
@pytest.mark.parametrize(("text", "reason"), EXTREME.values(), ids=EXTREME)
def test_extreme_json_is_refused_wherever_it_stands(path, where, text, reason):
    put(path, where, text)
    (path / "zarr.json.copy").unlink()
    for opener in (*OPENERS.values(), verify):
        with pytest.raises(StoreError, match=reason) as caught:
            opener(path)
        assert len(str(caught.value)) < 1000


def test_extreme_json_is_repaired_from_the_copy(path, whole):
    put(path, WHERE["request"], "[" * 100_000)
    assert not verify(path).is_sound
    verify(path, repair=True)
    assert verify(path).is_sound
    assert_same(content(Store.open(path)), content(Store.open(whole)))


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    nested = []
    for _ in range(200):
        nested = [nested]

    def make(value):
        asked = {"items": make_items(2), "models": [POOLED], "chunk_items": 4}
        return Store.create(tmp_path / "run.zarr", request=REQUEST | {"note": value}, **asked)

    for value in (2**64, nested, float("nan")):
        with pytest.raises(StoreError, match="cannot be written as JSON"):
            make(value)
    assert Store.open(make([2**64 - 1, -(2**63), 1.5e300]).target).request["note"] == [2**64 - 1, -(2**63), 1.5e300]


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "NaN", "9" * 1000])
def test_extreme_json_in_the_metadata_of_an_array_is_refused_and_repaired(path, whole, text):
    document = path / "galileo/embedding/zarr.json"
    document.write_text(f'{{"a": {text}}}')
    with pytest.raises(StoreError, match="its metadata are garbled"):
        nodes.array_document(Location.of(path), "galileo/embedding")
    assert [one.where for one in verify(path).damages] == ["galileo/embedding/zarr.json"]
    verify(path, repair=True)
    assert verify(path).is_sound
    assert json.loads(document.read_text()) == json.loads((whole / "galileo/embedding/zarr.json").read_text())


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_opening_what_is_not_there_makes_nothing(tmp_path, mode):
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path / "typo", mode)
    assert not Store.exists(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    "array", ["galileo/status", "galileo/scenes", "galileo/embedding", "items/spatial", "galileo/id"]
)
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_chunk_is_named(path, array, damage):
    found = max(p for p in (path / array / "c").rglob("*") if p.is_file())
    whole = found.read_bytes()
    found.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": bytes(range(200))}[damage])
    store = Store.open(path)
    with pytest.raises(StoreError, match="cut short or garbled") as caught:
        store.values(*array.split("/"))
    key = found.relative_to(path).as_posix()
    assert caught.value.value == f"{path}/{key}" if array != "galileo/id" else "galileo/id" in caught.value.value
    assert "repair=True" in caught.value.fix


def test_the_fix_for_a_damaged_chunk_works(path, whole):
    (path / "galileo/embedding/c/1/0").write_bytes(b"noise")
    (path / "galileo/embedding/c/1/0").unlink()
    (path / "galileo/status/c/1").unlink()
    store = Store.open(path, "r+")
    assert store.pending("galileo").tolist() == [1]
    store.write_chunk(1, "galileo", make_result(store, POOLED, 1))
    assert_same(content(store), content(Store.open(whole)))


def test_a_damaged_chunk_stops_a_merge_before_anything_is_written(path):
    (path / "galileo/embedding/c/0/0").write_bytes(b"noise")
    store = Store.open(path, "r+")
    before = (path / "galileo/status/c/0").read_bytes()
    with pytest.raises(StoreError, match="garbled") as caught:
        store.write_chunk(0, "galileo", make_result(store, POOLED, 0, offsets=[1]))
    assert caught.value.value.endswith("galileo/embedding/c/0/0")
    assert (path / "galileo/status/c/0").read_bytes() == before


@pytest.mark.parametrize("opener", [open_store, status, lambda path: Store.open(path).pending("galileo")])
def test_a_status_that_does_not_exist_is_an_error(path, opener):
    zarr.open_array(path / "galileo/status", mode="r+")[6] = 9
    with pytest.raises(StoreError, match="row 6 has status 9") as caught:
        opener(path)
    assert "repair=True" in caught.value.fix


def test_items_whose_key_does_not_match_are_not_handed_out(path):
    zarr.open_array(path / "items/key", mode="r+")[5] = 1
    store = Store.open(path)
    assert len(store.items(0)) == 4
    with pytest.raises(StoreError, match=r"items: rows \[5\].*not those of their places"):
        store.items(1)


def refuse(monkeypatch, error):
    async def operation(self, key, *args, **kwargs):
        raise error

    monkeypatch.setattr(LocalStore, "set", operation)


def test_a_folder_that_cannot_be_written(path, monkeypatch):
    store = Store.open(path, "r+")
    refuse(monkeypatch, PermissionError(13, "Permission denied"))
    with pytest.raises(StoreError, match=r"no permission \(Permission denied\)") as caught:
        store.write_chunk(0, "galileo", make_result(store, POOLED, 0))
    assert "galileo/status rows 0 to 3" in caught.value.value  # set back to pending first
    assert "another path" in caught.value.fix
    with pytest.raises(StoreError, match="no permission"):
        make_store(path.parent / "new")


def test_a_full_disk(path, monkeypatch):
    store = Store.open(path, "r+")
    refuse(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(StoreError, match="No space left on device") as caught:
        store.update_receipt(a=1)
    assert "disk's space" in caught.value.fix


def test_a_path_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as caught:
        make_store(tmp_path / "file" / "run.zarr")
    assert caught.value.fix


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"not empty and holds no store \(it has thesis.tex\)") as caught:
        make_store(tmp_path)
    assert "empty folder" in caught.value.fix
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert len(list(tmp_path.iterdir())) == 1


def test_another_zarr_group_is_left_alone(tmp_path):
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    (tmp_path / "data").mkdir()
    with pytest.raises(StoreError, match="not a store of rs-embed-dask"):
        make_store(tmp_path)
    assert (tmp_path / "data").exists()


def test_a_finished_store_is_not_made_over(path):
    with pytest.raises(StoreError, match="a finished store already"):
        make_store(path)
    assert Store.open(path).pending("galileo").size == 0


def test_what_a_killed_write_left_is_no_content(tmp_path):
    (tmp_path / "zarr.0123abcd.partial").write_text("x")
    assert make_store(tmp_path).n_items == 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"items": []}, "at least one item"),
        ({"models": []}, "at least one model"),
        ({"models": [POOLED, POOLED]}, "two models have one label"),
        ({"chunk_items": 0}, "at least one item"),
        ({"request": {"a": object()}}, "JSON"),
    ],
)
def test_stores_that_cannot_be_made(tmp_path, change, reason):
    arguments = {"items": make_items(2), "models": [POOLED], "request": REQUEST, "chunk_items": 4} | change
    with pytest.raises(StoreError, match=reason) as caught:
        Store.create(tmp_path / "s", **arguments)
    assert caught.value.fix
    assert not Store.exists(tmp_path / "s")


@pytest.mark.parametrize("target", ["", 7, None, b"bytes", {"a": 1}])
def test_targets_that_are_no_place(target):
    with pytest.raises(StoreError, match="not a path, URL or Zarr store") as caught:
        Store.open(target)
    assert "s3://" in caught.value.fix


def test_a_url_of_an_unknown_scheme():
    with pytest.raises(StoreError, match="nosuch") as caught:
        Store.open("nosuch://bucket/run.zarr")
    assert "scheme" in caught.value.fix


def test_a_mode_that_is_none(path):
    with pytest.raises(StoreError, match=r"use 'r' or 'r\+'"):
        Store.open(path, "w")
