"""Users' own arrays: converted to samples, and features returned as an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import ModelInputError, SpecError, UnknownNameError
from rs_embed_dask.imagery.checks import report_of
from rs_embed_dask.imagery.cube import Cube, coordinates
from rs_embed_dask.imagery.frame import finish, scaled
from rs_embed_dask.imagery.grid import centres
from rs_embed_dask.imagery.labels import Labelled, read_labels
from rs_embed_dask.imagery.sensor_types import REFLECTANCE
from rs_embed_dask.imagery.sensors import sensor, source
from rs_embed_dask.preprocess.inputs import DEGREES, PERCENT_KELVIN
from rs_embed_dask.preprocess.samples import Sample, from_cubes
from rs_embed_dask.specs.accepted import DayLike
from rs_embed_dask.specs.when import day

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.labels import Plane
    from rs_embed_dask.imagery.sensors import Band, Sensor
    from rs_embed_dask.inference.features import Features
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["DatesLike", "PixelsLike", "PlacesOf", "SideInputs", "checked", "embedding"]
__all__ += ["fewer_bands", "labelled", "present", "samples"]

_Pixels: TypeAlias = np.ndarray[Any, Any] | xr.DataArray | xr.Dataset | Cube
_Dates: TypeAlias = Sequence[DayLike]
PixelsLike: TypeAlias = _Pixels | Mapping[str, _Pixels]
DatesLike: TypeAlias = _Dates | Sequence[_Dates] | Mapping[str, _Dates]
PlacesOf: TypeAlias = tuple[float, float] | Sequence[tuple[float, float]] | np.ndarray[Any, Any]


@dataclass(frozen=True)
class SideInputs:
    """Metadata that the caller passes with an array; None where omitted."""

    dates: Any = None
    place: Any = None
    resolution_m: float | None = None


def samples(data: object, modalities: Sequence[Inputs], side: SideInputs) -> tuple[list[Sample], bool]:
    """Convert the arguments of `Model.embed` to samples; also return whether they came as a batch."""
    by_modality = _by_modality(data, modalities)
    absent = [inputs.modality for inputs in modalities if inputs.modality not in by_modality]
    if absent:
        fix = "pass a dict of modality to array, or choose another modality"
        raise ModelInputError("modalities", value=list(by_modality), reason=f"{absent[0]} is not there", fix=fix)
    placed = modalities[0].unit == DEGREES
    if not placed and all(isinstance(value, Cube) for value in by_modality.values()):
        items, batched = [from_cubes(by_modality, modalities)], False
    else:
        items, batched = _from_arrays(by_modality, modalities, dated=side.dates is not None)
    return [_with_side_inputs(item, side, index, count=len(items)) for index, item in enumerate(items)], batched


def _by_modality(data: object, modalities: Sequence[Inputs]) -> Mapping[Any, Any]:
    bands = isinstance(data, xr.Dataset) and any(inputs.modality not in data for inputs in modalities)
    return data if isinstance(data, Mapping) and not bands else {modalities[0].modality: data}


def present(data: object, modalities: Sequence[Inputs]) -> tuple[Inputs, ...]:
    """Return the modalities of which there are arrays; all of them where there is none."""
    by_modality = _by_modality(data, modalities)
    return tuple(inputs for inputs in modalities if inputs.modality in by_modality) or tuple(modalities)


def fewer_bands(data: object, modalities: Sequence[Inputs]) -> tuple[str, ...]:
    """Return the bands that arrays name, where some, but not all, of a modality's are not there; else none."""
    by_modality, lacking = _by_modality(data, modalities), False
    there: list[str] = []
    for inputs in modalities:
        value = by_modality.get(inputs.modality)
        own = [band for band in inputs.bands if band in _names(value, inputs)]
        lacking |= bool(own) and len(own) < len(inputs.bands)
        there += own or inputs.bands
    return tuple(there) if lacking else ()


def _names(value: object, inputs: Inputs) -> tuple[str, ...]:
    """Return the common names of an array's bands; the card's where it names none."""
    if isinstance(value, Cube):
        return value.read.bands
    if not isinstance(value, xr.DataArray | xr.Dataset):
        return inputs.bands
    read = read_labels(value)
    of = _sensor(read, inputs)
    return tuple(_common(of, name) for name in read.bands) or inputs.bands


def _sensor(read: Labelled, inputs: Inputs) -> Sensor | None:
    name = read.sensor or next(iter(inputs.sensors), None)
    of = None if name is None else sensor(name)
    return None if of is None or of.kind == "product" else of  # whose numbers no file's table describes


def _from_arrays(
    by_modality: Mapping[str, Any], modalities: Sequence[Inputs], *, dated: bool
) -> tuple[list[Sample], bool]:
    read = {i.modality: _labelled(by_modality[i.modality]) for i in modalities}
    placed = modalities[0].unit == DEGREES
    stacks = {i.modality: _offsets(read[i.modality]) if placed else _stack(read[i.modality], i) for i in modalities}
    counts = {name: len(stack) for name, stack in stacks.items()}
    if len(set(counts.values())) > 1:
        fix = "give every modality the same items"
        raise ModelInputError("items", value=counts, reason="the modalities do not agree", fix=fix)
    first = read[modalities[0].modality]
    blank = Sample({}, resolution_m=modalities[0].resolution_m)
    if isinstance(first, Labelled):
        dates = () if dated or placed else tuple(span.start for span in first.frames)
        blank = replace(blank, dates=dates)
        if first.grid is not None:
            place, size = first.grid.center_lonlat, first.grid.resolution_m
            blank = Sample({}, dates, place, size, first.grid)
    if all(inputs.apart for inputs in modalities) and not dated:
        own = {
            name: tuple(span.start for span in one.frames) for name, one in read.items() if isinstance(one, Labelled)
        }
        blank = replace(blank, dates_of={name: days for name, days in own.items() if days})
    items = [replace(blank, pixels={k: v[i] for k, v in stacks.items()}) for i in range(counts[modalities[0].modality])]
    return items, not isinstance(first, Labelled) and np.ndim(first) == 5


def _labelled(value: Any) -> Labelled | NDArray[Any]:
    if isinstance(value, Cube):
        value = value.to_xarray()
    if isinstance(value, xr.DataArray | xr.Dataset):
        return read_labels(value)
    if isinstance(value, np.ma.MaskedArray):
        return np.ma.filled(value.astype(np.float32), np.nan)
    return np.asarray(value)


def _stack(read: Labelled | NDArray[Any], inputs: Inputs) -> NDArray[np.float32]:
    """Convert an array to (N, T, C, H, W) float32 with the card's bands."""
    what = f"pixels of {inputs.modality}"
    values = _planes(read, inputs) if isinstance(read, Labelled) else read
    if values.ndim not in {3, 4, 5} or values.dtype.kind not in "fiu":
        fix = "give numbers of shape (B, H, W), (T, B, H, W) or (N, T, B, H, W)"
        raise ModelInputError(what, value=values, reason="not images", fix=fix)
    if values.dtype.itemsize == 1 and inputs.unit == REFLECTANCE:
        fix = "give the bands themselves, as reflectance x 10 000"
        raise ModelInputError(what, value=values.dtype, reason="8-bit numbers are a picture, not reflectance", fix=fix)
    values = values.astype(np.float32).reshape((1,) * (5 - values.ndim) + values.shape)
    if values.shape[2] != len(inputs.bands) or 0 in values.shape:
        raise _band_count(inputs, values.shape)
    _guess_unit(values, inputs, what)
    return values


def _offsets(read: Labelled | NDArray[Any]) -> NDArray[np.float32]:
    """Return how many degrees east and north of the centre each pixel lies: (1, 1, 2, H, W)."""
    grid = read.grid if isinstance(read, Labelled) else None
    if grid is None:
        fix = "give a DataArray with x, y and a reference system; for places without an array, use get_embedding"
        raise ModelInputError("pixels", value=type(read).__name__, reason="nothing states where they lie", fix=fix)
    (lon, lat), (west, south) = centres(grid), grid.center_lonlat
    return np.stack([(lon - west + 180) % 360 - 180, lat - south]).astype(np.float32)[None, None]


def _planes(read: Labelled, inputs: Inputs) -> NDArray[np.float32]:
    """Return the card's bands of a labelled array in the card's unit: (T, C, H, W)."""
    of, planes = _sensor(read, inputs), read.planes
    if read.bands:
        names = [_common(of, plane.name) for plane in planes]
        there = dict(zip(names, planes, strict=True))
        twice = next((name for name in inputs.bands if names.count(name) > 1), None)
        if twice is not None:
            what = f"bands of {inputs.modality}"
            raise ModelInputError(what, value=read.bands, reason=f"{twice} is there twice", fix="name each band once")
        missing = [band for band in inputs.bands if band not in there]
        if missing:
            fix = f"give {', '.join(inputs.bands)}"
            raise ModelInputError(f"bands of {inputs.modality}", value=read.bands, reason=f"no {missing[0]}", fix=fix)
        planes = tuple(there[band] for band in inputs.bands)
    if len(planes) != len(inputs.bands):
        raise _band_count(inputs, read.shape)
    bands = [None if of is None else of.band(band) for band in inputs.bands]
    arrays = [_in_unit(plane, band, of, inputs) for plane, band in zip(planes, bands, strict=True)]
    return np.stack([np.broadcast_to(each, (read.shape[0], *each.shape[1:])) for each in arrays], axis=1)


def _band_count(inputs: Inputs, shape: tuple[int, ...]) -> ModelInputError:
    fix = f"give {', '.join(inputs.bands)} in this order, or name them in a DataArray"
    reason = f"{len(inputs.bands)} bands are needed"
    return ModelInputError(f"pixels of {inputs.modality}", value=shape, reason=reason, fix=fix)


def _common(of: Sensor | None, name: str) -> str:
    """Return a band's common name; another name as it is."""
    try:
        return name if of is None else of.band(name).common
    except UnknownNameError:
        return name


def _in_unit(plane: Plane, band: Band | None, of: Sensor | None, inputs: Inputs) -> NDArray[np.float32]:
    """Return a plane in the card's unit: as stated, else as it is, for canonical units are the rule here."""
    raw, numbers = np.asarray(plane.pixels), plane.numbers
    what = f"numbers of {plane.name or inputs.modality}"
    if raw.dtype.kind not in "fiu":
        raise ModelInputError(what, value=raw.dtype, reason="not images", fix="give whole numbers or floats")
    if band is None or of is None:
        return numbers.cleared(raw)
    table = source("files", of.id).scaling(band)
    values = numbers.cleared(raw, table.nodata)
    if not (numbers.unit or numbers.packed or numbers.digital):
        if raw.dtype.kind in "iu" and (table.scale, table.offset) != (1, 0):
            reason = f"nothing states whether these whole numbers are those of {of.id} or {band.unit}"
            raise ModelInputError(what, value=raw.dtype, reason=reason, fix="state 'DN' or the unit in attrs['units']")
        if raw.dtype.itemsize == 1 and band.unit == REFLECTANCE:
            reason = "8-bit numbers are a picture, not reflectance"
            raise ModelInputError(what, value=str(raw.dtype), reason=reason, fix="give the bands")
        return values
    scaling = numbers.scaling(table, band.unit, plane.name or inputs.modality)
    doubt = numbers.doubt(values, raw.dtype, scaling=scaling, unit=band.unit)
    if doubt is not None:
        raise ModelInputError(what, value=str(raw.dtype), reason=doubt[0], fix=doubt[1])
    offsets = np.zeros(len(values), np.float32)
    canonical = finish(scaled(values[:, None], scaling, offsets), [band])[:, 0]  # (T, H, W)
    if inputs.unit == PERCENT_KELVIN and band.unit == REFLECTANCE:
        canonical /= np.float32(100)
    return canonical


def _guess_unit(values: NDArray[np.float32], inputs: Inputs, what: str) -> None:
    """Refuse values that are plainly in another unit than the card's: fractions for reflectance, power for dB."""
    finite = values[np.isfinite(values)]
    if inputs.unit == REFLECTANCE and (finite != 0).any():
        middle = float(np.median(np.abs(finite[finite != 0])))
        if middle <= 2 and (finite % 1).any():  # one bright or bad pixel must not hide it
            reason = f"half of them are at most {middle:g}; reflectance x 10 000 is needed"
            fix = "multiply by 10 000, or state attrs['units'] = 'reflectance' on a DataArray"
            raise ModelInputError(what, reason=reason, fix=fix)
    if inputs.unit == PERCENT_KELVIN and finite.size:
        peaks = np.array([np.nanmax(band, initial=0) for band in np.moveaxis(values, 2, 0)])
        dark = peaks[peaks < 150]  # a temperature is above, a reflectance below
        if dark.size and 0 < dark.max() <= 2:
            reason = f"no reflectance is above {dark.max():g}; percent is needed"
            raise ModelInputError(what, reason=reason, fix="multiply the reflectances by 100")
    if inputs.unit == "db" and finite.size and finite.min() >= 0 and finite.max() > 0:
        fix = "convert it by 10 log10"
        raise ModelInputError(what, reason="nothing is negative; backscatter in dB is needed", fix=fix)


def _with_side_inputs(sample: Sample, side: SideInputs, index: int, *, count: int) -> Sample:
    """Add the caller's metadata to an item."""
    if isinstance(side.dates, Mapping):
        dates_of = {name: _dates(days, index, count, len(sample.pixels[name])) for name, days in side.dates.items()}
        sample = replace(sample, dates_of=dates_of)
    elif side.dates is not None:
        frames = len(next(iter(sample.pixels.values())))
        sample = replace(sample, dates=_dates(side.dates, index, count, frames))
    if side.place is not None:
        places = np.asarray(side.place, float)
        if places.shape not in {(2,), (count, 2)}:
            fix = "give (lon, lat), or one pair per item"
            raise ModelInputError("place", value=side.place, reason="not one place per item", fix=fix)
        lon, lat = (places if places.ndim == 1 else places[index]).tolist()
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise SpecError("place", value=(lon, lat), reason="not on the globe", fix="give (lon, lat) in degrees")
        sample = replace(sample, lonlat=(lon, lat))
    return sample if side.resolution_m is None else replace(sample, resolution_m=float(side.resolution_m))


def _dates(dates: Any, index: int, count: int, frames: int) -> tuple[dt.date, ...]:
    """Return one item's dates, from dates that apply to all `count` items or from one sequence per item."""
    entries = [dates] if isinstance(dates, str) else list(dates)
    nested = bool(entries) and not isinstance(entries[0], str) and np.ndim(entries[0]) > 0
    own = entries[index] if nested and len(entries) == count else entries
    if len(own) != frames:
        raise ModelInputError("dates", value=len(own), reason=f"there are {frames} frames", fix="give one per frame")
    return tuple(day("dates", value) for value in own)


def embedding(done: Sequence[Features], about: Mapping[str, Any], *, batched: bool) -> Embedding:
    """Return features in the form of the input, batched or not; a grid whose place is known gets coordinates."""
    meta = dict(about)
    history = [(one.valid_fraction.tolist(), one.filled_fraction, list(one.notes)) for one in done]
    names = ("valid_fraction", "filled_fraction", "notes")
    if batched:
        meta.update(zip(names, map(list, zip(*history, strict=True)), strict=True))
        return Embedding(np.stack([one.values for one in done]), meta)
    meta.update(zip(names, history[0], strict=True))
    grid = done[0].grid
    return Embedding(done[0].values if grid is None else labelled(done[0].values, grid), meta)


def checked(sample: Sample) -> dict[str, dict[str, Any]]:
    """Report what looks wrong with the pixels of a sample, by modality."""
    return {name: report_of(pixels[0] if len(pixels) == 1 else pixels, name) for name, pixels in sample.pixels.items()}


def labelled(values: NDArray[np.float32], grid: Grid, coverage: NDArray[np.float32] | None = None) -> xr.DataArray:
    """Label a (D, h, w) grid with coordinates: pixel centres, coverage, the CRS as attributes and ``spatial_ref``."""
    attrs = {"crs": grid.crs, "transform": list(grid.transform), "grid_mapping": "spatial_ref"}
    coords = dict(coordinates(grid)) | ({} if coverage is None else {"coverage": (("y", "x"), coverage)})
    return xr.DataArray(values, coords, ("dim", "y", "x"), name="embedding", attrs=attrs)
