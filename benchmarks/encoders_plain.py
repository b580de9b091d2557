"""Straightforward networks of the sizes of ours, to be as fast as: no tables, no side inputs, no names to keep.

A transformer is a convolution, learned positions, pre-norm blocks with one matrix for q, k and v, and a norm. What is
special to a model (kernels made from wavelengths, dates, grounds, merged modalities) is left out, so these do a little
less work than ours; width, depth and the number of tokens are the same. TerraFM's has its stem of three matrices, those
of CROMA and THOR a bias of attention, those of DINOv3 and OlmoEarth turn queries and keys as timm does, FoMo-Net's has
a token per channel, Presto's a series per pixel. Windowed ones are in `benchmarks.encoders_plain_swin`, TESSERA's in
`benchmarks.encoders_plain_series`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from benchmarks.encoders_plain_series import PlainTessera
from benchmarks.encoders_plain_swin import PlainSwin


@dataclass(frozen=True)
class Sizes:
    dim: int
    depth: int
    heads: int
    hidden: int
    patch: int
    groups: float = 1
    cls: int = 1
    biased: bool = False
    turned: bool = False
    pixel: int = 0
    kind: str = "gelu"
    bias: bool = True
    stem: bool = False
    out: int | None = None


class PlainAttention(nn.Module):
    def __init__(self, dim, heads, *, bias):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim, bias=bias)

    def forward(self, x, bias=None, turn=None):
        batch, count, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if turn is not None:
            q, k = _turned(q, *turn), _turned(k, *turn)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(batch, count, dim))


def _turned(x, sin, cos):
    """Turn pairs of neighbours, as timm's `apply_rot_embed` does."""
    return x * cos + torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).reshape(x.shape) * sin


class PlainMlp(nn.Module):
    def __init__(self, dim, hidden, *, kind, bias):
        super().__init__()
        self.kind = kind
        self.fc1, self.fc2 = nn.Linear(dim, hidden, bias=bias), nn.Linear(hidden, dim, bias=bias)
        self.gate = nn.Linear(dim, hidden, bias=bias) if kind == "gated" else None

    def forward(self, x):
        y = self.fc1(x)
        if self.kind == "gated":
            return self.fc2(functional.silu(y) * self.gate(x))
        return self.fc2(y * torch.sigmoid(1.702 * y) if self.kind == "quick" else functional.gelu(y))


class PlainBlock(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(sizes.dim), nn.LayerNorm(sizes.dim)
        self.attn = PlainAttention(sizes.dim, sizes.heads, bias=sizes.bias)
        self.mlp = PlainMlp(sizes.dim, sizes.hidden, kind=sizes.kind, bias=sizes.bias)

    def forward(self, x, bias=None, turn=None):
        x = x + self.attn(self.norm1(x), bias, turn)
        return x + self.mlp(self.norm2(x))


class Enlarged(nn.Module):
    def forward(self, x):
        sides = [2 * side for side in x.shape[-2:]]
        return functional.interpolate(x, sides, mode="bicubic", antialias=True, align_corners=False)


class PlainViT(nn.Module):
    """Each patch of each frame (B, T, C, H, W) makes `groups` tokens, a part of one too; `cls` are others."""

    def __init__(self, sizes, shape):
        super().__init__()
        dim, wide = sizes.dim, 3 * sizes.dim if sizes.stem else sizes.dim
        _, frames, channels, height, width = shape
        self.wide = wide
        self.conv = nn.Conv2d(channels, math.ceil(sizes.groups) * wide, sizes.patch, stride=sizes.patch)
        if sizes.pixel:  # twice the side, then one layer per pixel
            layer = (Enlarged(), nn.Conv2d(channels, sizes.pixel, 1), nn.ReLU())
            self.conv = nn.Sequential(*layer, nn.Conv2d(sizes.pixel, wide, 2 * sizes.patch, stride=2 * sizes.patch))
        stem = (nn.Linear(wide, wide, bias=False), nn.LayerNorm(wide), nn.Linear(wide, wide), nn.Linear(wide, dim))
        self.stem = nn.Sequential(*stem) if sizes.stem else nn.Identity()
        self.cls = nn.Parameter(torch.zeros(1, sizes.cls, dim))
        count = round(frames * sizes.groups * (height // sizes.patch) * (width // sizes.patch)) + sizes.cls
        self.pos = nn.Parameter(torch.randn(1, count, dim) * 0.02)
        self.register_buffer("bias", torch.randn(1, sizes.heads, count, count) if sizes.biased else None)
        self.register_buffer("turn", torch.randn(2, count, dim // sizes.heads) if sizes.turned else None)
        self.pre = nn.LayerNorm(dim) if sizes.kind == "quick" else nn.Identity()
        self.blocks = nn.ModuleList(PlainBlock(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, sizes.out, bias=False) if sizes.out else None

    def forward(self, frames):
        maps = self.conv(frames.flatten(0, 1))  # (B T, groups D, h, w)
        x = maps.unflatten(1, (-1, self.wide)).flatten(3).transpose(2, 3).reshape(len(frames), -1, self.wide)
        x = self.stem(x)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)[:, : self.pos.shape[1]]
        x = self.pre(x + self.pos)
        for block in self.blocks:
            x = block(x, self.bias, self.turn)
        x = self.norm(x)
        return x, self.head(x[:, 0]) if self.head is not None else x.mean(1)


class PlainSeries(nn.Module):
    """Each pixel of (B, T, C, H, W) is a series of `groups` tokens a frame and one more, a thousand pixels at once."""

    def __init__(self, sizes, shape):
        super().__init__()
        self.groups, self.dim = sizes.groups, sizes.dim
        self.embed = nn.Linear(shape[2], sizes.groups * sizes.dim)
        self.pos = nn.Parameter(torch.randn(1, 1 + shape[1] * sizes.groups, sizes.dim) * 0.02)
        self.blocks = nn.ModuleList(PlainBlock(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.dim)

    def forward(self, frames):
        pixels = frames.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B H W, T, C)
        vectors = []
        for part in pixels.split(1000):
            x = self.embed(part).reshape(len(part), -1, self.dim)
            x = torch.cat([torch.zeros_like(x[:, :1]), x], dim=1) + self.pos
            for block in self.blocks:
                x = block(x)
            vectors.append(self.norm(x.mean(1)))
        return torch.cat(vectors)


class PlainBottleneck(nn.Module):
    def __init__(self, channels, width, *, stride, clip):
        super().__init__()
        shrink = nn.AvgPool2d(2) if clip and stride > 1 else nn.Identity()
        inner = 1 if clip else stride
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride=inner, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(shrink, nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)),
        )
        shortcut = (shrink, nn.Conv2d(channels, 4 * width, 1, stride=inner, bias=False), nn.BatchNorm2d(4 * width))
        self.shortcut = nn.Sequential(*shortcut) if stride > 1 or channels != 4 * width else nn.Identity()

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


class PlainResNet(nn.Module):
    """ResNet-50, or CLIP's with a stem of three convolutions and attention for a pool."""

    def __init__(self, *, clip, out):
        super().__init__()
        self.clip = clip
        stem = ((3, 32, 2), (32, 32, 1), (32, 64, 1)) if clip else ((3, 64, 2),)
        kernel = 3 if clip else 7
        parts = []
        for before, after, stride in stem:
            conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
            parts += [conv, nn.BatchNorm2d(after), nn.ReLU()]
        parts.append(nn.AvgPool2d(2) if clip else nn.MaxPool2d(3, stride=2, padding=1))
        channels = 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                parts.append(PlainBottleneck(channels, 64 << stage, stride=stride, clip=clip))
                channels = 256 << stage
        self.body = nn.Sequential(*parts)
        self.pos = nn.Parameter(torch.randn(50, channels) * 0.02) if clip else None
        self.pool = nn.MultiheadAttention(channels, 32, batch_first=True) if clip else None
        self.head = nn.Linear(channels, out)

    def forward(self, frames):
        tokens = self.body(frames[:, 0]).flatten(2).transpose(1, 2)  # (B, N, D)
        first = tokens.mean(1, keepdim=True)
        if self.clip:
            x = torch.cat([first, tokens], dim=1) + self.pos
            first = self.pool(x[:, :1], x, x, need_weights=False)[0]
        return tokens, self.head(first[:, 0])


# Of models and bodies with windows: channels, width, depths, heads, window and first box (frames, rows, columns).
SWIN = {
    "agrifm": (10, 128, (2, 2, 18, 2), (4, 8, 16, 32), (8, 7, 7), (4, 4, 4)),
    "swin": (3, 96, (2, 2, 6, 2), (3, 6, 12, 24), (1, 7, 7), (1, 4, 4)),
}
WITHOUT = {"anysat", "satvision"}  # no plain network is much like these


def plain(model, batch):
    """Make the plain network for a model of ours and its input, or None where there is none to compare with."""
    card, config = model.card.id, dict(model.card.variant_for(model.spec).config)
    frames = next(iter(batch.images.values()))
    body = config.get("body", "vit")
    if windowed := SWIN.get(card) or SWIN.get(body):
        return PlainSwin(*windowed), frames
    if card == "tessera_encoder":
        return PlainTessera(model.encoder.config), frames
    if card in WITHOUT:
        return None
    if body == "resnet":
        clip = card == "remoteclip"
        return PlainResNet(clip=clip, out=1024 if clip else 1000), frames
    dim, depth, heads = (config.get(name, value) for name, value in (("dim", 768), ("depth", 12), ("heads", 12)))
    more = {
        "croma": {"cls": 0, "biased": True},
        "dinov3sat": {"cls": 5, "turned": True},
        "fomo": {"groups": 12, "cls": 0},
        "galileo": {"groups": 5, "cls": 0},
        "olmoearth": {"cls": 0, "turned": True, "pixel": config.get("hidden", 0)},
        "presto": {"groups": 6},
        "remoteclip": {"kind": "quick", "out": config.get("out")},
        "satmaepp": {"groups": 3 if config.get("grouped") else 1},
        "terrafm": {"stem": True},
        "terramind": {"kind": "gated", "bias": False, "cls": 0},
        "thor": {"groups": 1.25, "cls": 0, "biased": True},
        "wildsat": {"out": 1000},
    }.get(card, {})
    hidden = round(dim * config.get("mlp_ratio", 4))
    kind = PlainSeries if card == "presto" else PlainViT
    return kind(Sizes(dim, depth, heads, hidden, model.patch, **more), frames.shape), frames
