"""Plans of maps: what they count is what a run does, whatever the size of the region."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from pyproj import CRS

import rs_embed_dask as rs
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.errors import PlanError, SpecError, StoreError, UnknownNameError
from rs_embed_dask.maps import stream
from rs_embed_dask.maps.estimate import plan_of
from rs_embed_dask.maps.passes import MapPass
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.maps.topup import store_for
from rs_embed_dask.maps.windows import BlockIndex, Tiles
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store.map_store import MapStore
from tests.maps.test_compute import SPAN, WEST, run_of

NANO = rs.ModelSpec("galileo", variant="nano", weights="random")
YEAR = rs.TemporalSpec.year(2022)


def figures(plan):
    return {one.label: one for one in plan.models}


@pytest.mark.parametrize("widest", [32, 1])
def test_windows_and_pixels_are_those_of_every_tile(monkeypatch, widest):
    """Against the tiles one by one, whole and in narrow bands."""
    monkeypatch.setattr(stream, "WIDEST_BAND", widest)
    place = rs.BBox(2.03, 50.901, 2.15, 50.96)
    run = run_of(place)
    plan = plan_of(run)
    (models,) = run.passes
    ((_, blocks),) = run.blocks("rcf").items()
    by_column = [{at for at in blocks if at[1] == col} for col in sorted({at[1] for at in blocks})]
    expected, pixels, reads = dict.fromkeys(run.models, 0), 0, 0
    for some in by_column if widest == 1 else [set(blocks)]:
        wanted = frozenset(BlockIndex(*at) for at in some)
        work = MapPass(None, models, {one.label: wanted for one in models})
        reads += len(work.order)
        pixels += sum(int(np.prod(work.source(tile).shape)) for tile in work.order)
        for one in models:
            for tile in Tiles(one.tiling, wanted).order:
                rows, cols = Tiles(one.tiling, wanted).starts(tile)
                expected[one.label] += len(rows) * len(cols)
    assert {label: one.windows for label, one in figures(plan).items()} == expected
    assert (plan.reads[0].reads, plan.reads[0].pixels) == (reads, pixels)
    assert plan.reads[0].excess == pytest.approx(pixels / (len(blocks) * models[0].block_px ** 2))


def test_a_large_region_has_the_blocks_of_its_area():
    side = 300_000.0
    place = rs.BBox(350_000.0, 5_000_000.0, 350_000.0 + side, 5_000_000.0 + side, crs="EPSG:32631")
    plan = rs.plan_map(place, NANO, YEAR, provider="synthetic", crs="EPSG:32631")
    (one,) = plan.models
    block_m = one.block * one.token_m
    assert block_m == 64 * 80
    assert (side / block_m) ** 2 <= one.blocks["epsg32631"] <= (side / block_m + 2) ** 2
    assert plan.area_km2 == pytest.approx(90_000, rel=2e-3)
    # what the windows overlap, and one row and column of windows more at the edges of the region and of each band
    assert (12 / 11) ** 2 < one.inference < 1.03 * (12 / 11) ** 2
    assert 1 < plan.reads[0].excess < 1.02


def test_a_continent_is_a_region_but_not_a_place(tmp_path):
    """Between parallels the ellipsoid has a closed formula: 10,409,475 km2 from 10 W to 30 E and 35 to 70 N."""
    europe = rs.BBox(-10, 35, 30, 70)
    coarse = {"fetch": rs.FetchSpec(resolution_m=1000), "provider": "synthetic"}
    plan = rs.plan_map(europe, {"id": "bandstats", "options": {"patch_px": 8}}, YEAR, **coarse)
    polygon = Region.of(rs.Polygon.from_geometry(europe.geometry))
    assert [plan.area_km2, polygon.area_m2 / 1e6] == pytest.approx([10_409_475, 10_409_475], rel=1e-6)
    blocks = plan.models[0].blocks
    assert sum(blocks.values()) > 10_409_475 / (8 * 64) ** 2
    assert set(blocks) >= {f"utm{zone}" for zone in range(29, 36)}
    for many in ([europe], gpd.GeoSeries([europe.geometry], crs=4326)):
        with pytest.raises(SpecError, match=r"places\[0\].*10,409,47. km2 and at most 1,000,000 km2.*use compute_map"):
            rs.compute_embeddings(many, "bandstats", YEAR, out=tmp_path / "run.zarr", **coarse)
    assert not list(tmp_path.iterdir())


def test_twice_the_spans_take_twice_the_work_and_store():
    once = rs.plan_map(WEST, NANO, YEAR, provider="synthetic")
    twice = rs.plan_map(WEST, NANO, [YEAR, rs.TemporalSpec.year(2023)], provider="synthetic")
    assert twice.models[0].windows == 2 * once.models[0].windows
    assert twice.store_bytes == 2 * once.store_bytes
    assert twice.reads[0].reads == 2 * once.reads[0].reads
    assert twice.models[0].first_windows == once.models[0].first_windows > 0


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_the_store_holds_every_token_of_the_blocks(dtype, size):
    plan = rs.plan_map(WEST, NANO, YEAR, provider="synthetic", dtype=dtype)
    tokens = sum(plan.models[0].blocks.values()) * 64**2
    scale = 2 if dtype == "int8" else 0
    assert plan.store_bytes == tokens * (plan.models[0].dim * size + 20 + scale)


def test_bytes_are_those_of_tiles_that_are_fetched_once():
    provider = rs.open_provider("stac", url="https://example.org/api", source="planetary_computer")
    model = {"id": "bandstats", "options": {"bands": ("red",), "patch_px": 2}}
    west, south = 500_000, 5_600_000
    near = rs.BBox(west + 100, south + 100, west + 200, south + 200, crs="EPSG:32631")
    wide = rs.BBox(west, south, west + 50_000, south + 50_000, crs="EPSG:32631")
    one, many = (rs.plan_map(place, model, SPAN, provider=provider).reads[0] for place in (near, wide))
    assert one.reads == 1
    assert many.reads > 1500
    assert many.scenes == pytest.approx(one.scenes * many.pixels / one.pixels)
    # Blocks of 128 pixels and tiles of 512: along a side that is n tiles long, n + 1 - 1 / 512 are touched on average.
    alone = (128 / 512 + 1 - 1 / 512) ** 2
    among = (8 * 128 / 512 + 1 - 1 / 512) ** 2 / 8**2
    per_block = [plan.download_bytes / (plan.pixels / 128**2) for plan in (one, many)]
    assert per_block[0] / per_block[1] == pytest.approx(alone / among, rel=1e-3)


def test_what_happens_to_positions_is_said_before():
    stated, place = {}, rs.BBox(2.0, 50.9, 2.1, 51.0)
    mean = np.zeros((128, 12, 12), np.float32)
    mean[0, 0, 0], mean[0, 0, 1] = 1, -1
    table = PositionTable(mean, "galileo", "nano", 8, windows=500, share=0.5)
    for name, positions in (("auto", "auto"), ("kept", "kept"), ("removed", "removed"), ("table", table)):
        plan = rs.plan_map(place, [NANO, "bandstats"], YEAR, provider="synthetic", positions=positions)
        stated[name] = plan.models[0].positions
        assert plan.models[1].positions == "kept: every token is computed from its own surroundings"
        assert (plan.models[0].first_windows > 0) == (name in {"auto", "removed"})
    assert "removed where they explain more than 1 %" in stated["auto"]
    assert "not comparable with other maps unless you pass its table" in stated["auto"]
    assert stated["kept"] == "kept, as asked"
    assert "removed, as asked" in stated["removed"]
    assert stated["table"].startswith("removed, as asked")
    assert "500 windows" in stated["table"]
    few = rs.plan_map(rs.BBox(2.0, 50.9, 2.001, 50.901), NANO, YEAR, provider="synthetic")
    assert few.models[0].positions.endswith("too few, so they will be kept")


def test_a_plan_prints_and_survives_json():
    plan = rs.plan_map(WEST, NANO, YEAR, provider="synthetic")
    text = str(plan)
    for part in ("of 12 x 12 tokens, 11 apart", "synthetic", "in utm31, of 64 x 64 tokens", "x the least"):
        assert part in text
    assert "<table" in plan._repr_html_()
    data = json.loads(json.dumps(plan.to_dict()))
    assert data["models"][0]["windows"] == plan.models[0].windows
    assert data["request"]["overlap"] == pytest.approx(1 / 12)


def test_models_that_share_no_blocks_are_read_on_their_own():
    plan = rs.plan_map(WEST, ["bandstats", {"id": "rcf", "options": {"patch_px": 4}}], YEAR, provider="synthetic")
    assert [one.labels for one in plan.reads] == [("bandstats",), ("rcf",)]
    assert [one.label for one in plan.models] == ["bandstats", "rcf"]


@pytest.mark.parametrize("resolution_m", [None, 20.0, 100.0])
def test_another_resolution_reads_other_pixels_and_makes_larger_tokens(resolution_m):
    asked = {} if resolution_m is None else {"fetch": rs.FetchSpec(resolution_m=resolution_m)}
    plan = rs.plan_map(WEST, NANO, YEAR, provider="synthetic", **asked)
    pixel_m = resolution_m or 10.0
    assert plan.models[0].token_m == 8 * pixel_m
    assert (plan.models[0].window, plan.models[0].block) == (12, 64)
    assert plan.reads[0].what[0].startswith(f"sentinel-2-l1c at {pixel_m:g} m: blue, green")


@pytest.mark.parametrize("name", ["presto", "bandstats"])
def test_models_that_work_pixel_by_pixel_give_a_vector_per_pixel(name):
    options = {"patch_px": 1} if name == "bandstats" else {}
    spec = {"id": name, "options": options}
    (figures,) = rs.plan_map(WEST, spec, YEAR, provider="synthetic").models
    assert (figures.token_m, figures.block, figures.inference) == (10.0, 256, 1.0)
    assert figures.positions == "kept: every token is computed from its own surroundings"


def test_what_cannot_be_mapped_is_refused_in_the_plan():
    with pytest.raises(PlanError, match="own projection"):
        rs.plan_map(WEST, "rcf", YEAR, provider="synthetic", fetch=rs.FetchSpec(crs="EPSG:3857"))
    with pytest.raises(SpecError, match="dict is not a FetchSpec"):
        rs.plan_map(WEST, "rcf", YEAR, provider="synthetic", fetch={"resolution_m": 40})
    with pytest.raises(rs.RsEmbedError, match="float64"):
        rs.plan_map(WEST, "rcf", YEAR, provider="synthetic", dtype="float64")


@pytest.mark.parametrize("overlap", [1.0, -0.1, float("nan"), "half", True])
def test_an_overlap_that_is_no_share_is_refused_of_models_without_windows_too(overlap):
    with pytest.raises(SpecError, match="overlap"):
        rs.plan_map(WEST, "bandstats", YEAR, provider="synthetic", overlap=overlap)


def test_a_projection_has_one_name_however_it_is_spelt():
    spelt = ("EPSG:3035", 3035, "epsg:3035", CRS.from_epsg(3035))
    plans = [rs.plan_map(WEST, "bandstats", YEAR, provider="synthetic", crs=one) for one in (*spelt, "UTM")]
    assert [plan.request["crs"] for plan in plans] == ["EPSG:3035"] * 4 + ["utm"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A table, and a map for which it was given and nothing has been computed."""
    mean = np.zeros((128, 12, 12), np.float32)
    mean[0, 0, 0], mean[0, 0, 1] = 1, -1
    table = PositionTable(mean, "galileo", "nano", 8, windows=500, share=0.5)
    path = tmp_path_factory.mktemp("given") / "given.zarr"
    wanted = MapRequest(request_of(NANO, {"provider": "synthetic"}), (YEAR,), positions=table)
    store_for(MapRun(Region.of(WEST), wanted), path)
    return table, path


def test_a_table_that_is_given_is_in_the_map_before_any_work(given):
    table, path = given
    store = MapStore.open(path)
    (label,) = store.labels
    assert store.table(label).digest == table.digest
    statement = "positions removed, as asked (the table passed, from 500 windows)"
    assert store.receipt["positions"][label]["statement"] == statement
    (figures,) = rs.plan_map(WEST, NANO, YEAR, provider="synthetic", positions=path).models
    assert figures.positions == f"removed, as asked (the table of {path}, from 500 windows)"
    assert figures.first_windows == 0


@pytest.mark.parametrize("how", ["table", "path"])
@pytest.mark.parametrize(
    ("models", "match"),
    [
        ("bandstats", "positions = 'table of galileo': the request computes no such model with windows. Fix: give"),
        (replace(NANO, variant="tiny"), "PositionTable.variant = 'nano': here it is 'tiny'. Fix: pass"),
        ([replace(NANO, options={"max_px": 48}), "rcf"], "PositionTable.window = 12: here it is 6. Fix: pass"),
        (replace(NANO, options={"patch_px": 4, "max_px": 48}), "PositionTable.patch_px = 8: here it is 4. Fix: pass"),
    ],
)
def test_a_table_of_another_model_is_refused_in_the_plan(given, how, models, match):
    with pytest.raises(SpecError, match=re.escape(match)):
        rs.plan_map(WEST, models, YEAR, provider="synthetic", positions=given[how == "path"])


def test_a_place_without_a_table_is_refused_in_the_plan(tmp_path):
    store_for(run_of(WEST), tmp_path / "plain.zarr")
    for name, match in (("plain.zarr", "it holds no table of positions.*Fix: give another"), ("none.zarr", "Fix: ")):
        with pytest.raises(StoreError, match=rf"{name}.*{match}"):
            rs.plan_map(WEST, NANO, YEAR, provider="synthetic", positions=tmp_path / name)
    with pytest.raises(UnknownNameError, match=r"positions = 'remove'.*did you mean 'removed'"):
        rs.plan_map(WEST, NANO, YEAR, provider="synthetic", positions="remove")


def test_spans_are_one_or_any_sequence_of_them():
    days = ("2022-06-01", "2022-07-01")
    for given, count in ((days, 1), (list(days), 1), ((SPAN, YEAR), 2), (iter([SPAN, YEAR]), 2), ([days], 1)):
        assert rs.plan_map(WEST, "bandstats", given, provider="synthetic").spans == count
    for given, match in (([], "no span"), ({"summer": SPAN}, "no names"), ([SPAN, SPAN], "given twice")):
        with pytest.raises(SpecError, match=match):
            rs.plan_map(WEST, "bandstats", given, provider="synthetic")


def test_the_region_of_the_plan_is_the_one_asked_for():
    plan = plan_of(run_of(WEST))
    assert plan.extent == (WEST.minlon, WEST.minlat, WEST.maxlon, WEST.maxlat)
    assert plan.area_km2 == pytest.approx(Region.of(WEST).area_m2 / 1e6)
    assert plan.spans == 1
    assert SPAN.to_dict() in plan.request["temporals"]
    labels = ", ".join(one.label for one in plan.models)
    assert repr(plan) == f"MapPlan({plan.area_km2:,.0f} km2, {labels}; print it for its cost)"
