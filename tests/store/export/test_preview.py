"""Previews of maps: every zoom lies where the map lies, in colours that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rioxarray  # noqa: F401  it adds .rio
import xarray as xr

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.export.colours import halved, painted
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.preview import build_preview, levels_of, stored_basis
from rs_embed_dask.store.map_layout import Asked, BlockKey, MapLayout
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.store.export.conftest import COL, ROW, WIDE, vectors_of, write_wide
from tests.store.map_samples import REQUEST, YEAR, group_of, make_map, result_of, square

UUID = "d35379db-88df-4056-af3a-620245f8e347"


@pytest.fixture(scope="module")
def built(wide):
    """The map with previews, and the pyramids that were named."""
    return wide, build_preview(wide, embeddings=True)


def level(path, name):
    with xr.open_zarr(path, group=name, mask_and_scale=False) as data:
        return data.load()


def test_every_group_has_a_pyramid(built):
    path, pyramids = built
    assert pyramids == [f"wide/{kind}/{zone}" for kind in ("preview", "pooled") for zone in ("utm31", "utm32")]
    listed = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert {"wide/preview", "wide/preview/utm31", "wide/preview/utm31/1", "wide/preview/utm31/1/rgb"} <= listed.keys()
    assert "wide/pooled/utm31/0" not in listed


def test_colours_are_those_of_one_basis_stored_with_them(built):
    path, _ = built
    basis = stored_basis(MapStore.open(path), "wide")
    for zone in ("utm31", "utm32"):
        rgb = level(path, f"wide/preview/{zone}/0").rgb
        assert (rgb.dims, rgb.shape, rgb.dtype) == (("time", "band", "y", "x"), (2, 3, 256, 384), np.uint8)
        for time, row, col in ((0, 0, 0), (1, 0, 1), (1, 1, 2)):
            known = painted(vectors_of(BlockKey("wide", zone, time, ROW + row, COL + col)), basis)
            cut = slice(128 * row, 128 * row + 128), slice(128 * col, 128 * col + 128)
            np.testing.assert_array_equal(rgb.values[time][:, *cut], known)
            assert known.min() >= 1
    assert basis.explained.sum() > 0.999
    # The zones differ by 64 in the third number, so a basis of one of them would not see it.
    assert np.abs(basis.axes[:, 2]).max() > 0.9


def test_a_block_without_vectors_has_no_colour_and_no_file(built):
    path, _ = built
    rgb = level(path, "wide/preview/utm31/0").rgb.values[0]
    assert (rgb[:, :128, 128:256] == 0).all()
    assert (rgb[:, 128:, 128:256] > 0).all()
    names = {one.name for one in (path / "wide/pooled/utm31/1/embedding/c/0/0/0").iterdir()}
    assert names == {"0", "2"}, "the columns of the empty block hold nothing"


def test_a_coarser_zoom_is_the_mean_of_what_is_there(built):
    path, _ = built
    fine, coarse = (level(path, f"wide/preview/utm31/{zoom}").rgb.values for zoom in (0, 1))
    four = fine.reshape(2, 3, 128, 2, 192, 2).astype(float)
    np.testing.assert_array_equal(coarse, np.rint(four.mean((3, 5))))
    pooled = level(path, "wide/pooled/utm32/1").embedding
    assert (pooled.dtype, pooled.dims) == (np.float16, ("time", "dim", "y", "x"))
    whole = vectors_of(BlockKey("wide", "utm32", 1, ROW, COL))
    np.testing.assert_array_equal(
        pooled.values[1, :, :64, :64], whole.reshape(4, 64, 2, 64, 2).mean((2, 4)).astype("float16")
    )


def test_every_zoom_lies_where_the_map_lies(built):
    path, _ = built
    bounds = open_map(path)["wide"]["utm32"].to_dataset().rio.bounds()
    for name in ("preview/utm32/0", "preview/utm32/1", "pooled/utm32/1"):
        data = level(path, f"wide/{name}")
        assert data.rio.bounds() == bounds
        assert data.rio.crs.to_epsg() == 32632
        step = 10.0 * 2 ** int(name[-1])
        assert data.attrs["spatial:transform"] == [step, 0.0, bounds[0], 0.0, -step, bounds[3]]
        assert float(data.x[0]) == bounds[0] + step / 2
        assert data.time.values.astype("M8[D]").tolist()[0] == YEAR[0]
        array = data["rgb" if "rgb" in data else "embedding"]
        assert array.attrs["proj:code"] == "EPSG:32632"
        assert array.attrs["grid_mapping"] == "spatial_ref" or "spatial_ref" in array.coords


def test_the_convention_is_named_as_it_is_registered(built):
    path, _ = built
    attrs = json.loads((path / "wide/preview/utm31/zarr.json").read_text())["attributes"]
    assert [one["name"] for one in attrs["zarr_conventions"]] == ["multiscales", "proj:", "spatial"]
    assert attrs["zarr_conventions"][0]["uuid"] == UUID
    assert not {"spatial:transform", "spatial:shape"} & attrs.keys()
    assert (attrs["proj:code"], attrs["spatial:registration"]) == ("EPSG:32631", "pixel")
    first, second = attrs["multiscales"]["layout"]
    assert (first["asset"], first.get("derived_from"), first["spatial:shape"]) == ("0", None, [256, 384])
    assert (second["asset"], second["derived_from"], second["spatial:shape"]) == ("1", "0", [128, 192])
    assert second["transform"] == {"scale": [1.0, 1.0, 2.0, 2.0]}
    assert attrs["multiscales"]["resampling_method"] == "average"
    pooled = json.loads((path / "wide/pooled/utm31/zarr.json").read_text())["attributes"]
    (only,) = pooled["multiscales"]["layout"]
    assert (only["asset"], "derived_from" in only) == ("1", False)


def test_our_readers_still_see_the_map_and_others_the_tree(built):
    path, _ = built
    assert set(open_map(path)["wide"].children) == {"utm31", "utm32"}
    assert [one.group for one in fields_of(open_map(path))] == ["utm31"] * 2 + ["utm32"] * 2
    with xr.open_datatree(path, engine="zarr", chunks={}) as tree:
        assert tree["wide/preview/utm31/1"].rgb.shape == (2, 3, 128, 192)
        assert set(tree["wide"].children) == {"utm31", "utm32", "preview", "pooled"}


def test_a_region_added_takes_the_preview_off_the_list_until_it_is_built_again(tmp_path):
    path = tmp_path / "map.zarr"
    store = make_map(path, layouts=(WIDE,), blocks=square(ROW, COL, 1, 1))
    write_wide(store)
    (pyramid,) = build_preview(path)
    store = MapStore.open(path, "r+")
    store.top_up([Asked(WIDE, (YEAR,), {group_of("utm31", WIDE): square(ROW, COL + 2, 1, 1)})], request=REQUEST)
    write_wide(store)
    assert stored_basis(MapStore.open(path), "wide") is None
    assert build_preview(path) == [pyramid]
    rgb = level(path, f"{pyramid}/0").rgb.values[0]
    assert [bool((rgb[:, :, k : k + 128] > 0).all()) for k in (0, 128, 256)] == [True, False, True]


def test_a_map_without_vectors_has_no_preview(tmp_path):
    make_map(tmp_path / "m", layouts=(WIDE,), blocks=square(ROW, COL, 1, 1))
    assert build_preview(tmp_path / "m") == []
    with pytest.raises(StoreError, match="no store"):
        build_preview(tmp_path / "none")


class Flat:
    """What the zooms of a field follow from."""

    crs = "EPSG:32631"
    transform = (10.0, 0.0, 500.0, 0.0, -10.0, 900.0)

    def __init__(self, *shape):
        self.shape = shape


@pytest.mark.parametrize(
    ("shape", "known"),
    [
        ((256, 3), [(256, 3)]),
        ((257, 3), [(258, 4), (129, 2)]),
        ((100, 1000), [(100, 1000), (50, 500), (25, 250)]),
        ((9, 1030), [(16, 1032), (8, 516), (4, 258), (2, 129)]),
    ],
)
def test_zooms_halve_exactly_until_one_is_small(shape, known):
    levels = levels_of(Flat(*shape))
    assert [one.shape for one in levels] == known
    assert [one.transform for one in levels] == [
        (10.0 * 2**k, 0.0, 500.0, 0.0, -10.0 * 2**k, 900.0) for k in range(len(known))
    ]


def test_means_leave_out_what_is_missing():
    values = np.array([[[1.0, 3, np.nan, np.nan], [5, 7, np.nan, np.nan]], [[0.0, 0, 1, np.nan], [0, 0, 2, 9]]])
    np.testing.assert_array_equal(halved(values), [[[4.0, np.nan]], [[0.0, np.nan]]])
    bytes_ = np.array([[[1, 4, 0, 200], [0, 0, 0, 0]]], dtype=np.uint8)
    np.testing.assert_array_equal(halved(bytes_), [[[2, 200]]])


def test_bytes_are_brought_to_numbers_before_they_are_pooled(tmp_path):
    layout = MapLayout("codes", dim=2, token_m=10.0, block=320, dtype="int8")
    store = make_map(tmp_path / "m", layouts=(layout,), blocks=square(360, 120, 1, 1))
    key = BlockKey("codes", "utm31", 0, 360, 120)
    codes = np.zeros((2, 320, 320), np.int8)
    codes[0, :, ::2], codes[1] = 10, np.arange(320) % 100
    store.write_block(key, result_of(layout, key, embedding=codes))
    build_preview(tmp_path / "m", embeddings=True)
    pooled = level(tmp_path / "m", "codes/pooled/utm31/1").embedding
    assert pooled.dtype == np.float32
    assert (pooled.values[0, 0] == 2.5).all(), "10 and 0 of half each"
    np.testing.assert_array_equal(pooled.values[0, 1, 0, :3], [0.25, 1.25, 2.25])
