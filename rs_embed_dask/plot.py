"""Pictures of a store: embeddings as colours, what became of every item, and both beside the scene.

Needs the extra ``plot`` (matplotlib), which is imported when a picture is drawn. Figures are made without pyplot, so
that nothing stays open: show them with ``display(figure)`` or ``figure.savefig("run.png")``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis import Pca, fit_pca
from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.geodesy import project
from rs_embed_dask.store import STATUS_COLOURS, Status, Store, StoreView, items_frame
from rs_embed_dask.zones import local_crs

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rs_embed_dask.store import Target

__all__ = ["Scene", "overview", "pca_rgb", "status_map"]

_WGS84: Final = "EPSG:4326"
_ONE_ZONE_DEG: Final = 6.0
_SMALLEST_SHARE: Final = 1 / 150
_STRETCH: Final = (2, 98)
_EMPTY: Final = (0.5, 0.5, 0.5, 0.25)
_TRUE_COLOUR: Final = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of the ground.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns, 3)
        From 0 to 1, north up; NaN where nothing is known.
    extent : tuple of float
        Left, right, bottom and top in ``crs``.
    crs : str
        Its reference system.
    """

    image: np.ndarray[Any, Any]
    extent: tuple[float, float, float, float]
    crs: str

    @classmethod
    def of(cls, pixels: xr.DataArray, *, bands: tuple[str, str, str] = _TRUE_COLOUR) -> Scene:
        """Make a picture of imagery, stretched between the 2nd and 98th percentile.

        Parameters
        ----------
        pixels : xarray.DataArray
            (band, y, x) or (time, band, y, x) with pixel centres as coordinates and a CRS that rioxarray finds, such
            as ``cube.to_xarray()``; of several times the median is shown.
        bands : tuple of str
            The bands for red, green and blue.

        Raises
        ------
        SpecError
            If it has no CRS, or lacks a band.
        """
        import rioxarray  # noqa: F401  it adds .rio

        if pixels.rio.crs is None:
            raise SpecError("scene", reason="it has no CRS", fix="call .rio.write_crs(...), or make a Scene yourself")
        missing = sorted(set(bands) - set(pixels["band"].values.tolist()))
        if missing:
            raise SpecError("scene", value=missing, reason="it lacks these bands", fix="name three of its bands=")
        chosen = pixels.sel(band=list(bands)).transpose(..., "y", "x", "band")
        shown = chosen.median("time", skipna=True) if "time" in chosen.dims else chosen
        x, y = pixels["x"].values, pixels["y"].values
        half_x, half_y = abs(x[1] - x[0]) / 2, abs(y[1] - y[0]) / 2
        extent = (x.min() - half_x, x.max() + half_x, y.min() - half_y, y.max() + half_y)
        return cls(_stretched(shown.values), extent, pixels.rio.crs.to_string())


def _stretched(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    known = image[np.isfinite(image).all(axis=-1)]
    if not len(known):
        return np.full(image.shape, np.nan)
    low, high = np.percentile(known, _STRETCH)
    return np.asarray(np.clip((image - low) / max(high - low, 1e-9), 0, 1))


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
    opened = _opened(store)
    axes = _axes(ax)
    frame, used = _places(opened, crs)
    layout = opened.layout(label)
    vectors = np.moveaxis(opened.values(label, "embedding"), 1, -1)  # (item, [y, x,] dim)
    fitted = fit_pca(vectors) if pca is None else pca
    colours = _opaque(fitted.colours(vectors))
    if layout.grid_shape is None:
        _draw_places(axes, frame, colours)
    else:
        bare = opened.values(label, "grid_shape")[:, 0] == 0
        if bare.any():
            _draw_places(axes, frame[bare], np.array([_EMPTY] * int(bare.sum())))
        _draw_grids(axes, opened, label, colours, crs=used)
    _frame_axes(axes, frame, used)
    axes.set_title(f"{label}: {layout.dim} numbers as colours ({fitted.explained.sum():.0%} of the variance)")
    return axes


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

    opened = _opened(store)
    axes = _axes(ax)
    name = opened.labels[0] if label is None else label
    frame, used = _places(opened, crs)
    codes = opened.values(name, "status")
    palette = np.array([to_rgba(STATUS_COLOURS[code]) for code in Status])
    _draw_places(axes, frame, palette[codes], edge="white")
    _frame_axes(axes, frame, used)
    counts = {code: int((codes == code).sum()) for code in Status}
    entries = [
        Patch(facecolor=STATUS_COLOURS[code], label=f"{code.name.lower().replace('_', ' ')}: {count:,}")
        for code, count in counts.items()
        if count
    ]
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3, frameon=False, fontsize=8)
    axes.set_title(f"{name}: status of {opened.n_items:,} items")
    return axes


def overview(
    store: Target | StoreView,
    label: str | None = None,
    *,
    scene: Scene | xr.DataArray | None = None,
    crs: str | None = None,
) -> Figure:
    """Draw the scene, the embeddings as colours and the status of every item side by side.

    Parameters
    ----------
    store : str, path-like or Store
        The store.
    label : str, optional
        The model; the first by default.
    scene : Scene or xarray.DataArray, optional
        The ground, left out by default; its CRS is that of all panels.
    crs : str, optional
        As in `pca_rgb`, where there is no scene.

    Returns
    -------
    matplotlib Figure
        To be shown or saved: ``overview("run.zarr").savefig("run.png")``.
    """
    opened = _opened(store)
    name = opened.labels[0] if label is None else label
    ground = scene if scene is None or isinstance(scene, Scene) else Scene.of(scene)
    count = 2 if ground is None else 3
    figure = _figure(5.2 * count, 6.2)
    panels: Any = figure.subplots(1, count, squeeze=False)[0]
    used = crs if ground is None else ground.crs
    if ground is not None:
        panels[0].imshow(ground.image, extent=ground.extent, interpolation="nearest")
        panels[0].set_title("the scene")
    pca_rgb(opened, name, ax=panels[-2], crs=used)
    status_map(opened, name, ax=panels[-1], crs=used)
    if ground is not None:
        left, right, bottom, top = ground.extent
        for panel in panels:
            panel.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    return figure


def _opened(store: Target | StoreView) -> StoreView:
    return store if isinstance(store, StoreView) else Store.open(store)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        fix = "pip install 'rs-embed-dask[plot]'"
        raise RsEmbedError("plot", reason="matplotlib is not installed", fix=fix) from error
    return Figure(figsize=(width, height), layout="constrained")


def _axes(given: Axes | None) -> Axes:
    return _figure(6, 6).add_subplot() if given is None else given


def _places(store: StoreView, crs: str | None) -> tuple[gpd.GeoDataFrame, str]:
    """Read the items' outlines and choose in which reference system to draw them."""
    frame = items_frame(store)
    west, south, east, north = frame.total_bounds
    if crs is None:
        crs = local_crs((west + east) / 2, (south + north) / 2) if east - west < _ONE_ZONE_DEG else _WGS84
    return (frame if crs == _WGS84 else frame.to_crs(crs)), crs


def _opaque(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Add the fourth channel: what has no colour is a transparent grey."""
    known = np.isfinite(colours).all(axis=-1)
    full = np.concatenate([colours, np.ones((*colours.shape[:-1], 1))], axis=-1)
    return np.where(known[..., None], full, _EMPTY)


def _draw_places(axes: Axes, frame: gpd.GeoDataFrame, colours: np.ndarray[Any, Any], edge: str = "none") -> None:
    """Fill each item's outline, or put a dot where outlines would be too small to see."""
    left, bottom, right, top = frame.total_bounds
    widths = frame.bounds["maxx"] - frame.bounds["minx"]
    if widths.median() < _SMALLEST_SHARE * max(right - left, top - bottom):
        middle = frame.geometry.centroid if frame.crs.is_projected else frame.geometry.representative_point()
        axes.scatter(middle.x, middle.y, c=colours, s=12, edgecolors="none")
    else:
        frame.plot(ax=axes, color=colours, edgecolor=edge, linewidth=0.5, aspect=None)


def _draw_grids(axes: Axes, store: StoreView, label: str, colours: np.ndarray[Any, Any], *, crs: str) -> None:
    """Draw every item's token grid cell by cell, in whatever zone it lies."""
    shapes, systems = store.values(label, "grid_shape"), store.values(label, "crs")
    transforms = store.values(label, "transform")
    for item in np.flatnonzero(shapes[:, 0] > 0):
        rows, columns = (int(side) for side in shapes[item])
        a, b, c, d, e, f = transforms[item]
        column, row = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))  # (rows + 1, columns + 1)
        x, y = project(str(systems[item]), crs, (c + a * column + b * row).ravel(), (f + d * column + e * row).ravel())
        corners = x.reshape(column.shape), y.reshape(column.shape)
        axes.pcolormesh(*corners, colours[item, :rows, :columns])


def _frame_axes(axes: Axes, frame: gpd.GeoDataFrame, crs: str) -> None:
    """Set the limits round all items, with the same scale in both directions."""
    left, bottom, right, top = frame.total_bounds
    margin = 0.04 * max(right - left, top - bottom)
    middle = np.radians((bottom + top) / 2)
    aspect = 1 / max(np.cos(middle), 0.05) if crs == _WGS84 else 1.0
    axes.set(xlim=(left - margin, right + margin), ylim=(bottom - margin, top + margin), xticks=[], yticks=[])
    axes.set(aspect=aspect, xlabel="", ylabel="")
