"""Position codes that are computed, not learned."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["plane", "sincos"]


def sincos(positions: Tensor, dim: int, *, spread: float = 1.0, base: float = 10000.0) -> Tensor:
    """Code positions (...) as sines, then cosines: ``sin(p * base ** (-spread * i / (dim / 2)))``, i < dim / 2.

    A `spread` of 1 is the usual table. Returns (..., dim) float32, computed in float64.
    """
    steps = torch.arange(dim // 2, dtype=torch.float64, device=positions.device) / (dim / 2)
    angles = positions.double()[..., None] * base ** (-spread * steps)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def plane(shape: tuple[int, int], dim: int, scale: Tensor, *, spread: float = 1.0) -> Tensor:
    """Code the places of a grid: column in the first half of the code, row in the second.

    `scale` (B,) is the unit of a token's side, one an item. Returns (B, height, width, dim) float32.
    """
    down, across = (scale[:, None] * torch.arange(count, device=scale.device) for count in shape)
    rows = sincos(down, dim // 2, spread=spread)  # (B, h, D / 2)
    columns = sincos(across, dim // 2, spread=spread)  # (B, w, D / 2)
    half = (len(scale), *shape, dim // 2)
    return torch.cat([columns[:, None].expand(half), rows[:, :, None].expand(half)], dim=-1)
