"""Resizing, and the running of a card's steps, on the model's device."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from rs_embed_dask.preprocess.steps import Resize, Step

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "resize",
    "run_steps",
]

_BITS = 22


def run_steps(
    images: Tensor, steps: tuple[Step, ...], size: tuple[int, int], *, crop: tuple[int, int] | None = None
) -> Tensor:
    """Take (N, C, H, W) float32 in canonical units to what a network wants."""
    # The resize to `size` happens where the steps have a `Resize`, else first, bilinearly; `crop` is the centre
    # that is kept at the end.
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
    if how.kernel == "bilinear_u8":  # PyTorch has it for the CPU alone
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
    """Weights of Pillow's cubic filter along one axis, as whole multiples of 2**-22: (target, source) float64."""
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
