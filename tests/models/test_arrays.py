import json

import numpy as np
import pytest
import xarray as xr

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import ModelInputError, NoImageryError, SpecError
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import TEN, cube, grid, ramps, scene

GRID = OutputSpec.grid()
DAYS = ["2022-01-10", "2022-05-10", "2022-09-10"]


def test_shapes_of_arrays(mirror):
    model = mirror()
    image = ramps(16, 16)[0]
    assert model.embed(image).shape == (2,)
    assert model.embed(image[None]).shape == (2,)
    assert model.embed(np.stack([image, image])[:, None]).shape == (2, 2)
    assert model.embed(image[None, None]).shape == (1, 2)
    assert model.embed(np.stack([image, image])[:, None], output=GRID).shape == (2, 2, 4, 4)
    assert model.embed(image.astype(np.uint16)).shape == (2,)


def test_one_frame_or_all_at_once(galileo):
    image = scene(3)
    batch = np.stack([image, image[::-1]])
    model = galileo()
    together = model.embed(batch, dates=[DAYS, DAYS[::-1]], output=GRID).data
    alone = [
        model.embed(image, dates=DAYS, output=GRID).data,
        model.embed(image[::-1], dates=DAYS[::-1], output=GRID).data,
    ]
    assert np.allclose(together, np.stack(alone), atol=1e-6)


def test_a_cube_comes_back_as_a_map(mirror):
    image = cube(ramps(16, 16), bands=("red", "nir"))
    given = mirror().embed(image, output=GRID)
    assert isinstance(given.data, xr.DataArray)
    assert given.data.dims == ("dim", "y", "x")
    assert given.data.x.values.tolist() == [600_020, 600_060, 600_100, 600_140]
    assert given.data.y.values.tolist() == [5_699_980, 5_699_940, 5_699_900, 5_699_860]
    assert "32631" in given.data.spatial_ref.attrs["spatial_ref"]
    assert given.data.values[0, :, 0] == pytest.approx([200, 600, 1000, 1400])


def test_a_labelled_array_is_read_by_name(mirror, galileo):
    labelled = cube(scene(3), place=grid(32, 32)).to_xarray()
    turned = labelled.isel(band=slice(None, None, -1)).transpose("band", "time", "x", "y")
    model = galileo()
    one, other = (model.embed(array, output=GRID).data for array in (labelled, turned))
    assert np.allclose(one.values, other.values)
    assert one.coords.equals(other.coords)
    pair = labelled.sel(band=["nir", "red"]).isel(time=0).assign_coords(band=["B8", "B04"])
    assert mirror(size_px=32).embed(pair).data == pytest.approx(
        labelled.sel(band=["red", "nir"])[0].mean(("y", "x")), rel=1e-5
    )


def test_times_of_a_labelled_array_are_its_dates(galileo):
    labelled = cube(scene(3)).to_xarray()
    model = galileo()
    days = [str(day)[:10] for day in labelled.time.values]
    given = model.embed(labelled).data
    assert np.allclose(given, model.embed(labelled.values, dates=days).data, atol=1e-6)


def test_modalities_by_name(galileo):
    optical, radar = scene(2), -np.abs(scene(2, 2, seed=1)) / 300
    model = galileo(modality="s2+s1")
    both = model.embed({"s1": radar, "s2": optical}, dates=DAYS[:2])
    assert both.meta["modality"] == "s2+s1"
    assert not np.allclose(both.data, galileo().embed(optical, dates=DAYS[:2]).data)
    with pytest.raises(ModelInputError, match="s1 is not there"):
        model.embed(optical, dates=DAYS[:2])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((16, 16)), "not images"),
        (np.zeros((1, 1, 1, 2, 16, 16)), "not images"),
        (np.full((2, 16, 16), "a"), "not images"),
        (np.zeros((3, 16, 16)), "2 bands are needed.*red, nir in this order"),
        (np.zeros((2, 0, 16)), "2 bands"),
        (np.full((2, 16, 16), 0.3), "half of them are at most 0.3.*multiply by 10 000"),
        (np.full((2, 16, 16), 3, np.uint8), "8-bit"),
        (xr.DataArray(np.zeros((2, 4, 4)), dims=("band", "y", "x"), coords={"band": ["red", "green"]}), "no nir"),
    ],
)
def test_arrays_that_cannot_be_used(mirror, image, message):
    with pytest.raises(ModelInputError, match=message):
        mirror().embed(image)


def test_power_is_not_taken_for_decibels(galileo):
    with pytest.raises(ModelInputError, match=r"backscatter in dB is needed.*10 log10"):
        galileo(modality="s1").embed(np.full((1, 2, 16, 16), 0.05), dates=["2022-01-01"])


@pytest.mark.parametrize(
    ("side", "error", "message"),
    [
        ({"dates": ["2022-01-01"]}, ModelInputError, "dates = 1: there are 3 frames"),
        ({"dates": ["2022-01-01", "2022-02-30", "2022-03-01"]}, SpecError, "2022-02-30"),
        ({"dates": DAYS, "place": (200, 0)}, SpecError, "not on the globe"),
        ({"dates": DAYS, "place": (1, 2, 3)}, ModelInputError, "not one place per item"),
        ({}, ModelInputError, "dates: the model needs it.*pass dates="),
    ],
)
def test_side_inputs_that_cannot_be_used(galileo, side, error, message):
    with pytest.raises(error, match=message):
        galileo().embed(scene(3), **side)


def test_an_item_without_pixels_is_an_error(mirror):
    model = mirror()
    with pytest.raises(NoImageryError, match="no frame has a valid pixel") as caught:
        model.embed(np.full((2, 16, 16), np.nan))
    assert caught.value.fix == "give at least one frame with a number in every band"
    with pytest.raises(NoImageryError) as caught:
        model.embed(cube(np.full((1, 2, 16, 16), np.nan), bands=("red", "nir")))
    assert caught.value.fix == "take a longer span or allow more cloud"


def test_the_history_is_json(galileo):
    image = scene(3)
    image[1] = np.nan
    meta = galileo().embed(image, dates=DAYS, prep=InputPrep.auto()).meta
    told = json.loads(json.dumps(meta))
    assert told["model"] == "galileo"
    assert told["weights"]["random"] is True
    assert told["valid_fraction"] == [1, 0, 1]
    assert told["notes"] == ["1 of 3 frames of s2 empty: hidden"]
    assert told["dtype"] == "float32"


def test_an_embedding_shows_itself():
    plain = Embedding(
        np.zeros((4, 2, 2), np.float32), {"model": "galileo", "variant": "nano", "weights": {"random": True}}
    )
    assert repr(plain) == "Embedding(galileo:nano, (4, 2, 2) float32, random weights)"
    assert "<h3>Embedding(galileo:nano" in plain._repr_html_()
    assert "&lt;x&gt;" in Embedding(np.zeros(1), {"a": "<x>"})._repr_html_()
    assert plain.dim == 4
    assert np.asarray(plain).shape == (4, 2, 2)
    assert Embedding(np.zeros((5, 4))).dim == 4


def test_bands_of_the_conftest_are_galileos(galileo):
    assert galileo().inputs[0].bands == TEN


@pytest.mark.parametrize(
    ("values", "attrs", "encoding"),
    [
        (np.full((2, 16, 16), 3000, "uint16"), {"scale_factor": 1e-4, "add_offset": -0.1}, {}),
        (np.full((2, 16, 16), 0.2), {"units": "reflectance"}, {}),
        (np.full((2, 16, 16), 20.0), {"units": "%"}, {}),
        (np.full((2, 16, 16), 0.2), {}, {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}),
        (np.full((2, 16, 16), 2000, "int16"), {"units": "DN"}, {}),
    ],
)
def test_numbers_that_an_array_states_become_canonical(mirror, values, attrs, encoding):
    array = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": ["B04", "B08"]}, attrs=attrs)
    array.encoding.update(encoding)
    assert mirror().embed(array).data == pytest.approx([2000, 2000])


def test_missing_numbers_that_an_array_states_are_missing(mirror):
    values = np.full((2, 16, 16), 2000, "int16")
    values[:, :8] = -9999
    for attrs in ({"_FillValue": -9999}, {"nodatavals": (-9999, -9999)}):
        array = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": ["red", "nir"]}, attrs=attrs)
        done = mirror().embed(array)
        assert done.data == pytest.approx([2000, 2000])
        assert done.meta["valid_fraction"] == [0.5]
    done = mirror().embed(np.ma.masked_equal(values, -9999))
    assert (done.meta["valid_fraction"], done.data.tolist()) == ([0.5], [2000, 2000])


def test_a_dataset_of_mixed_numbers_is_embedded(mirror):
    data = xr.Dataset(
        {
            "B08": (("y", "x"), np.full((16, 16), 0.3, "float32"), {"units": "reflectance"}),
            "B04": (("y", "x"), np.full((16, 16), 900, "uint16")),
            "NDVI": (("y", "x"), np.full((16, 16), 0.5, "float32")),
        }
    )
    assert mirror().embed(data).data == pytest.approx([900, 3000])


def test_a_bright_pixel_does_not_hide_fractions(mirror):
    values = np.full((2, 16, 16), 0.3)
    values[0, 0, 0] = 65535
    with pytest.raises(ModelInputError, match=r"half of them are at most 0\.3"):
        mirror().embed(values)


def test_whole_numbers_of_landsat_have_to_say_what_they_are(mirror):
    values = np.full((2, 16, 16), 20_000, "uint16")
    array = xr.DataArray(
        values, dims=("band", "y", "x"), coords={"band": ["red", "nir08"]}, attrs={"sensor": "landsat"}
    )
    model = mirror(sensors=("landsat-c2-l2",), bands=("red", "nir08"))
    with pytest.raises(ModelInputError, match=r"'DN' or the unit"):
        model.embed(array)
    assert model.embed(array.assign_attrs(units="DN")).data == pytest.approx([3500, 3500])


def test_dates_that_cannot_be_read_matter_only_where_they_are_used(galileo):
    labelled = cube(scene(3)).to_xarray()
    model = galileo()
    days = [str(day)[:10] for day in labelled.time.values]
    zoned = labelled.assign_coords(time=[f"{day}T12:00:00+02:00" for day in days])
    assert np.allclose(model.embed(zoned).data, model.embed(labelled.values, dates=days).data, atol=1e-6)
    odd = labelled.assign_coords(time=["spring", "summer", "autumn"])
    with pytest.raises(SpecError, match=r"array.time = 'spring'.*dates="):
        model.embed(odd)
    assert np.allclose(model.embed(odd, dates=days).data, model.embed(labelled).data, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "attrs", "error", "message"),
    [
        (
            "float32",
            {"units": "m/s"},
            SpecError,
            r"^units of red = 'm/s': .*in attrs\['units'\]",
        ),
        ("float32", {"units": "reflectance"}, ModelInputError, r"^numbers of red = 'float32': .*correct their unit"),
        ("uint8", {}, ModelInputError, r"^numbers of red = 'uint8': 8-bit numbers are a picture"),
    ],
)
def test_remedies_name_only_what_embed_has(mirror, dtype, attrs, error, message):
    array = xr.DataArray(np.full((2, 16, 16), 200, dtype), dims=("band", "y", "x"), coords={"band": ["red", "nir"]})
    with pytest.raises(error, match=message) as caught:
        mirror().embed(array.assign_attrs(attrs))
    assert "scaling=" not in str(caught.value)


def test_an_image_without_a_reference_system_is_embedded_as_an_image(mirror):
    """Coordinates mean nothing then: the vectors are those of the numbers alone, and a grid has no coordinates."""
    placed = cube(ramps(16, 16), bands=("red", "nir")).to_xarray().isel(time=0, drop=True)
    bare = xr.DataArray(placed.values, dims=("band", "y", "x"), coords={"band": ["red", "nir"]})
    uneven = bare.assign_coords(x=np.arange(16.0) ** 2, y=np.arange(16.0))
    model = mirror()
    expected = model.embed(placed, output=GRID).data
    assert isinstance(expected, xr.DataArray)
    for array in (bare, uneven):
        given = model.embed(array, output=GRID).data
        assert isinstance(given, np.ndarray)
        np.testing.assert_array_equal(given, expected.values)
    with pytest.raises(SpecError, match=r"evenly spaced.*drop x and y for Model.embed"):
        model.embed(uneven.assign_attrs(crs="EPSG:32631"))
