"""Raw numbers of files and arrays on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.providers.rasters import gather, read_layer

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.imagery.scenes import Scene
    from rs_embed_dask.imagery.sensors import Sensor
    from rs_embed_dask.providers.held import Held
    from rs_embed_dask.providers.shots import Shot

__all__ = ["FileFetch"]


@dataclass(frozen=True)
class FileFetch:
    """Brings the raw numbers of files or arrays on a grid.

    Parameters
    ----------
    shots : mapping of str to Shot
        Scenes by id.
    held : Held, optional
        The array, if it is one.
    sensor : Sensor
        Whose numbers.
    nodata : float, optional
        The number that means missing, if the user says so.
    """

    shots: Mapping[str, Shot]
    held: Held | None
    sensor: Sensor
    nodata: float | None

    def __call__(
        self, scenes: Sequence[Scene], grid: Grid, assets: tuple[tuple[str, ...], ...]
    ) -> npt.NDArray[np.float32]:
        """Return the raw numbers of some scenes on a grid, NaN where there are none.

        Parameters
        ----------
        scenes : sequence of Scene
            N scenes.
        grid : Grid
            Where.
        assets : tuple of tuple of str
            Names of each layer, the common name first.

        Returns
        -------
        ndarray of float32 (N, A, H, W)
        """
        out = np.full((len(scenes), len(assets), *grid.shape), np.nan, np.float32)
        spot = None
        if self.held is not None:
            spot = gather(grid, self.held.crs, transform=self.held.transform, shape=self.held.image_shape)
        for i, scene in enumerate(scenes):
            for j, names in enumerate(assets):
                layer = self.shots[scene.id].layers.get(names[0])
                if self.held is not None and spot is not None:
                    found = self.held.take(scene.id, names[0], spot)
                else:
                    found = None if layer is None else read_layer(layer, grid)
                if found is not None:
                    nodata = None if layer is None else layer.nodata
                    out[i, j][found[1]] = self._cleared(found[0], names[0], nodata)
        return out

    def _cleared(self, raw: npt.NDArray[Any], name: str, nodata: float | None) -> npt.NDArray[np.float32]:
        """Turn what means missing into NaN: the user's number, else the file's, else the table's for whole numbers."""
        values = raw.astype(np.float32)
        if name not in self.sensor.band_names:
            return values
        missing = self.nodata if self.nodata is not None else nodata
        if missing is None and raw.dtype.kind in "iu":
            missing = source("files", self.sensor.id).scaling(self.sensor.band(name)).nodata
        if missing is not None:
            values[raw == missing] = np.nan
        return values
