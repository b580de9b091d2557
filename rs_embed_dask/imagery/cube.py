"""Cubes: what one read asks for and returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import CRS

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.specs.base import Record
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["DAYS", "Cube", "Dates", "Read", "coordinates", "label_cube"]


def coordinates(grid: Grid) -> dict[Hashable, Any]:
    """Return the coordinates of a grid's pixel centres and its CRS as rioxarray and GDAL read it."""
    a, b, c, d, e, f = grid.transform
    attrs = {**_described(grid.crs), "GeoTransform": " ".join(str(n) for n in (c, a, b, f, d, e))}
    return {"y": ("y", grid.ys), "x": ("x", grid.xs), "spatial_ref": ((), np.int64(0), attrs)}


@lru_cache(maxsize=64)
def _described(name: str) -> dict[str, Any]:
    """Return the attributes that describe a reference system; cached because they are slow to build."""
    crs = CRS.from_user_input(name)
    return {**crs.to_cf(), "spatial_ref": crs.to_wkt()}


def _day_or_none(day: dt.date | None) -> np.datetime64:
    """Return a date for an array of dates; NaT for None."""
    return np.datetime64("NaT", "ns") if day is None else np.datetime64(day, "ns")


def label_cube(cube: Cube) -> xr.DataArray:
    """Return a cube as a labelled array; see `Cube.to_xarray`."""
    frames, dates = cube.read.frames, cube.dates
    coords: dict[Hashable, Any] = {
        "time": ("time", np.array([span.midpoint for span in frames], "datetime64[ns]")),
        "band": ("band", list(cube.bands)),
        **coordinates(cube.read.grid),
        "frame_start": ("time", np.array([span.start for span in frames], "datetime64[ns]")),
        "frame_end": ("time", np.array([span.end for span in frames], "datetime64[ns]")),
        "first_date": ("time", np.array([_day_or_none(d and d[0]) for d in dates])),
        "last_date": ("time", np.array([_day_or_none(d and d[1]) for d in dates])),
        "unit": ("band", list(cube.units)),
        "n_obs": (("time", "y", "x"), cube.n_obs),
    }
    attrs = {"sensor": cube.read.sensor, "scenes": list(cube.scenes), "grid_mapping": "spatial_ref"}
    if cube.lost:
        attrs["lost"] = list(cube.lost)
    if cube.notes:
        attrs["notes"] = list(cube.notes)
    return xr.DataArray(cube.values, dims=("time", "band", "y", "x"), coords=coords, name="pixels", attrs=attrs)


DAYS: Final = "acquisition_days"
"""Attribute of a lazy cube: on how many days the catalogue has scenes. Absent where they were not counted."""

Dates = tuple[tuple[dt.date, dt.date] | None, ...]


@dataclass(frozen=True)
class Read(Record):
    """One grid, and the bands and frames to read from one sensor.

    Parameters
    ----------
    grid : Grid
        The pixels on the ground.
    sensor : str
        A sensor under any of its names; stored as its id.
    bands : tuple of str
        Band names of any kind; stored as common names, in this order.
    frames : tuple of Span
        One image per frame; half-open spans in order of time that do not overlap.
    fetch : FetchSpec
        Cloud limit, mask and composite. Default: those of the sensor.

    Raises
    ------
    SpecError
        If there is no band or frame, a band is named twice, or frames overlap.
    UnknownNameError
        If the sensor or a band is unknown.
    """

    grid: Grid
    sensor: str
    bands: tuple[str, ...]
    frames: tuple[Span, ...]
    fetch: FetchSpec = field(default_factory=FetchSpec)

    def __post_init__(self) -> None:
        sensor = sensor_named(self.sensor)
        frames = tuple(self.frames)
        if not self.bands or isinstance(cast("object", self.bands), str):
            raise SpecError(
                "Read.bands", value=self.bands, reason="expected a list of at least one band", fix="list the bands"
            )
        if not frames:
            raise SpecError("Read.frames", value=frames, reason="there are no frames", fix="give at least one span")
        for before, after in pairwise(frames):
            if after.start < before.end:
                raise SpecError(
                    "Read.frames", value=after, reason=f"it begins before {before} has ended", fix="give spans in order"
                )
        object.__setattr__(self, "sensor", sensor.id)
        object.__setattr__(self, "bands", sensor.common(tuple(self.bands)))
        object.__setattr__(self, "frames", frames)

    @property
    def span(self) -> Span:
        """The whole time from the first frame's start to the last frame's end."""
        return Span(self.frames[0].start, self.frames[-1].end)

    @property
    def units(self) -> tuple[str, ...]:
        """Canonical unit of each band."""
        sensor = sensor_named(self.sensor)
        return tuple(sensor.band(band).unit for band in self.bands)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build the read from what `to_dict` returned.

        Parameters
        ----------
        data : mapping
            The fields.

        Returns
        -------
        Read

        Raises
        ------
        SpecError
            As for the class.
        """
        parts = dict(data)
        parts["grid"] = Grid.from_dict(parts["grid"])
        parts["frames"] = tuple(Span.from_dict(frame) for frame in parts["frames"])
        parts["bands"] = tuple(parts["bands"])
        parts["fetch"] = FetchSpec.from_dict(parts.get("fetch", {}))
        return super().from_dict(parts)


@dataclass(frozen=True, eq=False)
class Cube:
    """Pixels of one read, in memory.

    Parameters
    ----------
    values : ndarray of float32 (T, B, H, W)
        Canonical units; NaN where missing.
    n_obs : ndarray of uint16 (T, H, W)
        Number of valid observations per pixel.
    read : Read
        What was asked for: grid, sensor, bands, frames.
    scenes : tuple of str
        Ids of the scenes that contributed pixels, in order of time.
    dates : tuple of (date, date) or None
        First and last observation of each frame; None for an empty one.
    lost : tuple of str
        What could not be read, so that the frames lack it: a file of a scene and why, one for each scene.
    notes : tuple of str
        What a catalogue contradicts itself about, one for each scene; nothing is missing because of it.
    n_days : int, optional
        Days of the frames on which the catalogue has scenes, usable or not; None where they were not counted.

    Raises
    ------
    SpecError
        If the shapes do not match the read.
    """

    values: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]
    read: Read
    scenes: tuple[str, ...] = ()
    dates: Dates = ()
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    n_days: int | None = None

    def __repr__(self) -> str:
        frames, _, rows, columns = self.values.shape
        size = f"{frames} x {rows} x {columns} px of {self.read.grid.resolution_m:g} m"
        return f"Cube({self.read.sensor}, {', '.join(self.read.bands)}: {size}, {len(self.scenes)} scenes)"

    def __post_init__(self) -> None:
        shape = (len(self.read.frames), len(self.read.bands), *self.read.grid.shape)
        if self.values.shape != shape:
            raise SpecError(
                "Cube.values",
                value=self.values,
                reason=f"the read has shape {shape} (T, B, H, W)",
                fix="give frames, bands, rows and columns in this order",
            )
        if self.n_obs.shape != (shape[0], *shape[2:]):
            raise SpecError(
                "Cube.n_obs",
                value=self.n_obs,
                reason=f"the read has shape {(shape[0], *shape[2:])} (T, H, W)",
                fix="give one count per frame and pixel",
            )
        if not self.dates:
            object.__setattr__(self, "dates", (None,) * shape[0])

    @property
    def bands(self) -> tuple[str, ...]:
        """Common names of the bands."""
        return self.read.bands

    @property
    def units(self) -> tuple[str, ...]:
        """Canonical unit of each band."""
        return self.read.units

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and counts."""
        return int(self.values.nbytes + self.n_obs.nbytes)

    @property
    def valid_fraction(self) -> npt.NDArray[np.float32]:
        """Share of pixels with a valid observation in each frame, shape (T,)."""
        share: npt.NDArray[np.float32] = np.mean(self.n_obs > 0, axis=(1, 2), dtype=np.float32)
        return share

    def select(self, *, bands: Sequence[str] | None = None, frames: Sequence[Span] | None = None) -> Cube:
        """Take some bands and frames, in the order asked for.

        Parameters
        ----------
        bands : sequence of str, optional
            Band names of any kind. Default: all.
        frames : sequence of Span, optional
            Frames of the read, in order of time. Default: all.

        Returns
        -------
        Cube
            A view if no pixels had to be moved, else a copy.

        Raises
        ------
        SpecError
            If a band or frame is not in the cube.
        """
        names = self.bands if bands is None else sensor_named(self.read.sensor).common(tuple(bands))
        for band in names:
            if band not in self.bands:
                raise SpecError(
                    "Cube.select bands",
                    value=band,
                    reason=f"the cube has {', '.join(self.bands)}",
                    fix="read that band too",
                )
        spans = self.read.frames if frames is None else tuple(frames)
        for span in spans:
            if span not in self.read.frames:
                have = ", ".join(str(frame) for frame in self.read.frames)
                raise SpecError(
                    "Cube.select frames", value=span, reason=f"the cube has {have}", fix="read that frame too"
                )
        read = replace(self.read, bands=names, frames=spans)
        t = [self.read.frames.index(span) for span in spans]
        b = [self.bands.index(band) for band in names]
        values = self.values if t == list(range(len(self.read.frames))) else self.values[t]
        values = values if b == list(range(len(self.bands))) else values[:, b]
        dates = tuple(self.dates[i] for i in t)
        n_days = self.n_days if frames is None else None
        return Cube(values, self.n_obs[t], read, self.scenes, dates, self.lost, self.notes, n_days)

    def to_xarray(self) -> xr.DataArray:
        """Label the pixels: pixel centres, bands, frames, dates and a ``spatial_ref`` that rioxarray reads.

        Returns
        -------
        xarray.DataArray
            Dimensions (time, band, y, x), named ``pixels``; ``n_obs`` is a coordinate.
        """
        return label_cube(self)
