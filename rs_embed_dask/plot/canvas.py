"""Drawing primitives: figures, limits, ticks in kilometres, outlines, cells of grids and the scene."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure

from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.specs.ground import crs_facts, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from matplotlib.axes import Axes

    from rs_embed_dask.store import StoreView

__all__ = [
    "EMPTY",
    "Picture",
    "SceneImage",
    "aspect_of",
    "axes_of",
    "draw_cells",
    "draw_grids",
    "draw_places",
    "draw_scene",
    "frame_axes",
    "ground_ticks",
    "ground_units",
    "new_figure",
    "opaque",
    "scene_of",
]


class Picture(Figure):
    """A figure without pyplot, which a notebook shows even without a chosen backend."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)  # else as it was made, whatever `set_dpi` says
        return buffer.getvalue()


EMPTY: Final = (0.5, 0.5, 0.5, 0.25)
_SMALLEST_SHARE: Final = 1 / 150


def new_figure(width: float, height: float) -> Figure:
    """Create a figure that a notebook shows. Raises RsEmbedError where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        fix = "pip install 'rs-embed-dask[plot]'"
        raise RsEmbedError("plot", reason="matplotlib is not installed", fix=fix) from error

    return Picture(figsize=(width, height), layout="constrained")


def axes_of(axes: Axes | None) -> Axes:
    """Return `axes`, or those of a new figure."""
    return new_figure(6, 6).add_subplot() if axes is None else axes


def opaque(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Add an alpha channel: where there is no colour, a transparent grey."""
    has_colour = np.isfinite(colours).all(axis=-1)
    full = np.concatenate([colours, np.ones((*colours.shape[:-1], 1))], axis=-1)
    return np.where(has_colour[..., None], full, EMPTY)


def draw_places(axes: Axes, frame: gpd.GeoDataFrame, colours: np.ndarray[Any, Any], *, edge: str = "none") -> None:
    """Fill each item's outline, or put a dot where outlines would be too small to see."""
    left, bottom, right, top = frame.total_bounds
    widths = frame.bounds["maxx"] - frame.bounds["minx"]
    if widths.median() < _SMALLEST_SHARE * max(right - left, top - bottom):
        middle = frame.geometry.centroid if frame.crs.is_projected else frame.geometry.representative_point()
        axes.scatter(middle.x, middle.y, c=colours, s=12, edgecolors="none")
    else:
        frame.plot(ax=axes, color=colours, edgecolor=edge, linewidth=0.5, aspect=None)


def draw_grids(axes: Axes, store: StoreView, label: str, *, colours: np.ndarray[Any, Any], crs: str) -> None:
    """Draw every item's token grid cell by cell, whatever its UTM zone."""
    shapes, systems = store.values(label, "grid_shape"), store.values(label, "crs")
    transforms = store.values(label, "transform")
    for item in np.flatnonzero(shapes[:, 0] > 0):
        rows, columns = (int(side) for side in shapes[item])
        draw_cells(axes, colours[item, :rows, :columns], transforms[item], source=str(systems[item]), crs=crs)


def draw_cells(axes: Axes, colours: np.ndarray[Any, Any], transform: Sequence[float], *, source: str, crs: str) -> None:
    """Draw a grid's cells where their corners lie, whatever the reference system of the axes."""
    rows, columns = colours.shape[:2]
    a, b, c, d, e, f = (float(value) for value in transform)
    column, row = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))  # (rows + 1, columns + 1)
    x, y = project(source, crs, (c + a * column + b * row).ravel(), (f + d * column + e * row).ravel())
    axes.pcolormesh(x.reshape(column.shape), y.reshape(column.shape), colours)


def frame_axes(axes: Axes, frame: gpd.GeoDataFrame, crs: str) -> None:
    """Set the limits round all items, with the same scale in both directions."""
    left, bottom, right, top = frame.total_bounds
    margin = 0.04 * max(right - left, top - bottom)
    axes.set(xlim=(left - margin, right + margin), ylim=(bottom - margin, top + margin), xticks=[], yticks=[])
    axes.set(aspect=aspect_of(crs, (bottom + top) / 2), xlabel="", ylabel="")


def aspect_of(crs: str, y: float) -> float:
    """Return the aspect ratio at which one unit north and one unit east are equally long on the ground."""
    return 1 / max(float(np.cos(np.radians(y))), 0.05) if crs_facts(crs).degrees else 1.0


def ground_ticks(axes: Axes, crs: str, *, across: bool, up: bool) -> None:
    """Set ticks at round kilometres, or degrees, on both axes, with labels on the requested sides."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    facts = crs_facts(crs)
    kilometre = 1.0 if facts.geographic else 1000 / facts.unit
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(low / kilometre, high / kilometre)
        axis.set_ticks([tick * kilometre for tick in ticks if low <= tick * kilometre <= high])
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / kilometre:.10g}"))
    axes.tick_params(labelsize=8, length=3, color="0.4", labelcolor="0.3", labelbottom=across, labelleft=up)


def ground_units(crs: str) -> tuple[str, str]:
    """Return the axis labels for the ticks of `ground_ticks`, across and up."""
    facts = crs_facts(crs)
    if facts.geographic:
        return "longitude, degrees", "latitude, degrees"
    named = f" ({crs})" if facts.epsg is not None else ""
    return f"easting, km{named}", f"northing, km{named}"


_STRETCH: Final = (2, 98)
_TRUE_COLOUR: Final = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class SceneImage:
    """A picture of the ground.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns, 3)
        From 0 to 1, north up; NaN where there is no data.
    extent : tuple of float
        Left, right, bottom and top in ``crs``.
    crs : str
        Its reference system.
    """

    image: np.ndarray[Any, Any]
    extent: tuple[float, float, float, float]
    crs: str

    @classmethod
    def of(cls, pixels: xr.DataArray, *, bands: tuple[str, str, str] = _TRUE_COLOUR) -> SceneImage:
        """Render imagery, stretched between the 2nd and 98th percentiles."""
        import rioxarray  # noqa: F401  it adds .rio

        if pixels.rio.crs is None:
            raise SpecError(
                "scene", reason="it has no CRS", fix="call .rio.write_crs(...), or build a SceneImage yourself"
            )
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
    observed = image[np.isfinite(image).all(axis=-1)]
    if not len(observed):
        return np.full(image.shape, np.nan)
    low, high = np.percentile(observed, _STRETCH)
    return np.asarray(np.clip((image - low) / max(high - low, 1e-9), 0, 1))


def scene_of(scene: SceneImage | xr.DataArray | None) -> SceneImage | None:
    """Convert imagery to a scene; a scene, or None, is returned unchanged."""
    return scene if scene is None or isinstance(scene, SceneImage) else SceneImage.of(scene)


def draw_scene(axes: Axes, scene: SceneImage) -> None:
    """Draw a scene where it lies."""
    axes.imshow(scene.image, extent=scene.extent, interpolation="nearest")
