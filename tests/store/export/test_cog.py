"""COGs of maps: valid, where the map lies, with its values."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  it adds .rio
from rio_cogeo.cogeo import cog_validate

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.store.export.cog import _cog
from rs_embed_dask.store.export.colours import basis_of, painted
from rs_embed_dask.store.export.fields import MapField, fields_of
from rs_embed_dask.store.export.preview import build_preview
from rs_embed_dask.store.map_layout import BlockKey, MapLayout
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.store.export.conftest import COL, ROW, WIDE, vectors_of, write_wide
from tests.store.map_samples import make_map, result_of, square


def checked(path):
    """Validate a file and return it open."""
    is_valid, problems, hints = cog_validate(path, strict=True)
    assert (is_valid, problems, hints) == (True, [], [])
    return rasterio.open(path)


@pytest.fixture(scope="module")
def written(wide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cogs")
    return folder, rs.to_cog(wide, folder, "all", group="utm31")


def test_there_is_a_file_per_span_and_nothing_else(written):
    folder, files = written
    assert [one.name for one in files] == [
        "wide_utm31_2021-01-01_2022-01-01.tif",
        "wide_utm31_2022-01-01_2023-01-01.tif",
    ]
    assert sorted(folder.iterdir()) == files


def test_a_file_holds_the_map_where_it_lies(wide, written):
    tree = open_map(wide)["wide"]["utm31"]
    for number, file in enumerate(written[1]):
        with checked(file) as image:
            known = tree.embedding.isel(time=number).values.astype("float32")
            assert (image.count, image.shape, set(image.dtypes)) == (4, (256, 384), {"float32"})
            np.testing.assert_array_equal(image.read(), known)
            assert np.isnan(image.nodata)
            assert image.crs.to_epsg() == 32631
            assert tuple(image.transform)[:6] == tuple(tree.attrs["spatial:transform"])
            assert tuple(image.bounds) == tree.to_dataset().rio.bounds()
            assert image.descriptions == tuple(f"dimension {k}" for k in range(4))
            assert image.overviews(1) == []
            assert image.compression.name == "zstd"
    assert np.isnan(known[:, :128, 128:256]).sum() == 0
    with rasterio.open(written[1][0]) as image:
        assert np.isnan(image.read(1)[:128, 128:256]).all()
        assert image.tags()["MODEL"] == "wide"
        assert image.tags()["SPAN"] == "2021-01-01/2022-01-01"
        assert "WEIGHTS" not in image.tags()


def test_some_dimensions_in_the_order_asked(wide, tmp_path):
    (file,) = rs.to_cog(open_map(wide), tmp_path / "two.tif", [2, 0], group="utm32", span=1)
    with checked(file) as image:
        assert image.descriptions == ("dimension 2", "dimension 0")
        known = vectors_of(BlockKey("wide", "utm32", 1, ROW, COL))
        np.testing.assert_array_equal(image.read(window=((0, 128), (0, 128))), known[[2, 0]])


def test_colours_are_those_of_the_preview_where_there_is_one(wide, tmp_path):
    fresh = rs.to_cog(open_map(wide), tmp_path / "tree", model="wide", group="utm31", span=0)
    build_preview(wide)
    (file,) = rs.to_cog(wide, tmp_path / "store", model="wide", group="utm31", span=0)
    rgb = MapStore.open(wide).array("wide/preview/utm31/0/rgb")[0]
    with checked(file) as image:
        np.testing.assert_array_equal(image.read(), rgb)
        assert (image.nodata, set(image.dtypes)) == (0, {"uint8"})
        assert [one.name for one in image.colorinterp] == ["red", "green", "blue"]
    with checked(fresh[0]) as image:
        # Of one zone and span alone, rows and columns are all that varies.
        assert not np.array_equal(image.read(), rgb)
        assert (image.read()[:, :128, 128:256] == 0).all()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A field of 640 x 640 tokens, which has overviews, with random weights and positions removed."""
    path = tmp_path_factory.mktemp("large") / "map.zarr"
    store = make_map(path, layouts=(WIDE,), blocks=square(ROW, COL, 5, 5))
    write_wide(store)
    store.update_receipt(
        weights={"wide": {"random": True}}, positions={"wide": {"statement": "positions removed, as asked"}}
    )
    return path


def test_overviews_are_means_and_no_more_than_a_block_is_read_at_once(large, tmp_path, monkeypatch):
    windows, read = [], MapField.read
    monkeypatch.setattr(MapField, "read", lambda field, window: windows.append(window) or read(field, window))
    (file,) = rs.to_cog(large, tmp_path / "large.tif", "all")
    assert len(windows) == 25
    assert {one.stop - one.start for window in windows for one in window} == {128}
    with checked(file) as image:
        assert image.overviews(1) == [2]
        half = image.read(1, out_shape=(320, 320))
        tags = image.tags()
    with rasterio.open(file) as image:
        whole = image.read(1)
    np.testing.assert_allclose(half, whole.reshape(320, 2, 320, 2).mean((1, 3)))
    assert tags["WEIGHTS"] == "random"
    assert tags["POSITIONS"] == "positions removed, as asked"


def test_bytes_are_multiplied_by_their_scale(tmp_path):
    layout = MapLayout("codes", dim=2, token_m=10.0, block=64, dtype="int8")
    store = make_map(tmp_path / "m", layouts=(layout,), blocks=square(1800, 600, 1, 1))
    key = BlockKey("codes", "utm31", 0, 1800, 600)
    codes = np.full((2, 64, 64), 10, np.int8)
    codes[:, 0, 0] = -128
    store.write_block(key, result_of(layout, key, embedding=codes))
    (file,) = rs.to_cog(tmp_path / "m", tmp_path / "codes.tif", "all")
    with checked(file) as image:
        values = image.read()
        assert np.isnan(values[:, 0, 0]).all()
        assert (values[:, 1:] == 5.0).all()


def test_what_cannot_be_written_is_refused_before_it_is_begun(wide, tmp_path):
    tree = open_map(wide)
    for arguments, error, match in (
        ((tmp_path / "a.tif",), SpecError, "4 .*give a folder"),
        ((tmp_path / "a.tif", [4]), SpecError, "give a folder"),
        ((tmp_path, [4]), SpecError, "dims = 4"),
        ((tmp_path, [1, 1]), SpecError, "named once"),
        ((tmp_path, "rgb"), SpecError, "no choice"),
    ):
        with pytest.raises(error, match=match):
            rs.to_cog(tree, *arguments)
    with pytest.raises(UnknownNameError, match="utm31"):
        rs.to_cog(tree, tmp_path, group="utm33")
    with pytest.raises(UnknownNameError, match="wide"):
        rs.to_cog(tree, tmp_path, model="narrow")
    with pytest.raises(SpecError, match=r"span = .*it must lie in \[-2, 1\]"):
        rs.to_cog(tree, tmp_path, span=2)
    assert list(tmp_path.iterdir()) == []


def test_a_cropped_map_keeps_its_place(wide, tmp_path):
    tree = open_map(wide)
    cut = tree.copy()
    cut["wide/utm31"] = tree["wide/utm31"].to_dataset().isel(y=slice(130, 190), x=slice(5, 45), time=[1])
    (file,) = rs.to_cog(cut, tmp_path / "cut.tif", [0, 1], group="utm31")
    with rasterio.open(file) as image:
        whole = vectors_of(BlockKey("wide", "utm31", 1, ROW + 1, COL))
        np.testing.assert_array_equal(image.read(), whole[:2, 2:62, 5:45])
        left, _, _, top = tree["wide/utm31"].to_dataset().rio.bounds()
        assert (image.bounds.left, image.bounds.top) == (left + 50.0, top - 1300.0)


@pytest.mark.parametrize(
    ("version", "bands", "known"),
    [
        ("3.10.3", 3, (512, None)),
        ("3.10.3", 768, (128, None)),
        ("3.11.0", 768, (512, "tile")),
        ("3.12.2", 1, (512, None)),
    ],
)
def test_tiles_stay_small_whatever_the_number_of_bands(monkeypatch, version, bands, known):
    monkeypatch.setattr(rasterio, "__gdal_version__", version)
    options = _cog(bands, 4)
    assert (options["blocksize"], options.get("interleave")) == known


def test_colours_of_a_vector_are_never_the_missing_byte(wide):
    field = fields_of(open_map(wide))[0]
    colours = painted(np.full((4, 1, 2), -1e6, np.float32), basis_of([field]))
    assert colours.min() == 1
