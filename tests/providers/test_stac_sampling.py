"""Placing pixels of any file on a grid: exactly, however the grid is cut, from any projection (R7, R9, R18, R20)."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import stackstac.reader_protocol
from affine import Affine
from pyproj import Transformer
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.nearest import TiffBlock, nearest_pixels
from rs_embed_dask.providers.stac.read import AssetReader, labelled
from tests.services.catalog import Layer, write_cog

ACCESS = Access()
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
RANDOM = np.random.default_rng(7)


def written(path, values, transform, crs="EPSG:32631", nodata=None, **profile):
    write_cog(path, Layer(path.stem, values, transform, nodata), crs=crs)
    return str(path)


def seen(url, crs, bounds, resolution, size=None):
    """Read a whole grid, or one block of `size` pixels after the other."""
    left, bottom, right, top = bounds
    shape = round((top - bottom) / resolution), round((right - left) / resolution)
    cuts = tuple(tuple(min(size or side, side - start) for start in range(0, side, size or side)) for side in shape)
    made = AssetReader(url, Grid(crs, (resolution, 0, left, 0, -resolution, top), shape), cuts, ACCESS)
    return np.block([[block(made, i, j) for j in range(len(cuts[1]))] for i in range(len(cuts[0]))])


def block(made, down, across):
    ((layer,),) = made.read(Window(across, down, 1, 1))
    values = np.empty(layer.numbers.shape, np.float32)
    layer.copy_rows(slice(None), values)
    return values


def test_the_reader_is_what_stackstac_asks_for():
    grid = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (3, 4))
    made: stackstac.reader_protocol.Reader = AssetReader("a.tif", grid, ((3,), (4,)), ACCESS)
    assert made.close() is None
    assert "Access" not in repr(made)


@pytest.mark.parametrize(("pixel", "repeat"), [(10.0, 1), (20.0, 2), (60.0, 6)])
def test_r07_coarser_pixels_are_repeated_exactly(tmp_path, pixel, repeat):
    values = RANDOM.integers(1, 60_000, (20, 20)).astype("uint16")
    url = written(tmp_path / "a.tif", values, (pixel, 0, 600_000, 0, -pixel, 5_700_000))
    size = 20 * pixel
    got = seen(url, "EPSG:32631", (600_000, 5_700_000 - size, 600_000 + size, 5_700_000), 10.0)
    np.testing.assert_array_equal(got, np.repeat(np.repeat(values, repeat, 0), repeat, 1))


def test_r07_a_shifted_source_gives_the_pixel_under_each_centre(tmp_path):
    """Sentinel-1 scenes have a pixel phase of their own."""
    values = np.arange(400, dtype="float32").reshape(20, 20)
    url = written(tmp_path / "a.tif", values, (10, 0, 600_003, 0, -10, 5_700_004))
    got = seen(url, "EPSG:32631", (600_000, 5_699_900, 600_100, 5_700_000), 10.0)
    assert got[0, 0] == 0  # its centre, 600 005, lies in the first source column
    np.testing.assert_array_equal(got, values[:10, :10])
    url = written(tmp_path / "b.tif", values, (10, 0, 600_006, 0, -10, 5_700_004))
    got = seen(url, "EPSG:32631", (600_000, 5_699_900, 600_100, 5_700_000), 10.0)
    assert np.isnan(got[:, 0]).all()
    np.testing.assert_array_equal(got[:, 1:], values[:10, :9])


def test_outside_a_file_there_is_nothing(tmp_path):
    url = written(tmp_path / "a.tif", np.full((10, 10), 7, "uint8"), (10, 0, 600_000, 0, -10, 5_700_000))
    got = seen(url, "EPSG:32631", (599_950, 5_699_950, 600_050, 5_700_050), 10.0)
    assert np.isnan(got).sum() == 75
    assert (got[5:, 5:] == 7).all()
    assert np.isnan(seen(url, "EPSG:32631", (700_000, 5_699_950, 700_100, 5_700_050), 10.0)).all()


def test_what_the_file_calls_missing_is_nan_and_zero_stays_zero_without_a_tag(tmp_path):
    values = np.array([[0, 1], [65_535, 3]], "uint16")
    place = (10, 0, 600_000, 0, -10, 5_700_000)
    bounds = (600_000, 5_699_980, 600_020, 5_700_000)
    np.testing.assert_array_equal(
        seen(written(tmp_path / "a.tif", values, place, nodata=65_535), "EPSG:32631", bounds, 10.0),
        [[0, 1], [np.nan, 3]],
    )
    np.testing.assert_array_equal(seen(written(tmp_path / "b.tif", values, place), "EPSG:32631", bounds, 10.0), values)


def expected(values, transform, crs, bounds, resolution, grid_crs):
    """The value under each pixel centre, one by one."""
    left, bottom, right, top = bounds
    to_file = Transformer.from_crs(grid_crs, crs, always_xy=True)
    rows, columns = round((top - bottom) / resolution), round((right - left) / resolution)
    out = np.full((rows, columns), np.nan)
    for row in range(rows):
        for column in range(columns):
            x, y = to_file.transform(left + resolution * (column + 0.5), top - resolution * (row + 0.5))
            c, r = ~Affine(*transform) @ (x, y)
            if 0 <= np.floor(r) < values.shape[0] and 0 <= np.floor(c) < values.shape[1]:
                out[row, column] = values[int(np.floor(r)), int(np.floor(c))]
    return out


def test_r09_another_zone_gives_the_exact_neighbours(tmp_path):
    # 6 E, 51.5 N is the border of zones 31 and 32
    values = RANDOM.integers(1, 60_000, (150, 150)).astype("uint16")
    transform = (10, 0, 291_400, 0, -10, 5_710_900)
    url = written(tmp_path / "a.tif", values, transform, crs="EPSG:32632")
    bounds = (708_000, 5_709_500, 708_600, 5_710_100)
    got = seen(url, "EPSG:32631", bounds, 10.0)
    assert np.isfinite(got).mean() > 0.9
    np.testing.assert_array_equal(got, expected(values, transform, "EPSG:32632", bounds, 10.0, "EPSG:32631"))


@pytest.mark.parametrize("size", [7, 16, 33])
def test_r09_blocks_of_any_size_give_the_whole_bit_for_bit(tmp_path, size):
    values = RANDOM.integers(1, 60_000, (150, 150)).astype("uint16")
    url = written(tmp_path / "a.tif", values, (10, 0, 291_400, 0, -10, 5_710_900), crs="EPSG:32632")
    bounds = (708_000, 5_709_500, 708_600, 5_710_100)
    whole = seen(url, "EPSG:32631", bounds, 10.0)
    pieced = seen(url, "EPSG:32631", bounds, 10.0, size)
    np.testing.assert_array_equal(pieced, whole)


def test_r18_sinusoidal_files_without_an_epsg_code(tmp_path):
    values = RANDOM.integers(-100, 16_000, (60, 60)).astype("int16")
    pixel = 463.3127165275
    x, y = Transformer.from_crs("EPSG:4326", SINUSOIDAL, always_xy=True).transform(4.0, 50.0)
    transform = (pixel, 0, x - 30 * pixel, 0, -pixel, y + 30 * pixel)
    url = written(tmp_path / "a.tif", values, transform, crs=SINUSOIDAL, nodata=-28_672)
    opened = open_geotiff(url, access=ACCESS)
    assert "Sinusoidal" in opened.crs
    left, top = Transformer.from_crs("EPSG:4326", "EPSG:32631", always_xy=True).transform(4.0, 50.0)
    bounds = (left - 4000, top - 4000, left + 4000, top + 4000)
    got = seen(url, "EPSG:32631", bounds, 500.0)
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got, expected(values, transform, SINUSOIDAL, bounds, 500.0, "EPSG:32631"))


def test_r20_several_bands_need_an_index(tmp_path):
    values = RANDOM.integers(1, 250, (3, 30, 30)).astype("uint8")
    url = written(tmp_path / "visual.tif", values, (10, 0, 600_000, 0, -10, 5_700_000))
    bounds = (600_000, 5_699_700, 600_300, 5_700_000)
    for band in (1, 2, 3):
        np.testing.assert_array_equal(
            seen(labelled(url, "asset visual", band), "EPSG:32631", bounds, 10.0), values[band - 1]
        )
    with pytest.raises(ProviderError, match=r"asset visual = .*has 3 bands.*visual#1"):
        seen(labelled(url, "asset visual"), "EPSG:32631", bounds, 10.0)
    for band in (4, 0, -1):
        with pytest.raises(ProviderError, match=f"has 3 bands, not {band}"):
            seen(labelled(url, "asset visual", band), "EPSG:32631", bounds, 10.0)


def test_an_alpha_band_is_no_second_image(tmp_path):
    values = RANDOM.integers(1, 60_000, (30, 30)).astype("uint16")
    shown = np.ones((30, 30), bool)
    shown[4:9, 2:7] = False
    path = tmp_path / "a.tif"
    how = {"driver": "GTiff", "height": 30, "width": 30, "count": 2, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", transform=Affine(10, 0, 600_000, 0, -10, 5_700_000), **how) as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        file.write(values, 1)
        file.write(shown.astype("uint16") * 65_535, 2)
    bounds = (600_000, 5_699_700, 600_300, 5_700_000)
    got = seen(labelled(str(path), "asset B04"), "EPSG:32631", bounds, 10.0)
    np.testing.assert_array_equal(got, np.where(shown, values, np.nan))


def test_r14_files_with_control_points_only_are_refused(tmp_path):
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(r, c, x=4 + c / 1e4, y=50 - r / 1e4) for r in (0, 50) for c in (0, 50)]
    path = tmp_path / "iw-vv.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=50, width=50, count=1, dtype="uint16", gcps=points, crs=4326
    ) as file:
        file.write(np.ones((1, 50, 50), "uint16"))
    with pytest.raises(
        ProviderError, match=r"no coordinate system and transform.*sentinel-1-rtc in place of sentinel-1-grd"
    ):
        open_geotiff(str(path), access=ACCESS)


def test_the_same_place_said_two_ways_is_not_reprojected():
    block = TiffBlock("EPSG:32631", (600_000.0, 5_700_000.0), (20.0, 20.0), (0, 0), (4, 4))
    again = "+proj=utm +zone=31 +datum=WGS84 +units=m +no_defs +type=crs"
    transform = Affine(10, 0, 600_000, 0, -10, 5_700_000)
    for crs in ("EPSG:32631", again):
        rows, columns = nearest_pixels(block, crs, transform)
        assert rows.ravel().tolist() == [1, 3, 5, 7]  # a centre on the border of two pixels belongs to the later one
        assert columns.ravel().tolist() == [1, 3, 5, 7]
    assert rows.shape == (4, 1)


def test_places_that_the_files_projection_does_not_reach_lie_outside():
    block = TiffBlock("EPSG:4326", (-180.0, 90.0), (90.0, 90.0), (0, 0), (2, 4))
    rows, columns = nearest_pixels(block, "+proj=gnom +lat_0=90", Affine(1e5, 0, -1e7, 0, -1e5, 1e7))
    assert (np.abs(columns[1]) > 1e9).all()
    assert (np.abs(rows[1]) > 1e9).all()
    assert (np.abs(rows[0]) < 200).all()
