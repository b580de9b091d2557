"""Several pictures over the same ground: one model beside the scene, or all models side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.plot.canvas import aspect_of, draw_scene, ground_ticks, ground_units, new_figure, scene_of
from rs_embed_dask.plot.maps import MapEntry, entries_of, opened, pca_rgb, status_map
from rs_embed_dask.specs.base import whole

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.plot.canvas import SceneImage
    from rs_embed_dask.store import StoreView, Target

__all__ = ["compare", "overview"]

_PANEL_IN: Final = 2.4
_GAP_IN: Final = 0.2
_TITLES_IN: Final = 0.58
_MARGIN_IN: Final = 0.7
_NARROWEST_IN: Final = 2.0
_GREY: Final = "0.35"
_LETTERS: Final = 40  # in a line of a blank panel


def overview(
    store: Target | StoreView,
    label: str | None = None,
    *,
    scene: SceneImage | xr.DataArray | None = None,
    crs: str | None = None,
) -> Figure:
    """Draw the scene, the embeddings as colours and the status of every item side by side.

    Parameters
    ----------
    store : str, path-like or Store
        The store.
    label : str, optional
        The model; the first by default.
    scene : SceneImage or xarray.DataArray, optional
        An image of the ground; its CRS is used for all panels.
    crs : str, optional
        As in `pca_rgb`; the scene's CRS takes precedence.

    Returns
    -------
    matplotlib Figure
        To be shown or saved: ``overview("run.zarr").savefig("run.png")``.
    """
    view = opened(store)
    name = view.labels[0] if label is None else label
    ground = scene_of(scene)
    count = 2 if ground is None else 3
    figure = new_figure(5.2 * count, 6.2)
    panels: Any = figure.subplots(1, count, squeeze=False)[0]
    used = crs if ground is None else ground.crs
    if ground is not None:
        draw_scene(panels[0], ground)
        panels[0].set_title("the scene")
    pca_rgb(view, name, ax=panels[-2], crs=used)
    status_map(view, name, ax=panels[-1], crs=used)
    if ground is not None:
        left, right, bottom, top = ground.extent
        for panel in panels:
            panel.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    return figure


def compare(
    fields: Target | StoreView | Mapping[str, Embedding | xr.DataArray | str],
    labels: Iterable[str] | None = None,
    *,
    scene: SceneImage | xr.DataArray | None = None,
    crs: str | None = None,
    columns: int | None = None,
    title: str = "",
) -> Figure:
    """Draw all models side by side over the same ground: each by its own three main directions as red, green and blue.

    Every cell is drawn at its place on the ground, and all panels share their limits. Colours are comparable within a
    panel, not across panels. The title warns of random weights.

    Parameters
    ----------
    fields : str, path-like, Store, or mapping of str to Embedding, DataArray or str
        The store of a run with all models, or georeferenced grids (dim, y, x) by name, as `get_embedding` gives them.
        A text in place of a grid says why there is none: its panel is blank but for this reason.
    labels : sequence of str, optional
        The models, in order; all by default.
    scene : SceneImage or xarray.DataArray, optional
        An image of the ground, shown first; its CRS and extent are used for all panels.
    crs : str, optional
        Reference system where there is no scene. By default the items' own UTM zone, or that of the first grid.
    columns : int, optional
        Panels per row. By default about as many as rows.
    title : str, optional
        Drawn above the panels.

    Returns
    -------
    matplotlib Figure
        To be shown or saved: ``compare("run.zarr").savefig("models.png")``.

    Raises
    ------
    SpecError, UnknownNameError
        If there is no model, none with a grid, an unknown label, or a grid without georeferencing.
    """
    entries, own = entries_of(fields, labels)
    ground = scene_of(scene)
    used = (crs or own) if ground is None else ground.crs
    count = len(entries) + (ground is not None)
    across = math.ceil(math.sqrt(count)) if columns is None else whole("compare.columns", columns, low=1, high=count)
    figure = new_figure(1, 1)
    panels = [figure.add_subplot(math.ceil(count / across), across, number + 1) for number in range(count)]
    if ground is not None:
        draw_scene(panels[0], ground)
        _name(panels[0], "the scene", "true colour")
    for panel, entry in zip(panels[-len(entries) :], entries, strict=True):
        _draw(panel, entry, used)
    _share_limits(panels, None if ground is None else ground.extent, used)
    _finish(figure, panels, across, used)
    figure.suptitle("\n".join(line for line in (title, _warning(entries)) if line), fontsize=11)
    return figure


def _draw(axes: Axes, entry: MapEntry, crs: str) -> None:
    if entry.draw is None:
        axes.set_facecolor("0.95")
        _name(axes, entry.label, "")
        words = textwrap.fill(entry.about, _LETTERS)
        written = axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=7)
        written.set_in_layout(False)
        return
    fitted = entry.draw(axes, crs)
    _name(axes, entry.label, f"{entry.about}, {fitted.explained.sum():.0%} of variance")


def _name(axes: Axes, label: str, about: str) -> None:
    """Write the name and, below it in small type, a description."""
    axes.set_title(label, loc="left", fontsize=10, fontweight="bold", pad=15)
    written = axes.annotate(about, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=8, color=_GREY)
    written.set_in_layout(False)


def _share_limits(panels: Sequence[Axes], extent: tuple[float, float, float, float] | None, crs: str) -> None:
    """Give all panels the scene's limits, or those that cover everything drawn."""
    if extent is None:
        drawn = [panel for panel in panels if panel.has_data()] or list(panels)
        across, up = zip(*((panel.get_xlim(), panel.get_ylim()) for panel in drawn), strict=True)
        extent = (*_span(across), *_span(up))
    left, right, bottom, top = extent
    aspect = aspect_of(crs, (bottom + top) / 2)
    for panel in panels:
        panel.set(xlim=(left, right), ylim=(bottom, top), aspect=aspect)


def _span(limits: Iterable[tuple[float, float]]) -> tuple[float, float]:
    ends = [end for pair in limits for end in pair]
    return min(ends), max(ends)


def _finish(figure: Figure, panels: Sequence[Axes], columns: int, crs: str) -> None:
    """Label the outer axes, and size the figure to fit its panels."""
    for number, panel in enumerate(panels):
        ground_ticks(panel, crs, across=number + columns >= len(panels), up=number % columns == 0)
    (left, right), (bottom, top) = panels[0].get_xlim(), panels[0].get_ylim()
    ratio = (top - bottom) / (right - left) * aspect_of(crs, (bottom + top) / 2)
    width, height = _PANEL_IN / max(1, ratio), _PANEL_IN * min(1, ratio)
    rows = math.ceil(len(panels) / columns)
    across_in = columns * (max(width, _NARROWEST_IN) + _GAP_IN) + _MARGIN_IN
    figure.set_size_inches(across_in, rows * (height + _TITLES_IN) + _MARGIN_IN)
    across, up = ground_units(crs)
    figure.supxlabel(across, fontsize=9, color=_GREY)
    figure.supylabel(up, fontsize=9, color=_GREY)


def _warning(entries: Sequence[MapEntry]) -> str:
    """Name the panels whose network has random weights, if there are others."""
    drawn = [entry for entry in entries if entry.draw is not None]
    random = [entry.label for entry in drawn if entry.random]
    if not random:
        return ""
    which = "" if len(random) == len(drawn) else f" ({', '.join(random)})"
    return f"Random weights{which}, nothing trained: these colours show geometry, not meaning"
