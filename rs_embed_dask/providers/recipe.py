"""What happens to the raw numbers of a frame, whoever provides them: harmonise, mask, composite, convert, count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.composite import composite_frame
from rs_embed_dask.imagery.harmonise import finish, harmonise, spoilt
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import Band, Mask, Source, mask_of, sensor

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Read

__all__ = ["FramePixels", "Raw", "Recipe", "make_frame", "present_in", "recipe_for"]

Raw = npt.NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """What happens to raw numbers: data that travels in each task.

    Parameters
    ----------
    source : Source
        Decides what the numbers mean.
    bands : tuple of Band
        Bands in the order wanted.
    mask : Mask, optional
        The rule that the last layer feeds; None if nothing is masked.
    assets : tuple of tuple of str
        Asset names of each layer, the quality band's last.
    how : str
        The composite.
    lon : float
        Longitude of the place, for the solar day.
    """

    source: Source
    bands: tuple[Band, ...]
    mask: Mask | None
    assets: tuple[tuple[str, ...], ...]
    how: str
    lon: float


@dataclass(frozen=True, eq=False)
class FramePixels:
    """One frame of one block.

    Parameters
    ----------
    values : ndarray of float32 (B, H, W)
        Canonical units.
    n_obs : ndarray of uint16 (H, W)
        Valid observations.
    used : ndarray of int64 (N,)
        Pixels that each scene gave.
    """

    values: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]
    used: npt.NDArray[np.int64]


def recipe_for(read: Read, source: Source) -> Recipe:
    """Work out what a read does to the raw numbers of a source.

    Parameters
    ----------
    read : Read
        What is wanted.
    source : Source
        How it is served.

    Returns
    -------
    Recipe
        Bands in the read's order, defaults filled in.

    Raises
    ------
    UnknownNameError, SpecError
        If the source lacks a band, or the mask asked for.
    """
    of = sensor(read.sensor)
    bands = tuple(of.band(name) for name in read.bands)
    chosen = mask_of(read.fetch.mask, source)
    assets = [source.asset(band.common) for band in bands]
    if chosen is not None:
        assets.append((chosen[1],))
    how = read.fetch.composite or "median"
    mask = None if chosen is None else chosen[0]
    return Recipe(source, bands, mask, tuple(assets), how, read.grid.center_lonlat[0])


def make_frame(
    raw: Raw, scenes: Sequence[Scene], recipe: Recipe, *, present: npt.NDArray[np.bool_] | None = None
) -> FramePixels:
    """Turn the raw numbers of the scenes of one frame into one image.

    Parameters
    ----------
    raw : ndarray (N, A, H, W)
        Raw numbers of A layers: the bands, then the quality band if the recipe has a mask.
    scenes : sequence of Scene
        The N scenes.
    recipe : Recipe
        What to do.
    present : ndarray of bool (N, B), optional
        Which bands each scene has at all. Default: all.

    Returns
    -------
    FramePixels
        The image in canonical units and its counts.

    Raises
    ------
    ProviderError
        If a scene's offset is not known.
    """
    n_bands = len(recipe.bands)
    stack = harmonise(raw[:, :n_bands], recipe.source, bands=recipe.bands, scenes=scenes)
    if recipe.mask is not None:
        bad = spoilt(raw[:, n_bands], recipe.mask)
        np.copyto(stack, np.float32(np.nan), where=bad[:, None])
    values, n_obs, used = composite_frame(
        stack, scenes, lon=recipe.lon, how=recipe.how, present=present, names=recipe.source.properties
    )
    return FramePixels(finish(values, recipe.bands), n_obs, used)


def present_in(scenes: Sequence[Scene], recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Tell which bands each scene has, by the asset names in its properties; all of them where it lists none.

    Parameters
    ----------
    scenes : sequence of Scene
        The N scenes; ``properties["assets"]`` may list their assets.
    recipe : Recipe
        Names the assets that may carry each of the B bands.

    Returns
    -------
    ndarray of bool (N, B)
    """
    names = recipe.assets[: len(recipe.bands)]
    found = np.ones((len(scenes), len(names)), bool)
    for row, scene in zip(found, scenes, strict=True):
        assets = scene.properties.get("assets")
        if assets is not None:
            row[:] = [any(name in assets for name in each) for each in names]
    return found
