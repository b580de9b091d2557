"""AlphaEarth: the sample's bytes, tile and means; two zones; what is not there."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, ProviderError, SpecError
from rs_embed_dask.products.gse import decoded
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.synthetic.provider import Synthetic
from tests.products import mirrors
from tests.services.fixtures import forget_heads

FACTS, ARRAYS = mirrors.sample("gse")
TILE = rs.BBox(*mirrors.GSE_BOUNDS, crs="EPSG:32631")
YEAR = rs.TemporalSpec.year(2024)
GRID = rs.OutputSpec.grid(scale_m=10)
WHOLE = decoded(ARRAYS["stored_north_up"])


def test_every_stored_byte_means_what_the_table_says():
    stored = ARRAYS["table_v"].astype(np.int8)
    np.testing.assert_array_equal(decoded(stored), ARRAYS["table_decoded"])
    assert decoded(np.array([64], np.int8))[0] == pytest.approx(0.251965, abs=1e-6)


def test_a_grid_is_the_tile_north_up_in_its_place(product):
    found = rs.get_embedding(product("gse_annual", "gse"), spatial=TILE, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values[:, 7:9], ARRAYS["decoded_rows_7_8"])
    np.testing.assert_array_equal(found.data.values, WHOLE)
    assert found.data.attrs["crs"] == "EPSG:32631"
    assert found.data.attrs["transform"] == FACTS["geotiff"]["transform_of_the_flipped_array"]
    assert found.meta["valid_fraction"] == [254 / 256]
    assert found.meta["frames"] == [("2024-01-01", "2025-01-01")]


def test_a_point_reads_the_pixels_around_it(product):
    place = rs.PointBuffer(301040.0, 5770480.0, 30, crs="EPSG:32631")
    found = rs.get_embedding(product("gse"), spatial=place, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, WHOLE[:, 5:11, 5:11])


@pytest.mark.parametrize(("renormalise", "expected"), [(False, "mean"), (True, "mean_unit")])
def test_pooled(product, renormalise, expected):
    spec = product("gse", renormalise=renormalise)
    found = rs.get_embedding(spec, spatial=TILE, temporal=YEAR)
    assert found.data.dtype == np.float32
    np.testing.assert_allclose(found.data, ARRAYS[expected], rtol=0, atol=2e-8)


def test_pooled_maximum(product):
    found = rs.get_embedding(product("gse"), spatial=TILE, temporal=YEAR, output=rs.OutputSpec.pooled("max"))
    np.testing.assert_array_equal(found.data, np.nanmax(WHOLE, axis=(1, 2)))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_layouts_of_files_and_indexes_in_a_folder(tmp_path, interleave, kind):
    mirrors.gse_mirror(tmp_path, kind, interleave=interleave)
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    found = rs.get_embedding(spec, spatial=TILE, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, WHOLE)


def test_a_north_up_file_is_read_the_same(tmp_path):
    transform = Affine(*FACTS["geotiff"]["transform_of_the_flipped_array"])
    mirrors.write_cog(tmp_path / "2024/31N/a.tiff", ARRAYS["stored_north_up"], transform, "EPSG:32631")
    mirrors.write_index(tmp_path, [mirrors.index_row("2024/31N/a.tiff", "EPSG:32631", mirrors.GSE_BOUNDS)])
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    found = rs.get_embedding(spec, spatial=TILE, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, WHOLE)


def test_bands_of_one_block_are_fetched_once(served, product):
    before = len(served.asked)
    rs.get_embedding(product("gse"), spatial=TILE, temporal=YEAR)
    assert sum(path.endswith(".tiff") for path in served.asked[before:]) <= 2


# -------------------------------------------------------------------------------- a zone's border
# west edges of two tiles of 24 x 40 pixels, the second of which reaches 200 m over the border
WESTS, SOUTH = (705520.0, 294100.0), 5770670.0
BORDERS = {
    "6 E": (("EPSG:32631", "EPSG:32632"), rs.BBox(5.9985, 52.049, 6.0015, 52.05), 6),
    "antimeridian": (("EPSG:32660", "EPSG:32601"), rs.BBox(179.9985, 52.049, -179.9985, 52.05), 180),
}


@pytest.fixture
def two_zones(tmp_path, border):
    """Two tiles that overlap across a border; a byte says zone and place."""
    rows, stored = [], {}
    for number, (crs, west) in enumerate(zip(BORDERS[border][0], WESTS, strict=True)):
        bands, down, across = np.ogrid[:64, :24, :40]
        stored[crs] = ((bands + down * 5 + across * 3) % 60 + 1 + 63 * number).astype(np.int8)
        tail = f"2024/{crs[-2:]}N/tile.tiff"
        mirrors.write_cog(tmp_path / tail, stored[crs], Affine(10, 0, west, 0, 10, SOUTH), crs)
        rows.append(mirrors.index_row(tail, crs, (west, SOUTH, west + 400, SOUTH + 240)))
    mirrors.write_index(tmp_path, rows)
    return rs.ModelSpec("gse", options={"base_url": str(tmp_path)}), stored


@pytest.mark.parametrize("border", BORDERS)
def test_across_a_border_each_pixel_is_of_its_own_zone(two_zones, border):
    spec, stored = two_zones
    systems, place, edge = BORDERS[border]
    found = rs.get_embedding(spec, spatial=place, temporal=YEAR, output=GRID).data
    assert found.attrs["crs"] == systems[1]
    lonlat = Transformer.from_crs(systems[1], "EPSG:4326", always_xy=True)
    seen = set()
    for i, y in enumerate(found.y.values):
        for j, x in enumerate(found.x.values):
            lon, lat = lonlat.transform(x, y)
            number = int(lon % 360 >= edge)
            crs = systems[number]
            east, north = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
            column, row = int((east - WESTS[number]) // 10), int((north - SOUTH) // 10)
            np.testing.assert_array_equal(found.values[:, i, j], decoded(stored[crs][:, row, column]))
            seen.add(number)
    assert seen == {0, 1}


@pytest.mark.parametrize("border", ["6 E"])
def test_the_neighbour_fills_what_the_own_zone_lacks(two_zones, border, tmp_path):
    spec, stored = two_zones
    holed = stored["EPSG:32632"].copy()
    holed[:, :, 20:24] = -128
    mirrors.write_cog(tmp_path / "2024/32N/tile.tiff", holed, Affine(10, 0, WESTS[1], 0, 10, SOUTH), "EPSG:32632")
    found = rs.get_embedding(spec, spatial=BORDERS[border][1], temporal=YEAR, output=GRID).data
    assert np.isfinite(found.values).all()
    assert found.values[0].max() > decoded(np.array([63], np.int8))[0] > found.values[0].min()


# -------------------------------------------------------------------------------- what is wrong
def test_a_year_that_was_not_published(product):
    with (
        pytest.warns(UserWarning, match="gse is published for"),
        pytest.raises(NoImageryError, match="published for 2017 to 2025"),
    ):
        rs.get_embedding(product("gse"), spatial=TILE, temporal=rs.TemporalSpec.year(2016))


def test_a_year_that_the_mirror_lacks(product):
    with pytest.raises(NoImageryError, match="no tile of it"):
        rs.get_embedding(product("gse"), spatial=TILE, temporal=rs.TemporalSpec.year(2020))


def test_a_place_outside_every_tile(product):
    with pytest.raises(NoImageryError, match="no tile of 2024 touches it"):
        rs.get_embedding(product("gse"), spatial=rs.PointBuffer(-30.0, 10.0, 50), temporal=YEAR)


def test_a_span_of_two_years(product):
    with pytest.raises(SpecError, match="from 2023 to 2024"):
        rs.get_embedding(product("gse"), spatial=TILE, temporal=rs.TemporalSpec.range("2023-06-01", "2024-06-01"))


def test_a_span_inside_a_year_is_that_year(product):
    span = rs.TemporalSpec.range("2024-06-01", "2025-01-01")
    found = rs.get_embedding(product("gse"), spatial=TILE, temporal=span)
    assert found.meta["frames"] == [("2024-01-01", "2025-01-01")]


def test_a_mirror_without_an_index(tmp_path):
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    with pytest.raises(ProviderError, match="no index"):
        rs.get_embedding(spec, spatial=TILE, temporal=YEAR)


def test_a_damaged_index(tmp_path):
    (tmp_path / "aef_index.parquet").write_bytes(b"PAR1" + b"x" * 100)
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    with pytest.raises(ProviderError, match="cannot be read as a table"):
        rs.get_embedding(spec, spatial=TILE, temporal=YEAR)


def test_a_file_of_other_numbers(tmp_path):
    transform = Affine(*FACTS["geotiff"]["transform_bottom_up"])
    floats = ARRAYS["stored_bottom_up"].astype("float32")
    mirrors.write_cog(tmp_path / "2024/31N/a.tiff", floats, transform, "EPSG:32631", dtype="float32")
    mirrors.write_index(tmp_path, [mirrors.index_row("2024/31N/a.tiff", "EPSG:32631", mirrors.GSE_BOUNDS)])
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    with pytest.raises(ProviderError, match="64 bands of float32, not 64 of int8"):
        rs.get_embedding(spec, spatial=TILE, temporal=YEAR)


def test_a_damaged_block(tmp_path):
    mirrors.gse_mirror(tmp_path)
    (path,) = tmp_path.rglob("*.tiff")
    data = bytearray(path.read_bytes())
    layout = open_geotiff(str(path), access=Access()).layout
    at = int(layout.offsets[0, 0, 0])
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(bytes(data))
    forget_heads()
    spec = rs.ModelSpec("gse", options={"base_url": str(tmp_path)})
    with pytest.raises(ProviderError, match="cannot be decoded"):
        rs.get_embedding(spec, spatial=TILE, temporal=YEAR)


# -------------------------------------------------------------------------------- through a provider
class WithProducts(Synthetic):
    """A provider that serves the product itself, as Earth Engine would."""

    def product(self, collection, bands, grid, *, span):
        assert (collection, len(bands), span.start.year) == ("GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL", 64, 2024)
        return np.full((64, *grid.shape), 0.125, np.float32)


def test_a_provider_that_has_the_product_serves_it(product):
    found = rs.get_embedding(product("gse"), spatial=TILE, temporal=YEAR, provider=WithProducts())
    np.testing.assert_array_equal(found.data, np.full(64, 0.125, np.float32))
    spec = product("gse", source="mirror")
    found = rs.get_embedding(spec, spatial=TILE, temporal=YEAR, provider=WithProducts())
    np.testing.assert_allclose(found.data, ARRAYS["mean"], rtol=0, atol=2e-8)
