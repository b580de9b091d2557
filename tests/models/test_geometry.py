import numpy as np
import pytest

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Grid, Window
from rs_embed_dask.preprocess.geometry import fit_image, place_grid, tile_starts, view_px
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, grid, ramps

GRID = OutputSpec.grid()


def inputs(**changes):
    return Inputs("s2", ("sentinel-2-l2a",), ("red", "nir"), **changes)


@pytest.mark.parametrize(
    ("length", "tile", "stride", "known"),
    [
        (16, 16, 16, (0,)),
        (32, 16, 16, (0, 16)),
        (40, 16, 16, (0, 16, 24)),
        (40, 16, 8, (0, 8, 16, 24)),
        (36, 16, 12, (0, 12, 20)),
    ],
)
def test_tiles_cover_the_image_and_end_with_it(length, tile, stride, known):
    assert tile_starts(length, tile, stride) == known


@pytest.mark.parametrize(("side", "known"), [(52, 56), (51, 48), (4, 8), (3, 8), (96, 96), (500, 96), (60, 64)])
def test_a_network_of_any_size_takes_the_nearest_multiple(side, known):
    fit = fit_image(inputs(max_px=96), 8, (side, side), prep=InputPrep.resize())
    assert fit.net_px == (known, known)
    assert fit.shape == (known // 8, known // 8)
    assert fit.cell_px[0] == pytest.approx(side * 8 / known)


def test_auto_tiles_what_is_larger_and_refuses_too_many():
    small, large = (16, 16), (64, 64)
    assert fit_image(inputs(size_px=16), 4, small, prep=InputPrep.auto()).tile_count == 1
    assert fit_image(inputs(size_px=16), 4, large, prep=InputPrep.auto()).tile_count == 16
    with pytest.raises(SpecError, match=r"max_tiles = 15.*64 x 64 px take 16 tiles of 16 px.*compute_map"):
        fit_image(inputs(size_px=16), 4, large, prep=InputPrep.auto(max_tiles=15))


def test_auto_sees_a_small_place_with_the_imagery_around_it():
    """A place of 6 x 5 px in a read of 24: the network sees 16 x 16 px of it, and the tokens under the place count."""
    fit = fit_image(inputs(size_px=16), 4, (24, 24), prep=InputPrep.auto(), crop=Window(9, 10, 6, 5))
    assert fit.image == Window(5, 6, 16, 16)  # a token begins where the place does
    assert (fit.pad, fit.resized_px, fit.cell_px, fit.tile_count) == ((0, 0), (16, 16), (4, 4), 1)
    assert fit.keep == Window(1, 1, 2, 2)  # 6 and 5 px are two tokens each
    place = place_grid(Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (24, 24)), fit)
    assert (place.transform[2], place.transform[5]) == (600_000 + 10 * 10, 5_700_000 - 10 * 9)


def test_auto_widens_the_short_side_of_a_long_place():
    fit = fit_image(inputs(size_px=16), 4, (40, 40), prep=InputPrep.auto(), crop=Window(17, 0, 6, 38))
    assert fit.image == Window(13, 0, 16, 40)
    assert (fit.tile_count, fit.pad, fit.tokens) == (3, (0, 0), (4, 10))
    assert fit.keep == Window(1, 0, 2, 10)


def test_auto_of_a_network_of_any_size_adds_only_what_tokens_need():
    fit = fit_image(inputs(max_px=96), 8, (64, 64), prep=InputPrep.auto(), crop=Window(2, 2, 60, 60))
    assert (fit.image, fit.net_px, fit.cell_px) == (Window(0, 0, 64, 64), (64, 64), (8, 8))
    assert view_px(inputs(max_px=96), 8, 60, prep=InputPrep.auto()) == 64
    assert view_px(inputs(max_px=96), 8, 97, prep=InputPrep.auto()) == 104
    assert view_px(inputs(size_px=224), 16, 30, prep=InputPrep.auto()) == 224


def test_auto_resizes_only_an_image_without_more_around_it():
    fit = fit_image(inputs(size_px=16), 4, (10, 10), prep=InputPrep.auto())
    assert fit.cell_px == (2.5, 2.5)


def test_an_image_smaller_than_a_tile_is_resized():
    assert fit_image(inputs(size_px=16), 4, (10, 40), prep=InputPrep.tile()).tile_count == 1


def test_tokens_that_are_no_whole_pixels_are_refused():
    with pytest.raises(SpecError, match="tile_px = 30"):
        fit_image(inputs(size_px=16), 4, (64, 64), prep=InputPrep.tile(tile_px=30))
    with pytest.raises(SpecError, match=r"stride_px = 6.*multiple of 4 up to 16"):
        fit_image(inputs(size_px=16), 4, (64, 64), prep=InputPrep.tile(stride_px=6))


def test_larger_tiles_are_resized_to_the_network():
    fit = fit_image(inputs(size_px=16), 4, (64, 64), prep=InputPrep.tile(tile_px=32))
    assert (fit.tile_count, fit.net_px, fit.cell_px, fit.shape) == (4, (16, 16), (8, 8), (8, 8))


def centres(features):
    """Centres of tokens by the affine, in pixels of the image whose corner is at (600 000, 5 700 000)."""
    rows = (5_700_000 - np.asarray(features.grid.ys)) / 10
    columns = (np.asarray(features.grid.xs) - 600_000) / 10
    return rows, columns


def place_of(model, image, prep, crop=None):
    """Embed ramps and compare where the affine says a token is with where its pixels were."""
    (features,) = model.embed_cubes([{"s2": cube(image, bands=("red", "nir"))}], GRID, prep, crops=[crop])
    rows, columns = centres(features)
    assert features.values.shape[1:] == features.grid.shape == (len(rows), len(columns))
    off = np.abs(features.values[0] / 100 - rows[:, None]), np.abs(features.values[1] / 100 - columns)
    return features, off


@pytest.mark.parametrize(
    ("shape", "prep"),
    [
        ((16, 16), InputPrep.resize()),
        ((32, 48), InputPrep.tile()),
        ((40, 56), InputPrep.tile()),
        ((40, 56), InputPrep.tile(stride_px=8)),
        ((64, 64), InputPrep.tile(stride_px=12)),
        ((36, 64), InputPrep.auto()),
    ],
)
def test_a_token_lies_where_the_affine_says(mirror, shape, prep):
    _, off = place_of(mirror(), ramps(*shape), prep)
    assert max(np.max(o) for o in off) < 1e-3


def test_only_the_last_tokens_see_reflected_pixels(mirror):
    features, off = place_of(mirror(), ramps(37, 50), InputPrep.tile())
    assert features.grid.shape == (10, 13)
    assert max(np.max(o[:-1, :-1]) for o in off) < 1e-3


def test_a_resized_token_lies_where_the_affine_says(mirror):
    features, off = place_of(mirror(), ramps(24, 24), InputPrep.resize())
    assert features.grid.shape == (4, 4)
    assert features.grid.transform[0] == pytest.approx(60)
    assert max(np.max(o[1:-1, 1:-1]) for o in off) < 1e-3
    assert max(np.max(o) for o in off) < 0.2


def test_a_rectangle_is_cut_out_of_its_square(mirror):
    crop = Window(8, 0, 16, 32)
    features, off = place_of(mirror(), ramps(32, 32), InputPrep.resize(), crop)
    assert features.grid.shape == (2, 4)
    assert features.grid.transform[5] == 5_700_000 - 80
    assert max(np.max(o) for o in off) < 0.6


def test_the_crop_keeps_every_token_it_touches(mirror):
    features, _ = place_of(mirror(), ramps(16, 16), InputPrep.resize(), Window(3, 4, 6, 5))
    assert features.grid.shape == (3, 2)
    assert features.grid.bounds == (600_040, 5_699_880, 600_120, 5_700_000)


def test_tiles_need_no_square(mirror):
    features, off = place_of(mirror(), ramps(48, 48), InputPrep.tile(), Window(12, 0, 20, 48))
    assert features.grid.shape == (5, 12)
    assert features.grid.transform[5] == 5_700_000 - 120
    assert max(np.max(o) for o in off) < 1e-3


def test_a_pooled_crop_is_the_mean_of_its_tokens(mirror):
    image = cube(ramps(16, 16), bands=("red", "nir"))
    (features,) = mirror().embed_cubes([{"s2": image}], crops=[Window(4, 8, 8, 4)])
    assert features.values == pytest.approx([800, 1000])
    assert features.grid is None


def test_a_rectangle_without_its_square_is_reflected(mirror):
    features, off = place_of(mirror(), ramps(8, 16), InputPrep.resize())
    assert features.grid.shape == (2, 4)
    assert max(np.max(o) for o in off) < 1e-3


def test_a_rectangle_may_be_stretched(mirror):
    features, off = place_of(mirror(rectangle="stretch"), ramps(8, 16), InputPrep.resize())
    assert features.grid.shape == (4, 4)
    assert features.grid.transform[:5] == (40, 0, 600_000, 0, -20)
    assert max(np.max(o[1:-1, 1:-1]) for o in off) < 1e-3


def test_a_centre_crop_moves_the_grid(mirror):
    features, off = place_of(mirror(short_px=24), ramps(24, 24), InputPrep.resize())
    assert features.grid.bounds == (600_040, 5_699_800, 600_200, 5_699_960)
    assert max(np.max(o) for o in off) < 1e-3


def test_the_card_knows_the_grid_before(mirror):
    model = mirror()
    for shape, crop, prep in [
        ((16, 16), None, InputPrep.resize()),
        ((37, 50), None, InputPrep.tile()),
        ((48, 48), Window(12, 0, 20, 48), InputPrep.auto()),
        ((16, 16), Window(3, 4, 6, 5), InputPrep.resize()),
    ]:
        (features,) = model.embed_cubes([{"s2": cube(ramps(*shape), bands=("red", "nir"))}], GRID, prep, crops=[crop])
        assert features.values.shape[1:] == model.card.grid_shape(model.spec, shape, prep, crop=crop)


def test_overlapping_tiles_own_up_to_the_middle(mirror, monkeypatch):
    model = mirror()
    seen = []
    forward = model.encoder.forward

    def numbered(batch):
        tokens = forward(batch)
        tokens.patches[:] = torch.arange(len(tokens.patches)).view(-1, 1, 1, 1).float()
        seen.append(len(tokens.patches))
        return tokens

    import torch

    monkeypatch.setattr(model.encoder, "forward", numbered)
    (features,) = model.embed_cubes(
        [{"s2": cube(ramps(16, 24), bands=("red", "nir"))}], GRID, InputPrep.tile(stride_px=8)
    )
    assert seen == [2]
    assert features.values[0, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_native_inputs_keep_their_pixels():
    fit = fit_image(inputs(native=True), 8, (37, 50), prep=InputPrep.tile(), crop=Window(0, 0, 20, 33))
    assert (fit.net_px, fit.shape, fit.pad) == ((20, 33), (3, 5), (0, 0))


def test_grids_of_other_resolutions_follow(mirror):
    place = grid(16, 16, resolution=20.0)
    (features,) = mirror().embed_cubes([{"s2": cube(ramps(16, 16), bands=("red", "nir"), place=place)}], GRID)
    assert features.grid.resolution_m == pytest.approx(80)
