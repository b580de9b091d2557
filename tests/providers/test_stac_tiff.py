"""Finding blocks in every kind of TIFF, against what rasterio reads from the same file."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers import excerpt, geotiff
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.ranges import runs
from rs_embed_dask.providers.tiff import NotTiffError, read_layout
from tests.services.fixtures import forget_heads

KINDS = {
    "strips": {"tiled": False},
    "one strip": {"tiled": False, "blockysize": 700},
    "big, lzw": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw", "BIGTIFF": "YES"},
    "by pixel": {"tiled": True, "interleave": "pixel"},
    "by band": {"tiled": True, "interleave": "band", "compress": "deflate"},
    "big endian": {"tiled": True, "endianness": "big", "compress": "deflate", "predictor": 2},
    "sparse": {"tiled": True, "SPARSE_OK": "TRUE"},
    "COG": {"driver": "COG", "blocksize": 128, "compress": "zstd"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("head", [512, 32_768])
def test_blocks_are_found(tmp_path, monkeypatch, options, head):
    monkeypatch.setattr(geotiff, "HEAD_BYTES", head)
    forget_heads()
    values = np.random.default_rng(3).integers(0, 60_000, (3, 700, 800)).astype("uint16")
    values[:, :256] = 0
    path = tmp_path / "a.tif"
    profile = {
        "driver": "GTiff",
        "height": 700,
        "width": 800,
        "count": 3,
        "dtype": "uint16",
        "crs": "EPSG:32631",
    } | options
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000), **profile) as file:
        file.write(values)
    opened = open_geotiff(str(path), access=Access())
    for band in (1, 2, 3):
        got = opened.read(band, (200, 620), (111, 777), access=Access())
        np.testing.assert_array_equal(got, values[band - 1, 200:620, 111:777])
    assert opened.bands == 3


TILES = {"tiled": True, "blockxsize": 64, "blockysize": 64}
NUMBERS = {
    "12 bits": ("uint16", 4095, TILES | {"nbits": 12, "compress": "deflate"}),
    "15 bits": ("uint16", 32_767, TILES | {"nbits": 15, "compress": "deflate"}),
    "int8": ("int8", 100, TILES),
    "int32": ("int32", 2**20, TILES | {"compress": "deflate"}),
    "float16": ("float32", 2000, TILES | {"nbits": 16}),
    "float64 with predictor 3": ("float64", 30_000, TILES | {"compress": "deflate", "predictor": 3}),
    "LZMA": ("uint16", 60_000, TILES | {"compress": "lzma"}),
    "LERC": ("float32", 30_000, TILES | {"compress": "lerc"}),
    "LERC and Zstandard": ("float32", 30_000, TILES | {"compress": "lerc_zstd"}),
    "a palette": ("uint8", 200, TILES | {"photometric": "palette"}),
    "JPEG in YCbCr": ("uint8", 200, TILES | {"compress": "jpeg", "photometric": "ycbcr", "count": 3}),
    "WebP": ("uint8", 200, TILES | {"compress": "webp", "webp_lossless": True, "count": 3}),
    "sparse with nodata": ("uint16", 60_000, TILES | {"sparse_ok": True, "nodata": 65_535, "compress": "deflate"}),
}
LOSSY = {"JPEG in YCbCr"}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_every_width_and_codec_are_those_that_were_written(tmp_path, kind):
    forget_heads()
    dtype, most, options = NUMBERS[kind]
    values = np.random.default_rng(0).integers(1, most, (options.get("count", 1), 150, 170)).astype(dtype)
    if "nodata" in options:
        values[:, :64, :64] = options["nodata"]
    profile = {"driver": "GTiff", "height": 150, "width": 170, "count": 1, "dtype": dtype, "crs": "EPSG:32631"}
    path = tmp_path / "a.tif"
    place = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)
    with rasterio.open(path, "w", transform=place, **profile | options) as file:
        file.write(values)
    if kind in LOSSY:
        with rasterio.open(path) as file:
            values = file.read()
    expected = np.where(values == options.get("nodata", -1), np.nan, values.astype("float32"))
    opened = open_geotiff(str(path), access=Access())
    for band in range(len(values)):
        got = opened.read(band + 1, (10, 140), (30, 170), access=Access())
        np.testing.assert_array_equal(got, expected[band, 10:140, 30:170])


def test_a_directory_behind_the_pixels_is_found(tmp_path):
    """Files that were changed after they were written keep their directory at the end."""
    path = tmp_path / "a.tif"
    values = np.random.default_rng(3).integers(1, 60_000, (300, 300)).astype("uint16")
    profile = {"driver": "GTiff", "height": 300, "width": 300, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5.7e6), tiled=True, **profile) as file:
        file.write(values, 1)
    with rasterio.open(path, "r+") as file:
        file.update_tags(NOTE="x" * 5000)
    opened = open_geotiff(str(path), access=Access())
    assert len(opened.head) == 2
    np.testing.assert_array_equal(opened.read(1, (0, 300), (0, 300), access=Access()), values)


MASKED = {
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "big": {"tiled": True, "blockxsize": 64, "blockysize": 64, "BIGTIFF": "YES"},
    "big endian": {"tiled": True, "endianness": "big"},
    "strips": {"tiled": False},
    "COG": {"driver": "COG", "blocksize": 128, "overviews": "AUTO", "compress": "deflate"},
    "alpha in the same blocks": {"tiled": True, "interleave": "pixel", "alpha": True},
    "alpha in a plane of its own": {"tiled": True, "interleave": "band", "alpha": True},
}


@pytest.mark.parametrize("options", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("head", [512, 32_768])
def test_masks_that_are_no_number(tmp_path, monkeypatch, options, head):
    monkeypatch.setattr(geotiff, "HEAD_BYTES", head)
    forget_heads()
    random = np.random.default_rng(3)
    values = random.integers(0, 60_000, (300, 400)).astype("uint16")
    shown = random.random((300, 400)) > 0.3
    shown[:130, :130] = False
    path, options = tmp_path / "a.tif", dict(options)
    alpha = options.pop("alpha", False)
    profile = {"driver": "GTiff", "height": 300, "width": 400, "dtype": "uint16", "crs": "EPSG:32631"} | options
    profile |= {"count": 1 + alpha, "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        if alpha:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
            file.write(np.where(shown, 65_535, 0).astype("uint16"), 2)
        file.write(values, 1)
        if not alpha:
            file.write_mask(shown)
    opened = open_geotiff(str(path), access=Access())
    got = opened.read(1, (100, 290), (11, 377), access=Access())
    np.testing.assert_array_equal(got, np.where(shown, values, np.float32(np.nan))[100:290, 11:377])
    assert (opened.image_bands, opened.layout.mask is None) == (1, alpha)
    if alpha:
        np.testing.assert_array_equal(opened.read(2, (0, 9), (0, 9), access=Access()), 0)


def test_the_mask_of_an_overview_is_not_the_images(tmp_path):
    forget_heads()
    path = tmp_path / "a.tif"
    values = np.arange(1, 300 * 300 + 1, dtype="float32").reshape(300, 300)
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5.7e6)}
    with rasterio.open(path, "w", height=300, width=300, count=1, dtype="float32", tiled=True, **place) as file:
        file.write(values, 1)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    opened = open_geotiff(str(path), access=Access())
    assert opened.layout.mask is None
    np.testing.assert_array_equal(opened.read(1, (0, 300), (0, 300), access=Access()), values)


def test_directories_that_run_in_a_circle_end():
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 8), (257, 8), (273, 4000), (278, 8), (279, 64))
    )
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 5) + entries + struct.pack("<I", 8)
    layout = read_layout(lambda start, length: data[start : start + length])
    assert (layout.width, layout.height, layout.mask) == (8, 8, None)


def test_neighbouring_blocks_are_one_run():
    assert runs([(40_000, 100), (40_108, 100), (9_000_000, 50)], [(0, 32_768)]) == [
        (40_000, 40_208),
        (9_000_000, 9_000_050),
    ]
    assert runs([(100, 50), (100, 50)], [(0, 200)]) == []
    assert runs([(2, 10)], []) == [(2, 12)]
    assert runs([], []) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a TIFF"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "not a TIFF"),
        (b"II*\0\x08\0\0\0\0\0", "claims 0 entries"),
        (b"II*\0\x08\0\0\0\xff\xff", "claims 65535 entries"),
        (b"II*\0\x08\0\0\0", "damaged"),
        (b"II*\0\x08\0\0\0\x01\0" + b"\x00\x01\x04\0\x01\0\0\0\0\x01\0\0", "no usable tag 257"),
    ],
)
def test_what_is_not_a_tiff_is_refused(data, reason):
    with pytest.raises(NotTiffError, match=reason):
        read_layout(lambda start, length: data[start : start + length])


def test_damaged_pixels_name_the_file(tmp_path):
    forget_heads()
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 300, "width": 300, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(
        path, "w", transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5.7e6), compress="deflate", **profile
    ) as file:
        file.write(np.random.default_rng(3).integers(1, 60_000, (1, 300, 300)).astype("uint16"))
    whole = bytearray(path.read_bytes())
    whole[40_000:60_000] = bytes(20_000)
    path.write_bytes(whole)
    with pytest.raises(ProviderError, match="asset B04: its pixels cannot be decoded"):
        open_geotiff(f"{path}#asset%20B04", access=Access()).read(1, (0, 300), (0, 300), access=Access())


def test_a_file_in_memory_goes_back_to_where_it_came_from(tmp_path, monkeypatch):
    """Threads that decode first, at the same moment, may have queues of their own: none must wait at another's."""
    path = tmp_path / "a.tif"
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": 1, "dtype": "uint16", **place}
    values = np.arange(256, dtype="uint16").reshape(16, 16)
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)
    queues = [excerpt._files.__wrapped__() for _ in range(2)]
    sizes = [each.qsize() for each in queues]
    coming = iter(queues)
    monkeypatch.setattr(excerpt, "_files", lambda: next(coming))
    pixels = excerpt.decode([path.read_bytes()], [1], Window(2, 3, 4, 5))
    np.testing.assert_array_equal(pixels[0], values[3:8, 2:6])
    assert [each.qsize() for each in queues] == sizes
    with pytest.raises(rasterio.errors.RasterioError):
        excerpt.decode([b"no TIFF"], [1], Window(0, 0, 1, 1))
    assert [each.qsize() for each in queues] == sizes


def test_one_thread_asks_gdal_where_files_lie(tmp_path, monkeypatch):
    """Each thread that asks for a reference system opens the database of all, which takes longer than an answer."""
    asking, placed = [], geotiff._placed

    def told(data):
        asking.append(threading.current_thread().name)
        return placed(data)

    monkeypatch.setattr(geotiff, "_placed", told)
    geotiff._placed_again.cache_clear()
    forget_heads()
    paths = [str(tmp_path / f"{n}.tif") for n in range(6)]
    profile = {"driver": "GTiff", "height": 20, "width": 20, "count": 1, "dtype": "uint8", "crs": "EPSG:32631"}
    for n, path in enumerate(paths):
        with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 10 * (n // 2), 0, -10, 0), **profile) as file:
            file.write(np.full((1, 20, 20), n + 1, np.uint8))
    with ThreadPoolExecutor(3) as threads:
        files = list(threads.map(lambda path: open_geotiff(path, access=Access()), paths))
    assert [file.transform.c for file in files] == [0, 0, 10, 10, 20, 20]
    assert {file.crs for file in files} == {"EPSG:32631"}
    assert set(asking) == {"rs-ground_0"}


FORKED = """
import os, sys
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
opened = open_geotiff(sys.argv[1], access=Access())
child = os.fork()
if not child:
    os._exit(0 if open_geotiff(sys.argv[2], access=Access()).transform.c == 20 else 1)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_process_that_was_forked_opens_files(tmp_path):
    """None of its parent's threads is there."""
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    profile = {"driver": "GTiff", "height": 20, "width": 20, "count": 1, "dtype": "uint8", "crs": "EPSG:32631"}
    for left, path in zip((10, 20), paths, strict=True):
        with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, left, 0, -10, 0), **profile) as file:
            file.write(np.ones((1, 20, 20), np.uint8))
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED, *map(str, paths)], check=True, timeout=60)
