"""The ground itself as a picture: imagery in true colour, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["SceneImage", "draw_scene", "scene_of"]

_STRETCH: Final = (2, 98)
_TRUE_COLOUR: Final = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class SceneImage:
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
    def of(cls, pixels: xr.DataArray, *, bands: tuple[str, str, str] = _TRUE_COLOUR) -> SceneImage:
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
            raise SpecError(
                "scene", reason="it has no CRS", fix="call .rio.write_crs(...), or make a SceneImage yourself"
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
    known = image[np.isfinite(image).all(axis=-1)]
    if not len(known):
        return np.full(image.shape, np.nan)
    low, high = np.percentile(known, _STRETCH)
    return np.asarray(np.clip((image - low) / max(high - low, 1e-9), 0, 1))


def scene_of(given: SceneImage | xr.DataArray | None) -> SceneImage | None:
    """Make a scene of imagery; a scene, or none, stays what it is."""
    return given if given is None or isinstance(given, SceneImage) else SceneImage.of(given)


def draw_scene(axes: Axes, scene: SceneImage) -> None:
    """Draw a scene where it lies."""
    axes.imshow(scene.image, extent=scene.extent, interpolation="nearest")
