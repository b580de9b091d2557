"""Regions: blocks equal to brute force, shares of tokens equal to areas, across the antimeridian and over the poles."""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import pytest
import shapely

from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.lattice import Rect, lattice_for, lattice_of
from rs_embed_dask.maps.region import Region
from rs_embed_dask.specs import BBox, Polygon
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.specs.outline import moved

UTM31 = "EPSG:32631"
LAEA = "EPSG:3035"
ANTARCTIC = "EPSG:3031"


def cell(lattice, row, col):
    x, y = lattice.origin[0] + col * lattice.token_m, lattice.origin[1] - row * lattice.token_m
    return shapely.box(x, y - lattice.token_m, x + lattice.token_m, y)


def token_at(lattice, x, y, *, reach=4):
    """A square of tokens round a point."""
    row, col = lattice.index(x, y)
    return Rect(row - reach, col - reach, row + reach, col + reach)


def slow_shares(shape, lattice, rect):
    """The share of each token, one token at a time."""
    return np.array(
        [
            [
                shape.intersection(cell(lattice, row, col)).area / lattice.token_m**2
                for col in range(rect.left, rect.right)
            ]
            for row in range(rect.top, rect.bottom)
        ]
    )


def slow_blocks(region, lattice, tokens):
    """The blocks in a rectangle of tokens, one token at a time."""
    touched = (region.coverage(lattice, tokens) > 0) & lattice.owned(tokens)
    rows, cols = np.nonzero(touched)
    size = lattice.block
    return sorted({((tokens.top + r) // size, (tokens.left + c) // size) for r, c in zip(rows, cols, strict=True)})


@pytest.fixture
def small():
    """A lattice of few tokens, in the middle of a zone."""
    return lattice_for("utm31", 1000.0, 4)


def test_a_square_on_the_lattice_covers_its_own_tokens_only(small):
    region = Region.of(BBox(400_000, 5_600_000, 404_000, 5_603_000, crs=UTM31))
    rect = token_at(small, 402_500, 5_601_500)
    shares = region.coverage(small, rect)
    assert shares.dtype == np.float32
    assert shares.sum() == 12
    assert set(np.unique(shares)) == {0.0, 1.0}
    row, col = small.index(402_000, 5_601_000)
    assert all(block in slow_blocks(region, small, rect) for block in region.blocks(small))
    assert (row // 4, col // 4) in region.blocks(small)


def test_a_triangle_covers_half_of_the_tokens_on_its_diagonal(small):
    corners = [(400_000, 5_600_000), (404_000, 5_600_000), (400_000, 5_604_000)]
    region = Region.of(Polygon.from_coordinates(corners, crs=UTM31))
    row, col = small.index(400_500, 5_603_500)
    shares = region.coverage(small, Rect(row, col, row + 4, col + 4))
    expected = np.tril(np.ones((4, 4)), -1) + 0.5 * np.eye(4)
    np.testing.assert_allclose(shares, expected, atol=1e-7)


def test_a_hole_is_not_covered(small):
    hole = shapely.box(401_250, 5_601_500, 403_000, 5_602_500)
    region = Region.of(shapely.box(400_000, 5_600_000, 404_000, 5_604_000) - hole, crs=UTM31)
    row, col = small.index(400_500, 5_603_500)
    shares = region.coverage(small, Rect(row, col, row + 4, col + 4))
    expected = np.ones((4, 4))
    expected[1:3, 1:3] -= [[0.375, 0.5], [0.375, 0.5]]
    np.testing.assert_allclose(shares, expected, atol=1e-7)


def test_shares_of_an_irregular_outline_are_areas():
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 60))
    radius = rng.uniform(800, 2600, 60)
    shape = shapely.Polygon(np.column_stack([700_000 + radius * np.cos(angle), -3_800_000 + radius * np.sin(angle)]))
    lattice = lattice_for("utm21", 80.0, 64)
    rect = token_at(lattice, 700_000, -3_800_000, reach=35)
    own = Region.of(shape, crs="EPSG:32621").coverage(lattice, rect)
    np.testing.assert_allclose(own, slow_shares(shape, lattice, rect), atol=1e-6)
    assert own.sum() * 80.0**2 == pytest.approx(shape.area, rel=1e-6)
    # The same ground in the southern system, and in degrees: 1 cm of outline is 1/8000 of a token.
    south = shapely.transform(shape, lambda xy: xy + np.array([0, 1e7]))
    degrees = shapely.transform(
        shapely.segmentize(shape, 10), lambda xy: np.column_stack(project("EPSG:32621", WGS84, *xy.T))
    )
    for same in (Region.of(south, crs="EPSG:32721"), Region.of(degrees)):
        np.testing.assert_allclose(same.coverage(lattice, rect), own, atol=3e-4)


@pytest.mark.parametrize("block", [1, 4, 7])
def test_blocks_are_those_of_every_token_looked_at(block):
    lattice = lattice_for("utm31", 500.0, block)
    rng = np.random.default_rng(block)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(1_000, 16_000, 40)
    blob = shapely.Polygon(np.column_stack([500_000 + radius * np.cos(angle), 6_000_000 + radius * np.sin(angle)]))
    shape = shapely.union_all([blob, shapely.box(517_020, 6_000_010, 517_030, 6_000_015)]) - shapely.Point(
        500_000, 6_000_000
    ).buffer(800)
    region = Region.of(shape, crs=UTM31)
    around = token_at(lattice, 500_000, 6_000_000, reach=42)
    assert list(region.blocks(lattice)) == slow_blocks(region, lattice, around)


@pytest.mark.parametrize(("lat", "west", "east"), [(47.0, 31, 32), (-21.0, 60, 1), (83.9, 31, 32)])
def test_a_zone_border_divides_the_blocks(lat, west, east):
    border = west * 6.0 - 180.0
    wide = 0.02 / math.cos(math.radians(lat))
    region = Region.of(BBox(border - wide, lat - 0.03, (border + wide + 180) % 360 - 180, lat + 0.03))
    lattices = {one.group: one for one in region.lattices(100.0, 4)}
    assert set(lattices) == {f"utm{west:02d}", f"utm{east:02d}"}
    areas = 0.0
    for lattice in lattices.values():
        x, y = (float(one) for one in project(WGS84, lattice.crs, border, lat))
        around = token_at(lattice, x, y, reach=45)
        assert list(region.blocks(lattice)) == slow_blocks(region, lattice, around)
        scale = float(np.square(1 / 0.9996) if lat > 80 else 1)
        areas += float((region.coverage(lattice, around) * lattice.owned(around)).sum()) * 1e4 * scale
    # Tokens on the border belong to one zone as a whole; a metre of the projection is one on the ground to 0.1 %.
    assert areas == pytest.approx(region.area_m2, rel=5e-3)


def test_the_antimeridian_is_no_border_in_the_plane_of_a_zone():
    shape = BBox(179.9, -17.1, -179.9, -17.0)
    region = Region.of(shape)
    assert region.lonlat.bounds == (-180.0, -17.1, 180.0, -17.0)
    assert region.area_m2 == pytest.approx(shape.area_m2, rel=1e-6)
    for group in ("utm60", "utm01"):
        lattice = lattice_for(group, 80.0, 64)
        x, y = (float(one) for one in project(WGS84, lattice.crs, 180.0, -17.05))
        shares = region.coverage(lattice, token_at(lattice, x, y, reach=3))
        np.testing.assert_allclose(shares, 1.0, atol=1e-6)


def test_a_polygon_across_the_antimeridian_goes_the_short_way():
    ring = [(179.5, 10.0), (-179.5, 10.0), (-179.5, 10.5), (179.5, 10.5)]
    region = Region.of(shapely.Polygon(ring))
    assert region.area_m2 == pytest.approx(BBox(179.5, 10.0, -179.5, 10.5).area_m2, rel=1e-5)
    assert [one.group for one in region.lattices(640.0, 8)] == ["utm01", "utm60"]


def cap_area(lat):
    """Area of the cap beyond a parallel, on the ellipsoid."""
    return 2 * BBox(-180, lat, 0, 89.999999).area_m2


def test_a_ring_round_the_pole_encloses_the_pole():
    circle = shapely.Point(0, 0).buffer(500_000, quad_segs=256)
    region = Region.of(circle, crs=ANTARCTIC)
    assert region.lonlat.bounds[1] == -90.0
    lattice = lattice_for("ups_s", 10_000.0, 8)
    assert [one.group for one in region.lattices(10_000.0, 8)] == ["ups_s"]
    whole = Rect(0, 0, *lattice.shape)
    shares = region.coverage(lattice, whole)
    # Both planes are polar stereographic with parallels as circles: true at 71 S, and 0.994 at the pole.
    radius = abs(float(project(ANTARCTIC, lattice.crs, 500_000, 0.0)[0]) - 2_000_000)
    assert shares.sum() * 1e8 == pytest.approx(math.pi * radius**2, rel=2e-4)
    assert list(region.blocks(lattice)) == slow_blocks(region, lattice, whole)
    x, y = (float(one) for one in project(WGS84, lattice.crs, 0.0, -90.0))
    np.testing.assert_allclose(region.coverage(lattice, token_at(lattice, x, y)), 1.0, atol=1e-6)


def test_a_box_with_a_corner_at_the_pole_is_a_quarter():
    region = Region.of(shapely.box(0, 0, 400_000, 400_000), crs=ANTARCTIC)
    lattice = lattice_for("ups_s", 10_000.0, 8)
    x, y = (float(one) for one in project(WGS84, lattice.crs, 0.0, -90.0))
    shares = region.coverage(lattice, token_at(lattice, x, y, reach=2))
    np.testing.assert_allclose(shares, [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], atol=1e-5)
    side = float(project(ANTARCTIC, lattice.crs, 400_000, 0.0)[0]) - x
    assert region.coverage(lattice, Rect(0, 0, *lattice.shape)).sum() * 1e8 == pytest.approx(side**2, rel=0.02)


def test_a_ring_of_land_leaves_the_pole_out():
    shape = shapely.Point(0, 0).buffer(900_000, quad_segs=128) - shapely.Point(0, 0).buffer(300_000, quad_segs=128)
    region = Region.of(shape, crs=ANTARCTIC)
    lattice = lattice_for("ups_s", 20_000.0, 4)
    x, y = (float(one) for one in project(WGS84, lattice.crs, 0.0, -90.0))
    assert region.coverage(lattice, token_at(lattice, x, y)).max() == 0
    outer, inner = (float(project(ANTARCTIC, lattice.crs, r, 0.0)[0]) - x for r in (900_000, 300_000))
    shares = region.coverage(lattice, Rect(0, 0, *lattice.shape))
    assert shares.sum() * 4e8 == pytest.approx(math.pi * (outer**2 - inner**2), rel=1e-3)


def test_a_band_round_the_earth_has_every_zone_and_the_cap_its_area():
    region = Region.of(shapely.box(-180, 83, 180, 90))
    assert region.area_m2 == pytest.approx(cap_area(83.0), rel=1e-3)
    groups = [one.group for one in region.lattices(20_000.0, 4)]
    assert groups == [*(f"utm{zone:02d}" for zone in range(1, 61)), "ups_n"]
    lattice = lattice_for("ups_n", 20_000.0, 4)
    whole = Rect(0, 0, *lattice.shape)
    np.testing.assert_array_equal(region.coverage(lattice, whole)[lattice.owned(whole)], 1.0)


def test_a_chosen_projection_holds_all_in_one_group():
    box = BBox(5.0, 49.5, 7.0, 50.5)
    region = Region.of(box)
    lattice = lattice_of(LAEA, 1000.0, 8)
    assert region.lattices(1000.0, 8, LAEA) == (lattice,)
    top, left, bottom, right = (side * 8 for side in region.blocks(lattice).bounds)
    around = Rect(top - 8, left - 8, bottom + 8, right + 8)
    assert list(region.blocks(lattice)) == slow_blocks(region, lattice, around)
    # An equal-area projection: shares add up to the area on the ellipsoid.
    assert region.coverage(lattice, around).sum() * 1e6 == pytest.approx(box.area_m2, rel=1e-6)


def test_what_a_projection_cannot_hold_is_refused():
    with pytest.raises(SpecError, match="outside its area of use"):
        Region.of(BBox(-70.0, 40.0, -69.0, 41.0)).lattices(1000.0, 8, LAEA)


def test_frames_and_files_are_united_in_any_reference_system(tmp_path):
    squares = [shapely.box(x, 5_600_000, x + 3_000, 5_602_000) for x in (400_000, 402_000, 410_000)]
    frame = gpd.GeoDataFrame(geometry=squares, crs=UTM31)
    frame.to_file(tmp_path / "county.gpkg")
    frame.to_crs(WGS84).to_file(tmp_path / "county.geojson")
    region = Region.of(frame)
    assert region.shape.area == pytest.approx(16e6)
    assert Region.of(tmp_path / "county.gpkg") == region
    same = Region.of(str(tmp_path / "county.geojson"))
    lattice = lattice_for("utm31", 500.0, 2)
    assert same.area_m2 == pytest.approx(region.area_m2, rel=1e-5)
    rect = token_at(lattice, 405_000, 5_601_000, reach=24)
    np.testing.assert_allclose(same.coverage(lattice, rect), region.coverage(lattice, rect), atol=3e-3)
    assert region.coverage(lattice, rect).sum() == pytest.approx(64)


def test_a_region_survives_json_and_equal_ones_are_equal():
    region = Region.of(shapely.box(4.0, 50.0, 4.2, 50.1))
    again = Region.from_dict(region.to_dict())
    assert again == region == Region.of(BBox(4.0, 50.0, 4.2, 50.1))
    assert (again.digest, hash(again)) == (region.digest, hash(region))
    assert region.digest != Region.of(shapely.box(4.0, 50.0, 4.2, 50.2)).digest


def test_two_regions_together_cover_their_common_border_once():
    lattice = lattice_for("utm31", 1000.0, 4)
    left, right = (Region.of(shapely.box(x, 5_600_000, x + 2_500, 5_602_000), crs=UTM31) for x in (400_000, 402_500))
    rect = token_at(lattice, 402_500, 5_601_000)
    both = (left | right).coverage(lattice, rect)
    np.testing.assert_allclose(both, left.coverage(lattice, rect) + right.coverage(lattice, rect), atol=1e-7)
    assert both.sum() == 10


BOW = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])  # its two halves cancel: its area is 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (shapely.Point(4, 50), "no area"),
        (
            gpd.GeoSeries([shapely.box(4, 50, 5, 51), shapely.Point(6, 50)], crs=WGS84),
            "such as points or lines: 1 of 2",
        ),
        (BOW, "not simple"),
        (gpd.GeoSeries([shapely.box(4, 50, 5, 51), BOW], crs=WGS84), "not simple"),
        (shapely.Polygon([(4, 50), (5, 50), (5, np.inf)]), "not all of its coordinates are finite"),
        (shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 1)]), "not simple"),
        (shapely.box(4, 80, 5, 95), "latitudes lie in"),
        (shapely.box(400, 10, 401, 11), "longitudes lie in"),
        (gpd.GeoSeries([shapely.box(4, 50, 5, 51)]), "does not state its crs"),
        (12, "is not an area"),
        ("no_such_file.gpkg", "region = .*cannot read it"),
    ],
)
def test_what_is_no_region_is_refused(source, reason):
    with pytest.raises(SpecError, match=reason):
        Region.of(source)


def test_collections_are_taken_apart_and_missing_shapes_left_out():
    square = shapely.box(4, 50, 5, 51)
    nested = shapely.GeometryCollection([shapely.GeometryCollection([shapely.MultiPolygon([square])])])
    assert Region.of(nested) == Region.of(square)
    assert Region.of(gpd.GeoSeries([None, square, shapely.Polygon()], crs=WGS84)) == Region.of(square)


def test_bounds_go_the_short_way_across_the_antimeridian():
    across, apart = (
        BBox(179.5, -10.0, -179.25, -9.0),
        shapely.union(shapely.box(-150, 0, -140, 1), shapely.box(170, 0, 180, 1)),
    )
    assert Region.of(across).bounds == pytest.approx((179.5, -10.0, -179.25, -9.0))
    assert Region.of(apart).bounds == pytest.approx((-150.0, 0.0, 180.0, 1.0))
    for bounds in ((4.0, 50.0, 5.0, 51.0), (-180.0, 10.0, 180.0, 11.0)):
        assert Region.of(shapely.box(*bounds)).bounds == pytest.approx(bounds)


@pytest.mark.parametrize("crs", ["EPSG:3857", "+proj=laea +lat_0=48 +lon_0=2"])
def test_a_projection_of_the_whole_earth_has_the_blocks_that_a_region_touches(crs):
    """Mercator stretches meridians without bending them, and what lies opposite a centre bends without end."""
    region = Region.of(BBox(3.0, 50.0, 3.04, 50.03))
    (lattice,) = region.lattices(80.0, 16, crs)
    shape = moved([region.lonlat], lattice.crs)
    west, south, east, north = shape.bounds
    (top, left), (bottom, right) = lattice.index(west, north), lattice.index(east, south)
    around = [(row, col) for row in range(top // 16, bottom // 16 + 1) for col in range(left // 16, right // 16 + 1)]
    grids = [lattice.grid(lattice.rect(*block)).bounds for block in around]
    touched = [block for block, bounds in zip(around, grids, strict=True) if shape.intersects(shapely.box(*bounds))]
    assert list(region.blocks(lattice)) == touched
    assert len(touched) > 4


def test_a_region_too_small_to_see_is_refused():
    speck = shapely.box(4.0, 50.0, 4.0 + 1e-8, 50.0 + 1e-8)
    with pytest.raises(SpecError, match="smaller than a token"):
        Region.of(speck).lattices(80.0, 64)


def test_a_large_box_in_metres_closes_where_it_began():
    region = Region.of(BBox(350_000.0, 5_000_000.0, 650_000.0, 5_300_000.0, crs="EPSG:32631"))
    assert region.area_m2 == pytest.approx(9e10, rel=2e-3)
