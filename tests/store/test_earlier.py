"""Stores of earlier versions, which lack the arrays of the census, are written, grown and reported on."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.store import Store, layout, status
from tests.store.samples import GRID, POOLED, fill_store, make_items, make_result, make_store


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setattr(layout, "RESULT_FIELDS", tuple(f for f in layout.RESULT_FIELDS if f not in layout.CENSUS))
        fill_store(make_store(tmp_path / "run.zarr", 6, models=[POOLED]))
    return tmp_path / "run.zarr"


def test_they_are_read_and_written(earlier):
    store = Store.open(earlier, mode="r+")
    assert not store.has(POOLED.label, "n_days")
    store.write_chunk(1, POOLED.label, make_result(store, POOLED, 1))
    assert store.values(POOLED.label, "n_obs").tolist() == [1, 2, 3, 4, 5, 6]
    report = status(earlier)
    assert report.table["n_days"].isna().all()
    assert report.census == ()


def test_they_grow_and_new_models_have_all_arrays(earlier):
    store = Store.open(earlier, mode="r+")
    assert store.append_items(make_items(9)[6:]) == 3
    store.add_models([GRID])
    result = make_result(store, GRID, 0)
    result.n_days, result.n_expected = np.array([3, 6, 0, -1]), np.array([6, 6, 6, 6])
    store.write_chunk(0, GRID.label, result)
    again = Store.open(earlier)
    assert again.values(POOLED.label, "n_obs").tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0]
    assert again.values(GRID.label, "n_days").tolist() == [3, 6, 0, -1, *[-1] * 5]
    report = status(earlier)
    assert [str(one) for one in report.census] == [
        "scenes on 9 days, at least 18 passes expected; 2 of 3 items with fewer than expected"
    ]
    assert report.census[0].label == GRID.label
    assert report.table["n_days"].isna().sum() == 9 + 6
