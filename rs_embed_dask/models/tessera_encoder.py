"""TESSERA: series of Sentinel-2 and Sentinel-1 at one pixel, each through a transformer over its dates."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.date_choice import DRAWN, chosen, drawn
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.preprocess.batch import Batch, Tokens, same_places
from rs_embed_dask.preprocess.steps import floats

_CLEAR = (4, 5, 6, 7, 10, 11)  # of the scene classification
_OFFSET = 1000.0  # of stored reflectance since 2022
_NO_ORBIT_DAY = 180  # in v1.0, of the empty frame that stands for an orbit without any
_DAYS = 367
_FUSION_HEADS = 4
_ROWS = {"cpu": 1 << 10, "cuda": 1 << 18}  # dates at once: on a CPU, what fits its caches


@dataclass(frozen=True, kw_only=True)
class TesseraConfig:
    dim: int
    depth: int
    heads: int
    hidden: int
    s2: str  # statistics: means, then after a semicolon standard deviations
    s1_asc: str
    s1_desc: str
    out: int = 128  # of the head
    length: int = 128  # of the vector: the head's first numbers
    choice: Literal["drawn", "spread", "split"] = "split"  # of a pixel's dates
    context: Literal["none", "gru", "torch_gru"] = "none"  # of a date, for its weight
    head: Literal["linear", "mlp", "normed"] = "normed"
    pre_norm: bool = False
    qk_norm: bool = False
    fusion: int = 0  # blocks between the two sensors
    dimensions: int = 0
    rounding: Literal["none", "int8"] = "none"
    seed: int = 0


class _Attention(nn.MultiheadAttention):
    """PyTorch's names, and the shortest way to the same numbers."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(P, T, D) to the same."""
        parts = functional.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (P, heads, T, D / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return functional.linear(mixed.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)


class _TesseraBlock(nn.Module):
    """A transformer block with a ReLU; with `qk_norm`, the queries and keys of each head are scaled to one length."""

    def __init__(self, config: TesseraConfig, heads: int, hidden: int) -> None:
        super().__init__()
        dim = config.dim
        if config.qk_norm:
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                self.add_module(name, nn.Linear(dim, dim))
            self.q_norm, self.k_norm = (nn.RMSNorm(dim // heads) for _ in range(2))
        else:
            self.self_attn = _Attention(dim, heads)
        self.heads, self.pre_norm = heads, config.pre_norm
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(P, T, D) to the same."""
        if self.pre_norm:
            x = x + self._attend(self.norm1(x))
            return x + self._mlp(self.norm2(x))
        x = self.norm1(self._attend(x).add_(x))
        return self.norm2(self._mlp(x).add_(x))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.linear2(functional.relu_(self.linear1(x)))

    def _attend(self, x: Tensor) -> Tensor:
        if "self_attn" in self._modules:
            return self.self_attn(x)
        parts = (self.get_submodule(f"{name}_proj")(x).unflatten(-1, (self.heads, -1)) for name in "qkv")
        q, k, v = parts  # (P, T, heads, D / heads)
        q, k = (norm(part.float()).to(v.dtype) for norm, part in ((self.q_norm, q), (self.k_norm, k)))
        mixed = functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)))
        return self.get_submodule("out_proj")(mixed.transpose(1, 2).flatten(2))


class _Blocks(nn.ModuleList):
    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x


class _Layers(nn.Module):
    """PyTorch's name for blocks in a row."""

    def __init__(self, blocks: _Blocks) -> None:
        super().__init__()
        self.layers = blocks

    def forward(self, x: Tensor) -> Tensor:
        """(P, T, D) to the same."""
        return self.layers(x)


class _Gru(nn.Module):
    """The authors' gated recurrence, which is not PyTorch's: `z` lets the new state in, and `r` gates the old one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        cell = {f"W_{way}{gate}": nn.Linear(dim, dim, bias=False) for way in "ih" for gate in "rzh"}
        self.gru_cell = nn.ModuleDict(cell)
        for gate in "rzh":
            self.gru_cell.register_parameter(f"b_{gate}", nn.Parameter(torch.zeros(dim)))

    def forward(self, x: Tensor) -> Tensor:
        """(P, T, D) to the state after each step, (P, T, D)."""
        cell = self.gru_cell
        of = cell.get_parameter
        bias = torch.cat([of(f"b_{gate}") for gate in "rzh"])
        inputs = torch.cat([of(f"W_i{gate}.weight") for gate in "rzh"])
        gates, new = torch.cat([of("W_hr.weight"), of("W_hz.weight")]), of("W_hh.weight")
        steps = functional.linear(x, inputs, bias).unbind(1)  # (P, 3 D) each
        state, states = torch.zeros_like(x[:, 0]), []
        for step in steps:
            r, z = (step[:, : len(gates)] + functional.linear(state, gates)).sigmoid_().chunk(2, dim=-1)
            candidate = (step[:, len(gates) :] + functional.linear(r * state, new)).tanh_()
            state = torch.lerp(state, candidate, z)
            states.append(state)
        return torch.stack(states, dim=1)


class _Pool(nn.Module):
    """The mean of a series, weighted by what a context says of each date."""

    def __init__(self, config: TesseraConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.dim, 1)
        self.always = config.pre_norm or config.context == "torch_gru"  # also where there is one row alone
        if config.context == "torch_gru":
            self.temporal_context: nn.Module = nn.GRU(config.dim, config.dim, batch_first=True)
        elif config.context == "gru":
            self.temporal_context = _Gru(config.dim)
            self.layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(P, T, D) to (P, D)."""
        if x.shape[1] == 1 and not self.always:
            return x[:, 0]
        context = x
        if "temporal_context" in self._modules:
            found = self.temporal_context(x)
            context = self.layer_norm(found) if "layer_norm" in self._modules else found[0]
        weights = self.query(context).softmax(1)  # (P, T, 1)
        return (weights.transpose(1, 2) @ x)[:, 0]


class _Backbone(nn.Module):
    """One sensor's series to one vector."""

    def __init__(self, bands: int, config: TesseraConfig) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(bands, config.dim), nn.ReLU(), nn.Linear(config.dim, config.dim))
        blocks = _Blocks(_TesseraBlock(config, config.heads, config.hidden) for _ in range(config.depth))
        is_plain_list = config.qk_norm and not config.pre_norm
        self.transformer_encoder = blocks if is_plain_list else _Layers(blocks)
        self.attn_pool = _Pool(config)

    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        """(P, T, C) and days of the year (P, T) to (P, D)."""
        x = self.embedding(x)
        x = x + _day_codes(x.shape[-1], str(x.device))[days]
        return self.attn_pool(self.transformer_encoder(x))


@lru_cache(maxsize=8)
def _day_codes(dim: int, device: str) -> Tensor:
    """Return sines and cosines in turn of each day of the year, in float32 as published: (367, D)."""
    steps = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32, device=device) * -(math.log(10000.0) / dim))
    angles = torch.arange(_DAYS, dtype=torch.float32, device=device)[:, None] * steps
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


@dataclass
class _Dates:
    """One sensor's dates of all pixels; a last row of zeros stands for no date."""

    values: Tensor  # (P, T + 1, C) standardised
    days: Tensor  # (P, T + 1)
    valid: Tensor  # (P, T)
    spare: Tensor  # (P, T) what is drawn from where none is valid

    @classmethod
    def joined(cls, parts: Sequence[tuple[Tensor, ...]], like: Tensor, bands: int) -> Self:
        """Concatenate the dates of several orbits, and append the row of zeros; of none, that alone."""
        nothing = like.new_zeros(_pixels(like), 0)
        first = (nothing[..., None].expand(-1, -1, bands), nothing.long(), nothing.bool(), nothing.bool())
        values, days, valid, spare = (torch.cat(each, dim=1) for each in zip(first, *parts, strict=True))
        return cls(functional.pad(values, (0, 0, 0, 1)), functional.pad(days, (0, 1)), valid, spare)

    def rows(self, pixels: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Take dates by their numbers (P, L)."""
        return self.values[pixels[:, None], numbers], self.days[pixels[:, None], numbers]


class TesseraEncoder(nn.Module):
    def __init__(self, config: TesseraConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.s2_backbone, self.s1_backbone = _Backbone(10, config), _Backbone(2, config)
        if config.fusion:
            self.fusion_modality_embed = nn.Parameter(torch.zeros(2, dim))
            blocks = (_TesseraBlock(config, _FUSION_HEADS, 2 * dim) for _ in range(config.fusion))
            self.fusion_transformer = _Layers(_Blocks(blocks))
        if config.head == "linear":
            self.dim_reducer = nn.Sequential(nn.Linear(2 * dim, config.out))
        else:
            inner = [nn.Linear(2 * dim, 4 * dim), nn.LayerNorm(4 * dim), nn.ReLU(), nn.Identity()]
            last = nn.LayerNorm(config.out, elementwise_affine=False) if config.head == "normed" else nn.Identity()
            self.dim_reducer = nn.Sequential(*inner, nn.Linear(4 * dim, config.out), last)

    def forward(self, batch: Batch) -> Tokens:
        """Encode each pixel of any of s2, s1-asc, s1-desc (B, T, C, H, W), NaN where a date does not count."""
        count, _, _, height, width = next(iter(batch.images.values())).shape
        same_places({name: tuple(images.shape[-2:]) for name, images in batch.images.items()})
        s2, s1 = self._optical(batch), self._radar(batch)
        vectors = s2.values.new_full((len(s2.values), self.config.out), torch.nan)
        for pixels, dates in self._groups(batch, (s2, s1)):
            vectors[pixels] = self.encode(s2.rows(pixels, dates[0]), s1.rows(pixels, dates[1])).float()
        whole = vectors.view(count, height, width, -1)
        patches = self.vector(whole)
        weights = patches[..., :1].isfinite().float()
        weights = weights if batch.share is None else weights * batch.share[..., None]
        pooled = (patches.nan_to_num() * weights).sum((1, 2)) / weights.sum((1, 2))
        return Tokens(patches, pooled=pooled, extra={"representation": whole})

    def encode(self, s2: tuple[Tensor, Tensor], s1: tuple[Tensor, Tensor]) -> Tensor:
        """Encode standardised series (P, T, 10) and (P, T, 2), each with its days of the year (P, T): (P, out)."""
        both = torch.stack([self.s2_backbone(*s2), self.s1_backbone(*s1)], dim=1)  # (P, 2, D)
        if self.config.fusion:
            both = self.fusion_transformer(both + self.fusion_modality_embed)
        return self.dim_reducer(both.flatten(1))

    def vector(self, representation: Tensor) -> Tensor:
        """Cut (..., out) to the numbers that are given, and round them where that is asked for."""
        cut = representation[..., : self.config.dimensions or self.config.length]
        if self.config.rounding == "none":
            return cut
        codes, scale = coded(cut)
        return codes * scale[..., None]

    def _optical(self, batch: Batch) -> _Dates:
        """Return Sentinel-2's series: a date counts where its scene class, if there are any, and all bands do."""
        first = next(iter(batch.images.values()))
        if "s2" not in batch.images:
            return _Dates.joined([], first, bands=10)
        pixels = _by_pixel(batch.images["s2"])
        valid = there = pixels.isfinite().all(-1)
        # From a number below the offset the authors subtract nothing.
        pixels = torch.where(pixels < 0, pixels + _OFFSET, pixels).nan_to_num()
        if "scl" in batch.images:
            same_places({name: tuple(batch.images[name].shape[:2]) for name in ("s2", "scl")})
            classes = _by_pixel(batch.images["scl"])[..., 0]
            valid = there & torch.isin(classes, classes.new_tensor(_CLEAR))
        spare = there & (pixels != 0).flatten(1).any(1, keepdim=True)
        return _Dates.joined([(_standard(pixels, self.config.s2), _days(batch, "s2"), valid, spare)], first, bands=10)

    def _radar(self, batch: Batch) -> _Dates:
        """Return Sentinel-1's series, ascending orbits first: a date counts where something was stored of it."""
        first, parts = next(iter(batch.images.values())), []
        for name, numbers in (("s1-asc", self.config.s1_asc), ("s1-desc", self.config.s1_desc)):
            if name in batch.images:
                stored, days = stored_radar(_by_pixel(batch.images[name])), _days(batch, name)
            elif self.config.choice == "drawn":
                stored = first.new_zeros(_pixels(first), 1, 2)
                days = torch.full((len(stored), 1), _NO_ORBIT_DAY, device=first.device)
            else:
                continue
            valid = (stored != 0).any(-1)
            parts.append((_standard(stored, numbers), days, valid, torch.ones_like(valid)))
        return _Dates.joined(parts, first, bands=2)

    def _groups(self, batch: Batch, series: tuple[_Dates, _Dates]) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        """Yield pixels that have as many dates of each sensor, not too many at once, and the numbers of the dates."""
        if self.config.choice == "drawn":
            seen, numbers = self._drawn(batch, series)
            lengths = [torch.full_like(seen, each.shape[1], dtype=torch.long) for each in numbers]
        else:
            seen = torch.cat([one.valid for one in series], dim=1).any(1)
            picked = [chosen(one.valid, self.config.choice) for one in series]
            numbers, lengths = (picked[0][0], picked[1][0]), [each for _, each in picked]
        for sizes in torch.stack(lengths, dim=1)[seen].unique(dim=0).tolist():
            alike = seen & (lengths[0] == sizes[0]) & (lengths[1] == sizes[1])
            (pixels,) = alike.nonzero(as_tuple=True)
            for part in pixels.split(max(1, _ROWS.get(seen.device.type, _ROWS["cpu"]) // sum(sizes))):
                yield part, tuple(each[part, :size] for each, size in zip(numbers, sizes, strict=True))

    def _drawn(self, batch: Batch, series: tuple[_Dates, _Dates]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Draw dates for the pixels of each item that have anything: which these are, and numbers (P, 40)."""
        usable = [torch.where(one.valid.any(1, keepdim=True), one.valid, one.spare) for one in series]
        seen = series[0].spare.any(1)
        numbers = tuple(torch.zeros(len(seen), DRAWN, dtype=torch.long) for _ in series)
        for item, pixels in enumerate(torch.arange(len(seen)).view(len(batch), -1)):
            generator = np.random.RandomState(self._seed(batch, item))  # as the authors draw
            own = pixels[seen[pixels].cpu()]
            for rows, candidates in zip(numbers, usable, strict=True):
                rows[own] = torch.from_numpy(drawn(candidates[own].cpu().numpy(), generator))
        return seen, tuple(rows.to(seen.device) for rows in numbers)

    def _seed(self, batch: Batch, item: int) -> int:
        """Return what an item's dates are drawn from: the seed alone, or with the place, so that places differ."""
        if batch.lonlat is None:
            return self.config.seed
        lon, lat = batch.lonlat[item].tolist()
        return zlib.crc32(f"{self.config.seed} {lon:.6f} {lat:.6f}".encode())


def _pixels(images: Tensor) -> int:
    return len(images) * images.shape[-2] * images.shape[-1]


def _by_pixel(images: Tensor) -> Tensor:
    """(B, T, C, H, W) to (B H W, T, C) float32."""
    return images.permute(0, 3, 4, 1, 2).flatten(0, 2).float()


def _days(batch: Batch, name: str) -> Tensor:
    """Return the days of the year, 1 January being 1, of a modality at every pixel: (B H W, T)."""
    days = batch.calendar(lambda day: day.timetuple().tm_yday, name).long()
    height, width = batch.images[name].shape[-2:]
    return days.repeat_interleave(height * width, dim=0)


def _standard(values: Tensor, numbers: str) -> Tensor:
    mean, std = (values.new_tensor(floats(part)) for part in numbers.split(";"))
    return (values - mean) / (std + 1e-9)


def stored_radar(decibels: Tensor) -> Tensor:
    """Convert dB (P, T, 2) to what the authors store, 200 (20 log10 power + 50) from 0, cut to whole numbers."""
    whole = (decibels.double() * 400 + 10_000).clamp(0, 32_767).trunc()
    return whole.nan_to_num().float()


def coded(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Round vectors (..., D) to the authors' codes from -127 to 127, and their scale (...)."""
    scale = vectors.abs().amax(-1).clamp(min=1e-12) / 127
    return (vectors / scale[..., None]).round(), scale


build = from_keywords(TesseraEncoder, TesseraConfig)
