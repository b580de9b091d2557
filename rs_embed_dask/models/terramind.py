"""TerraMind: one encoder of six kinds of image, alone or together; the tokens of one place are merged."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import plane, resized
from rs_embed_dask.models.vit import PatchConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

# By modality: the published name, and its channels.
NAMES = {
    "s2l2a": ("untok_sen2l2a@224", 12),
    "s2l1c": ("untok_sen2l1c@224", 13),
    "rgb": ("untok_sen2rgb@224", 3),
    "s1grd": ("untok_sen1grd@224", 2),
    "s1rtc": ("untok_sen1rtc@224", 2),
    "dem": ("untok_dem@224", 1),
}


class _Embedding(nn.Module):
    """(B, C, H, W) to (B, h, w, D). The published matrix takes a patch as (row, column, channel)."""

    def __init__(self, channels: int, dim: int, patch: int, side: int) -> None:
        super().__init__()
        self.patch = patch
        rows_first = plane((side, side), dim, torch.ones(1)).roll(dim // 2, dims=-1)
        self.mod_emb = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_emb = nn.Parameter(rows_first.flatten(1, 2))  # (1, N, D), used where the file lacks it
        self.proj = nn.Linear(patch * patch * channels, dim, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        p, (height, width) = self.patch, (side // self.patch for side in image.shape[-2:])
        cut = image[..., : height * p, : width * p].unflatten(-1, (width, p)).unflatten(2, (height, p))
        tokens = self.proj(cut.permute(0, 2, 4, 3, 5, 1).flatten(3))  # (B, h, w, D)
        side = round(self.pos_emb.shape[1] ** 0.5)
        table = self.pos_emb.unflatten(1, (side, side))
        return tokens + resized(table, (height, width)) + self.mod_emb[:, None]


@dataclass(frozen=True, kw_only=True)
class TerraMindConfig(PatchConfig):
    bias: bool = False
    gated: bool = True
    modalities: tuple[str, ...]
    merge: Literal["mean", "max"] = "mean"  # joins the tokens that the modalities have at one place


class TerraMind(nn.Module):
    def __init__(self, config: TerraMindConfig) -> None:
        super().__init__()
        self.merge, side = config.merge, config.size // config.patch
        stems = (NAMES[modality] for modality in config.modalities)
        embeddings = {name: _Embedding(channels, config.dim, config.patch, side) for name, channels in stems}
        self.encoder_embeddings = nn.ModuleDict(embeddings)
        self.encoder, self.encoder_norm = config.blocks(), config.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W) of each modality together: one token per place, in raster order, after the final norm."""
        maps = [self.encoder_embeddings[NAMES[name][0]](batch.only_frame(name)) for name in batch.images]
        x = torch.cat([patches.flatten(1, 2) for patches in maps], dim=1)  # (B, N modalities, D)
        for block in self.encoder:
            x = block(x)
        x = self.merged(self.encoder_norm(x), len(maps))
        return Tokens(x.view(maps[0].shape), extra={"tokens": x})

    def merged(self, x: Tensor, count: int) -> Tensor:
        """Join the tokens of `count` modalities: (B, N count, D) to (B, N, D)."""
        parts: Tensor = x.unflatten(1, (count, -1))
        return parts.amax(1) if self.merge == "max" else parts.mean(1)


build = from_keywords(TerraMind, TerraMindConfig)
