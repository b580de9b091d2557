"""Maps from a region to a store: every owned token once, continued without work, grown without moving anything."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from distributed.comm import CommClosedError

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.engine.report import RunStarted
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.errors import EngineError, PlanError, SpecError, StoreBusyError, StoreError, StoreMismatchError
from rs_embed_dask.maps.compute import compute, compute_store
from rs_embed_dask.maps.estimate import plan_of
from rs_embed_dask.maps.kept import book_of
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.maps.scores import ScoreSums
from rs_embed_dask.maps.topup import store_for
from rs_embed_dask.store import BlockKey, BlockResult, Status
from rs_embed_dask.store.durable import PARTIAL
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.maps.inprocess import InProcess

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
SMALL = {"bands": ("red", "nir", "swir16"), "patch_px": 2}
MODELS = [{"id": "rcf", "options": {"features": 8, **SMALL}}, {"id": "bandstats", "options": SMALL}]
WEST = rs.BBox(2.03, 50.901, 2.05, 50.918)
EAST = rs.BBox(2.05, 50.901, 2.07, 50.918)


def run_of(place, *, dtype="float32", overlap=1 / 12):
    request = request_of(MODELS, {"provider": "synthetic"})
    return MapRun(Region.of(place), MapRequest(request, (SPAN,), overlap=overlap, dtype=dtype))


@pytest.fixture(scope="module")
def western(threads_client, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "west.zarr"
    return path, compute(run_of(WEST), path, client=threads_client)


def test_every_block_of_the_region_is_computed(western):
    path, report = western
    store = MapStore.open(path)
    blocks = set(store.asked("rcf", "utm31", 0))
    assert len(blocks) >= 4
    assert report.lost == {}
    totals = {label: counts.total() for label, counts in report.counts.items()}
    assert totals == {"rcf": len(blocks), "bandstats": len(blocks)}
    compared = open_map(path).rs.report
    assert compared.to_dict() == report.against_plan.to_dict() == store.receipt["report"]
    assert compared.planned["blocks"] == compared.actual["blocks"] == 2 * len(blocks)
    assert compared.planned["windows"] == sum(one.windows for one in plan_of(run_of(WEST)).models)
    assert compared.actual["windows"] == sum(report.windows.values())
    assert not list(store.pending("rcf"))


def test_the_map_equals_tiles_made_in_one_process(western):
    path, _ = western
    store = MapStore.open(path)
    blocks = sorted(store.asked("rcf", "utm31", 0))
    alone = InProcess(MODELS, SPAN, provider="synthetic").run(blocks)
    tree = open_map(path)
    for label in ("rcf", "bandstats"):
        field = tree[label]["utm31"]
        assert field.embedding.dims == ("time", "dim", "y", "x")
        lattice = run_of(WEST).lattice(store.groups(label)[0], run_of(WEST).models[label])
        for block in blocks:
            rect = lattice.rect(*block)
            grid = lattice.grid(rect)
            part = field.embedding.sel(x=grid.xs, y=grid.ys).values[0]
            expected = np.where(lattice.owned(rect), alone.fields[label, block].vectors, np.nan)
            np.testing.assert_allclose(part, expected, rtol=1e-6, atol=1e-6)


def test_the_same_call_again_computes_nothing(western, threads_client):
    path, _ = western
    again = compute(run_of(WEST), path, client=threads_client)
    assert again.counts == {}


def test_a_neighbouring_region_is_added_and_equals_a_map_of_its_own(threads_client, tmp_path, western):
    path, alone = tmp_path / "both.zarr", tmp_path / "east.zarr"
    compute(run_of(WEST), path, client=threads_client)
    before = set(MapStore.open(path).asked("rcf", "utm31", 0))
    report = compute(run_of(EAST), path, client=threads_client)
    compute(run_of(EAST), alone, client=threads_client)
    both = set(MapStore.open(path).asked("rcf", "utm31", 0))
    assert report.counts["rcf"].total() == len(both - before) > 0
    whole, part = open_map(path)["rcf"]["utm31"], open_map(alone)["rcf"]["utm31"]
    same = whole.embedding.sel(x=part.x, y=part.y)
    np.testing.assert_allclose(same.values, part.embedding.values, rtol=1e-6, atol=1e-6)


def test_what_changes_the_vectors_cannot_change_in_a_map(western, threads_client):
    path, _ = western
    with pytest.raises(StoreMismatchError, match="dtype"):
        compute(run_of(WEST, dtype="float16"), path, client=threads_client)


def test_coverage_and_quality_are_written(western):
    path, _ = western
    field = open_map(path)["bandstats"]["utm31"]
    coverage = field.coverage.values
    assert 0 < coverage.mean() < 1
    area = float(coverage.sum()) * 20.0**2
    assert area == pytest.approx(Region.of(WEST).area_m2, rel=2e-3)
    assert set(np.unique(field.status.values)) <= {Status.PENDING, Status.OK, Status.PARTIAL}


@pytest.fixture(scope="module")
def windowed(threads_client, tmp_path_factory):
    """A transformer with windows of 4 x 4 tokens, in one group, positions removed."""
    path = tmp_path_factory.mktemp("maps") / "windows.zarr"
    spec = rs.ModelSpec("galileo", variant="nano", weights="random", options={"patch_px": 4, "max_px": 16})
    request = request_of(spec, {"provider": "synthetic"})
    wanted = MapRequest(request, (SPAN,), overlap=0.25, dtype="float32", positions="removed")
    place = rs.BBox(2.03, 50.901, 2.04, 50.911)
    return path, wanted, place, compute(MapRun(Region.of(place), wanted), path, client=threads_client)


def test_positions_are_measured_removed_and_kept_for_later(windowed, threads_client):
    path, wanted, place, report = windowed
    store = MapStore.open(path)
    (label,) = store.labels
    table = store.positions(label)
    assert table.shape[1:] == (4, 4)
    assert np.abs(table).max() > 0.01
    np.testing.assert_allclose(table.mean((1, 2)), 0, atol=1e-5)
    assert "positions removed, as asked" in store.receipt["positions"][label]["statement"]
    assert report.counts[label].total() == len(store.asked(label, "utm31", 0))
    again = compute(MapRun(Region.of(place), wanted), path, client=threads_client)
    assert again.counts == {}


def test_a_larger_region_uses_the_table_of_the_store(windowed, threads_client):
    path, wanted, place, _ = windowed
    label = MapStore.open(path).labels[0]
    before = MapStore.open(path).positions(label)
    wider = rs.BBox(place.minlon, place.minlat, place.maxlon + 0.03, place.maxlat)
    compute(MapRun(Region.of(wider), wanted), path, client=threads_client)
    np.testing.assert_array_equal(MapStore.open(path).positions(label), before)
    assert not list(MapStore.open(path).pending(label))


def test_the_public_call_returns_the_map(threads_client, tmp_path, western):
    tree = rs.compute_map(
        WEST, MODELS[1], SPAN, out=tmp_path / "map.zarr", dtype="int8", provider="synthetic", client=threads_client
    )
    exact = open_map(western[0])["bandstats"]["utm31"].embedding.values
    stored = tree["bandstats"]["utm31"].embedding.values
    assert tree["bandstats"]["utm31"].spatial_ref.attrs["crs_wkt"]
    step = np.nanmax(np.abs(exact), axis=1, keepdims=True) / 127
    assert (np.abs(stored - exact)[np.isfinite(exact)] <= np.broadcast_to(step, exact.shape)[np.isfinite(exact)]).all()
    one, other = (vectors[0].astype("float64").reshape(len(vectors[0]), -1) for vectors in (exact, stored))
    lost = 1 - (one * other).sum(0) / (np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0))
    loss = tree.attrs["receipt"]["losses"]["bandstats"]
    assert loss["mean"] == pytest.approx(np.nanmean(lost), rel=1e-2)
    assert loss["worst"] == pytest.approx(np.nanmax(lost), rel=1e-2)
    assert 0 < loss["mean"] < loss["worst"] < 1e-3


def test_the_plan_counted_what_was_computed(western):
    path, report = western
    plan = plan_of(run_of(WEST))
    # windows of tiles that only serve others are no block's
    for one in plan.models:
        assert 0 < report.windows[one.label] <= one.windows
        asked = len(MapStore.open(path).asked(one.label, "utm31", 0))
        assert sum(one.blocks.values()) == report.counts[one.label].total() == asked


# ------------------------------------------------------------------------------------------------ continuing a map
def test_another_span_is_added_and_what_is_there_stays(threads_client, tmp_path):
    path = tmp_path / "spans.zarr"
    later = rs.TemporalSpec.range("2022-08-01", "2022-09-01")
    ask = {"provider": "synthetic", "client": threads_client, "dtype": "float32", "progress": False}
    first = rs.compute_map(WEST, MODELS[1], SPAN, out=path, **ask)["bandstats"]["utm31"].embedding.load()
    both = rs.compute_map(WEST, MODELS[1], later, out=path, **ask)["bandstats"]["utm31"].embedding.load()
    assert list(both.time.values.astype("datetime64[D]").astype(str)) == ["2022-06-01", "2022-08-01"]
    np.testing.assert_array_equal(both[0], first[0])
    alone = rs.compute_map(WEST, MODELS[1], later, out=tmp_path / "later.zarr", **ask)
    np.testing.assert_allclose(both[1], alone["bandstats"]["utm31"].embedding[0], rtol=1e-6, atol=1e-6)
    assert not np.allclose(both[0], both[1], equal_nan=True)


def test_a_map_is_resumed_from_its_store_alone(threads_client, tmp_path, western):
    path = tmp_path / "resumed.zarr"
    run = run_of(WEST)
    store_for(run, path)
    report = rs.resume(path, client=threads_client, progress=False)
    assert {label: counts.total() for label, counts in report.counts.items()} == {
        label: len(MapStore.open(path).asked(label, "utm31", 0)) for label in ("rcf", "bandstats")
    }
    for label in ("rcf", "bandstats"):
        here, there = (open_map(one)[label]["utm31"].embedding.values for one in (path, western[0]))
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)
    assert rs.resume(path, client=threads_client, progress=False).counts == {}


def test_what_only_places_have_is_refused_of_a_map(western):
    for name in ("chunks", "part"):
        with pytest.raises(SpecError, match=rf"a map has no such option.*leave {name} out"):
            rs.resume(western[0], progress=False, **{name: (1, 2)})


def test_a_map_is_verified_repaired_and_resumed(threads_client, tmp_path, western):
    path = shutil.copytree(western[0], tmp_path / "damaged.zarr")
    report = rs.verify(path)
    assert report.is_sound, report
    assert report.checked == {label: counts.total() for label, counts in western[1].counts.items()}
    files = sorted((path / "rcf/utm31/embedding").rglob("c/0/0/*/*"))
    files[0].write_bytes(files[1].read_bytes())
    files[2].unlink()
    with pytest.warns(UserWarning, match="2 blocks to compute again"):
        report = rs.resume(path, verify=True, client=threads_client, progress=False)
    assert {label: counts.total() for label, counts in report.counts.items()} == {"rcf": 2}
    assert rs.verify(path).is_sound
    one, other = (open_map(place)["rcf"]["utm31"].embedding.values for place in (path, western[0]))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)  # other batches add up in another order
    assert rs.map_scores(path).equals(rs.map_scores(western[0]))
    files[1].unlink()
    with pytest.warns(UserWarning, match=r"1 file missing .*; 1 block to compute again"):
        again = rs.resume(path, client=threads_client, progress=False)
    assert again.counts["rcf"].total() == 1
    assert rs.verify(path).is_sound
    assert rs.map_scores(path).equals(rs.map_scores(western[0]))


def test_a_second_run_is_refused_while_the_first_writes_or_waits_for_it(threads_client, tmp_path):
    path, refused, waiting = tmp_path / "busy.zarr", [], []
    calls = [
        lambda: compute(run_of(WEST), path, client=threads_client),
        lambda: rs.resume(path, client=threads_client, progress=False),
    ]
    with ThreadPoolExecutor(1) as threads:

        def disturb(event):
            if isinstance(event, RunStarted) and not waiting:
                for call in calls:
                    with pytest.raises(StoreBusyError, match="is writing to it, since"):
                        call()
                    refused.append(call)
                waiting.append(threads.submit(compute, run_of(WEST), path, client=threads_client, wait=300))

        report = compute(run_of(WEST), path, client=threads_client, options=Options(listeners=(disturb,)))
        assert refused == calls
        assert waiting[0].result().counts == {}
    assert report.lost == {}
    assert not list(MapStore.open(path).pending("rcf"))


def test_a_run_that_was_overtaken_stops_and_leaves_the_receipt_alone(threads_client, tmp_path):
    def overtaken():
        raise StoreBusyError("store", value="it", reason="another has taken over", fix="wait")

    store = store_for(run_of(WEST), tmp_path / "lost.zarr")
    with pytest.raises(StoreBusyError, match="taken over"):
        compute_store(run_of(WEST), store, client=threads_client, options=Options(guard=overtaken))
    receipt = MapStore.open(store.target).receipt
    assert not {"losses", "scores"} & set(receipt)


def test_a_run_that_lost_blocks_removes_what_killed_writes_left(threads_client, tmp_path, monkeypatch):
    path = tmp_path / "swept.zarr"

    def lost(cluster, work, job, **_):
        (path / "rcf" / f"0.12{PARTIAL}").touch()
        return {("rcf", block): (Status.MODEL_FAILED, "its worker was killed") for block in work.wanted["rcf"]}

    monkeypatch.setattr("rs_embed_dask.maps.compute.stream", lost)
    assert compute(run_of(WEST), path, client=threads_client).lost
    assert not list(path.rglob(f"*{PARTIAL}"))


@pytest.mark.parametrize("step", ["warm_up", "stream"])
def test_a_scheduler_that_dies_at_any_step_is_named(threads_client, tmp_path, monkeypatch, step):
    def broken(*_, **__):
        raise CommClosedError

    monkeypatch.setattr(f"rs_embed_dask.maps.compute.{step}", broken)
    with pytest.raises(EngineError, match=r"Dask scheduler: it is gone.*Fix: start a cluster and resume"):
        compute(run_of(WEST), tmp_path / "map.zarr", client=threads_client)


def test_a_folder_of_something_else_is_left_as_it_is(threads_client, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(StoreError, match="not empty"):
        compute(run_of(WEST), tmp_path, client=threads_client)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_where_nothing_can_be_made_is_named(threads_client, tmp_path):
    (tmp_path / "notes.txt").write_text("kept")
    for place in ("notes.txt", "notes.txt/map.zarr"):
        with pytest.raises(StoreError, match=r"notes\.txt.*choose a place"):
            compute(run_of(WEST), tmp_path / place, client=threads_client)
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_a_preview_is_drawn_last_and_anew_by_whoever_continues(threads_client, tmp_path):
    path = tmp_path / "drawn.zarr"
    ask = {"provider": "synthetic", "client": threads_client, "progress": False}
    rs.compute_map(WEST, MODELS[1], SPAN, out=path, **ask)
    first = "bandstats/preview/utm31"
    assert first in MapStore.open(path).document.metadata
    drawn = colours_of(path, first)
    assert drawn.shape == (1, 3, 192, 128)  # three by two blocks
    assert (drawn > 0).all()
    rs.compute_map(WEST, MODELS[1], SPAN, out=path, **ask)
    np.testing.assert_array_equal(colours_of(path, first), drawn)
    store_for(MapRun(Region.of(EAST), MapRequest(request_of(MODELS[1], {"provider": "synthetic"}), (SPAN,))), path)
    assert first not in MapStore.open(path).document.metadata
    rs.resume(path, client=threads_client, progress=False)
    grown = colours_of(path, first)
    assert grown.shape == (1, 3, 192, 192)
    assert (grown > 0).all()
    rs.compute_map(EAST, MODELS[1], SPAN, out=tmp_path / "plain.zarr", preview=False, **ask)
    rs.resume(tmp_path / "plain.zarr", client=threads_client, progress=False)
    assert first not in MapStore.open(tmp_path / "plain.zarr").document.metadata


def colours_of(path, pyramid):
    return xr.open_zarr(path, group=f"{pyramid}/0", consolidated=False, mask_and_scale=False).rgb.values


def test_only_blocks_with_a_status_are_resumed(threads_client, tmp_path):
    path = tmp_path / "failed.zarr"
    store = store_for(run_of(WEST), path)
    blocks = sorted(store.asked("rcf", "utm31", 0))
    key = BlockKey("rcf", "utm31", 0, *blocks[0])
    store.write_block(key, BlockResult(Status.READ_FAILED, reason="HTTP 503"))
    report = rs.resume(path, only="read_failed", client=threads_client, progress=False)
    assert {label: counts.total() for label, counts in report.counts.items()} == {"rcf": 1}
    assert store.block(key).status in {Status.OK, Status.PARTIAL}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"positions": "removed"}, "positions was 'auto' and is now 'removed'"),
        ({"overlap": 0.25}, "overlap was"),
        ({"crs": "EPSG:3035"}, "crs was 'utm' and is now 'EPSG:3035'"),
        ({"fetch": rs.FetchSpec(max_cloud_pct=1)}, "max_cloud_pct"),
    ],
)
def test_another_way_to_make_the_map_is_refused(western, threads_client, change, match):
    path, _ = western
    ask = {"overlap": 1 / 12, "dtype": "float32", "provider": "synthetic", "client": threads_client} | change
    before = MapStore.open(path).document
    with pytest.raises(StoreMismatchError, match=match):
        rs.compute_map(WEST, MODELS, SPAN, out=path, **ask)
    assert MapStore.open(path).document == before


def test_the_border_blocks_of_a_map_are_covered_by_both_regions(threads_client, tmp_path):
    path = tmp_path / "covered.zarr"
    compute(run_of(WEST), path, client=threads_client)
    field = open_map(path)["rcf"]["utm31"].coverage
    alone = float(field.sum())
    compute(run_of(EAST), path, client=threads_client)
    both = open_map(path)["rcf"]["utm31"].coverage
    area = float(both.sum()) * 20.0**2
    assert area == pytest.approx((Region.of(WEST) | Region.of(EAST)).area_m2, rel=2e-3)
    assert float(both.sel(x=field.x, y=field.y).sum()) > alone + 100


def test_the_coverage_of_every_model_follows_the_regions_of_all(threads_client, tmp_path):
    """Another model may grow the region first: the models that were there are covered by it all the same."""
    path = tmp_path / "covered.zarr"
    requests = [request_of(model, {"provider": "synthetic"}) for model in MODELS]
    one, other = (replace(run_of(WEST).wanted, request=request) for request in requests)
    for place, wanted in ((WEST, one), (EAST, other), (EAST, one)):
        compute(MapRun(Region.of(place), wanted), path, client=threads_client)
    coverage = open_map(path)["rcf"]["utm31"].coverage
    area = float(coverage.sum()) * 20.0**2
    assert area == pytest.approx((Region.of(WEST) | Region.of(EAST)).area_m2, rel=2e-3)


def test_the_status_of_a_map_says_what_became_of_its_blocks(western):
    path, report = western
    status = rs.status(path)
    assert status.counts == {label: dict(counts) for label, counts in report.counts.items()}
    assert status.is_finished
    assert status.n_blocks == sum(counts.total() for counts in report.counts.values())
    assert "kept: every token is computed from its own surroundings" in status.positions["rcf"]
    assert len(status.table) == status.n_blocks
    assert set(status.table["group"]) == {"utm31"}
    for part in ("2022-06-01 to 2022-07-01", "finished", "lattice", "from"):
        assert part in repr(status)
    assert "<table" in status._repr_html_()


def test_failed_blocks_are_listed_with_their_reasons(tmp_path):
    path = tmp_path / "failures.zarr"
    store = store_for(run_of(WEST), path)
    blocks = sorted(store.asked("rcf", "utm31", 0))
    for at, scene in zip(blocks[:3], ("S2A_20220601", "S2B_20220603", "S2B_20220611"), strict=True):
        result = BlockResult(Status.READ_FAILED, reason=f"{scene} cannot be read")
        store.write_block(BlockKey("rcf", "utm31", 0, *at), result)
    status = rs.status(path)
    (failure,) = status.failures
    assert (failure.label, failure.status, failure.count) == ("rcf", Status.READ_FAILED, 3)
    assert "S2A_20220601 cannot be read" in repr(status)
    assert status.counts["rcf"] == {Status.PENDING: len(blocks) - 3, Status.READ_FAILED: 3}
    assert not status.is_finished


# -------------------------------------------------------------------------------------------------------------- scores
def test_scores_are_kept_and_do_not_depend_on_the_cluster(western):
    path, report = western
    scores = rs.map_scores(path)
    assert list(scores.index) == ["rcf", "bandstats"]
    for label in scores.index:
        row = scores.loc[label]
        assert row.blocks == sum(n for code, n in report.counts[label].items() if code in {Status.OK, Status.PARTIAL})
        assert row.decay_1 > row.decay_64 > 0
        assert row.block_median > 0
        assert 0 <= row.lattice < 0.2
    store = MapStore.open(path)
    assert store.receipt["scores"]["rcf"]["blocks"] == scores.loc["rcf"].blocks


def test_scores_are_those_of_the_map_as_one_array(western):
    path, _ = western
    run = run_of(WEST)
    store = MapStore.open(path)
    lattice = run.lattice(store.groups("rcf")[0], run.models["rcf"])
    tree = open_map(path)["rcf"]["utm31"]
    blocks = sorted(store.asked("rcf", "utm31", 0))
    bottom, right = (max(at) + 1 for at in zip(*blocks, strict=True))
    rect = Rect(blocks[0][0] * 64, min(col for _, col in blocks) * 64, bottom * 64, right * 64)
    grid = lattice.grid(rect)
    whole = tree.embedding.sel(x=grid.xs, y=grid.ys).values[0]
    expected = ScoreSums.of(run.models["rcf"].tiling, rect, whole)
    sums = book_of(store, "rcf").sums
    np.testing.assert_array_equal(sums.gaps, expected.gaps)
    np.testing.assert_array_equal(sums.decay[0], expected.decay[0])
    assert sums.places.explained == pytest.approx(expected.places.explained, rel=1e-6)


def test_a_top_up_adds_to_the_scores(threads_client, tmp_path, western):
    path = tmp_path / "scored.zarr"
    compute(run_of(WEST), path, client=threads_client)
    first = rs.map_scores(path).loc["rcf"]
    report = compute(run_of(EAST), path, client=threads_client)
    second = rs.map_scores(path).loc["rcf"]
    assert second.blocks == first.blocks + sum(report.counts["rcf"].values())


# ----------------------------------------------------------------------------------------------------------- positions
def test_two_regions_with_one_table_agree(windowed, threads_client, tmp_path):
    """One takes the table from another map; the run of the other is killed before any work, and resumed."""
    path, wanted, place, _ = windowed
    store = MapStore.open(path)
    (label,) = store.labels
    table = store.table(label)
    near = rs.BBox(place.minlon + 0.004, place.minlat, place.maxlon + 0.01, 50.913)
    outs = [tmp_path / "0.zarr", tmp_path / "1.zarr"]
    compute(MapRun(Region.of(place), replace(wanted, positions=str(path))), outs[0], client=threads_client)
    store_for(MapRun(Region.of(near), replace(wanted, positions=table)), outs[1])
    rs.resume(outs[1], client=threads_client, progress=False)
    fields = []
    for out, origin in zip(outs, (f"the table of {path}", "the table passed"), strict=True):
        fields.append(open_map(out)[label]["utm31"].embedding[0])
        facts = MapStore.open(out).receipt["positions"][label]
        assert facts["removed"]
        assert f"({origin}, from {table.windows} windows)" in facts["statement"]
        assert facts["table"]["digest"] == table.digest
    one, other = xr.align(*fields, join="inner")
    assert one.size > 128 * 64 * 64 / 2
    np.testing.assert_allclose(one.values, other.values, rtol=1e-6, atol=1e-6)
    different = MapRun(Region.of(place), replace(wanted, positions=replace(table, mean=-table.mean)))
    with pytest.raises(StoreMismatchError, match="another table"):
        compute(different, out, client=threads_client)


def test_a_prefix_of_vectors_is_kept_where_the_model_was_trained_for_it(threads_client, tmp_path, western):
    ask = {"provider": "synthetic", "client": threads_client, "dtype": "float32", "progress": False}
    with pytest.raises(PlanError, match="not trained for that"):
        rs.compute_map(WEST, MODELS[1], SPAN, out=tmp_path / "cut.zarr", dims=9, **ask)
    own = models.card("bandstats")
    kept = tuple(replace(one, prefix_dims=(9,)) for one in own.variants)
    card = replace(own, id="prefix_bandstats", aliases=(), variants=kept)
    rs.register_model(card, models.factory("bandstats"))
    with pytest.raises(PlanError, match="first 9 numbers"):
        rs.plan_map(WEST, {**MODELS[1], "id": card.id}, SPAN, provider="synthetic", dims=8)
    tree = rs.compute_map(WEST, {**MODELS[1], "id": card.id}, SPAN, out=tmp_path / "cut.zarr", dims=9, **ask)
    whole = open_map(western[0])["bandstats"]["utm31"].embedding.values
    np.testing.assert_allclose(tree[card.id]["utm31"].embedding.values, whole[:, :9], rtol=1e-6, atol=1e-6)
