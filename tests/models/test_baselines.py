"""The three models that need no weights: their answers can be worked out by hand."""

import numpy as np
import pytest
from pyproj import Transformer

import rs_embed_dask as rs
from rs_embed_dask.errors import ModelInputError, SpecError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.rcf import filters_from_images
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import TEN, cube, grid, months, ramps, scene

GRID = OutputSpec.grid()
STATISTICS = ("mean", "std", "min", "max", "p10", "p25", "p50", "p75", "p90")
RED_NIR = ("red", "nir")


def rcf(**options):
    return load_model("rcf", device="cpu", **options)


def bandstats(**options):
    return load_model("bandstats", device="cpu", **options)


KNOWN = [0.0108404, 0.7285366, 0.00214244, 1.8635430, 0.05701655, 0.09749453]


class TestRandomFeatures:
    def test_known_numbers_on_every_machine(self):
        image = np.arange(10 * 16 * 16).reshape(10, 16, 16) * 97.0 % 3001
        given = rcf(features=3, seed=7).embed(image).data
        assert given == pytest.approx(KNOWN, rel=1e-5)

    def test_by_hand(self):
        model = rcf(features=5, bands=RED_NIR, bias=0.5)
        image = scene(1, 2, 12)[0]
        filters = model.encoder.filters.numpy().astype(np.float64)
        mean, std = np.array([1000.0, 2600.0]), np.array([700.0, 1050.0])
        scaled = np.pad((image - mean[:, None, None]) / std[:, None, None], ((0, 0), (1, 1), (1, 1)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(scaled, (3, 3), axis=(1, 2))
        answers = np.einsum("kcij,cyxij->kyx", filters, windows)
        both = np.concatenate([np.maximum(answers - 0.5, 0), np.maximum(-answers - 0.5, 0)])
        assert model.embed(image).data == pytest.approx(both.mean((1, 2)), rel=1e-5)
        cells = model.embed(image, output=GRID).data
        assert cells[:, 0, 0] == pytest.approx(both[:, :8, :8].mean((1, 2)), rel=1e-5)
        assert cells[:, 1, 1] == pytest.approx(both[:, 8:, 8:].mean((1, 2)), rel=1e-5)

    def test_filters_have_norm_one_and_depend_on_the_seed(self):
        one, same, other = (rcf(features=70, seed=seed).encoder.filters.numpy() for seed in (0, 0, 1))
        assert np.linalg.norm(one.reshape(70, -1), axis=1) == pytest.approx(1, rel=1e-6)
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_a_grid_is_a_map(self):
        image = cube(scene(1, 10, 37), place=grid(37, 37), frames=months(1))
        (features,) = rcf(features=4).embed_cubes([{"s2": image}], GRID)
        assert features.values.shape == (8, 5, 5)
        assert features.grid.transform == (80, 0, 600_000, 0, -80, 5_700_000)

    def test_many_filters_come_in_their_order(self):
        image = scene(1, 10, 16)[0]
        many = rcf(features=130)
        few = many.encoder.filters.clone()
        answers = many.embed(image).data
        again = rcf(features=130)
        assert np.array_equal(again.encoder.filters.numpy(), few.numpy())
        assert again.embed(image[:, :, ::-1]).data.shape == answers.shape == (260,)
        assert (answers >= 0).all()

    def test_a_batch_equals_its_items(self):
        model = rcf(features=16)
        images = np.stack([scene(1, 10, 20, seed)[0] for seed in range(3)])[:, None]
        alone = np.stack([model.embed(image).data for image in images])
        assert np.array_equal(model.embed(images).data, alone)  # to the last bit, whatever else is in the batch

    def test_rectangles_are_cut_before(self):
        from rs_embed_dask.imagery.grid import Window

        values = scene(1, 10, 32)
        crop = Window(4, 0, 16, 32)
        (cut,) = rcf(features=8).embed_cubes([{"s2": cube(values)}], crops=[crop])
        assert cut.values == pytest.approx(rcf(features=8).embed(values[..., 4:20, :]).data, rel=1e-6)

    def test_filters_of_ones_own_images(self):
        images = np.random.default_rng(0).standard_normal((4, 10, 20, 20)).astype(np.float32)
        filters = filters_from_images(images, features=32)
        assert filters["filters"].shape == (32, 10, 3, 3)
        assert np.linalg.norm(filters["filters"].reshape(32, -1), axis=1) == pytest.approx(1, rel=1e-5)
        assert np.array_equal(filters["filters"], filters_from_images(images, features=32)["filters"])
        model = rcf(features=32, variant="patches", weights=filters)
        assert model.weights_info["source"] == "given"
        assert model.embed(scene(1)[0]).shape == (64,)

    def test_filters_that_cannot_be(self):
        with pytest.raises(WeightsError, match="filters_from_images"):
            rcf(variant="patches")
        with pytest.raises(SpecError, match="no patch can be cut out"):
            filters_from_images(np.zeros((1, 3, 2, 2), np.float32))

    def test_any_bands(self):
        model = rcf(features=4, bands=("coastal", "swir22"))
        assert model.inputs[0].bands == ("coastal", "swir22")
        assert model.embed(scene(1, 2)[0]).shape == (8,)


class TestBandStatistics:
    def test_as_numpy_has_them(self):
        image = scene(5, 10, 16)
        given = bandstats().embed(image).data.reshape(10, len(STATISTICS))
        x = image.astype(np.float64) / 10_000
        parts = [x.mean(0), x.std(0), x.min(0), x.max(0), *np.percentile(x, (10, 25, 50, 75, 90), axis=0)]
        known = np.stack([part.mean((1, 2)) for part in parts], axis=1)
        assert given == pytest.approx(known, rel=1e-4)

    def test_missing_pixels_are_left_out(self):
        image = scene(6, 2, 16)
        image[:5][np.random.default_rng(0).random(image[:5].shape) < 0.4] = np.nan
        given = bandstats(bands=RED_NIR).embed(image)
        x = image.astype(np.float64) / 10_000
        parts = [np.nanmean(x, 0), np.nanstd(x, 0), np.nanmin(x, 0), np.nanmax(x, 0)]
        parts += list(np.nanpercentile(x, (10, 25, 50, 75, 90), axis=0))
        known = np.stack([np.nanmean(part, (1, 2)) for part in parts], axis=1)
        assert given.data.reshape(2, 9) == pytest.approx(known, rel=1e-4)
        assert given.meta["notes"] == []

    def test_a_cell_without_any_is_nan(self):
        image = scene(2, 2, 16)
        image[:, :, :8, :8] = np.nan
        image[:, :, 8:12, :8] = np.nan
        cells = bandstats(bands=RED_NIR).embed(image, output=GRID).data
        assert np.isnan(cells[:, 0, 0]).all()
        assert np.isfinite(cells[:, 1]).all()
        assert cells[0, 1, 0] == pytest.approx(image[:, 0, 12:, :8].mean() / 10_000, rel=1e-5)

    def test_an_empty_frame_counts_for_nothing(self):
        image = scene(3, 10, 16)
        with_gap = np.concatenate([image, np.full((1, 10, 16, 16), np.nan, np.float32)])
        assert bandstats().embed(with_gap).data == pytest.approx(bandstats().embed(image).data, rel=1e-6)

    def test_a_cell_lies_where_the_affine_says(self):
        model = bandstats(bands=RED_NIR, patch_px=4)
        image = cube(ramps(12, 20), bands=RED_NIR)
        (features,) = model.embed_cubes([{"s2": image}], GRID, InputPrep.tile())
        rows = (5_700_000 - features.grid.ys) / 10
        columns = (features.grid.xs - 600_000) / 10
        assert features.values[0] * 100 == pytest.approx(np.repeat(rows[:, None], 5, 1), rel=1e-5)
        assert features.values[9] * 100 == pytest.approx(np.repeat(columns[None], 3, 0), rel=1e-5)

    def test_a_constant_pixel_has_no_spread(self):
        given = bandstats().embed(np.full((4, 10, 8, 8), 3000.0)).data.reshape(10, 9)
        assert given[:, STATISTICS.index("std")] == pytest.approx(0, abs=1e-7)
        assert np.delete(given, STATISTICS.index("std"), axis=1) == pytest.approx(0.3, rel=1e-5)

    def test_bands_are_the_cards(self):
        assert bandstats().inputs[0].bands == TEN


PLACE = rs.BBox(5.90, 49.99, 5.91, 50.00)
YEAR = rs.TemporalSpec.year(2022)


def location(where, **options):
    return rs.get_embedding(rs.ModelSpec("location", options=options), where, YEAR, output="grid", provider="synthetic")


def by_hand(field, scales):
    """The waves of a field's pixels, each from pyproj and the definition."""
    columns, rows = np.meshgrid(field.x, field.y)
    lon, lat = Transformer.from_crs(field.attrs["crs"], "EPSG:4326", always_xy=True).transform(columns, rows)
    turns = [2**k * np.deg2rad(angle) for k in range(scales) for angle in (lon, lat)]
    return np.stack([wave(angle) for angle in turns for wave in (np.sin, np.cos)])


class TestLocation:
    def test_by_hand(self):
        field = location(PLACE).data
        assert field.shape[0] == 64
        assert field.values == pytest.approx(by_hand(field, 16), abs=1e-6)
        assert location(PLACE, scales=2).data.values == pytest.approx(field.values[:8])
        pooled = rs.get_embedding("location", PLACE, YEAR, provider="synthetic").data
        assert pooled == pytest.approx(field.values.mean((1, 2), dtype=float), abs=1e-4)  # the box has half pixels

    def test_an_array_that_states_its_place_gives_what_a_place_does(self):
        field = location(PLACE).data
        array = field[:3].rename(dim="band").assign_attrs(crs=field.attrs["crs"])
        model = load_model("location", device="cpu")
        given = model.embed(array, output=GRID)
        assert given.data.values == pytest.approx(field.values, abs=2e-5)
        assert np.array_equal(given.data.x, field.x)
        assert model.embed(array).data == pytest.approx(field.values.mean((1, 2), dtype=float), abs=2e-5)
        largest = model.embed(array, output=OutputSpec.pooled("max")).data
        assert largest == pytest.approx(field.values.max((1, 2)), abs=2e-5)
        with pytest.raises(ModelInputError, match=r"nothing states where they lie.*get_embedding"):
            model.embed(np.ones((3, 4, 4)))

    def test_a_cube_gives_what_its_grid_does(self):
        model = load_model("location", device="cpu", scales=3)
        given = model.embed(cube(scene(2, 10, 8), frames=months(2)), output=GRID)
        assert given.data.values == pytest.approx(by_hand(given.data, 3), abs=1e-6)

    def test_the_antimeridian_is_no_edge(self):
        field = location(rs.BBox(179.99, -17.01, -179.99, -17.0, crs="EPSG:4326")).data
        steps = np.abs(np.diff(field.values, axis=2)).max((1, 2))
        assert (steps < 2 ** np.repeat(np.arange(16), 4) * np.deg2rad(1.5e-4) + 1e-6).all()  # 10 m are 1e-4 degrees

    def test_how_many_scales(self):
        for count in (0, 25):
            with pytest.raises(SpecError, match="use 1 to 24"):
                rs.plan([PLACE], [rs.ModelSpec("location", options={"scales": count})], YEAR)
            with pytest.raises(SpecError, match="use 1 to 24"):
                load_model("location", scales=count)

    def test_nothing_is_asked(self):
        told = str(rs.plan([PLACE], ["location"], YEAR))
        assert "location from the coordinates" in told
        assert "0 requests" in told
        assert rs.can_run(PLACE, 2022, models=["location"]).models == ("location",)
        assert rs.load_model("location").weights_info["source"] == "none"
