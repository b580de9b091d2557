"""One measurement of `benchmarks.reading`, in a process of its own: twelve dates by twelve bands of one place.

Imports and the search are over before the clock starts. Every way returns the numbers of all files on one grid, by the
nearest pixel, with 16 requests in flight and a file's pixels in one chunk. The others return them as they are in the
files; ours in the sensor's unit as float32 without missing values, either as a cube of twelve frames or as one frame,
the median of twelve.

    python -m benchmarks.reading_ways WAY URL KM
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.reading_catalogue import BANDS, DATES, EVERY, FIRST, ZONES, days, grid_of

AT_ONCE = 16
MODULES = {
    "ours": ("stackstac", "dask.array", "xarray", "rs_embed_dask.providers.stac.provider"),
    "ours, median": ("stackstac", "dask.array", "xarray", "rs_embed_dask.providers.stac.provider"),
    "rasterio": ("rasterio", "rasterio.vrt"),
    "odc-stac": ("odc.stac", "dask.array"),
    "stackstac": ("stackstac", "dask.array"),
    "async-geotiff": ("async_geotiff", "obstore.store"),
}
# what makes GDAL's reading over HTTP quick; odc-stac and stackstac get it too
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32_768,
    "GDAL_CACHEMAX": 256_000_000,
    "VSI_CACHE": True,
}


def missing(way):
    """The first module of a way that is not installed."""
    for name in MODULES[way]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            return error.name
    return None


def searched(url):
    import pystac_client

    span = f"{FIRST:%Y-%m-%d}/{FIRST + DATES * EVERY:%Y-%m-%d}"
    search = pystac_client.Client.open(url).search(collections=["sentinel-2-l2a"], bbox=(11, 47, 13, 49), datetime=span)
    return sorted(search.items_as_dicts(), key=lambda item: item["properties"]["datetime"])


def by_us(url, grid, *, one_frame=False):
    import datetime as dt

    import dask

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.providers.registry import load_all
    from rs_embed_dask.providers.stac.provider import StacProvider
    from rs_embed_dask.specs import FetchSpec

    provider, day = StacProvider(url, source="planetary_computer", threads=AT_ONCE), dt.timedelta(days=1)
    frames = (Span(days()[0], days()[-1] + day),) if one_frame else tuple(Span(one, one + day) for one in days())
    read = Read(grid, "sentinel-2-l2a", tuple(BANDS), frames, FetchSpec(mask="none"))
    lazy = provider.cube(read)  # asks the catalogue; the answer is kept
    tasks = len(dask.optimize(lazy["pixels"])[0].__dask_graph__())

    def load():
        (cube,) = load_all(provider, [read])
        return cube.values

    return load, tasks


def dn_of_us(values):
    return np.rint(values).astype(np.uint16)


def by_rasterio(url, grid):
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    items, transform = searched(url), rasterio.Affine(*grid.transform)
    out = np.zeros((len(items), len(BANDS), *grid.shape), np.uint16)
    jobs = [(i, j, item["assets"][band]["href"]) for i, item in enumerate(items) for j, band in enumerate(BANDS)]
    where = {"crs": grid.crs, "transform": transform, "height": grid.shape[0], "width": grid.shape[1]}

    def one(job):
        i, j, href = job
        with (
            rasterio.Env(**GDAL),
            rasterio.open(href, sharing=False) as file,
            WarpedVRT(file, **where, resampling=Resampling.nearest) as warped,
        ):
            warped.read(1, out=out[i, j])

    def load():
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(one, jobs))
        return out

    return load, 0


def by_odc(url, grid):
    import dask
    import odc.stac
    import pystac
    from affine import Affine
    from odc.geo.geobox import GeoBox

    items = [pystac.Item.from_dict(item) for item in searched(url)]
    odc.stac.configure_rio(cloud_defaults=True, **GDAL)
    box = GeoBox(grid.shape, Affine(*grid.transform), grid.crs)
    settings = {"sentinel-2-l2a": {"assets": {"*": {"data_type": "uint16", "nodata": 0}}}}
    side = {"x": grid.shape[1], "y": grid.shape[0]}
    made = odc.stac.load(items, bands=list(BANDS), geobox=box, groupby="id", stac_cfg=settings, chunks=side)
    array = made.to_dataarray("band").transpose("time", "band", "y", "x").data
    (array,) = dask.optimize(array)
    return lambda: array.compute(scheduler="threads", num_workers=AT_ONCE), len(array.__dask_graph__())


def by_stackstac(url, grid):
    import warnings

    import dask
    import stackstac
    from rasterio.enums import Resampling

    warnings.simplefilter("ignore", PendingDeprecationWarning)
    array = stackstac.stack(
        searched(url),
        assets=list(BANDS),
        epsg=int(grid.crs.partition(":")[2]),
        bounds=grid.bounds,
        resolution=10,
        chunksize=grid.shape[0],
        dtype=np.dtype(np.uint16),
        fill_value=np.uint16(0),
        rescale=False,
        properties=False,
        band_coords=False,
        xy_coords="center",
        resampling=Resampling.nearest,
        gdal_env=stackstac.DEFAULT_GDAL_ENV.updated(always=GDAL),
    ).data
    (array,) = dask.optimize(array)
    return lambda: array.compute(scheduler="threads", num_workers=AT_ONCE), len(array.__dask_graph__())


def by_async_geotiff(url, grid):
    from urllib.parse import urlsplit

    from async_geotiff import GeoTIFF, Window
    from obstore.store import HTTPStore
    from pyproj import Transformer

    items = searched(url)
    base = f"http://{urlsplit(url).netloc}"
    store = HTTPStore.from_url(base, client_options={"allow_http": True})
    out = np.zeros((len(items), len(BANDS), *grid.shape), np.uint16)
    planes = np.meshgrid(grid.xs, grid.ys)
    codes = {code: Transformer.from_crs(grid.crs, code, always_xy=True) for code in ZONES}

    async def one(i, j, item, limit):
        href = item["assets"][list(BANDS)[j]]["href"]
        async with limit:
            file = await GeoTIFF.open(href.removeprefix(base + "/"), store=store)
            x, y = located[f"EPSG:{item['properties']['proj:epsg']}"]
            t = file.transform
            columns, rows = np.floor((x - t.c) / t.a).astype("i4"), np.floor((y - t.f) / t.e).astype("i4")
            left, top = int(columns.min()), int(rows.min())
            size = int(columns.max()) + 1 - left, int(rows.max()) + 1 - top
            part = np.asarray((await file.read(window=Window(left, top, *size))).data)[0]
            out[i, j] = part[rows - top, columns - left]

    async def every():
        limit = asyncio.Semaphore(AT_ONCE)
        jobs = [(i, j, item) for i, item in enumerate(items) for j in range(len(BANDS))]
        await asyncio.gather(*(one(*job, limit) for job in jobs))

    located = {}

    def load():
        located.update({code: mover.transform(*planes) for code, mover in codes.items()})
        asyncio.run(every())
        return out

    return load, 0


WAYS = {
    "ours": by_us,
    "ours, median": lambda url, grid: by_us(url, grid, one_frame=True),
    "rasterio": by_rasterio,
    "odc-stac": by_odc,
    "stackstac": by_stackstac,
    "async-geotiff": by_async_geotiff,
}


def memory_mb(field):
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(field)]
    return int(line.split()[1]) / 1024


def measure(way, url, grid):
    """Read once, and return what it took."""
    load, tasks = WAYS[way](url, grid)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    before_mb, before, started = memory_mb("VmRSS"), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    pixels = load()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = memory_mb("VmHWM") - before_mb
    raw_mb = 0 if len(pixels) == DATES else DATES * len(BANDS) * pixels[0, 0].size * 2 / 2**20
    figures = {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "result_mb": pixels.nbytes / 2**20, "tasks": tasks}
    figures["composited_mb"] = raw_mb
    if way.startswith("ours"):
        pixels = dn_of_us(pixels)
    # the scenes in the grid's own zone need no projection, so that all ways have the same numbers of them
    own = pixels[::2] if len(pixels) == DATES else pixels[:0]
    return figures | {"sum": int(own.sum(dtype=np.int64))}


def main():
    way, url, km = sys.argv[1:]
    lacking = missing(way)
    print(json.dumps({"missing": lacking} if lacking else measure(way, url, grid_of(float(km)))))


if __name__ == "__main__":
    main()
