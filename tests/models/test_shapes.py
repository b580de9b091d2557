"""Results confined to a polygon: tokens and pixels are weighted by the share of each that lies inside."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from rs_embed_dask.engine.confine import within
from rs_embed_dask.errors import ModelError, SpecError
from rs_embed_dask.imagery.coverage import coverage_of, footprint
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Tokens
from rs_embed_dask.specs import BBox, InputPrep, OutputSpec, PointBuffer, Polygon
from tests.models.conftest import Mirror, cube, grid, mirror_card, months, scene

GRID, MEAN = OutputSpec.grid(), OutputSpec.pooled("mean")
LEFT, TOP = 600_000.0, 5_700_000.0


def triangles(side_m):
    """The two halves of a square below the grid's upper left corner."""
    west, south, east, north = LEFT, TOP - side_m, LEFT + side_m, TOP
    lower = shapely.Polygon([(west, south), (east, south), (west, north)])
    return lower, shapely.Polygon([(east, south), (east, north), (west, north)])


def embedded(model, shape, output=MEAN, *, side=16, prep=None):
    image = cube(scene(2, 2, side), bands=("red", "nir"), frames=months(2))
    (result,) = model.embed_cubes([{"s2": image}], output, prep or InputPrep.resize(), outlines=[shape])
    return result


class TestCoverage:
    def test_is_the_share_of_each_cell(self):
        lower, upper = triangles(40)
        expected = np.tril(np.ones((4, 4))) - np.eye(4) / 2
        np.testing.assert_allclose(coverage_of(lower, grid(4, 4)), expected, atol=1e-7)
        np.testing.assert_allclose(coverage_of(upper, grid(4, 4)), 1 - expected, atol=1e-7)

    def test_counts_holes_and_every_part(self):
        frame = shapely.box(LEFT, TOP - 40, LEFT + 40, TOP)
        holed = frame.difference(shapely.box(LEFT + 10, TOP - 35, LEFT + 30, TOP - 10))
        parts = shapely.MultiPolygon(
            [shapely.box(LEFT, TOP - 5, LEFT + 10, TOP), shapely.box(LEFT + 30, TOP - 40, LEFT + 35, TOP - 20)]
        )
        expected = np.ones((4, 4))
        expected[1:3, 1:3], expected[3, 1:3] = 0, 0.5
        np.testing.assert_allclose(coverage_of(holed, grid(4, 4)), expected, atol=1e-7)
        expected = np.zeros((4, 4))
        expected[0, 0], expected[2:, 3] = 0.5, 0.5
        np.testing.assert_allclose(coverage_of(parts, grid(4, 4)), expected, atol=1e-7)

    def test_an_outline_keeps_its_area_in_another_projection(self):
        place = Polygon.from_coordinates([(4.3, 50.8), (4.4, 50.8), (4.35, 50.9)])
        shape = footprint(place, "EPSG:32631")
        assert shape.area == pytest.approx(place.area_m2, rel=2e-3)  # UTM's own scale
        assert footprint(BBox(4, 50, 4.1, 50.1), "EPSG:32631") is None
        assert footprint(PointBuffer(4, 50, 100), "EPSG:32631") is None

    def test_across_the_antimeridian_the_grid_may_be_a_turn_away(self):
        place = Polygon.from_coordinates([(179.9, 0), (-179.9, 0), (-179.9, 0.2), (179.9, 0.2)])
        degrees = grid(2, 2, east=-180.1, north=0.2, resolution=0.1)
        cells = type(degrees)("EPSG:4326", degrees.transform, degrees.shape)
        np.testing.assert_allclose(coverage_of(footprint(place, "EPSG:4326"), cells), np.ones((2, 2)), atol=1e-6)

    def test_a_shape_beside_the_grid_is_refused(self):
        with pytest.raises(SpecError, match="outside what the model sees"):
            coverage_of(shapely.box(0, 0, 1, 1), grid(2, 2))


class TestTokens:
    def test_two_triangles_differ_and_their_weighted_mean_is_the_box(self, mirror):
        model = mirror()
        one, two = (embedded(model, shape) for shape in triangles(160))
        box = embedded(model, None)
        assert np.abs(one.values - two.values).max() > 1
        areas = [each.coverage.sum() for each in (one, two)]
        assert areas == pytest.approx([8, 8])
        joined = (areas[0] * one.values + areas[1] * two.values) / sum(areas)
        np.testing.assert_allclose(joined, box.values, rtol=1e-6)

    @pytest.mark.parametrize("prep", [InputPrep.resize(), InputPrep.tile()], ids=str)
    @pytest.mark.parametrize("side", [16, 40])
    def test_a_hole_and_several_parts_equal_the_weighted_mean_of_the_grid(self, mirror, prep, side):
        model, metres = mirror(), 10 * side
        outer = shapely.box(LEFT + 7, TOP - metres, LEFT + metres, TOP - 11)
        holed = outer.difference(shapely.box(LEFT + 33, TOP - 90, LEFT + 75, TOP - 30))
        parts = shapely.MultiPolygon([shapely.box(LEFT + 3, TOP - 22, LEFT + 41, TOP), triangles(150)[0].buffer(-40)])
        field = embedded(model, None, GRID, side=side, prep=prep)
        for shape in (holed, parts):
            shares = coverage_of(shape, field.grid)
            expected = np.average(
                field.values.astype(np.float64), axis=(1, 2), weights=np.broadcast_to(shares, field.values.shape)
            )
            expected = [np.average(band, weights=shares) for band in field.values.astype(np.float64)]
            confined = embedded(model, shape, side=side, prep=prep)
            np.testing.assert_allclose(confined.values, expected, rtol=1e-6)
            np.testing.assert_array_equal(confined.coverage, shares)

    def test_the_maximum_is_of_the_tokens_inside(self, mirror):
        model = mirror()
        corner = shapely.box(LEFT, TOP - 35, LEFT + 35, TOP)  # the first token
        field = embedded(model, None, GRID)
        np.testing.assert_allclose(embedded(model, corner, OutputSpec.pooled("max")).values, field.values[:, 0, 0])

    def test_a_grid_is_nan_where_the_share_is_zero(self, mirror):
        lower, _ = triangles(160)
        field, confined = embedded(mirror(), None, GRID), embedded(mirror(), lower, GRID)
        outside = confined.coverage == 0
        assert outside.sum() == 6
        assert np.isnan(confined.values[:, outside]).all()
        np.testing.assert_array_equal(confined.values[:, ~outside], field.values[:, ~outside])
        assert field.coverage is None

    def test_a_class_token_is_not_confined(self, mirror):
        result = embedded(mirror(), triangles(160)[0], OutputSpec.pooled("cls"))
        assert isinstance(result, ModelError)
        assert "no shape can confine" in str(result)

    def test_what_is_missing_outside_the_shape_does_not_count(self, mirror):
        lower, _ = triangles(160)
        values = scene(1, 2, 16)
        values[:, :, :8, 8:] = np.nan
        image = cube(values, bands=("red", "nir"), frames=months(1))
        whole, confined = mirror().embed_cubes([{"s2": image}] * 2, MEAN, outlines=[None, lower])
        assert whole.valid_fraction == pytest.approx([0.75])
        assert confined.valid_fraction == pytest.approx([1 - 0 / 128])

    def test_a_vector_of_its_own_needs_the_tokens_behind_it(self, registered):
        class Own(Mirror):
            def forward(self, batch):
                tokens = super().forward(batch)
                return Tokens(tokens.patches, pooled=tokens.patches.amax((1, 2)), each=self.each(tokens))

            def each(self, tokens):
                return None

        class Known(Own):
            def each(self, tokens):
                return tokens.patches * 2

        lower, _ = triangles(160)
        registered(mirror_card(), Own)
        assert "under `whole`" in str(embedded(load_model("mirror", device="cpu"), lower))
        plain = embedded(load_model("mirror", device="cpu"), None, GRID)
        registered(mirror_card(), Known)
        shares = coverage_of(lower, plain.grid)
        expected = [2 * np.average(band, weights=shares) for band in plain.values]
        np.testing.assert_allclose(embedded(load_model("mirror", device="cpu"), lower).values, expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["rcf", "bandstats"])
def test_pixel_models_weigh_pixels(model):
    """The triangles cut cells of 8 pixels; only shares of pixels make their weighted mean that of the square."""
    loaded = load_model(model, device="cpu", bands=("red", "nir"))
    image = cube(scene(1, 2, 20), bands=("red", "nir"), frames=months(1))
    shapes = [*triangles(200), None]
    one, two, box = loaded.embed_cubes([{"s2": image}] * 3, MEAN, outlines=shapes)
    assert np.abs(one.values - two.values).max() > 1e-3
    np.testing.assert_allclose((one.values + two.values) / 2, box.values, rtol=2e-6)
    field = loaded.embed_cubes([{"s2": image}], GRID)[0]
    assert field.values.shape[1:] == (3, 3)


class TestCards:
    def test_say_what_a_polygon_is(self):
        card = mirror_card()
        assert within(card, OutputSpec.pooled()) == "shape"
        assert within(card, OutputSpec.pooled("cls")) == "box"
        assert within(card, OutputSpec.pooled("max", within="box")) == "box"
        assert within(card, OutputSpec.grid()) == "shape"
        with pytest.raises(SpecError, match=r"'cls' is of the whole image.*within='box', or pooling='mean'"):
            within(card, OutputSpec.pooled("cls", within="shape"))

    @pytest.mark.parametrize(
        ("model", "bounds"),
        [
            ("clay", "box"),
            ("terrafm", "box"),
            ("panopticon", "box"),
            ("remoteclip", "box"),
            ("wildsat", "box"),
            ("thor", "box"),
            ("galileo", "shape"),
            ("dofa", "shape"),
            ("rcf", "shape"),
            ("satvision", "shape"),
        ],
    )
    def test_published_vectors(self, model, bounds):
        from rs_embed_dask.models import card

        assert within(card(model), OutputSpec.pooled()) == bounds
