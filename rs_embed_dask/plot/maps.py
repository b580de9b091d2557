"""One model's embeddings as colours where they lie, and what became of every item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.analysis import Pca, fit_pca
from rs_embed_dask.crs import WGS84
from rs_embed_dask.plot.canvas import EMPTY, axes_of, draw_grids, draw_places, frame_axes, opaque
from rs_embed_dask.store import STATUS_COLOURS, Status, Store, StoreView, items_frame
from rs_embed_dask.zones import local_crs

if TYPE_CHECKING:
    import geopandas as gpd
    from matplotlib.axes import Axes

    from rs_embed_dask.store import Target

__all__ = ["draw_vectors", "opened", "pca_rgb", "places_of", "status_map"]

_ONE_ZONE_DEG: Final = 6.0


def pca_rgb(
    store: Target | StoreView,
    label: str,
    *,
    ax: Axes | None = None,
    pca: Pca | None = None,
    crs: str | None = None,
) -> Axes:
    """Draw a model's embeddings where they lie, as colours by PCA.

    Parameters
    ----------
    store : str, path-like or Store
        The store.
    label : str
        The model.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    pca : Pca, optional
        A fit to use, to compare stores; one of this store by default.
    crs : str, optional
        Reference system of the axes. By default the items' own UTM zone where they lie within one, else longitude and
        latitude.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    SpecError
        If no item has an embedding.
    """
    view = opened(store)
    axes = axes_of(ax)
    fitted = draw_vectors(axes, view, label, pca=pca, crs=crs)
    shown = f"({fitted.explained.sum():.0%} of the variance)"
    axes.set_title(f"{label}: {view.layout(label).dim} numbers as colours {shown}")
    return axes


def draw_vectors(axes: Axes, store: StoreView, label: str, *, pca: Pca | None = None, crs: str | None = None) -> Pca:
    """Draw a model's vectors or grids, and return the fit that gave the colours. Raises SpecError as `pca_rgb`."""
    frame, used = places_of(store, crs)
    vectors = np.moveaxis(store.values(label, "embedding"), 1, -1)  # (item, [y, x,] dim)
    fitted = fit_pca(vectors) if pca is None else pca
    colours = opaque(fitted.colours(vectors))
    if store.layout(label).grid_shape is None:
        draw_places(axes, frame, colours)
    else:
        bare = store.values(label, "grid_shape")[:, 0] == 0
        if bare.any():
            draw_places(axes, frame[bare], np.array([EMPTY] * int(bare.sum())))
        draw_grids(axes, store, label, colours=colours, crs=used)
    frame_axes(axes, frame, used)
    return fitted


def status_map(
    store: Target | StoreView, label: str | None = None, *, ax: Axes | None = None, crs: str | None = None
) -> Axes:
    """Draw what became of every item.

    Parameters
    ----------
    store : str, path-like or Store
        The store.
    label : str, optional
        The model; the first by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    crs : str, optional
        As in `pca_rgb`.

    Returns
    -------
    matplotlib Axes
        With a legend that counts the items by status.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    view = opened(store)
    axes = axes_of(ax)
    name = view.labels[0] if label is None else label
    frame, used = places_of(view, crs)
    codes = view.values(name, "status")
    palette = np.array([to_rgba(STATUS_COLOURS[code]) for code in Status])
    draw_places(axes, frame, palette[codes], edge="white")
    frame_axes(axes, frame, used)
    counts = {code: int((codes == code).sum()) for code in Status}
    entries = [
        Patch(facecolor=STATUS_COLOURS[code], label=f"{code.name.lower().replace('_', ' ')}: {count:,}")
        for code, count in counts.items()
        if count
    ]
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3, frameon=False, fontsize=8)
    axes.set_title(f"{name}: status of {view.n_items:,} items")
    return axes


def opened(store: Target | StoreView) -> StoreView:
    """Open a store, unless it is open."""
    return store if isinstance(store, StoreView) else Store.open(store)


def places_of(store: StoreView, crs: str | None) -> tuple[gpd.GeoDataFrame, str]:
    """Read the items' outlines and choose in which reference system to draw them."""
    frame = items_frame(store)
    west, south, east, north = frame.total_bounds
    if crs is None:
        crs = local_crs((west + east) / 2, (south + north) / 2) if east - west < _ONE_ZONE_DEG else WGS84
    return (frame if crs == WGS84 else frame.to_crs(crs)), crs
