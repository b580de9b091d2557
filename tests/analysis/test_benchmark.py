"""Labels predicted from vectors: known answers on a made landscape."""

from __future__ import annotations

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as theirs
from sklearn.ensemble import RandomForestRegressor

import rs_embed_dask as rs
from rs_embed_dask.analysis import folds as folds_module
from rs_embed_dask.analysis.folds import folds_of
from rs_embed_dask.analysis.metrics import Scoring, scored
from rs_embed_dask.analysis.probes import PROBES, Lesson, predicted
from rs_embed_dask.analysis.tasks import label_table, task_of
from rs_embed_dask.analysis.vectors import items_of, sphere_m
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.specs import TemporalSpec
from rs_embed_dask.store.reader import tree_of
from tests.analysis.made import made_run

SIDE, STEP, LENGTH_M = 12, 0.02, 15_000.0
NORTH, EAST = (axis.ravel() * STEP for axis in np.mgrid[:SIDE, :SIDE])
LONLAT = np.stack([EAST, NORTH], axis=1)
APART = np.linalg.norm(sphere_m(EAST, NORTH)[:, None] - sphere_m(EAST, NORTH)[None], axis=-1)
COUNT = SIDE * SIDE


def fields(count, seed):
    """Fields over the places with variance 1 and the correlation exp(-d / length); (n, count)."""
    root = np.linalg.cholesky(np.exp(-APART / LENGTH_M) + 1e-9 * np.eye(COUNT))
    return root @ np.random.default_rng(seed).standard_normal((COUNT, count))


def anywhere(lon, lat=0.0):
    """Items without a run."""
    count = np.broadcast(lon, lat).size
    index = pd.MultiIndex.from_product([map(str, range(count)), ["a"]], names=["id", "span"])
    return pd.DataFrame({"lon": np.broadcast_to(lon, count), "lat": np.broadcast_to(lat, count)}, index=index)


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    """Images whose bands are such fields, their band statistics, and labels that are linear in the bands."""
    random = np.random.default_rng(1)
    images = (2000 + 300 * fields(10, 0))[:, None, :, None, None] + random.normal(0, 20, (COUNT, 2, 10, 3, 3))
    model, dates = rs.load_model("bandstats"), ["2021-06-01", "2021-07-01"]
    vectors = np.stack([np.asarray(model.embed(one.astype("float32"), dates=dates)) for one in images])
    linear = images.mean(axis=(1, 3, 4)) @ random.normal(size=10)
    columns = {
        "linear": linear,
        "shuffled": random.permutation(linear),
        "class": np.where(linear > np.median(linear), "high", "low"),
        "state": np.where(EAST.mean() > EAST, "west", "east"),
    }
    noise = random.normal(size=(COUNT, 6))
    return made_run(
        tmp_path_factory.mktemp("made") / "a.zarr", {"bandstats": vectors, "noise": noise}, LONLAT, columns=columns
    )


@pytest.fixture(scope="module")
def told(landscape):
    return rs.benchmark(landscape, ["linear", "shuffled"], probes=["ridge"])


def value(told, **where):
    rows = told.scores
    for name, one in where.items():
        rows = rows[rows[name] == one]
    (only,) = rows["value"]
    return only


def test_a_linear_function_of_the_bands_is_found_and_shuffled_labels_are_not(told):
    for scheme in ("random", "blocks"):
        assert value(told, task="linear", model="bandstats", folds=scheme) >= 0.99
        assert value(told, task="linear", model="noise", folds=scheme) < 0.1
        assert abs(value(told, task="shuffled", model="bandstats", folds=scheme)) < 0.15
    rows = told.table
    assert (rows["low"] <= rows["high"]).all()
    assert set(rows["model"]) == {"bandstats", "noise", "location", "mean", "nearest label"}
    assert told.notes[0] == "baselines that need imagery and are in none of the runs: rcf"


def test_equal_calls_give_equal_tables(told, landscape):
    again = rs.benchmark(landscape, ["linear", "shuffled"], probes=["ridge"])
    pd.testing.assert_frame_equal(again.table, told.table)
    pd.testing.assert_frame_equal(again.predictions, told.predictions)


def test_random_folds_beat_blocked_ones_by_what_the_correlation_implies(tmp_path):
    """The error of the nearest label is 2 (1 - rho(d)) of the variance, and a sample's variance 1 - mean rho."""
    run = made_run(tmp_path / "one.zarr", {"one": EAST[:, None]}, LONLAT)
    made = pd.DataFrame(fields(20, 5), index=[f"p{row:04d}" for row in range(COUNT)]).add_prefix("field")
    told = rs.benchmark(run, made, probes="knn", folds={"random": 5, "blocks": 10_000})
    spread = 1 - np.exp(-APART / LENGTH_M).mean()
    found, implied = {}, {}
    for scheme in ("random", "blocks"):
        rows = told.predictions.query("folds == @scheme and model == 'nearest label'")
        errors = (rows["label"] - rows["prediction"]).pow(2).sum()
        found[scheme] = 1 - errors / (rows["label"] - rows.groupby("task")["label"].transform("mean")).pow(2).sum()
        answers = []
        for _, one in rows.groupby("task"):
            order, fold = one["id"].str[1:].astype(int).to_numpy(), one["fold"].to_numpy()
            nearest = np.where(fold[:, None] != fold, APART[np.ix_(order, order)], np.inf).min(axis=1)
            answers.append(1 - 2 * (1 - np.exp(-nearest / LENGTH_M)).mean() / spread)
        implied[scheme] = np.mean(answers)
        assert found[scheme] == pytest.approx(implied[scheme], abs=0.1)
    assert implied["random"] - implied["blocks"] > 0.15
    assert found["random"] - found["blocks"] == pytest.approx(implied["random"] - implied["blocks"], abs=0.1)


def test_the_correlation_length_is_found_and_there_is_none_in_noise():
    points, made = sphere_m(EAST * 3, NORTH * 3), []
    apart = 3 * APART
    root = np.linalg.cholesky(np.exp(-apart / LENGTH_M) + 1e-9 * np.eye(COUNT))
    for seed in range(10):
        field = root @ np.random.default_rng(seed).standard_normal(COUNT)
        made.append(folds_module.correlation_m(points, ((field - field.mean()) / field.std())[:, None]))
    assert np.median(made) == pytest.approx(LENGTH_M, rel=0.3)
    noise = np.random.default_rng(0).standard_normal((COUNT, 1))
    assert folds_module.correlation_m(points, noise) == 0


def test_blocks_have_the_size_given_everywhere_and_are_never_shared():
    lon, lat = np.random.default_rng(2).uniform(-180, 180, 4000), np.random.default_rng(3).uniform(-80, 80, 4000)
    items = anywhere(lon, lat)
    made = folds_module.folds_of("blocks", 2e6, task_of("y", lat), items=items, seed=0)
    points = sphere_m(lon, lat)
    for group in range(made.group.max() + 1):
        inside = points[made.group == group]
        assert np.ptp(inside, axis=0).max() < 2e6 * 1.6
        assert len(np.unique(made.fold[made.group == group])) == 1
    assert np.bincount(made.fold).min() > 600


def test_classes_curves_regions_and_the_page(landscape, tmp_path):
    told = rs.benchmark(landscape, "class", probes=["logistic", "knn"], folds={"regions": "state"}, curve=[2, 20, 9999])
    assert value(told, model="bandstats", probe="logistic") > 0.8
    assert told.table["labels"].unique().tolist() == [0, 2, 20]  # there are fewer than 9,999 to leave out
    curve = told.table.query("metric == 'accuracy' and model == 'bandstats' and probe == 'logistic'").set_index(
        "labels"
    )
    assert curve.loc[20, "value"] > curve.loc[2, "value"] - 0.05
    held = told.predictions.groupby("fold")["id"].nunique()
    assert held.tolist() == [COUNT // 2] * 2
    assert any("each of 2 values of state is left out in turn" in note for note in told.notes)
    assert [axes.get_title(loc="left") for axes in told.plot().axes] == ["class: logistic", "class: knn"]
    assert len(told.plot_curves().axes) == 2
    told.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "nearest label" in page
    assert "f1_macro" in page
    assert "Mean ranks" in str(told)


@pytest.mark.parametrize(("kind", "probe"), [(kind, probe) for kind, own in PROBES.items() for probe in own])
def test_every_probe_learns_what_is_plain_to_see(kind, probe):
    points = np.random.default_rng(0).normal(size=(90, 2))
    points[:, 0] += np.sign(points[:, 0])  # two clouds
    truth = (points[:, 0] > 0).astype("int64") if kind == "classification" else points[:, 0]
    guess = predicted(kind, probe, Lesson(points[:60], truth[:60], points[60:]))
    right = np.mean(guess == truth[60:]) if kind == "classification" else np.corrcoef(guess, truth[60:])[0, 1]
    assert right > 0.9
    alone = predicted(kind, probe, Lesson(points[:6], np.ones(6, "int64"), points[6:]))
    np.testing.assert_allclose(alone, 1)


@pytest.mark.parametrize("probe", ["ridge", "knn"])
def test_a_number_that_only_rounding_moves_is_constant(probe):
    """Blown up to a spread of 1 it would decide alone: a held-out place that differs lies 400,000 deviations away."""
    random = np.random.default_rng(0)
    seen = random.normal(size=60)
    steady = 0.3 + 2.0**-25 * random.integers(-1, 2, 60)  # half a unit in the last place of float32
    points = np.stack([seen, steady], axis=1).astype("float32")
    assert len(np.unique(points[:, 1])) == 3
    target = seen + random.normal(scale=0.1, size=60)
    (guess,) = predicted("regression", probe, Lesson(points, target, np.array([[0.5, 0.31]], "float32")))
    (alone,) = predicted("regression", probe, Lesson(points[:, :1], target, np.array([[0.5]], "float32")))
    assert guess == pytest.approx(alone, abs=1e-9)


def test_ranks_are_means_over_tasks(told):
    ranks = told.ranks.query("folds == 'random'").set_index("model")["rank"]
    scores = told.scores.query("folds == 'random'").pivot_table(index="model", columns="task", values="value")
    expected = scores.rank(ascending=False).mean(axis=1)
    np.testing.assert_allclose(ranks[expected.index], expected)
    assert set(told.ranks["tasks"]) == {2}


def test_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(4)
    items = anywhere(np.zeros(90))
    truth, guess = random.normal(size=90) + 100, random.normal(size=90) + 100
    task = task_of("y", truth)
    split = folds_module.folds_of("random", 5, task, items=items, seed=0)
    assert scored(task, guess, split, scoring=Scoring())["r2"][0] == pytest.approx(theirs.r2_score(truth, guess))
    assert scored(task, guess, split, scoring=Scoring())["mae"][0] == pytest.approx(
        theirs.mean_absolute_error(truth, guess)
    )
    parts = [theirs.r2_score(truth[split.fold == one], guess[split.fold == one]) for one in range(5)]
    by_fold = scored(task, guess, split, scoring=Scoring(by_fold=True, floor=-1.0))["r2"]
    assert by_fold[0] == pytest.approx(np.mean(np.maximum(parts, -1)))
    kinds = np.array(["a", "b", "c"])[random.integers(0, 3, 90)]
    task, guess = task_of("k", kinds), random.integers(0, 3, 90).astype(float)
    found = scored(task, guess, split, scoring=Scoring())
    assert found["accuracy"][0] == pytest.approx(theirs.accuracy_score(task.target, guess))
    assert found["balanced_accuracy"][0] == pytest.approx(theirs.balanced_accuracy_score(task.target, guess))
    assert found["f1_macro"][0] == pytest.approx(theirs.f1_score(task.target, guess, average="macro"))


def test_an_interval_holds_the_known_spread_of_a_mean():
    """Of n independent labels a mean's 95 % interval is 3.92 s / sqrt(n) wide."""
    random = np.random.default_rng(6)
    count = 2000
    items = anywhere(np.zeros(count))
    right = random.random(count) < 0.7
    task = task_of("k", np.where(right, "a", "b"))
    split = folds_module.folds_of("random", 5, task, items=items, seed=0)
    _, low, high = scored(task, np.zeros(count), split, scoring=Scoring())["accuracy"]
    assert high - low == pytest.approx(3.92 * np.sqrt(right.mean() * (1 - right.mean()) / count), rel=0.1)


def test_years_and_spans_of_a_place_stay_together(tmp_path):
    random = np.random.default_rng(8)
    vectors = np.repeat(random.normal(size=(12, 3)), 2, axis=0)  # each place looks the same in both years
    years = (TemporalSpec.year(2020), TemporalSpec.year(2021))
    run = made_run(tmp_path / "y.zarr", {"a": vectors}, LONLAT[:12], spans=years)
    labels = pd.Series(random.normal(size=12), index=[f"p{row:04d}" for row in range(12)], name="y")
    told = rs.benchmark(run, labels, probes="knn", folds=["random", "years"])
    assert value(told, model="nearest label", folds="years") == pytest.approx(1)  # the same place of the other year
    assert value(told, model="nearest label", folds="random") < 0.9
    folds = told.predictions.query("folds == 'random' and model == 'mean'").groupby("id")["fold"].nunique()
    assert set(folds) == {1}


@pytest.mark.parametrize("count", [1, 3])
def test_few_places_of_many_years_are_divided_or_refused(tmp_path, count):
    random = np.random.default_rng(9)
    years = tuple(TemporalSpec.year(year) for year in range(2010, 2022))
    vectors = random.normal(size=(count * len(years), 3))
    run = made_run(tmp_path / "f.zarr", {"a": vectors}, LONLAT[:count], spans=years)
    index = items_of(tree_of(run)).index
    labels = pd.Series(random.normal(size=len(index)), index=index, name="y")
    for scheme in ("random", "blocks"):
        if count == 1:
            with pytest.raises(SpecError, match="there is one place"):
                rs.benchmark(run, labels, probes="knn", folds=scheme)
        else:
            told = rs.benchmark(run, labels, probes="knn", folds=scheme)
            assert set(told.table["groups"]) == {count}
    assert np.isfinite(rs.benchmark(run, labels, probes="knn", folds="years").scores["value"]).all()


def test_labels_are_found_by_id_and_by_place(landscape):
    items = anywhere(np.array([4.0, 5.0]), np.array([50.0, 51.0]))
    by_place = label_table(pd.DataFrame({"lon": [5.0, 4.000001], "lat": [51.0, 50.0], "y": [2.0, 1.0]}), items)
    assert by_place.columns["y"].tolist() == [1.0, 2.0]
    by_number = label_table(pd.Series([2.0, 1.0], index=[1, 3], name="y"), items)
    np.testing.assert_array_equal(by_number.columns["y"], [np.nan, 2.0])
    with pytest.raises(SpecError, match="two rows have this id"):
        label_table(pd.Series([2.0, 1.0], index=["1", "1"]), items)
    with pytest.raises(SpecError, match="0 places have a label"):
        rs.benchmark(landscape, pd.Series([1.0], index=["elsewhere"], name="y"))


def test_what_cannot_be_benchmarked_is_said(landscape, tmp_path):
    with pytest.raises(UnknownNameError, match="linear"):
        rs.benchmark(landscape, "linea")
    with pytest.raises(UnknownNameError, match="ridge"):
        rs.benchmark(landscape, "linear", probes="rigde")
    with pytest.raises(SpecError, match="none of them does regression"):
        rs.benchmark(landscape, "linear", probes="logistic")
    with pytest.raises(UnknownNameError, match="blocks"):
        rs.benchmark(landscape, "linear", folds="block")
    with pytest.raises(SpecError, match="needs the column that names the regions"):
        rs.benchmark(landscape, "linear", folds="regions")
    with pytest.raises(SpecError, match="all spans begin in one year"):
        rs.benchmark(landscape, "linear", probes="knn", folds="years")
    with pytest.raises(SpecError, match="hold all places"):
        rs.benchmark(landscape, "linear", probes="knn", folds={"blocks": 1e7})
    for scheme, side in {"blocks": 0, "degrees": -1}.items():
        with pytest.raises(SpecError, match="a block has a side"):
            rs.benchmark(landscape, "linear", probes="knn", folds={scheme: side})
    far = made_run(tmp_path / "far.zarr", {"b": np.ones((3, 2))}, LONLAT[:3] + 5)
    with pytest.raises(StoreError, match="km apart"):
        rs.benchmark([landscape, far], "linear")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"folds": 5}, "folds = 5: expected a list, got int"),
        ({"folds": {}}, "nothing is named"),
        ({"folds": [["random"]]}, "expected a name, got list"),
        ({"folds": {"regions": ["land"]}}, "needs the column that names the regions"),
        ({"probes": True}, "probes = True: expected a list, got bool"),
        ({"curve": 5}, "curve = 5: expected a list, got int"),
    ],
)
def test_settings_of_another_type_are_refused(landscape, asked, reason):
    with pytest.raises((SpecError, UnknownNameError), match=reason):
        rs.benchmark(landscape, "linear", **({"probes": "knn"} | asked))


def test_labels_are_numbers_or_classes_whatever_holds_them():
    assert task_of("v", pd.Series([1, 2.5, None] * 6, dtype=object)).kind == "regression"
    assert task_of("v", pd.Series([Decimal(1), Decimal(2)] * 5)).target.tolist() == [1.0, 2.0] * 5
    assert task_of("v", pd.Series([True, None, False] * 6, dtype=object)).classes == ("False", "True")
    assert task_of("v", pd.array(["a", "b", None] * 6, dtype="string")).classes == ("a", "b")
    for other in (pd.Series([1, "a"] * 5), pd.Series(pd.date_range("2020", periods=12)), pd.Series([1j, 2] * 6)):
        with pytest.raises(SpecError, match=r"its values are .*numbers are regressed.*Fix: convert it"):
            task_of("v", other)
    with pytest.raises(SpecError, match="a label is infinite"):
        task_of("v", [*range(12), np.inf])


def test_tables_of_labels_with_odd_columns_are_read_or_refused():
    items = anywhere(np.array([4.0, 5.0]), np.array([50.0, 51.0]))
    numbered = label_table(pd.DataFrame({"id": ["1"], 7: [2.0]}), items)
    assert numbered.names == ("7",)
    with pytest.raises(SpecError, match="'7': two columns have this name"):
        label_table(pd.DataFrame([[1.0, 2.0]], columns=[7, "7"], index=["1"]), items)
    for lon in (np.nan, "west"):
        with pytest.raises(SpecError, match="row 1': its lon and lat are not finite numbers"):
            label_table(pd.DataFrame({"lon": [4.0, lon], "lat": 50.0, "y": 1.0}), items)


def test_labels_of_places_without_vectors_do_not_count(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(14, 3))
    vectors[:5] = np.nan
    run = made_run(tmp_path / "f.zarr", {"a": vectors}, LONLAT[:14], columns={"y": np.arange(14.0)})
    with pytest.raises(SpecError, match=r"9 places have a label and a vector of every model \(a has 9 vectors\)"):
        rs.benchmark(run, "y", probes="knn", folds="random")


@pytest.mark.parametrize("other", [5.0, np.nextafter(5, 6), 365.0])
def test_places_at_one_point_make_no_blocks(other):
    items = anywhere(np.where(np.arange(12) < 6, 5.0, other), 45.0)
    with pytest.raises(SpecError, match="there is one place"):
        folds_of("blocks", None, task_of("y", np.arange(12.0)), items=items, seed=0)


def test_forests_leave_the_filters_of_warnings_as_they_were(monkeypatch):
    """Threads of scikit-learn 1.9 set them aside at once and may leave none, after which every tree would warn."""
    original = RandomForestRegressor.fit

    def careless(self, *given):
        grown = original(self, *given)
        warnings.resetwarnings()
        return grown

    monkeypatch.setattr(RandomForestRegressor, "fit", careless)
    before, numbers = list(warnings.filters), np.arange(12.0)
    assert before
    predicted("regression", "forest", Lesson(numbers[:, None], numbers, numbers[:, None], 0))
    assert warnings.filters == before
