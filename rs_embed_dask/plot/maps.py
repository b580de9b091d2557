"""One model's embeddings as colours on the ground, and the status of every item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.plot.canvas import EMPTY, axes_of, draw_cells, draw_grids, draw_places, frame_axes, opaque
from rs_embed_dask.plot.pca import Pca, fit_pca
from rs_embed_dask.specs.ground import WGS84, crs_facts, local_crs
from rs_embed_dask.store import STATUS_COLOURS, Status, Store, StoreView, items_frame

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from matplotlib.axes import Axes

    from rs_embed_dask.store import Target

__all__ = ["MapEntry", "draw_vectors", "entries_of", "opened", "pca_rgb", "places_of", "status_map"]

_SQUARE: Final = 0.01
_WHOLE_M: Final = 10
_EMBEDDED: Final = (int(Status.OK), int(Status.PARTIAL))


@dataclass(frozen=True, eq=False)
class MapEntry:
    """The content of one panel."""

    label: str
    about: str
    random: bool
    draw: Callable[[Axes, str], Pca] | None


def entries_of(
    source: Target | StoreView | Mapping[str, Embedding | xr.DataArray | str], labels: Iterable[str] | None
) -> tuple[tuple[MapEntry, ...], str]:
    """Return the models to show, and a suitable reference system."""
    if isinstance(source, Mapping):
        shown = {name: source[name] for name in _chosen(source, labels)}
        fields = {name: _located(name, one) for name, one in shown.items() if not isinstance(one, str)}
        if not fields:
            fix = "give at least one georeferenced grid"
            raise SpecError("compare", value=list(shown), reason="none of them has a grid", fix=fix)
        entries = tuple(_in_memory(name, fields.get(name), one) for name, one in shown.items())
        return entries, next(iter(fields.values())).rio.crs.to_string()
    view = opened(source)
    return tuple(_stored(view, name) for name in _chosen(view.labels, labels)), places_of(view, None)[1]


def _chosen(available: Iterable[str], labels: Iterable[str] | None) -> tuple[str, ...]:
    names, all_names = tuple(available if labels is None else labels), tuple(available)
    for name in names:
        if name not in all_names:
            raise UnknownNameError.among("label", name, all_names)
    if not names:
        raise SpecError("compare", value=names, reason="no model is named", fix="name at least one")
    return names


def _stored(view: StoreView, label: str) -> MapEntry:
    random = bool(view.receipt.get("weights", {}).get(label, {}).get("random"))
    done = np.isin(view.values(label, "status"), _EMBEDDED)
    if not done.any():
        reason = next((str(one) for one in view.values(label, "reason") if one), "not computed yet")
        return MapEntry(label, reason, random, None)
    if view.layout(label).grid_shape is None:
        about = "one vector" if done.sum() == 1 else f"{done.sum():,} vectors"
        return MapEntry(label, about, random, partial(_draw_stored, view, label))
    first = int(np.flatnonzero(done)[0])
    shape, transform = view.values(label, "grid_shape")[first], view.values(label, "transform")[first]
    cells = _cells(shape, transform, str(view.values(label, "crs")[first]))
    about = cells if done.sum() == 1 else f"{done.sum():,} grids of {cells}"
    return MapEntry(label, about, random, partial(_draw_stored, view, label))


def _draw_stored(view: StoreView, label: str, axes: Axes, crs: str) -> Pca:
    return draw_vectors(axes, view, label, crs=crs)


def _located(label: str, embedding: Embedding | xr.DataArray) -> xr.DataArray:
    """Return an embedding's field as (y, x, vector), after checking that it is georeferenced."""
    import rioxarray  # noqa: F401  it adds .rio

    field: Any = embedding.data if isinstance(embedding, Embedding) else embedding
    dims = set(getattr(field, "dims", ()))
    if len(dims) != 3 or not {"y", "x"} <= dims or field.rio.crs is None:  # noqa: PLR2004 - y, x and the vector
        reason = "it is not a georeferenced grid of vectors (dim, y, x)"
        fix = "use get_embedding(..., output='grid'), or give a store"
        raise SpecError(f"compare[{label!r}]", value=embedding, reason=reason, fix=fix)
    turned: xr.DataArray = field.transpose("y", "x", ...)
    return turned


def _in_memory(label: str, field: xr.DataArray | None, embedding: Embedding | xr.DataArray | str) -> MapEntry:
    if field is None:
        return MapEntry(label, str(embedding), random=False, draw=None)
    weights = embedding.meta.get("weights") if isinstance(embedding, Embedding) else None
    random = bool(isinstance(weights, Mapping) and weights.get("random"))
    about = _cells(field.shape[:2], _affine(field), field.rio.crs.to_string())
    return MapEntry(label, about, random, partial(_draw_field, field))


def _draw_field(field: xr.DataArray, axes: Axes, crs: str) -> Pca:
    fitted = fit_pca(field.values)
    source = field.rio.crs.to_string()
    draw_cells(axes, opaque(fitted.colours(field.values)), _affine(field), source=source, crs=crs)
    return fitted


def _affine(field: xr.DataArray) -> tuple[float, ...]:
    """Read the affine from the attributes, or from the centres of at least two rows and columns."""
    for name in ("transform", "spatial:transform"):
        if name in field.attrs:
            return tuple(field.attrs[name])[:6]
    x, y = field["x"].values, field["y"].values
    width, height = x[1] - x[0], y[1] - y[0]
    return (width, 0.0, x[0] - width / 2, 0.0, height, y[0] - height / 2)


def _cells(shape: Iterable[int], transform: Iterable[float], crs: str) -> str:
    """Describe how many cells a grid has, and their size on the ground."""
    rows, columns = shape
    facts = crs_facts(crs)
    counted = f"{rows} × {columns} cells"
    if facts.geographic:
        return counted
    a, _, _, _, e, _ = transform
    across, up = abs(a) * facts.unit, abs(e) * facts.unit
    size = _metres(across) if abs(across - up) < _SQUARE * up else f"{_metres(across)} × {_metres(up)}"
    return f"{counted} of {size} m"


def _metres(value: float) -> str:
    return f"{value:.0f}" if value >= _WHOLE_M else f"{value:.2g}"


_ONE_ZONE_DEG: Final = 6.0


def pca_rgb(
    store: Target | StoreView,
    label: str,
    *,
    ax: Axes | None = None,
    pca: Pca | None = None,
    crs: str | None = None,
) -> Axes:
    """Draw a model's embeddings on the ground, as PCA colours.

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
    axes.set_title(f"{label}: {view.layout(label).dim} dimensions as colours {shown}")
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
    """Draw the status of every item.

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
        Patch(facecolor=STATUS_COLOURS[code], label=f"{code.words}: {count:,}")
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
