"""Maps from a region to a store: every owned token once, continued without work, grown without moving anything."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.errors import PlanError, StoreMismatchError
from rs_embed_dask.maps.compute import MapRequest, MapRun, compute
from rs_embed_dask.maps.region import Region
from rs_embed_dask.store import Status
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
    assert {label: counts.total() for label, counts in report.counts.items()} == dict.fromkeys(
        ("rcf", "bandstats"), len(blocks)
    )
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


def test_a_product_has_no_windows_to_map(threads_client, tmp_path):
    with pytest.raises(PlanError, match="product"):
        rs.compute_map(WEST, "gse", SPAN, out=tmp_path / "map.zarr", provider="synthetic", client=threads_client)
    assert not (tmp_path / "map.zarr").exists()
