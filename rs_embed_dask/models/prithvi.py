"""Prithvi-EO-2.0: a masked autoencoder's encoder of six bands over time, with dates and place."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.positions import joined, resized, sincos
from rs_embed_dask.models.vit import PatchConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


class _FramePatches(nn.Module):
    """One token per patch of each frame; the published kernel has a time axis of length one."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, dim, (1, patch, patch))

    def forward(self, frames: Tensor) -> Tensor:
        kernel = self.proj.weight.squeeze(2)
        maps = functional.conv2d(frames.flatten(0, 1), kernel, self.proj.bias, stride=kernel.shape[-1])
        return maps.unflatten(0, frames.shape[:2]).movedim(2, -1)  # (B, T, h, w, D)


class _Code(nn.Module):
    """Two numbers as sines and cosines, in float32 as in training, by a learned scale: (..., 2) to (..., dim)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, numbers: Tensor, dim: int) -> Tensor:
        return self.scale * sincos(numbers.float(), dim // 2, dtype=torch.float32).flatten(-2)


@dataclass(frozen=True, kw_only=True)
class PrithviConfig(PatchConfig):
    norm_eps: float = 1e-5
    channels: int = 6
    codes: tuple[str, ...] = ()  # side inputs that the network was trained with
    side: Literal["both", "dates", "place", "none"] = "both"  # which of them are used
    first_day: int = 0
    place_order: Literal["lat_lon", "lon_lat"] = "lat_lon"


class Prithvi(Encoder):
    def __init__(self, config: PrithviConfig) -> None:
        super().__init__(config)
        self.config, self.grid_side = config, config.size // config.patch
        self.patch_embed = _FramePatches(config.channels, config.dim, config.patch)
        if "dates" in config.codes:
            self.temporal_embed_enc = _Code()
        if "place" in config.codes:
            self.location_embed_enc = _Code()

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, T, 6, H, W): the class token, then the patches of each frame in raster order."""
        config, (frames,) = self.config, batch.images.values()
        patches = self.patch_embed(frames)  # (B, T, h, w, D)
        patches = patches + _places(tuple(patches.shape[1:]), self.grid_side, patches.device)
        used = {name for name in config.codes if config.side in {"both", name}}
        if "dates" in used:
            year = batch.calendar(lambda day: day.year)
            day = batch.calendar(lambda day: day.timetuple().tm_yday - 1 + config.first_day)
            patches = patches + self.temporal_embed_enc(torch.stack([year, day], -1), config.dim)[:, :, None, None]
        if "place" in used:
            place = batch.need("lonlat")
            place = place.flip(-1) if config.place_order == "lat_lon" else place
            patches = patches + self.location_embed_enc(place, config.dim)[:, None, None, None]
        tokens = self.encode(patches)
        tokens.patches = tokens.patches.permute(0, 2, 3, 1, 4)  # (B, h, w, T, D)
        return tokens


@lru_cache(maxsize=16)
def _places(shape: tuple[int, ...], side: int, device: torch.device) -> Tensor:
    """Code column, row and frame: (T, h, w, D). The table is that of pretraining's grid of `side`, resampled."""
    frames, height, width, dim = shape
    with torch.inference_mode(mode=False):  # the cached table must be usable outside inference mode too
        across = sincos(torch.arange(side), dim * 6 // 16)
        times = sincos(torch.arange(frames), dim * 4 // 16)[:, None, None]
        table = joined((frames, side, side), across, across[:, None], times)
        return resized(table, (height, width), align_corners=True).to(device)


build = from_keywords(Prithvi, PrithviConfig)
