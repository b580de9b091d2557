"""The picture at the end of the demo: the scene, the embeddings as colours, and the status of every item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure

from rs_embed_dask import api_few, plot

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from rs_embed_dask.demo.stage import Stage

__all__ = ["save"]

_LABELS: Final = ("rcf", "bandstats")


def save(stage: Stage, out: Path) -> None:
    """Draw ``demo.png``; the scene is read from the provider, as a model would get it."""
    figure = Figure(figsize=(15, 10.4), layout="constrained")
    panels: Any = figure.subplots(2, 3)
    _draw_scene(panels[0, 0], panels[1, 0], stage)
    for row, label in zip(panels, _LABELS, strict=True):
        plot.pca_rgb(out / "demo.zarr", label, ax=row[1], crs=stage.square.crs)
        plot.status_map(out / "demo.zarr", label, ax=row[2], crs=stage.square.crs)
    left, right, bottom, top = stage.square.extent
    for panel in panels.flat:
        panel.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    figure.savefig(out / "demo.png", dpi=50)


def _draw_scene(scene_axes: Axes, counts_axes: Axes, stage: Stage) -> None:
    """Draw the median of the span with the places' outlines, and the number of clear observations behind it."""
    cube = api_few.inspect_input("rcf", stage.square.whole, stage.span, provider=stage.provider)["s2"]
    scene = plot.SceneImage.of(cube.to_xarray())
    # a pixel that no scene covers is NaN, which has no colour: white
    scene_axes.imshow(scene.image, extent=scene.extent)
    scene_axes.set_title("Sentinel-2: median of clear observations")
    for place in stage.square.places():
        x, y = (place.minlon, place.maxlon), (place.minlat, place.maxlat)
        scene_axes.plot([x[0], x[1], x[1]], [y[1], y[1], y[0]], color="white", linewidth=0.4)
    counts = counts_axes.imshow(cube.n_obs.sum(axis=0), extent=scene.extent, cmap="cividis", vmin=0)
    counts_axes.set_title("clear observations per pixel")
    counts_axes.figure.colorbar(counts, ax=counts_axes, shrink=0.8)
