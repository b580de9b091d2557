"""Models aligned with known rotations, and fused into stores."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.analysis.align import effective_rank, linear_cka, unbiased_cka
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from tests.analysis.made import made_run

COUNT = 80
RANDOM = np.random.default_rng(0)
LONLAT = np.stack([np.linspace(4, 5, COUNT), np.full(COUNT, 50.0)], axis=1)
A = RANDOM.normal(size=(COUNT, 4)) * [4, 2, 1, 0.5]
ROTATION = np.linalg.qr(RANDOM.normal(size=(4, 4)))[0]
TURNED = 3 * A @ ROTATION + [5, 0, -2, 1]
WIDE = A @ np.linalg.qr(RANDOM.normal(size=(6, 4)))[0].T
NOISE = RANDOM.normal(size=(COUNT, 30))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    short = TURNED.copy()
    short[5] = np.nan
    one = made_run(folder / "one.zarr", {"a": A, "noise": NOISE}, LONLAT, columns={"y": A @ [1.0, 2, 3, 4]})
    return [one, made_run(folder / "two.zarr", {"turned": short, "wide": WIDE}, LONLAT)]


@pytest.fixture(scope="module")
def told(runs):
    return rs.align(runs)


def row(told, source, target):
    return told.table.set_index(["source", "target"]).loc[(source, target)]


def test_procrustes_recovers_a_known_rotation(told):
    found = told.maps["a", "turned"]
    np.testing.assert_allclose(found.matrix, 3 * ROTATION, atol=1e-5)
    assert row(told, "a", "turned")["residual"] < 1e-10
    assert row(told, "turned", "a")["residual"] < 1e-10
    np.testing.assert_allclose(told.transform(A, "a", "turned"), TURNED, atol=1e-4)
    assert (told.n_learnt, told.n_held) == (63, 16)  # of 80, one of which a model has no vector of


def test_spaces_of_other_dimensions_and_unrelated_ones(told):
    assert row(told, "a", "wide")["residual"] < 1e-10
    assert row(told, "wide", "a")["residual"] < 1e-10
    assert row(told, "a", "noise")["residual"] > 0.9
    assert row(told, "a", "wide")["cka"] == pytest.approx(1)
    unrelated = row(told, "a", "noise")
    assert abs(unrelated["cka_unbiased"]) < 0.03
    assert unrelated["cka"] > unrelated["cka_unbiased"] + 0.05  # thirty dimensions over eighty places
    assert told.models.loc["noise", "dim"] == 30
    assert "63 items, 16 held out" in str(told)


def test_canonical_correlations_see_through_any_linear_map(runs, tmp_path):
    mixed = A @ RANDOM.normal(size=(4, 4)) * [1, 10, 100, 1]
    other = made_run(tmp_path / "m.zarr", {"mixed": mixed}, LONLAT)
    told = rs.align([*runs, other], models=["a", "mixed", "noise"], method="cca")
    np.testing.assert_allclose(row(told, "a", "mixed")["correlations"], 1, atol=1e-6)
    assert row(told, "a", "mixed")["residual"] < 1e-6
    plain = rs.align([*runs, other], models=["a", "mixed"])
    assert row(plain, "a", "mixed")["residual"] > 0.05
    assert np.mean(np.abs(row(told, "a", "noise")["correlations"])) < 0.6


def test_similarities_and_ranks_have_their_known_values():
    assert linear_cka(A, 7 * A @ ROTATION + 1) == pytest.approx(1)
    assert unbiased_cka(A, 7 * A @ ROTATION + 1) == pytest.approx(1)
    centred = RANDOM.normal(size=(200, 8))
    centred = np.linalg.qr(centred - centred.mean(axis=0))[0]
    assert effective_rank(centred) == pytest.approx(8)
    assert effective_rank(centred[:, :3] @ RANDOM.normal(size=(3, 1)) @ np.ones((1, 5))) == pytest.approx(1)
    # with singular values in the ratio 3 : 1 the entropy is that of (3/4, 1/4)
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(centred[:, :2] * [3, 1]) == pytest.approx(expected)


def test_concatenated_vectors_are_a_store_like_any_other(runs, tmp_path):
    fused = rs.fuse(runs, tmp_path / "f.zarr", models=["a", "turned"])
    vectors = fused["fused"]["embedding"].to_numpy()
    np.testing.assert_array_equal(vectors[6], np.concatenate([A[6], TURNED[6]]).astype("float32"))
    assert np.isnan(vectors[5]).all()
    states = rs.to_dataframe(fused)
    assert states["fused_status"].value_counts().to_dict() == {"ok": 79, "read_failed": 1}
    np.testing.assert_allclose(states["y"], A @ [1.0, 2, 3, 4])
    assert str(fused["fused"]["reason"].to_numpy()[5]) == "turned"
    assert rs.verify(tmp_path / "f.zarr").is_sound
    rs.export(fused, "geoparquet", tmp_path / "f.parquet")
    parts = fused.rs.request["fused"]["parts"]
    assert [(part["model"], part["dim"]) for part in parts] == [("a", 4), ("turned", 4)]
    told = rs.benchmark([*runs, fused], "y", probes="ridge", folds="random")
    scores = told.scores.set_index("model")["value"]
    assert scores["fused"] > 0.99
    index = told.complementarity("fused", ["noise", "turned"]).iloc[0]
    assert (index["best"], index["single"]) == ("turned", scores["turned"])
    assert index["gain"] == pytest.approx(scores["fused"] - scores["turned"])


def test_weights_are_those_of_squared_distances(runs, tmp_path):
    weights = {"a": 3.0, "wide": 1.0}
    fused = rs.fuse(runs, tmp_path / "w.zarr", method="weighted", models=["a", "wide"], weights=weights)
    vectors = fused["fused"]["embedding"].to_numpy().astype("float64")
    parts = np.split(vectors, [4], axis=1)
    assert [(part**2).sum(axis=1).mean() for part in parts] == pytest.approx([0.75, 0.25], rel=1e-5)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)


def test_main_directions_keep_the_distances_that_there_are(runs, tmp_path):
    """Two rotations of one space of four dimensions need four numbers."""
    fused = rs.fuse(runs, tmp_path / "p.zarr", method="pca", models=["a", "wide"], dim=4)
    whole = rs.fuse(runs, tmp_path / "q.zarr", method="weighted", models=["a", "wide"])
    small, large = (one["fused"]["embedding"].to_numpy().astype("float64") for one in (fused, whole))
    assert small.shape == (COUNT, 4)
    apart = [np.linalg.norm(one[:, None] - one[None], axis=-1) for one in (small, large)]
    np.testing.assert_allclose(apart[0], apart[1], atol=1e-5)
    assert fused.rs.request["fused"]["explained"] == pytest.approx(1)


def test_what_cannot_be_aligned_or_fused_is_said(runs, tmp_path):
    with pytest.raises(StoreError, match="there is one model"):
        rs.align(runs[0], models=["a"])
    with pytest.raises(UnknownNameError, match="cca"):
        rs.align(runs, method="ccaa")
    with pytest.raises(SpecError, match="a share"):
        rs.align(runs, held_out=1.0)
    with pytest.raises(SpecError, match="leaves the vectors as they are"):
        rs.fuse(runs, tmp_path / "x.zarr", weights={"a": 1.0})
    with pytest.raises(SpecError, match="has none"):
        rs.fuse(runs, tmp_path / "x.zarr", method="pca", weights={"a": 1.0})
    with pytest.raises(SpecError, match="follows from the models"):
        rs.fuse(runs, tmp_path / "x.zarr", dim=3)
    told = rs.align(runs, models=["a", "wide"])
    with pytest.raises(SpecError, match=r"\(n, 4\)"):
        told.transform(WIDE, "a", "wide")
    few = made_run(tmp_path / "few.zarr", {"b": A[:4]}, LONLAT[:4])
    with pytest.raises(StoreError, match="4 shared items"):
        rs.align([runs[0], few], models=["a", "b"])
