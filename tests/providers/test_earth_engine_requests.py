"""How much is asked: one request per place where it fits, few windows where not, and small graphs (R4, R5, R22)."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from dask.base import tokenize

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.preprocess.steps import names
from rs_embed_dask.providers import load, load_all, open_provider
from rs_embed_dask.providers.earth_engine.orders import LIMIT_BYTES, Look, Order, OrderLayer, cut
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.earth_engine.read import plan_orders
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from tests.providers.earth_truth import DAYS, JUNE, band, nanmedian, read, same, spot
from tests.services.earth import world

ALL = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22")
YEAR = Frames("fixed", n=12).spans(TemporalSpec.year(2022))
SMALL_LIMIT = 16 * 16 * 1024 * 5


def layers(count, bands=12):
    look = Look(tuple(f"b{n}" for n in range(bands)), None, None, "median", plain=False)
    return [OrderLayer(look, 738_000 + n, 738_001 + n) for n in range(count)]


@pytest.fixture
def scenes(earth):
    made = [world.s2("brussels", day, holes=11) for day in DAYS]
    earth.serve(*made)
    return made


def test_r05_a_process_asks_three_things_to_begin_with_and_one_a_place(earth, scenes, new_session):
    for n in range(5):
        load(earth.provider(), read(spot(offset=(900.0 + 300 * n, 900.0)), ALL, frames=(JUNE,)))
    assert earth.report()["counts"] == {"discovery": 2, "algorithms": 1, "pixels": 5}


def test_r05_building_a_graph_asks_nothing(earth, scenes, new_session):
    provider = earth.provider()
    lazy = [provider.cube(read(spot(offset=(900.0 + 10 * n, 900.0)), ALL, frames=YEAR)) for n in range(50)]
    assert all(one.pixels.shape == (12, 12, 24, 20) for one in lazy)
    provider.estimate(read(spot(), ALL))
    assert earth.report()["counts"] == {}


def test_r05_all_frames_and_bands_travel_together(earth, scenes):
    frames = Frames("fixed", n=5).spans(TemporalSpec.range("2022-06-01", "2022-06-26"))
    cube = load(earth.provider(), read(spot(), ALL, frames=frames))
    assert cube.values.shape == (5, 12, 24, 20)
    report = earth.report()
    assert report["counts"]["pixels"] == 1
    # 5 frames of 12 bands, a count and the days: float32, and a short head
    assert 0 < report["sent"]["pixels"] - 5 * 14 * 24 * 20 * 4 < 4096


def test_r05_several_models_frames_of_one_place_travel_together(earth, scenes):
    """Reads that differ in frames, bands, cloud limit and mask: one request, and each gets what it alone would get."""
    provider = earth.provider()
    halves = Frames("fixed", n=2).spans(TemporalSpec.range("2022-06-01", "2022-07-01"))
    reads = [
        read(spot(), ("red", "nir")),
        read(spot(), ("red", "nir"), frames=halves),
        read(spot(), ("swir16",), FetchSpec(mask="scl", max_cloud_pct=50, composite="mosaic")),
        read(spot(), ("red", "nir")),
    ]
    together = load_all(provider, reads)
    assert earth.counts("pixels") == 1
    for cube, one in zip(together, reads, strict=True):
        alone = load(provider, one)
        np.testing.assert_array_equal(cube.values, alone.values)
        np.testing.assert_array_equal(cube.n_obs, alone.n_obs)
        assert cube.dates == alone.dates


@pytest.mark.parametrize(
    ("shape", "frames", "bands", "runs", "blocks"),
    [
        ((224, 224), 1, 12, 1, (1, 1)),
        ((224, 224), 12, 12, 1, (1, 1)),
        ((224, 224), 15, 12, 2, (1, 1)),
        ((847, 847), 1, 12, 1, (1, 1)),  # 847 x 847 x 14 x 5 = 50,218,630 of 50,331,648 bytes
        ((848, 848), 1, 12, 1, (2, 1)),
        ((400, 2000), 1, 12, 1, (1, 2)),
        ((1700, 1700), 3, 12, 3, (4, 2)),
        ((4, 40_000), 1, 1, 1, (1, 2)),
        ((8, 8), 100, 12, 2, (1, 1)),  # 1400 bands are more than 1024
        ((390, 390), 1, 64, 1, (1, 1)),
    ],
)
def test_r04_windows_are_cut_by_arithmetic_frames_first_then_halves(shape, frames, bands, runs, blocks):
    listed = layers(frames, bands)
    made = cut(shape, listed)
    assert (len(made.runs), (len(made.rows), len(made.cols))) == (runs, blocks)
    assert (sum(made.rows), sum(made.cols)) == shape
    assert [n for first, after in made.runs for n in range(first, after)] == list(range(frames))
    deepest = max(sum(layer.look.depth for layer in listed[a:b]) for a, b in made.runs)
    assert max(made.rows) * max(made.cols) * deepest * 5 <= LIMIT_BYTES
    assert deepest <= 1024
    assert max(*made.rows, *made.cols) <= 32_768


def test_r04_seams_are_those_of_one_big_read(earth, scenes):
    frames = Frames("fixed", n=3).spans(TemporalSpec.range("2022-06-01", "2022-07-01"))
    wanted = read(spot(size=(190, 260)), ("red", "nir", "swir16"), FetchSpec(mask="scl"), frames=frames)
    whole = load(earth.provider(), wanted)
    assert earth.counts("pixels") == 1
    earth.forget()
    provider = earth.provider(limit_bytes=SMALL_LIMIT)
    assert provider.estimate(wanted).requests == 3
    parts = load(provider, wanted)
    assert earth.counts("pixels") == 3
    earth.forget()
    larger = replace(wanted, grid=spot(size=(390, 520)))
    pieces = load(provider, larger)
    assert earth.counts("pixels") == provider.estimate(larger).requests == 12
    for cube in (parts, pieces):
        np.testing.assert_array_equal(cube.values[..., :190, :260], whole.values)
        np.testing.assert_array_equal(cube.n_obs[..., :190, :260], whole.n_obs)
        assert cube.dates == whole.dates
    asked = [body["grid"]["dimensions"] for body in earth.bodies()]
    assert {(each["height"], each["width"]) for each in asked} == {(195, 260)}


def test_r04_at_the_limit_and_one_row_beyond(earth, scenes):
    """The service counts a byte of mask for every value; what it counts is what we count."""
    earth.set(limit_bytes=SMALL_LIMIT)
    provider = earth.provider(limit_bytes=SMALL_LIMIT)
    depth, width = 4, 256
    rows = SMALL_LIMIT // 5 // depth // width
    for height, requests in ((rows, 1), (rows + 1, 2)):
        earth.forget()
        load(provider, read(spot(size=(height, width)), ("red", "nir")))
        assert earth.counts("pixels") == requests
        assert earth.report()["statuses"] == {"200": requests}


@pytest.mark.parametrize("frames", [(JUNE,), YEAR])
def test_tasks_carry_less_than_a_kilobyte_and_nothing_of_the_client(frames):
    provider = EarthEngine(project="my-project", endpoint="high_volume", radar="db", passes="each")
    lazy = provider.cube(read(spot(size=(224, 224)), ALL, FetchSpec(mask="scl", max_cloud_pct=30), frames=frames))
    graph = dict(lazy.pixels.data.__dask_graph__())
    orders = [part for task in graph.values() for part in getattr(task, "args", task) if isinstance(part, Order)]
    assert len(orders) == 1
    assert len(pickle.dumps(orders[0])) < 1000
    assert b"ee." not in pickle.dumps(orders[0])
    assert len(pickle.dumps(provider)) < 300
    assert pickle.loads(pickle.dumps(provider)) == provider


def test_r22_the_same_read_has_the_same_keys_and_another_has_others():
    provider = EarthEngine(project="one")
    one = read(spot(), ("red", "nir"))

    def keys(provider, wanted):
        return set(provider.cube(wanted).pixels.data.__dask_graph__())

    again = read(spot(), ("B4", "B8"))
    assert keys(provider, one) == keys(EarthEngine(project="one"), again)
    others = [
        read(spot(offset=(10.0, 0.0)), ("red", "nir")),
        read(spot(), ("nir", "red")),
        read(spot(), ("red", "nir"), FetchSpec(mask="scl")),
        read(spot(), ("red", "nir"), FetchSpec(mask="none", composite="mosaic")),
        read(spot(), ("red", "nir"), FetchSpec(mask="none", max_cloud_pct=10)),
        read(spot(), ("red", "nir"), frames=YEAR),
    ]
    found = [keys(provider, other) for other in [one, *others]] + [keys(replace(provider, passes="each"), one)]
    for n, first in enumerate(found):
        assert all(not first & second for second in found[n + 1 :])
    order = Order.of(provider.settings, one, plan_orders(provider.settings, (one,))[1])
    assert tokenize(order) == tokenize(replace(order, settings=replace(provider, at_once=3).settings))


def test_an_estimate_asks_nobody_and_counts_the_requests(earth):
    estimate = earth.provider().estimate(read(spot(size=(224, 224)), ALL, frames=YEAR))
    assert (estimate.requests, estimate.bytes) == (1, 12 * 14 * 224 * 224 * 4)
    assert earth.report()["counts"] == {}


def test_a_search_lists_the_scenes_in_one_request(earth, scenes):
    found = earth.provider().search("s2", spot(), JUNE, fetch=FetchSpec(max_cloud_pct=50))
    assert [scene.datetime.isoformat()[:19] for scene in found] == list(DAYS)
    assert {scene.cloud_pct for scene in found} == {10.0}
    assert earth.counts("value") == 1
    nowhere = Grid("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), (8, 8))
    assert earth.provider().search("s2", nowhere, JUNE, fetch=FetchSpec()) == ()
    earth.serve(world.s1("brussels", "2022-06-03T05:50:00"))
    assert len(earth.provider().search("sentinel-1-grd", spot(), JUNE, fetch=FetchSpec())) == 1


def test_it_is_opened_by_its_names_and_made_again_from_its_description(earth):
    assert open_provider("gee", project="p") == open_provider("earth_engine", project="p") == EarthEngine("p")
    made = earth.provider(orbit="ascending", at_once=7, limit_bytes=SMALL_LIMIT)
    assert open_provider(made.describe()) == made
    assert EarthEngine().describe() == {"name": "earth_engine"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint": "somewhere"}, "high_volume"),
        ({"credentials": "secret"}, "user"),
        ({"credentials": object()}, "never travel"),
        ({"credentials": "service_account"}, "key_file"),
        ({"key_file": "key.json"}, "service_account"),
        ({"at_once": 0}, "at_once"),
        ({"radar": "amplitude"}, "linear"),
        ({"orbit": "polar"}, "ascending"),
        ({"limit_bytes": 2**30}, "limit_bytes"),
        ({"project": " "}, "project"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, said):
    with pytest.raises((SpecError, UnknownNameError), match=said):
        EarthEngine(**options)


def test_halves_are_joined_where_they_were_cut(earth, scenes):
    """Numbers of one read by hand: the four quarters of a grid put together."""
    provider = earth.provider()
    wanted = read(spot(size=(40, 64)), ("red",))
    order = Order.of(provider.settings, wanted, plan_orders(provider.settings, (wanted,))[1])
    axis, (left, right) = order.halves()
    assert (axis, left.grid.shape, right.grid.shape) == (2, (40, 32), (40, 32))
    axis, (upper, lower) = left.halves()
    assert (axis, upper.grid.shape, lower.grid.shape) == (1, (20, 32), (20, 32))
    assert lower.grid.transform[5] == upper.grid.transform[5] - 200
    assert upper.halves()[1][0].halves() is None
    same(load(provider, wanted).values[0, 0], nanmedian(band([made[0] for made in scenes], "B4", wanted.grid)))
