"""The picture of `real_images`: each scene in true colour beside the embeddings as colours, and every month's state."""

from __future__ import annotations

import numpy as np
import rasterio
import xarray as xr
from matplotlib.figure import Figure

import rs_embed_dask as rs
from rs_embed_dask import plot
from rs_embed_dask.plot import fit_pca
from rs_embed_dask.store import STATUS_COLOURS, Status
from tests.services import real_imagery

LABELS = ("galileo-nano", "rcf")
SUMMER_MONTH = "2021-06"
SERIES = 12
ABOUT = """Colours are the three directions in which the
vectors of a row differ most (PCA): places of one
colour are alike to the model.

The year's series of Belgium has two months
without optical data. They are no data as items
of their own, and empty frames in the series.

Contains modified Copernicus Sentinel data
2020 and 2021."""


def stretched(bands):
    """Three bands (3, H, W) as an image, each between its 2nd and 98th percentile."""
    image = np.moveaxis(np.asarray(bands, "float32"), 0, -1)
    low, high = np.percentile(image[(image > 0).all(axis=-1)], [2, 98], axis=0)
    return np.clip((image - low) / (high - low), 0, 1)


def belgium_scene(data):
    for when, bands, transform in real_imagery.series(data / real_imagery.MONTHLY, "S2-L2A-"):
        if f"{when:%Y-%m}" == SUMMER_MONTH:
            left, top, pixel, (rows, columns) = transform[2], transform[5], transform[0], bands["B04"].shape
            extent = (left, left + columns * pixel, top - rows * pixel, top)
            return plot.SceneImage(
                stretched([bands[name] for name in ("B04", "B03", "B02")]), extent, real_imagery.BELGIUM
            )
    raise LookupError(SUMMER_MONTH)


def raster_scene(paths, bands):
    """A scene of three rasters, or of three bands of one."""
    layers = []
    for path, band in zip(paths, bands, strict=True):
        with rasterio.open(path) as scene:
            layers.append(scene.read(band))
            box, crs = scene.bounds, str(scene.crs)
    return plot.SceneImage(stretched(layers), (box.left, box.right, box.bottom, box.top), crs)


def fitted(store, label, items):
    """Axes of colour for some of the items; where items lie on each other the last one is on top."""
    with xr.open_zarr(store, group=label) as group:
        return fit_pca(group["embedding"].isel(item=items).transpose(..., "dim").values)


def draw(panels, store, scene, *, title, items=slice(None)):
    panels[0].imshow(scene.image, extent=scene.extent)
    panels[0].set_title(title, fontsize=10)
    for panel, label in zip(panels[1:], LABELS, strict=True):
        plot.pca_rgb(store, label, ax=panel, crs=scene.crs, pca=fitted(store, label, items))
        panel.set_title(f"{label}: embeddings as colours", fontsize=10)
    left, right, bottom, top = panels[1].get_xlim() + panels[1].get_ylim()
    panels[0].set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])


def draw_states(panels, report):
    """A strip a model: what became of every month."""
    for panel, label in zip(panels[1:], LABELS, strict=True):
        table = report.table.query("model == @label")
        for number, row in enumerate(table.itertuples()):
            panel.barh(-number, 1, color=STATUS_COLOURS[Status[str(row.status).upper()]], height=0.9)
            words = f"{row.id}: {row.status.replace('_', ' ')}"
            panel.text(0.02, -number, words, va="center", fontsize=9, color="white")
        panel.set(xlim=(0, 1), xticks=[], yticks=[])
        panel.set_title(f"{label}: every item of belgium.zarr", fontsize=10)
    panels[0].set_axis_off()
    panels[0].text(0, 0.5, ABOUT, va="center", fontsize=10, linespacing=1.6)


def save(path, *, out, data):
    """Draw what the stores of `out` hold."""
    figure = Figure(figsize=(13.5, 18), layout="constrained")
    panels = figure.subplots(4, 3)
    title = f"Belgium, 1 km, {SUMMER_MONTH}: village, fields, trees"
    draw(panels[0], out / "belgium.zarr", belgium_scene(data), title=title, items=slice(SERIES, None))
    river = data / "galileo" / "20201002T221611_20201002T221610_T60HWB.tif"
    title = "New Zealand, 2.6 km: river, forest, pasture"
    draw(panels[1], out / "river.zarr", raster_scene([river] * 3, (4, 3, 2)), title=title)
    granule = [data / real_imagery.GRANULE / f"{band}.tif" for band in ("B04", "B03", "B02")]
    title = "granule 29RKH, 106 km: rock, sand, cloud"
    draw(panels[2], out / "granule.zarr", raster_scene(granule, (1, 1, 1)), title=title)
    draw_states(panels[3], rs.status(out / "belgium.zarr"))
    figure.savefig(path, dpi=64)
