"""Files that claim more than they hold, or would become more than a worker can: refused before anything is decoded."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
import rasterio

from rs_embed_dask.errors import ProviderError, SpecError, TransientError
from rs_embed_dask.providers import open_provider
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access
from rs_embed_dask.providers.tiff import TiffLimits
from tests.services.fixtures import forget_heads
from tests.services.scripted import ScriptedServer, Told

PLACE = {
    33550: (12, struct.pack("<3d", 10.0, 10.0, 0.0)),
    33922: (12, struct.pack("<6d", 0, 0, 0, 600_000.0, 5_700_000.0, 0)),
    34735: (3, struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32631)),
}
DEFAULTS = TiffLimits()
WIDTHS = {3: 2, 4: 4, 12: 8, 16: 8}


def tiff(side, block, *, count=None, length=100, offset=None, bits=8, samples=1, tail=b"\0" * 200):
    """A tiled file that says what it is told to; every block lies at `offset`."""
    blocks = (-(-side // block)) ** 2 if count is None else count
    whole = {256: side, 257: side, 277: samples, 322: block, 323: block}
    values = {tag: (4, struct.pack("<I", value)) for tag, value in whole.items()}
    values |= {258: (3, struct.pack(f"<{samples}H", *[bits] * samples)), 259: (3, struct.pack("<H", 8)), **PLACE}
    at = 16 + 8 + 20 * (len(values) + 2) + 8 + 200
    values |= {324: (16, struct.pack("<Q", at if offset is None else offset) * blocks)}
    values |= {325: (16, struct.pack("<Q", length) * blocks)}
    body, table, longs = b"", b"", 16 + 8 + 20 * len(values) + 8
    for tag, (kind, value) in sorted(values.items()):
        inline = value.ljust(8, b"\0")
        if len(value) > 8:
            inline, body = struct.pack("<Q", longs + len(body)), body + value
        table += struct.pack("<HHQ", tag, kind, len(value) // WIDTHS[kind]) + inline
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
    return head + struct.pack("<Q", len(values)) + table + b"\0" * 8 + body + tail


def read(path, *, rows=(0, 8), columns=(0, 8), limits=DEFAULTS):
    forget_heads()
    access = Access(limits=limits)
    return open_geotiff(f"{path}#asset%20B04", access=access).read(1, rows, columns, access=access)


@pytest.fixture
def written(tmp_path):
    def write(data):
        (tmp_path / "a.tif").write_bytes(data)
        return tmp_path / "a.tif"

    return write


BOMBS = {
    "image": (tiff(2**21, 2**20), "claims 2097152 x 2097152 pixels"),
    "block": (tiff(32_768, 32_768), r"blocks of 32768 x 32768 pixels take 1073741824 bytes"),
    "block of many samples": (tiff(64, 64, samples=40_000, bits=64), "take 1310720000 bytes"),
    "ratio": (tiff(8192, 8192, length=1000, tail=b"\0" * 2000), "from 1000 to 67108864 bytes, more than 500 times"),
    "fewer blocks than needed": (tiff(4096, 256, count=3), "lists 3 blocks"),
    "sides that overflow": (tiff(2**32 - 1, 1, count=1), "lists 1 blocks"),
    "beyond the end": (tiff(64, 64, offset=10**6), r"lies at 1000000 to 1000100, beyond the end of the file"),
    "across the end": (tiff(64, 64, length=5000), "beyond the end of the file"),
    "at the end of everything": (tiff(64, 64, offset=2**63, length=2**62), "beyond the end of the file"),
    "more bytes than pixels": (tiff(64, 64, offset=16, length=100_000, tail=b"\0" * 200_000), "takes 100000 bytes"),
}


@pytest.mark.parametrize(("data", "reason"), BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_and_named(data, reason, written):
    path = written(data)
    tracemalloc.start()
    with pytest.raises(ProviderError, match=rf"asset B04.*{reason}") as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6
    assert "a.tif" in str(caught.value)


@pytest.mark.parametrize("kind", ["image", "block", "block of many samples"])
def test_a_bomb_that_arrives_whole_is_no_broken_transfer(kind, new_process):
    data, reason = BOMBS[kind]
    with ScriptedServer({"/a.tif": Told(200, data)}) as server:
        with pytest.raises(ProviderError, match=reason) as caught:
            open_geotiff(f"{server.url}/a.tif#asset%20B04", access=Access())
        assert not isinstance(caught.value, TransientError)
        assert len(server.asked) <= 5  # the head piece by piece, once


def test_directories_that_claim_many_long_values_are_refused(written):
    data = bytearray(tiff(64, 64))
    for entry in range(4):
        struct.pack_into("<HHQQ", data, 24 + 20 * entry, 60_000 + entry, 1, 60_000_000, 16)
    with pytest.raises(ProviderError, match="claims values of 240"):
        read(written(bytes(data)))


def test_a_window_that_a_transform_blows_up_is_refused(written):
    path = written(tiff(2**19, 2**13, offset=2**40, length=0))
    with pytest.raises(ProviderError, match=r"4096 blocks of 67108864 bytes would be read at once"):
        read(path, rows=(0, 2**19), columns=(0, 2**19))


def test_a_truncated_file_names_what_is_missing(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 600, "width": 600, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    values = np.random.default_rng(3).integers(1, 60_000, (1, 600, 600)).astype("uint16")
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5.7e6), tiled=True, **profile) as file:
        file.write(values)
    np.testing.assert_array_equal(read(path, rows=(0, 600), columns=(0, 600)), values[0])
    path.write_bytes(path.read_bytes()[:-100_000])
    np.testing.assert_array_equal(read(path, rows=(0, 256), columns=(0, 256)), values[0, :256, :256])
    with pytest.raises(ProviderError, match=r"asset B04.*its block in row 2, column 2 lies at .* beyond the end"):
        read(path, rows=(0, 600), columns=(0, 600))


def test_limits_are_fields(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 512, "width": 512, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5.7e6), **profile, **options) as file:
        file.write(np.full((1, 512, 512), 7, "uint16"))
    assert read(path)[0, 0] == 7
    for limits, reason in (
        ({"image_px": 512 * 511}, "the limit is 261632"),
        ({"block_bytes": 500_000}, "the limit is 500000"),
        ({"read_bytes": 500_000}, "the limit is 500000"),
        ({"small_bytes": 500_000, "ratio": 100}, "more than 100 times"),
    ):
        with pytest.raises(ProviderError, match=reason):
            read(path, limits=TiffLimits(**limits))
        provider = open_provider("stac", url="https://stac.example", limits=TiffLimits(**limits))
        assert provider.access.limits == TiffLimits(**limits)
        assert open_provider(provider.describe()) == provider
    with pytest.raises(SpecError, match=r"TiffLimits\.ratio"):
        TiffLimits(ratio=0)
