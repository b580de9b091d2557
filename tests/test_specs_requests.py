"""Sensors, fetching, outputs, preparation and models: defaults, second names, round trips, tokens."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import given, strategies as st

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import (
    COMPOSITES,
    MASKS,
    BBox,
    FetchSpec,
    InputPrep,
    InputPrepSpec,
    ModelSpec,
    OutputSpec,
    PointBuffer,
    Polygon,
    SensorSpec,
    TemporalSpec,
    resolution_of,
)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = [
    BBox(4.25, 50.75, 4.5, 51),
    BBox(500_000, 5_600_000, 501_000, 5_601_000, crs=32631),
    PointBuffer(1 / 3, 0.1 + 0.2, 1120),
    Polygon.from_coordinates([(4.3, 50.8), (4.5, 50.8), (4.4, 50.9)]),
    TemporalSpec.year(2022),
    TemporalSpec.range("2022-06-01", "2022-09-01"),
    SensorSpec("sentinel-2-l2a", ["red", "nir"], modality="s2"),
    FetchSpec(resolution_m=10, max_cloud_pct=30, mask="scl", composite="median", fill=0.5, crs=3857),
    OutputSpec.pooled("cls"),
    OutputSpec.grid(scale_m=10),
    InputPrep.tile(224, 112, max_tiles=9),
    ModelSpec("galileo", "nano", options={"patch_px": 8, "bands": ["red"]}, accept_licence=True, name="mine"),
]


@pytest.mark.parametrize("spec", EXAMPLES, ids=repr)
def test_every_spec_is_a_value_that_travels(spec):
    kind = type(spec)
    assert kind.from_json(spec.to_json()) == spec
    assert kind.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(kind.from_json(spec.to_json())) == hash(spec)
    assert tokenize(pickle.loads(pickle.dumps(spec))) == tokenize(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.crs = "EPSG:32631"


def test_tokens_differ_where_specs_differ():
    assert len({tokenize(spec) for spec in EXAMPLES}) == len(EXAMPLES)
    assert tokenize(FetchSpec()) != tokenize(OutputSpec.pooled())
    assert tokenize(PointBuffer(0, 0, 1)) != tokenize(PointBuffer(0, 0, 1.0000000001))


def test_tokens_are_the_same_in_another_process():
    code = (
        "from dask.base import tokenize; from tests.test_specs_requests import EXAMPLES; "
        "print(*(tokenize(spec) for spec in EXAMPLES))"
    )
    seeds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    run = lambda env: subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True)
    here = [tokenize(spec) for spec in EXAMPLES]
    assert [run(env).stdout.decode().split() for env in seeds] == [here, here]


def test_specs_load_nothing_heavy():
    code = "import sys, rs_embed_dask.specs, rs_embed_dask.specs.places; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    heavy = {"torch", "dask", "distributed", "xarray", "pandas", "geopandas", "zarr", "rasterio"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "imagery.dates",
        "imagery.grid",
        "inference.loading",
        "pages.listing",
        "pages.model",
        "providers.registry",
        "specs.fetch",
        "specs.ground",
        "specs.model",
        "specs.output",
        "specs.places",
        "specs.when",
        "specs.where",
    ],
)
def test_the_examples_in_the_docstrings_are_true(module):
    outcome = doctest.testmod(importlib.import_module(f"rs_embed_dask.{module}"))
    assert outcome.failed == 0
    assert outcome.attempted > 0


class TestFetchSpec:
    def test_nothing_is_decided_by_default(self):
        assert FetchSpec().to_dict() == {}
        assert repr(FetchSpec()) == "FetchSpec()"

    def test_the_names_of_rs_embed(self):
        spec = FetchSpec(scale_m=10, cloudy_pct=30, fill_value=0, composite="mosaic")
        assert spec == FetchSpec(resolution_m=10.0, max_cloud_pct=30.0, fill=0.0, composite="mosaic")
        assert (spec.scale_m, spec.cloudy_pct, spec.fill_value) == (10.0, 30.0, 0.0)

    def test_both_names_with_one_value_agree(self):
        assert FetchSpec(resolution_m=10, scale_m=10.0).resolution_m == 10.0
        assert FetchSpec(resolution_m=None, scale_m=20).resolution_m == 20.0
        assert FetchSpec(resolution_m=20, scale_m=None).resolution_m == 20.0

    def test_both_names_given_by_position_and_keyword_conflict(self):
        with pytest.raises(SpecError, match="resolution_m = 10 was given too"):
            FetchSpec(10, scale_m=20)

    def test_replace_keeps_working(self):
        assert dataclasses.replace(FetchSpec(scale_m=10), resolution_m=20) == FetchSpec(resolution_m=20)

    @pytest.mark.parametrize("mask", MASKS)
    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_all_named_choices(self, mask, composite):
        spec = FetchSpec(mask=mask, composite=composite)
        assert (spec.mask, spec.composite) == (mask, composite)

    @pytest.mark.parametrize("fill", ["card", "none", 0.0, -9999.0])
    def test_fill(self, fill):
        assert FetchSpec.from_json(FetchSpec(fill=fill).to_json()).fill == fill

    def test_crs_by_number(self):
        assert FetchSpec(crs=3857).crs == "EPSG:3857"


class TestOutputs:
    def test_pooled(self):
        assert OutputSpec.pooled() == OutputSpec("pooled", None, None)  # each model's own vector
        assert [OutputSpec.pooled(how).pooling for how in ("mean", "max", "cls")] == ["mean", "max", "cls"]

    def test_grid(self):
        assert OutputSpec.grid(scale_m=10) == OutputSpec("grid", scale_m=10.0)
        assert OutputSpec.grid().scale_m is None

    def test_positions_are_a_mode_in_json_and_a_table_is_not_part_of_it(self):
        table = np.zeros((2, 3, 3))
        modes = {"auto": "auto", "kept": "kept", "removed": "removed", "a/b.zarr": "removed"}
        for value, mode in modes.items():
            assert OutputSpec.grid(positions=value).to_dict() == {"mode": "grid", "within": "auto", "positions": mode}
        assert OutputSpec.grid(positions=table).to_dict()["positions"] == "removed"
        assert OutputSpec.grid(positions=Path("b")).positions == "b"
        assert OutputSpec.from_dict({"mode": "grid"}) == OutputSpec.grid(positions="kept")
        for wrong in (3, np.zeros((2, 3)), np.zeros((2, 3, 4)), np.ones((2, 3, 3)), {"a": 1}):
            with pytest.raises(SpecError):
                OutputSpec.grid(positions=wrong)

    def test_prep(self):
        assert InputPrepSpec is InputPrep
        assert InputPrep.resize() == InputPrep()
        assert InputPrep.tile(tile_size=224, tile_stride=112) == InputPrep("tile", 224, 112)
        assert InputPrep.auto(max_tiles=9) == InputPrep("auto", max_tiles=9)
        assert InputPrep.tile(224).tile_size == 224

    @pytest.mark.parametrize(
        ("fetch", "output", "expected"),
        [(None, None, None), (10, None, 10.0), (None, 20, 20.0), (30, 30, 30.0)],
    )
    def test_resolution_of(self, fetch, output, expected):
        assert resolution_of(FetchSpec(resolution_m=fetch), OutputSpec.grid(scale_m=output)) == expected


class TestSensorSpec:
    def test_bands_keep_their_order(self):
        assert SensorSpec("s2", ["B8A", "B04", "B11"]).bands == ("B8A", "B04", "B11")

    def test_scale_m(self):
        assert SensorSpec("s2", scale_m=20).resolution_m == 20.0


class TestModelSpec:
    @pytest.mark.parametrize(
        ("written", "parts", "label"),
        [
            ("galileo", ("galileo", None, None), "galileo"),
            ("galileo:nano", ("galileo", "nano", None), "galileo-nano"),
            ("galileo:nano:s1", ("galileo", "nano", "s1"), "galileo-nano-s1"),
            ("galileo::s1+s2", ("galileo", None, "s1+s2"), "galileo-s1-s2"),
            (" galileo : nano ", ("galileo", "nano", None), "galileo-nano"),
            ({"id": "dofa", "variant": "base"}, ("dofa", "base", None), "dofa-base"),
        ],
    )
    def test_of(self, written, parts, label):
        spec = ModelSpec.of(written)
        assert (spec.id, spec.variant, spec.modality) == parts
        assert spec.label == label
        assert ModelSpec.of(spec) is spec

    def test_a_name_is_the_label(self):
        assert ModelSpec("galileo", "nano", name="mine").label == "mine"

    def test_a_path_of_weights_becomes_text(self):
        assert ModelSpec("galileo", weights=Path("weights") / "nano.pt").weights == str(Path("weights") / "nano.pt")

    def test_several_modalities_may_be_a_list(self):
        assert ModelSpec("galileo", modality=["s1", "s2"]).modality == "s1+s2"

    def test_options_are_frozen_and_sorted(self):
        spec = ModelSpec("galileo", options={"patch_px": 8, "bands": ["red", "nir"]})
        assert spec.options == (("bands", ("red", "nir")), ("patch_px", 8))
        assert spec.choices == {"bands": ("red", "nir"), "patch_px": 8}
        assert spec == ModelSpec("galileo", options=spec.options)
        assert spec.to_dict()["options"] == {"bands": ["red", "nir"], "patch_px": 8}

    @given(
        st.dictionaries(
            st.text("abcdef_", min_size=1, max_size=8),
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
        )
    )
    def test_options_round_trip(self, options):
        spec = ModelSpec("m", options=options)
        assert ModelSpec.from_json(spec.to_json()) == spec
        assert spec.choices == options


def test_reprs_leave_out_what_is_default():
    assert repr(ModelSpec.of("galileo:nano")) == "ModelSpec(id='galileo', variant='nano')"
    assert repr(OutputSpec.grid(scale_m=10)) == "OutputSpec(mode='grid', scale_m=10.0)"
    assert repr(SensorSpec("s2", ["red"])) == "SensorSpec(collection='s2', bands=('red',))"
