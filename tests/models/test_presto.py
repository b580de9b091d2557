import datetime as dt

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError, NoImageryError
from rs_embed_dask.inference import arrays
from rs_embed_dask.models.presto import _ndvi
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import from_cubes
from rs_embed_dask.specs import OutputSpec
from tests.models.conftest import cube, months
from tests.models.series_families import pixels, small

GRID = OutputSpec.grid()
SIDE = {"dates": ["2022-03-05", "2022-07-17"], "place": (3.0, 51.0)}
ALL = "s2+s1+era5+srtm+dw"


def test_ndvi_is_that_of_scaled_bands_or_zero():
    s2 = torch.zeros(3, 1, 10)
    s2[0, 0, [2, 6]] = torch.tensor([0.1, 0.3])
    s2[1, 0, [2, 6]] = torch.tensor([-0.1, 0.05])
    s2[2, 0, 2] = torch.nan
    found = _ndvi(s2)[:, 0, 0]
    assert found[:2].tolist() == pytest.approx([0.5, 0])
    assert found[2].isnan()


def test_what_a_network_sees():
    model = small("presto", modality=ALL)
    raw = {name: np.ones_like(values) for name, values in pixels("presto", ALL, 2).items()}
    raw["s2"] *= 2500
    raw["s1"] *= -15
    raw["era5"] *= 282.15
    raw["srtm"] *= 100
    seen = model.prepare(arrays.samples(raw, model.inputs, arrays.SideInputs(**SIDE))[0]).images
    first = {name: images[0, 0, :, 0, 0].tolist() for name, images in seen.items()}
    assert first["s2"] == pytest.approx([0.25] * 10)
    assert first["s1"] == pytest.approx([0.4, 0.4])
    assert first["era5"] == pytest.approx([10 / 35, 282.15 / 0.03])
    assert first["srtm"] == pytest.approx([0.05, 2])


def test_each_pixel_is_encoded_alone():
    model = small("presto", modality=ALL)
    image = pixels("presto", ALL, (3, 4))
    grid = model.embed(image, output=GRID, **SIDE).data
    one = {name: values[..., 1:2, 2:3] for name, values in image.items()}
    assert grid[:, 1, 2] == pytest.approx(model.embed(one, **SIDE).data, abs=2e-6)
    assert model.embed(image, **SIDE).data == pytest.approx(grid.mean((1, 2)), abs=1e-6)


def test_many_pixels_go_in_parts(monkeypatch):
    model, image = small("presto"), pixels("presto", "s2", (5, 4))
    whole = model.embed(image, output=GRID, **SIDE).data
    monkeypatch.setattr("rs_embed_dask.models.presto._TOKENS", {"cpu": 60})
    assert model.embed(image, output=GRID, **SIDE).data == pytest.approx(whole, abs=2e-6)


def test_missing_values_hide_their_group_at_their_pixel_and_step():
    model, image = small("presto"), pixels("presto", "s2", 2)
    image["s2"][1, 4, 0, 0] = np.nan
    found = model.embed(image, output=GRID, **SIDE)
    assert found.meta["notes"] == ["1.2% of values missing: hidden"]
    assert found.meta["filled_fraction"] == 0
    other = image["s2"].copy()
    other[1, 3, 0, 0] += 2000  # of the same group, hidden with it
    assert np.array_equal(model.embed({"s2": other}, output=GRID, **SIDE).data, found.data)
    other = image["s2"].copy()
    other[1, 8, 0, 0] += 2000  # of another group
    assert not np.allclose(model.embed({"s2": other}, output=GRID, **SIDE).data[:, 0, 0], found.data[:, 0, 0])


def test_a_step_without_a_sensor_is_hidden_and_one_band_is_enough():
    model = small("presto", modality="s2+s1")
    image = pixels("presto", "s2+s1", 2)
    image["s2"][0] = np.nan
    image["s1"][1, 1] = np.nan
    bands = model.inputs[0].bands
    cubes = {
        "s2": cube(image["s2"], bands=bands, frames=months(2)),
        "s1": cube(image["s1"], bands=("vv", "vh"), sensor="sentinel-1-rtc", frames=months(2)),
    }
    (features,) = model.embed_cubes([cubes])
    assert features.notes[0] == "1 of 2 frames of s2 empty: hidden"
    assert np.isfinite(features.values).all()
    for values in image.values():
        values[:] = np.nan
    with pytest.raises(NoImageryError):
        model.embed(image, **SIDE)


def test_labels_of_no_class_are_hidden():
    model = small("presto", modality="s2+dw")
    image = pixels("presto", "s2+dw", 2)
    none, absent = (image | {"dw": np.full_like(image["dw"], value)} for value in (9, np.nan))
    plain = small("presto").embed({"s2": image["s2"]}, **SIDE).data
    assert model.embed(none, **SIDE).data == pytest.approx(plain, abs=1e-6)
    assert model.embed(absent, **SIDE).data == pytest.approx(plain, abs=1e-6)
    water = model.embed(image | {"dw": np.zeros_like(image["dw"])}, **SIDE).data
    assert not np.allclose(water, plain, atol=1e-2)
    with pytest.raises(ModelInputError, match="pixels of dw = 12: not a class"):
        model.embed(image | {"dw": np.full_like(image["dw"], 12)}, **SIDE)


def test_place_and_months_matter_and_the_place_is_needed():
    model, image = small("presto"), pixels("presto", "s2", 2)
    base = model.embed(image, **SIDE).data
    for other in ({"place": (51.0, 3.0)}, {"dates": ["2022-04-05", "2022-08-17"]}):
        assert not np.allclose(model.embed(image, **SIDE | other).data, base, atol=1e-3)
    assert np.array_equal(model.embed(image, **SIDE | {"dates": ["2019-03-28", "2020-07-01"]}).data, base)
    with pytest.raises(ModelInputError, match="place: the model needs it"):
        model.embed(image, dates=SIDE["dates"])


def test_too_many_steps_and_unequal_grids():
    model = small("presto", modality="s2+s1")
    image = pixels("presto", "s2+s1", 2)
    with pytest.raises(ModelInputError, match=r"patches.*s1.*do not cover the same patches"):
        model.embed(image | {"s1": image["s1"][..., :1]}, **SIDE)
    dates = torch.tensor([2022, 1, 1]).expand(1, 25, 3)
    batch = Batch({"s2": torch.zeros(1, 25, 10, 1, 1)}, dates=dates, lonlat=torch.zeros(1, 2))
    with pytest.raises(ModelInputError, match=r"frames = 25.*24 positions"):
        model.tokens(batch)


def test_terrain_is_one_token_of_the_first_step():
    model = small("presto", modality="s2+srtm")
    image = pixels("presto", "s2+srtm", 2)
    base = model.embed(image, **SIDE).data
    image["srtm"][1] += 300
    assert np.array_equal(model.embed(image, **SIDE).data, base)
    image["srtm"][0] += 300
    assert not np.allclose(model.embed(image, **SIDE).data, base, atol=1e-3)


def test_dates_are_those_of_the_middle():
    model = small("presto")
    sample = from_cubes({"s2": cube(pixels("presto", "s2", 2)["s2"], frames=months(2))}, model.inputs)
    assert sample.dates == (dt.date(2022, 1, 16), dt.date(2022, 2, 15))
