"""A model's samples: validated, with empty frames and missing pixels handled by the card's rule, and recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from rs_embed_dask.errors import ModelInputError, NoImageryError
from rs_embed_dask.imagery.coverage import coverage_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from shapely import Geometry

    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid, Window
    from rs_embed_dask.preprocess.geometry import Fit
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["Sample", "admit", "fitted", "from_cubes"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One item: raw pixels and their metadata."""

    pixels: dict[str, NDArray[np.float32]]
    dates: tuple[dt.date, ...] = ()
    lonlat: tuple[float, float] | None = None
    resolution_m: float = 10.0
    grid: Grid | None = None
    crop: Window | None = None
    fill: str | float = "card"
    visible: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    dates_of: dict[str, tuple[dt.date, ...]] = field(default_factory=dict)
    valid_fraction: NDArray[np.float32] = field(default_factory=lambda: np.ones(0, np.float32))
    filled_fraction: float = 0.0
    notes: tuple[str, ...] = ()
    outline: Geometry | None = None
    share: NDArray[np.float32] | None = None
    remedy: str = "give at least one frame with a number in every band"
    """What to do where no pixel is valid."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the first modality."""
        height, width = next(iter(self.pixels.values())).shape[-2:]
        return height, width


_DAY_OF: Final[dict[str, Callable[[Span], dt.date]]] = {
    "start": lambda span: span.start,
    "middle": lambda span: span.midpoint,
}
"""By what a modality is dated in its frames."""


def from_cubes(
    cubes: Mapping[str, Cube],
    modalities: Sequence[Inputs],
    crop: Window | None = None,
    *,
    outline: Geometry | None = None,
) -> Sample:
    """Select a model's bands from the cubes that were read for an item, whose shape may confine what counts."""
    pixels = {}
    for inputs in modalities:
        cube = cubes.get(inputs.modality)
        if cube is None:
            fix = f"give a cube for {inputs.modality}"
            raise ModelInputError("modalities", value=sorted(cubes), reason=f"{inputs.modality} is not there", fix=fix)
        absent = [band for band in inputs.bands if band not in cube.read.bands]
        if absent:
            fix = f"read {', '.join(inputs.bands)}"
            what = f"bands of {inputs.modality}"
            raise ModelInputError(what, value=cube.read.bands, reason=f"no {absent[0]}", fix=fix)
        chosen = cube.select(bands=inputs.bands)
        if not inputs.units.issuperset(chosen.units):
            what, reason = f"unit of {inputs.modality}", f"the model takes {inputs.unit}"
            raise ModelInputError(what, value=chosen.units, reason=reason, fix="convert it first")
        pixels[inputs.modality] = chosen.values
    read = cubes[modalities[0].modality].read
    fill = "card" if read.fetch.fill is None else read.fetch.fill
    days = {i.modality: tuple(map(_DAY_OF[i.dated], cubes[i.modality].read.frames)) for i in modalities}
    share = None if outline is None else coverage_of(outline, read.grid)
    where, remedy = read.grid, "take a longer span or allow more cloud"
    own = days if all(inputs.apart for inputs in modalities) else {}
    dates = days[modalities[0].modality]
    whole = Sample(pixels, dates, where.center_lonlat, where.resolution_m, where, crop, fill, remedy=remedy)
    return replace(whole, outline=outline, share=share, dates_of=own)


def admit(sample: Sample, modalities: Sequence[Inputs]) -> Sample:
    """Leave out or hide empty frames, fill missing pixels, and record both."""
    counts = {name: len(frames) for name, frames in sample.pixels.items()}
    apart = all(inputs.apart for inputs in modalities)
    if len(set(counts.values())) > 1 and not apart:
        fix = "give every modality the same frames, NaN where one is missing"
        raise ModelInputError("frames", value=counts, reason="the modalities do not agree", fix=fix)
    whole = sample.shape
    valid = {name: _valid_in(sample, frames, whole) for name, frames in sample.pixels.items()}
    enough = {i.modality: valid[i.modality] > i.min_valid for i in modalities}  # (T, C)
    usable = {i.modality: (np.any if i.fill == "hide" else np.all)(enough[i.modality], 1) for i in modalities}  # (T,)
    if not any(frames.any() for frames in usable.values()):
        reason = "no frame has a valid pixel in every band"
        raise NoImageryError("imagery", value=sample.shape, reason=reason, fix=sample.remedy)
    if apart:
        shared = {name: sample.dates for name, count in counts.items() if len(sample.dates) == count}
        sample = replace(sample, dates_of=shared | sample.dates_of)
    if len(set(counts.values())) > 1:
        share = np.concatenate([v.mean(1) for v in valid.values()])  # (T of each,)
    else:
        total = sum(v.shape[1] for v in valid.values())
        share = sum(v.sum(1) for v in valid.values()) / total  # (T,)
    sample = replace(sample, valid_fraction=np.asarray(share, np.float32), visible=usable)
    if sample.crop is None and all((v == 1).all() for v in valid.values()):
        return sample
    if all(inputs.empty == "drop" for inputs in modalities):
        sample = _drop(sample, apart=apart)
    return _fill(_note_hidden(sample), modalities)


def _valid_in(sample: Sample, frames: NDArray[np.float32], whole: tuple[int, int]) -> NDArray[np.float64]:
    """Return the share of valid pixels of the place, by its outline where that counts: (T, C)."""
    if frames.shape[-2:] != whole:
        return _valid(frames)
    if sample.share is not None:
        total: NDArray[np.float64] = (np.isfinite(frames) * sample.share).sum((2, 3), dtype=np.float64)
        share: NDArray[np.float64] = np.minimum(total / sample.share.sum(dtype=np.float64), 1.0)
        return share
    return _valid(frames[..., *sample.crop.slices] if sample.crop else frames)


def _valid(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of valid pixels of (T, C, H, W): (T, C)."""
    there = np.isfinite(frames)
    share: NDArray[np.float64] = np.ones(there.shape[:2]) if there.all() else there.mean((2, 3))
    return share


def _drop(sample: Sample, *, apart: bool) -> Sample:
    """Keep the frames that every modality has, or, where modalities have frames of their own, those that each has."""
    both = np.logical_and.reduce(list(sample.visible.values())) if not apart else None
    keep = {name: mask if both is None else both for name, mask in sample.visible.items()}
    if all(mask.all() for mask in keep.values()):
        return sample
    if not all(mask.any() for mask in keep.values()):
        reason = "a modality has no frame" if apart else "no frame has every modality"
        raise NoImageryError("imagery", value=sample.shape, reason=reason, fix="use one modality, or a longer span")
    pixels = {name: frames[keep[name]] for name, frames in sample.pixels.items()}
    dates = sample.dates if both is None else _selected(sample.dates, both)
    own = {name: _selected(days, keep[name]) for name, days in sample.dates_of.items()}
    visible = {name: mask[keep[name]] for name, mask in sample.visible.items()}
    masks = {"": both} if both is not None else {f" of {n}": mask for n, mask in keep.items() if not mask.all()}
    added = (f"{int((~mask).sum())} of {len(mask)} frames{name} empty: left out" for name, mask in masks.items())
    notes = (*sample.notes, *added)
    return replace(sample, pixels=pixels, dates=dates, dates_of=own, visible=visible, notes=notes)


def _selected(days: tuple[dt.date, ...], keep: NDArray[np.bool_]) -> tuple[dt.date, ...]:
    return tuple(day for day, is_kept in zip(days, keep, strict=True) if is_kept) if days else ()


def _note_hidden(sample: Sample) -> Sample:
    hidden = {name: int((~mask).sum()) for name, mask in sample.visible.items() if not mask.all()}
    notes = (f"{n} of {len(sample.visible[name])} frames of {name} empty: hidden" for name, n in hidden.items())
    return replace(sample, notes=(*sample.notes, *notes))


def _fill(sample: Sample, modalities: Sequence[Inputs]) -> Sample:
    """Replace missing pixels by the card's fill, or the request's."""
    pixels, filled, hidden, total = dict(sample.pixels), 0, 0, 0
    for inputs in modalities:
        frames, visible = sample.pixels[inputs.modality], sample.visible[inputs.modality]
        gaps, rule = ~np.isfinite(frames), inputs.fill if sample.fill == "card" else sample.fill
        total += int(visible.sum()) * frames[0].size
        if rule in {"keep", "hide"} or not gaps.any():
            hidden += int(gaps[visible].sum()) if rule == "hide" else 0
            continue
        filled += int(gaps[visible].sum())
        values = np.where(gaps, _stand_in(frames, gaps, rule), frames).astype(np.float32)
        values[~visible] = 0
        pixels[inputs.modality] = values
    counts = {"filled": filled, "missing: hidden": hidden}
    notes = (f"{count / total:.1%} of values {what}" for what, count in counts.items() if count)
    return replace(sample, pixels=pixels, filled_fraction=filled / max(total, 1), notes=(*sample.notes, *notes))


def _stand_in(
    frames: NDArray[np.float32], gaps: NDArray[np.bool_], rule: str | float | tuple[float, ...]
) -> NDArray[np.float64]:
    """Return the value of a missing pixel: (T, C, 1, 1), or one number."""
    if rule == "none":
        reason = "pixels are missing and fill='none'"
        raise NoImageryError("imagery", value=f"{gaps.mean():.1%}", reason=reason, fix="fill='card', or a longer span")
    if rule != "frame_mean":
        values = np.asarray(0 if rule == "zero" else rule, np.float64)
        return values[:, None, None] if values.ndim else values
    count = np.maximum((~gaps).sum((2, 3), keepdims=True), 1)
    mean: NDArray[np.float64] = np.where(gaps, 0, frames).sum((2, 3), keepdims=True, dtype=np.float64) / count
    return mean


def fitted(frames: NDArray[np.float32], fit: Fit) -> NDArray[np.float32]:
    """Crop (T, C, H, W) to the part that is used, and pad it by reflection as planned."""
    rows, columns = fit.image.slices
    used = frames[..., rows, columns]
    if fit.pad == (0, 0):
        return used
    return np.pad(used, ((0, 0), (0, 0), (0, fit.pad[0]), (0, fit.pad[1])), mode="symmetric")
