"""SatMAE on RGB: the ViT-L/16 encoder of a masked autoencoder trained on fMoW scenes; nothing is masked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rs_embed_dask.models.batch import Tokens
from rs_embed_dask.models.vit import PatchEmbed, Trunk

if TYPE_CHECKING:
    from rs_embed_dask.models.batch import Batch

__all__ = ["SatMAE", "build"]


class SatMAE(nn.Module):
    """Attribute names are the published keys; `size` and `patch` are in pixels."""

    def __init__(self, trunk: Trunk, *, size: int = 224, patch: int = 16) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(3, trunk.dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, trunk.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, trunk.dim))
        self.blocks = trunk.blocks()
        self.norm = trunk.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the class token and every patch, in raster order, after the final norm."""
        patches = self.patch_embed(batch.image)  # (B, h, w, D)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.flatten(1, 2)], dim=1)  # (B, 1 + h w, D)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return Tokens(x[:, 1:].unflatten(1, patches.shape[1:3]), cls=x[:, 0], extra={"tokens": x})


def build(**config: Any) -> SatMAE:
    """Build the encoder from a card's configuration."""
    trunk, rest = Trunk.split(config)
    return SatMAE(trunk, **rest)
