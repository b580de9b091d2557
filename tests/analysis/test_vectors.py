"""The items and vectors of runs as tables and matrices."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.analysis import vectors as module
from rs_embed_dask.errors import RsEmbedError
from tests.analysis.made import made_run

LONLAT = np.array([[4.0, 50.0], [4.1, 50.0], [4.2, 50.0]])
VECTORS = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "a.zarr"
    return made_run(path, {"a": VECTORS, "b": VECTORS[:, :1]}, LONLAT, columns={"crop": ["x", "y", "x"]})


def test_items_have_their_places_spans_and_columns(run):
    table = module.items_of(run)
    np.testing.assert_allclose(table[["lon", "lat"]], LONLAT)
    assert table.columns.tolist() == ["lon", "lat", "start", "end", "crop"]
    assert table.index.names == ["id", "span"]
    assert table["crop"].tolist() == ["x", "y", "x"]


def test_vectors_are_read_whole_by_rows_and_by_blocks(run):
    np.testing.assert_array_equal(module.vectors_of(run, "a"), VECTORS.astype("float32"))
    np.testing.assert_array_equal(module.vectors_of(run, "a", np.array([2, 0])), VECTORS[[2, 0]].astype("float32"))
    parts = list(module.blocks_of(run, "b", 2))
    assert [part for part, _ in parts] == [slice(0, 2), slice(2, 3)]
    np.testing.assert_array_equal(np.concatenate([one for _, one in parts]), VECTORS[:, :1].astype("float32"))
    assert module.is_embedded(run, "a").tolist() == [True, False, True]


def test_models_of_several_runs_keep_apart(run):
    assert list(module.runs_of(run)) == ["a", "b"]
    assert list(module.runs_of({"old": run, "new": run})) == ["old/a", "old/b", "new/a", "new/b"]


def test_points_on_the_sphere_are_as_far_apart_as_on_the_ground():
    quarter = module.sphere_m(np.array([0.0, 90.0, -180.0, 180.0]), np.array([0.0, 0.0, 0.0, 0.0]))
    assert np.linalg.norm(quarter[0] - quarter[1]) == pytest.approx(module.EARTH_M * np.sqrt(2))
    np.testing.assert_allclose(quarter[2], quarter[3], atol=1e-6)


def test_a_missing_library_is_said_with_its_extra():
    with pytest.raises(RsEmbedError, match=r"no_such_library is not installed.*rs-embed-dask\[analysis\]"):
        module.needed("no_such_library.part")
