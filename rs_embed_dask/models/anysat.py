"""AnySat: series and images of any resolution over one square of ground, encoded together."""

import datetime as dt
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import plane, sincos
from rs_embed_dask.models.vit import ChannelsLast, Mlp, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens, same_places
from rs_embed_dask.preprocess.inputs import Inputs

SERIES = {"s2": 10, "s1": 3, "s1-asc": 2, "l8": 11}  # channels; a pixel is 10 m
IMAGES = {"aerial": (4, 10, 2), "aerial-flair": (5, 10, 2), "spot": (3, 10, 10), "naip": (4, 8, 10)}  # kernel, metres
_HEADS, _KEY, _BUCKETS = 16, 8, 8
_VALUES = 1 << 26  # most values of an intermediate tensor in memory at once


class _Series(nn.Module):
    """One vector per pixel from its dates: (B, T, C, H, W) and days (B, T) to (B, H, W, D)."""

    def __init__(self, name: str, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for old, new in pairwise((SERIES[name], dim // 8, dim // 2, dim, 2 * dim, dim)):
            layers += [nn.Linear(old, new), nn.GroupNorm(4, new), nn.Identity(), nn.ReLU()]
        self.inconv = nn.Sequential(*layers)
        self.in_norm = nn.GroupNorm(_HEADS, dim) if name == "s2" else None
        self.attention_heads = nn.ModuleDict({"fc1_k": nn.Linear(dim, _HEADS * _KEY)})
        self.attention_heads.register_parameter("Q", nn.Parameter(torch.zeros(_HEADS, _KEY)))
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GroupNorm(4, dim), nn.ReLU())
        self.out_norm = nn.GroupNorm(_HEADS, dim)
        self.year, self.dim = 366 if name == "l8" else 367, dim

    def forward(self, images: Tensor, days: Tensor) -> Tensor:
        count, frames, _, height, width = images.shape
        pixels = images.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B H W, T, C)
        code = sincos(days, self.dim // _HEADS, base=self.year).unflatten(-1, (2, -1)).transpose(-2, -1).flatten(-2)
        code, rows = code.repeat(1, 1, _HEADS), max(1, _VALUES // (frames * 2 * self.dim))
        owners = torch.arange(count, device=days.device).repeat_interleave(height * width).split(rows)
        parts = (self._pixels(part, code[owner]) for part, owner in zip(pixels.split(rows), owners, strict=True))
        return torch.cat([*parts]).view(count, height, width, -1)

    def _pixels(self, x: Tensor, code: Tensor) -> Tensor:
        """Attend from learned queries, one per head, to dates (P, T, C) with codes (P, T, D): (P, D)."""
        x = self.inconv(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (P, T, D)
        x = code + (x if self.in_norm is None else self.in_norm(x.transpose(1, 2)).transpose(1, 2))
        keys = self.attention_heads["fc1_k"](x).unflatten(-1, (_HEADS, _KEY))  # (P, T, heads, key)
        weights = torch.einsum("pthk,hk->pht", keys, self.attention_heads.Q / _KEY**0.5).softmax(-1)
        x = torch.einsum("pht,pthd->phd", weights, x.unflatten(-1, (_HEADS, -1))).flatten(1)
        return self.out_norm(self.mlp(x))


def _image(name: str, dim: int) -> nn.Sequential:
    """Return a network that computes one vector per sub-patch: (B, C, H, W) to (B, h, w, D)."""
    channels, kernel, _ = IMAGES[name]
    cut = nn.Conv2d(channels, dim, kernel, stride=kernel, bias=False)
    layers = ((nn.Linear(old, new), nn.LayerNorm(new), nn.ReLU()) for old, new in pairwise((dim, 2 * dim, dim)))
    mlp = nn.Sequential(*chain.from_iterable(layers))
    return nn.Sequential(OrderedDict(patch_embed=cut, last=ChannelsLast(), mlp=mlp))


class _Spatial(nn.Module):
    """Sub-patches of one patch (P, n, n, D), `metres` wide, to its vector and theirs: (P, 1 + n n, D)."""

    def __init__(self, trunk: TrunkConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, trunk.dim))
        self.predictor_blocks = trunk.blocks()
        for block in self.predictor_blocks:
            block.get_submodule("attn").add_module("rpe_k", _table(trunk))
        self.predictor_norm = trunk.norm()

    def forward(self, x: Tensor, metres: int) -> Tensor:
        side = x.shape[1]
        x = (x + plane((side, side), x.shape[-1], x.new_full((1,), metres))).flatten(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), 1, -1), x], dim=1)
        buckets, done = _buckets((side, side), x.device), []
        for part in x.split(max(1, _VALUES // (_HEADS * x.shape[1] ** 2))):
            for block in self.predictor_blocks:
                table = block.get_parameter("attn.rpe_k.lookup_table_weight")
                part = block(part, bias=partial(_distances, table, buckets, scale=True))  # noqa: PLW2901
            done.append(self.predictor_norm(part))
        return torch.cat(done)


class _CrossBlock(nn.Module):
    """Queries that differ by position only attend to every token; only the MLP has a residual connection."""

    def __init__(self, trunk: TrunkConfig) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = trunk.norm(), trunk.norm(), trunk.heads
        self.attn = nn.ModuleDict({name: nn.Linear(trunk.dim, trunk.dim) for name in ("wk", "wv", "proj")})
        self.attn.register_parameter("q_learned", nn.Parameter(torch.zeros(1, 1, trunk.dim)))
        self.attn["rpe_k"] = _table(trunk)
        self.mlp = Mlp(trunk.dim, trunk.mlp_hidden)

    def forward(self, x: Tensor, places: Tensor, buckets: Tensor) -> Tensor:
        """Tokens (B, N, D), positions of queries (1, Q, D) and buckets (Q, N) to (B, Q, D)."""
        x = self.norm1(x)
        k, v = self.attn["wk"](x), self.attn["wv"](x)
        queries = (self.get_parameter("attn.q_learned") + places).to(k.dtype)
        parts = (queries.expand(len(x), -1, -1), k, v)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        bias = _distances(self.get_parameter("attn.rpe_k.lookup_table_weight"), buckets, q, scale=False)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = self.attn["proj"](mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


@dataclass(frozen=True, kw_only=True)
class AnySatConfig(TrunkConfig):
    modalities: tuple[str, ...]
    patch_px: int = 1  # side of a patch in units of 10 m
    grid: Literal["patch", "dense"] = "patch"  # tokens are patches, or sub-patches joined to their patch's vector
    first_day: int = 0  # the number of 1 January
    days_since: str = ""  # the date from which days count instead


class AnySat(nn.Module):
    dense_of = ""  # the modality whose sub-patches a dense grid has; the first

    def __init__(self, config: AnySatConfig) -> None:
        super().__init__()
        self.config, self.grid, self.patch_px = config, config.grid, config.patch_px
        for name in config.modalities:
            series = name in SERIES
            module = nn.ModuleDict({"patch_embed": _Series(name, config.dim)}) if series else _image(name, config.dim)
            self.add_module(f"projector_{name}", module)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.spatial_encoder = _Spatial(replace(config, norm_eps=1e-5))
        self.blocks = nn.ModuleList([*config.blocks(), _CrossBlock(config)])

    def forward(self, batch: Batch) -> Tokens:
        """Encode series (B, T, C, H, W) and images (B, 1, C, H, W) of one square, each at its resolution."""
        parts = {name: self._patches(name, batch) for name in batch.images}
        maps = [patches for _, patches in parts.values()]  # (B, h, w, D)
        same_places({name: tuple(patches.shape[1:3]) for name, (_, patches) in parts.items()})
        count, height, width, dim = maps[0].shape
        table = plane((height, width), dim, maps[0].new_full((1,), self.patch_px)).flatten(1, 2)  # (1, N, D)
        x = torch.cat([self.cls_token.expand(count, 1, -1), *(one.flatten(1, 2) + table for one in maps)], dim=1)
        for block in self.blocks[:-1]:
            x = block(x)
        buckets = _buckets((height, width), x.device)
        buckets = torch.cat([buckets[:, :1], buckets[:, 1:].repeat(1, len(maps))], dim=1)
        x = self.blocks[-1](x, functional.pad(table, (0, 0, 1, 0)), buckets)
        patches = x[:, 1:].unflatten(1, (height, width))
        tokens = Tokens(patches, cls=x[:, 0], extra={"tile": x[:, 0], "all": x, "patch": patches.permute(0, 3, 1, 2)})
        if self.grid == "dense":
            name = self.dense_of or next(iter(parts))
            fine, cells = 10 // _metres(name), self.patch_px
            tokens.extra["dense"] = _dense(patches, parts[name][0]).permute(0, 3, 1, 2)
            tokens.patches = _dense(patches, _reordered(parts[name][0], (cells, cells, fine, fine)))
        return tokens

    def _patches(self, name: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sub-patches (B, h, w, n, n, D), in the published order, and patches (B, h, w, D) of a modality."""
        series, project = name in SERIES, getattr(self, f"projector_{name}")
        images = batch.images[name] if series else batch.only_frame(name)[:, None]
        images = scaled(images, batch.inputs[name]) if name in batch.inputs else images
        days = batch.calendar(self._day, name) if series else None
        x = project(images[:, 0]) if days is None else project["patch_embed"](images, days)
        side = self.patch_px * 10 // _metres(name)
        if any(length % side for length in x.shape[1:3]):
            reason, fix = f"not a whole number of patches of {10 * self.patch_px} m", "choose another size or patch_px"
            raise ModelInputError(f"pixels of {name}", value=tuple(images.shape[-2:]), reason=reason, fix=fix)
        x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3)  # (B, h, w, n, n, D)
        x = _reordered(x, (self.patch_px, side // self.patch_px) * 2)
        encoded = self.spatial_encoder(x.flatten(0, 2), _metres(name))
        return encoded[:, 1:].reshape(x.shape), encoded[:, 0].unflatten(0, x.shape[:3])

    def _day(self, day: dt.date) -> float:
        if self.config.days_since:
            return (day - dt.date.fromisoformat(self.config.days_since)).days
        return (day - dt.date(day.year, 1, 1)).days + self.config.first_day


def scaled(images: Tensor, inputs: Inputs) -> Tensor:
    """Standardise (B, T, C, H, W) with the inputs' statistics or, where there are none, with the item's own."""
    statistics = dict(inputs.per_band)
    if "mean" in statistics:
        mean, std = (images.new_tensor(statistics[name])[:, None, None] for name in ("mean", "std"))
        return (images - mean) / std
    std, mean = torch.std_mean(images, (1, 3, 4), correction=0, keepdim=True)
    return (images - mean) / std.clamp(min=1e-6)


def _metres(name: str) -> int:
    """Side of a sub-patch."""
    return IMAGES[name][2] if name in IMAGES else 10


def _table(trunk: TrunkConfig) -> nn.ParameterDict:
    return nn.ParameterDict({"lookup_table_weight": nn.Parameter(torch.zeros(1, trunk.dim // trunk.heads, _BUCKETS))})


def _buckets(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the bucket of the distance between two places of a grid, the class token first: (1 + N, 1 + N)."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64, device=device) for side in shape))
    apart = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist").round()
    buckets = torch.bucketize(apart, apart.new_tensor([1, 2, 4]), right=True) + 3
    return functional.pad(buckets, (1, 0, 1, 0), value=_BUCKETS - 1)


def _distances(table: Tensor, buckets: Tensor, q: Tensor, *, scale: bool) -> Tensor:
    """Bias of distances (Q, N) by the queries (B, heads, Q, head) of the first head, for all as published."""
    first = q[:, :1] * (q.shape[-1] ** -0.5 if scale else 1)
    scores = first @ table[0].to(q.dtype)  # (B, 1, Q, buckets)
    return scores.gather(-1, buckets.expand(*scores.shape[:-1], -1))


def _reordered(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Order the sub-patches (B, h, w, n, n, D) of a patch by cells of 10 m, as published, or back into rows."""
    return x.reshape(*x.shape[:3], *sizes, x.shape[-1]).transpose(4, 5).reshape(x.shape)


def _dense(patches: Tensor, parts: Tensor) -> Tensor:
    """Prepend its patch's vector to that of each sub-patch (B, h, w, n, n, D): (B, h n, w n, 2 D)."""
    both = torch.cat([patches[:, :, :, None, None].expand_as(parts), parts], dim=-1)
    return both.transpose(2, 3).flatten(3, 4).flatten(1, 2)


build = from_keywords(AnySat, AnySatConfig)
