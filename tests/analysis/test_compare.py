"""Two runs, place by place."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.analysis import compare as module
from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.store import ChunkResult, ModelLayout, Status, Store
from tests.store.samples import REQUEST, make_items

ANGLES = np.radians([0.0, 30.0, 60.0, 90.0, 180.0])
LAYOUT = ModelLayout("galileo", dim=2)


def store(path, vectors, items, layout=LAYOUT, chunk_items=2):
    """A store of known vectors; a row of NaN failed."""
    made = Store.create(path, items=items, models=[layout], request=REQUEST, chunk_items=chunk_items)
    for chunk in range(made.n_chunks):
        first, stop = made.span(chunk)
        block = vectors[first:stop]
        has = np.isfinite(block).reshape(len(block), -1).any(axis=1)
        result = ChunkResult(
            rows=np.arange(len(block)),
            status=np.where(has, Status.OK, Status.READ_FAILED).astype("uint8"),
            embedding=[one if there else None for one, there in zip(block, has, strict=True)],
            reason=[""] * len(block),
        )
        if layout.grid_shape is not None:
            result.transform, result.crs = np.full((len(block), 6), np.nan), [""] * len(block)
        made.write_chunk(chunk, layout.label, result)
    return str(path)


@pytest.fixture
def pair(tmp_path):
    """Unit vectors at known angles, scaled by 3; the second run is in reverse order and has one item more."""
    items = make_items(6)
    first = np.stack([np.ones(5), np.zeros(5)], axis=1).astype("float32")
    second = 3 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype("float32")
    first[1] = np.nan
    reverse = [*reversed(items[:5]), items[5]]
    other = np.concatenate([second[::-1], np.ones((1, 2), "float32")])
    return store(tmp_path / "a.zarr", first, items[:5]), store(tmp_path / "b.zarr", other, reverse)


@pytest.mark.parametrize("on", ["place", "id"])
def test_cosines_have_their_known_values_whatever_the_order(pair, on, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 2)
    told = rs.compare(*pair, on=on)
    assert told.table.index.get_level_values("id").tolist() == [f"place-{row}" for row in range(5)]
    expected = np.cos(ANGLES)
    expected[1] = np.nan
    np.testing.assert_allclose(told.table["cosine"], expected, atol=1e-6)
    assert told.table["status_a"].tolist() == ["ok", "read_failed", "ok", "ok", "ok"]
    assert told.table["difference"].iloc[0] == pytest.approx(2 / 3)
    assert told.table["difference"].iloc[4] == pytest.approx(4 / 3)
    assert (told.only_a, told.only_b) == (0, 1)
    summary = told.summary.loc["galileo"]
    assert summary["items"] == 4
    assert summary["median"] == pytest.approx(0.25, abs=1e-6)
    assert summary["lowest"] == pytest.approx(-1)
    assert summary["above 0.99"] == 0.25
    assert "0.2500" in str(told)
    assert "1 only in the second" in str(told)
    assert "<table" in told._repr_html_()


def test_grids_are_compared_cell_by_cell(tmp_path):
    layout = ModelLayout("rcf", dim=2, grid_shape=(1, 2))
    grids = np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]], "float32")  # two cells: east, north
    turned = np.array([[[[1.0, 1.0]], [[0.0, 0.0]]]], "float32")  # two cells: east, east
    paths = [store(tmp_path / f"{n}.zarr", one, make_items(1), layout) for n, one in enumerate((grids, turned))]
    assert rs.compare(*paths).table["cosine"].tolist() == [0.5]
    assert rs.compare(rs.open_store(paths[0]), paths[0]).table["cosine"].tolist() == [1.0]


def test_an_old_export_is_compared_with_a_new_run(pair, tmp_path):
    rs.to_rs_embed(pair[1], tmp_path / "old.npz")
    old = rs.import_export(tmp_path / "old.npz", tmp_path / "old.zarr")
    told = rs.compare(old, pair[1])
    np.testing.assert_allclose(told.table["cosine"], 1.0)
    assert len(told.table) == 6


def test_models_are_paired_by_name_and_what_is_left_out_is_said(tmp_path):
    vectors, items = np.eye(2, dtype="float32"), make_items(2)
    first, second = (tmp_path / name for name in ("a.zarr", "b.zarr"))
    for path, labels in ((first, ["galileo_nano", "prithvi"]), (second, ["galileo-nano", "rcf"])):
        layouts = [ModelLayout(label, dim=2) for label in labels]
        made = Store.create(path, items=items, models=layouts, request=REQUEST, chunk_items=2)
        ok = np.full(2, Status.OK, "uint8")
        for label in labels:
            result = ChunkResult(rows=np.arange(2), status=ok, embedding=list(vectors), reason=["", ""])
            made.write_chunk(0, label, result)
    told = rs.compare(str(first), str(second))
    assert told.table["model"].tolist() == ["galileo_nano"] * 2
    assert told.table["cosine"].tolist() == [1.0, 1.0]
    assert told.unpaired == ("prithvi of the first", "rcf of the second")
    assert str(told).startswith(
        "cosine of two runs, place by place; not compared: prithvi of the first, rcf of the second"
    )


def test_the_picture_states_the_medians(pair):
    figure = rs.compare(*pair).plot()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["galileo: median 0.2500"]
    xs, ys = axes.lines[0].get_data()
    np.testing.assert_allclose(xs, np.sort(np.cos(ANGLES[[0, 2, 3, 4]])), atol=1e-6)
    np.testing.assert_allclose(ys, [0.25, 0.5, 0.75, 1.0])


def test_what_cannot_be_compared_is_said(pair, tmp_path):
    a, b = pair
    far = store(tmp_path / "far.zarr", np.ones((2, 2), "float32"), make_items(2, first=7))
    with pytest.raises(StoreError, match="no item is in both"):
        rs.compare(a, far)
    wide = store(tmp_path / "w.zarr", np.ones((5, 3), "float32"), make_items(5), ModelLayout("galileo", dim=3))
    with pytest.raises(StoreError, match="one has \\(2,\\) numbers per item and the other \\(3,\\)"):
        rs.compare(a, wide)
    with pytest.raises(UnknownNameError, match="place"):
        rs.compare(a, b, on="row")
    with pytest.raises(UnknownNameError, match="galileo"):
        rs.compare(a, b, models={"galilea": "galileo"})
