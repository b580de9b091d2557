"""From the raw values of a frame, whatever the provider, to its image: harmonise, mask, composite, convert."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.composite import composite_frame
from rs_embed_dask.imagery.layers import LOST, RawLayers
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.scratch import scratch
from rs_embed_dask.imagery.sensor_types import DB, Band, Mask, Scaling, Source
from rs_embed_dask.imagery.sensors import mask_of, sensor
from rs_embed_dask.imagery.threads import lasting_threads

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Read

__all__ = [
    "FramePixels",
    "FrameRecipe",
    "Raw",
    "baseline_in",
    "baseline_of",
    "finish",
    "harmonise",
    "make_frame",
    "present_in",
    "recipe_for",
    "scaled",
    "scaling_fault",
    "spoilt",
]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_VALUES_AT_ONCE: Final = 1 << 20  # a strip that is sorted quickly, and costs little beside its calls

# ESA adds 1000 to all digital numbers since processing baseline 04.00 (January 2022).
_S2_OFFSET: Final = -1000.0
_S2_OFFSET_SINCE: Final = 4.0
_BASELINE: Final = re.compile(r"^\D{0,3}(?:(\d{1,2})(\d{2})|(\d{1,2})(?:\.(\d{1,2}))?)$")
_IN_PRODUCT: Final = re.compile(r"_N(\d{2})(\d{2})_")


def baseline_of(scene: Scene, source: Source) -> float | None:
    """Return the Sentinel-2 processing baseline of a scene."""
    return baseline_in(scene.first(source.properties.baseline), scene.first(source.properties.product))


def baseline_in(stated: Any, product: Any) -> float | None:
    """Return the Sentinel-2 processing baseline as a property states it, else as the product's name does."""
    version = _BASELINE.match(str(stated).strip()) if stated is not None else None
    version = version or (_IN_PRODUCT.search(str(product)) if product is not None else None)
    if version is None:
        return None
    major, minor = [part for part in (*version.groups(), "") if part is not None][:2]
    return int(major) + int(minor.ljust(2, "0")) / 100  # the number 5.1 is 05.10, and 400 is 04.00


def _s2_offset(scene: Scene, source: Source) -> float:
    baseline = baseline_of(scene, source)
    baseline = source.assumed_baseline if baseline is None else baseline
    if baseline is None:
        raise ProviderError(
            f"scene {scene.id}",
            reason=f"{source.provider} states no processing baseline for it, so its offset is unknown",
            fix=f"leave the scene out, or give one of {', '.join(source.properties.baseline)} in its properties",
        )
    return _S2_OFFSET if baseline >= _S2_OFFSET_SINCE else 0.0


def scaling_fault(scene: Scene, recipe: FrameRecipe) -> ProviderError | None:
    """Return why the numbers of a scene cannot be converted, if they cannot."""
    try:
        if any(recipe.source.scaling(band).offset_rule == "s2_baseline" for band in recipe.bands):
            _s2_offset(scene, recipe.source)
    except ProviderError as fault:
        return fault
    return None


def _missing(raw: npt.NDArray[Any], scaling: Scaling) -> Bools | None:
    """Return where raw values are missing; None if the scaling defines no missing values."""
    missing = None
    for test, limit in ((np.equal, scaling.nodata), (np.less_equal, scaling.above), (np.greater, scaling.at_most)):
        if limit is not None:
            flags = test(raw, limit, out=scratch(raw.shape, np.bool_))
            missing = flags if missing is None else np.logical_or(missing, flags, out=missing)
    return missing


def scaled(raw: npt.NDArray[Any], scaling: Scaling, offsets: Floats, *, may_change: bool = False) -> Floats:
    """Convert raw values (N, B, H, W) to working units; offsets (N,) are added to that of the scaling."""
    missing = _missing(raw, scaling)
    out = raw.astype(np.float32, copy=not may_change)
    if scaling.scale != 1:
        out *= np.float32(scaling.scale)
    total = offsets + np.float32(scaling.offset)
    if total.any():
        out += total[:, None, None, None]
    if scaling.encoding == "db":  # composites average power, and the mean of decibels is not that of the power
        out = np.float32(10) ** (out / np.float32(10))
    if missing is not None:
        np.copyto(out, np.float32(np.nan), where=missing)
    if raw.dtype.kind == "f":
        np.copyto(out, np.float32(np.nan), where=np.isinf(out, out=scratch(out.shape, np.bool_)))
    return out


def harmonise(
    raw: npt.NDArray[Any], source: Source, *, bands: Sequence[Band], scenes: Sequence[Scene], may_change: bool = False
) -> Floats:
    """Convert the values in files to working units, each scene by its own baseline; in their place if that may be."""
    raw = np.asarray(raw)
    scalings = [source.scaling(band) for band in bands]
    baseline = np.zeros(len(scenes), np.float32)
    if any(scaling.offset_rule == "s2_baseline" for scaling in scalings):
        baseline[:] = [_s2_offset(scene, source) for scene in scenes]
    none = np.zeros(len(scenes), np.float32)
    if len(set(scalings)) == 1:
        offsets = baseline if scalings[0].offset_rule == "s2_baseline" else none
        return scaled(raw, scalings[0], offsets, may_change=may_change)
    out = np.empty(raw.shape, np.float32)
    for i, scaling in enumerate(scalings):
        out[:, i : i + 1] = scaled(
            raw[:, i : i + 1], scaling, baseline if scaling.offset_rule == "s2_baseline" else none
        )
    return out


def spoilt(quality: npt.NDArray[Any], mask: Mask) -> Bools:
    """Return which pixels a quality band marks as clouds, shadows or fill."""
    missing = np.isnan(quality) if quality.dtype.kind == "f" else None
    if mask.kind == "below":
        return np.logical_not(quality >= np.asarray(mask.below, quality.dtype))  # negated so that NaN is masked
    whole = quality if missing is None else np.where(missing, 0, quality)
    bad = _bad_codes(mask)[whole.astype(np.uint16)]
    return bad if missing is None else bad | missing


@lru_cache(maxsize=32)
def _bad_codes(mask: Mask) -> Bools:
    """Return for each 16-bit value whether it masks a pixel."""
    codes = np.arange(1 << 16, dtype=np.uint32)
    if mask.kind == "classes":
        return np.isin(codes, mask.classes)
    bad = np.zeros(codes.shape, bool)
    for bits in mask.bits:
        bad |= np.isin((codes >> np.uint32(bits.shift)) & np.uint32((1 << bits.width) - 1), bits.bad)
    return bad


def finish(values: Floats, bands: Sequence[Band]) -> Floats:
    """Convert composited working units to the canonical units of a cube: linear power becomes decibels."""
    radar = [i for i, band in enumerate(bands) if band.unit == DB]
    if not radar:
        return values
    out = values.copy()
    power = out[..., radar, :, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        out[..., radar, :, :] = np.where(power > 0, np.float32(10) * np.log10(power), np.float32(np.nan))
    return out


Raw = npt.NDArray[Any]


@dataclass(frozen=True)
class FrameRecipe:
    """How raw values are processed; plain data that is sent with each task."""

    source: Source
    bands: tuple[Band, ...]
    mask: Mask | None
    assets: tuple[tuple[str, ...], ...]
    how: str
    lon: float
    others: tuple[tuple[str, Source], ...] = ()
    """Sources of scenes from other catalogues, by how their ids begin."""

    def source_of(self, scene: Scene) -> Source:
        """Return whose table says what the numbers of a scene mean."""
        return next((source for start, source in self.others if scene.id.startswith(start)), self.source)


@dataclass(frozen=True, eq=False)
class FramePixels:
    """One frame of one block."""

    values: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]
    used: npt.NDArray[np.int64]
    lost: npt.NDArray[np.bool_]


def recipe_for(read: Read, source: Source, others: tuple[tuple[str, Source], ...] = ()) -> FrameRecipe:
    """Return how a read processes the raw values of a source."""
    of = sensor(read.sensor)
    bands = tuple(of.band(name) for name in read.bands)
    chosen = mask_of(read.fetch.mask, source)
    assets = [source.asset(band.common) for band in bands]
    if chosen is not None:
        assets.append((chosen[1],))
    how = read.fetch.composite or "median"
    mask = None if chosen is None else chosen[0]
    return FrameRecipe(source, bands, mask, tuple(assets), how, read.grid.center_lonlat[0], others)


def make_frame(
    raw: Raw | RawLayers,
    scenes: Sequence[Scene],
    recipe: FrameRecipe,
    *,
    present: Bools | None = None,
    into: Floats | None = None,
) -> FramePixels:
    """Turn the raw values of the scenes of one frame into one image, without scenes of which a layer is lost.

    The image is written `into` an array (B, H, W) where there is one.
    """
    # In strips of rows: beside the raw values and the image there is never more than a little. The clearest of some
    # scenes is that of the whole image.
    n, layers, height, width = raw.shape
    step = height if n > 1 and recipe.how == "clearest" else max(1, _VALUES_AT_ONCE // (n * layers * width))
    values = np.empty((len(recipe.bands), height, width), np.float32) if into is None else into
    n_obs = np.empty((height, width), np.uint16)

    def strip_at(top: int) -> tuple[npt.NDArray[np.int64], Bools]:
        rows = slice(top, top + step)
        strip = _composited(_strip(raw, rows), scenes, recipe, present)
        values[:, rows], n_obs[rows] = strip.values, strip.n_obs
        return strip.used, strip.lost

    tops = range(0, height, step)
    # frames of one scene are many, and then each has a thread of its own
    is_apart = n > 1 and len(tops) > 1
    strips = list((lasting_threads("rs-strip", os.cpu_count() or 1).map if is_apart else map)(strip_at, tops))
    return FramePixels(values, n_obs, np.add.reduce([used for used, _ in strips]), strips[0][1])


def _strip(raw: Raw | RawLayers, rows: slice) -> Raw:
    """Return a copy of some rows of raw values."""
    if isinstance(raw, RawLayers):
        return raw.strip(rows)
    part = raw[:, :, rows]
    strip = scratch(part.shape, part.dtype)
    strip[:] = part
    return strip


def _composited(
    raw: Raw, scenes: Sequence[Scene], recipe: FrameRecipe, present: npt.NDArray[np.bool_] | None
) -> FramePixels:
    """Composite raw values that are nobody else's, and are worked on in their place."""
    n_bands = len(recipe.bands)
    lost = (raw[:, :, :1, :1] == LOST).any(axis=(1, 2, 3))
    if lost.any():
        raw[lost] = np.nan
    stack = _by_source(raw[:, :n_bands], scenes, recipe)
    if recipe.mask is not None:
        bad = spoilt(raw[:, n_bands], recipe.mask)
        np.copyto(stack, np.float32(np.nan), where=bad[:, None])
    values, n_obs, used = composite_frame(
        stack, scenes, lon=recipe.lon, how=recipe.how, present=present, names=recipe.source.properties
    )
    return FramePixels(finish(values, recipe.bands), n_obs, used, lost)


def _by_source(raw: Raw, scenes: Sequence[Scene], recipe: FrameRecipe) -> Floats:
    """Convert the raw values of each scene by its own source's table, in their place."""
    if not recipe.others:
        return harmonise(raw, recipe.source, bands=recipe.bands, scenes=scenes, may_change=True)
    out = np.empty(raw.shape, np.float32)
    sources = [recipe.source_of(scene) for scene in scenes]
    for source in dict.fromkeys(sources):
        rows = [row for row, own in enumerate(sources) if own == source]
        out[rows] = harmonise(raw[rows], source, bands=recipe.bands, scenes=[scenes[row] for row in rows])
    return out


def present_in(scenes: Sequence[Scene], recipe: FrameRecipe) -> npt.NDArray[np.bool_]:
    """Return which bands each scene has, by the asset names in its properties; all if it lists none."""
    names = recipe.assets[: len(recipe.bands)]
    present = np.ones((len(scenes), len(names)), bool)
    for row, scene in zip(present, scenes, strict=True):
        assets = scene.properties.get("assets")
        if assets is not None:
            row[:] = [any(name in assets for name in each) for each in names]
    return present
