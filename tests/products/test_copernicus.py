"""Copernicus-Embed: the sample's windows, the edge of the map, cells smaller and larger than the place."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, ProviderError
from rs_embed_dask.products.copernicus import cells_of
from tests.products import mirrors

FACTS, ARRAYS = mirrors.sample("copernicus")
YEAR = rs.TemporalSpec.year(2024)
CELLS = rs.OutputSpec.grid()
WINDOWS = FACTS["windows"]
ON_THE_GLOBE = [name for name in WINDOWS if name != "north_pole_row"]


@pytest.mark.parametrize("name", WINDOWS)
def test_every_cell_that_a_place_touches(name):
    window = WINDOWS[name]
    grid = cells_of(tuple(window["lonlat_bounds"]))
    rows = np.floor((90.125 - grid.ys) / 0.25).astype(int)
    columns = np.floor((grid.xs + 180.125) / 0.25).astype(int) % 1440
    assert (rows.tolist(), columns.tolist()) == (window["rows"], window["cols"])


@pytest.mark.parametrize("name", ON_THE_GLOBE)
def test_windows(product, name):
    window = WINDOWS[name]
    place = rs.BBox(*window["lonlat_bounds"])
    found = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR, output=CELLS).data
    expected = np.where(np.array(window["empty"])[None] == 1, np.nan, ARRAYS[f"{name}/cells"])
    np.testing.assert_array_equal(found.values, expected)
    assert found.attrs["crs"] == "EPSG:4326"
    np.testing.assert_allclose(found.y.values, 90 - 0.25 * np.array(window["rows"]))
    pooled = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR).data
    np.testing.assert_array_equal(pooled, np.nanmean(expected.astype("float64"), axis=(1, 2)).astype("float32"))


def test_the_pole_is_empty_and_says_so(product):
    with pytest.raises(NoImageryError, match="empty"):
        rs.get_embedding(product("copernicus"), spatial=rs.BBox(0.0, 89.9, 0.5, 89.99), temporal=YEAR)


def test_across_the_antimeridian(product):
    place = rs.BBox(179.5, 10.0, -179.5, 10.1)
    found = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR, output=CELLS).data
    whole = mirrors.copernicus_values()
    columns = [1438, 1439, 0, 1, 2]
    row = int((90.125 - 10.05) // 0.25)
    expected = whole[:, row : row + 1][..., columns]
    np.testing.assert_array_equal(found.values, np.where(expected == 0, np.nan, expected))
    np.testing.assert_allclose(found.x.values, [179.5, 179.75, 180.0, 180.25, 180.5])


def test_a_grid_of_metres_repeats_the_cells_under_it(product):
    place = rs.PointBuffer(10.125, 45.0, 60)
    output = rs.OutputSpec.grid(scale_m=10)
    found = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR, output=output).data
    assert found.shape == (4, 12, 12)
    assert found.attrs["crs"] == "EPSG:32632"
    whole = mirrors.copernicus_values()
    assert set(np.unique(found.values[0])) == set(whole[0, 180, 760:762])


def test_cells_may_count_by_their_area(product):
    place = rs.BBox(10.0, 60.4, 10.1, 61.9)
    spec = product("copernicus", weighting="area")
    found = rs.get_embedding(spec, spatial=place, temporal=YEAR).data
    grid = rs.get_embedding(spec, spatial=place, temporal=YEAR, output=CELLS).data
    weights = np.cos(np.radians(grid.y.values))
    expected = (grid.values.astype("float64").mean(2) * weights).sum(1) / weights.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_empty_cells_are_left_out_and_counted(product):
    place = rs.BBox(-180.0, 0.0, -179.0, 0.2)
    found = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR)
    cells = rs.get_embedding(product("copernicus"), spatial=place, temporal=YEAR, output=CELLS).data.values
    share = float(np.isfinite(cells[0]).mean())
    assert 0 < share < 0.9
    assert found.meta["valid_fraction"] == [share]
    assert found.meta["status"] == "partial"
    assert found.data[0] >= 300


def test_blocks_are_decoded_once(served, product, tmp_path):
    spec = product("copernicus")
    rs.get_embedding(spec, spatial=rs.PointBuffer(10.0, 45.0, 100), temporal=YEAR)
    before, span = len(served.asked), rs.TemporalSpec.range("2019-01-01", "2022-01-01")
    rs.get_embedding(spec, spatial=rs.PointBuffer(11.0, 44.0, 100), temporal=span)
    assert len(served.asked) == before
    assert [path.name for path in (tmp_path / "cache").rglob("*.npy")] == ["embed_map_310k.tif-0-512.npy"]


def test_another_file_is_refused(tmp_path, product):
    with pytest.raises(ProviderError, match="4 bands"):
        rs.get_embedding(product("copernicus", dim=768), spatial=rs.PointBuffer(10.0, 45.0, 100), temporal=YEAR)
    with rasterio.open(
        tmp_path / "embed_map_310k.tif",
        "w",
        driver="GTiff",
        width=1440,
        height=721,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=rasterio.Affine(0.25, 0, -180, 0, -0.25, 90.125),
    ):
        pass
    spec = rs.ModelSpec("copernicus", options={"base_url": str(tmp_path), "dim": 1})
    with pytest.raises(ProviderError, match=r"from -180, 90\.125 on"):
        rs.get_embedding(spec, spatial=rs.PointBuffer(10.0, 45.0, 100), temporal=YEAR)
