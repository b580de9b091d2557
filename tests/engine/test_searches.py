"""A run of dense places asks the catalogue once for all of them, whatever the number of its processes."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask.engine.areas import FEWEST_PLACES, RunAreas
from rs_embed_dask.engine.reading import RunBoard, searching
from rs_embed_dask.engine.report import ChunkDone, SearchesMade
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.providers.vicinity import SearchMade
from rs_embed_dask.specs import FetchSpec
from rs_embed_dask.store import MapStore, Store
from tests.services.fixtures import new_process, plain
from tests.services.scenes import s2_scene
from tests.store.map_samples import make_map
from tests.store.samples import make_store

__all__ = ["new_process", "plain"]

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
CORNER = (4.37, 51.12)
"""South-west of a square of 100 km, which lies across two lines of whole degrees."""


def square(count, corner=CORNER, side_deg=0.9):
    """Longitude and latitude of places in a square, in no order."""
    stretch = np.array([1 / np.cos(np.radians(corner[1])), 1.0])
    return np.random.default_rng(5).random((count, 2)) * side_deg * stretch + corner


def spans(count, days=30):
    return np.tile(np.array([dt.date(2022, 6, 1), dt.date(2022, 6, 1) + dt.timedelta(days)], "M8[D]"), (count, 1))


def areas(centres, days=None):
    count = len(centres)
    return RunAreas.of(np.arange(count), centres, spans(count) if days is None else days)


def places_of(centres):
    return [rs.PointBuffer(float(lon), float(lat), 60) for lon, lat in centres]


def scenes():
    return [s2_scene(f"S{day}", f"2022-06-{day:02}T10:00:00", tile=f"31UFS{day}") for day in range(1, 8)]


def found(provider, places, area_of):
    """How many scenes there are at places."""
    counts = []
    for place, area in zip(places, area_of, strict=True):
        with searching(area):
            counts.append(len(provider.search("sentinel-2-l2a", grid_for(place, 10), Span.of(JUNE), fetch=FetchSpec())))
    return counts


def test_a_thousand_places_of_a_square_are_one_search_for_two_processes(plain):
    service, centres = plain(*scenes(), page_size=3), square(1000)
    centres[::100] = 4.4424, 51.4401  # where the scenes are
    own, provider = areas(centres), StacProvider(service.url, source="planetary_computer")
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "processes": True}
    with LocalCluster(n_workers=2, threads_per_worker=2, **where) as cluster, Client(cluster) as client:
        workers, made = list(client.nthreads()), []
        with RunBoard(own.name).hearing(client, made.extend):
            futures = []
            for number, rows in enumerate(np.array_split(np.arange(1000), 8)):
                given = places_of(centres[rows]), [own.at(row) for row in rows]
                futures.append(client.submit(found, provider, *given, workers=workers[number % 2]))
            counts = client.gather(futures)
            assert client.list_datasets()  # what the processes share
        assert not client.list_datasets()
    assert service.counts()["search"] == 3  # pages of the seven items
    (search,) = made
    assert (search.items, search.pages, search.collections) == (7, 3, ("sentinel-2-l2a",))
    listed = [n for each in counts for n in each]
    assert listed[::100] == [7] * 10
    assert set(listed) <= {0, 7}


def test_the_receipt_names_the_searches_of_a_run(plain, threads_client, tmp_path):
    service, out = plain(*scenes()), tmp_path / "run.zarr"
    provider = StacProvider(service.url, source="planetary_computer")
    asked = {"provider": provider, "out": out, "client": threads_client, "progress": False, "chunk_items": 5}
    rs.compute_embeddings(places_of(square(12)), ["bandstats"], JUNE, **asked)
    assert service.counts()["search"] == 1
    kept = Store.open(out).receipt["searches"]
    (named,) = kept.pop("named")
    assert kept == {"searches": 1, "pages": 1, "items": 7}
    assert named["api"] == service.url
    assert (named["start"], named["end"]) == ("2022-06-01", "2022-07-01")
    ((west, south, east, north),) = named["boxes"]
    assert west < square(12)[:, 0].min() < square(12)[:, 0].max() < east
    assert south < square(12)[:, 1].min() < square(12)[:, 1].max() < north
    assert not threads_client.list_datasets()


def test_a_run_that_is_stopped_leaves_its_searches_in_the_receipt(plain, threads_client, tmp_path):
    service, out = plain(*scenes()), tmp_path / "run.zarr"
    asked = {"provider": StacProvider(service.url, source="planetary_computer"), "out": out, "client": threads_client}

    def stop(event):
        if isinstance(event, ChunkDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rs.compute_embeddings(places_of(square(4)), ["bandstats"], JUNE, progress=stop, chunk_items=1, **asked)
    assert Store.open(out).receipt["searches"]["searches"] == service.counts()["search"] == 1


def test_a_place_whose_imagery_reaches_beyond_its_area_is_searched_for_alone(plain, threads_client):
    service, centres = plain(*scenes()), square(FEWEST_PLACES, side_deg=0.01)
    own, provider = areas(centres), StacProvider(service.url, source="planetary_computer")
    wide = rs.PointBuffer(*map(float, centres[0]), 20_000)
    given, made = ([wide, *places_of(centres[1:])], [own.at(row) for row in range(FEWEST_PLACES)]), []
    with RunBoard(own.name).hearing(threads_client, made.extend):
        threads_client.submit(found, provider, *given).result()
    assert len(made) == 2
    assert made[0].boxes != made[1].boxes == own.boxes


SQUARES = ((12.4, 48.6), (20.0, 49.1), (5.0, 48.2))


@pytest.mark.parametrize(
    ("centres", "count"),
    [
        (square(1000), 1),
        (np.concatenate([square(1000, corner) for corner in SQUARES]), 3),
        (square(9000, side_deg=2.7), 9),
        (square(1000, (-0.5, -0.5)), 1),
        (square(FEWEST_PLACES - 1), 0),
        (square(20, (-10.0, 36.0), 30.0), 0),
        (square(1000, (-180.0, 10.0)), 0),
        (square(1000, (10.0, 84.0)), 0),
    ],
    ids=["a square", "three of them", "a region", "at the origin", "few", "sparse", "antimeridian", "pole"],
)
def test_areas_of_places(centres, count):
    own = areas(centres)
    assert len(own.boxes) == count
    for row in range(0, len(centres), 97):
        area = own.at(row)
        assert (area.box is not None) == bool(count)
        if area.box is not None:
            west, south, east, north = area.box
            assert west < centres[row, 0] < east
            assert south < centres[row, 1] < north
            assert north - south <= 1.4


def test_each_span_has_its_own_areas_where_it_has_enough_places():
    centres = square(10)
    days = np.concatenate([spans(6), spans(4, days=60)])
    own = areas(centres, days)
    assert len(own.boxes) == 2
    assert own.at(0) != own.at(9)
    days[9] = spans(1, days=90)
    assert [areas(centres, days).at(row).box for row in range(6, 10)] == [None] * 4


def test_only_the_first_hundred_searches_are_named():
    made = SearchesMade()
    for day in range(150):
        made.add([SearchMade("https://example.org", ("c",), ((0.0, 0.0, 1.0, 1.0),), str(day), "end", 2, 1)])
    kept = made.after(SearchesMade().after({}))
    assert {name: kept[name] for name in ("searches", "pages", "items")} == {
        "searches": 150,
        "pages": 150,
        "items": 300,
    }
    assert [one["start"] for one in kept["named"]] == [str(day) for day in range(100)]
    assert made.after(kept)["searches"] == 300
    assert len(made.after(kept)["named"]) == 100


@pytest.mark.parametrize(
    ("kind", "sample", "at_once"), [(Store, make_store, 3), (MapStore, make_map, 1)], ids=["places", "map"]
)
def test_what_runs_of_a_store_have_asked_is_added_up_whoever_ends_first(kind, sample, at_once, tmp_path):
    sample(tmp_path / "store.zarr")
    runs = [kind.open(tmp_path / "store.zarr", mode="r+") for _ in range(3)]  # all know a receipt without searches

    def end(day):
        made = SearchesMade()
        made.add([SearchMade("https://example.org", ("c",), ((0.0, 0.0, 1.0, 1.0),), str(day), "end", 2, 1)])
        runs[day].update_receipt(searches=made.after)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(end, range(3)))
    kept = kind.open(tmp_path / "store.zarr").receipt["searches"]
    assert sorted(one["start"] for one in kept.pop("named")) == ["0", "1", "2"]
    assert kept == {"searches": 3, "pages": 3, "items": 6}
