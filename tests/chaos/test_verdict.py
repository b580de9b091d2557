"""The judge finds every lost, doubled and changed item, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.store import Status
from tests.chaos.verdict import done_share, judge, open_chunks
from tests.store.samples import GRID, POOLED, make_items, make_result, make_store

COUNT = 10


def whole(target, chunks=range(3)):
    """A store of ten items in three chunks, with what an undisturbed run writes."""
    store = make_store(target, COUNT)
    for chunk in chunks:
        for layout in (POOLED, GRID):
            store.write_chunk(chunk, layout.label, make_result(store, layout, chunk))
    return store


@pytest.fixture
def reference(tmp_path):
    return whole(tmp_path / "reference.zarr")


def counts(verdict):
    return len(verdict.lost), len(verdict.doubled), len(verdict.wrong)


def test_an_equal_store_is_clean(reference, tmp_path):
    store = whole(tmp_path / "run.zarr", chunks=(2, 0, 1))
    verdict = judge(store, reference)
    assert verdict.is_clean
    assert str(verdict) == "0 lost, 0 doubled, 0 wrong, 0 damaged"
    assert done_share(store, COUNT) == 1
    assert open_chunks(store) == 0


def test_an_item_that_one_model_lacks_is_lost(reference, tmp_path):
    store = whole(tmp_path / "run.zarr", chunks=(0, 2))
    store.write_chunk(1, POOLED.label, make_result(store, POOLED, 1))
    verdict = judge(store, reference)
    assert verdict.lost == ("place-4", "place-5", "place-6", "place-7")
    assert counts(verdict) == (4, 0, 0)
    assert done_share(store, COUNT) == 0.6
    assert open_chunks(store) == 1


def test_a_failed_item_is_lost(reference, tmp_path):
    store = whole(tmp_path / "run.zarr")
    failed = make_result(store, GRID, 1, offsets=[2], status=Status.READ_FAILED, reason="gone")
    store.write_chunk(1, GRID.label, failed)
    verdict = judge(store, reference)
    assert verdict.lost == ("place-6",)
    (detail,) = verdict.details
    assert detail.startswith("place-6 is lost: ")
    assert f"{GRID.label} read failed gone" in detail


def test_an_item_that_is_not_there_is_lost(reference, tmp_path):
    store = make_store(tmp_path / "run.zarr", 8)
    for chunk in range(2):
        for layout in (POOLED, GRID):
            store.write_chunk(chunk, layout.label, make_result(store, layout, chunk))
    assert judge(store, reference).lost == ("place-8", "place-9")
    assert counts(judge(reference, store)) == (0, 0, 2)  # and one that should not be there is wrong


def test_an_item_that_is_there_twice_is_doubled(reference, tmp_path):
    store = whole(tmp_path / "run.zarr")
    store.append_items(make_items(1, first=3))
    for layout in (POOLED, GRID):
        again = make_result(store, layout, 0, offsets=[3])
        again.rows[:] = 2  # row 10 is the third of the last chunk
        store.write_chunk(2, layout.label, again)
    verdict = judge(store, reference)
    assert verdict.doubled == ("place-3",)
    assert counts(verdict) == (0, 1, 0)


@pytest.mark.parametrize("name", ["embedding", "valid_fraction", "n_obs", "reason", "first_date"])
def test_another_value_anywhere_is_wrong(reference, tmp_path, name):
    store = whole(tmp_path / "run.zarr")
    result = make_result(store, POOLED, 1)
    column = getattr(result, name)
    if name == "embedding":
        column[1] = np.nextafter(column[1], np.float32(100))
    else:
        column[1] = {"reason": "a cloud", "n_obs": 77, "first_date": np.datetime64("1999-01-01")}.get(name, 0.5)
    store.write_chunk(1, POOLED.label, result)
    verdict = judge(store, reference)
    assert verdict.wrong == ("place-5",)
    assert counts(verdict) == (0, 0, 1)
    (detail,) = verdict.details
    assert detail.startswith(f"place-5 is wrong: {POOLED.label}/")
    assert f"{POOLED.label}/{name} " in detail


def test_damage_that_no_row_shows_is_told(reference, tmp_path):
    target = tmp_path / "run.zarr"
    store = whole(target)
    (target / POOLED.label / "reason" / "c" / "99").write_bytes(b"of nobody")
    verdict = judge(store, reference)
    assert counts(verdict) == (0, 0, 0)
    assert [one.partition(": ")[0] for one in verdict.damages] == [f"{POOLED.label}/reason/c/99"]
    assert not verdict.is_clean


def test_rows_that_changed_places_are_wrong(reference, tmp_path):
    store = whole(tmp_path / "run.zarr")
    swapped = make_result(store, POOLED, 0, offsets=[1, 0])
    swapped.rows[:] = [0, 1]
    store.write_chunk(0, POOLED.label, swapped)
    assert judge(store, reference).wrong == ("place-0", "place-1")
