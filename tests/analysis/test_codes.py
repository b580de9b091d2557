"""Codes rule out most vectors, and never one of the best."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.analysis.codes import _likely, _pruned
from rs_embed_dask.errors import SpecError, StoreMismatchError
from rs_embed_dask.store import BlockKey
from tests.analysis.samples import FLOAT, random_block, random_map, random_run
from tests.store.map_samples import result_of


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    path = tmp_path_factory.mktemp("codes") / "map.zarr"
    return random_map(path, layouts=(FLOAT,)), str(path)


def test_a_search_by_codes_finds_the_same(mapped, tmp_path, client):
    _, path = mapped
    for seed in range(3):
        query = np.random.default_rng(seed).normal(size=6)
        found = rs.search(path, query, k=7, codes=tmp_path / "codes")
        assert found.equals(rs.search(path, query, k=7))
    assert len(rs.search(path, query, k=10_000, codes=tmp_path / "codes")) == len(rs.search(path, query, k=10_000))
    there = rs.search(path, query, k=7, codes=tmp_path / "others", client=client)
    assert there.equals(rs.search(path, query, k=7))


def test_what_is_ruled_out_is_never_among_the_best():
    random = np.random.default_rng(4)
    units = random.normal(size=(5000, 64)) * (1 + np.arange(64)) ** -0.5
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    scale = np.abs(units).max(axis=1) / 127
    codes = np.rint(units / scale[:, None])
    error = np.linalg.norm(units - codes * scale[:, None], axis=1)
    scale[17] = np.nan
    for query in units[:5]:
        rows, low, high = _likely(codes.astype("int8"), scale.astype("f4"), error.astype("f4"), query=query, k=20)
        cosines = units @ query
        cosines[17] = -2
        assert set(np.argsort(-cosines)[:20]) <= set(rows.tolist())
        assert ((low <= cosines[rows]) & (cosines[rows] <= high)).all()
        assert len(rows) < 60
    assert _pruned(np.arange(3), np.array([0.1, 0.5, 0.2]), np.array([0.2, 0.6, 0.3]), k=1)[0].tolist() == [1]


def test_codes_of_other_vectors_are_refused(mapped, tmp_path):
    store, path = mapped
    query = np.ones(6)
    rs.search(path, query, codes=tmp_path / "codes")
    random_map(tmp_path / "other.zarr", layouts=(FLOAT,))
    random_run(tmp_path / "run.zarr")
    with pytest.raises(SpecError, match="codes are of maps"):
        rs.search(str(tmp_path / "run.zarr"), "place-1", codes=tmp_path / "codes")
    with pytest.raises(SpecError, match="no vector of 6"):
        rs.search(path, np.ones(5), codes=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    ((group, time, blocks),) = list(store.pending("float"))[:1]
    ((row, col),) = blocks
    key = BlockKey("float", group.group, time, row, col)
    store.write_block(key, result_of(FLOAT, key, embedding=random_block(FLOAT, key)[0]))
    with pytest.raises(StoreMismatchError, match="of other vectors"):
        rs.search(path, query, codes=tmp_path / "codes")
