"""A map as colours on the ground, whatever zones it lies in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.plot.canvas import axes_of, ground_ticks, ground_units
from rs_embed_dask.plot.legend import draw_legend
from rs_embed_dask.specs.ground import WGS84, project, side_text
from rs_embed_dask.store.export.colours import NO_COLOUR
from rs_embed_dask.store.export.fields import fields_of, map_tree
from rs_embed_dask.store.export.layers import layers_of
from rs_embed_dask.store.export.mosaic import mosaic
from rs_embed_dask.store.export.palette import palette_of
from rs_embed_dask.store.export.pca import Pca
from rs_embed_dask.store.map_store import MapStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from rs_embed_dask.store import Target
    from rs_embed_dask.store.export.colours import Colouring
    from rs_embed_dask.store.export.fields import MapField
    from rs_embed_dask.store.export.layers import Layer

__all__ = ["RANDOM", "draw_map"]

RANDOM: Final = "Random weights, nothing trained: these colours show geometry, not meaning"

_MOST: Final = 1200
_LINE: Final = 90
_FINER: Final = 4  # pixels per token's side, where lattices that lie askew meet


def draw_map(
    source: xr.DataTree | Target,
    model: str | None = None,
    *,
    group: str | None = None,
    span: int = 0,
    pca: Pca | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one model's map as colours, each pixel of the picture by the token that it lies in; or classes and values.

    Nothing is interpolated, and where zones meet each pixel has one token, so that a line in the picture is one in the
    map. The caption says what was done with the positions of the windows, and warns of random weights. A map that a
    probe, `classes` or `change` made is drawn by its first band, with a legend.

    Parameters
    ----------
    source : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path. Of a path with a preview, the preview is drawn.
    model : str, optional
        The model; the first by default.
    group : str, optional
        The zone; all by default.
    span : int, default 0
        The span, by its number along ``time``.
    pca : Pca, optional
        A fit to use, so that maps are comparable; by default that of the preview, or one of what is drawn.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Of a map in one zone in its projection, else in an equal-area one around its middle; ticks in kilometres.

    Raises
    ------
    SpecError
        If no token has a vector, or there is no such span.
    UnknownNameError
        If the map has no such model or group.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.plot.map("county.zarr", "galileo-nano").figure.savefig("county.png")  # doctest: +SKIP
    """
    tree = map_tree(source)
    view = None if isinstance(source, xr.DataTree) else MapStore.open(source)
    fields = fields_of(tree, model, group, span=span)
    fields = [one for one in fields if one.label == fields[0].label]
    palette = palette_of(fields)
    layers, basis = layers_of(fields, view, basis=pca or palette, most=_MOST)
    axes = axes_of(ax)
    crs, extent, image = _picture(layers)
    axes.imshow(image, extent=extent, interpolation="nearest", interpolation_stage="rgba")
    ground_ticks(axes, crs, across=True, up=True)
    first = fields[0]
    axes.set_title(f"{first.label}, {first.start} to {first.end}", loc="left", fontsize=10, fontweight="bold")
    if palette is not None:
        draw_legend(axes, palette, str(first.derived["bands"][0]))
    facts = [_colours(first, basis), *_facts(first)]
    axes.set_xlabel(_caption(first, layers, facts, crs), loc="left", fontsize=8, color="0.35")
    return axes


def _colours(field: MapField, basis: Colouring) -> str:
    if isinstance(basis, Pca):
        return f"{field.dim} dimensions as three colours ({basis.explained.sum():.0%} of the variance)"
    return f"{field.derived['bands'][0]}, by {field.derived['by']}"


def _facts(field: MapField) -> list[str]:
    """Say what was done with positions, and whether the weights mean anything."""
    if field.derived:
        return []
    return [field.positions or "positions: nothing is recorded of them", *([RANDOM] if field.is_random else [])]


def _caption(field: MapField, layers: Sequence[Layer], told: Sequence[str], crs: str) -> str:
    """Say what is drawn, the first of `told` with the size of its cells, and what the ticks are."""
    factor = max(one.factor for one in layers)
    token = side_text(field.token_m, field.crs)
    cells = f"tokens of {token}" if factor == 1 else f"means of {factor} × {factor} tokens of {token}"
    ticks = "; ".join(ground_units(crs)) if crs == field.crs else "km east and north of the middle"
    facts = [f"{told[0]}; {cells}", *told[1:], ticks]
    return "\n".join(line for fact in facts for line in textwrap.wrap(fact, _LINE))


def _picture(layers: Sequence[Layer]) -> tuple[str, tuple[float, float, float, float], NDArray[np.uint8]]:
    """Return the projection, the extent and the image (rows, columns, 4) of layers."""
    edges = [(one, edge) for one in layers for edge in [one.edge] if edge is not None]
    if not edges:
        raise SpecError("map", reason="no token has a vector yet", fix="see status() for what became of its blocks")
    crs = edges[0][0].crs if len(edges) == 1 else _common(edges)
    xs, ys = (
        np.concatenate(parts) for parts in zip(*(project(one.crs, crs, *edge.T) for one, edge in edges), strict=True)
    )
    left, right, bottom, top = (float(one) for one in (xs.min(), xs.max(), ys.min(), ys.max()))
    cell = abs(edges[0][0].transform[0])
    finest = cell if len(edges) == 1 else cell / _FINER
    size = max(finest, (right - left) / _MOST, (top - bottom) / _MOST)
    cols, rows = (max(1, int(np.ceil(length / size - 1e-6))) for length in (right - left, top - bottom))
    extent = (left, left + cols * size, top - rows * size, top)
    x, y = np.meshgrid(left + (np.arange(cols) + 0.5) * size, top - (np.arange(rows) + 0.5) * size)
    rgb = mosaic([one for one, _ in edges], crs, x=x, y=y)
    alpha = np.where((rgb != NO_COLOUR).any(axis=0), 255, 0).astype(np.uint8)
    return crs, extent, np.moveaxis(np.concatenate([rgb, alpha[None]]), 0, -1)


def _common(edges: Sequence[tuple[Layer, NDArray[np.float64]]]) -> str:
    """Return an equal-area projection around the middle of all layers, which lies anywhere, also at 180 degrees."""
    lon, lat = (
        np.concatenate(parts) for parts in zip(*(project(one.crs, WGS84, *edge.T) for one, edge in edges), strict=True)
    )
    away = (lon - lon[0] + 180.0) % 360.0 - 180.0
    middle = (lon[0] + (away.min() + away.max()) / 2 + 180.0) % 360.0 - 180.0
    return f"+proj=laea +lat_0={(lat.min() + lat.max()) / 2:.4f} +lon_0={middle:.4f} +datum=WGS84 +units=m +type=crs"
