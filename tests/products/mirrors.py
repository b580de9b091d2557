"""The tiles that the samples describe, written as the public mirrors have them, and a small server for them."""

from __future__ import annotations

import csv
import hashlib
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import rasterio
import zarr
from affine import Affine
from zarr.codecs import BloscCodec

from tests.services import blobs

NUMBERS = Path(__file__).parent / "numbers"
YEAR = 2024
GSE_BOUNDS = (300960.0, 5770400.0, 301120.0, 5770560.0)


def sample(name):
    """What a sample says, and its arrays."""
    return json.loads((NUMBERS / f"{name}.json").read_text()), dict(np.load(NUMBERS / f"{name}.npz"))


# ------------------------------------------------------------------------------------------------------------------ gse
def write_cog(path, stored, transform, crs, **profile):
    """Write bands of int8, as they lie in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = stored.shape
    options = {"driver": "GTiff", "dtype": "int8", "nodata": -128, "tiled": True, "blockxsize": 16, "blockysize": 16}
    options |= {"compress": "deflate", "interleave": "pixel"} | profile
    with rasterio.open(
        path, "w", width=width, height=height, count=count, crs=crs, transform=transform, **options
    ) as file:
        file.write(stored)
        file.descriptions = [f"A{band:02d}" for band in range(count)]


def index_row(tail, crs, bounds, year=YEAR):
    zone = f"{int(crs[-2:])}{'N' if crs.startswith('EPSG:326') else 'S'}"
    path = f"gs://alphaearth_foundations/satellite_embedding/v1/annual/{tail}"
    names = ("utm_west", "utm_south", "utm_east", "utm_north")
    return {"crs": crs, "path": path, "year": year, "utm_zone": zone, **dict(zip(names, bounds, strict=True))}


def write_index(folder, rows, kind="parquet"):
    table = pd.DataFrame(rows)
    if kind == "parquet":
        table.to_parquet(folder / "aef_index.parquet")
    else:
        table.to_csv(folder / "aef_index.csv", index=False, quoting=csv.QUOTE_MINIMAL)


def gse_mirror(folder, kind="parquet", **profile):
    """The sample's tile with its index."""
    facts, arrays = sample("gse")
    row = facts["index_row"]
    tail = row["path"].rpartition("/annual/")[2]
    transform = Affine(*facts["geotiff"]["transform_bottom_up"])
    write_cog(folder / tail, arrays["stored_bottom_up"], transform, facts["geotiff"]["crs"], **profile)
    bounds = [row[name] for name in ("utm_west", "utm_south", "utm_east", "utm_north")]
    write_index(folder, [index_row(tail, row["crs"], bounds)], kind)
    return folder


# -------------------------------------------------------------------------------------------------------------- tessera
def tessera_mirror(folder, layout="0.11", tiles="ABDC", registry=True, version="v1", **stated):
    """Tiles of the sample in the layout of a release; `stated` are more columns of its registry."""
    facts, arrays = sample("tessera")
    new = layout == "0.11"
    masks = folder / ("landmasks/v1" if new else "v1/global_0.1_degree_tiff_all")
    masks.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in tiles:
        tile = facts["tiles"][name]
        grid = tile["grid_name"]
        top = folder / (f"npy/{version}" if new else "v1/global_0.1_degree_representation") / str(tile["year"]) / grid
        top.mkdir(parents=True, exist_ok=True)
        np.save(top / f"{grid}.npy", arrays[f"{name}/quantized"])
        np.save(top / f"{grid}_scales.npy", arrays[f"{name}/scales"])
        with rasterio.open(
            masks / f"{grid}.tiff",
            "w",
            driver="GTiff",
            width=18,
            height=24,
            count=1,
            dtype="uint8",
            crs=tile["crs"],
            transform=Affine(*tile["landmask_transform"]),
        ) as file:
            file.write(arrays[f"{name}/landmask"], 1)
        rows.append(_registry_row(top / grid, tile))
    if registry:
        table = pd.DataFrame(rows).assign(**stated)
        if new:
            table = table.rename(columns={"file_size": "grid_size"}).drop(columns=["hash", "scales_hash"])
        table.to_parquet(folder / (f"npy/{version}/manifest.parquet" if new else "v1/registry.parquet"))
    return folder


def tessera_zarr(folder, name="v1", zones=None, **attributes):
    """Tiles of the sample as a Zarr store of the published layout, with a margin of pixels that were never written."""
    facts, arrays = sample("tessera")
    root = zarr.create_group(folder / "zarr" / name, attributes=facts["zarr"]["root_attributes"])
    for zone, tiles in (zones or {"utm31": "ABD", "utm32": "C"}).items():
        bounds = np.array([facts["tiles"][tile]["bounds_on_pixel_grid"] for tile in tiles])
        left, top = bounds[:, 0].min() - 640, bounds[:, 3].max() + 320
        rows, columns = (64 * (int(side // 640) + 2) for side in (top - bounds[:, 1].min(), bounds[:, 2].max() - left))
        about = {"proj:code": f"EPSG:326{zone[3:]}", "spatial:transform": [10.0, 0.0, left, 0.0, -10.0, top]}
        group = root.create_group(zone, attributes=about | attributes)
        made = {
            "embeddings": ((1, 128, rows, columns), "int8", 0, (1, 128, 32, 32), (1, 128, 64, 64)),
            "scales": ((1, rows, columns), "float32", np.inf, (1, 32, 32), (1, 64, 64)),
        }
        for array, (shape, dtype, fill, chunks, shards) in made.items():
            options = {"compressors": BloscCodec(cname="zstd"), "chunks": chunks, "shards": shards}
            made[array] = group.create_array(array, shape=shape, dtype=dtype, fill_value=fill, **options)
        group.create_array("time", data=np.array([YEAR], "int32"))
        for tile in tiles:
            x, y = facts["tiles"][tile]["pixel_grid_left_top"]
            at = (
                slice(int(top - y) // 10, int(top - y) // 10 + 24),
                slice(int(x - left) // 10, int(x - left) // 10 + 18),
            )
            made["embeddings"][0, :, *at] = arrays[f"{tile}/quantized"].transpose(2, 0, 1)
            made["scales"][0, *at] = arrays[f"{tile}/scales"]
    return folder


def _registry_row(stem, tile):
    row = {"lat": tile["latitude"], "lon": tile["longitude"], "year": tile["year"]}
    for prefix, size, suffix in (("", "file_size", ""), ("scales_", "scales_size", "_scales")):
        data = stem.with_name(f"{stem.name}{suffix}.npy").read_bytes()
        row |= {f"{prefix}hash": hashlib.sha256(data).hexdigest(), size: len(data)}
    return row


# ----------------------------------------------------------------------------------------------------------- copernicus
def copernicus_values(bands=4, empty=True):
    """The sample's formula, (bands, 721, 1440), with or without its empty cells."""
    band, row, col = np.ogrid[:bands, :721, :1440]
    values = (band * 1000.0 + row + col / 2048).astype(np.float32)
    return np.where((row // 40 + col // 60) % 3 == 0, np.float32(0), values) if empty else values


def copernicus_mirror(folder, bands=4, empty=True):
    folder.mkdir(parents=True, exist_ok=True)
    facts, _ = sample("copernicus")
    with rasterio.open(
        folder / "embed_map_310k.tif",
        "w",
        driver="GTiff",
        width=1440,
        height=721,
        count=bands,
        dtype="float32",
        crs="EPSG:4326",
        transform=Affine(*facts["geotiff"]["transform"]),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        interleave="pixel",
    ) as file:
        file.write(copernicus_values(bands, empty))
    return folder


# --------------------------------------------------------------------------------------------------------------- server
class Mirror:
    """Serves a folder with byte ranges on loopback; notes what is asked, and goes wrong as `fault` says."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.sent = 0
        self.fault = lambda path: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self):
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its head

            def do_GET(self):
                path = unquote(self.path)
                mirror.asked.append(path)
                status = mirror.fault(path)
                if status is None:
                    reply = blobs.read(mirror.folder / path.lstrip("/"), byte_range=self.headers["Range"], head=False)
                else:
                    reply = blobs.Reply(status, b"busy")
                self.send_response(HTTPStatus(reply.status))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                mirror.sent += len(reply.body)

            def log_message(self, *_):
                pass

        return Handler
