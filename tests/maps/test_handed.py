"""Source tiles cross the borders of a map's blocks, and yet each byte of a file is fetched once for all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.maps.compute import compute
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.maps.stream import MapCluster
from rs_embed_dask.providers.geotiff import HEAD_BYTES
from rs_embed_dask.providers.handed import Before, Extent, HandedBytes, HandedTile
from rs_embed_dask.providers.kept import Piece
from rs_embed_dask.store import Status
from rs_embed_dask.store.map_reader import open_map
from tests.services import catalog
from tests.services.fixtures import forget_answers, forget_heads
from tests.services.landscape_catalog import Landscape
from tests.services.loopback import Fault
from tests.services.service import Service

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-06-11")
SMALL = {"bands": ("red",), "patch_px": 2}
MODEL = {"id": "bandstats", "options": SMALL}


@dataclass(frozen=True)
class Two(Landscape):
    """A landscape in one band of 10 m and the mask of 20 m."""

    def _layers(self, scene, grid, names):
        return super()._layers(scene, grid, ("B04",) if "B04" in names else ("SCL",))


@pytest.fixture(scope="module")
def ground():
    """One scene in files of 256 x 256 and 128 x 128 pixels."""
    return Two(side=4, place_m=640.0, span=SPAN, cloud=0.0)


@pytest.fixture(scope="module")
def catalogue(ground, tmp_path_factory):
    """Its files, in tiles of 1.28 and 2.56 km; the blocks of the map are of 1.28 km and lie elsewhere."""
    folder = tmp_path_factory.mktemp("handed") / "catalogue"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "BLOCK_PX", 128)
        assert ground.write(folder) == 1
    return folder


@pytest.fixture
def fresh():
    forget_heads()
    forget_answers()


def run_of(ground, service, place=None, model=MODEL, **options):
    provider = rs.open_provider("stac", url=service.url, source="planetary_computer")
    request = request_of(model, {"provider": provider})
    wanted = MapRequest(request, (SPAN,), dtype="float32", **options)
    return MapRun(Region.of(ground.whole if place is None else place), wanted)


def heads(service):
    """How often the head of each file was read."""
    own = f"bytes=0-{HEAD_BYTES - 1}"
    return Counter(call.path for call in service.calls() if call.kind == "range" and call.byte_range == own)


def ranges(service):
    """First and last byte of each request for a part of a file, heads apart; by file."""
    by_file = defaultdict(list)
    for call in service.calls():
        if call.kind == "range":
            first, last = map(int, call.byte_range.removeprefix("bytes=").split("-"))
            if (first, last) != (0, HEAD_BYTES - 1):
                by_file[call.path].append((first, last))
    return by_file


def fetched_twice(service):
    """How many bytes came more than once, and how many came at all."""
    twice = total = 0
    for parts in ranges(service).values():
        covered = np.zeros(max(last for _, last in parts) + 1, int)
        for first, last in parts:
            covered[first : last + 1] += 1
        twice, total = twice + int((covered - 1).clip(0).sum()), total + int(covered.sum())
    return twice, total


def test_each_byte_is_fetched_once_whatever_the_blocks(ground, catalogue, threads_client, tmp_path, fresh):
    with Service(catalogue, hrefs="local") as service:
        report = compute(run_of(ground, service), tmp_path / "map.zarr", client=threads_client)
        twice, total = fetched_twice(service)
        read = heads(service)
    assert report.lost == {}
    assert set(report.counts["bandstats"]) <= {Status.OK, Status.PARTIAL}
    assert report.counts["bandstats"].total() == 6
    assert total > 50_000
    assert twice == 0
    assert set(read.values()) == {1}  # by all threads of this process together


def test_without_handing_on_bytes_come_again_and_the_map_is_the_same(
    ground, catalogue, threads_client, tmp_path, fresh, monkeypatch
):
    with Service(catalogue, hrefs="local") as service:
        compute(run_of(ground, service), tmp_path / "handed.zarr", client=threads_client)
        service.forget_calls()
        monkeypatch.setattr(MapCluster, "most_handed", lambda *_: 0)
        compute(run_of(ground, service), tmp_path / "alone.zarr", client=threads_client)
        twice, total = fetched_twice(service)
    assert twice > 0.3 * total
    one, other = (open_map(tmp_path / f"{name}.zarr")["bandstats"]["utm31"] for name in ("handed", "alone"))
    assert np.isfinite(one.embedding.values).mean() > 0.5
    np.testing.assert_array_equal(one.embedding.values, other.embedding.values)
    np.testing.assert_array_equal(one.n_obs.values, other.n_obs.values)


def test_bytes_of_the_first_pass_are_used_again(threads_client, tmp_path, fresh, monkeypatch):
    monkeypatch.setattr(catalog, "BLOCK_PX", 128)
    ground = Landscape(side=4, place_m=640.0, span=SPAN, cloud=0.0)
    ground.write(tmp_path / "catalogue")
    left, _, _, top = ground.extent
    place = rs.BBox(left + 1200, top - 1300, left + 1300, top - 1200, crs=ground.crs)
    galileo = rs.ModelSpec("galileo", variant="nano", weights="random", options={"patch_px": 4, "max_px": 32})
    with Service(tmp_path / "catalogue", hrefs="local") as service:
        run = run_of(ground, service, place, galileo, overlap=0.0, positions="removed")
        report = compute(run, tmp_path / "map.zarr", client=threads_client)
        twice, total = fetched_twice(service)
    assert report.lost == {}
    assert total > 50_000
    assert twice == 0


def test_what_cannot_be_fetched_first_fails_in_its_own_block(ground, catalogue, threads_client, tmp_path, fresh):
    def broken(call):
        return Fault(status=404) if call.kind == "range" and "B04" in call.path else None

    with Service(catalogue, hrefs="local", rule=broken) as service:
        provider = rs.open_provider("stac", url=service.url, source="planetary_computer", absent="error")
        request = request_of(MODEL, {"provider": provider})
        run = MapRun(Region.of(ground.whole), MapRequest(request, (SPAN,)))
        compute(run, tmp_path / "map.zarr", client=threads_client)
        status = rs.status(tmp_path / "map.zarr")
    assert set(status.counts["bandstats"]) == {Status.READ_FAILED}
    assert all("B04" in failure.reason and "404" in failure.reason for failure in status.failures)


# ---------------------------------------------------------------------------------------------------- rules of handing
def tile(start, extent, size=10):
    return HandedTile(("file", 1000), Piece(start, bytes(size), 1000), Extent(*extent))


def test_what_begins_before_is_fetched_before_where_there_is_a_read():
    inside, from_left, from_above = Extent(0, 3, 9, 9), Extent(2, -1, 5, 4), Extent(-3, 0, 4, 4)
    assert [Before(left=True).has(one) for one in (inside, from_left, from_above)] == [False, True, False]
    assert [Before(above=True).has(one) for one in (inside, from_left, from_above)] == [False, False, True]
    assert not any(Before().has(one) for one in (inside, from_left, from_above))


def test_what_crosses_a_side_is_handed_on_and_passed_on():
    here = Extent(10, 10, 20, 20)
    inside, right, below, corner = (
        tile(0, (11, 11, 14, 14)),
        tile(10, (11, 15, 14, 25)),
        tile(20, (15, 11, 25, 14)),
        tile(30, (15, 15, 45, 45)),
    )
    past = tile(40, (0, 15, 10, 25))
    handed = HandedBytes((inside, right, below, corner, past))
    assert handed.to_the_right(here).tiles == (right, corner)
    assert handed.below(here).tiles == (below, corner)
    assert handed.to_the_right(here, most_bytes=15).tiles == (right,)
    next_one = HandedBytes.joined([handed.to_the_right(here), handed.below(here)])
    assert next_one.tiles == (right, corner, below)
    assert next_one.to_the_right(Extent(10, 20, 20, 30)).tiles == (corner,)
    assert replace(handed, seconds=2.0).to_the_right(here).seconds == 0
    moved = HandedBytes((inside,)).moved(5, -1).tiles[0]
    assert moved.extent == Extent(16, 10, 19, 13)
