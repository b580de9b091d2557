"""Lattices: one per projection, owned by the zone of each token's centre, the same for every region."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.lattice import UTM_GROUPS, Rect, lattice_for, lattice_of
from rs_embed_dask.specs.ground import WGS84, project


def owners(lon, lat, token_m=640.0, block=4):
    """The groups that own the token that a point lies in."""
    groups = []
    for group in UTM_GROUPS:
        lattice = lattice_for(group, token_m, block)
        x, y = project(WGS84, lattice.crs, lon, lat)
        if not (np.isfinite(x) and np.isfinite(y)) or max(abs(float(x)), abs(float(y))) > 1e7:
            continue
        row, col = lattice.index(float(x), float(y))
        if lattice.owned(Rect(row, col, row + 1, col + 1))[0, 0]:
            groups.append(group)
    return groups


@pytest.mark.parametrize(
    ("lon", "lat", "group"),
    [
        (3.0, 50.9, "utm31"),
        (8.0, 60.4, "utm32"),  # Bergen: no exception for Norway
        (5.3, 60.4, "utm31"),
        (10.0, 78.0, "utm32"),  # Svalbard: plain zones too
        (-58.0, -34.0, "utm21"),
        (177.0, -17.0, "utm60"),
        (-177.0, -17.0, "utm01"),
        (20.0, 86.0, "ups_n"),
        (20.0, -84.0, "ups_s"),
    ],
)
def test_one_group_owns_a_place(lon, lat, group):
    assert owners(lon, lat) == [group]


def test_the_south_has_negative_northings_on_the_northern_projection():
    lattice = lattice_for("utm21", 80.0, 64)
    assert lattice.crs == "EPSG:32621"
    x, y = Transformer.from_crs(4326, 32621, always_xy=True).transform(-57.0, -34.0)
    assert y < 0
    row, col = lattice.index(x, y)
    lon, lat = lattice.lonlat(Rect(row, col, row + 1, col + 1))
    assert (lon[0, 0], lat[0, 0]) == (pytest.approx(-57.0, abs=5e-4), pytest.approx(-34.0, abs=5e-4))


@pytest.mark.parametrize("lat", [0.0, 47.0, -33.0, 71.0])
@pytest.mark.parametrize(("west", "east"), [("utm31", "utm32"), ("utm60", "utm01")])
def test_a_zone_border_has_no_gap_and_no_overlap(lat, west, east):
    border = int(west[3:]) * 6.0 - 180.0
    pair = {group: lattice_for(group, 500.0, 4) for group in (west, east)}
    counted = {}
    for group, lattice in pair.items():
        x, y = (float(v) for v in project(WGS84, lattice.crs, border, lat))
        row, col = lattice.index(x, y)
        rect = Rect(row - 4, col - 10, row + 4, col + 10)
        lon, _ = lattice.lonlat(rect)
        beyond = (lon - border + 180) % 360 - 180 >= 0
        counted[group] = lattice.owned(rect)
        np.testing.assert_array_equal(counted[group], beyond if group == east else ~beyond)
    assert all(0 < owned.sum() < owned.size for owned in counted.values())


def test_the_whole_zone_lies_inside_its_array():
    for group in ("utm01", "utm31", "utm60"):
        lattice = lattice_for(group, 640.0, 16)
        west = (int(group[3:]) - 1) * 6.0 - 180.0
        for lon in (west + 1e-6, west + 3, west + 6 - 1e-6):
            for lat in (-80.0, -40.0, 0.0, 83.99):
                row, col = lattice.index(*(float(v) for v in project(WGS84, lattice.crs, lon, lat)))
                assert 0 <= row < lattice.shape[0]
                assert 0 <= col < lattice.shape[1]


@pytest.mark.parametrize(("group", "edge"), [("ups_n", 84.0), ("ups_s", -80.0)])
def test_the_polar_caps_lie_inside_their_arrays(group, edge):
    lattice = lattice_for(group, 640.0, 16)
    for lon in range(-180, 180, 15):
        row, col = lattice.index(*(float(v) for v in project(WGS84, lattice.crs, lon, edge)))
        assert 0 <= row < lattice.shape[0]
        assert 0 <= col < lattice.shape[1]


def test_origins_are_multiples_of_a_block_and_follow_from_the_projection_alone():
    lattice = lattice_for("utm31", 80.0, 64)
    assert lattice.origin == (158720.0, 9400320.0)
    assert lattice.shape[0] % 64 == lattice.shape[1] % 64 == 0
    assert [edge % (lattice.block * lattice.token_m) for edge in lattice.origin] == [0, 0]
    assert lattice_for("utm40", 80.0, 64).origin == lattice.origin


def test_grids_of_tokens_and_of_their_pixels():
    lattice = lattice_for("utm31", 80.0, 64)
    rect = Rect(10, 20, 13, 24)
    tokens, pixels = lattice.grid(rect), lattice.grid(rect, pixels=8)
    assert tokens.transform == (80.0, 0.0, 158720.0 + 1600, 0.0, -80.0, 9400320.0 - 800)
    assert (tokens.shape, pixels.shape) == ((3, 4), (24, 32))
    assert pixels.bounds == tokens.bounds
    assert pixels.transform[0] == 10.0


def test_a_chosen_projection_covers_its_area_of_use():
    lattice = lattice_of("EPSG:3035", 1000.0, 16)
    assert (lattice.group, lattice.crs) == ("epsg3035", "EPSG:3035")
    row, col = lattice.index(*(float(v) for v in project(WGS84, lattice.crs, 10.0, 50.0)))
    assert lattice.owned(Rect(row, col, row + 2, col + 2)).all()
    row, col = lattice.index(*(float(v) for v in project(WGS84, lattice.crs, -60.0, 50.0)))
    assert not lattice.owned(Rect(row, col, row + 1, col + 1)).any()


def test_a_projection_without_an_area_of_use_reaches_everywhere():
    lattice = lattice_of("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m", 1000.0, 16)
    assert lattice.group.startswith("crs_")
    row, col = lattice.index(0.0, 0.0)
    assert lattice.owned(Rect(row, col, row + 1, col + 1)).all()
    assert lattice.shape[0] >= 40_000


def test_projections_that_are_not_in_metres_are_refused():
    with pytest.raises(SpecError, match="metres"):
        lattice_of("EPSG:4326", 1000.0, 16)
