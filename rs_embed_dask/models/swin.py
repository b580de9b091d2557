"""Attention within windows of any number of axes, by the names of torchvision and of Swin's authors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.vit import Attention, Mlp, TrunkConfig

Sides = tuple[int, ...]
BlockMaker = Callable[[TrunkConfig, int], nn.Module]
_BARRIER = -100.0


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """Sizes of stages that double the width, `dim` at first."""

    dim: int
    depths: Sides
    heads: Sides
    mlp_ratio: float = 4.0

    def trunks(self) -> list[TrunkConfig]:
        """Return the sizes of each stage."""
        stage = partial(TrunkConfig, mlp_ratio=self.mlp_ratio, norm_eps=1e-5)
        sizes = enumerate(zip(self.depths, self.heads, strict=True))
        return [stage(dim=self.dim << i, depth=depth, heads=heads) for i, (depth, heads) in sizes]


class WindowAttention(Attention):
    """Self-attention among the tokens of a window, with a learned bias for each offset of two tokens."""

    def __init__(self, dim: int, heads: int, window: Sides) -> None:
        super().__init__(dim, heads)
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros(math.prod(2 * w - 1 for w in window), heads))

    def bias(self, window: Sides) -> Tensor:
        """Bias of every pair of tokens of a window: (heads, N, N)."""
        # Of a smaller one than the table's, the rows that the first of its tokens have: right where only the
        # first axis is shorter, and as published where another one is.
        table, count = self.relative_position_bias_table, math.prod(window)
        return table[offsets(self.window, table.device)[:count, :count]].permute(2, 0, 1)


class WindowBlock(nn.Module):
    """Pre-norm transformer block on a map (B, *S, D); the windows of every second one are `shifted` by half a side."""

    def __init__(
        self, trunk: TrunkConfig, window: Sides, mlp: nn.Module | None = None, *, shifted: bool, clamped: bool = False
    ) -> None:
        super().__init__()
        self.clamped = clamped
        self.shift = tuple(side // 2 if shifted else 0 for side in window)
        self.norm1, self.norm2 = trunk.norm(), trunk.norm()
        self.attn: nn.Module = WindowAttention(trunk.dim, trunk.heads, window)
        self.mlp = mlp or Mlp(trunk.dim, trunk.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *S, D) to the same."""
        x = x + attend_in_windows(self.attn, self.norm1(x), self.shift, clamped=self.clamped)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Each square of four tokens of a map to one of twice the width; the norm comes first, or `after`."""

    def __init__(self, dim: int, eps: float = 1e-5, *, after: bool = False) -> None:
        super().__init__()
        self.after = after
        self.norm = nn.LayerNorm((2 if after else 4) * dim, eps=eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., H, W, D) to (..., H / 2, W / 2, 2 D), an odd side rounded up."""
        x = functional.pad(x, (0, 0, 0, x.shape[-2] % 2, 0, x.shape[-3] % 2))
        corners = [x[..., down::2, across::2, :] for across in (0, 1) for down in (0, 1)]
        x = torch.cat(corners, dim=-1)
        return self.norm(self.reduction(x)) if self.after else self.reduction(self.norm(x))


class Stages(nn.Module):
    """Stages of blocks, one trunk each, with a merging between stages, and a norm."""

    # `block` builds one from its trunk and index, `merging` one from the preceding width.

    def __init__(self, trunks: list[TrunkConfig], block: BlockMaker, merging: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for trunk in trunks:
            blocks = nn.ModuleList(block(trunk, i) for i in range(trunk.depth))
            between = nn.Identity() if trunk is trunks[-1] else merging(trunk.dim)
            self.layers.append(nn.ModuleDict({"blocks": blocks, "downsample": between}))
        self.norm = trunks[-1].norm()

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, after its merging and without a norm."""
        maps = []
        for stage in self.layers:
            blocks, between = stage.children()
            for part in (*blocks.children(), between):
                x = part(x)
            maps.append(x)
        return maps


def attend_in_windows(attention: Any, x: Tensor, shift: Sides, *, clamped: bool = False) -> Tensor:
    """Run attention within the windows of a map (B, *S, D), shifted along axes longer than a window."""
    # Along axes that are shorter than one, the map is one window, if `clamped`. A map that is not a whole number of
    # windows is padded with zeros, which are attended to like any token. Where the map was rolled, tokens of its
    # two ends meet in a window and are kept apart.
    window, shape = attention.window, tuple(x.shape[1:-1])
    window = tuple(map(min, window, shape)) if clamped else window
    padded = tuple(-(-side // w) * w for side, w in zip(shape, window, strict=True))
    shift = tuple(0 if side <= w else step for side, w, step in zip(padded, window, shift, strict=True))
    axes = tuple(range(1, 1 + len(window)))
    if padded != shape:
        ends = ((0, side - old) for side, old in zip(reversed(padded), reversed(shape), strict=True))
        x = functional.pad(x, (0, 0, *chain.from_iterable(ends)))
    bias = attention.bias(window)[None]  # (1, heads, N, N)
    if any(shift):
        x = x.roll(tuple(-step for step in shift), axes)
        bias = (bias + _barriers(padded, window, shift, x.device)).repeat(len(x), 1, 1, 1)  # (B windows, heads, N, N)
    x = _joined(attention(_cut(x, window), bias), padded, window)
    x = x.roll(shift, axes) if any(shift) else x
    return x if padded == shape else x[(slice(None), *(slice(side) for side in shape))]


def _cut(x: Tensor, window: Sides) -> Tensor:
    """Cut a map (B, *S, D) into windows: (B windows, N, D)."""
    counts = (side // w for side, w in zip(x.shape[1:-1], window, strict=True))
    x = x.reshape(len(x), *chain.from_iterable(zip(counts, window, strict=True)), x.shape[-1])
    last = 2 * len(window) + 1
    return x.permute(0, *range(1, last, 2), *range(2, last, 2), last).reshape(-1, math.prod(window), x.shape[-1])


def _joined(windows: Tensor, shape: Sides, window: Sides) -> Tensor:
    """Undo `_cut`: (B, *shape, D)."""
    counts, count = (side // w for side, w in zip(shape, window, strict=True)), len(window)
    x = windows.reshape(-1, *counts, *window, windows.shape[-1])
    pairs = zip(range(1, count + 1), range(count + 1, 2 * count + 1), strict=True)
    return x.permute(0, *chain.from_iterable(pairs), 2 * count + 1).reshape(-1, *shape, windows.shape[-1])


@lru_cache(maxsize=32)
def offsets(window: Sides, device: torch.device) -> Tensor:
    """Row of the table of biases for each pair of a window's tokens: (N, N)."""
    places = torch.cartesian_prod(*(torch.arange(side, device=device) for side in window)).view(-1, len(window))
    index = torch.zeros((len(places),) * 2, dtype=torch.long, device=device)
    for place, side in zip(places.T, window, strict=True):
        index = index * (2 * side - 1) + (place[:, None] - place[None] + side - 1)
    return index


@lru_cache(maxsize=32)
def _barriers(shape: Sides, window: Sides, shift: Sides, device: torch.device) -> Tensor:
    """Mask pairs of tokens of a rolled map that were not neighbours: (windows, 1, N, N)."""
    regions = torch.zeros(shape, device=device)
    for axis, (side, w, step) in enumerate(zip(shape, window, shift, strict=True)):
        place = torch.arange(side, device=device)
        region = (place >= side - w).int() + (place >= side - step) if step else torch.zeros_like(place)
        regions = 3 * regions + region.view(-1, *(1,) * (len(shape) - axis - 1))
    cut = _cut(regions[None, ..., None], window)  # (windows, N, 1)
    return ((cut != cut.mT) * _BARRIER)[:, None]
