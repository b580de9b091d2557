"""Blocks in timm's dialect: attribute names are the names in published checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Turn = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Sizes of a stack of blocks, as a card's configuration names them."""

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    bias: bool = True
    gated: bool = False  # of the `Mlp`
    layer_scale: bool = False  # weighs each channel of what a block adds

    @property
    def mlp_hidden(self) -> int:
        """Width within an MLP."""
        return round(self.dim * self.mlp_ratio)

    def blocks(self, *, split: bool = False) -> nn.ModuleList:
        """Build the blocks."""
        return nn.ModuleList(Block(self, split=split) for _ in range(self.depth))

    def norm(self) -> nn.LayerNorm:
        """Build a norm of the trunk's width."""
        return nn.LayerNorm(self.dim, eps=self.norm_eps)


@dataclass(frozen=True, kw_only=True)
class PatchConfig(TrunkConfig):
    size: int = 224  # side of the image, in pixels as the next
    patch: int = 16


def attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attend from (B, M, D) to (B, N, D) in several heads: (B, M, D)."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, heads, N, D / heads)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)  # (B, M, D)


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

    def parts(self, x: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        """Compute queries of (B, N, D), and keys and values of `source`."""
        return (self.q(x), self.k(source), self.v(source)) if self.split else self.qkv(x).chunk(3, dim=-1)

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
        """As `forward`; with `split`, optionally attend to other tokens `keys` (B, K, D)."""
        # `turn` is applied to queries and to keys (B, heads, N, D / heads); `bias` computes a mask from the queries.
        parts = self.parts(x, x if keys is None else keys)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, N, D / heads)
        q, k = (q, k) if turn is None else (turn[0](q), turn[1](k))
        mask = mask if bias is None else bias(q)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).flatten(2))  # (B, N, D)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between; `gated`, with a SiLU times a third layer (SwiGLU)."""

    def __init__(self, dim: int, hidden: int, *, gated: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden, bias=bias), nn.Linear(hidden, dim, bias=bias)
        self.fc3 = nn.Linear(dim, hidden, bias=bias) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        inner = self.fc1(x)
        return self.fc2(functional.gelu(inner) if self.fc3 is None else functional.silu(inner) * self.fc3(x))


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, trunk: TrunkConfig, *, split: bool = False) -> None:
        super().__init__()
        self.norm1 = trunk.norm()
        bias = trunk.bias
        self.attn = Attention(trunk.dim, trunk.heads, bias=bias, split=split, proj_bias=bias)
        self.norm2 = trunk.norm()
        self.mlp = Mlp(trunk.dim, trunk.mlp_hidden, gated=trunk.gated, bias=bias or not trunk.gated)
        self.ls1, self.ls2 = (LayerScale(trunk.dim) if trunk.layer_scale else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None, **more: Any) -> Tensor:
        """(B, N, D) to the same; `more` as in `Attention.look`."""
        look = self.attn.look if more else self.attn
        x = x + self.ls1(look(self.norm1(x), mask, **more))
        return x + self.ls2(self.mlp(self.norm2(x)))


class ChannelsLast(nn.Module):
    """(B, C, H, W) to (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Move the channels."""
        return x.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """A convolution whose kernel is its stride: one token per patch."""

    # For another patch size the kernel is resampled (FlexiViT).

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
    """Resample (D, C, K, K) to (D, C, side, side) so that a resized patch gives the token of the original."""
    # The pseudo-inverse of the bicubic, antialiased resize of K x K to side x side, applied to each kernel.
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
    return torch.linalg.pinv(images.flatten(1)).T  # (K K, side side)
