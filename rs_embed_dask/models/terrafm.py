"""TerraFM: one encoder behind three stems, for Sentinel-2 of either level and Sentinel-1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.positions import resized
from rs_embed_dask.models.satmae import Encoder
from rs_embed_dask.models.vit import Trunk

if TYPE_CHECKING:
    from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["TerraFM", "build"]

# By modality: the stem made for it, and its channels.
STEMS = {"s2": ("s2_l2a", 12), "s2l1c": ("s2_l1c", 12), "s1": ("s1", 2)}


class _Projection(nn.Module):
    """From three times the width to the width, without a nonlinearity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj1 = nn.Linear(3 * dim, 3 * dim, bias=False)
        self.norm_input = nn.LayerNorm(3 * dim)
        self.proj2 = nn.Linear(3 * dim, 3 * dim)
        self.proj3 = nn.Linear(3 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj3(self.proj2(self.norm_input(self.proj1(x))))
        return out


class _Stems(nn.Module):
    """A convolution and a code for each kind of image, and what they share: (B, C, H, W) to (B, h, w, D)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        for name, channels in STEMS.values():
            self.register_parameter(f"{name}_embed", nn.Parameter(torch.zeros(1, 3 * dim)))
            self.add_module(f"conv2d_{name}", nn.Conv2d(channels, 3 * dim, patch, stride=patch))
        self.projection = _Projection(dim)

    def forward(self, image: Tensor, name: str) -> Tensor:
        maps = self.get_submodule(f"conv2d_{name}")(image).permute(0, 2, 3, 1).contiguous()  # (B, h, w, 3 D)
        tokens: Tensor = self.projection(maps + self.get_parameter(f"{name}_embed"))
        return tokens


class TerraFM(Encoder):
    """Attribute names are the published keys; `size` and `patch` are in pixels.

    `stem` is that of Sentinel-2: ``"l2a"``, ``"l1c"``, or ``"auto"``, the one of the image's own level.
    """

    def __init__(
        self, trunk: Trunk, *, size: int = 224, patch: int = 16, stem: Literal["auto", "l2a", "l1c"] = "auto"
    ) -> None:
        super().__init__(trunk)
        self.stem, self.grid_side = stem, size // patch
        self.patch_embed = _Stems(trunk.dim, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid_side**2, trunk.dim))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W): the class token and every patch, in raster order, after the final norm."""
        (modality,) = batch.images
        own = self.stem == "auto" or modality == "s1"
        patches = self.patch_embed(batch.image, STEMS[modality][0] if own else f"s2_{self.stem}")  # (B, h, w, D)
        table = self.pos_embed[:, 1:].unflatten(1, (self.grid_side, self.grid_side))
        places = resized(table, (patches.shape[1], patches.shape[2]), nudge=0.1)
        return self.encode(patches + places, self.cls_token + self.pos_embed[:, :1])


def build(**config: Any) -> TerraFM:
    """Build the encoder from a card's configuration."""
    trunk, rest = Trunk.split(config)
    return TerraFM(trunk, **rest)
