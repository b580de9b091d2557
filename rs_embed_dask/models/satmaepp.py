"""SatMAE++: SatMAE's encoder with multi-scale pretraining, on RGB, or on ten Sentinel-2 bands in three groups."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.encoder import Encoder, builder
from rs_embed_dask.models.satmae import SatMAE
from rs_embed_dask.models.vit import PatchEmbed, Trunk
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["GroupedSatMAE", "build"]

Groups = tuple[tuple[int, ...], ...]
# Bands that make one token each: blue green red nir, rededge1-3 nir08, swir16 swir22.
GROUPS: Groups = ((0, 1, 2, 6), (3, 4, 5, 7), (8, 9))


class GroupedSatMAE(Encoder):
    """Attribute names are the published keys."""

    # A patch makes a token of each of the `groups` of bands; the last `group_dim` numbers of a position tell the
    # group and the others the place. `over` says how a grid joins the groups. A fine-tuned network also has a
    # position for its class token.

    over: Literal["mean", "max"] = "mean"

    def __init__(
        self, trunk: Trunk, *, size: int = 96, patch: int = 8, group_dim: int = 256, groups: Groups = GROUPS, **own: Any
    ) -> None:
        super().__init__(trunk, **own)
        self.groups = groups
        self.patch_embed = nn.ModuleList(PatchEmbed(len(bands), trunk.dim, patch) for bands in groups)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, trunk.dim - group_dim))
        self.channel_embed = nn.Parameter(torch.zeros(1, len(groups), group_dim))
        if self.ending == "fc_norm":
            self.channel_cls_embed = nn.Parameter(torch.zeros(1, 1, group_dim))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 10, S, S): the class token, then the patches of each group, in raster order."""
        image = batch.image
        maps = [embed(image[:, list(bands)]) for embed, bands in zip(self.patch_embed, self.groups, strict=True)]
        patches = torch.stack(maps, dim=1)  # (B, G, h, w, D)
        shape = (1, *patches.shape[1:4], -1)
        places = self.pos_embed[:, 1:].view(1, 1, *shape[2:]).expand(shape)
        groups = self.channel_embed[:, :, None, None].expand(shape)
        first: Tensor = self.cls_token
        if self.ending == "fc_norm":
            first = first + torch.cat([self.pos_embed[:, :1], self.channel_cls_embed], dim=-1)
        tokens = self.encode(patches + torch.cat([places, groups], dim=-1), first)
        tokens.patches = tokens.patches.permute(0, 2, 3, 1, 4)  # (B, h, w, G, D)
        tokens.over = self.over
        return tokens


def _either(trunk: Trunk, *, grouped: bool = False, **rest: Any) -> Encoder:
    """Make the encoder of ten bands where `grouped`."""
    return GroupedSatMAE(trunk, **rest) if grouped else SatMAE(trunk, **rest)


build = builder(_either, later=("over",))
