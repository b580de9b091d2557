"""The made landscape on demand: faults, waits, and options that it refuses."""

from __future__ import annotations

import json
import pickle
import time

import numpy as np
import pytest

from rs_embed_dask.errors import (
    AccessError,
    NoImageryError,
    ProviderError,
    SpecError,
    TransientError,
    UnknownNameError,
)
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load, open_provider, register_provider
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs.fetch import FetchSpec
from tests.engine.faulty import Fault, Faulty, faulty

MADE = Synthetic()
GRID = Grid("EPSG:32631", (10, 0, 664_000, 0, -10, 5_612_000), (12, 14))
JUNE, JULY = Span("2022-06-01", "2022-07-01"), Span("2022-07-01", "2022-08-01")


def read(grid=GRID, *spans, **fetch):
    return Read(grid, "s2", ("red", "nir"), spans or (JUNE,), FetchSpec(**fetch))


def test_no_scene_in_the_span_is_no_imagery():
    with pytest.raises(NoImageryError, match=r"sentinel-2-l2a at .*2022-06-02"):
        load(Synthetic(revisit_days=60), read(GRID, Span("2022-06-02", "2022-06-03")))


def test_transient_faults_pass_after_so_many_tries():
    made = Faulty(MADE, (Fault("transient", times=2, seed=991),))
    for _ in range(2):
        with pytest.raises(TransientError, match="of 2 that fail"):
            load(made, read())
    np.testing.assert_array_equal(load(made, read()).values, load(MADE, read()).values)


def test_tries_can_be_counted_across_processes(tmp_path):
    ledger = str(tmp_path / "tries")
    fault = Fault("transient", times=2, ledger=ledger)
    for copy in (fault, pickle.loads(pickle.dumps(fault))):
        with pytest.raises(TransientError):
            copy.strike(read())
    fault.strike(read())
    assert len(list((tmp_path / "tries").iterdir())) == 3


@pytest.mark.parametrize(
    ("kind", "error"), [("lasting", ProviderError), ("access", AccessError), ("no_imagery", NoImageryError)]
)
def test_lasting_faults_last(kind, error):
    made = Faulty(MADE, (Fault(kind),))
    for _ in range(2):
        with pytest.raises(error) as caught:
            load(made, read())
        assert type(caught.value) is error


def test_faults_hit_a_share_of_places():
    some = Fault("lasting", share=0.3, seed=4)
    places = [read(Grid(GRID.crs, (10, 0, 500_000 + 900 * i, 0, -10, 5_600_000), (5, 5))) for i in range(300)]
    assert 0.2 < np.mean([some.hits(place) for place in places]) < 0.4


def test_a_failing_provider_travels_to_workers_and_through_stores():
    made = Faulty(MADE, (Fault("lasting", share=0.5),))
    assert pickle.loads(pickle.dumps(made)) == made
    register_provider("faulty", faulty)
    assert open_provider(json.loads(json.dumps(made.describe()))) == made


def test_waits_are_lognormal_and_spent_once_a_read(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    made = Synthetic(latency_s=(0.5, 0.8))
    places = [Grid(GRID.crs, (10, 0, 500_000 + 900 * i, 0, -10, 5_600_000), (2, 2)) for i in range(150)]
    for grid in places:
        load(made, read(grid, JUNE, JULY))
    assert len(slept) == len(places)
    logs = np.log(slept)
    assert abs(logs.mean() - np.log(0.5)) < 0.2
    assert abs(logs.std() - 0.8) < 0.15
    again, slept[:] = list(slept), []
    load(made, read(places[0], JUNE, JULY))
    assert slept == again[:1]


def test_slow_places_wait_longer(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    load(Faulty(MADE, (Fault("slow", seconds=3),)), read())
    assert slept == [3]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Synthetic(cloud=1.5), SpecError, "cloud = 1.5"),
        (lambda: Synthetic(revisit_days=0), SpecError, "revisit_days = 0"),
        (lambda: Synthetic(latency_s=(0.5, 0.8, 1)), SpecError, "median and sigma"),
        (lambda: Synthetic(latency_s=-1), SpecError, "latency_s"),
        (lambda: load(MADE, read(mask="fmask")), UnknownNameError, "scl"),
    ],
)
def test_bad_options(make, error, words):
    with pytest.raises(error, match=words):
        make()
