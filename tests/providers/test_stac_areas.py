"""Dense places: one search for all of a cell, and of its answer for each place what its own search would find."""

from __future__ import annotations

import datetime as dt

import pytest
import shapely

from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers.stac.areas import PLACES_ALONE, cell_around
from rs_embed_dask.providers.stac.query import Query
from rs_embed_dask.providers.stac.search import _ask, find
from tests.services.scenes import CORNER, grid, s2_scene

JUNE = Span(dt.date(2022, 6, 1), dt.date(2022, 7, 1))
SIDE = 30
"""Places along one side of a square of 7.2 km, and scenes of 1.2 km under them in a chessboard's white fields."""


def scenes():
    return [
        s2_scene(
            f"S2_{row}_{column}",
            "2022-06-05T10:00:00",
            bands=("B04",),
            scl=None,
            corner=(CORNER[0] + 1200 * column, CORNER[1] - 1200 * row),
            tile=f"31U{row}{column}",
        )
        for row in range(6)
        for column in range(6)
        if (row + column) % 2
    ]


def places(n=SIDE):
    return [grid(size=8, offset=(7200 / n * x + 20, 7200 / n * y + 20)) for y in range(n) for x in range(n)]


def query(service, place):
    return Query(service.url, ("sentinel-2-l2a",), place.lonlat_boxes, JUNE)


def ids(items):
    return [item.id for item in items]


def test_a_thousand_places_of_one_cell_are_a_handful_of_searches(plain):
    service = plain(*scenes())
    answers = [ids(find(query(service, place))) for place in places()]
    assert service.counts()["search"] == PLACES_ALONE + 1
    assert len(answers) == 900
    assert {len(answer) for answer in answers} >= {0, 1}
    for place, answer in list(zip(places(), answers, strict=True))[::37]:
        assert answer == ids(_ask(query(service, place)))  # its own search


def test_pages_of_an_area_are_all_read(plain):
    service = plain(*scenes(), page_size=4)
    answers = [find(query(service, place)) for place in places(6)]
    assert {item.id for answer in answers for item in answer} == {scene.id for scene in scenes()}
    assert service.counts()["search"] >= 5  # 18 items in pages of four


def test_few_places_are_searched_for_one_by_one_however_often(plain):
    service = plain(*scenes())
    for _ in range(3):
        for place in places(6)[:PLACES_ALONE]:
            find(query(service, place))
    assert service.counts()["search"] == PLACES_ALONE


def test_the_footprint_decides_as_in_a_catalogue_and_not_its_box(plain):
    def cut_off(item):
        west, south, east, north = item["bbox"]
        item["geometry"]["coordinates"] = [[[west, south], [east, south], [west, north], [west, south]]]

    service = plain(s2_scene("half", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=cut_off)
    corner = {"south-west": (40, 1000), "north-east": (1000, 40)}
    for place in places(6)[1 : PLACES_ALONE + 1]:
        find(query(service, place))
    found = {name: ids(find(query(service, grid(size=4, offset=at)))) for name, at in corner.items()}
    assert found == {"south-west": ["half"], "north-east": []}


def test_an_item_without_a_usable_footprint_is_found_by_its_box(plain):
    def spoilt(item):
        item["geometry"] = {"type": "Polygon", "coordinates": [[[0, 0]]]}

    service = plain(s2_scene("odd", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=spoilt)
    for place in places(6)[1 : PLACES_ALONE + 1]:
        find(query(service, place))
    assert ids(find(query(service, grid(size=4)))) == ["odd"]


@pytest.mark.parametrize(
    ("box", "has_cell"),
    [
        ((12.31, 48.2, 12.35, 48.23), True),
        ((-0.01, -0.01, 0.01, 0.01), True),
        ((12.0, 48.0, 13.9, 48.1), False),
        ((178.0, 10.0, 178.1, 10.1), False),
        ((10.0, 84.0, 10.1, 84.1), False),
    ],
    ids=["inland", "at the origin", "larger than a cell", "antimeridian", "pole"],
)
def test_cells_hold_their_places_and_are_about_100_km_wide(box, has_cell):
    cell = cell_around(box)
    assert (cell is not None) == has_cell
    if cell is not None:
        assert shapely.box(*cell).contains(shapely.box(*box))
        assert 100 < 111.2 * (cell[3] - cell[1]) < 140
