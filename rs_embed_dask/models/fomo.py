"""FoMo-Net: one channel at a time, from any sensor; one token per channel and patch."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.lucid import Transformer
from rs_embed_dask.models.vit import PatchConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


@dataclass(frozen=True, kw_only=True)
class FoMoConfig(PatchConfig):
    bands: tuple[str, ...] = ()  # those in use; the network is the same for any
    size: int = 64
    channels: int = 37  # those that have a code; there is one spare
    head_dim: int = 64


class FoMo(nn.Module):
    def __init__(self, config: FoMoConfig) -> None:
        super().__init__()
        self.patch, dim, pixels = config.patch, config.dim, config.patch**2
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + (config.size // config.patch) ** 2, dim))
        self.spectral_embedding = nn.Parameter(torch.zeros(1, config.channels + 1, dim))
        norms = (nn.LayerNorm(pixels), nn.LayerNorm(dim))
        self.to_patch_embedding = nn.Sequential(nn.Identity(), norms[0], nn.Linear(pixels, dim), norms[1])
        self.transformer = Transformer(config, head_dim=config.head_dim, dropout=True)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W) of each modality; the key of each band identifies its channel."""
        image = torch.cat([batch.only_frame(name) for name in batch.images], dim=1)
        channel_ids = [key for name in batch.images for key in batch.inputs[name].values("key")]
        keys = torch.tensor(channel_ids, dtype=torch.long, device=image.device)
        cut = functional.pixel_unshuffle(image[:, :, None], self.patch)  # (B, C, p p, h, w)
        height, width = cut.shape[-2:]
        most = self.pos_embedding.shape[1] - 1
        if height * width > most:
            reason, fix = f"the model knows {most} positions", "choose a smaller size_px, or tiles"
            raise ModelInputError("patches", value=height * width, reason=reason, fix=fix)
        x = self.to_patch_embedding(cut.flatten(3).transpose(2, 3))  # (B, C, N, D)
        x = x + self.spectral_embedding[0, keys, None] + self.pos_embedding[:, None, 1 : 1 + height * width]
        x = self.transformer(x.flatten(1, 2))
        maps = x.unflatten(1, (len(channel_ids), height, width))  # (B, C, h, w, D)
        apart = maps.permute(0, 4, 1, 2, 3).flatten(1, 2)  # (B, D C, h, w)
        return Tokens(maps.permute(0, 2, 3, 1, 4), extra={"tokens": x, "grid_concat": apart})


build = from_keywords(FoMo, FoMoConfig)
