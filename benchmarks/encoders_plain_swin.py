"""A straightforward Swin transformer over time, rows and columns, as its authors write one; an image is one frame.

Maps are padded to whole windows, rolled, and cut by views; the bias of a window's offsets and the barriers of rolled
maps are looked up once, for the first map. Frames are averaged in pairs between stages, as AgriFM does.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class PlainWindows(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn(math.prod(2 * w - 1 for w in window), heads) * 0.02)
        places = torch.stack(torch.meshgrid(*map(torch.arange, window), indexing="ij")).flatten(1)  # (3, N)
        apart = (places[:, :, None] - places[:, None]).permute(1, 2, 0) + torch.tensor(window) - 1
        self.register_buffer(
            "index", (apart[..., 0] * (2 * window[1] - 1) + apart[..., 1]) * (2 * window[2] - 1) + apart[..., 2]
        )

    def forward(self, x, mask):
        count, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(count, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index[:tokens, :tokens]].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(count, tokens, dim))


def cut(x, window):
    (b, t, h, w, d), (i, j, k) = x.shape, window
    x = x.view(b, t // i, i, h // j, j, w // k, k, d)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, i * j * k, d)


def joined(x, shape, window):
    (b, t, h, w, d), (i, j, k) = shape, window
    x = x.view(b, t // i, h // j, w // k, i, j, k, d)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


class PlainWindowBlock(nn.Module):
    def __init__(self, dim, heads, window, *, shifted):
        super().__init__()
        self.window, self.shifted, self.masks = window, shifted, {}
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = PlainWindows(dim, heads, window)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        window = tuple(min(w, side) for w, side in zip(self.window, x.shape[1:4], strict=True))
        shift = [w // 2 if self.shifted and side > w else 0 for w, side in zip(window, x.shape[1:4], strict=True)]
        t, h, w = ((-side) % one for side, one in zip(x.shape[1:4], window, strict=True))
        y = functional.pad(self.norm1(x), (0, 0, 0, w, 0, h, 0, t))
        shape, mask = y.shape, None
        if any(shift):
            y = torch.roll(y, [-step for step in shift], (1, 2, 3))
            mask = self.mask(tuple(shape), window, shift)
        y = joined(self.attn(cut(y, window), mask), shape, window)
        y = torch.roll(y, shift, (1, 2, 3)) if any(shift) else y
        x = x + y[:, : x.shape[1], : x.shape[2], : x.shape[3]]
        return x + self.mlp(self.norm2(x))

    def mask(self, shape, window, shift):
        if shape not in self.masks:
            regions, number = torch.zeros(1, *shape[1:4], 1), 0
            parts = [
                (slice(-w), slice(-w, -s or None), slice(-s, None)) if s else (slice(None),)
                for w, s in zip(window, shift, strict=True)
            ]
            for one in parts[0]:
                for two in parts[1]:
                    for three in parts[2]:
                        regions[:, one, two, three] = number
                        number += 1
            tokens = cut(regions, window)[..., 0]
            self.masks[shape] = (tokens[:, None] != tokens[:, :, None]) * -100.0
        return self.masks[shape]


class PlainMerging(nn.Module):
    def __init__(self, dim, *, film):
        super().__init__()
        self.film, self.norm, self.reduction = film, nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        if self.film:
            x = functional.pad(x, (0, 0, 0, 0, 0, 0, 0, x.shape[1] % 2))
            x = (x[:, ::2] + x[:, 1::2]) / 2
        corners = (x[:, :, ::2, ::2], x[:, :, 1::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class PlainSwin(nn.Module):
    """Of films (B, T, C, H, W)."""

    def __init__(self, channels, dim, depths, heads, window, box):
        super().__init__()
        self.box, self.conv = box, nn.Conv3d(channels, dim, box, stride=box)
        parts = []
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            wide = dim << stage
            parts += [PlainWindowBlock(wide, count, window, shifted=i % 2 == 1) for i in range(depth)]
            parts += [PlainMerging(wide, film=box[0] > 1)] if stage + 1 < len(depths) else []
        self.body, self.norm = nn.Sequential(*parts), nn.LayerNorm(wide)

    def forward(self, frames):
        film = functional.pad(frames.transpose(1, 2), (0, 0, 0, 0, 0, (-frames.shape[1]) % self.box[0]))
        return self.norm(self.body(self.conv(film).permute(0, 2, 3, 4, 1))).mean((1, 2, 3))
