"""Pixels that the user has already: GeoTIFFs, folders of them, xarray objects and NumPy arrays."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.crs import crs_text
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.bands import DB, KELVIN, REFLECTANCE
from rs_embed_dask.imagery.grid_types import Grid
from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensors import Scaling, Sensor, Source, mask_of, sensor as sensor_named, source as source_of
from rs_embed_dask.providers.file_fetch import FileFetch
from rs_embed_dask.providers.held import Held, held
from rs_embed_dask.providers.protocol import Estimate, Pace, estimate_read
from rs_embed_dask.providers.rasters import gather
from rs_embed_dask.providers.shots import NO_DATE, Shot, dated, shots_of
from rs_embed_dask.temporal import day

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.dates import Span

__all__ = ["Files"]

_DISK: Final = Pace(latency_s=0.002, bytes_per_s=300e6, requests_per_asset=1.0, at_once=4)
_UNITS: Final = (REFLECTANCE, DB, KELVIN)
_NOON: Final = dt.time(12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Files:
    """The provider of the user's own files and arrays.

    Parameters
    ----------
    source : path, sequence of paths, DataArray, Dataset or ndarray
        A GeoTIFF, a folder (with the folders in it), several of these, or an array (T, B, H, W) or (B, H, W).
    sensor : str
        What took them. Default: the array's attribute ``sensor``.
    bands : sequence of str, optional
        Names of the bands of an array, or of each file with several, in their order; quality bands such as ``SCL`` too.
        Default: from file names, band descriptions or the array's ``band`` coordinate.
    dates : date, str, or sequence of them, optional
        When the images were taken: one for each scene in order of file name, or for each image of an array. Default:
        from file names, folders, tags or the array's ``time`` coordinate.
    grid : Grid, optional
        Where the pixels of an array lie. Needed for a NumPy array.
    crs : str, optional
        Reference system of an xarray object that does not state its own.
    baseline : str, optional
        Processing baseline of Sentinel-2 numbers, such as ``05.09``; from 04.00 on 1000 is taken off. Default: from the
        product's name, else the numbers are taken as they are.
    nodata : float, optional
        The number that means missing. Default: the file's, else the sensor's if the numbers are whole.
    scaling : Scaling or mapping, optional
        From the numbers to canonical units, instead of the sensor's table.

    Raises
    ------
    SpecError
        If it is none of these, or the sensor, bands, dates or place are not known.
    UnknownNameError
        If nobody knows the sensor.
    """

    source: Any = field(repr=False)
    sensor: str | None = None
    bands: Sequence[str] | None = None
    dates: Any = None
    grid: Grid | None = None
    crs: str | None = None
    baseline: str | None = None
    nodata: float | None = None
    scaling: Scaling | Mapping[str, Any] | None = None
    _held: Held | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        paths = _paths(self.source)
        named = self.sensor if paths or self.sensor else getattr(self.source, "attrs", {}).get("sensor")
        if named is None:
            raise SpecError(
                "Files.sensor", reason="nothing says what took the pixels", fix="pass sensor='sentinel-2-l2a'"
            )
        scaling = Scaling(**self.scaling) if isinstance(self.scaling, Mapping) else self.scaling
        changed: dict[str, Any] = {
            "sensor": sensor_named(named).id,
            "source": self.source if paths is None else paths,
            "bands": None if self.bands is None else tuple(self.bands),
            "dates": None if self.dates is None else _days(self.dates),
            "crs": None if self.crs is None else crs_text("Files.crs", self.crs),
            "scaling": scaling,
        }
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        if paths is None:
            object.__setattr__(self, "_held", held(self.source, self._of, self.bands, grid=self.grid, crs=self.crs))
            self._shots()

    @property
    def name(self) -> str:
        """``files``."""
        return "files"

    @property
    def _of(self) -> Sensor:
        return sensor_named(str(self.sensor))

    def sensors(self) -> frozenset[str]:
        """Return the one sensor that took the pixels.

        Returns
        -------
        frozenset of str
        """
        return frozenset({self._of.id})

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:  # noqa: ARG002 - files state no cloud cover
        """List the scenes that touch a grid.

        Parameters
        ----------
        sensor : str
            The sensor, by any name.
        grid : Grid
            Where.
        span : Span
            When, half-open, by UTC date.
        fetch : FetchSpec
            Not used: files state no cloud cover.

        Returns
        -------
        tuple of Scene
            In order of time.

        Raises
        ------
        SpecError
            If it is another sensor.
        """
        return ordered(shot.scene for shot in self._near(sensor, grid, span))

    def _near(self, sensor: str, grid: Grid, span: Span) -> list[Shot]:
        """Find the scenes of a span that touch a grid."""
        if sensor_named(sensor).id != self.sensor:
            fix = f"open files of {sensor} with sensor={sensor!r}"
            raise SpecError("sensor", value=sensor, reason=f"these files are of {self.sensor}", fix=fix)
        shots = [shot for shot in self._shots() if span.start <= shot.scene.datetime.date() < span.end]
        return [shot for shot in shots if self._held is not None or _touches(shot, grid)]

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read.

        Parameters
        ----------
        read : Read
            What is wanted.

        Returns
        -------
        xarray.Dataset
            As `Provider.cube` says.

        Raises
        ------
        NoImageryError
            If no scene falls into a frame.
        ProviderError
            If a file cannot be read.
        SpecError
            If a band is in no scene.
        """
        from rs_embed_dask.providers.assemble import lazy_cube

        shots = self._near(read.sensor, read.grid, read.span)
        there = {name for shot in shots for name in shot.scene.properties["assets"]}
        for band in read.bands if shots else ():
            if band not in there:
                fix = f"read some of {', '.join(sorted(there))}, or name the bands with bands="
                raise SpecError("band of files", value=band, reason="no scene there and then has it", fix=fix)
        table = replace(self.table, masks=tuple((rule, band) for rule, band in self.table.masks if band in there))
        _check_quality(shots, read.fetch.mask, table)
        taken = FileFetch({shot.scene.id: shot for shot in shots}, self._held, self._of, self.nodata)
        return lazy_cube(read, table, scenes=[shot.scene for shot in shots], fetch=taken)

    @property
    def table(self) -> Source:
        """How the numbers become canonical: the sensor's table, or `scaling` for every band.

        Missing numbers are NaN before the table sees them, so it names none.
        """
        known = source_of(self.name, self._of.id)
        if self._held is not None and self._held.decibels and self.scaling is None:
            return replace(known, scalings=tuple((unit, Scaling(encoding="db")) for unit in _UNITS))
        if isinstance(self.scaling, Scaling):
            return replace(known, scalings=tuple((unit, self.scaling) for unit in _UNITS))
        return replace(known, scalings=tuple((unit, replace(each, nodata=None)) for unit, each in known.scalings))

    def _shots(self) -> list[Shot]:
        """List all scenes with their dates."""
        if self._held is None:
            shots = list(shots_of(self.source, self._of, None if self.bands is None else tuple(self.bands)))
        else:
            shots = [Shot(scene, {}) for scene in self._held.scenes]
        if self.dates is not None:
            if len(self.dates) != len(shots):
                reason = f"{len(self.dates)} dates for {len(shots)} scenes"
                raise SpecError("Files.dates", value=self.dates, reason=reason, fix="give one for each scene")
            shots = [dated(s, dt.datetime.combine(d, _NOON)) for s, d in zip(shots, self.dates, strict=True)]
        for shot in shots:
            if shot.scene.datetime == NO_DATE:
                fix = "name files by date, such as 20220605_B04.tif, or pass dates="
                raise SpecError("Files.dates", value=shot.scene.id, reason="nothing says when it was taken", fix=fix)
        if self.baseline is None:
            return shots
        stated = {"s2:processing_baseline": self.baseline}
        return [replace(s, scene=replace(s.scene, properties={**s.scene.properties, **stated})) for s in shots]

    def estimate(self, read: Read) -> Estimate:
        """Say what a read will cost.

        Parameters
        ----------
        read : Read
            What is wanted.

        Returns
        -------
        Estimate
        """
        if self._held is None:
            return estimate_read(read, self.table, _DISK)
        days = [shot.scene.datetime.date() for shot in self._shots()]
        return Estimate(scenes=sum(read.span.start <= each < read.span.end for each in days))

    def describe(self) -> dict[str, Any]:
        """Return what `open_provider` makes the provider from; arrays cannot be described so.

        Returns
        -------
        dict
            JSON values.
        """
        said: dict[str, Any] = {"name": self.name, "sensor": self.sensor}
        for name in ("crs", "baseline", "nodata"):
            if getattr(self, name) is not None:
                said[name] = getattr(self, name)
        if self.bands is not None:
            said["bands"] = list(self.bands)
        if self.dates is not None:
            said["dates"] = [each.isoformat() for each in self.dates]
        if isinstance(self.scaling, Scaling):
            said["scaling"] = asdict(self.scaling)
        if self._held is None:
            return {**said, "source": list(self.source)}
        return {**said, "rebuild": False, "shape": list(self._held.shape)}


def _paths(source: Any) -> tuple[str, ...] | None:
    """Return the paths that a source names; None if it is an array."""
    if isinstance(source, str | os.PathLike):
        return (str(Path(source)),)
    if hasattr(source, "shape") or hasattr(source, "data_vars"):
        return None
    if isinstance(source, Sequence) and source and all(isinstance(each, str | os.PathLike) for each in source):
        return tuple(str(Path(each)) for each in source)
    fix = "give a path, a list of paths, an xarray object or a NumPy array"
    raise SpecError("Files.source", value=source, reason="it is neither a path nor an array", fix=fix)


def _days(dates: Any) -> tuple[dt.date, ...]:
    each = dates if isinstance(dates, Iterable) and not isinstance(dates, str) else [dates]
    return tuple(day("Files.dates", one) for one in each)


def _check_quality(shots: Sequence[Shot], name: str | None, table: Source) -> None:
    """Refuse scenes without the quality band that others have: nobody could tell which of their pixels are clouds."""
    chosen = mask_of(name, table) if shots else None
    lacking = [s.scene.id for s in shots if chosen is not None and chosen[1] not in s.scene.properties["assets"]]
    if lacking and chosen is not None:
        reason = f"it has no {chosen[1]}, which other scenes have"
        fix = "add it, take the scene out, or pass mask='none'"
        raise SpecError("mask of files", value=lacking[0], reason=reason, fix=fix)


def _touches(shot: Shot, grid: Grid) -> bool:
    """Tell whether some file of a scene has a pixel under the grid."""
    return any(
        gather(grid, layer.crs, transform=layer.transform, shape=layer.shape)[0].size
        for layer in {layer.transform: layer for layer in shot.layers.values()}.values()
    )
