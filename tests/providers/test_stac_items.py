"""Items as catalogues write them: what is missing or wrong and not needed never fails a place."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.frame import baseline_of
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.items import WORLD, distinct, parse_item
from tests.services import stac_api
from tests.services.fixtures import forget_answers
from tests.services.reads import provider, read
from tests.services.scenes import grid, s2_scene

SQUARE = [[3.0, 50.0], [5.0, 50.0], [5.0, 52.0, 10.0], [3.0, 50.0]]
GOOD, ODD = 1500.0, 3500.0
BOTH = (GOOD + ODD) / 2


def assets(**fields):
    return lambda item: [asset.update(fields) for asset in item["assets"].values()]


def properties(**fields):
    return lambda item: item["properties"].update({name.replace("__", ":"): value for name, value in fields.items()})


def without(*names):
    return lambda item: [item.pop(name) for name in names]


def both(*edits):
    return lambda item: [edit(item) for edit in edits]


def proj(**fields):
    return {f"proj:{name}": value for name, value in fields.items()}


WRONG_BOX = [650_000.0, 5_648_800.0, 651_200.0, 5_650_000.0]
HARMLESS = {
    "no bbox": without("bbox"),
    "a bbox of texts": lambda item: item.update(bbox=[str(v) for v in item["bbox"]]),
    "a bbox of nothing": lambda item: item.update(bbox=[None] * 4),
    "a bbox with a height": lambda item: item.update(bbox=[*item["bbox"][:2], 0, *item["bbox"][2:], 100]),
    "no geometry": lambda item: item.update(geometry=None),
    "neither bbox nor geometry": without("bbox", "geometry"),
    "no collection": without("collection"),
    "no links": lambda item: item.update(links=None),
    "an asset without href": lambda item: item["assets"].update(metadata={"type": "application/xml"}),
    "an asset that is null": lambda item: item["assets"].update(metadata=None),
    "an asset with an empty href": lambda item: item["assets"].update(metadata={"href": ""}),
    "a code that is not one": properties(proj__epsg=None, proj__code="EPSG:0"),
    "a code of text": properties(proj__epsg="32631"),
    "an epsg that is not one": properties(proj__epsg="unknown", proj__code="EPSG:32631"),
    "projjson": lambda item: item["properties"].update(
        {"proj:epsg": None, "proj:projjson": __import__("pyproj").CRS("EPSG:32631").to_json_dict()}
    ),
    "a box elsewhere": both(lambda item: [a.pop("proj:transform") for a in item["assets"].values()],
                            assets(**proj(bbox=WRONG_BOX))),
    "a box of texts": both(lambda item: [a.pop("proj:transform") for a in item["assets"].values()],
                           assets(**proj(bbox=["a", "b", "c", "d"]))),
    "a box of no area": both(lambda item: [a.pop("proj:transform") for a in item["assets"].values()],
                             assets(**proj(bbox=[0, 0, 0, 0]))),
    "the transform of another grid": assets(**proj(transform=[1.0, 0, 600_000, 0, -1.0, 5_700_000])),
    "a transform in another order": assets(**proj(transform=[10.0, 0.0, 0.0, -10.0, 600_000.0, 5_700_000.0])),
    "a transform of four numbers": assets(**proj(transform=[10.0, 0.0, 600_000.0, 0.0])),
    "a transform without size": assets(**proj(transform=[0, 0, 600_000, 0, 0, 5_700_000])),
    "a shape in another order": assets(**proj(shape=[20, 600])),
    "a shape of nothing": assets(**proj(shape=[None, None])),
    "a generation time that is none": properties(s2__generation_time="yesterday"),
    "cloud cover that is not a number": properties(eo__cloud_cover="n/a"),
}  # fmt: skip


@pytest.fixture
def odd(plain, monkeypatch):
    """``odd(edit)`` reads a good scene and one that `edit` has changed."""
    monkeypatch.setattr(stac_api, "matches_place", lambda bbox, geometry: lambda item: True)
    monkeypatch.setattr(stac_api, "matches_names", lambda allowed, key: lambda item: True)
    monkeypatch.setattr(stac_api, "item_links", lambda item, base: [])
    monkeypatch.setattr(stac_api, "middle", lambda item: item.get("id"))

    def load_both(edit, **options):
        scenes = [
            s2_scene("good", "2022-06-05T10:00:00", dn=GOOD, bands=("B04",), scl=None),
            s2_scene("odd", "2022-06-15T10:00:00", dn=ODD, bands=("B04",), scl=None, tile="31UFT"),
        ]
        service = plain(*scenes)
        edit(service.api.items[1])
        return load(provider(service, **options), read(where=grid(size=10), mask="none"))

    return load_both


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS)
def test_an_item_with_odd_fields_counts_as_the_others(odd, edit):
    got = odd(edit)
    assert np.unique(got.values).tolist() == [BOTH]
    assert got.lost == ()


def test_an_item_without_an_id_gets_a_name(odd):
    got = odd(without("id"))
    assert np.unique(got.values).tolist() == [BOTH]
    assert re.fullmatch(r"unnamed_20220615T100000_[0-9a-f]{8}", got.scenes[1])


def test_two_scenes_of_one_id_are_two(odd):
    got = odd(lambda item: item.update(id="good"))
    assert np.unique(got.values).tolist() == [BOTH]
    assert got.scenes == ("good", "good~2")


UNUSABLE = {
    "no time": (lambda item: item["properties"].pop("datetime"), r"STAC item odd: .*start_datetime"),
    "a time that is none": (properties(datetime="June"), r"STAC item odd: it cannot be understood"),
    "no properties": (without("properties"), r"STAC item odd: .*properties"),
    "no baseline": (
        lambda item: item["properties"].pop("s2:processing_baseline"),
        r"scene odd: .*no processing baseline",
    ),
}


@pytest.mark.parametrize(("edit", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_item_that_cannot_be_understood_costs_its_date_and_is_named(odd, monkeypatch, edit, why):
    monkeypatch.setattr(stac_api, "matches_time", lambda interval: lambda item: True)
    monkeypatch.setattr(stac_api, "matches_properties", lambda query: lambda item: True)
    got = odd(edit)
    assert np.unique(got.values).tolist() == [GOOD]
    assert got.scenes == ("good",)
    assert re.match(why, got.lost[0])
    forget_answers()
    with pytest.raises(ProviderError, match=why):
        odd(edit, absent="error")


def test_features_that_are_no_objects_are_named(plain, monkeypatch):
    service = plain(s2_scene("good", "2022-06-05T10:00:00", dn=GOOD, bands=("B04",), scl=None))
    found = type(service.api).search
    page = lambda api, *args, **options: (
        found(api, *args, **options) | {"features": [None, 7, *found(api, *args, **options)["features"]]}
    )
    monkeypatch.setattr(type(service.api), "search", page)
    got = load(provider(service), read(where=grid(size=10), mask="none"))
    assert np.unique(got.values).tolist() == [GOOD]
    assert [line.partition(":")[0] for line in got.lost] == ["STAC item without an id"]


def test_where_every_item_is_refused_the_read_fails(plain):
    service = plain(s2_scene("odd", "2022-06-05T10:00:00", bands=("B04",), scl=None, baseline="unknown"))
    with pytest.raises(ProviderError, match=r"scene odd: .*no processing baseline"):
        load(provider(service), read(where=grid(size=10), mask="none"))


@pytest.mark.parametrize(
    ("geometry", "box"),
    [
        ({"type": "Polygon", "coordinates": [SQUARE]}, (3.0, 50.0, 5.0, 52.0)),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE], [[[7.0, 51.0]]]]}, (3.0, 50.0, 7.0, 52.0)),
        ({"type": "Point", "coordinates": [3.0, 50.0]}, (3.0, 50.0, 3.0, 50.0)),
        ({"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [3, 5]}]}, (3, 5, 3, 5)),
        ({"type": "Polygon", "coordinates": []}, WORLD),
        ({"type": "Polygon", "coordinates": [[["a", "b"]]]}, WORLD),
        ({}, WORLD),
        (None, WORLD),
        ("POINT (3 5)", WORLD),
    ],
)
def test_the_box_of_an_item_without_one_is_that_of_its_geometry(geometry, box):
    item = {"id": "a", "properties": {"datetime": "2022-06-01T10:00:00Z"}, "geometry": geometry}
    assert parse_item(item).box == box
    assert parse_item(item, collection="mine").collection == "mine"


def test_repeats_count_once_and_namesakes_apart():
    item = {"id": "a", "collection": "x", "properties": {"datetime": "2022-06-01T10:00:00Z"}}
    later = {**item, "properties": {"datetime": "2022-06-03T10:00:00Z"}}
    other = {**item, "collection": "y"}
    parsed = [parse_item(one) for one in (later, item, other, item, later)]
    assert [(one.id, one.collection, one.time.day) for one in distinct(parsed)] == [
        ("a", "x", 1),
        ("a~2", "y", 1),
        ("a~3", "x", 3),
    ]
    assert distinct(reversed(parsed)) == distinct(parsed)


@pytest.mark.parametrize(
    ("stated", "baseline"),
    [
        ("04.00", 4.0),
        ("05.09", 5.09),
        (5.0, 5.0),
        ("5.0", 5.0),
        (5, 5.0),
        ("N0500", 5.0),
        ("0301", 3.01),
        ("00.01", 0.01),
    ],
)
def test_a_baseline_is_understood_however_it_is_written(stated, baseline):
    table = source("planetary_computer", "sentinel-2-l2a")
    item = parse_item({"id": "a", "properties": {"datetime": "2022-06-01", "s2:processing_baseline": stated}})
    scene = Scene(item.id, item.time, None, item.properties)
    assert baseline_of(scene, table) == pytest.approx(baseline)
    assert baseline_of(dataclasses.replace(scene, properties={"s2:processing_baseline": "123456"}), table) is None
