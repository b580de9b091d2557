"""Settings of another type are refused by every verb that asks a run or a map, before anything is read or written."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from tests.analysis.made import made_run
from tests.analysis.samples import COL, FLOAT, ROW, random_map
from tests.store.map_samples import square

YEARS = range(2018, 2022)
WRONG = (5.5, b"x", [["x"]], np.array([1.0, 2.0]), object())
SETTINGS = {
    "search": ("negatives", "k", "model", "span", "codes", "client"),
    "change": ("out", "model", "client"),
    "classes": ("out", "k", "like", "model", "span", "client"),
    "probe": ("model", "kind", "column", "span"),
    "zonal": ("stat", "model", "span", "client"),
    "fuse": ("out", "method", "models", "weights", "dim"),
    "align": ("models", "method", "held_out", "seed"),
    "explore": ("model", "span", "k", "codes", "client", "height", "basemap"),
    "stability": ("models", "unchanged"),
    "compare": ("models", "on"),
    "predict": ("out", "span", "client"),
}
NAMES = {"out": "store target", "like": "store target"}  # as errors call them


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What each verb needs, in memory where it can be, and the folder that nothing may appear in."""
    folder, new = tmp_path_factory.mktemp("settings"), tmp_path_factory.mktemp("new")
    spans = [(dt.date(year, 1, 1), dt.date(year + 1, 1, 1)) for year in YEARS]
    random_map(folder / "map.zarr", layouts=(FLOAT,), spans=spans, blocks=square(ROW, COL, 1, 2))
    mapped = rs.open_map(folder / "map.zarr")
    lonlat = np.stack([np.linspace(4, 6, 12), np.full(12, 50.0)], axis=1)
    random = np.random.default_rng(0)
    years = [rs.TemporalSpec.year(year) for year in YEARS]
    run = made_run(folder / "run.zarr", {"a": random.normal(size=(48, 6))}, lonlat, spans=years)
    both = {name: random.normal(size=(12, 4)) for name in "ab"}
    two = made_run(folder / "two.zarr", both, lonlat).load()
    probe = rs.probe(run, random.normal(size=48))
    probe = type(probe)(**vars(probe) | {"model": "float"})
    path, out = str(folder / "map.zarr"), str(new / "made.zarr")
    asked = {
        "search": (rs.search, {"run": mapped, "like": np.ones(6)}),
        "change": (rs.change, {"run": path, "out": out}),
        "classes": (rs.classes, {"map": path, "out": out}),
        "probe": (rs.probe, {"run": run, "labels": range(48)}),
        "zonal": (rs.zonal, {"map": mapped, "polygons": rs.BBox(4, 50, 5, 51)}),
        "fuse": (rs.fuse, {"runs": two, "out": out, "method": "pca"}),
        "align": (rs.align, {"runs": two}),
        "explore": (rs.explore, {"map": mapped}),
        "stability": (rs.stability, {"runs": run}),
        "compare": (rs.compare, {"a": run, "b": run}),
        "predict": (probe.predict, {"source": path, "out": out}),
    }
    yield asked
    assert list(new.iterdir()) == []


def test_what_lies_elsewhere_is_no_folder_of_codes(given):
    call, needed = given["search"]
    for codes, reason in (("s3://bucket/codes", "it is a URL"), ("", "the path is empty")):
        with pytest.raises(SpecError, match=reason):
            call(**needed, codes=codes)


def test_vectors_that_are_none_have_no_other_space(given):
    call, needed = given["align"]
    told = call(**needed)
    assert told.transform(np.zeros((2, 4)), "a", "b").shape == (2, 4)
    for changed, reason in ((([["x"]], "a", "b"), "no numbers"), ((np.zeros((2, 4)), ["a"], "b"), "expected a name")):
        with pytest.raises(SpecError, match=reason):
            told.transform(*changed)


@pytest.mark.parametrize(("verb", "setting"), [(verb, name) for verb, names in SETTINGS.items() for name in names])
def test_a_setting_of_another_type_is_refused(given, verb, setting):
    call, needed = given[verb]
    for wrong in WRONG:
        with pytest.raises((SpecError, UnknownNameError, StoreError), match="Fix: ") as refused:
            call(**needed | {setting: wrong})
        assert refused.value.what == NAMES.get(setting, setting)
