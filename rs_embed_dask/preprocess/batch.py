"""The input and the output of an encoder."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.preprocess.steps import Resize, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["Batch", "Tokens", "completed", "resize", "run_steps", "same_places"]


@dataclass
class Batch:
    """Normalised images and their side inputs, one row per item.

    By modality: `images` (B, T, C, H, W) float32, `inputs` (the meaning of the bands), `visible` (B, T) bool (absent
    where every frame is visible), `dates_of` (where a modality has dates of its own). Shared by all, None if unknown:
    `dates` (B, T, 3) integers, year, month 1 to 12, day (and a fourth, the hour); `lonlat` (B, 2) degrees; `gsd_m` (B,)
    metres per pixel of these images; `read_m` (B,) the same before a resize; `share` (B, H, W) of each pixel that lies
    inside the place.
    """

    images: Mapping[str, Tensor]
    inputs: Mapping[str, Inputs] = field(default_factory=dict)
    dates: Tensor | None = None
    lonlat: Tensor | None = None
    gsd_m: Tensor | None = None
    read_m: Tensor | None = None
    share: Tensor | None = None
    visible: Mapping[str, Tensor] = field(default_factory=dict)
    dates_of: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.images.values())))

    def part(self, start: int, stop: int) -> Batch:
        """Return some of the rows."""
        if start == 0 and stop >= len(self):
            return self
        rows = slice(start, stop)
        side_inputs = {name: getattr(self, name) for name in ("dates", "lonlat", "gsd_m", "read_m", "share")}
        cut = {name: value[rows] for name, value in side_inputs.items() if value is not None}
        images = {name: frames[rows] for name, frames in self.images.items()}
        visible = {name: mask[rows] for name, mask in self.visible.items()}
        own = {name: dates[rows] for name, dates in self.dates_of.items()}
        return Batch(images, self.inputs, visible=visible, dates_of=own, **cut)

    @property
    def image(self) -> Tensor:
        """The only frame of the only modality: (B, C, H, W)."""
        (modality,) = self.images
        return self.only_frame(modality)

    def only_frame(self, modality: str) -> Tensor:
        """Return the only frame of a modality: (B, C, H, W)."""
        frames = self.images[modality]
        if frames.shape[1] != 1:
            reason = "the model takes one frame"
            raise ModelInputError("frames", value=frames.shape[1], reason=reason, fix="composite them into one first")
        return frames[:, 0]  # (B, C, H, W)

    def need(self, name: str) -> Tensor:
        """Return a side input by name. Raises ModelInputError where it was not given."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            word = {"lonlat": "place", "gsd_m": "resolution_m"}.get(name, name)
            raise ModelInputError(word, reason="the model needs it", fix=f"pass {word}= to embed")
        return value

    def calendar(self, number: Callable[[dt.date], float], modality: str = "") -> Tensor:
        """Map each frame's day to a number, such as the day of the year: (B, T) float32."""
        dates = self.dates_of[modality] if modality in self.dates_of else self.need("dates")
        numbers = [[number(dt.date(*day[:3])) for day in row] for row in dates.tolist()]
        return torch.tensor(numbers, dtype=torch.float32, device=dates.device)

    def shown(self, modality: str) -> Tensor:
        """Return which frames of a modality are visible: (B, T) bool."""
        frames = self.images[modality]
        mask = self.visible.get(modality)
        return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device) if mask is None else mask


def same_places(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ModelInputError where the maps of several modalities differ in rows, columns or frames."""
    if len(set(shapes.values())) > 1:
        reason, fix = "the modalities do not cover the same patches", "give all over one square, with the same frames"
        raise ModelInputError("patches", value=dict(shapes), reason=reason, fix=fix)


@dataclass
class Tokens:
    """What an encoder returns."""

    # `patches` (B, h, w, D) in raster order, from which a grid is built; or (B, h, w, G, D), several tokens per
    # place, of which a grid shows the mean, the maximum or all (`over`). `cls` (B, D) the class token; `pooled`
    # (B, D) the model's own vector of the whole image, where that is not the mean of the patches; `after` is applied
    # to that mean, such as a norm; `each` (B, h, w, D) the tokens whose weighted mean is the vector of a shape, where
    # `pooled` is given; `extra` other outputs, by the names that the model's card gives them.

    patches: Tensor
    cls: Tensor | None = None
    pooled: Tensor | None = None
    after: Callable[[Tensor], Tensor] | None = None
    each: Tensor | None = None
    over: Literal["mean", "max", "concat"] = "mean"
    extra: dict[str, Tensor] = field(default_factory=dict)


def completed(images: Tensor, inputs: Inputs, size: tuple[int, int], *, crop: tuple[int, int] | None = None) -> Tensor:
    """Convert (N, C, H, W) of the given bands to the network's input of all bands, the others masked: (N, D, H, W)."""
    if inputs.whole is None or inputs.masking == "drop":
        return run_steps(images, inputs.steps, size, crop=crop)
    bands = inputs.whole.bands
    if inputs.masking == "nearest":
        waves = dict(zip(bands, inputs.whole.values("wavelength_nm"), strict=True))
        nearest = [min(inputs.bands, key=lambda one: abs(waves[one] - waves[band])) for band in bands]
        return run_steps(images[:, [inputs.bands.index(band) for band in nearest]], inputs.whole.steps, size, crop=crop)
    some = run_steps(images, inputs.steps, size, crop=crop)
    missing = torch.nan if inputs.masking == "hide" else 0.0
    every = some.new_full((len(some), len(bands), *some.shape[2:]), missing)
    every[:, [bands.index(band) for band in inputs.bands]] = some
    return every


_BITS = 22


def run_steps(
    images: Tensor, steps: tuple[Step, ...], size: tuple[int, int], *, crop: tuple[int, int] | None = None
) -> Tensor:
    """Convert (N, C, H, W) float32 in canonical units to the network's input."""
    # The resize to `size` happens where the steps have a `Resize`, else first, bilinearly; the centre of size `crop`
    # is cropped at the end.
    if not any(isinstance(step, Resize) for step in steps):
        steps = (Resize(), *steps)
    for step in steps:
        images = resize(images, size, step) if isinstance(step, Resize) else step.apply(images)
    if crop is None or crop == size:
        return images
    top, left = round((size[0] - crop[0]) / 2), round((size[1] - crop[1]) / 2)
    return images[..., top : top + crop[0], left : left + crop[1]]


def resize(images: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """Resize (N, C, H, W) to (N, C, h, w)."""
    if tuple(images.shape[-2:]) == size:
        return images
    if how.kernel == "bicubic_u8":
        return _pillow(images, size)
    if how.kernel == "bilinear_u8":  # PyTorch implements it on the CPU only
        return functional.interpolate(images.cpu().byte(), size=size, mode="bilinear", antialias=True).to(images)
    corners, antialias = how.corners, how.antialias
    return functional.interpolate(images, size=size, mode=how.kernel, align_corners=corners, antialias=antialias)


def _pillow(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize 8-bit values as Pillow does: across, then down, rounded to 8 bits after each."""
    # Float64 holds every sum exactly, so a matrix product gives the integers of Pillow's loop.
    home = images.device
    x = images.to("cpu" if home.type == "mps" else home).double()
    height, width = x.shape[-2:]
    if width != size[1]:
        x = _to_byte(x @ _taps(width, size[1]).to(x.device).T)  # (N, C, H, w)
    if height != size[0]:
        x = _to_byte(_taps(height, size[0]).to(x.device) @ x)  # (N, C, h, w)
    return x.float().to(home)


def _to_byte(sums: Tensor) -> Tensor:
    whole: Tensor = ((sums + 2 ** (_BITS - 1)) / 2**_BITS).floor()
    return whole.clamp(0, 255)


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> Tensor:
    """Return the weights of Pillow's cubic filter along one axis, in multiples of 2**-22: (target, source) float64."""
    scale = source / target
    wide = max(scale, 1.0)
    taps = torch.zeros(target, source, dtype=torch.float64)
    for i in range(target):
        centre = (i + 0.5) * scale
        first, last = int(max(centre - 2 * wide + 0.5, 0)), int(min(centre + 2 * wide + 0.5, source))
        raw = [_cubic((j - centre + 0.5) / wide) for j in range(first, last)]
        total = sum(raw)
        whole = [math.copysign(math.floor(abs(w / total) * 2**_BITS + 0.5), w) for w in raw]
        taps[i, first:last] = torch.tensor(whole, dtype=torch.float64)
    return taps


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0
