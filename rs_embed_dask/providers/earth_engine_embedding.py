"""The annual satellite embeddings: 64 numbers for every 10 m of a year, computed by others and read as they are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from rs_embed_dask.fetch import FetchSpec
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.loading import load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.providers.protocol import Provider

__all__ = ["SENSOR", "annual_embedding", "annual_read"]

SENSOR: Final = "satellite-embedding"


def annual_read(grid: Grid, year: int) -> Read:
    """Say what to read for one year of a place.

    Parameters
    ----------
    grid : Grid
        Where. Vectors are never averaged, so a grid of other pixels than 10 m takes the nearest.
    year : int
        From 2017.

    Returns
    -------
    Read
        64 bands, one frame, nothing masked; the tiles of neighbouring zones are laid upon each other.
    """
    whole = Span(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))
    return Read(grid, SENSOR, sensor(SENSOR).band_names, (whole,), FetchSpec(mask="none", composite="mosaic"))


def annual_embedding(grid: Grid, year: int, *, provider: Provider) -> npt.NDArray[np.float32]:
    """Read the embeddings of a place and year.

    Parameters
    ----------
    grid : Grid
        Where.
    year : int
        From 2017.
    provider : Provider
        One that serves ``satellite-embedding``, as `EarthEngine` does.

    Returns
    -------
    ndarray of float32 (64, H, W)
        Row 0 is north. NaN where there is no vector.

    Raises
    ------
    AccessError, TransientError, ProviderError
        If the service refuses or is out of order.
    """
    found: npt.NDArray[np.float32] = load(provider, annual_read(grid, year)).values[0]
    return found
