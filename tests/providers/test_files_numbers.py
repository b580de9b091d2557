"""Arrays and files that state their own numbers and masks, read as a provider reads them."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from rasterio.enums import ColorInterp

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.specs.fetch import FetchSpec
from tests.providers.rasters import GRID, ramp, write

JUNE = Span("2022-06-01", "2022-07-01")
DAY = np.datetime64("2022-06-05", "ns")
PACKED = {"scale_factor": 1e-4, "add_offset": -0.1}


def seen(files, *bands, which="s2", grid=GRID, mask="none"):
    return load(files, Read(grid, which, bands or ("red",), (JUNE,), FetchSpec(mask=mask))).values[0]


def labelled(values, bands=("B04",), encoding=None, **attrs):
    values = values[None] if values.ndim == 2 else values
    coords = {"band": list(bands), "y": GRID.ys, "x": GRID.xs, "time": DAY}
    array = xr.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs=attrs).rio.write_crs(GRID.crs)
    array.encoding.update(encoding or {})
    return array


def holed(dtype, missing, start=2000):
    values = ramp(GRID.shape, start, dtype)
    values[:6, :6] = missing
    return values


def truth(start=2000):
    expected = ramp(GRID.shape, start).astype(np.float32)
    expected[:6, :6] = np.nan
    return expected


@pytest.mark.parametrize(
    ("dtype", "missing", "attrs", "encoding"),
    [
        ("int16", -9999, {"_FillValue": -9999}, {}),
        ("int16", -9999, {"nodata": -9999}, {}),
        ("int16", -9999, {"missing_value": -9999}, {}),
        ("int16", -9999, {"nodatavals": (-9999,)}, {}),
        ("int16", -9999, {}, {"_FillValue": -9999}),
        ("int16", -1, {"_Unsigned": "true", "_FillValue": np.int16(-1)}, {}),
        ("int16", -1, {"_Unsigned": "true"}, {"_FillValue": np.uint16(65535)}),
        ("float32", 65535, {"nodata": 65535}, {}),
        ("float64", np.nan, {}, {}),
        ("uint16", 0, {}, {}),
        ("uint16", 0, {"nodata": np.nan}, {}),
        ("uint16", 65535, {"valid_range": [1, 10_000]}, {}),
    ],
)
def test_an_array_states_what_is_missing(dtype, missing, attrs, encoding):
    array = labelled(holed(dtype, missing), encoding=encoding, **attrs)
    np.testing.assert_array_equal(seen(Files(array, sensor="s2"))[0], truth())


def test_the_users_number_overrides_what_is_stated():
    array = labelled(holed("uint16", 65535), nodata=7)
    np.testing.assert_array_equal(seen(Files(array, sensor="s2", nodata=65535))[0], truth())


def test_masked_arrays_hide_what_they_mask():
    values = np.ma.masked_equal(holed("uint16", 9), 9)[None]
    files = Files(values, sensor="s2", bands=["B04"], dates=["2022-06-05"], grid=GRID)
    np.testing.assert_array_equal(seen(files)[0], truth())


@pytest.mark.parametrize(
    ("values", "attrs", "encoding"),
    [
        (holed("uint16", 0, 3000), {"_FillValue": 0, **PACKED}, {}),
        ((holed("float32", np.nan, 3000) * 1e-4 - 0.1).astype("float32"), {}, {"_FillValue": 0, **PACKED}),
        ((holed("float32", np.nan) * 1e-4).astype("float32"), {"units": "reflectance"}, {}),
        ((holed("float32", np.nan) * 1e-2).astype("float32"), {"units": "%"}, {}),
        (holed("float32", np.nan), {"units": "reflectance_e4"}, {}),
    ],
)
def test_scale_offset_and_unit_of_an_array(values, attrs, encoding):
    array = labelled(values, encoding=encoding, **attrs)
    np.testing.assert_allclose(seen(Files(array, sensor="s2"))[0], truth(), atol=0.01)


def test_unsigned_numbers_of_netcdf_3_are_scaled():
    stored = holed("uint16", 65535, 40_000).view(np.int16)
    assert stored.max() < 0
    array = labelled(stored, _Unsigned="true", _FillValue=np.int16(-1), scale_factor=1e-5, units="reflectance")
    np.testing.assert_allclose(seen(Files(array, sensor="s2"))[0], truth(40_000) / 10, rtol=1e-5)


def test_a_stated_offset_is_not_taken_off_again():
    array = labelled(holed("uint16", 0, 3000), **PACKED)
    np.testing.assert_array_equal(seen(Files(array, sensor="s2", baseline="05.09"))[0], truth())
    scaled = labelled(holed("uint16", 0, 3000), scale_factor=1e-4)
    np.testing.assert_array_equal(seen(Files(scaled, sensor="s2", baseline="05.09"))[0], truth())
    fraction = labelled(holed("float32", np.nan, 2000) / 10_000, units="reflectance")
    np.testing.assert_allclose(seen(Files(fraction, sensor="s2", baseline="05.09"))[0], truth(), atol=0.01)


@pytest.mark.parametrize(
    ("values", "attrs", "words"),
    [
        (ramp(GRID.shape).astype("float32") / 10_000, {}, "as fractions are"),
        (ramp(GRID.shape, 3000), {"units": "reflectance"}, "as stated: 'reflectance'"),
        (ramp(GRID.shape, dtype="uint8"), {}, "8-bit numbers are a picture"),
    ],
)
def test_numbers_in_another_unit_than_stated_are_refused(values, attrs, words):
    with pytest.raises(SpecError, match=rf"numbers of red in image_00000.*{words}.*attrs\['units'\], or pass scaling="):
        seen(Files(labelled(values, **attrs), sensor="s2"))


def test_remedies_for_files_are_of_files(tmp_path):
    path = write(tmp_path / "20220605_B04.tif", ramp(GRID.shape).astype("float32") / 10_000)
    with pytest.raises(SpecError, match="state 'reflectance' in the unit of the file's band, or pass scaling="):
        seen(Files(path, sensor="s2"))


def test_units_that_are_not_understood_are_refused_at_once():
    radiance = labelled(ramp(GRID.shape), units="W m-2 sr-1")
    with pytest.raises(SpecError, match=r"units of red = 'W m-2 sr-1'.*or pass scaling="):
        Files(radiance, sensor="s2")
    np.testing.assert_array_equal(seen(Files(radiance, sensor="s2", scaling={"scale": 1.0}))[0], ramp(GRID.shape))
    own = Files(labelled(ramp(GRID.shape).astype("float32") / 10_000), sensor="s2", scaling={"scale": 10_000.0})
    np.testing.assert_allclose(seen(own)[0], ramp(GRID.shape), atol=0.01)


def test_each_variable_of_a_dataset_keeps_its_own_rule():
    red = labelled(holed("uint16", 0)).squeeze("band", drop=True)
    data = xr.Dataset(
        {
            "B04": red,
            "NDVI": red.astype("float32") * 1e-5,
            "B08": (red.astype("float32") * 1e-4).assign_attrs(units="reflectance"),
            "SCL": (red * 0 + 4).astype("uint8"),
        }
    )
    found = seen(Files(data, sensor="s2"), "red", "nir", mask="scl")
    np.testing.assert_array_equal(found[0], truth())
    np.testing.assert_allclose(found[1], truth(), atol=0.01)  # a pixel counts where all bands have it


def test_radar_in_decibels_or_power_is_never_guessed():
    decibels = np.full(GRID.shape, -12.0, np.float32)
    for array in (
        labelled(decibels, ["VV"], units="dB"),
        labelled((decibels * 100).astype("int16"), ["VV"], units="dB", scale_factor=0.01),
    ):
        np.testing.assert_allclose(seen(Files(array, sensor="s1"), "vv", which="s1"), -12, atol=1e-4)
    with pytest.raises(SpecError, match="'dB' or 'linear'"):
        seen(Files(labelled(decibels, ["VV"]), sensor="s1"), "vv", which="s1")


def test_our_own_lazy_cubes_can_be_read_again():
    read = Read(GRID, "s1", ("vv", "vh"), (JUNE,), FetchSpec())
    cube = open_provider("synthetic").cube(read)
    again = load(Files(cube), read)
    np.testing.assert_allclose(again.values[0], cube.pixels.values[0], rtol=1e-5)


def test_complex_numbers_are_refused(tmp_path):
    path = write(tmp_path / "20220605_vv.tif", ramp(GRID.shape).astype("complex64"))
    with pytest.raises(SpecError, match=r"numbers of vv = 'complex64'.*calibrated backscatter"):
        seen(Files(path, sensor="s1"), "vv", which="s1")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (np.datetime64("NaT", "ns"), "array.time = 0: this image has no time"),
        ("early June", r"array.time = 'early June': this is not a date"),
        (2022, r"array.time = 2022: int values are not dates"),
    ],
)
def test_a_time_that_is_there_is_never_called_absent(time, words):
    array = labelled(ramp(GRID.shape)).assign_coords(time=time)
    with pytest.raises(SpecError, match=rf"{words}.*dates="):
        Files(array, sensor="s2")
    np.testing.assert_array_equal(seen(Files(array, sensor="s2", dates=["2022-06-05"]))[0], ramp(GRID.shape))


def test_a_reference_system_that_contradicts_the_array_is_refused():
    array = labelled(ramp(GRID.shape))
    Files(array, sensor="s2", crs="+proj=utm +zone=31 +datum=WGS84 +units=m +no_defs")
    with pytest.raises(SpecError, match=r"Files\.crs = 'EPSG:32632': the array states EPSG:32631"):
        Files(array, sensor="s2", crs=32632)


def test_an_array_without_coordinates_is_refused():
    array = labelled(ramp(GRID.shape)).drop_vars(["x", "y"])
    with pytest.raises(SpecError, match=r"array = .*it has no coordinates.*grid="):
        Files(array, sensor="s2")
    np.testing.assert_array_equal(seen(Files(array, sensor="s2", grid=GRID))[0], ramp(GRID.shape))


def test_an_array_in_longitudes_beyond_180_is_found():
    place = Grid("EPSG:4326", (0.001, 0, -5.36, 0, -0.001, 50.65), (60, 60))
    target = Grid("EPSG:32630", (10, 0, 336_000, 0, -10, 5_612_000), (20, 20))
    values = ramp(place.shape).astype("float32")
    arrays = [
        xr.DataArray(
            values, dims=("lat", "lon"), coords={"lat": place.ys, "lon": xs, "time": DAY}, attrs={"crs": place.crs}
        )
        for xs in (place.xs, place.xs + 360)
    ]
    usual, turned = (seen(Files(array, sensor="s2", bands=["red"]), grid=target) for array in arrays)
    assert np.isfinite(usual).all()
    np.testing.assert_array_equal(turned, usual)


def test_a_file_in_longitudes_beyond_180_is_found(tmp_path):
    for name, west in (("a_20220605_B04", -5.36), ("b_20220605_B04", 354.64)):
        write(
            tmp_path / name / f"{name}.tif",
            ramp((60, 60)),
            Grid("EPSG:4326", (0.001, 0, west, 0, -0.001, 50.65), (60, 60)),
        )
    target = Grid("EPSG:32630", (10, 0, 336_000, 0, -10, 5_612_000), (20, 20))
    usual, turned = (seen(Files(tmp_path / f"{n}_20220605_B04", sensor="s2"), grid=target) for n in "ab")
    assert np.isfinite(usual).all()
    np.testing.assert_array_equal(turned, usual)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_what_rioxarray_opens_is_what_the_file_holds(tmp_path):
    path = write(tmp_path / "20220605_B04.tif", holed("uint16", 0, 3000), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,), (-0.1,)
    np.testing.assert_array_equal(seen(Files(path, sensor="s2"))[0], truth())
    for how in ({}, {"masked": True}, {"mask_and_scale": True}, {"parse_coordinates": False}):
        opened = rioxarray.open_rasterio(path, **how).assign_coords(band=["B04"], time=DAY)
        np.testing.assert_allclose(seen(Files(opened, sensor="s2"))[0], truth(), atol=0.01)
    for how in ({}, {"mask_and_scale": True}):
        opened = (
            rioxarray.open_rasterio(path, band_as_variable=True, **how).rename(band_1="B04").assign_coords(time=DAY)
        )
        np.testing.assert_allclose(seen(Files(opened, sensor="s2"))[0], truth(), atol=0.01)


def test_scales_and_units_of_each_band_of_a_file(tmp_path):
    path = write(
        tmp_path / "20220605.tif",
        np.stack([ramp(GRID.shape, 9000), ramp(GRID.shape, 30_000)]),
        names=["SR_B4", "ST_B10"],
    )
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (1e-4, 0.01), (0.0, 0.0), ("reflectance", "K")
    found = seen(Files(path, sensor="landsat"), "red", "lwir11", which="landsat")
    np.testing.assert_allclose(found[0], ramp(GRID.shape, 9000), atol=0.01)
    np.testing.assert_allclose(found[1], ramp(GRID.shape, 30_000) * 0.01, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_the_unit_of_heights_is_not_the_unit_of_a_band(tmp_path):
    """GDAL gives every band of a file with heights in its reference system their unit."""
    place = {"crs": f"{GRID.crs}+5773", "transform": Affine(*GRID.transform)}
    path = write(tmp_path / "20220605_B04.tif", ramp(GRID.shape), None, **place)
    with rasterio.open(path) as file:
        assert file.units == ("metre",)
    opened = rioxarray.open_rasterio(path).assign_coords(band=["B04"])
    for source in (path, opened):
        got = seen(Files(source, sensor="s2", dates="2022-06-05"))[0]
        np.testing.assert_array_equal(got, ramp(GRID.shape))
    with pytest.raises(SpecError, match=r"units of red = 'metre': this is no unit of a band"):
        Files(labelled(ramp(GRID.shape), units="metre"), sensor="s2")


def test_tags_kept_from_another_format_count(tmp_path):
    tags = {"scale_factor": "0.0001", "add_offset": "-0.1", "_FillValue": "65535"}
    path = write(tmp_path / "20220605_B04.tif", holed("uint16", 65535, 3000), tags=tags)
    np.testing.assert_array_equal(seen(Files(path, sensor="s2"))[0], truth())


@pytest.mark.parametrize("kind", ["inside", "beside", "alpha"])
def test_masks_that_are_no_number(tmp_path, kind):
    shown = np.full(GRID.shape, 255, np.uint8)
    shown[:6, :6] = 0
    path = tmp_path / ("20220605_B04.tif" if kind != "alpha" else "20220605.tif")
    how = {"driver": "GTiff", "crs": GRID.crs, "transform": rasterio.Affine(*GRID.transform), "dtype": "uint16"}
    how |= {"height": GRID.shape[0], "width": GRID.shape[1], "count": 2 if kind == "alpha" else 1}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside"), rasterio.open(path, "w", **how) as file:
        if kind == "alpha":
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
            file.write(shown.astype("uint16") * 257, 2)
            file.set_band_description(1, "B04")
        file.write(ramp(GRID.shape, 2000), 1)
        if kind != "alpha":
            file.write_mask(shown)
    assert path.with_name(path.name + ".msk").exists() == (kind == "beside")
    np.testing.assert_array_equal(seen(Files(path, sensor="s2"))[0], truth())
    np.testing.assert_array_equal(seen(Files(path, sensor="s2", bands=["B04"]))[0], truth())
    named = path.rename(tmp_path / "x_20220605_B04.tif") if kind == "alpha" else path
    np.testing.assert_array_equal(seen(Files(named, sensor="s2"))[0], truth())


def test_a_fourth_band_that_is_called_alpha_but_named_nir_is_a_band(tmp_path):
    values = np.stack([ramp(GRID.shape, k * 1000) for k in (2, 3, 4, 5)])
    values[3, :6, :6] = 0
    path = write(tmp_path / "20220605.tif", values)
    with rasterio.open(path, "w", **{**rasterio.open(path).profile, "photometric": "rgb", "alpha": "yes"}) as file:
        file.write(values)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    files = Files(path, sensor="s2", bands=["red", "green", "blue", "nir"])
    np.testing.assert_array_equal(seen(files, "red")[0], values[0])
    np.testing.assert_array_equal(seen(files, "nir")[0], np.where(values[3] == 0, np.nan, values[3]))
