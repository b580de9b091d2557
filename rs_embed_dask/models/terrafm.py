"""TerraFM: one encoder behind three stems, for Sentinel-2 of either level and Sentinel-1."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.vit import PatchConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

# By modality: its own stem, and its channels.
STEMS = {"s2": ("s2_l2a", 12), "s2l1c": ("s2_l1c", 12), "s1": ("s1", 2)}


class _Stems(nn.Module):
    """A convolution and a code for each kind of image, and shared layers: (B, C, H, W) to (B, h, w, D)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        for name, channels in STEMS.values():
            self.register_parameter(f"{name}_embed", nn.Parameter(torch.zeros(1, 3 * dim)))
            self.add_module(f"conv2d_{name}", nn.Conv2d(channels, 3 * dim, patch, stride=patch))
        # From three times the width to the width, without a nonlinearity.
        first, last = nn.Linear(3 * dim, 3 * dim, bias=False), nn.Linear(3 * dim, dim)
        middle = OrderedDict(norm_input=nn.LayerNorm(3 * dim), proj2=nn.Linear(3 * dim, 3 * dim))
        self.projection = nn.Sequential(OrderedDict(proj1=first, **middle, proj3=last))

    def forward(self, image: Tensor, name: str) -> Tensor:
        maps = self.get_submodule(f"conv2d_{name}")(image).permute(0, 2, 3, 1).contiguous()  # (B, h, w, 3 D)
        return self.projection(maps + self.get_parameter(f"{name}_embed"))


@dataclass(frozen=True, kw_only=True)
class TerraFMConfig(PatchConfig):
    stem: Literal["auto", "l2a", "l1c"] = "auto"  # of Sentinel-2; ``"auto"``: the one of the image's own level


class TerraFM(Encoder):
    def __init__(self, config: TerraFMConfig) -> None:
        super().__init__(config, side=config.size // config.patch)
        self.stem = config.stem
        self.patch_embed = _Stems(config.dim, config.patch)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W): the class token and every patch, in raster order, after the final norm."""
        (modality,) = batch.images
        own = self.stem == "auto" or modality == "s1"
        patches = self.patch_embed(batch.image, STEMS[modality][0] if own else f"s2_{self.stem}")  # (B, h, w, D)
        return self.placed(patches, nudge=0.1)


build = from_keywords(TerraFM, TerraFMConfig)
