"""Finding items: place, time, cloud, repeats, pages and order (R8, R10, R12, R19, R23)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading

import pytest

from rs_embed_dask.errors import AccessError, ProviderError, TransientError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.providers.retry import RetryPolicy, deadline
from rs_embed_dask.providers.stac.items import newest, parse_item, touches
from rs_embed_dask.providers.stac.search import Query, find
from tests.services.catalog import Scene
from tests.services.faults import Disorder, FaultPlan, Happening
from tests.services.fixtures import forget_answers
from tests.services.loopback import Fault
from tests.services.scenes import FOOTPRINTS, SIDE_M, acquisition, flat, grid, s2_scene, when

JUNE = Span("2022-06-01", "2022-07-01")
NAMES = PropertyNames()


def ask(service, **changes):
    question = Query(service.url, ("sentinel-2-l2a",), grid().lonlat_boxes, JUNE, "eo:cloud_cover", None)
    return find(dataclasses.replace(question, **changes))


def ids(items):
    return [item.id for item in items]


def days(*numbers, **options):
    return [s2_scene(f"S2A_{n:02}", f"2022-06-{n:02}T10:00:00", bands=("B04",), **options) for n in numbers]


def test_spans_are_half_open(plain):
    edges = ["2022-05-31T23:59:59", "2022-06-01T00:00:00", "2022-06-30T23:59:59", "2022-07-01T00:00:00"]
    service = plain(*(s2_scene(f"S2_{i}", date, bands=("B04",)) for i, date in enumerate(edges)))
    assert ids(ask(service)) == ["S2_1", "S2_2"]


@pytest.mark.parametrize("fraction", ["23:59:59.000001", "23:59:59.5", "23:59:59.999999", "23:59:59.999999999"])
def test_two_neighbouring_spans_hold_each_scene_once(plain, fraction):
    """To the last fraction of the second before midnight, and midnight itself in the second only."""
    dates = [f"2022-06-30T{fraction}", "2022-07-01T00:00:00", f"2022-07-31T{fraction}"]
    service = plain(*(s2_scene(f"S2_{i}", date, bands=("B04",)) for i, date in enumerate(dates)))
    assert ids(ask(service)) == ["S2_0"]
    assert ids(ask(service, span=Span("2022-07-01", "2022-08-01"))) == ["S2_1", "S2_2"]
    assert ids(ask(service, span=Span("2022-08-01", "2022-09-01"))) == []


def test_items_of_a_period_count_at_its_middle(plain):
    def period(item):
        start = item["properties"]["datetime"]
        item["properties"] |= {"datetime": None, "start_datetime": start, "end_datetime": start.replace("T10", "T22")}

    service = plain(*days(1), edit=period)
    assert ask(service)[0].time == dt.datetime(2022, 6, 1, 16, tzinfo=dt.UTC)


def test_cloud_is_filtered_by_the_server_where_it_can_and_here_in_any_case(plain):
    service = plain(*days(1, cloud=10.0), *days(2, cloud=60.0), *days(3, cloud=30.0))
    assert ids(ask(service, most_cloud=30.0)) == ["S2A_01", "S2A_03"]
    assert [call.body.get("query") for call in service.calls() if call.kind == "search"] == [
        {"eo:cloud_cover": {"lte": 30.0}}
    ]
    forget_answers()
    service.api = dataclasses.replace(service.api, supports_query=False)
    assert ids(ask(service, most_cloud=30.0)) == ["S2A_01", "S2A_03"]
    assert "query" not in [call for call in service.calls() if call.kind == "search"][-1].body


@pytest.mark.parametrize("supports", [True, False])
def test_unknown_cloud_passes_no_limit(plain, supports):
    service = plain(*days(1), edit=lambda item: item["properties"].pop("eo:cloud_cover"))
    service.api = dataclasses.replace(service.api, supports_query=supports)
    assert ids(ask(service, most_cloud=100.0)) == []
    assert ids(ask(service)) == ["S2A_01"]


def test_r12_pages_order_and_repeats_do_not_matter(plain):
    service = plain(*days(*range(1, 21)))
    expected = [f"S2A_{n:02}" for n in range(1, 21)]
    for seed in range(3):
        forget_answers()
        service.api = dataclasses.replace(service.api, page_size=3, arrange=Disorder(seed, repeats=7))
        assert ids(ask(service)) == expected
    assert service.counts()["search"] == 27


def test_the_same_question_is_asked_once_even_by_many_at_a_time(plain):
    service = plain(*days(1), rule=FaultPlan([Happening(Fault(delay_s=0.1), kinds=("search",))]))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(ask(service))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert service.counts() == {"landing": 1, "search": 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessError), (403, AccessError), (400, ProviderError), (404, ProviderError), (500, TransientError)],
)
def test_answers_that_are_errors(plain, status, error):
    service = plain(*days(1), rule=FaultPlan([Happening(Fault(status=status, body=b"no"), kinds=("search",))]))
    with pytest.raises(error, match="STAC API"):
        ask(service)


def test_passing_faults_of_the_api_are_retried(plain):
    service = plain(*days(1), rule=FaultPlan([Happening(Fault(status=503), kinds=("search",), times=2)]))
    assert ids(ask(service)) == ["S2A_01"]
    assert service.counts() == {"landing": 1, "search 503": 2, "search": 1}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=503, body=b""), "it answered 503, after 1 attempt"),
        (Fault(status=503, body=b"busy"), "it answered 503: busy, after 1 attempt"),
        (Fault(is_silent=True), r"it sent nothing more within 0\.[234] s, after 1 attempt"),
        (Fault(drip_s=5.0), r"it sent nothing more within 0\.[234] s, after 1 attempt"),
    ],
    ids=["empty", "worded", "silent", "breaks off"],
)
def test_a_fault_is_said_in_words_and_seconds(plain, fault, reason):
    service = plain(*days(1), rule=FaultPlan([Happening(fault, kinds=("search",))]))
    with pytest.raises(TransientError, match=reason), deadline(0.25):
        ask(service, retry=RetryPolicy(attempts=1))


def test_an_api_that_is_not_there_is_transient(new_process):
    with pytest.raises(TransientError, match=r"STAC API = 'http://127.0.0.1:9/'"):
        find(Query("http://127.0.0.1:9/", ("x",), ((0, 0, 1, 1),), JUNE, retry=RetryPolicy(attempts=1)))


# ------------------------------------------------------------------------------------------------ R8: repeats


def parsed(service):
    return [parse_item(item) for item in service.api.items]


def test_r08_the_newest_generation_of_an_acquisition_counts(plain):
    service = plain(acquisition("old", generated="20220602"), acquisition("new", generated="20230301"))
    assert ids(newest(parsed(service), NAMES)) == ["new"]
    assert ids(newest(reversed(parsed(service)), NAMES)) == ["new"]


def test_r08_two_datastrips_of_a_tile_are_two_halves(plain):
    halves = [
        acquisition("first", generated="20220602"),
        acquisition("second", generated="20220603", strip="S20220601T100530"),
    ]
    assert ids(newest(parsed(plain(*halves)), NAMES)) == ["first", "second"]


def test_r08_tiles_times_and_platforms_are_told_apart(plain):
    service = plain(
        acquisition("a", generated="20220602"),
        acquisition("b", generated="20220602", tile="31UFT"),
        acquisition("c", generated="20220602", hour="10:00:05"),
    )
    assert ids(newest(parsed(service), NAMES)) == ["a", "b", "c"]


# ------------------------------------------------------------------------------------ R10, R19: where items lie


def utm(zone, x, y, name):
    """A scene at UTM coordinates near 180 degrees."""
    square = flat("B04", 1000, corner=(x, y))
    return Scene(name, "sentinel-2-l2a", when("2022-06-01T10:00:00"), f"EPSG:{32600 + zone}", (square,))


def across(x, y, size=100):
    return Grid("EPSG:32601", (10, 0, x, 0, -10, y), (size, size))


def test_r10_a_place_across_the_antimeridian_finds_items_of_both_sides(plain):
    # at 65 N, zone 60 ends and zone 1 begins near x = 641 500 and x = 358 500
    service = plain(
        utm(1, 358_400, 7_210_500, "east"), utm(60, 640_400, 7_210_500, "west"), utm(1, 365_000, 7_210_500, "beyond")
    )
    place = across(358_100, 7_210_300)
    assert len(place.lonlat_boxes) == 2
    found = ask(service, boxes=place.lonlat_boxes)
    assert {item.id for item in found if touches(item, item.assets["B04"], place)} == {"east", "west"}


@pytest.mark.parametrize(("west", "east"), [(179.7, 180.3), (-180.3, -179.7), (179.7, -179.7)])
def test_r10_an_item_across_the_antimeridian_is_found_however_it_is_listed(plain, west, east):
    def normalised(item):
        item["bbox"] = [west, item["bbox"][1], east, item["bbox"][3]]

    service = plain(utm(1, 358_400, 7_210_500, "scene"), edit=normalised)
    place = across(359_000, 7_210_000, size=20)
    assert len(place.lonlat_boxes) == 1
    found = ask(service, boxes=place.lonlat_boxes)
    assert ids(found) == ["scene"]
    assert touches(found[0], found[0].assets["B04"], place)


def test_r10_far_from_the_antimeridian_one_search_is_enough(plain):
    service = plain(*days(1))
    ask(service)
    assert service.counts()["search"] == 1


@pytest.mark.parametrize("edit", FOOTPRINTS.values(), ids=FOOTPRINTS)
def test_r19_every_way_of_stating_a_footprint_is_understood(plain, edit):
    item = parse_item(plain(*days(1), edit=edit).api.items[0])
    asset = item.assets["B04"]
    assert touches(item, asset, grid())
    assert touches(item, asset, grid(offset=(-390.0, 0.0)))
    assert not touches(item, asset, grid(offset=(-3 * SIDE_M, 0.0)))
    assert not touches(item, asset, grid(offset=(0.0, 3 * SIDE_M)))


def test_r19_items_without_the_needed_fields_are_named(plain):
    service = plain(*days(1), edit=lambda item: item["properties"].pop("datetime"))
    with pytest.raises(ProviderError, match=r"S2A_01.*cannot be understood.*start_datetime"):
        ids([parse_or_fail(item) for item in service.api.items])


def parse_or_fail(item):
    from rs_embed_dask.providers.stac.search import _parsed

    return _parsed(item)
