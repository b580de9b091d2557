"""Damage of every kind is found, repaired, and after the rows are computed again the store is what it was."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Remedy, Status, Store, arrays, has_lost_chunks, mend_lost_chunks, verify
from rs_embed_dask.store.document import COPY_KEY, is_as_written
from tests.store.faults import entries, flip
from tests.store.samples import GRID, POOLED, REQUEST, assert_same, content, make_items, make_result, vector

TWIN = replace(POOLED, label="twin")
MODELS = (POOLED, TWIN, GRID)
NOT_OK = {1: Status.PARTIAL, 5: Status.NO_DATA, 8: Status.NO_DATA, 9: Status.INVALID}
"""Rows with another status than OK; the last chunk holds nothing else."""


def put(store, layout, chunk, rows):
    """Write the known result of some rows of a chunk."""
    first, _ = store.span(chunk)
    for status in Status:
        offsets = [row - first for row in rows if NOT_OK.get(row, Status.OK) is status]
        if offsets:
            reason = "" if status is Status.OK else f"{status.words} at {first}"
            result = make_result(store, layout, chunk, offsets=offsets, status=status, reason=reason)
            if layout is TWIN and result.embedding is not None:
                result.embedding = [one + 0.5 for one in result.embedding]
            store.write_chunk(chunk, layout.label, result)


def compute(path):
    """What resume does: compute every row that is pending."""
    store = Store.open(path, "r+")
    for layout in MODELS:
        for chunk in store.pending(layout.label).tolist():
            rows = store.pending_rows(chunk, layout.label) + store.span(chunk)[0]
            put(store, layout, chunk, rows.tolist())


def everything(path):
    """All values of a store, and its documents."""
    store = Store.open(path)
    columns = {f"items/{name}": store.values("items", name) for name in ITEM_COLUMNS}
    copies = {f"{one.label}/{name}": store.values(one.label, name) for one in MODELS for name in ("id", "lon", "start")}
    documents = {p.relative_to(path).as_posix(): json.loads(p.read_bytes()) for p in Path(path).rglob("zarr.json*")}
    return content(store) | columns | copies, documents


ITEM_COLUMNS = ("item", "id", "lon", "lat", "start", "end", "geometry", "spatial", "temporal", "key", "checksum")


def make(path, request=REQUEST):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_ITEM_ROWS", 4)  # several files of items
        Store.create(path, items=make_items(10), models=MODELS, request=request, chunk_items=4)
    compute(path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "run.zarr")


@pytest.fixture(scope="module")
def undisturbed(whole):
    return everything(whole)


@pytest.fixture
def path(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def chunk_file(path, array, number=0):
    inside = path / array / "c" / str(number)
    return next((one for one in [inside, *inside.rglob("*")] if one.is_file()), inside)


def swap(first, second):
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def edit(array, change, rows=slice(0, 4)):
    """Change values by Zarr, so that the file is a good one."""

    def damage(path):
        opened = zarr.open_array(path / array, mode="r+")
        values = opened[rows]
        opened.with_config({"write_empty_chunks": True})[rows] = change(values)

    return damage


def set_to(value):
    return lambda values: np.full_like(values, value)


def exchange(values):
    values[[0, 2]] = values[[2, 0]]
    return values


def all_files(path, label, number):
    names = [p.name for p in sorted((path / label).iterdir()) if (p / "c").is_dir() and p.name not in ITEM_COLUMNS[:6]]
    return [chunk_file(path, f"{label}/{name}", number) for name in (*names, "checksum")]


def swap_all(path, first, second):
    for one, two in dict(zip(all_files(path, *first), all_files(path, *second), strict=True)).items():
        swap(one, two)


def from_another_store(path):
    other = make(path.parent / "other.zarr", REQUEST | {"fetch": {"resolution_m": 20.0, "mask": "scl"}})
    for one, two in zip(all_files(path, "rcf", 0), all_files(other, "rcf", 0), strict=True):
        one.write_bytes(two.read_bytes())


def as_float64(path):
    file = chunk_file(path, "galileo/embedding")
    other = zarr.create_array(path.parent / "x", shape=(4, 5), chunks=(4, 5), dtype="float64", compressors="auto")
    other[:] = zarr.open_array(path / "galileo/embedding")[:4]
    file.write_bytes((path.parent / "x/c/0/0").read_bytes())


def document(name, change):
    def damage(path):
        data = json.loads((path / name).read_text())
        change(data)
        (path / name).write_text(json.dumps(data))

    return damage


def mark(**values):
    return document("zarr.json", lambda root: root["attributes"]["rs_embed_dask"].update(values))


def shorten(path):
    """All arrays and the root agree on fewer items."""
    for file in path.rglob("zarr.json"):
        data = json.loads(file.read_text())
        if "shape" in data:
            data["shape"][0] = 6
        else:
            for one in data.get("consolidated_metadata", {}).get("metadata", {}).values():
                if "shape" in one:
                    one["shape"][0] = 6
            if "rs_embed_dask" in data["attributes"]:
                data["attributes"]["rs_embed_dask"]["n_items"] = 6
        file.write_text(json.dumps(data))


def copy_row(path, group):
    """Write one row over another in every array of a group, its own coordinates in a model left out."""
    skipped = ITEM_COLUMNS[:6] if group != "items" else ()
    for array in sorted(one.name for one in (path / group).iterdir() if (one / "c").is_dir()):
        if array not in skipped:
            edit(f"{group}/{array}", lambda values: values[[0, 1, 0, 3]])(path)


def cut(file):
    file.write_bytes(file.read_bytes()[:20])


DAMAGES = {
    # files
    "a chunk deleted": (lambda p: chunk_file(p, "galileo/embedding").unlink(), "galileo/embedding/c/0/0"),
    "a chunk of grids deleted": (lambda p: chunk_file(p, "rcf/embedding", 1).unlink(), "rcf/embedding/c/1/0/0/0"),
    "counts deleted": (lambda p: chunk_file(p, "rcf/n_obs").unlink(), "rcf/n_obs/c/0"),
    "reasons of a chunk without vectors deleted": (lambda p: chunk_file(p, "rcf/reason", 2).unlink(), "rcf rows 8, 9"),
    "a chunk cut short": (lambda p: cut(chunk_file(p, "twin/embedding")), "twin/embedding/c/0/0"),
    "an empty file": (lambda p: chunk_file(p, "galileo/scenes", 1).write_bytes(b""), "galileo/scenes/c/1"),
    "a flipped bit": (lambda p: flip(chunk_file(p, "rcf/embedding")), "rcf/embedding/c/0/0/0/0"),
    "a folder instead of a file": (
        lambda p: (chunk_file(p, "rcf/n_obs").unlink(), (p / "rcf/n_obs/c/0").mkdir()),
        "rcf/n_obs/c/0",
    ),
    "a folder instead of a status": (
        lambda p: (chunk_file(p, "rcf/status").unlink(), (p / "rcf/status/c/0").mkdir()),
        "rcf/status/c/0",
    ),
    "a folder instead of a document": (
        lambda p: ((p / "rcf/n_obs/zarr.json").unlink(), (p / "rcf/n_obs/zarr.json").mkdir()),
        "rcf/n_obs/zarr.json",
    ),
    "a folder instead of the root": (
        lambda p: ((p / "zarr.json").unlink(), (p / "zarr.json").mkdir()),
        "zarr.json",
    ),
    "a folder instead of the root's copy": (lambda p: ((p / COPY_KEY).unlink(), (p / COPY_KEY).mkdir()), COPY_KEY),
    "a file instead of a folder": (
        lambda p: (shutil.rmtree(p / "twin/n_obs/c"), (p / "twin/n_obs/c").write_text("x")),
        "twin/n_obs/c/0",
    ),
    "a link to a folder": (
        lambda p: (chunk_file(p, "twin/n_obs").unlink(), (p / "twin/n_obs/c/0").symlink_to(p.parent)),
        "twin/n_obs/c/0",
    ),
    "a link to nothing": (
        lambda p: (chunk_file(p, "twin/n_obs").unlink(), (p / "twin/n_obs/c/0").symlink_to(p.parent / "none")),
        "twin/n_obs/c/0",
    ),
    # values
    "a row over another": (lambda p: copy_row(p, "galileo"), "galileo rows 2"),
    "one value": (edit("galileo/embedding", lambda v: v + np.eye(4, 5, dtype="f4") * [[0], [0], [1], [0]]), "rows 2"),
    "NaN": (edit("galileo/embedding", set_to(np.nan)), "galileo rows 0, 1, 2, 3"),
    "zeros": (edit("rcf/embedding", set_to(0)), "rcf rows 0, 1, 2, 3"),
    "dates": (edit("twin/first_date", lambda v: v + 1), "twin rows 0, 1, 2, 3"),
    "a reason": (edit("twin/reason", set_to("fine"), slice(5, 6)), "twin rows 5"),
    "swapped rows": (edit("galileo/embedding", exchange), "galileo rows 0, 2"),
    "swapped chunks": (
        lambda p: swap(chunk_file(p, "galileo/embedding"), chunk_file(p, "galileo/embedding", 1)),
        "galileo rows 4, 5, 6, 7",
    ),
    "all of two chunks swapped": (lambda p: swap_all(p, ("rcf", 0), ("rcf", 1)), "rcf rows 4, 5, 6, 7"),
    "vectors of two models swapped": (
        lambda p: swap(chunk_file(p, "galileo/embedding"), chunk_file(p, "twin/embedding")),
        "twin rows 0, 1, 2, 3",
    ),
    "all of two models' chunks swapped": (lambda p: swap_all(p, ("galileo", 0), ("twin", 0)), "twin rows 0, 1, 2, 3"),
    "another store's chunk": (from_another_store, "rcf rows 0, 1, 2, 3"),
    "another type": (as_float64, "galileo/embedding/c/0/0"),
    # status and checksum
    "status deleted": (lambda p: chunk_file(p, "galileo/status").unlink(), "galileo/status/c/0"),
    "status of noise": (lambda p: chunk_file(p, "galileo/status").write_bytes(bytes(range(99))), "galileo/status/c/0"),
    "status of zeros": (edit("rcf/status", set_to(0)), "rcf/status/c/0"),
    "an unknown status": (edit("rcf/status", set_to(9), slice(2, 3)), "rcf/status/c/0"),
    "another status": (edit("rcf/status", set_to(2), slice(0, 1)), "rcf rows 0"),
    "OK without a vector": (edit("rcf/status", set_to(1), slice(8, 9)), "rcf rows 8"),
    "checksums deleted": (lambda p: chunk_file(p, "twin/checksum").unlink(), "twin/checksum/c/0"),
    "checksums of noise": (lambda p: flip(chunk_file(p, "twin/checksum")), "twin/checksum/c/0"),
    "checksums of zeros": (edit("twin/checksum", set_to(0)), "twin rows 0, 1, 2, 3"),
    "status and checksums of noise": (
        lambda p: [chunk_file(p, f"twin/{name}", 1).write_bytes(b"no") for name in ("status", "checksum")],
        "twin/status/c/1",
    ),
    # items
    "keys deleted": (lambda p: chunk_file(p, "items/key", 1).unlink(), "items/key/c/1"),
    "keys of noise": (lambda p: chunk_file(p, "items/key").write_bytes(bytes(200)), "items/key/c/0"),
    "another key": (edit("items/key", lambda v: v + np.uint64(1)), "items/key/c/0"),
    "a centre moved": (edit("items/lon", lambda v: v + 1, slice(4, 5)), "items/lon/c/1"),
    "a flipped bit in a centre": (lambda p: flip(chunk_file(p, "items/lat"), 12), "items/lat/c/0"),
    "names swapped": (lambda p: swap(chunk_file(p, "items/id"), chunk_file(p, "items/id", 1)), "items/id/c/0"),
    "outlines cut short": (lambda p: cut(chunk_file(p, "items/geometry")), "items/geometry/c/0"),
    "checksums of items": (edit("items/checksum", set_to(7)), "items/checksum/c/0"),
    "a model's names": (edit("rcf/id", set_to("x")), "rcf/id/c/0"),
    "a model's centres deleted": (lambda p: chunk_file(p, "rcf/lat", 2).unlink(), "rcf/lat/c/2"),
    # documents
    "an array's document deleted": (lambda p: (p / "rcf/embedding/zarr.json").unlink(), "rcf/embedding/zarr.json"),
    "a group's document cut short": (lambda p: cut(p / "rcf/zarr.json"), "rcf/zarr.json"),
    "an array's type changed": (
        document("galileo/embedding/zarr.json", lambda d: d.update(data_type="float64")),
        "galileo/embedding/zarr.json",
    ),
    "an array shortened": (
        document("items/id/zarr.json", lambda d: d["shape"].__setitem__(0, 5)),
        "items/id/zarr.json",
    ),
    "a model's folder deleted": (lambda p: shutil.rmtree(p / "galileo"), "galileo/status/zarr.json"),
    "the root deleted": (lambda p: (p / "zarr.json").unlink(), "zarr.json"),
    "the root cut short": (lambda p: cut(p / "zarr.json"), "zarr.json"),
    "the root's request changed": (document("zarr.json", lambda d: d["attributes"]["request"].clear()), "zarr.json"),
    "a negative number of items": (mark(n_items=-1), "zarr.json"),
    "too many items": (mark(n_items=10**12), "zarr.json"),
    "chunks of nothing": (mark(chunk_items=0), "zarr.json"),
    "the root shortened": (mark(n_items=6), "zarr.json"),
    "the root's copy of noise": (lambda p: (p / COPY_KEY).write_text('{"attributes": 3}'), COPY_KEY),
    "keys emptied": (lambda p: chunk_file(p, "items/key").write_bytes(b""), "items/key/c/0"),
    "the root's copy deleted": (lambda p: (p / COPY_KEY).unlink(), COPY_KEY),
    # files that belong to nothing
    "a chunk too many": (
        lambda p: shutil.copytree(p / "rcf/embedding/c/0", p / "rcf/embedding/c/7"),
        "rcf/embedding/c/7/0/0/0",
    ),
    "a file that is no chunk": (lambda p: (p / "rcf/n_obs/c/x.tmp").write_text("x"), "rcf/n_obs/c/x.tmp"),
    "what a killed write left": (lambda p: (p / "rcf/n_obs/c/0.12ab.partial").write_text("x"), "0.12ab.partial"),
}


@pytest.mark.parametrize(("damage", "where"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_repaired_and_computed_again(path, whole, undisturbed, damage, where):
    damage(path)
    found = verify(path)
    assert not found.is_sound
    assert any(where in one.where for one in found.damages), [one.where for one in found.damages]
    assert found.is_lasting
    repaired = verify(path, repair=True)
    assert {one.where for one in found.damages} <= {one.where for one in repaired.damages}
    assert not repaired.is_lasting
    compute(path)
    if entries(path) == entries(whole):  # byte by byte the store that `test_a_whole_store_is_sound` verifies
        return
    assert verify(path).damages == ()
    values, documents = everything(path)
    assert_same(values, undisturbed[0])
    assert documents == undisturbed[1]


def test_there_are_more_than_twenty_kinds():
    assert len(DAMAGES) > 60


def test_a_whole_store_is_sound(whole):
    report = verify(whole)
    assert report.is_sound
    assert report.checked == {"galileo": 10, "twin": 10, "rcf": 10}
    assert report.unrecorded == {}
    assert "sound" in repr(report)
    assert report.to_dict()["damages"] == []


def test_only_the_rows_that_are_damaged_are_computed_again(path):
    edit("galileo/embedding", exchange)(path)
    report = verify(path, repair=True)
    assert report.n_rows == 2
    assert Store.open(path).pending_rows(0, "galileo").tolist() == [0, 2]
    assert "2 rows to compute again" in report.next_step
    assert [(one.where, one.remedy) for one in report.damages] == [("galileo rows 0, 2", Remedy.RECOMPUTE)]
    assert "differ from those that were written, or belong to other items" in report.damages[0].reason


def test_verify_alone_changes_nothing(path):
    chunk_file(path, "galileo/embedding").unlink()
    flip(chunk_file(path, "rcf/embedding"))
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    report = verify(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert report.n_rows == 8
    assert "verify(path, repair=True)" in report.next_step


@pytest.mark.parametrize("column", ["spatial", "temporal"])
def test_places_that_are_lost_cannot_be_made_again(path, column):
    chunk_file(path, f"items/{column}").write_bytes(b"no")
    report = verify(path, repair=True)
    assert [(one.where, one.remedy) for one in report.damages] == [("items rows 0 to 3", Remedy.RESTORE)]
    assert report.is_lasting
    assert "beyond repair" in report.next_step
    assert Store.open(path).pending("galileo").size == 0, "vectors whose items are lost are left alone"


def whole_shards_swapped(path):
    for name in ITEM_COLUMNS:
        swap(chunk_file(path, f"items/{name}"), chunk_file(path, f"items/{name}", 1))


@pytest.mark.parametrize(
    ("damage", "spans"),
    [(lambda p: copy_row(p, "items"), ["0 to 3"]), (whole_shards_swapped, ["0 to 3", "4 to 7"])],
    ids=["a row", "a file"],
)
def test_items_of_other_rows_are_not_taken_for_those_that_were_lost(path, undisturbed, damage, spans):
    damage(path)
    report = verify(path, repair=True)
    assert [(one.where, one.remedy) for one in report.damages] == [
        (f"items rows {span}", Remedy.RESTORE) for span in spans
    ]
    assert_same(content(Store.open(path)), {name: undisturbed[0][name] for name in content(Store.open(path))})
    assert Store.open(path).values("rcf", "id").tolist() == undisturbed[0]["rcf/id"].tolist()


def test_a_changed_root_without_a_copy_is_told(path):
    (path / COPY_KEY).unlink()
    document("zarr.json", lambda root: root["attributes"]["request"].clear())(path)
    assert not is_as_written((path / "zarr.json").read_bytes())
    (damage,) = verify(path, repair=True).damages
    assert (damage.where, damage.remedy) == ("zarr.json", Remedy.RESTORE)
    cut(path / "zarr.json")
    with pytest.raises(StoreError, match="not a store"):
        verify(path)


def test_a_copy_that_knows_fewer_items_is_not_used(path):
    stale = (path / COPY_KEY).read_bytes()
    Store.open(path, "r+").append_items(make_items(2, first=10))
    (path / COPY_KEY).write_bytes(stale)
    cut(path / "zarr.json")
    with pytest.raises(StoreError, match="not a store"):
        verify(path, repair=True)


def test_no_store_and_a_store_half_made(tmp_path, path):
    with pytest.raises(StoreError, match="no store"):
        verify(tmp_path / "typo")
    mark(state="creating")(path)
    with pytest.raises(StoreError, match="cut short"):
        verify(path)


def test_a_shortened_store_is_told_by_its_copy(path, undisturbed):
    shorten(path)
    assert Store.open(path).n_items == 6
    report = verify(path)
    assert report.damages[0].where == "zarr.json"


def without_checksums(path):
    """What an earlier version wrote: no checksums, no copy of the root, and no chunks of fill values."""
    for folder in path.rglob("checksum"):
        shutil.rmtree(folder)
    (path / COPY_KEY).unlink()
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["rs_embed_dask"].pop("checksum")
    metadata = root["consolidated_metadata"]["metadata"]
    for name in [name for name in metadata if name.endswith("/checksum")]:
        del metadata[name]
    (path / "zarr.json").write_text(json.dumps(root))
    for label in ("galileo", "twin", "rcf"):
        chunk_file(path, f"{label}/reason").unlink()


def test_a_store_of_an_earlier_version_is_checked_as_far_as_it_goes(path):
    without_checksums(path)
    report = verify(path)
    assert report.is_sound
    assert report.checked == {}
    assert report.unrecorded == {"galileo": 10, "twin": 10, "rcf": 10}
    assert "no checksums recorded" in repr(report)
    chunk_file(path, "galileo/embedding").unlink()
    flip(chunk_file(path, "rcf/embedding"))
    edit("items/key", lambda keys: keys + np.uint64(1))(path)
    where = {one.where for one in verify(path, repair=True).damages}
    assert where == {"galileo/embedding/c/0/0", "rcf/embedding/c/0/0/0/0", "items/key/c/0"}
    compute(path)
    np.testing.assert_array_equal(Store.open(path).values("galileo", "embedding")[2], vector(POOLED, 2))
    assert verify(path).is_sound


def test_a_store_of_an_earlier_version_grows(path):
    without_checksums(path)
    store = Store.open(path, "r+")
    assert store.append_items(make_items(3, first=10)) == 3
    store.add_models([replace(GRID, label="new")])
    for chunk in range(store.n_chunks):
        store.write_chunk(chunk, "new", make_result(store, replace(GRID, label="new"), chunk))
    report = verify(path)
    assert report.is_sound
    assert report.checked == {"new": 13}
    assert report.unrecorded == {"galileo": 10, "twin": 10, "rcf": 10}


def test_missing_chunks_are_listed_and_become_pending(path):
    chunk_file(path, "galileo/embedding", 1).unlink()
    chunk_file(path, "rcf/n_obs").unlink()
    store = Store.open(path, "r+")
    assert store.pending("galileo").size == 0
    with pytest.warns(UserWarning, match=r"2 files missing .*galileo/embedding/c/1/0.* 8 rows to compute again"):
        mend_lost_chunks(store)
    assert store.pending("galileo").tolist() == [1]
    assert store.pending("rcf").tolist() == [0]
    compute(path)
    with warnings.catch_warnings(action="error"):
        assert mend_lost_chunks(Store.open(path, "r+")) == []
    assert verify(path).is_sound


def test_only_the_chunks_of_the_lease_are_mended(path):
    for number in range(3):
        chunk_file(path, "galileo/embedding", number).unlink()
    store = Store.open(path, "r+")
    first = (path / "galileo/status/c/0").read_bytes()
    with pytest.warns(UserWarning, match="1 file missing .*galileo/embedding/c/1/0.* 4 rows to compute again"):
        damages = mend_lost_chunks(store, chunks=(1, 2))
    assert [one.where for one in damages] == ["galileo/embedding/c/1/0"]
    assert store.pending("galileo").tolist() == [1]
    assert (path / "galileo/status/c/0").read_bytes() == first
    assert has_lost_chunks(store, ["galileo"])
    assert has_lost_chunks(store, ["galileo"], chunks=(0, 1))
    assert not has_lost_chunks(store, ["galileo"], chunks=(1, None))
    with pytest.warns(UserWarning, match="galileo/embedding/c/0/0"):
        assert len(mend_lost_chunks(store, chunks=(0, None))) == 1
    assert store.pending("galileo").tolist() == [0, 1]


def test_a_store_in_memory_is_verified_and_repaired():
    target = make(MemoryStore())
    store = Store.open(target, "r+")
    values = store.values("rcf", "embedding", (0, 4))
    zarr.open_array(target, path="rcf/embedding", mode="r+")[:4] = values[::-1]
    assert [one.where for one in verify(target, repair=True).damages] == ["rcf rows 0, 1, 2, 3"]
    compute(target)
    assert verify(target).is_sound
    np.testing.assert_array_equal(Store.open(target).values("rcf", "embedding", (0, 4)), values)
