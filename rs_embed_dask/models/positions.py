"""Position codes that are computed, not learned."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def sincos(
    positions: Tensor, dim: int, *, spread: float = 1.0, base: float = 10000.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Code positions (...) as sines, then cosines: ``sin(p * base ** (-spread * i / (dim / 2)))``, i < dim / 2."""
    # A `spread` of 1 is the usual table. Returns (..., dim) float32, computed in `dtype`: float32 reproduces the
    # rounding of encoders that were trained with it.
    steps = torch.arange(dim // 2, dtype=dtype, device=positions.device) / (dim / 2)
    angles = positions.to(dtype)[..., None] * (1 / base ** (spread * steps))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def plane(
    shape: tuple[int, int], dim: int, scale: Tensor, *, spread: float = 1.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Code the places of a grid: column in the first half of the code, row in the second."""
    # `scale` (B,) is the side of a token, one value per item. Returns (B, height, width, dim) float32.
    down, across = (scale[:, None] * torch.arange(count, device=scale.device) for count in shape)
    rows = sincos(down, dim // 2, spread=spread, dtype=dtype)  # (B, h, D / 2)
    columns = sincos(across, dim // 2, spread=spread, dtype=dtype)  # (B, w, D / 2)
    return joined((len(scale), *shape), columns[:, None], rows[:, :, None])


def joined(shape: tuple[int, ...], *codes: Tensor) -> Tensor:
    """Broadcast codes (..., D) to tokens of this shape and concatenate them."""
    return torch.cat([code.expand(*shape, code.shape[-1]) for code in codes], dim=-1)


def on_sphere(lonlat: Tensor) -> Tensor:
    """Convert degrees (B, 2) to points on the unit sphere (B, 3)."""
    lon, lat = lonlat.double().deg2rad().unbind(-1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=-1).float()


def resized(
    table: Tensor,
    shape: tuple[int, int],
    *,
    align_corners: bool = False,
    nudge: float = 0.0,
    antialias: bool = False,
    kernel: str = "bicubic",
) -> Tensor:
    """Resample tables of positions (B, h, w, D) to another grid: (B, *shape, D)."""
    # With a `nudge`, the table is resampled by the factors ``(side + nudge) / old side``, as in DINO's code, which
    # differs from resampling to the sides themselves.
    old = (table.shape[1], table.shape[2])
    if old == shape:
        return table
    factors = tuple((new + nudge) / side for new, side in zip(shape, old, strict=True))
    by: dict[str, tuple[float, ...]] = {"scale_factor": factors} if nudge else {"size": shape}
    planes = table.permute(0, 3, 1, 2)  # (B, D, h, w)
    how = {"mode": kernel, "align_corners": align_corners, "antialias": antialias}
    resampled: Tensor = functional.interpolate(planes, **by, **how)  # type: ignore[arg-type]
    return resampled.permute(0, 2, 3, 1)


def alibi(places: Tensor, heads: int) -> Tensor:
    """Bias of attention between tokens at `places` (N, 2): less a slope of each head times their distance."""
    # Slopes are powers of two; a number of heads that is not a power of two takes the rest from the slopes of twice
    # the next lower power. Returns (heads, N, N) float32.
    whole = 2 ** int(math.log2(heads))
    steps = [*(8 * (i + 1) / whole for i in range(whole)), *(4 * (2 * i + 1) / whole for i in range(heads - whole))]
    slopes = torch.tensor([2**-step for step in steps], dtype=torch.float64, device=places.device)
    wide = places.double()
    apart = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
    return -slopes.float()[:, None, None] * apart.float()
