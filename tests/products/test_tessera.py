"""TESSERA: the sample's pixels, mosaic and seam in both layouts; registries, checks, the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, ProviderError
from rs_embed_dask.products.tessera import Cell, cells_under
from tests.products import mirrors

FACTS, ARRAYS = mirrors.sample("tessera")
YEAR = rs.TemporalSpec.year(2024)
GRID = rs.OutputSpec.grid(scale_m=10)
A_BOX = rs.BBox(*FACTS["tiles"]["A"]["bounds_on_pixel_grid"], crs="EPSG:32631")


def decoded(tile):
    """The sample's rule, written out."""
    scales = ARRAYS[f"{tile}/scales"]
    good = (scales > 0) & (scales < 1) & (ARRAYS[f"{tile}/landmask"] > 0)
    values = ARRAYS[f"{tile}/quantized"].astype("float32") * np.where(good, scales, 0)[..., None]
    return np.where(good[..., None], values, np.nan).transpose(2, 0, 1)


def box(*tiles):
    bounds = np.array([FACTS["tiles"][tile]["bounds_on_pixel_grid"] for tile in tiles])
    return rs.BBox(*bounds[:, :2].min(0), *bounds[:, 2:].max(0), crs=FACTS["tiles"][tiles[0]]["crs"])


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("tile", ["A", "B", "C", "D"])
def test_the_checked_pixels(product, layout, tile):
    found = rs.get_embedding(product("tessera", layout), spatial=box(tile), temporal=YEAR, output=GRID)
    left, top = FACTS["tiles"][tile]["pixel_grid_left_top"]
    assert found.data.attrs["transform"] == [10.0, 0.0, left, 0.0, -10.0, top]
    rows, columns = np.array(FACTS["checked_pixels"]).T
    at = found.data.values[:, rows, columns].T
    np.testing.assert_array_equal(at, ARRAYS[f"{tile}/decoded_at_checked"])
    assert found.meta["valid_fraction"] == [1 - 4 / (24 * 18)]


def test_two_tiles_of_one_zone_meet_where_their_pixels_do(product):
    found = rs.get_embedding(product("tessera", "new"), spatial=box("A", "B"), temporal=YEAR, output=GRID)
    assert found.data.shape == (128, *FACTS["same_zone_mosaic"]["shape"])
    np.testing.assert_array_equal(found.data.values, np.concatenate([decoded("A"), decoded("B")], axis=2))
    pooled = rs.get_embedding(product("tessera", "new"), spatial=box("A", "B"), temporal=YEAR).data
    valid = found.data.values[:, np.isfinite(found.data.values[0])]
    np.testing.assert_array_equal(pooled, valid.astype("float64").mean(1).astype("float32"))


def test_across_a_zones_border(product):
    place = rs.BBox(*FACTS["zone_border"]["roi_lonlat"])
    found = rs.get_embedding(product("tessera", "old"), spatial=place, temporal=YEAR, output=GRID)
    assert found.meta["scenes"] == ["grid_5.95_52.05", "grid_6.05_52.05"]
    to_lonlat = Transformer.from_crs(found.data.attrs["crs"], "EPSG:4326", always_xy=True)
    whole = {name: decoded(name) for name in "DC"}
    counts = {"D": 0, "C": 0, "": 0}
    for i, y in enumerate(found.data.y.values):
        for j, x in enumerate(found.data.x.values):
            lon, lat = to_lonlat.transform(x, y)
            expected, source = np.full(128, np.nan, "float32"), ""
            for name in "DC" if lon < 6 else "CD":
                tile = FACTS["tiles"][name]
                left, top = tile["pixel_grid_left_top"]
                own = Transformer.from_crs("EPSG:4326", tile["crs"], always_xy=True).transform(lon, lat)
                column, row = int((own[0] - left) // 10), int((top - own[1]) // 10)
                if 0 <= row < 24 and 0 <= column < 18:
                    expected, source = whole[name][:, row, column], name
                    break
            counts[source] += 1
            np.testing.assert_array_equal(found.data.values[:, i, j], expected)
    assert counts["D"] > 50
    assert counts["C"] > 50
    pooled = rs.get_embedding(product("tessera", "old"), spatial=place, temporal=YEAR).data
    np.testing.assert_allclose(pooled, np.nanmean(found.data.values.astype("float64"), axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize("layout", ["0.7", "0.11"])
def test_a_folder_without_a_registry(tmp_path, layout):
    mirrors.tessera_mirror(tmp_path, layout, registry=False)
    spec = rs.ModelSpec("tessera", options={"base_url": str(tmp_path)})
    found = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    with pytest.raises(NoImageryError, match=r"no tile of 2023 for grid_0\.05_52\.05"):
        rs.get_embedding(spec, spatial=A_BOX, temporal=rs.TemporalSpec.year(2023))


FOLDERS = {"v1.1-cam": "v1.1-cam", "v2-beta1": "v2-2B-L~beta1", "v2-beta2": "v2-2B-L~beta2"}


@pytest.mark.parametrize("version", FOLDERS)
def test_each_version_is_read_from_its_own_folder_and_no_other(tmp_path, version):
    mirrors.tessera_mirror(tmp_path, tiles="A", version=FOLDERS[version])
    own, other = (
        rs.ModelSpec("tessera", variant=name, options={"base_url": str(tmp_path)}) for name in (version, "v1")
    )
    found = rs.get_embedding(own, spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    with pytest.raises(NoImageryError, match="no tile of 2024"):
        rs.get_embedding(other, spatial=A_BOX, temporal=YEAR, output=GRID)


def test_a_folder_into_which_geotessera_put_tiles(tmp_path):
    mirrors.tessera_mirror(tmp_path, "0.7", registry=False)
    spec = rs.ModelSpec("tessera", options={"base_url": str(tmp_path / "v1")})
    found = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))


def test_scales_of_each_band(tmp_path):
    mirrors.tessera_mirror(tmp_path, registry=False, tiles="A")
    (path,) = tmp_path.rglob("*_scales.npy")
    scales = np.repeat(np.load(path)[..., None], 128, axis=2) * np.linspace(0.5, 1, 128, dtype="float32")
    np.save(path, scales.astype("float32"))
    spec = rs.ModelSpec("tessera", options={"base_url": str(tmp_path)})
    found = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR, output=GRID).data.values
    expected = ARRAYS["A/quantized"][5, 7].astype("float32") * scales[5, 7].astype("float32")
    np.testing.assert_array_equal(found[:, 5, 7], expected)
    assert np.isnan(found[:, 0, :2]).all()


# -------------------------------------------------------------------------------- names and places
def test_names_of_cells():
    assert cells_under([(-0.02, -0.02, 0.02, 0.02)]) == [Cell(-1, -1), Cell(-1, 0), Cell(0, -1), Cell(0, 0)]
    assert [cell.name for cell in cells_under([(-0.02, -0.02, -0.01, -0.01)])] == ["grid_-0.05_-0.05"]
    assert [cell.name for cell in cells_under([(5.9985, 52.049, 6.0015, 52.05)])][:2] == [
        "grid_5.95_52.05",
        "grid_6.05_52.05",
    ]


def test_cells_across_the_antimeridian():
    both = cells_under([(179.95, 1.01, 180.0, 1.02), (-180.0, 1.01, -179.95, 1.02)])
    assert [cell.name for cell in both] == ["grid_-179.95_1.05", "grid_179.95_1.05"]
    assert cells_under([(180.0, 1.01, 180.0, 1.02)])[0].name == "grid_-179.95_1.05"


def test_a_year_and_a_place_that_the_registry_lacks(product):
    with pytest.raises(NoImageryError, match="no tile of it"):
        rs.get_embedding(product("tessera", "new"), spatial=A_BOX, temporal=rs.TemporalSpec.year(2019))
    with pytest.raises(NoImageryError, match=r"no tile of 2024 for grid_10\.05_45\.05"):
        rs.get_embedding(product("tessera", "new"), spatial=rs.PointBuffer(10.05, 45.05, 50), temporal=YEAR)


def test_a_place_partly_covered(product):
    left, bottom, right, top = FACTS["tiles"]["A"]["bounds_on_pixel_grid"]
    place = rs.BBox(left - 180, bottom, right, top, crs="EPSG:32631")
    found = rs.get_embedding(product("tessera", "new"), spatial=place, temporal=YEAR)
    assert found.meta["status"] == "partial"
    assert found.meta["valid_fraction"] == [(24 * 18 - 4) / (24 * 36)]
    np.testing.assert_allclose(found.data, np.nanmean(decoded("A").astype("float64"), axis=(1, 2)), rtol=1e-6)


# -------------------------------------------------------------------------------- damage, and checks
def broken(served, tmp_path, change, layout="0.7"):
    """A mirror one of whose tiles is changed, behind a server."""
    mirrors.tessera_mirror(tmp_path / "mirror", layout, tiles="A")
    change(next(path for path in (tmp_path / "mirror").rglob("grid_0.05_52.05.npy")))
    return mirrors.Mirror(tmp_path / "mirror")


def flip(path):
    data = bytearray(path.read_bytes())
    data[5000] ^= 0xFF
    path.write_bytes(bytes(data))


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def spoil_head(path):
    path.write_bytes(b"not an array" + path.read_bytes()[12:])


def other_shape(path):
    np.save(path, np.zeros((24, 18, 64), np.int8))


@pytest.mark.parametrize(
    ("change", "layout", "told"),
    [
        (flip, "0.7", "its sha256 begins with"),
        (cut, "0.7", "its index states"),
        (cut, "0.11", "its index states"),
        (spoil_head, "0.11", "its head is not that of an array"),
        (Path.unlink, "0.11", "404"),
    ],
)
def test_a_damaged_tile_is_told_and_not_kept(served, tmp_path, change, layout, told):
    with broken(served, tmp_path, change, layout) as server:
        options = {"base_url": server.url, "cache": str(tmp_path / "cache")}
        with pytest.raises(ProviderError, match=told):
            rs.get_embedding(rs.ModelSpec("tessera", options=options), spatial=A_BOX, temporal=YEAR)
    assert not list((tmp_path / "cache").rglob("*grid_0.05_52.05.npy"))


@pytest.mark.parametrize(("change", "told"), [(cut, "its head promises"), (other_shape, "its landmask has")])
def test_a_damaged_tile_without_a_registry(tmp_path, change, told):
    mirrors.tessera_mirror(tmp_path, tiles="A", registry=False)
    change(next(tmp_path.rglob("grid_0.05_52.05.npy")))
    with pytest.raises(ProviderError, match=told):
        rs.get_embedding(rs.ModelSpec("tessera", options={"base_url": str(tmp_path)}), spatial=A_BOX, temporal=YEAR)


def test_whole_tiles_are_kept_and_the_current_folder_is_left_alone(served, product, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    spec = product("tessera", "old")
    first = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR)
    kept = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert kept == {"registry.parquet", "grid_0.05_52.05.npy", "grid_0.05_52.05_scales.npy"}
    before = served.sent
    again = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR)
    np.testing.assert_array_equal(first.data, again.data)
    assert served.sent - before < 10_000  # the heads of two files
    assert not list(Path.cwd().iterdir())


def test_a_tile_that_was_lost_from_the_cache_is_fetched_again(product, tmp_path):
    spec = product("tessera", "old")
    first = rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR)
    for path in (tmp_path / "cache").rglob("grid*.npy"):
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(first.data, rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR).data)
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(first.data, rs.get_embedding(spec, spatial=A_BOX, temporal=YEAR).data)


def test_rows_by_ranges_bring_few_bytes(served, product, tmp_path):
    place = rs.BBox(300990, 5770600, 301010, 5770620, crs="EPSG:32631")
    before = served.sent
    found = rs.get_embedding(product("tessera", "new", files="ranges"), spatial=place, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A")[:, 7:9, 2:4])
    assert served.sent - before < 30_000
    assert not list((tmp_path / "cache").rglob("grid*.npy"))


def test_passing_faults_are_borne(served, product):
    left = [2]

    def busy(path):
        if path.endswith("grid_0.05_52.05.npy") and left[0]:
            left[0] -= 1
            return 503
        return None

    served.fault = busy
    found = rs.get_embedding(product("tessera", "new"), spatial=A_BOX, temporal=YEAR, output=GRID)
    np.testing.assert_array_equal(found.data.values, decoded("A"))
    assert left == [0]
