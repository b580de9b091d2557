"""Many places by one request: what comes of a sheet is what each place has by itself."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

import rs_embed_dask as rs
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.products.gse import BANDS, COLLECTION
from rs_embed_dask.providers.earth_engine.sheet import MOST_PLACES, Sheet
from tests.services.earth import world

YEAR = rs.TemporalSpec.year(2022)
SPAN = Span("2022-01-01", "2023-01-01")
SOME = BANDS[:3]


def ground(place, column, row, shape):
    """Pixels of a tile of the emulator, from one of its columns and rows on."""
    crs, left, top = world.PLACES[place]
    return Grid(crs, (10.0, 0.0, left + 10.0 * column, 0.0, -10.0, top - 10.0 * row), shape)


GRIDS = [
    ground("brussels", 100, 200, (7, 9)),
    ground("santiago", 30, 40, (3, 2)),
    ground("liege", 700, 20, (1, 1)),
    ground("brussels", 103, 204, (5, 12)),
]


@pytest.fixture
def served(earth):
    earth.serve(*(scene for place in ("brussels", "santiago", "liege") for scene in world.vectors(place, 2022)))
    return earth


def requests(earth):
    return earth.counts("pixels")


def test_slots_lie_apart_on_little_more_than_their_own_pixels():
    shapes = [(3 + number % 5, 2 + number % 7) for number in range(MOST_PLACES)]
    sheet = Sheet.of(shapes)
    assert [(slot.height, slot.width) for slot in sheet.slots] == shapes
    taken = np.zeros(sheet.shape, int)
    for slot in sheet.slots:
        taken[slot.row : slot.row + slot.height + 1, slot.col : slot.col + slot.width + 1] += 1
    assert taken.max() == 1  # with a pixel between them
    assert taken.size < 1.5 * sum((rows + 1) * (columns + 1) for rows, columns in shapes)


def test_a_plan_counts_the_shares_of_requests(served):
    boxes = [rs.BBox(*ground("brussels", 20 * k, 30, (4, 4)).bounds, crs="EPSG:32631") for k in range(96)]
    figures = rs.plan(boxes, "gse", YEAR, provider=served.provider()).figures
    assert figures.requests == pytest.approx(96 / MOST_PLACES)
    assert figures.download_bytes == pytest.approx(96 * 16 * 64 * 4)
    wide = ground("brussels", 0, 0, (99, 199))  # of which the service computes two and a half at a time
    assert served.provider().requests_of(wide.shape, 64) == pytest.approx(100 * 200 * 66 * 5 / (48 * 2**20))
    assert served.provider().requests_of((999, 999), 64) == 7


def test_a_sheet_gives_each_place_its_own_pixels(served):
    provider = served.provider()
    alone = [provider.product(COLLECTION, SOME, grid, span=SPAN) for grid in GRIDS]
    before = requests(served)
    together = provider.products(COLLECTION, SOME, GRIDS, span=SPAN)
    assert requests(served) - before == 1
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.isfinite(one).all() for one in alone)


def test_ground_without_vectors_stays_without(served):
    beyond = ground("brussels", -4, 10, (3, 8))  # half of it lies west of the tile
    values, _ = served.provider().products(COLLECTION, SOME, [beyond, GRIDS[1]], span=SPAN)
    assert np.isnan(values[:, :, :4]).all()
    assert np.isfinite(values[:, :, 4:]).all()


def test_what_is_too_much_for_one_request_is_halved(served):
    provider = served.provider()
    expected = provider.products(COLLECTION, SOME, GRIDS, span=SPAN)
    served.set(limit_bytes=110 * 5 * (len(SOME) + 2))  # the service's own limit, of which the provider does not know
    before = requests(served)
    for one, other in zip(provider.products(COLLECTION, SOME, GRIDS, span=SPAN), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert requests(served) - before == 3  # refused, and its halves


def test_sixty_four_places_are_one_request(served):
    grids = [ground("brussels", 20 * k, 30, (2, 2)) for k in range(MOST_PLACES + 2)]
    values = served.provider().products(COLLECTION, SOME[:1], grids, span=SPAN)
    assert requests(served) == 2
    assert len({float(one[0, 0, 0]) for one in values}) > MOST_PLACES / 2


def test_a_run_has_the_vectors_of_each_place_by_itself(served):
    field = shapely.Polygon([(604_205, 5_694_995), (604_263, 5_694_981), (604_231, 5_694_902)])
    boxes = [rs.BBox(*grid.bounds, crs=grid.crs) for grid in GRIDS]
    places = [*boxes, rs.Polygon.from_geometry(field, crs=GRIDS[0].crs)]
    provider = served.provider()
    run = rs.compute_embeddings(places, "gse", YEAR, provider=provider, progress=False)
    assert requests(served) == 1
    vectors = run["gse"].embedding.values
    for row, place in enumerate(places):
        np.testing.assert_array_equal(
            vectors[row], rs.get_embedding("gse", spatial=place, temporal=YEAR, provider=provider).data
        )
    pixels = provider.product(COLLECTION, BANDS, GRIDS[0], span=SPAN)
    np.testing.assert_allclose(vectors[0], pixels.astype("float64").mean((1, 2)), rtol=1e-6)
