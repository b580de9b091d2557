"""Models of an export that cannot be learnt from, and what else a command refuses: which, and what is said of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rs_embed_dask as rs
from examples.maize import spam, study, vectors
from rs_embed_dask.errors import SpecError, UnknownNameError

COUNT = 20


@pytest.fixture(scope="module")
def table():
    """Twenty cells in a row, with a yield that rises."""
    code = spam.grid_code(np.array([-90.0]), np.array([40.0]))[0] + np.arange(COUNT)
    lon, lat = spam.centre(pd.Index(code))
    return pd.DataFrame({"lon": lon, "lat": lat, "t_ha": np.linspace(8, 10, COUNT)}, index=code)


@pytest.fixture(scope="module")
def export(table, tmp_path_factory):
    """An export as rs-embed 0.3.1 writes it, of six models."""
    good = np.random.default_rng(0).normal(size=(COUNT, 3))
    few, torn, blank = good.copy(), good.copy(), np.full_like(good, np.nan)
    few[9:], torn[7, 2] = np.nan, np.inf
    arrays = {"good": good, "torn": torn, "few": few, "blank": blank, "grid": np.ones((COUNT, 3, 2, 2), "float32")}
    entries = [{"model": name, "status": "ok", "embeddings": {"npz_key": name}} for name in arrays]
    entries[2]["errors_by_index"] = {str(row): "cloud" for row in range(9, COUNT)}
    entries.append({"model": "away", "status": "failed", "embeddings": None, "error": "no weights"})
    points = [{"lon": lon, "lat": lat, "buffer_m": 2000.0} for lon, lat in table[["lon", "lat"]].to_numpy()]
    folder = tmp_path_factory.mktemp("export")
    (folder / "old.json").write_text(json.dumps({"n_items": COUNT, "spatials": points, "models": entries}))
    np.savez(folder / "old.npz", **arrays)
    return folder / "old.npz"


def test_each_is_printed_with_its_reason_and_the_others_are_learnt_from(table, export, capsys):
    asked = study.Study(argparse.Namespace(export=export))
    vars(asked)["table"] = table  # as if it had been read
    run = asked.run
    assert capsys.readouterr().out.splitlines() == [
        "without blank: numbers of every vector are missing or infinite",
        "without away: no weights",
        "without few: 9 places have a vector of it, fewer than 10 (cloud)",
        "without grid: it holds a grid per item, and what is learnt from is one vector",
        "20 of 20 places have an item, of 20 items",
    ]
    assert list(run.children) == ["items", "good", "torn"]
    told = rs.benchmark(run, vectors.labels(run, table), probes="ridge", folds="random")
    assert told.predictions.query("model == 'torn'")["id"].nunique() == COUNT - 1  # a number of one is missing


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"buffer_m": -5.0}, "buffer_m = -5.0"),
        ({"models": ["galileo:none"]}, "galileo"),
        ({"provider": "files"}, "--provider-option source=VALUE"),
        ({"models": ["galileo:nano"], "export": Path("old.npz")}, "--export brings its own models"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(wrong, reason):
    usual = {"buffer_m": 2000.0, "models": None, "export": None, "provider": "synthetic", "provider_option": []}
    with pytest.raises((SpecError, UnknownNameError), match=reason):
        study.Study(argparse.Namespace(**usual | wrong)).check()


def test_where_none_is_left_the_command_is_refused(table, export):
    run = vectors.imported(export).drop_nodes(["good", "torn", "grid"])
    with pytest.raises(SpecError, match=r"few: 9 places have a vector of it.*Fix: give vectors of more of the places"):
        vectors.able(run, table)
