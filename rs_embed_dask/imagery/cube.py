"""What is read and what comes back: `Read`, small enough for any graph, and `Cube`, pixels with counts and dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import SpecError
from rs_embed_dask.fetch import FetchSpec
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.record import Record

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Cube", "Dates", "Read"]

Dates = tuple[tuple[dt.date, dt.date] | None, ...]


@dataclass(frozen=True)
class Read(Record):
    """One place, one grid, and the bands and frames wanted of one sensor.

    Parameters
    ----------
    grid : Grid
        Where.
    sensor : str
        A sensor by any name; kept as its id.
    bands : tuple of str
        Band names of any kind; kept as common names, in this order.
    frames : tuple of Span
        One image each; half-open spans in order of time that do not overlap.
    fetch : FetchSpec
        Cloud limit, mask and composite. Default: the sensor's.

    Raises
    ------
    SpecError
        If there is no band or frame, a band is named twice, or frames overlap.
    UnknownNameError
        If the sensor or a band is not known.
    """

    grid: Grid
    sensor: str
    bands: tuple[str, ...]
    frames: tuple[Span, ...]
    fetch: FetchSpec = field(default_factory=FetchSpec)

    def __post_init__(self) -> None:
        found = sensor_named(self.sensor)
        frames = tuple(self.frames)
        if not self.bands or isinstance(cast("object", self.bands), str):
            raise SpecError(
                "Read.bands", value=self.bands, reason="it is no list of one or more", fix="name some bands"
            )
        if not frames:
            raise SpecError("Read.frames", value=frames, reason="there is none", fix="give one span or more")
        for before, after in pairwise(frames):
            if after.start < before.end:
                raise SpecError(
                    "Read.frames", value=after, reason=f"it begins before {before} has ended", fix="give spans in order"
                )
        object.__setattr__(self, "sensor", found.id)
        object.__setattr__(self, "bands", found.common(tuple(self.bands)))
        object.__setattr__(self, "frames", frames)

    @property
    def span(self) -> Span:
        """The whole time from the first frame's start to the last frame's end."""
        return Span(self.frames[0].start, self.frames[-1].end)

    @property
    def units(self) -> tuple[str, ...]:
        """Canonical unit of each band."""
        found = sensor_named(self.sensor)
        return tuple(found.band(band).unit for band in self.bands)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the read from what `to_dict` gave.

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
        Valid observations of each pixel.
    read : Read
        What was asked for: grid, sensor, bands, frames.
    scenes : tuple of str
        Ids of the scenes that gave pixels, in order of time.
    dates : tuple of (date, date) or None
        First and last observation of each frame; None for an empty one.

    Raises
    ------
    SpecError
        If the shapes do not fit the read.
    """

    values: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]
    read: Read
    scenes: tuple[str, ...] = ()
    dates: Dates = ()

    def __post_init__(self) -> None:
        shape = (len(self.read.frames), len(self.read.bands), *self.read.grid.shape)
        if self.values.shape != shape:
            raise SpecError(
                "Cube.values",
                value=self.values,
                reason=f"the read wants shape {shape} (T, B, H, W)",
                fix="give frames, bands, rows and columns in this order",
            )
        if self.n_obs.shape != (shape[0], *shape[2:]):
            raise SpecError(
                "Cube.n_obs",
                value=self.n_obs,
                reason=f"the read wants shape {(shape[0], *shape[2:])} (T, H, W)",
                fix="give one count for each frame and pixel",
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
        seen: npt.NDArray[np.float32] = np.mean(self.n_obs > 0, axis=(1, 2), dtype=np.float32)
        return seen

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
            A view where nothing had to be moved, else a copy.

        Raises
        ------
        SpecError
            If a band or frame is not in the cube.
        """
        wanted = self.bands if bands is None else sensor_named(self.read.sensor).common(tuple(bands))
        for band in wanted:
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
        read = replace(self.read, bands=wanted, frames=spans)
        t = [self.read.frames.index(span) for span in spans]
        b = [self.bands.index(band) for band in wanted]
        values = self.values if t == list(range(len(self.read.frames))) else self.values[t]
        values = values if b == list(range(len(self.bands))) else values[:, b]
        dates = tuple(self.dates[i] for i in t)
        return Cube(values, self.n_obs[t], read, self.scenes, dates)

    def to_xarray(self) -> xr.DataArray:
        """Label the pixels: pixel centres, bands, frames, dates and a ``spatial_ref`` that rioxarray reads.

        Returns
        -------
        xarray.DataArray
            Dimensions (time, band, y, x), named ``pixels``; ``n_obs`` is a coordinate.
        """
        from rs_embed_dask.imagery.labels import label_cube

        return label_cube(self)

    @classmethod
    def from_array(
        cls,
        values: Any,
        *,
        bands: Sequence[str] | None = None,
        sensor: str | None = None,
        grid: Grid | None = None,
        frames: Sequence[Span] | None = None,
    ) -> Cube:
        """Make a cube of the user's own pixels.

        Parameters
        ----------
        values : array_like or DataArray or Dataset
            Canonical units, shape (B, H, W) or (T, B, H, W); NaN where missing. A Dataset has one variable a band.
        bands : sequence of str, optional
            Names of the B bands. Default: those of the array's ``band`` coordinate.
        sensor : str, optional
            The sensor. Default: the array's attribute ``sensor``.
        grid : Grid, optional
            Where the pixels lie. Default: from the array's coordinates and CRS.
        frames : sequence of Span, optional
            One for each image. Default: the day of each image from the array's ``time`` coordinate.

        Returns
        -------
        Cube
            A pixel counts as one observation where all bands that its frame has at all are finite.

        Raises
        ------
        SpecError
            If something is neither given nor in the array, or shapes do not fit.
        """
        from rs_embed_dask.imagery.arrays import read_labels

        said = read_labels(values)
        where, which = grid or said.grid, sensor or said.sensor
        names, spans = tuple(bands or said.bands), tuple(frames or said.frames)
        if where is None or which is None or not names or not spans:
            known = {"grid": where, "sensor": which, "bands": names, "frames": spans}
            lacking = next(name for name, value in known.items() if not value)
            raise SpecError(f"Cube.from_array {lacking}", reason="the array does not tell it", fix=f"pass {lacking}=")
        pixels = np.asarray(said.values, np.float32)
        pixels = pixels.reshape(1, *pixels.shape) if pixels.ndim == len("bhw") else pixels  # (T, B, H, W)
        return cls(pixels, _counts(pixels), Read(where, which, names, spans))


def _counts(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Count one observation where every band that the image has at all is finite."""
    finite: npt.NDArray[np.bool_] = np.isfinite(pixels)
    if finite.ndim != len("tbhw"):
        return np.zeros(finite.shape, np.uint16)
    has = np.logical_or.reduce(finite, axis=(2, 3), keepdims=True)
    whole: npt.NDArray[np.bool_] = np.logical_and.reduce(finite | ~has, axis=1) & np.logical_or.reduce(has, axis=1)
    return whole.astype(np.uint16)
