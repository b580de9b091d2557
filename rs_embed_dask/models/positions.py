"""Position codes that are computed, not learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["plane", "resized", "sincos"]


def sincos(
    positions: Tensor, dim: int, *, spread: float = 1.0, base: float = 10000.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Code positions (...) as sines, then cosines: ``sin(p * base ** (-spread * i / (dim / 2)))``, i < dim / 2.

    A `spread` of 1 is the usual table. Returns (..., dim) float32, computed in `dtype`: float32 gives the very numbers
    that encoders were trained on which rounded so.
    """
    steps = torch.arange(dim // 2, dtype=dtype, device=positions.device) / (dim / 2)
    angles = positions.to(dtype)[..., None] * (1 / base ** (spread * steps))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def plane(
    shape: tuple[int, int], dim: int, scale: Tensor, *, spread: float = 1.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Code the places of a grid: column in the first half of the code, row in the second.

    `scale` (B,) is the unit of a token's side, one an item. Returns (B, height, width, dim) float32.
    """
    down, across = (scale[:, None] * torch.arange(count, device=scale.device) for count in shape)
    rows = sincos(down, dim // 2, spread=spread, dtype=dtype)  # (B, h, D / 2)
    columns = sincos(across, dim // 2, spread=spread, dtype=dtype)  # (B, w, D / 2)
    half = (len(scale), *shape, dim // 2)
    return torch.cat([columns[:, None].expand(half), rows[:, :, None].expand(half)], dim=-1)


def resized(table: Tensor, shape: tuple[int, int], *, align_corners: bool = False, nudge: float = 0.0) -> Tensor:
    """Resample tables of positions (B, h, w, D) to another grid, bicubic: (B, *shape, D).

    With a `nudge` the resampling goes by the factors ``(side + nudge) / old side``, as DINO's code has it, and not by
    the sides themselves, which is not the same.
    """
    old = (table.shape[1], table.shape[2])
    if old == shape:
        return table
    factors = tuple((new + nudge) / side for new, side in zip(shape, old, strict=True))
    by: dict[str, tuple[float, ...]] = {"scale_factor": factors} if nudge else {"size": shape}
    planes = table.permute(0, 3, 1, 2)  # (B, D, h, w)
    resampled: Tensor = functional.interpolate(planes, **by, mode="bicubic", align_corners=align_corners)  # type: ignore[arg-type]
    return resampled.permute(0, 2, 3, 1)
