"""Damage of every kind to a map is found and repaired; once its blocks are computed again, it is what it was."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import Remedy, Status, mend_lost_blocks, verify
from rs_embed_dask.store.document import COPY_KEY, is_as_written
from rs_embed_dask.store.map_layout import BlockKey
from rs_embed_dask.store.map_store import MapStore
from tests.store.map_samples import (
    NEXT,
    TINY,
    YEAR,
    assert_same_block,
    block_content,
    fill_map,
    make_map,
    result_of,
    square,
)

BLOCKS = square(82, 10)
KEY = BlockKey("tiny", "utm31", 0, 82, 10)
FAILED = KEY._replace(row=83, col=11)
NOTHING = KEY._replace(row=83, col=10)
AT = "c/0/82/10"
PATHS = {name: f"tiny/utm31/{name}/{AT}" for name in ("valid_fraction", "n_obs", "reason", "status", "checksum")}
PATHS |= {"embedding": "tiny/utm31/embedding/c/0/0/82/10", "coverage": "tiny/utm31/coverage/c/82/10"}


def compute(path):
    """What resume does: compute every block that is pending."""
    store = MapStore.open(path, "r+")
    for layout in store.document.layouts:
        for group, time, blocks in list(store.pending(layout.label, only={Status.PENDING})):
            for at in blocks:
                key = BlockKey(layout.label, group.group, time, *at)
                fates = {
                    FAILED: {"status": Status.READ_FAILED, "embedding": None, "reason": "HTTP 503"},
                    NOTHING: {"status": Status.NO_DATA, "embedding": None, "reason": "no scene"},
                }
                store.finish_block(key, result_of(layout, key, **{"reason": "2 % missing"} | fates.get(key, {})))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "map.zarr"
    store = make_map(path, layouts=(TINY,), spans=(YEAR, NEXT))
    compute(path)
    store.keep_positions("tiny", np.ones((3, 4, 4), "float32"))
    archive = path.parent / "scores.npz"
    np.savez(archive, sums=np.arange(100.0))
    store.keep_scores("tiny", archive.read_bytes(), over=None)
    return path


@pytest.fixture(scope="module")
def right(whole):
    return everything(whole)


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "map.zarr")


def everything(path):
    """All that a map holds: blocks as values, documents without the marks of writers."""
    store = MapStore.open(path)
    keys = [BlockKey(label, "utm31", time, *at) for label in store.labels for time in (0, 1) for at in BLOCKS]
    documents = {p.relative_to(path).as_posix(): json.loads(p.read_bytes()) for p in path.rglob("zarr.json*")}
    axes = {name: store.array(f"tiny/utm31/{name}")[...].tolist() for name in ("y", "time", "time_end")}
    return {key: block_content(store, key) for key in keys}, documents | axes


def assert_restored(path, right):
    blocks, documents = everything(path)
    assert documents == right[1]
    for key, content in blocks.items():
        assert_same_block(content, right[0][key])


def test_a_whole_map_is_sound_and_every_block_was_compared(whole):
    report = verify(whole)
    assert report.is_sound, report
    assert report.checked == {"tiny": 8}
    assert "8 blocks" in repr(report)
    assert is_as_written((whole / "zarr.json").read_bytes())
    assert (whole / "zarr.json").read_bytes() == (whole / COPY_KEY).read_bytes()


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def swapped(path):
    other = path.parent / "11" if path.name == "10" else path
    path.write_bytes(other.read_bytes())


def gone(path):
    path.unlink()


DEEDS = [
    *[("embedding", deed) for deed in (flipped, cut, gone, swapped)],
    *[("status", deed) for deed in (flipped, gone)],
    *[("checksum", deed) for deed in (gone, swapped)],
    *[("coverage", deed) for deed in (flipped, gone)],
    ("valid_fraction", gone),
    ("n_obs", flipped),
    ("reason", gone),
]


@pytest.mark.parametrize(("name", "deed"), DEEDS, ids=lambda one: getattr(one, "__name__", one))
def test_a_damaged_block_is_found_and_computed_again(copy, right, name, deed):
    deed(copy / PATHS[name])
    report = verify(copy)
    assert len(report.damages) == 1, report
    (damage,) = report.damages
    assert damage.remedy is Remedy.RECOMPUTE
    assert damage.rows == 1
    assert "82" in damage.where
    assert "resume" in report.next_step
    repaired = verify(copy, repair=True)
    assert repaired.damages == report.damages
    assert repaired.n_rows == 1
    store = MapStore.open(copy)
    assert [(time, list(blocks)) for _, time, blocks in store.pending("tiny", only={Status.PENDING})] == [
        (0, [(82, 10)])
    ]
    compute(copy)
    assert verify(copy).is_sound
    assert_restored(copy, right)


def test_a_status_that_does_not_exist_and_one_that_was_changed_are_found(copy, right):
    store = MapStore.open(copy, "r+")
    store.array("tiny/utm31/status")[0, 82, 10] = 77
    store.array("tiny/utm31/status")[0, 83, 11] = int(Status.OK)
    report = verify(copy, repair=True)
    assert sorted(damage.reason for damage in report.damages) == ["it is missing", "there is no status 77"]
    compute(copy)
    assert_restored(copy, right)


def test_a_block_that_failed_is_compared_too(copy):
    MapStore.open(copy, "r+").array("tiny/utm31/reason")[0, 83, 11] = "something else"
    (damage,) = verify(copy).damages
    assert (damage.where, damage.reason) == (
        "tiny/utm31 span 0, row 83, column 11",
        "what is stored was not written so",
    )


@pytest.mark.parametrize(
    ("path", "deed", "remedy"),
    [
        ("tiny/utm31/zarr.json", cut, Remedy.REBUILD),
        ("tiny/utm31/embedding/zarr.json", gone, Remedy.REBUILD),
        ("tiny/utm31/y/c/0", flipped, Remedy.REBUILD),
        ("tiny/utm31/time/c/0", gone, Remedy.REBUILD),
        ("zarr.json", cut, Remedy.REBUILD),
        ("zarr.json", gone, Remedy.REBUILD),
        (COPY_KEY, gone, Remedy.REBUILD),
        (COPY_KEY, cut, Remedy.REBUILD),
    ],
)
def test_what_the_map_holds_twice_is_made_again(copy, right, path, deed, remedy):
    deed(copy / path)
    (damage,) = verify(copy).damages
    assert damage.remedy is remedy
    report = verify(copy, repair=True)
    assert report.next_step == "repaired"
    assert verify(copy).is_sound, verify(copy)
    assert_restored(copy, right)


def test_what_nothing_replaces_is_said(copy):
    cut(copy / "tiny/position_mean/c/0/0/0")
    cut(copy / "tiny/scores.npz")
    report = verify(copy, repair=True)
    assert {damage.where: damage.remedy for damage in report.damages} == {
        "tiny/position_mean": Remedy.RESTORE,
        "tiny/scores.npz": Remedy.REMOVE,
    }
    assert report.is_lasting
    assert not (copy / "tiny/scores.npz").exists()
    (copy / "zarr.json").write_text("{}")
    (copy / COPY_KEY).write_text("{}")
    with pytest.raises(StoreError, match="not a store"):
        verify(copy)


@pytest.mark.parametrize(
    "key", ["tiny/utm31/embedding/c/0/0/90/10", "tiny/utm31/coverage/c/5/5", "tiny/utm31/n_obs/c/7/82/10"]
)
def test_files_where_no_block_was_asked_for_are_removed(copy, right, key):
    stray = copy / key
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"stray")
    (copy / "tiny/utm31/n_obs/c/0/82/.x.partial").write_bytes(b"half")
    report = verify(copy, repair=True)
    assert {damage.remedy for damage in report.damages} == {Remedy.REMOVE}
    assert key in {damage.where for damage in report.damages}
    assert not stray.exists()
    assert verify(copy).is_sound, verify(copy)
    assert_restored(copy, right)


def test_missing_vectors_are_found_without_reading(copy, right):
    assert mend_lost_blocks(MapStore.open(copy, "r+")) == []
    gone(copy / PATHS["embedding"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (damage,) = mend_lost_blocks(MapStore.open(copy, "r+"))
    assert damage.where == PATHS["embedding"]
    assert "1 file missing" in str(caught[0].message)
    assert "1 block to compute again" in str(caught[0].message)
    compute(copy)
    assert_restored(copy, right)


def test_a_writer_that_stood_still_does_not_undo_what_was_done_meanwhile(copy, right):
    store = MapStore.open(copy, "r+")
    late = result_of(TINY, KEY, status=Status.READ_FAILED, embedding=None, reason="HTTP 503")
    store.finish_block(KEY, late)
    store.finish_block(KEY, late, only={Status.READ_FAILED})
    assert_restored(copy, right)
    store.finish_block(KEY, late, only={Status.OK})
    assert store.block(KEY).status == Status.READ_FAILED
    store.finish_block(KEY, result_of(TINY, KEY, reason="2 % missing"))
    assert_restored(copy, right)


def test_a_crash_at_every_step_leaves_a_sound_map():
    from zarr.storage import MemoryStore

    from tests.store.faults import crashes

    place = MemoryStore()
    make_map(place, blocks=square(82, 10, 1, 1))
    store = MapStore.open(place, "r+")
    fill_map(store)
    other = result_of(TINY, KEY, embedding=np.full((3, 4, 4), 7, "float32"))
    reasons = set()
    for _ in crashes(lambda: store.write_block(KEY, other)):
        reasons |= {damage.reason for damage in verify(place).damages}
    assert reasons <= {"the block was written, but its status was not, or it is lost"}
