"""How steady vectors are at the same places, with known shares of variance."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.specs import TemporalSpec
from tests.analysis.made import made_run

COUNT, DIM = 150, 8
RANDOM = np.random.default_rng(0)
LONLAT = np.stack([np.linspace(4, 5, COUNT), np.full(COUNT, 50.0)], axis=1)
SPANS = tuple(
    TemporalSpec.range(f"{year}-{start}", f"{year}-{end}")
    for year in (2019, 2020)
    for start, end in (("03-01", "05-01"), ("06-01", "08-01"))
)
PLACE = RANDOM.normal(size=(COUNT, 1, DIM))
SEASON = 2.0 * np.array([0, 1, 0, 1])[None, :, None]  # one offset of all places in summer
NOISE = RANDOM.normal(size=(COUNT, len(SPANS), DIM)) * np.sqrt(1 / 3)
VECTORS = (PLACE + SEASON + NOISE).reshape(-1, DIM)  # place by place, then span by span


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    columns = {"stable": np.arange(COUNT) < 100, "name": np.full(COUNT, "x")}
    path = tmp_path_factory.mktemp("stability") / "a.zarr"
    return made_run(
        path, {"a": VECTORS, "same": np.repeat(PLACE[:, 0], len(SPANS), axis=0)}, LONLAT, columns=columns, spans=SPANS
    )


@pytest.fixture(scope="module")
def told(run):
    return rs.stability(run)


def rows(told, model, factor):
    return told.table[(told.table["model"] == model) & (told.table["factor"] == factor)]


def test_years_have_the_known_share_of_variance(told):
    """Of places' variance 1 and noise's 1/3, three quarters belong to the place."""
    years = rows(told, "a", "years")
    assert years[["one", "other"]].to_numpy().tolist() == [["2019-03-01", "2020-03-01"], ["2019-06-01", "2020-06-01"]]
    np.testing.assert_allclose(years["stability"], 0.75, atol=0.06)
    assert (years["low"] < 0.75).all()
    assert (years["high"] > 0.75).all()
    np.testing.assert_allclose(years["cosine"], 0.75, atol=0.1)
    assert (years["shift"] < 0.05).all()
    assert (years["n"] == COUNT).all()


def test_a_season_is_one_offset_of_all_places(told):
    """The squared distance is 2/3 of noise and 4 of the offset, a number; two places' is 8/3."""
    seasons = rows(told, "a", "seasons")
    assert len(seasons) == 2
    np.testing.assert_allclose(seasons["shift"], 4 / (4 + 2 / 3), atol=0.03)
    np.testing.assert_allclose(seasons["stability"], 1 - (4 + 2 / 3) / (8 / 3), atol=0.15)


def test_vectors_that_never_change_are_wholly_stable(told):
    own = told.table[(told.table["model"] == "same") & (told.table["factor"] != "cloud")]
    assert len(own) == 4
    np.testing.assert_array_equal(own[["stability", "low", "high", "found"]], 1)
    np.testing.assert_allclose(own["cosine"], 1)
    assert told.summary.loc["same"].tolist() == [1, 1]
    assert "nothing was checked" in str(told)
    assert "seasons" in told._repr_html_()
    assert [axes.get_title(loc="left") for axes in told.plot().axes] == ["seasons", "years"]


def test_runs_of_other_settings_are_compared_span_by_span(run, tmp_path):
    mixed = VECTORS.reshape(COUNT, len(SPANS), DIM)[RANDOM.permutation(COUNT)].reshape(-1, DIM)
    other = made_run(tmp_path / "b.zarr", {"a": mixed, "d": VECTORS}, LONLAT, spans=SPANS)
    told = rs.stability({"10 m": run, "20 m": other})
    runs = rows(told, "a", "runs")
    assert set(told.table["model"]) == {"a"}
    assert runs[["one", "other"]].drop_duplicates().to_numpy().tolist() == [["10 m", "20 m"]]
    assert len(runs) == 4
    np.testing.assert_allclose(runs["stability"], 0, atol=0.1)  # another place's vector
    assert (runs["found"] < 0.1).all()


def test_only_unchanged_places_count(run):
    assert set(rows(rs.stability(run, models=["a"], unchanged="stable"), "a", "years")["n"]) == {100}
    ids = [f"p{row:04d}" for row in range(20)]
    told = rs.stability(run, models=["a"], unchanged=ids)
    assert set(rows(told, "a", "years")["n"]) == {20}
    assert told.notes == ("only the places given as unchanged",)


def test_cloud_is_told_apart(tmp_path):
    """A hazy half of the places has vectors of noise in the second year."""
    years = (TemporalSpec.year(2019), TemporalSpec.year(2020))
    vectors = np.repeat(PLACE, 2, axis=1)
    seen = np.ones((COUNT, 2))
    vectors[:75, 1], seen[:75, 1] = RANDOM.normal(size=(75, DIM)), 0.3
    run = made_run(tmp_path / "c.zarr", {"a": vectors.reshape(-1, DIM)}, LONLAT, spans=years, seen=seen.ravel())
    cloud = rows(rs.stability(run), "a", "cloud").set_index("one")
    assert cloud["n"].to_dict() == {"at least 95 % seen": 75, "under 50 % seen": 75}
    assert cloud.loc["at least 95 % seen", "stability"] == pytest.approx(1)
    assert cloud.loc["under 50 % seen", "stability"] == pytest.approx(0, abs=0.15)


def test_what_has_no_stability_is_said(run, tmp_path):
    single = made_run(tmp_path / "s.zarr", {"a": VECTORS[:COUNT]}, LONLAT)
    with pytest.raises(StoreError, match="no two conditions"):
        rs.stability(single)
    with pytest.raises(UnknownNameError, match="same"):
        rs.stability(run, models=["smae"])
    with pytest.raises(SpecError, match="not true or false"):
        rs.stability(run, unchanged="name")
    short = made_run(tmp_path / "d.zarr", {"a": VECTORS[:, :3]}, LONLAT, spans=SPANS)
    with pytest.raises(StoreError, match="differ in length"):
        rs.stability({"x": run, "y": short})
