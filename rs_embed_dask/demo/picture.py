"""The picture at the end of the demo: the scene, the embeddings as colours, and what became of every item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio

from rs_embed_dask import plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.services.landscape import Landscape

__all__ = ["save"]

_LABELS: Final = ("rcf", "bandstats")
_TRUE_COLOUR: Final = ("B04", "B03", "B02")
_CLOUDY: Final = (0, 1, 3, 8, 9, 10)
_STRETCH: Final = (1, 99)


def save(landscape: Landscape, out: Path) -> None:
    """Draw ``demo.png``."""
    from matplotlib.figure import Figure

    days: dict[str, list[Path]] = {}
    for path in sorted((out / "catalogue").rglob("SCL.tif")):
        days.setdefault(path.parent.name.rpartition("_")[2], []).append(path.parent)
    clear = {day: _is_clear(landscape, folders) for day, folders in days.items()}
    best = max(clear, key=lambda day: float(clear[day].mean()))
    figure = Figure(figsize=(15, 10.4), layout="constrained")
    panels: Any = figure.subplots(2, 3)
    panels[0, 0].imshow(_true_colour(landscape, days[best]), extent=landscape.extent)
    panels[0, 0].set_title(f"Sentinel-2 on the clearest day, {best}, and the places")
    shown = panels[1, 0].imshow(np.sum(list(clear.values()), axis=0), extent=landscape.extent, cmap="cividis", vmin=0)
    panels[1, 0].set_title("clear days at each pixel")
    figure.colorbar(shown, ax=panels[1, 0], shrink=0.8)
    for row, label in zip(panels, _LABELS, strict=True):
        plot.pca_rgb(out / "demo.zarr", label, ax=row[1], crs=landscape.crs)
        plot.status_map(out / "demo.zarr", label, ax=row[2], crs=landscape.crs)
    for place in landscape.places():
        x, y = (place.minlon, place.maxlon), (place.minlat, place.maxlat)
        panels[0, 0].plot([x[0], x[1], x[1]], [y[1], y[1], y[0]], color="white", linewidth=0.4)
    for panel in panels.flat:
        panel.set(xlim=landscape.extent[:2], ylim=landscape.extent[2:], aspect="equal", xticks=[], yticks=[])
    figure.savefig(out / "demo.png", dpi=50)


def _mosaic(landscape: Landscape, files: Iterable[Path]) -> NDArray[np.uint16]:
    """Lay files of several tiles side by side."""
    left, right, bottom, top = landscape.extent
    canvas: NDArray[np.uint16] | None = None
    for path in files:
        with rasterio.open(path) as file:
            pixel, values = file.res[0], file.read(1)
            column, row = round((file.bounds.left - left) / pixel), round((top - file.bounds.top) / pixel)
        if canvas is None:
            canvas = np.zeros((round((top - bottom) / pixel), round((right - left) / pixel)), values.dtype)
        canvas[row : row + values.shape[0], column : column + values.shape[1]] = values
    if canvas is None:
        raise LookupError(str(landscape))
    return canvas


def _is_clear(landscape: Landscape, folders: Iterable[Path]) -> NDArray[np.bool_]:
    return ~np.isin(_mosaic(landscape, (folder / "SCL.tif" for folder in folders)), _CLOUDY)


def _true_colour(landscape: Landscape, folders: Sequence[Path]) -> NDArray[np.float32]:
    """Return the scene of one day, (H, W, 3) from 0 to 1; white beyond the swath."""
    bands = [_mosaic(landscape, (folder / f"{name}.tif" for folder in folders)) for name in _TRUE_COLOUR]
    image = np.stack(bands, axis=-1).astype(np.float32)  # (H, W, 3)
    low, high = np.percentile(image[image > 0], _STRETCH)
    return np.where(image > 0, np.clip((image - low) / (high - low), 0, 1), 1).astype(np.float32)
