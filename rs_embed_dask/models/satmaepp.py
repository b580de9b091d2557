"""SatMAE++: SatMAE's encoder with multi-scale pretraining, on RGB, or on ten Sentinel-2 bands in three groups."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.encoder import Encoder, Ending
from rs_embed_dask.models.satmae import SatMAE, SatMAEConfig
from rs_embed_dask.models.vit import PatchEmbed, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

Groups = tuple[tuple[int, ...], ...]
# Groups of bands, one token each: blue green red nir, rededge1-3 nir08, swir16 swir22.
GROUPS: Groups = ((0, 1, 2, 6), (3, 4, 5, 7), (8, 9))


@dataclass(frozen=True, kw_only=True)
class GroupedConfig(TrunkConfig):
    size: int = 96
    patch: int = 8
    ending: Ending = "norm"
    groups: Groups = GROUPS
    group_dim: int = 256  # the last dimensions of a position, which identify the group; the others code the place
    over: Literal["mean", "max"] = "mean"  # how a grid joins the groups


class GroupedSatMAE(Encoder):
    """Attribute names are the published keys; a fine-tuned network also has a position for its class token."""

    def __init__(self, config: GroupedConfig) -> None:
        super().__init__(config, ending=config.ending)
        self.over, self.groups, side, group_dim = (
            config.over,
            config.groups,
            config.size // config.patch,
            config.group_dim,
        )
        self.patch_embed = nn.ModuleList(PatchEmbed(len(bands), config.dim, config.patch) for bands in self.groups)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, config.dim - group_dim))
        self.channel_embed = nn.Parameter(torch.zeros(1, len(self.groups), group_dim))
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


def build(*, grouped: bool = False, over: Literal["mean", "max"] = "mean", **config: Any) -> Encoder:
    """Build SatMAE's encoder of RGB or, where `grouped`, that of ten bands; RGB has no groups to join."""
    return GroupedSatMAE(GroupedConfig(over=over, **config)) if grouped else SatMAE(SatMAEConfig(**config))
