"""SatVision-TOA: Swin V2, whose attention is by angles, whose norms come last, and whose positions are computed."""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.swin import (
    PatchMerging,
    PyramidConfig,
    Sides,
    Stages,
    WindowBlock,
    attend_in_windows,
    offsets,
)
from rs_embed_dask.models.vit import Attention, ChannelsLast, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


class _SatvisionAttention(Attention):
    """Attention by the angles of q and k, with a bias that a small network computes from the offset of two tokens."""

    def __init__(self, trunk: TrunkConfig, window: Sides) -> None:
        super().__init__(trunk.dim, trunk.heads, bias=False)
        self.window = window
        self.logit_scale = nn.Parameter(torch.zeros(trunk.heads, 1, 1))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, trunk.heads, bias=False))
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(trunk.dim)) for _ in range(2))

    def bias(self, window: Sides) -> Tensor:
        """Bias of every pair of tokens of a window: (heads, N, N)."""
        device = self.q_bias.device
        apart = torch.cartesian_prod(*(torch.arange(1.0 - w, w, device=device) / max(w - 1, 1) for w in window))
        table: Tensor = self.cpb_mlp(apart.sign() * (8 * apart.abs() + 1).log2() / 3)  # (offsets, heads)
        return 16 * table.sigmoid()[offsets(window, device)].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, D) to the same."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        parts = functional.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, N, D / heads)
        q = functional.normalize(q, dim=-1) * self.logit_scale.clamp(max=math.log(100)).exp()
        q, k = (one.to(v.dtype) for one in (q, functional.normalize(k, dim=-1)))
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return self.proj(x.transpose(1, 2).flatten(2))  # (B, N, D)


class _Block(WindowBlock):
    """Post-norm block on a map (B, H, W, D), optionally with a `third` norm of the result."""

    def __init__(self, trunk: TrunkConfig, window: Sides, *, shifted: bool, third: bool) -> None:
        super().__init__(trunk, window, shifted=shifted, clamped=True)
        self.attn = _SatvisionAttention(trunk, window)
        self.norm3 = trunk.norm() if third else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same; the windows shrink to a smaller map."""
        x = x + self.norm1(attend_in_windows(self.attn, x, self.shift, clamped=self.clamped))
        return self.norm3(x + self.norm2(self.mlp(x)))


@dataclass(frozen=True, kw_only=True)
class SatVisionConfig(PyramidConfig):
    dim: int = 512
    depths: Sides = (2, 2, 42, 2)
    heads: Sides = (16, 32, 64, 128)
    window: int = 8
    norm_period: int = 6  # every such block has a third norm; 0: none
    stem: Sides = (14, 4)  # channels, and the side of a patch in pixels
    ending: str = "norm"  # "none": a grid is of the tokens before the final norm


class SatVision(Stages):
    def __init__(self, config: SatVisionConfig) -> None:
        def block(trunk: TrunkConfig, i: int) -> nn.Module:
            third = bool(config.norm_period) and (i + 1) % config.norm_period == 0
            return _Block(trunk, (config.window,) * 2, shifted=i % 2 == 1, third=third)

        super().__init__(config.trunks(), block, lambda dim: PatchMerging(dim, after=True))
        (channels, side), dim, self.ending = config.stem, config.dim, config.ending
        layers = OrderedDict(proj=nn.Conv2d(channels, dim, side, stride=side), last=ChannelsLast())
        self.patch_embed = nn.Sequential(OrderedDict(**layers, norm=nn.LayerNorm(dim, eps=1e-5)))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 14, S, S): the tokens of the last stage, a thirty-second of the side."""
        *maps, last = self.maps(self.patch_embed(batch.image))
        normed = self.norm(last)
        extra = {"grid_before_norm": last, **{f"stage{i}": one for i, one in enumerate(maps, 1)}}
        if self.ending == "norm":
            return Tokens(normed, extra=extra)
        return Tokens(last, pooled=normed.mean((1, 2)), each=normed, extra=extra)


build = from_keywords(SatVision, SatVisionConfig)
