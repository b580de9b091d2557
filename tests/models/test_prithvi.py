import datetime as dt

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.models import card
from rs_embed_dask.models.positions import resized, sincos
from rs_embed_dask.models.prithvi import _places
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.conftest import cube, months
from tests.models.families import SIDE, pixels, small

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")


def frames(count, seed=0):
    return np.concatenate([pixels("prithvi", "s2", 64, seed + i)["s2"] for i in range(count)])


def days(count):
    return [f"2022-{1 + 2 * i:02}-15" for i in range(count)]


def relative(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def test_variants_and_their_names():
    found = card("prithvi")
    assert card("prithvi_eo_v2_s2_6b") is found
    assert found.variant(None).name == "100M-TL"
    assert found.variant("prithvi_eo_v2_600_tl").name == found.variant("600m-tl").name == "600M-TL"
    assert found.variant("tiny-TL").weights.repo == "ibm-nasa-geospatial/Prithvi-EO-2.0-tiny-TL"
    assert found.variant("300M").weights.file == "Prithvi_EO_V2_300M.pt"
    assert [found.grid_shape(ModelSpec("prithvi", v), (224, 224), InputPrep.resize()) for v in ("300M", "600M")] == [
        (14, 14),
        (16, 16),
    ]


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_any_number_of_frames(count):
    model = small("prithvi")
    told = {"dates": days(count), "place": (3.0, 51.0)}
    grid = model.embed(frames(count), output=GRID, **told).data
    assert grid.shape == (64, 4, 4)
    assert model.embed(frames(count), **told).data == pytest.approx(grid.mean((1, 2)), abs=1e-6)
    assert (model.embed(frames(count), output=MAX, **told).data >= grid.max((1, 2)) - 1e-6).all()
    assert not np.allclose(model.embed(frames(count), output=CLS, **told).data, grid.mean((1, 2)), atol=1e-2)


def test_a_span_becomes_frames():
    rule = card("prithvi").inputs[0].frames
    spans = rule.spans(Span(dt.date(2022, 1, 1), dt.date(2023, 1, 1)))
    assert [span.midpoint for span in spans] == [
        dt.date(2022, month, day) for month, day in ((2, 15), (5, 17), (8, 16), (11, 16))
    ]
    assert [span.days for span in rule.spans(Span(dt.date(2022, 6, 1), dt.date(2022, 7, 26)))] == [27, 28]  # 55 days


def test_items_keep_their_own_dates_and_places():
    model = small("prithvi")
    values = np.stack([frames(2)] * 3)
    dates = [["2022-01-01", "2022-06-01"], ["2022-02-01", "2022-06-01"], ["2022-01-01", "2022-06-01"]]
    places = [(3.0, 51.0), (3.0, 51.0), (-70.0, -33.0)]
    together = model.embed(values, dates=dates, place=places).data
    alone = [model.embed(frames(2), dates=d, place=p).data for d, p in zip(dates, places, strict=True)]
    assert together == pytest.approx(np.stack(alone), abs=2e-6)
    assert all(relative(together[i], together[0]) > 1e-4 for i in (1, 2))


def test_items_of_unlike_numbers_of_frames():
    model = small("prithvi")
    cubes = [{"s2": cube(frames(n, seed=n), bands=BANDS, frames=months(n))} for n in (1, 3, 1)]
    for features, one in zip(model.embed_cubes(cubes), cubes, strict=True):
        assert features.values == pytest.approx(model.embed_cubes([one])[0].values, abs=2e-6)


def test_an_empty_frame_is_left_out_with_its_date():
    model = small("prithvi")
    values = frames(3)
    values[1] = np.nan
    (features,) = model.embed_cubes([{"s2": cube(values, bands=BANDS, frames=months(3))}])
    first, _, last = (span.midpoint for span in months(3))
    place = cube(values, bands=BANDS).read.grid.center_lonlat
    known = model.embed(values[[0, 2]], dates=[first, last], place=place).data
    assert features.notes == ("1 of 3 frames empty: left out",)
    assert features.values == pytest.approx(known, abs=2e-6)


def test_gaps_become_the_mean_of_training():
    model = small("prithvi")
    values = frames(1)
    values[0, 2, :32] = np.nan
    seen = model.prepare([Sample({"s2": values})]).images["s2"]
    assert seen[0, 0, 2, :32] == pytest.approx(torch.full((32, 64), 1e-4).numpy(), abs=1e-6)
    assert seen[0, 0, 2, 40].numpy() == pytest.approx((values[0, 2, 40] - 1433) / 2178, abs=1e-5)


def test_side_inputs_are_choices():
    image = frames(1)
    base = small("prithvi").embed(image, **SIDE).data
    for changed in (
        {"side": "none"},
        {"side": "dates"},
        {"side": "place"},
        {"first_day": 1},
        {"place_order": "lon_lat"},
    ):
        assert 1e-6 < relative(small("prithvi", **changed).embed(image, **SIDE).data, base) < 1
    assert np.array_equal(
        small("prithvi", side="none").embed(image).data, small("prithvi", side="none").embed(image, **SIDE).data
    )
    with pytest.raises(ModelInputError, match="dates: the model needs it"):
        small("prithvi").embed(image, place=(3.0, 51.0))
    with pytest.raises(ModelInputError, match="place: the model needs it"):
        small("prithvi").embed(image, dates=["2022-01-01"])


def test_a_variant_without_codes_needs_no_side_inputs():
    model = small("prithvi", variant="300M")
    assert not hasattr(model.encoder, "temporal_embed_enc")
    assert model.embed(frames(1)).shape == (64,)


def test_rs_embeds_scaling_is_a_choice():
    values = frames(1)
    values[0, 0, 0] = 12_000
    seen = small("prithvi", scaling="unit").prepare([Sample({"s2": values})]).images["s2"][0, 0, 0]
    assert seen[0].tolist() == [1.0] * 64
    assert seen[5].numpy() == pytest.approx(values[0, 0, 5] / 10_000)


def test_days_are_counted_through_leap_years():
    given = torch.tensor([[[2020, 12, 31], [2021, 3, 1], [2020, 3, 1], [2022, 1, 1]]])
    batch = Batch({"s2": torch.zeros(1, 4, 6, 16, 16)}, dates=given)
    assert batch.calendar(lambda day: day.timetuple().tm_yday - 1).tolist() == [[365, 59, 60, 0]]


def test_positions_have_columns_rows_and_frames():
    here = torch.device("cpu")
    table = _places((3, 4, 4, 64), 4, here)
    assert table.shape == (3, 4, 4, 64)
    assert torch.equal(table[0, 0, 2, :24], sincos(torch.tensor(2), 24))
    assert torch.equal(table[0, 3, 2, 24:48], sincos(torch.tensor(3), 24))
    assert torch.equal(table[2, 3, 2, 48:], sincos(torch.tensor(2), 16))
    wide = _places((1, 7, 2, 64), 4, here)
    assert torch.allclose(wide[0, 0, 0], table[0, 0, 0], atol=1e-6)  # corners are what both share
    assert torch.allclose(wide[0, -1, -1], table[0, -1, -1], atol=1e-6)


def test_what_is_no_whole_patch_is_left_out():
    model = small("prithvi", side="none")
    image = torch.randn(1, 1, 6, 50, 70, generator=torch.Generator().manual_seed(0))
    cut = model.tokens(Batch({"s2": image[..., :48, :64]})).patches
    assert torch.equal(model.tokens(Batch({"s2": image})).patches, cut)


def test_tables_are_resampled_by_size_or_by_factor():
    table = torch.randn(1, 4, 4, 2, generator=torch.Generator().manual_seed(0))
    assert resized(table, (4, 4), nudge=0.1) is table
    by_size, by_factor = resized(table, (3, 6)), resized(table, (3, 6), nudge=0.1)
    assert by_size.shape == by_factor.shape == (1, 3, 6, 2)
    assert not torch.allclose(by_size, by_factor, atol=1e-3)
