"""SatMAE on RGB: the ViT-L/16 encoder of a masked autoencoder trained on fMoW scenes; nothing is masked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.vit import PatchEmbed, Trunk
from rs_embed_dask.preprocess.batch import Tokens

if TYPE_CHECKING:
    from rs_embed_dask.preprocess.batch import Batch

__all__ = ["Encoder", "SatMAE", "build"]


class Encoder(nn.Module):
    """What masked autoencoders have in common: a class token, blocks and an ending.

    `ending` is ``"norm"``, the norm of every token; ``"none"``, which keeps that norm but leaves it out; or
    ``"fc_norm"``, of a fine-tuned network, the norm of the mean alone.
    """

    def __init__(self, trunk: Trunk, *, ending: Literal["norm", "none", "fc_norm"] = "norm") -> None:
        super().__init__()
        self.ending = ending
        self.cls_token = nn.Parameter(torch.zeros(1, 1, trunk.dim))
        self.blocks = trunk.blocks()
        self._norm = "fc_norm" if ending == "fc_norm" else "norm"
        self.add_module(self._norm, trunk.norm())

    def encode(self, patches: Tensor, first: Tensor | None = None) -> Tokens:
        """Run the blocks on (B, ..., D) patches, positions included, behind the class token or another `first`."""
        first = self.cls_token if first is None else first
        x = torch.cat([first.expand(len(patches), -1, -1), patches.flatten(1, -2)], dim=1)  # (B, 1 + N, D)
        for block in self.blocks:
            x = block(x)
        norm = self.get_submodule(self._norm)
        x = norm(x) if self.ending == "norm" else x
        after = norm if self.ending == "fc_norm" else None
        return Tokens(x[:, 1:].view(patches.shape), cls=x[:, 0], after=after, extra={"tokens": x})


class SatMAE(Encoder):
    """Attribute names are the published keys; `size` and `patch` are in pixels."""

    def __init__(self, trunk: Trunk, *, size: int = 224, patch: int = 16, **ending: Any) -> None:
        super().__init__(trunk, **ending)
        self.patch_embed = PatchEmbed(3, trunk.dim, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, trunk.dim))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the class token and every patch, in raster order, after the final norm."""
        patches = self.patch_embed(batch.image)  # (B, h, w, D)
        places = self.pos_embed[:, 1:].view(1, *patches.shape[1:])
        return self.encode(patches + places, self.cls_token + self.pos_embed[:, :1])


def build(**config: Any) -> SatMAE:
    """Build the encoder from a card's configuration."""
    trunk, rest = Trunk.split(config)
    return SatMAE(trunk, **rest)
