"""Blocks in timm's dialect: attribute names are the names in published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Turn = Callable[[Tensor], Tensor]

__all__ = ["Attention", "Block", "GatedMlp", "Mlp", "PatchEmbed", "Trunk", "resample_kernel"]


@dataclass(frozen=True)
class Trunk:
    """Sizes of a stack of blocks, as a card's configuration names them.

    `gated` takes `GatedMlp`; `layer_scale` weighs each channel of what a block adds.
    """

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    bias: bool = True
    gated: bool = False
    layer_scale: bool = False

    @classmethod
    def split(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Take the sizes out of a configuration and return the rest beside them."""
        own = {field.name for field in fields(cls)}
        rest = {name: value for name, value in config.items() if name not in own}
        return cls(**{name: value for name, value in config.items() if name in own}), rest

    def blocks(self, *, split: bool = False) -> nn.ModuleList:
        """Make the blocks."""
        return nn.ModuleList(Block(self, split=split) for _ in range(self.depth))

    def norm(self) -> nn.LayerNorm:
        """Make a norm of the trunk's width."""
        return nn.LayerNorm(self.dim, eps=self.norm_eps)


class Attention(nn.Module):
    """Multi-head self-attention; q, k and v as one matrix, or as three where `split`."""

    def __init__(self, dim: int, heads: int, *, bias: bool = True, split: bool = False, proj_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        if split:
            self.q, self.k, self.v = (nn.Linear(dim, dim, bias=bias) for _ in range(3))
        else:
            self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.split = split
        self.proj = nn.Linear(dim, dim, bias=proj_bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, D) to the same; `mask` is a bool (True = attend) or a bias, broadcast to (B, heads, N, N)."""
        return self.look(x, mask)

    def look(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        keys: Tensor | None = None,
        turn: tuple[Turn, Turn] | None = None,
        bias: Turn | None = None,
    ) -> Tensor:
        """As `forward`, at other tokens `keys` (B, K, D) where `split`.

        `turn` is what happens to queries and to keys (B, heads, N, D / heads), `bias` what makes a mask of queries.
        """
        seen = x if keys is None else keys
        parts = (self.q(x), self.k(seen), self.v(seen)) if self.split else self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, N, D / heads)
        q, k = (q, k) if turn is None else (turn[0](q), turn[1](k))
        mask = mask if bias is None else bias(q)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        projected: Tensor = self.proj(x.transpose(1, 2).flatten(2))  # (B, N, D)
        return projected


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class GatedMlp(nn.Module):
    """Two linear layers side by side, one the gate of the other (SwiGLU), and a third."""

    def __init__(self, dim: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, dim, bias=bias)
        self.fc3 = nn.Linear(dim, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        out: Tensor = self.fc2(functional.silu(self.fc1(x)) * self.fc3(x))
        return out


class LayerScale(nn.Module):
    """A learned factor a channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, trunk: Trunk, *, split: bool = False) -> None:
        super().__init__()
        self.norm1 = trunk.norm()
        bias, hidden = trunk.bias, round(trunk.dim * trunk.mlp_ratio)
        self.attn = Attention(trunk.dim, trunk.heads, bias=bias, split=split, proj_bias=bias)
        self.norm2 = trunk.norm()
        self.mlp = GatedMlp(trunk.dim, hidden, bias=bias) if trunk.gated else Mlp(trunk.dim, hidden)
        self.ls1, self.ls2 = (LayerScale(trunk.dim) if trunk.layer_scale else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None, **more: Any) -> Tensor:
        """(B, N, D) to the same; `more` as in `Attention.look`."""
        attend = self.attn.look if more else self.attn
        x = x + self.ls1(attend(self.norm1(x), mask, **more))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """A convolution whose kernel is its stride: one token a patch.

    A patch other than the kernel's is reached by resampling the kernel (FlexiViT).
    """

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor, patch: int | None = None) -> Tensor:
        """(B, C, H, W) to (B, h, w, D)."""
        weight = self.proj.weight
        side = patch or weight.shape[-1]
        kernel = resample_kernel(weight, side)
        tokens = functional.conv2d(x, kernel, self.proj.bias, stride=side)  # (B, D, h, w)
        return tokens.permute(0, 2, 3, 1)  # (B, h, w, D)


def resample_kernel(kernel: Tensor, side: int) -> Tensor:
    """Resample (D, C, K, K) to (D, C, side, side) so that a resized patch gives the token of the original.

    The pseudo-inverse of the bicubic, antialiased resize of K x K to side x side, applied to each kernel.
    """
    size = kernel.shape[-1]
    if side == size:
        return kernel
    matrix = _inverse_resize(size, side).to(kernel.device)  # (K K, side side)
    flat: Tensor = kernel.detach().double().flatten(-2) @ matrix  # (D, C, side side)
    square: Tensor = flat.unflatten(-1, (side, side))
    return square.to(kernel.dtype)


@lru_cache(maxsize=32)
def _inverse_resize(size: int, side: int) -> Tensor:
    units = torch.eye(size * size, dtype=torch.float64).view(size * size, 1, size, size)
    images = functional.interpolate(units, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    inverse: Tensor = torch.linalg.pinv(images.flatten(1)).T  # (K K, side side)
    return inverse
