"""What a scene of the made landscape holds: the numbers that the agency's files would, quality bands included."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.imagery.bands import KELVIN
from rs_embed_dask.imagery.harmonise import baseline_of
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import Band, Scaling, sensor, source
from rs_embed_dask.providers.made.ground import Ground, ground_of
from rs_embed_dask.providers.made.noise import Floats, cell_hash
from rs_embed_dask.providers.made.sky import Sky, cover, quality, sky_over, through
from rs_embed_dask.providers.made.spectra import backscatter_db, table

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid_types import Grid

__all__ = ["Camera", "Pause"]

_CELL_M: Final = 10.0
_SPECKLE: Final = 0.26
_OFFSET_SINCE: Final = 4.0
_S2_OFFSET: Final = 1000.0
_LARGEST: Final = {"u": 65_535, "i": 32_767}
_FILL: Final = {"scl": 0, "fmask": 255, "qa_pixel": 1}


@dataclass(frozen=True)
class Pause:
    """A wait that stands for a slow service: once a read, in its first task.

    Parameters
    ----------
    scene : str
        Id of the first scene of the read.
    corner : (float, float)
        Upper left corner of the read's grid.
    seconds : float
        How long.
    """

    scene: str
    corner: tuple[float, float]
    seconds: float

    def keep(self, scenes: Sequence[Scene], grid: Grid) -> None:
        """Wait if this is the first task of the read.

        Parameters
        ----------
        scenes : sequence of Scene
            Of the task.
        grid : Grid
            Of the task.
        """
        if scenes and scenes[0].id == self.scene and (grid.transform[2], grid.transform[5]) == self.corner:
            time.sleep(self.seconds)


@dataclass(frozen=True)
class Camera:
    """Takes scenes; the `Fetch` of the synthetic provider.

    Parameters
    ----------
    sensor : str
        Id of the sensor.
    seed : int
        Of the landscape.
    cloud : float
        Mean cloud cover, 0..1.
    pause : Pause, optional
        A wait before the first scene.
    """

    sensor: str
    seed: int
    cloud: float
    pause: Pause | None = None

    def __call__(self, scenes: Sequence[Scene], grid: Grid, assets: tuple[tuple[str, ...], ...]) -> npt.NDArray[Any]:
        """Return the raw numbers of some scenes on a grid.

        Parameters
        ----------
        scenes : sequence of Scene
            N scenes, as `passes` lists them.
        grid : Grid
            Where.
        assets : tuple of tuple of str
            Names of each layer, the common name first; the quality band's last.

        Returns
        -------
        ndarray (N, A, H, W)
            Numbers as in files.
        """
        if self.pause is not None:
            self.pause.keep(scenes, grid)
        of = sensor(self.sensor)
        known = set(of.band_names)
        bands = tuple(of.band(names[0]) for names in assets if names[0] in known)
        rule = next((mask.name for mask in of.masks for names in assets[len(bands) :] if mask.band == names[0]), None)
        kind = np.uint16 if of.id.startswith(("sentinel-2", "landsat")) else np.int16
        raw = np.zeros((len(scenes), len(assets), grid.shape[0] * grid.shape[1]), kind)
        if of.kind == "radar" or rule == "cloud_score_plus":
            raw = raw.astype(np.float32)
        ground = ground_of(grid, self.seed)
        for layers, scene in zip(raw, scenes, strict=True):
            self._take(layers, scene, ground, (bands, rule))
        return raw.reshape(len(scenes), len(assets), *grid.shape)  # (N, A, H, W)

    def _take(
        self, layers: npt.NDArray[Any], scene: Scene, ground: Ground, wanted: tuple[tuple[Band, ...], str | None]
    ) -> None:
        """Fill the layers (A, P) of one scene."""
        bands, rule = wanted
        day = dt.date.fromisoformat(scene.properties["made:day"])
        tile = scene.properties["made:tile"]
        south = tile[1] < 0
        if sensor(self.sensor).kind == "radar":
            self._listen(layers, ground, (bands, day), south=south)
        else:
            share = cover(self.seed, self.cloud, tile=(tile[0], tile[1]), day=day)
            sky = sky_over(ground, share, seed=self.seed, day=day)
            seen = table(bands, day, south=south, toa=self.sensor.endswith("l1c"))[:, ground.material]
            for b, band in enumerate(bands):
                if band.unit != KELVIN:
                    seen[b] *= ground.texture
            self._write(layers[: len(bands)], seen, (bands, sky), scene)
            if rule is not None:
                layers[-1] = quality(rule, ground, sky, day=day, south=south)
        self._blank(layers, ground, (tuple(tile), rule), bands)

    def _write(
        self, layers: npt.NDArray[Any], seen: Floats, what: tuple[tuple[Band, ...], Sky | None], scene: Scene
    ) -> None:
        """Turn canonical values (B, P) into the numbers of files."""
        bands, sky = what
        if sky is not None:
            seen = through(seen, sky, bands)
        where = source("synthetic", self.sensor)
        added = _S2_OFFSET if (baseline_of(scene, where) or 0.0) >= _OFFSET_SINCE else 0.0
        scalings = [where.scaling(band) for band in bands]
        alike = len(set(scalings)) == 1
        for b, scaling in enumerate(scalings[:1] if alike else scalings):
            part = slice(None) if alike else slice(b, b + 1)
            values = _encoded(seen[part], scaling, added if scaling.offset_rule == "s2_baseline" else 0.0)
            if layers.dtype.kind == "f":
                layers[part] = values
            else:
                values += np.float32(0.5)  # rounds, for all are positive
                layers[part] = np.clip(values, 1, _LARGEST[layers.dtype.kind], out=values)

    def _listen(
        self, layers: npt.NDArray[Any], ground: Ground, what: tuple[tuple[Band, ...], dt.date], *, south: bool
    ) -> None:
        """Fill the layers of a radar scene: the materials' backscatter with speckle."""
        bands, day = what
        mean = backscatter_db(tuple(band.common for band in bands), day, south=south)
        column, row = (np.floor(part / _CELL_M).astype(np.int64) for part in (ground.x, ground.y))
        for b, band in enumerate(bands):
            bits = cell_hash(column, row, self.seed + 211 * day.toordinal() + 97 * b)
            grain = bits.view(np.uint8).reshape(-1, 4).sum(1, dtype=np.uint16).astype(np.float32)
            speckle = (grain - np.float32(510)) * np.float32(_SPECKLE / 147.8)  # near normal, in nepers
            db = mean[b, ground.material] + np.float32(10 / np.log(10)) * speckle
            coded = source("synthetic", self.sensor).scaling(band).encoding == "db"
            layers[b] = db if coded else np.float32(10) ** (db * np.float32(0.1))
            if band.common not in {"vv", "vh"}:
                layers[b] = np.nan

    def _blank(
        self,
        layers: npt.NDArray[Any],
        ground: Ground,
        what: tuple[tuple[int, ...], str | None],
        bands: tuple[Band, ...],
    ) -> None:
        """Write nodata outside the scene's tile."""
        tile, rule = what
        outside = (ground.tile[0] != tile[0]) | (ground.tile[1] != tile[1])
        if not outside.any():
            return
        for b, band in enumerate(bands):
            nodata = source("synthetic", self.sensor).scaling(band).nodata
            layers[b][outside] = np.nan if nodata is None else nodata
        if rule is not None:
            layers[-1][outside] = _FILL.get(rule, 0)


def _encoded(values: Floats, scaling: Scaling, added: float) -> Floats:
    """Undo a scaling, in place."""
    if added or scaling.offset:
        values += np.float32(added - scaling.offset)
    if scaling.scale != 1:
        values *= np.float32(1 / scaling.scale)
    return values
