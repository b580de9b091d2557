"""FoMo-Net: one channel at a time, whatever sensor it is of; a token a channel and patch."""

import torch
from torch import nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import builder
from rs_embed_dask.models.lucid import Transformer
from rs_embed_dask.models.vit import Trunk
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["FoMo", "build"]


class FoMo(nn.Module):
    """Attribute names are the published keys."""

    # `channels` are those it has a code for (and one spare), `size` and `patch` the sides of image and token in
    # pixels.

    def __init__(
        self, trunk: Trunk, *, size: int = 64, patch: int = 16, channels: int = 37, head_dim: int = 64
    ) -> None:
        super().__init__()
        self.patch, dim = patch, trunk.dim
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, dim))
        self.spectral_embedding = nn.Parameter(torch.zeros(1, channels + 1, dim))
        norms = (nn.LayerNorm(patch * patch), nn.LayerNorm(dim))
        self.to_patch_embedding = nn.Sequential(nn.Identity(), norms[0], nn.Linear(patch * patch, dim), norms[1])
        self.transformer = Transformer(trunk, head_dim=head_dim, dropout=True)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W) of each modality; which channels these are is the key of each band."""
        image = torch.cat([batch.only_frame(name) for name in batch.images], dim=1)
        told = [key for name in batch.images for key in batch.inputs[name].values("key")]
        keys = torch.tensor(told, dtype=torch.long, device=image.device)
        cut = functional.pixel_unshuffle(image[:, :, None], self.patch)  # (B, C, p p, h, w)
        height, width = cut.shape[-2:]
        most = self.pos_embedding.shape[1] - 1
        if height * width > most:
            reason, fix = f"the model knows {most} positions", "choose a smaller size_px, or tiles"
            raise ModelInputError("patches", value=height * width, reason=reason, fix=fix)
        x = self.to_patch_embedding(cut.flatten(3).transpose(2, 3))  # (B, C, N, D)
        x = x + self.spectral_embedding[0, keys, None] + self.pos_embedding[:, None, 1 : 1 + height * width]
        x = self.transformer(x.flatten(1, 2))
        maps = x.unflatten(1, (len(told), height, width))  # (B, C, h, w, D)
        apart = maps.permute(0, 4, 1, 2, 3).flatten(1, 2)  # (B, D C, h, w)
        return Tokens(maps.permute(0, 2, 3, 1, 4), extra={"tokens": x, "grid_concat": apart})


build = builder(FoMo)
