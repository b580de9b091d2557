"""``python -m benchmarks.tiff_kinds``: which kinds of TIFF async-geotiff and our own reader read as GDAL does.

Needs ``pip install rs-embed-dask[bench]``.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from async_geotiff import GeoTIFF, Window as AsyncWindow
from obstore.store import LocalStore
from rasterio.windows import Window

from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access

NOISE = np.random.default_rng(0).integers(1, 30_000, (120, 120)).astype("uint16")
BYTES = np.stack([(NOISE % 200).astype("uint8")] * 3)
HOLES = np.where(np.add.outer(range(120), range(120)) < 64, 0, NOISE).astype("uint16")
HOLES[:64, :64] = 0
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
DEFLATE = TILED | {"compress": "deflate"}
KINDS = {
    "deflate, predictor 2": (NOISE, DEFLATE | {"predictor": 2}),
    "LZW, big file": (NOISE, TILED | {"compress": "lzw", "bigtiff": "YES"}),
    "LZW, big-endian": (NOISE, TILED | {"compress": "lzw", "endianness": "BIG"}),
    "ZSTD": (NOISE, TILED | {"compress": "zstd"}),
    "LERC": (NOISE.astype("float32"), TILED | {"compress": "lerc"}),
    "LERC and ZSTD": (NOISE.astype("float32"), TILED | {"compress": "lerc_zstd"}),
    "LZMA": (NOISE, TILED | {"compress": "lzma"}),
    "planes apart": (np.stack([NOISE + 1, NOISE]), DEFLATE | {"interleave": "band"}),
    "bands together": (np.stack([NOISE + 1, NOISE]), DEFLATE | {"interleave": "pixel"}),
    "int32": (NOISE.astype("int32"), DEFLATE),
    "int8": ((NOISE % 100).astype("int8"), TILED),
    "float64, predictor 3": (NOISE + 0.25, DEFLATE | {"predictor": 3}),
    "palette": (BYTES[0], TILED | {"photometric": "palette"}),
    "WebP without loss": (BYTES, TILED | {"compress": "webp", "webp_lossless": True}),
    "JPEG in YCbCr": (BYTES, TILED | {"compress": "jpeg", "photometric": "ycbcr"}),
    "15 bits": (NOISE, DEFLATE | {"nbits": 15}),
    "12 bits": (NOISE % 4000, DEFLATE | {"nbits": 12}),
    "16-bit floats": ((NOISE % 2000).astype("float32"), TILED | {"nbits": 16}),
    "complex": (NOISE.astype("complex64"), TILED),
    "blocks left out": (HOLES, DEFLATE | {"sparse_ok": True}),
    "blocks left out, nodata 0": (HOLES, DEFLATE | {"sparse_ok": True, "nodata": 0}),
    "strips": (NOISE, {"compress": "lzw"}),
    "one strip": (NOISE, {"blockysize": 120}),
}
PLACE = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)}
FIRST, LAST = 20, 60


def write(path, values, how):
    bands = np.atleast_3d(values.T).T
    size = {"count": len(bands), "height": 120, "width": 120, "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **PLACE, **how) as file:
        file.write(bands)


def by_gdal(path):
    with rasterio.open(path) as file:
        return file.read(window=Window(FIRST, FIRST, LAST - FIRST, LAST - FIRST))


def by_us(path):
    return open_geotiff(path.as_uri(), access=Access()).raw((FIRST, LAST), (FIRST, LAST), access=Access())


def by_async_geotiff(path):
    async def read():
        file = await GeoTIFF.open(path.name, store=LocalStore(str(path.parent)))
        return np.asarray((await file.read(window=AsyncWindow(FIRST, FIRST, LAST - FIRST, LAST - FIRST))).data)

    return asyncio.run(read())


def outcome(read, path, expected):
    try:
        got = read(path)
    except (OSError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:60]}"
    return "equal" if got.shape == expected.shape and (got == expected).all() else "other numbers"


def main():
    with tempfile.TemporaryDirectory() as folder:
        print("| kind | ours | async-geotiff |\n|---|---|---|")
        for number, (name, (values, how)) in enumerate(KINDS.items()):
            path = Path(folder) / f"{number}.tif"
            write(path, values, how)
            expected = by_gdal(path)
            print(f"| {name} | {outcome(by_us, path, expected)} | {outcome(by_async_geotiff, path, expected)} |")


if __name__ == "__main__":
    main()
