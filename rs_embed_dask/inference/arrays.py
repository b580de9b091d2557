"""Arrays of a user's own: understood as samples, and given back as an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import ModelInputError, SpecError
from rs_embed_dask.imagery.cube import Cube, coordinates, read_labels
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.preprocess.samples import Sample, from_cubes
from rs_embed_dask.specs.when import day

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.cube import Labelled
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.inference.features import Features
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["SideInputs", "embedding", "labelled", "samples"]


@dataclass(frozen=True)
class SideInputs:
    """What a user says about an array; None where nothing was said."""

    dates: Any = None
    place: Any = None
    resolution_m: float | None = None


def samples(data: object, wanted: Sequence[Inputs], side: SideInputs) -> tuple[list[Sample], bool]:
    """Understand what `Model.embed` was given: the items, and whether they came as a batch."""
    given: Mapping[str, Any] = data if isinstance(data, Mapping) else {wanted[0].modality: data}
    absent = [inputs.modality for inputs in wanted if inputs.modality not in given]
    if absent:
        fix = "pass a dict of modality to array, or choose another modality"
        raise ModelInputError("modalities", value=list(given), reason=f"{absent[0]} is not there", fix=fix)
    if all(isinstance(value, Cube) for value in given.values()):
        items, batched = [from_cubes(given, wanted)], False
    else:
        items, batched = _from_arrays(given, wanted)
    return [_told(item, side, index, count=len(items)) for index, item in enumerate(items)], batched


def _from_arrays(given: Mapping[str, Any], wanted: Sequence[Inputs]) -> tuple[list[Sample], bool]:
    read = {i.modality: _labelled(given[i.modality]) for i in wanted}
    stacks = {i.modality: _stack(read[i.modality], i) for i in wanted}
    counts = {name: len(stack) for name, stack in stacks.items()}
    if len(set(counts.values())) > 1:
        fix = "give every modality the same items"
        raise ModelInputError("items", value=counts, reason="the modalities do not agree", fix=fix)
    first = read[wanted[0].modality]
    dates = tuple(span.start for span in first.frames)
    blank = Sample({}, dates, resolution_m=wanted[0].resolution_m)
    if first.grid is not None:
        place, size = first.grid.center_lonlat, first.grid.resolution_m
        blank = Sample({}, dates, place, size, first.grid)
    items = [replace(blank, pixels={k: v[i] for k, v in stacks.items()}) for i in range(counts[wanted[0].modality])]
    return items, np.ndim(first.values) == 5


def _labelled(value: Any) -> Labelled:
    return read_labels(value.to_xarray() if isinstance(value, Cube) else value)


def _stack(read: Labelled, inputs: Inputs) -> NDArray[np.float32]:
    """Bring an array to (N, T, C, H, W) float32 with the bands of the card."""
    what, values = f"pixels of {inputs.modality}", np.asarray(read.values)
    if values.ndim not in {3, 4, 5} or values.dtype.kind not in "fiu":
        fix = "give numbers of shape (B, H, W), (T, B, H, W) or (N, T, B, H, W)"
        raise ModelInputError(what, value=values, reason="not images", fix=fix)
    values = values.astype(np.float32).reshape((1,) * (5 - values.ndim) + values.shape)
    if read.bands:
        known = read.sensor or next(iter(inputs.sensors), None)
        names = tuple(read.bands) if known is None else sensor(known).common(read.bands)
        missing = [band for band in inputs.bands if band not in names]
        if missing:
            fix = f"give {', '.join(inputs.bands)}"
            raise ModelInputError(f"bands of {inputs.modality}", value=names, reason=f"no {missing[0]}", fix=fix)
        values = values[:, :, [names.index(band) for band in inputs.bands]]
    if values.shape[2] != len(inputs.bands) or 0 in values.shape:
        fix = f"give {', '.join(inputs.bands)} in this order, or name them in a DataArray"
        raise ModelInputError(what, value=values, reason=f"{len(inputs.bands)} bands are needed", fix=fix)
    _guess_unit(values, inputs, what)
    return values


def _guess_unit(values: NDArray[np.float32], inputs: Inputs, what: str) -> None:
    """Refuse what is plainly in another unit than the card's: fractions for reflectance, power for dB."""
    known = values[np.isfinite(values)]
    if inputs.unit == "reflectance_e4" and known.size and 0 < known.max() <= 2:
        reason = f"nothing is above {known.max():g}; reflectance x 10 000 is needed"
        raise ModelInputError(what, reason=reason, fix="multiply by 10 000")
    if inputs.unit == "percent_kelvin" and known.size:
        peaks = np.array([np.nanmax(band, initial=0) for band in np.moveaxis(values, 2, 0)])
        dark = peaks[peaks < 150]  # a temperature is above, a reflectance below
        if dark.size and 0 < dark.max() <= 2:
            reason = f"no reflectance is above {dark.max():g}; percent is needed"
            raise ModelInputError(what, reason=reason, fix="multiply the reflectances by 100")
    if inputs.unit == "db" and known.size and known.min() >= 0 and known.max() > 0:
        fix = "convert it by 10 log10"
        raise ModelInputError(what, reason="nothing is negative; backscatter in dB is needed", fix=fix)


def _told(sample: Sample, side: SideInputs, index: int, *, count: int) -> Sample:
    """Add what the user said about the item."""
    if isinstance(side.dates, Mapping):
        told = {name: _dates(days, index, count, len(sample.pixels[name])) for name, days in side.dates.items()}
        sample = replace(sample, dates_of=told)
    elif side.dates is not None:
        frames = len(next(iter(sample.pixels.values())))
        sample = replace(sample, dates=_dates(side.dates, index, count, frames))
    if side.place is not None:
        places = np.asarray(side.place, float)
        if places.shape not in {(2,), (count, 2)}:
            fix = "give (lon, lat), or one such pair an item"
            raise ModelInputError("place", value=side.place, reason="not a place an item", fix=fix)
        lon, lat = (places if places.ndim == 1 else places[index]).tolist()
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise SpecError("place", value=(lon, lat), reason="not on the globe", fix="give (lon, lat) in degrees")
        sample = replace(sample, lonlat=(lon, lat))
    return sample if side.resolution_m is None else replace(sample, resolution_m=float(side.resolution_m))


def _dates(told: Any, index: int, count: int, frames: int) -> tuple[dt.date, ...]:
    """Take an item's dates out of what was said for all of `count` items, or of each."""
    dates = [told] if isinstance(told, str) else list(told)
    nested = bool(dates) and not isinstance(dates[0], str) and np.ndim(dates[0]) > 0
    own = dates[index] if nested and len(dates) == count else dates
    if len(own) != frames:
        raise ModelInputError("dates", value=len(own), reason=f"there are {frames} frames", fix="give one a frame")
    return tuple(day("dates", value) for value in own)


def embedding(done: Sequence[Features], about: Mapping[str, Any], *, batched: bool) -> Embedding:
    """Give features back in the form in which pixels came; the grid of a known place gets its coordinates."""
    meta = dict(about)
    history = [(one.valid_fraction.tolist(), one.filled_fraction, list(one.notes)) for one in done]
    names = ("valid_fraction", "filled_fraction", "notes")
    if batched:
        meta.update(zip(names, map(list, zip(*history, strict=True)), strict=True))
        return Embedding(np.stack([one.values for one in done]), meta)
    meta.update(zip(names, history[0], strict=True))
    grid = done[0].grid
    return Embedding(done[0].values if grid is None else labelled(done[0].values, grid), meta)


def labelled(values: NDArray[np.float32], grid: Grid) -> xr.DataArray:
    """Give a (D, h, w) grid its coordinates: pixel centres, and the CRS as attributes and ``spatial_ref``."""
    attrs = {"crs": grid.crs, "transform": list(grid.transform), "grid_mapping": "spatial_ref"}
    return xr.DataArray(values, coordinates(grid), ("dim", "y", "x"), name="embedding", attrs=attrs)
