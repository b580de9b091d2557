"""The lattice of cells of degrees: the globe once, with its poles, and regions across the antimeridian."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from rs_embed_dask.maps.lattice import LONLAT, Rect, lattice_for
from rs_embed_dask.maps.region import Region
from rs_embed_dask.specs import BBox
from rs_embed_dask.specs.ground import DEGREE_M, side_text
from rs_embed_dask.store.map_layout import MapGroup

ROWS, COLUMNS = 721, 1440  # cells centred on multiples of 0.25 degree, the poles among them
LATTICE = lattice_for(LONLAT, 0.25 * DEGREE_M, 60)
GLOBE = Region.of(shapely.box(-180, -90, 180, 90))
WHOLE = Rect(0, 0, *LATTICE.shape)


def covered(region):
    """Row, column and share of the cells that a region touches."""
    shares = region.coverage(LATTICE, WHOLE)
    return {(int(row), int(col)): float(shares[row, col]) for row, col in np.argwhere(shares)}


def blocks_of(region):
    return {tuple(block) for block in region.blocks(LATTICE)}


def test_the_lattice_is_the_globe_from_its_corner_in_whole_blocks():
    assert (LATTICE.crs, LATTICE.origin, LATTICE.step) == ("EPSG:4326", (-180.125, 90.125), 0.25)
    assert LATTICE.shape == (13 * 60, 24 * 60)
    grid = LATTICE.grid(Rect(0, 0, ROWS, COLUMNS))
    assert grid.bounds == (-180.125, -90.125, 179.875, 90.125)
    group = MapGroup.from_dict(LATTICE.to_dict())
    assert group.transform == grid.transform
    assert (group.axis("x")[0], group.axis("y")[0], group.axis("y")[ROWS - 1]) == (-180.0, 90.0, -90.0)
    assert LATTICE.index(0.0, 0.0) == (360, 720)


def test_each_cell_is_owned_once_the_poles_too_and_nothing_beyond_them():
    owned = LATTICE.owned(Rect(-3, -5, LATTICE.shape[0] + 3, LATTICE.shape[1] + 5))
    expected = np.zeros_like(owned)
    expected[3 : 3 + ROWS, 5 : 5 + COLUMNS] = True
    np.testing.assert_array_equal(owned, expected)


def test_the_whole_globe_covers_every_cell_the_halves_at_the_poles_too():
    shares = GLOBE.coverage(LATTICE, Rect(0, 0, ROWS, COLUMNS))
    np.testing.assert_array_equal(shares, 1)
    assert blocks_of(GLOBE) == {(row, col) for row in range(13) for col in range(24)}


def test_a_box_covers_cells_by_their_area():
    # 0.1 of the cell round 10 E, all of the next, half of the third; likewise a fifth of the northern row.
    region = Region.of(BBox(10.1, 49.875, 10.5, 50.175))
    assert {at: pytest.approx(share, abs=1e-6) for at, share in covered(region).items()} == {
        (159, 760): 0.1 * 0.2,
        (159, 761): 0.2,
        (159, 762): 0.5 * 0.2,
        (160, 760): 0.1,
        (160, 761): 1.0,
        (160, 762): 0.5,
    }
    assert blocks_of(region) == {(2, 12)}


def test_a_hole_is_not_covered():
    shape = shapely.box(9.875, 49.875, 10.625, 50.125) - shapely.box(10.15, 49.9, 10.35, 50.0)
    shares = covered(Region.of(shape))
    assert shares == {(160, 760): 1.0, (160, 761): pytest.approx(1 - 0.2 * 0.1 / 0.0625, abs=1e-6), (160, 762): 1.0}


def test_the_cell_on_the_antimeridian_is_the_first_of_its_row_from_both_sides():
    west, east = Region.of(BBox(179.9, 0.0, 180.0, 0.1)), Region.of(BBox(-180.0, 0.0, -179.9, 0.1))
    share = 0.1 * 0.1 / 0.0625
    assert covered(west) == covered(east) == {(360, 0): pytest.approx(share, abs=1e-6)}
    assert blocks_of(west) == blocks_of(east) == {(6, 0)}


def test_a_region_across_the_antimeridian_has_each_cell_once():
    region = Region.of(BBox(179.3, 0.0, -179.8, 0.1))
    shares = covered(region)
    assert {at: pytest.approx(share * 0.0625, abs=1e-7) for at, share in shares.items()} == {
        (360, 1437): 0.1 * 0.075,
        (360, 1438): 0.1 * 0.25,
        (360, 1439): 0.1 * 0.25,
        (360, 0): 0.1 * 0.25,
        (360, 1): 0.1 * 0.075,
    }
    assert blocks_of(region) == {(6, 0), (6, 23)}


@pytest.mark.parametrize(("pole", "row", "block"), [(90.0, 0, 0), (-90.0, 720, 12)])
def test_a_cell_at_a_pole_is_the_half_that_is_ground(pole, row, block):
    half = pole * (1 - 0.0625 / 90)  # half of that half
    region = Region.of(shapely.box(20.0, min(pole, half), 20.125, max(pole, half)))
    assert covered(region) == {(row, 800): pytest.approx(0.25, abs=1e-6)}
    assert blocks_of(region) == {(block, 13)}


def test_a_region_in_metres_lies_on_it_too():
    """An outline round the pole in a polar projection: each cell of the rows near the pole, whole."""
    around = Region.of(shapely.Point(0, 0).buffer(1_000_000, quad_segs=64), crs="EPSG:3413")
    shares = around.coverage(LATTICE, Rect(0, 0, 30, COLUMNS))
    np.testing.assert_allclose(shares, 1, atol=1e-6)


def test_a_side_is_told_in_the_unit_of_its_system():
    assert side_text(27_830.0, "EPSG:4326") == "0.25 degrees (27.8 km at the equator)"
    assert side_text(80.0, "EPSG:32631") == "80 m"
