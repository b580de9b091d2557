"""A map asks the catalogue once for each area, whatever the number of its blocks, models, zones and processes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask.engine.report import ChunkDone
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.maps.areas import in_areas
from rs_embed_dask.maps.compute import compute, made_map
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.providers.vicinity import Vicinity
from rs_embed_dask.store import MapStore, Status
from tests.services.fixtures import forget_answers, new_process, plain
from tests.services.scenes import s2_scene

__all__ = ["new_process", "plain"]

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
SMALL = {"bands": ("red",), "patch_px": 2}
MODELS = [
    rs.ModelSpec("bandstats", name=f"of_{side}_m", options=SMALL, fetch=rs.FetchSpec(resolution_m=side))
    for side in (10, 20)
]
"""Two models whose blocks are of 1.28 and 2.56 km, so that they share no reads."""
SCENES = shapely.box(5.8817, 51.4104, 5.8847, 51.4121)
ACROSS, SOUTH = (5.4, 51.1), (5.4, 46.0)
"""South-west of two squares of 100 km, which lie across the line between two zones; the scenes are in the first."""


def squares(west, south, count=5):
    """Little squares in one of 100 km; none of them is near another."""
    stretch = 0.9 / np.cos(np.radians(south))
    at = np.random.default_rng(5).random((count, 2)) * (stretch, 0.9) + (west, south)
    return [shapely.box(x, y, x + 0.003, y + 0.002) for x, y in at]


def run_of(service, shapes, models=MODELS, **options):
    provider = rs.open_provider("stac", url=service.url, source="planetary_computer")
    wanted = MapRequest(request_of(models, {"provider": provider, **options}), (JUNE,))
    return MapRun(Region.of(shapely.MultiPolygon(shapes)), wanted)


def running(dask_worker):
    return len(dask_worker.state.all_running_tasks)


def scenes():
    days = range(1, 8)
    where = {"bands": ("B04",), "corner": (700_000.0, 5_700_000.0)}
    return [s2_scene(f"S{day}", f"2022-06-{day:02}T10:00:00", tile=f"31UGS{day}", **where) for day in days]


@pytest.fixture(scope="module")
def processes():
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "processes": True}
    with LocalCluster(n_workers=2, threads_per_worker=2, **where) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize(
    ("corners", "asked"),
    [
        ([ACROSS], [(7, 3)]),
        ([ACROSS, SOUTH], [(0, 1), (7, 3)]),
    ],
    ids=["one square", "two squares"],
)
def test_one_search_for_each_area_by_two_processes(plain, processes, tmp_path, corners, asked):
    service, out = plain(*scenes(), page_size=3), tmp_path / "map.zarr"
    run = run_of(service, [SCENES, *(one for corner in corners for one in squares(*corner))])
    assert len({lattice.group for lattice in run.region.lattices(20, 64)}) == 2
    report = compute(run, out, client=processes)
    assert report.lost == {}
    for counts in report.counts.values():
        assert counts.total() >= 6 * len(corners)
        assert set(counts) == {Status.PARTIAL, Status.NO_DATA}
    assert service.counts()["search"] == sum(pages for _, pages in asked)
    kept = MapStore.open(out).receipt["searches"]
    assert sorted((one["items"], one["pages"]) for one in kept["named"]) == asked
    assert kept["searches"] == len(asked)
    assert (kept["items"], kept["pages"]) == tuple(map(sum, zip(*asked, strict=True)))
    for one in kept["named"]:
        assert (one["api"], one["collections"]) == (service.url, ["sentinel-2-l2a"])
        assert (one["start"], one["end"]) == ("2022-06-01", "2022-07-01")
    assert not processes.list_datasets()


def test_a_map_that_is_continued_adds_to_the_searches_of_its_receipt(plain, threads_client, tmp_path):
    service, out = plain(*scenes()), tmp_path / "map.zarr"
    run = run_of(service, [SCENES, *squares(4.4, 51.1, 3)], MODELS[:1], frames="available")

    def stop(event):
        if isinstance(event, ChunkDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(run, out, client=threads_client, options=Options(listeners=[stop]))
    # One for the acquisitions, which are kept, and one for the area.
    assert MapStore.open(out).receipt["searches"]["searches"] == 2
    while any(threads_client.run(running).values()):  # tasks that had begun
        pass
    forget_answers()  # as another process, or a later day
    compute(run, out, client=threads_client)
    kept = MapStore.open(out).receipt["searches"]
    assert service.counts()["search"] == kept["searches"] == len(kept["named"]) == 3


def areas_of(tmp_path, shape, models):
    """The boxes of the areas of a map, and whether each tile lies in its own, by model."""
    run = run_of(Nothing(), [shape], models)
    with made_map(run, tmp_path / "map.zarr", wait=0) as (store, _):
        areas, works = in_areas([(models, list(run.pending(store, models))) for models in run.passes])
    inside = {}
    for (work, _), *_ in (listed for _, listed in works):
        for tile in work.order:
            area = work.read_area(tile)
            boxes = work.lattice.grid(area.rect).lonlat_boxes
            inside[work.models[0].label] = area.search.box is not None and Vicinity(area.search.box).holds(*boxes)
    return areas.boxes, inside


class Nothing:
    """A service that nobody asks."""

    url = "http://127.0.0.1:9/api"


def coarse(side):
    """A model whose blocks are 1024 pixels wide."""
    options = {"bands": ("red",), "patch_px": 16}
    return rs.ModelSpec("bandstats", name=f"of_{side}_m", options=options, fetch=rs.FetchSpec(resolution_m=side))


def test_a_model_with_large_blocks_does_not_widen_the_search_of_others(tmp_path):
    boxes, inside = areas_of(tmp_path, SCENES, [MODELS[0], coarse(500)])
    assert inside == {"of_10_m": True, "of_500_m": True}
    small, large = sorted(boxes, key=lambda box: box[2] - box[0])
    assert max(small[2] - small[0], small[3] - small[1]) < 0.5
    assert large[3] - large[1] > 4.6  # a block is 512 km


def test_blocks_from_which_a_search_would_reach_over_the_antimeridian_are_searched_for_alone(tmp_path):
    boxes, inside = areas_of(tmp_path, shapely.box(165.88, 79.41, 165.9, 79.43), [MODELS[0], coarse(500)])
    assert inside == {"of_10_m": True, "of_500_m": False}
    assert [box[2] < 180 for box in boxes] == [True]
