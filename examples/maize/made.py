"""A made state in SPAM2020's format: a landscape, and yields that are a linear function of what a satellite sees of it.

Nothing here is measured. The files have the names, grid, reference system and units of the real ones and go through the
same checks, so that the example runs without a download, and with a known answer.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rasterio import Affine
from shapely.geometry import box

from examples.maize import spam
from rs_embed_dask.specs.ground import project

YIELD_NAME = "spam2020_V2r0_global_Y_MAIZ_A.tif"
AREA_NAME = "spam2020_V2r0_global_H_MAIZ_A.tif"
SIDE = 12  # cells of the state along each side; one more all round lies outside it
WEST, NORTH = -90 + 7 / 12, 40.5
CRS, PIXEL_M = "EPSG:32616", 200.0
SENSOR = "sentinel-2-l2a"
MONTHS = {"20190615": 1.0, "20190715": 1.1}  # July is brighter
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CLEAR_M = 35_000.0  # over this distance the landscape's fields change
FEW, FEW_HA, MANY_HA = 20, (600.0, 2400.0), (2600.0, 4500.0)  # so many cells of the state are below the paper's bound
MEAN_T_HA, SPREAD_T_HA = 9.5, 0.6  # about the mean and the spread of the real 991 places


def lattice():
    """Longitudes and latitudes of the middles of the state's cells and of those around it, (rows, columns)."""
    step = np.arange(-1, SIDE + 1) + 0.5
    return np.meshgrid(WEST + step / spam.PER_DEGREE, NORTH - step / spam.PER_DEGREE)


def fields(shape, count, random):
    """Smooth fields (count, rows, columns) of mean 0 and variance 1 over a grid of pixels."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]) * CLEAR_M / PIXEL_M
    strength = (1 + (2 * np.pi * frequency) ** 2) ** -1.25
    made = np.fft.irfft2(np.fft.rfft2(random.standard_normal((count, *shape))) * strength, s=shape)
    return (made - made.mean(axis=(1, 2), keepdims=True)) / made.std(axis=(1, 2), keepdims=True)


def landscape(folder, seed=0):
    """Write a scene of each month: ten bands of Sentinel-2 (reflectance x 10,000), made of four fields and noise."""
    random = np.random.default_rng(seed)
    lon, lat = lattice()
    x, y = project("EPSG:4326", CRS, lon.ravel(), lat.ravel())
    left, top = np.floor(min(x) / 10_000) * 10_000 - 10_000, np.ceil(max(y) / 10_000) * 10_000 + 10_000
    shape = (int((top - min(y) + 10_000) // PIXEL_M), int((max(x) - left + 10_000) // PIXEL_M))
    seen = np.tensordot(random.uniform(-250, 250, (len(BANDS), 4)), fields(shape, 4, random), axes=1)
    level = np.array([500, 800, 700, 1200, 2600, 3000, 3200, 3300, 2000, 1300], "float64")[:, None, None]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for day, brighter in MONTHS.items():
        image = np.clip(brighter * (level + seen) + random.normal(0, 40, seen.shape), 1, None)
        with rasterio.open(
            Path(folder) / f"made_{day}.tif",
            "w",
            driver="GTiff",
            count=len(BANDS),
            height=shape[0],
            width=shape[1],
            dtype="uint16",
            crs=CRS,
            transform=Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top),
            nodata=0,
        ) as file:
            file.write(image.round().astype("uint16"))
            file.descriptions = BANDS
    return Path(folder)


def reflectance(scenes, buffer_m):
    """Mean reflectance x 10,000 around the middle of each cell over all months, (cells, bands)."""
    lon, lat = lattice()
    x, y = (np.asarray(axis) for axis in project("EPSG:4326", CRS, lon.ravel(), lat.ravel()))
    half = int(buffer_m // PIXEL_M)
    months = []
    for path in sorted(Path(scenes).glob("made_*.tif")):
        with rasterio.open(path) as file:
            image = file.read().astype("float64")
            column = ((x - file.transform.c) // PIXEL_M).astype(int)
            row = ((file.transform.f - y) // PIXEL_M).astype(int)
        windows = [image[:, r - half : r + half, c - half : c + half] for r, c in zip(row, column, strict=True)]
        months.append([window.mean(axis=(1, 2)) for window in windows])
    return np.mean(months, axis=0)


def layers(folder, scenes, *, buffer_m, seed=0):
    """Write yield and harvested area in SPAM's format, and the outline of the state; returns the three paths.

    A yield is the same linear function of the ten bands' mean reflectances everywhere. In `FEW` of the state's
    cells there is less maize than the paper asks for, and one more has none.
    """
    bands = reflectance(scenes, buffer_m)
    random = np.random.default_rng(seed)
    value = bands @ random.normal(size=len(BANDS))
    t_ha = MEAN_T_HA + SPREAD_T_HA * (value - value.mean()) / value.std()
    inside = np.flatnonzero(np.pad(np.ones((SIDE, SIDE), bool), 1))
    sparse = random.choice(inside, FEW + 1, replace=False)
    area_ha = random.uniform(*MANY_HA, len(t_ha))
    area_ha[sparse[1:]] = random.uniform(*FEW_HA, FEW)
    t_ha[sparse[0]] = area_ha[sparse[0]] = np.nan
    folder = Path(folder)
    outline = box(WEST, NORTH - SIDE / spam.PER_DEGREE, WEST + SIDE / spam.PER_DEGREE, NORTH)
    gpd.GeoDataFrame({"name": ["made state"]}, geometry=[outline], crs="EPSG:4326").to_file(folder / "state.geojson")
    write_layer(folder / YIELD_NAME, t_ha.reshape(SIDE + 2, -1))
    write_layer(folder / AREA_NAME, area_ha.reshape(SIDE + 2, -1))
    return folder / YIELD_NAME, folder / AREA_NAME, folder / "state.geojson"


def write_layer(path, values, *, west=WEST - 1 / spam.PER_DEGREE, north=NORTH + 1 / spam.PER_DEGREE):
    """Write numbers by cell as SPAM's files have them: 5 arc-minutes, EPSG:4326, NaN where there is none."""
    step = 1 / spam.PER_DEGREE
    facts = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "float32", "nodata": np.nan}
    where = {"crs": "EPSG:4326", "transform": Affine(step, 0, west, 0, -step, north)}
    with rasterio.open(path, "w", driver="GTiff", **facts, **where) as file:
        file.write(values.astype("float32"), 1)
    return path
