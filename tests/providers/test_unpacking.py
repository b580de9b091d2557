"""Blocks that are unpacked without GDAL, against what rasterio reads of the same file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers import geotiff
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.tiff import TiffEntry, read_layout
from rs_embed_dask.providers.unpacking import unpacked
from tests.services.fixtures import forget_heads

SIDE, BLOCK = 150, 64
TILES = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
DEFLATED = TILES | {"compress": "deflate"}
WINDOWS = (((4, 26), (20, 90)), ((60, 150), (0, 150)), ((130, 150), (100, 128)))
"""Rows and columns: within blocks, over their edges, and at the end of the image."""
OURS = {
    "unsigned": ("uint16", DEFLATED),
    "differences": ("uint16", DEFLATED | {"predictor": 2}),
    "big endian": ("uint16", DEFLATED | {"predictor": 2, "endianness": "BIG"}),
    "bytes": ("uint8", DEFLATED | {"predictor": 2}),
    "signed bytes": ("int8", DEFLATED | {"predictor": 2}),
    "signed": ("int32", DEFLATED | {"predictor": 2}),
    "floats": ("float32", DEFLATED),
    "floats as whole numbers": ("float32", DEFLATED | {"predictor": 2}),
    "bytes of floats apart": ("float32", DEFLATED | {"predictor": 3}),
    "bytes of big-endian floats apart": ("float32", DEFLATED | {"predictor": 3, "endianness": "BIG"}),
    "bytes of long floats apart": ("float64", DEFLATED | {"predictor": 3}),
    "zstd": ("int16", TILES | {"compress": "zstd", "predictor": 2}),
    "floats in zstd": ("float32", TILES | {"compress": "zstd", "predictor": 3}),
    "three bands together": ("uint16", DEFLATED | {"predictor": 2, "count": 3, "interleave": "pixel"}),
    "three bands of floats together": ("float32", DEFLATED | {"predictor": 3, "count": 3, "interleave": "pixel"}),
    "three planes": ("uint16", DEFLATED | {"predictor": 2, "count": 3, "interleave": "band"}),
    "strips": ("uint16", {"compress": "deflate", "predictor": 2, "blockysize": 50}),
    "a palette": ("uint8", DEFLATED | {"photometric": "palette"}),
    "white is zero": ("uint8", DEFLATED | {"photometric": "miniswhite"}),
}
THEIRS = {
    "another compression": ("uint16", TILES | {"compress": "lzw"}),
    "15 bits": ("uint16", DEFLATED | {"nbits": 15}),
    "short floats": ("float32", DEFLATED | {"nbits": 16}),
    "long whole numbers": ("int64", DEFLATED),
    "complex numbers": ("complex64", DEFLATED),
}


def write(path, dtype, options):
    """Write numbers that differ little from pixel to pixel, and return them."""
    count = options.get("count", 1)
    steps = np.random.default_rng(4).integers(-3, 4, (count, SIDE, SIDE))
    numbers = (60 + steps.cumsum(axis=2) % 60).astype(dtype)
    if np.dtype(dtype).kind == "f" and "nbits" not in options:
        numbers += np.random.default_rng(5).random(numbers.shape).astype(dtype)
        numbers[:, 20, 30] = np.nan
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": count, "dtype": dtype, "crs": "EPSG:32631"}
    place = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)
    with rasterio.open(path, "w", transform=place, **profile | options) as file:
        file.write(numbers)
    with rasterio.open(path) as file:  # GDAL made the file, and what it reads is what is in it
        return file.read()


@pytest.fixture(autouse=True)
def _fresh():
    forget_heads()


@pytest.fixture
def gdal(monkeypatch):
    """Count the windows that GDAL decodes."""
    decoded, decode = [], geotiff.decode

    def counted(parts, indexes, window):
        decoded.append(window)
        return decode(parts, indexes, window)

    monkeypatch.setattr(geotiff, "decode", counted)
    return decoded


@pytest.mark.parametrize(("rows", "columns"), WINDOWS)
@pytest.mark.parametrize("kind", OURS)
def test_the_usual_kinds_are_read_without_gdal(tmp_path, gdal, kind, rows, columns):
    dtype, options = OURS[kind]
    numbers = write(tmp_path / "a.tif", dtype, options)
    file = open_geotiff(str(tmp_path / "a.tif"), access=Access())
    expected = numbers[:, slice(*rows), slice(*columns)]
    got = file.raw(rows, columns, access=Access())
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    for band in range(len(numbers)):
        one = file.raw(rows, columns, access=Access(), band=band + 1)
        np.testing.assert_array_equal(one, expected[band : band + 1])
    assert not gdal


@pytest.mark.parametrize("kind", THEIRS)
def test_what_only_gdal_reads_is_left_to_it(tmp_path, gdal, kind):
    dtype, options = THEIRS[kind]
    numbers = write(tmp_path / "a.tif", dtype, options)
    rows, columns = WINDOWS[0]
    got = open_geotiff(str(tmp_path / "a.tif"), access=Access()).raw(rows, columns, access=Access())
    np.testing.assert_array_equal(got, numbers[:, slice(*rows), slice(*columns)])
    assert len(gdal) == 1


def test_blocks_that_were_left_out_are_gdals(tmp_path, gdal):
    path = tmp_path / "a.tif"
    numbers = np.zeros((SIDE, SIDE), np.uint16)
    numbers[BLOCK:] = 7
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    place = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)
    with rasterio.open(path, "w", transform=place, sparse_ok=True, nodata=9, **profile | DEFLATED) as file:
        file.write(numbers[BLOCK:], 1, window=Window(0, BLOCK, SIDE, SIDE - BLOCK))
    file = open_geotiff(str(path), access=Access())
    got = file.raw((60, 68), (0, 10), access=Access())[0]
    np.testing.assert_array_equal(got, np.repeat([[9], [7]], 4, axis=0) * np.ones((1, 10)))
    assert len(gdal) == 1


@pytest.mark.parametrize("damage", ["cut short", "spoilt", "of fewer rows", "of another sum"])
def test_damage_is_told_wherever_in_its_block_it_lies(tmp_path, damage):
    path = tmp_path / "a.tif"
    write(path, "uint16", DEFLATED)
    data = bytearray(path.read_bytes())
    layout = read_layout(lambda offset, length: bytes(data[offset : offset + length]))
    offset, length = int(layout.offsets[0, 0, 0]), int(layout.counts[0, 0, 0])
    stream = bytes(data[offset : offset + length])
    rows = zlib.decompress(stream)
    worse = {
        "cut short": stream[: length // 8],
        "spoilt": stream[: length // 2] + bytes(200) + stream[length // 2 + 200 :],
        "of fewer rows": zlib.compress(rows[: 5 * BLOCK * 2]),
        "of another sum": stream[:-1] + bytes([stream[-1] ^ 1]),
    }[damage]
    data[offset : offset + length] = worse.ljust(length, b"\0")
    path.write_bytes(data)
    file = open_geotiff(str(path), access=Access())
    with pytest.raises(ProviderError, match="cannot be decoded"):
        file.raw((10, 30), (0, 20), access=Access())


@pytest.mark.parametrize("tag", [259, 262, 317, 339])
def test_tags_of_unusual_types_are_gdals(tmp_path, gdal, tag):
    """A whole number in a byte, where a file is to have it in two."""
    path = tmp_path / "a.tif"
    numbers = write(path, "uint16", DEFLATED | {"predictor": 2})
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entry = next(
        at for at in range(start + 2, start + 2 + 12 * count, 12) if data[at : at + 2] == struct.pack("<H", tag)
    )
    data[entry + 2 : entry + 4] = struct.pack("<H", 1)
    path.write_bytes(data)
    rows, columns = WINDOWS[0]
    got = open_geotiff(str(path), access=Access()).raw(rows, columns, access=Access())
    np.testing.assert_array_equal(got[0], numbers[0, slice(*rows), slice(*columns)])
    assert len(gdal) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {317: TiffEntry(3, 2, struct.pack("<HH", 2, 1))},
        {317: TiffEntry(13, 1, struct.pack("<I", 2))},
        {32996: TiffEntry(3, 1, struct.pack("<H", 2))},
        {322: TiffEntry(3, 1, struct.pack("<H", 16))},
        {258: TiffEntry(3, 2, struct.pack("<HH", 16, 8))},
    ],
    ids=["two predictors", "a predictor of another type", "DataType", "TileWidth in strips", "other bits"],
)
def test_directories_that_gdal_may_understand_otherwise_are_gdals(tmp_path, odd):
    numbers = write(tmp_path / "a.tif", "uint16", {"compress": "deflate", "predictor": 2, "blockysize": 50})
    data = (tmp_path / "a.tif").read_bytes()
    layout = read_layout(lambda offset, length: data[offset : offset + length])
    rows, columns = (4, 26), (20, 90)
    blocks = [
        (block, memoryview(data)[block[2] : block[2] + block[3]])
        for block in layout.spans(layout.under(rows, columns), 0)
    ]
    usual = unpacked(layout, blocks, rows=rows, columns=columns, band=None)
    np.testing.assert_array_equal(usual, numbers[:, slice(*rows), slice(*columns)])
    directory = replace(layout.directory, entries={**layout.directory.entries, **odd})
    assert unpacked(replace(layout, directory=directory), blocks, rows=rows, columns=columns, band=None) is None


@pytest.mark.parametrize("n_rows", [30, 77, 120])
def test_the_last_strip_may_end_with_the_image_or_behind_it(tmp_path, n_rows):
    """What some writers add to it, GDAL takes for a fault, and leaves a part of it unwritten."""
    numbers = write(tmp_path / "a.tif", "uint16", {"compress": "deflate", "blockysize": 120})  # 30 of 120 rows are left
    data = (tmp_path / "a.tif").read_bytes()
    layout = read_layout(lambda offset, length: data[offset : offset + length])
    rows, columns = (125, 150), (0, 20)
    (block,) = layout.spans(layout.under(rows, columns), 0)
    strip = zlib.decompress(data[block[2] : block[2] + block[3]])
    longer = zlib.compress(strip.ljust(n_rows * SIDE * 2, b"\1"))
    got = unpacked(layout, [(block, memoryview(longer))], rows=rows, columns=columns, band=None)
    np.testing.assert_array_equal(got, numbers[:, slice(*rows), slice(*columns)])


def test_large_blocks_are_gdals_which_holds_few_at_a_time(tmp_path, gdal):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 2048, "width": 2048, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    place = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)
    with rasterio.open(path, "w", transform=place, compress="deflate", blockysize=2048, **profile) as file:
        file.write(np.full((1, 2048, 2048), 3, np.uint16))
    got = open_geotiff(str(path), access=Access()).raw((0, 4), (0, 4), access=Access())
    assert got.tolist() == [[[3] * 4] * 4]
    assert len(gdal) == 1
