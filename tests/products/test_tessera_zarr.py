"""TESSERA's Zarr stores: the sample's pixels, the seam at 6 degrees east, the south, variants that do not mix."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from pyproj import Transformer

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, ProviderError, SpecError, StoreMismatchError
from rs_embed_dask.models import card
from rs_embed_dask.products import reader_for
from rs_embed_dask.products.tessera_zarr import zones_of
from tests.engine.conftest import threads_client
from tests.products import mirrors
from tests.products.test_tessera import A_BOX, ARRAYS, FACTS, GRID, YEAR, box, decoded

__all__ = ["threads_client"]


def from_zarr(folder, variant="v1", **options):
    return rs.ModelSpec("tessera", variant=variant, options={"base_url": str(folder), "files": "zarr"} | options)


@pytest.mark.parametrize("tile", ["A", "B", "C", "D"])
def test_the_checked_pixels(product, tile):
    """Over HTTP, by ranges: NaN, infinity, 0 and a huge scale are missing."""
    found = rs.get_embedding(product("tessera", "new", files="zarr"), spatial=box(tile), temporal=YEAR, output=GRID)
    rows, columns = np.array(FACTS["checked_pixels"]).T
    np.testing.assert_array_equal(found.data.values[:, rows, columns].T, ARRAYS[f"{tile}/decoded_at_checked"])
    np.testing.assert_array_equal(found.data.values, decoded(tile))
    assert found.meta["valid_fraction"] == [1 - 4 / (24 * 18)]
    assert found.meta["scenes"] == ["utm32" if tile == "C" else "utm31"]


def test_it_equals_the_tiles(product):
    for output in (GRID, rs.OutputSpec.pooled()):
        tiles, store = (
            rs.get_embedding(
                product("tessera", "new", files=files), spatial=box("A", "B"), temporal=YEAR, output=output
            )
            for files in ("auto", "zarr")
        )
        np.testing.assert_array_equal(np.asarray(store.data), np.asarray(tiles.data))


def test_across_the_seam_at_6_degrees_east(tmp_path):
    """Each pixel from the zone that it lies in; beside the tiles nothing was computed yet."""
    mirrors.tessera_zarr(tmp_path)
    place = rs.BBox(*FACTS["zone_border"]["roi_lonlat"])
    found = rs.get_embedding(from_zarr(tmp_path), spatial=place, temporal=YEAR, output=GRID)
    assert found.meta["scenes"] == ["utm31", "utm32"]
    x, y = np.meshgrid(found.data.x.values, found.data.y.values)
    lon, lat = Transformer.from_crs(found.data.attrs["crs"], "EPSG:4326", always_xy=True).transform(x, y)
    expected = np.full(found.data.shape, np.nan, np.float32)
    for name, mine in (("D", lon < 6), ("C", lon >= 6)):
        tile, whole = FACTS["tiles"][name], decoded(name)
        left, top = tile["pixel_grid_left_top"]
        own = Transformer.from_crs("EPSG:4326", tile["crs"], always_xy=True).transform(lon, lat)
        columns, rows = ((own[0] - left) // 10).astype(int), ((top - own[1]) // 10).astype(int)
        there = mine & (rows >= 0) & (rows < 24) & (columns >= 0) & (columns < 18)
        assert there.sum() > 50
        expected[:, there] = whole[:, rows[there], columns[there]]
    np.testing.assert_array_equal(found.data.values, expected)
    pooled = rs.get_embedding(from_zarr(tmp_path), spatial=place, temporal=YEAR).data
    np.testing.assert_allclose(pooled, np.nanmean(expected.astype("float64"), axis=(1, 2)), rtol=1e-6)


def test_a_map_across_the_seam_has_each_zones_pixels_as_stored(threads_client, tmp_path):
    mirrors.tessera_zarr(tmp_path)
    place = rs.BBox(*FACTS["zone_border"]["roi_lonlat"])
    ask = {"provider": "synthetic", "client": threads_client, "progress": False, "dtype": "float32", "preview": False}
    spec = from_zarr(tmp_path)
    made = rs.compute_map(place, spec, YEAR, out=tmp_path / "map.zarr", **ask)[spec.label]
    for name, zone in (("D", "utm31"), ("C", "utm32")):
        (left, top), field = FACTS["tiles"][name]["pixel_grid_left_top"], made[zone]
        part = field.embedding[0].sel(x=slice(left, left + 180), y=slice(top, top - 240))
        rows, columns = ((top - part.y.values) // 10).astype(int), ((part.x.values - left) // 10).astype(int)
        stored = decoded(name)[:, rows[:, None], columns]
        there = np.isfinite(part.values)
        assert there.all(0).sum() > 50
        np.testing.assert_array_equal(part.values[there], stored[there])


def test_rows_of_the_south_lie_below_0_of_the_northern_projection(tmp_path):
    """A pixel at 33 degrees south, where the grid of a place counts from 10 000 km."""
    group = zarr.create_group(tmp_path / "zarr" / "v1").create_group(
        "utm19", attributes={"proj:code": "EPSG:32619", "spatial:transform": [10.0, 0, 3e5, 0, -10.0, -3_699_000.0]}
    )
    codes = np.arange(32 * 32, dtype=np.int64).reshape(32, 32) % 120 + 1
    group.create_array("embeddings", data=np.broadcast_to(codes, (1, 128, 32, 32)).astype("int8"))
    group.create_array("scales", data=np.full((1, 32, 32), 0.5, "float32"))
    group.create_array("time", data=np.array([2024], "int32"))
    place = rs.BBox(300_050, 6_300_850, 300_100, 6_300_900, crs="EPSG:32719")
    found = rs.get_embedding(from_zarr(tmp_path), spatial=place, temporal=YEAR, output=GRID)
    assert found.data.attrs["crs"] == "EPSG:32719"
    np.testing.assert_array_equal(found.data.values[7], codes[10:15, 5:10] * np.float32(0.5))


def test_zones():
    assert zones_of(np.array([-180.0, -174.0001, 5.9999, 6.0, 179.9, 180.0])).tolist() == [1, 1, 31, 32, 60, 1]


def test_a_shards_index_is_read_once_and_few_bytes_besides(served, product):
    spec = product("tessera", "new", files="zarr")
    place = rs.BBox(300990, 5770600, 301010, 5770620, crs="EPSG:32631")
    found = rs.get_embedding(spec, spatial=place, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A")[:, 7:9, 2:4])
    asked = len(served.asked)
    rs.get_embedding(spec, spatial=place, temporal=YEAR)
    again = served.asked[asked:]
    assert len(again) == 2  # a chunk of vectors and one of scales
    assert all("/c/0/" in path for path in again)


# ------------------------------------------------------------------------------------------------------------ variants
STORES = {"v1": "v1", "v1.1-cam": "v1.1", "v2-beta1": "v2-2B-L~beta1", "v2-beta2": "v2-2B-L~beta2"}


@pytest.mark.parametrize("variant", STORES)
def test_each_variant_has_a_store_of_its_own(tmp_path, variant):
    mirrors.tessera_zarr(tmp_path, STORES[variant], {"utm31": "A"})
    found = rs.get_embedding(from_zarr(tmp_path, variant), spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    other = next(name for name in STORES if name != variant)
    with pytest.raises(NoImageryError, match=r"has no 2024 in zone 31"):
        rs.get_embedding(from_zarr(tmp_path, other), spatial=A_BOX, temporal=YEAR)


def test_dclimate_is_read_from_its_store_alone(tmp_path):
    mirrors.tessera_zarr(tmp_path, "v1.1-dclimate", {"utm31": "A"})
    mirrors.tessera_mirror(tmp_path, tiles="A", version="v1.1-cam")
    spec = from_zarr(tmp_path, "v1.1-dclimate", files="auto")
    found = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    assert found.meta["scenes"] == ["utm31"]
    for files in ("ranges", "whole"):
        with pytest.raises(SpecError, match=r"v1\.1-dclimate: files = .*it has no tiles"):
            reader_for(card("tessera"), from_zarr(tmp_path, "v1.1-dclimate", files=files))


def test_dclimate_and_cam_do_not_mix_in_a_store(threads_client, tmp_path):
    mirrors.tessera_zarr(tmp_path, "v1.1-dclimate", {"utm31": "A"})
    mirrors.tessera_mirror(tmp_path, tiles="A", version="v1.1-cam")
    ask = {"provider": "synthetic", "client": threads_client, "progress": False, "out": tmp_path / "run.zarr"}
    cam, dclimate = (
        replace(from_zarr(tmp_path, f"v1.1-{name}", files="auto"), name="tessera") for name in ("cam", "dclimate")
    )
    rs.compute_embeddings([A_BOX], [cam], YEAR, **ask)
    with pytest.raises(StoreMismatchError, match=r"v1\.1-cam.*v1\.1-dclimate"):
        rs.compute_embeddings([box("B")], [dclimate], YEAR, **ask)


def test_a_registry_that_lists_the_other_variant_is_refused(tmp_path):
    mirrors.tessera_mirror(tmp_path, tiles="AB", version="v1.1-cam", variant=["cambridge", "dclimate"])
    with pytest.raises(SpecError, match=r"tiles of dclimate under v1\.1-cam.*cannot be mixed"):
        rs.get_embedding(from_zarr(tmp_path, "v1.1-cam", files="auto"), spatial=A_BOX, temporal=YEAR)


# -------------------------------------------------------------------------------------------------------------- damage
@pytest.mark.parametrize(
    "attributes",
    [
        {"proj:code": "EPSG:32731"},
        {"spatial:transform": [20.0, 0, 0, 0, -20.0, 0]},
        {"spatial:transform": []},
        {"spatial:transform": [10.0, 0, 0, 0, -10.0]},
    ],
)
def test_a_group_that_is_no_such_group_is_refused(tmp_path, attributes):
    mirrors.tessera_zarr(tmp_path, "v1", {"utm31": "A"}, **attributes)
    with pytest.raises(ProviderError, match=r"utm31.*not those of the format"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=YEAR)


@pytest.mark.parametrize("part", [slice(100, 400), slice(-40, None)], ids=["a chunk", "the index"])
def test_a_damaged_shard_is_told(tmp_path, part):
    mirrors.tessera_zarr(tmp_path, "v1", {"utm31": "A"})
    for shard in (tmp_path / "zarr/v1/utm31/embeddings/c").rglob("*"):
        if shard.is_file():
            data = bytearray(shard.read_bytes())
            data[part] = bytes(byte ^ 0xFF for byte in data[part])
            shard.write_bytes(bytes(data))
    with pytest.raises(ProviderError, match=r"utm31.*a shard of it cannot be decoded"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=YEAR)


@pytest.mark.parametrize(
    "values", [np.array(2024, "int32"), np.array([np.nan]), np.array(["2024-01-01"], "datetime64[s]"), None]
)
def test_a_group_with_something_else_for_years_is_refused(tmp_path, values):
    mirrors.tessera_zarr(tmp_path, "v1", {"utm31": "A"})
    group = zarr.open_group(tmp_path / "zarr/v1/utm31", mode="r+")
    del group["time"]
    if values is None:
        group.create_group("time")
    else:
        group.create_array("time", data=values)
    with pytest.raises(ProviderError, match=r"utm31.*it is no such group"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=YEAR)


def test_vectors_whose_chunk_is_not_there_are_missing_and_not_zero(tmp_path):
    mirrors.tessera_zarr(tmp_path, "v1", {"utm31": "A"})
    shutil.rmtree(tmp_path / "zarr/v1/utm31/embeddings/c")
    with pytest.raises(NoImageryError, match="no vector at any of its pixels"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=YEAR)


def test_a_group_without_its_arrays_is_refused(tmp_path):
    zarr.create_group(tmp_path / "zarr" / "v1").create_group("utm31")
    with pytest.raises(ProviderError, match="no such group"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=YEAR)


def test_a_year_or_zone_that_the_store_lacks(tmp_path):
    mirrors.tessera_zarr(tmp_path, "v1", {"utm31": "A"})
    with pytest.raises(NoImageryError, match="has no 2023 in zone 31"):
        rs.get_embedding(from_zarr(tmp_path), spatial=A_BOX, temporal=rs.TemporalSpec.year(2023))
    with pytest.raises(NoImageryError, match="has no 2024 in zone 33"):
        rs.get_embedding(from_zarr(tmp_path), spatial=rs.PointBuffer(13.0, 52.0, 50), temporal=YEAR)


def test_passing_faults_are_borne(served, product):
    left = [2]

    def busy(path):
        if "/c/" in path and left[0]:
            left[0] -= 1
            return 503
        return None

    served.fault = busy
    found = rs.get_embedding(product("tessera", "new", files="zarr"), spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    assert left == [0]
