"""Fewer bands than a card lists, by name: each model masks the rest as its authors do, and says so."""

import re
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import ModelInputError, PlanError, SpecError, UnknownNameError
from rs_embed_dask.inference import arrays
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.steps import names
from rs_embed_dask.specs import OutputSpec
from tests.models import any_channels, families, later_families, series_families, test_dofa
from tests.models.conftest import TEN, cube, months, scene

GRID = OutputSpec.grid()
RGB = ("red", "green", "blue")
SIDE = {"dates": ["2022-03-05", "2022-07-17"], "place": (3.0, 51.0)}
OTHERS = ("rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22")


def named(values, bands, *chosen):
    """Some bands of (T, C, H, W) as an array that names them."""
    kept = values[:, [bands.index(band) for band in chosen]]
    return xr.DataArray(kept, {"band": list(chosen)}, ("time", "band", "y", "x"))


def embed(model, values, **more):
    with pytest.warns(UserWarning, match=r"bands= of load_model says so"):
        return model.embed(values, **more)


class TestHidden:
    def test_presto_hides_what_is_missing_at_each_pixel(self):
        model, image = series_families.small("presto"), series_families.pixels("presto", "s2", 2)["s2"]
        found = embed(model, named(image, TEN, *RGB), output=GRID, **SIDE)
        gone = image.copy()
        gone[:, 3:] = np.nan
        assert np.array_equal(found.data, model.embed(gone, output=GRID, **SIDE).data)
        assert found.meta["inputs"]["s2"]["masked"] == list(OTHERS)

    def test_presto_by_hand(self):
        model = series_families.small("presto", bands=("blue", "green", "red", "nir"))
        image = series_families.pixels("presto", "s2", 1)["s2"]
        four = image[:, [0, 1, 2, 6]]
        series = {"s2": torch.full((1, 2, 10), torch.nan), "ndvi": torch.zeros(1, 2, 1)}
        scaled = torch.from_numpy(four[..., 0, 0]) / 10_000
        series["s2"][0, :, [0, 1, 2, 6]] = scaled
        series["ndvi"][0, :, 0] = (scaled[:, 3] - scaled[:, 2]) / (scaled[:, 3] + scaled[:, 2])
        with torch.inference_mode():
            tokens, shown = model.encoder.encode(series, torch.tensor([[2, 6]]), torch.tensor([[3.0, 51.0]]).double())
            known = model.encoder.norm((tokens * shown[..., None]).sum(1) / shown.sum(1, keepdim=True))[0]
        assert int(shown.sum()) == 1 + 3 * 2  # the place; RGB, NIR and NDVI of two months
        assert model.embed(four, **SIDE).data == pytest.approx(known.numpy(), abs=1e-6)

    def test_galileo_hides_groups_of_bands_by_name(self, galileo):
        model, image = galileo(), later_families.pixels("terrafm", "s2", 16, frames=2)["s2"][:, :10]
        dates = SIDE["dates"]
        sample = arrays.samples(image, model.inputs, arrays.SideInputs(dates=dates))[0]
        batch = model.prepare(sample)
        hidden = ("S2_Red_Edge", "S2_NIR_10m", "S2_NIR_20m", "S2_SWIR")
        batch.visible = {name: torch.zeros(1, 2, dtype=torch.bool) for name in hidden}
        known = model.reduce(model.tokens(batch), model.fits(sample[0])[0], GRID)[0]
        assert embed(model, named(image, TEN, *RGB), output=GRID, dates=dates).data == pytest.approx(known, abs=1e-6)
        told = galileo(bands=RGB).embed(image[:, [2, 1, 0]], output=GRID, dates=dates).data
        assert told == pytest.approx(known, abs=1e-6)

    def test_a_band_alone_in_its_group_is_hidden_with_it(self, galileo):
        image = later_families.pixels("terrafm", "s2", 16)["s2"][:, :10]
        model, dates = galileo(bands=(*RGB, "swir16")), ["2022-03-05"]
        assert model.inputs[0].masked == OTHERS
        first = model.embed(image[:, [2, 1, 0, 8]], dates=dates).data
        image[:, 8] += 900  # its token needs swir22 too
        assert np.array_equal(model.embed(image[:, [2, 1, 0, 8]], dates=dates).data, first)
        image[:, 0] += 900
        assert not np.allclose(model.embed(image[:, [2, 1, 0, 8]], dates=dates).data, first, atol=1e-3)
        for model in ("galileo", "presto"):
            with pytest.raises(SpecError, match=r"\('red', 'swir16'\): a token needs all bands of its group"):
                rs.load_model(model, weights="random", bands=("red", "swir16"))


class TestStandIns:
    BANDS = card("olmoearth").inputs[0].bands

    def image(self):
        return series_families.pixels("olmoearth", "s2", 8)["s2"]

    def test_version_1_copies_the_nearest_band(self):
        model, image, dates = series_families.small("olmoearth", variant="nano_v1"), self.image(), SIDE["dates"]
        have = ("blue", "red", "nir08", "swir22")
        nearest = names("blue blue red nir08 red red nir08 nir08 swir22 swir22 blue nir08")
        full = image[:, [self.BANDS.index(band) for band in nearest]]
        known = model.embed(full, dates=dates).data
        assert embed(model, named(image, self.BANDS, *have), dates=dates).data == pytest.approx(known, abs=1e-6)
        with pytest.raises(SpecError, match=r"bands of s1 .*no band is the nearest"):
            rs.load_model("olmoearth:nano_v1:s1", weights="random", accept_licence=True, bands=("vv",))

    def test_later_versions_take_zero(self):
        model, image, dates = series_families.small("olmoearth", variant="nano_v1_2"), self.image(), SIDE["dates"]
        (scale,) = model.inputs[0].steps
        zero = np.array(scale.mean) - scale.k * np.array(scale.std)
        full = np.broadcast_to(zero[:, None, None], image.shape).astype(np.float32)
        full[:, :3] = image[:, :3]
        known = model.embed(full, dates=dates).data
        assert embed(model, named(image, self.BANDS, *RGB), dates=dates).data == pytest.approx(known, abs=1e-5)


SMALL = {
    "fomo": partial(series_families.small, "fomo"),
    "panopticon": partial(any_channels.small, "panopticon"),
    "dofa": test_dofa.small,
    "clay": partial(families.small, "clay"),
}


class TestLeftOut:
    """A channel is a token, or part of one, by itself."""

    @pytest.mark.parametrize("model", SMALL)
    def test_by_hand(self, model):
        whole, side = SMALL[model](), {"resolution_m": 10.0, "dates": ["2022-03-05"], "place": (3.0, 51.0)}
        every = whole.inputs[0].bands
        image = scene(1, len(every), whole.inputs[0].size_px)
        at = [every.index(band) for band in RGB]
        full = whole.prepare(arrays.samples(image, whole.inputs, arrays.SideInputs(**side))[0])
        facts = tuple((name, tuple(values[i] for i in at)) for name, values in whole.inputs[0].per_band)
        given = Batch(
            {"s2": full.images["s2"][:, :, at]},
            {"s2": Inputs("s2", (), RGB, per_band=facts)},
            dates=full.dates,
            lonlat=full.lonlat,
            gsd_m=full.gsd_m,
            read_m=full.read_m,
        )
        fit = whole.fits(arrays.samples(image, whole.inputs, arrays.SideInputs())[0][0])[0]
        known = whole.reduce(whole.tokens(given), fit)[0]
        assert embed(whole, named(image, every, *RGB), **side).data == pytest.approx(known, abs=1e-5)
        told = SMALL[model](bands=RGB)
        assert told.embed(image[:, at], **side).data == pytest.approx(known, abs=1e-5)
        assert "masked" in told.embed(image[:, at], **side).meta["inputs"]["s2"]

    def test_thor(self):
        model = later_families.small("thor", patch_px=8, size_px=0)
        image = later_families.pixels("thor", "s2", 32)["s2"]
        told = later_families.small("thor", patch_px=8, size_px=0, bands=RGB).embed(image[:, [2, 1, 0]]).data
        assert embed(model, named(image, TEN, *RGB)).data == pytest.approx(told, abs=1e-6)


class TestOfSeveral:
    def test_each_modality_takes_its_own_and_one_that_is_not_named_all(self, galileo):
        model = galileo(modality="s2+s1", bands=RGB)
        assert [one.bands for one in model.inputs] == [RGB, ("vv", "vh")]
        with pytest.raises(UnknownNameError, match=r"band of s2\+s1 = 'cirrus'"):
            galileo(modality="s2+s1", bands=(*RGB, "cirrus"))

    def test_an_array_of_one_may_lack_some(self, galileo):
        model = galileo(modality="s2+s1")
        image = later_families.pixels("terrafm", "s2", 16)["s2"][:, :10]
        radar = np.full((1, 2, 16, 16), -12.0, np.float32)
        found = embed(model, {"s2": named(image, TEN, *RGB), "s1": radar}, dates=["2022-03-05"])
        told = galileo(modality="s2+s1", bands=RGB).embed(
            {"s2": image[:, [2, 1, 0]], "s1": radar}, dates=["2022-03-05"]
        )
        assert found.data == pytest.approx(told.data, abs=1e-6)

    def test_a_cube_of_a_read_too(self, galileo):
        image = later_families.pixels("terrafm", "s2", 16)["s2"][:, [2, 1, 0]]
        found = embed(galileo(), cube(image, bands=RGB, frames=months(1)))
        assert found.meta["inputs"]["s2"]["bands"] == ["blue", "green", "red"]


def test_what_is_masked_is_said_before_and_after():
    place, span = rs.PointBuffer(5.33, 50.63, 80), rs.TemporalSpec.range("2022-06-01", "2022-07-01")
    spec = rs.ModelSpec("presto", weights="random", options={"bands": RGB})
    planned = rs.plan([place], [spec], span, provider="synthetic")
    assert planned.outlook.masked == (
        f"presto: {', '.join(OTHERS)} of s2: hidden from the network, with the bands that share their token",
    )
    assert planned.recipe.groups[0].bands == RGB
    found = rs.get_embedding(spec, place, span, provider="synthetic")
    assert found.meta["inputs"]["s2"]["masked"] == list(OTHERS)
    sensor = rs.SensorSpec("sentinel-2-l2a", bands=("B4", "B3"))
    with pytest.raises(PlanError, match=r"options=\{'bands': \('red', 'green'\)\}"):
        rs.plan([place], [spec.id], span, provider="synthetic", sensor=sensor)


def test_models_that_need_all_their_bands_say_so():
    image = series_families.pixels("anysat", "s2", 4)["s2"]
    model = series_families.small("anysat")
    with pytest.raises(ModelInputError, match="no rededge1"):
        model.embed(named(image, TEN, *RGB), dates=["2022-03-05"] * len(image))
    assert any(re.search("no rule for a missing band", note) for note in card("anysat").notes)
    with pytest.raises(ModelInputError, match="10 bands are needed"):
        series_families.small("presto").embed(image[:, :3], **SIDE)  # without names nobody knows which they are
