"""Presto: a pixel's series of radar, optical, weather and terrain values, in any combination."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.galileo import SPACE_TIME
from rs_embed_dask.models.positions import joined, on_sphere
from rs_embed_dask.models.vit import TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens, same_places

# Groups of channels that make one token each: (name, input that holds them, its channels).
GROUPS = (*SPACE_TIME[:-1], ("ERA5", "era5", (0, 1)), ("SRTM", "srtm", (0, 1)), SPACE_TIME[-1])
NO_CLASS = 9
_TOKENS = {"cpu": 1 << 13, "cuda": 1 << 17}  # the fastest number per batch: on a CPU, what fits its caches


@dataclass(frozen=True, kw_only=True)
class PrestoConfig(TrunkConfig):
    norm_eps: float = 1e-5
    max_frames: int = 24  # rows of the table of time positions
    channel: int = 32
    month: int = 32


class Presto(nn.Module):
    def __init__(self, config: PrestoConfig) -> None:
        super().__init__()
        dim = config.dim
        self.pos_embed = nn.Parameter(torch.zeros(1, config.max_frames, dim - config.channel - config.month))
        self.month_embed = nn.Embedding(12, config.month)
        self.channel_embed = nn.Embedding(len(GROUPS) + 1, config.channel)
        self.eo_patch_embed = nn.ModuleDict({name: nn.Linear(len(channels), dim) for name, _, channels in GROUPS})
        self.dw_embed = nn.Embedding(NO_CLASS + 1, dim)
        self.latlon_embed = nn.Linear(3, dim)
        self.blocks, self.norm = config.blocks(), config.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode each pixel of any of s2, s1, era5, srtm, dw, ndvi (B, T, C, H, W); NaN is hidden."""
        count, frames, _, height, width = next(iter(batch.images.values())).shape
        same_places({name: (x.shape[1], *x.shape[-2:]) for name, x in batch.images.items()})
        series = {}
        for name, images in batch.images.items():
            shown = images.where(batch.shown(name)[:, :, None, None, None], torch.nan)
            series[name] = shown.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B H W, T, C)
        if "s2" in series and "ndvi" not in series:
            series["ndvi"] = _ndvi(series["s2"])
        owners = torch.arange(count, device=self.norm.weight.device).repeat_interleave(height * width)
        months, lonlat, done = batch.need("dates")[..., 1] - 1, batch.need("lonlat"), 0
        vectors, most = [], _TOKENS.get(lonlat.device.type, _TOKENS["cpu"])
        for items in owners.split(max(1, most // (frames * (len(GROUPS) + 1)))):
            part = {name: values[done : done + len(items)] for name, values in series.items()}
            tokens, valid = self.encode(part, months[items], lonlat[items])
            vectors.append(self.norm((tokens * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)))
            done += len(items)
        return Tokens(torch.cat(vectors).view(count, height, width, -1))

    def encode(self, series: Mapping[str, Tensor], months: Tensor, lonlat: Tensor) -> tuple[Tensor, Tensor]:
        """Run the blocks on pixels (P, T, C) by input: tokens (P, N, D), the place first, and which exist (P, N)."""
        tokens, masks = [self.latlon_embed(on_sphere(lonlat))[:, None]], [lonlat.new_ones(len(lonlat), 1).bool()]
        if months.shape[1] > self.pos_embed.shape[1]:
            reason = f"the model knows {self.pos_embed.shape[1]} positions in time"
            raise ModelInputError("frames", value=months.shape[1], reason=reason, fix="take a shorter span")
        for row, (name, source, channels) in enumerate(GROUPS):
            if source in series:
                still = name == "SRTM"
                values = series[source][:, : 1 if still else None, channels]  # (P, T, C)
                embedded = self.eo_patch_embed[name](values.nan_to_num())
                tokens.append(embedded + self._codes(row, months, still=still))
                masks.append(values.isfinite().all(-1))
        if "dw" in series:
            labels = series["dw"][..., 0].nan_to_num(NO_CLASS).round().long()
            if ((labels < 0) | (labels > NO_CLASS)).any():
                reason, fix = "not a class of Dynamic World", f"give 0 to 8, {NO_CLASS} for none"
                raise ModelInputError("pixels of dw", value=int(labels.max()), reason=reason, fix=fix)
            tokens.append(self.dw_embed(labels) + self._codes(len(GROUPS), months))
            masks.append(labels != NO_CLASS)
        x, shown = torch.cat(tokens, dim=1), torch.cat(masks, dim=1)
        x, shown = x[:, shown.any(0)], shown[:, shown.any(0)]
        mask = None if shown.all() else shown[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return x, shown

    def _codes(self, row: int, months: Tensor, *, still: bool = False) -> Tensor:
        """Month, group and position in time, side by side: (P, T, D), or (1, 1, D) of what does not change."""
        group = self.channel_embed.weight[row]
        if still:
            return functional.pad(group, (self.month_embed.embedding_dim, self.pos_embed.shape[-1]))[None, None]
        return joined(months.shape, self.month_embed(months), group, self.pos_embed[:, : months.shape[1]])


def _ndvi(s2: Tensor) -> Tensor:
    """(NIR - red) / (NIR + red) of scaled bands (P, T, 10), 0 where the sum is not positive: (P, T, 1)."""
    total, apart = s2[..., 6] + s2[..., 2], s2[..., 6] - s2[..., 2]
    index = (apart / total).where((total > 0) | total.isnan(), 0)
    return index[..., None]


build = from_keywords(Presto, PrestoConfig)
