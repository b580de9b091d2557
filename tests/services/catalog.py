"""Writing a catalogue that the service serves: cloud-optimised GeoTIFFs and the STAC items that point at them.

A catalogue is a folder::

    items.json          a FeatureCollection
    collections.json    a list
    blobs/HOST/CONTAINER/ITEM/ASSET.tif

Its links begin with ``blob:``; the service puts its own address there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS

from rs_embed_dask.specs.ground import WGS84, project
from tests.services.service import HREF_PREFIX

Json = dict[str, Any]
Transform = tuple[float, float, float, float, float, float]

ACCOUNT: Final = "rsembeddemo"
COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
EDGE_POINTS: Final = 21
BLOCK_PX: Final = 512


@dataclass(frozen=True, eq=False)
class Layer:
    """The pixels of one asset, (rows, columns) or (bands, rows, columns); `transform` is of pixel corners.

    The file states `nodata` unless it is None; `fields` are further fields of the asset, such as ``raster:bands``.
    """

    name: str
    values: npt.NDArray[Any]
    transform: Transform
    nodata: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scene:
    """One item before it is written; `when` is UTC, all layers are in `crs`.

    `container` of the storage is the collection's name by default.
    """

    id: str
    collection: str
    when: dt.datetime
    crs: str
    layers: tuple[Layer, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    container: str | None = None


class Catalog:
    """A folder that grows item by item and can be served after `save`; links begin with the storage `account`."""

    def __init__(self, root: str | Path, *, account: str = ACCOUNT) -> None:
        self.root = Path(root)
        self.host = f"{account}.blob.core.windows.net"
        self.items: list[Json] = []

    def add(self, scene: Scene) -> Json:
        """Write the files of a scene and return its STAC item, which may be changed until `save`."""
        container = scene.container or scene.collection
        assets = {}
        for layer in scene.layers:
            name = f"{self.host}/{container}/{scene.id}/{layer.name}.tif"
            write_cog(self.root / "blobs" / name, layer, crs=scene.crs)
            assets[layer.name] = _asset(layer, f"{HREF_PREFIX}{name}")
        item = {**_item(scene), "assets": assets}
        self.items.append(item)
        return item

    def save(self) -> Path:
        """Write items and collections, and return the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        names = sorted({item["collection"] for item in self.items})
        features = {"type": "FeatureCollection", "features": self.items}
        (self.root / "items.json").write_text(json.dumps(features), "utf-8")
        (self.root / "collections.json").write_text(json.dumps([_collection(name) for name in names]), "utf-8")
        return self.root


def write_cog(path: Path, layer: Layer, *, crs: str) -> None:
    """Write one cloud-optimised GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.atleast_3d(layer.values.T).T  # (bands, rows, columns)
    floating = np.issubdtype(bands.dtype, np.floating)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=bands.shape[0],
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=bands.dtype,
        crs=crs,
        transform=Affine(*layer.transform),
        nodata=layer.nodata,
        blocksize=BLOCK_PX,
        compress="DEFLATE",
        level=1,
        predictor=3 if floating else 2,
        overview_resampling="nearest",
    ) as file:
        file.write(bands)


def _asset(layer: Layer, href: str) -> Json:
    rows, columns = layer.values.shape[-2:]
    return {
        "href": href,
        "type": COG,
        "roles": ["data"],
        "proj:shape": [rows, columns],
        "proj:transform": list(layer.transform),
        **layer.fields,
    }


def _item(scene: Scene) -> Json:
    crs = CRS.from_user_input(scene.crs)
    code = crs.to_epsg()
    west, south, east, north = lonlat_box(scene.layers, scene.crs)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
        "id": scene.id,
        "collection": scene.collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": scene.when.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **({"proj:epsg": code} if code else {"proj:epsg": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}),
            **scene.properties,
        },
        "links": [],
    }


def lonlat_box(layers: Iterable[Layer], crs: str) -> tuple[float, float, float, float]:
    """Return west, south, east and north of layers in degrees; east is beyond 180 across the antimeridian."""
    part = np.linspace(0.0, 1.0, EDGE_POINTS)
    zeros, ones = np.zeros_like(part), np.ones_like(part)
    along, down = np.concatenate([part, part, zeros, ones]), np.concatenate([zeros, ones, part, part])
    longitudes, latitudes = [], []
    for layer in layers:
        a, b, c, d, e, f = layer.transform
        rows, columns = layer.values.shape[-2:]
        x, y = along * columns, down * rows
        lon, lat = project(crs, WGS84, c + a * x + b * y, f + d * x + e * y)
        longitudes.append(lon)
        latitudes.append(lat)
    lon, lat = np.concatenate(longitudes), np.concatenate(latitudes)
    if lon.max() - lon.min() > 180.0:
        lon = np.where(lon < 0, lon + 360.0, lon)
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _collection(name: str) -> Json:
    return {
        "type": "Collection",
        "id": name,
        "stac_version": "1.0.0",
        "license": "other",
        "description": name,
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["1972-01-01T00:00:00Z", None]]},
        },
    }
