"""RemoteCLIP: the visual towers of CLIP, trained on remote-sensing images and captions."""

from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from rs_embed_dask.models.clip import AttentionPool, JointBlock, QuickGELU
from rs_embed_dask.models.encoder import builder
from rs_embed_dask.models.resnet import ResnetStages
from rs_embed_dask.models.vit import Trunk
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["ResNetTower", "ViTTower", "build"]

_Act = Literal["quick_gelu", "gelu"]


class ViTTower(nn.Module):
    """Attribute names are the published keys after ``visual.``; `size` and `patch` in pixels, `out` is the vector's."""

    def __init__(
        self, trunk: Trunk, *, size: int = 224, patch: int = 32, out: int = 512, activation: _Act = "quick_gelu"
    ) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(trunk.dim))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + (size // patch) ** 2, trunk.dim))
        self.proj = nn.Parameter(torch.zeros(trunk.dim, out))
        self.conv1 = nn.Conv2d(3, trunk.dim, patch, stride=patch, bias=False)
        self.ln_pre, self.ln_post = trunk.norm(), trunk.norm()
        blocks = (JointBlock(trunk, QuickGELU() if activation == "quick_gelu" else None) for _ in range(trunk.depth))
        self.transformer = nn.Sequential(OrderedDict(resblocks=nn.Sequential(*blocks)))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): patches as the last block leaves them, and the class token, normed and projected."""
        patches = self.conv1(batch.image).permute(0, 2, 3, 1)  # (B, h, w, D)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([first, patches.flatten(1, 2)], dim=1) + self.positional_embedding  # (B, 1 + N, D)
        x = self.transformer(self.ln_pre(x))
        vector = self.ln_post(x[:, 0]) @ self.proj
        return Tokens(x[:, 1:].view(patches.shape), cls=vector, pooled=vector)


class ResNetTower(ResnetStages):
    """A ResNet with three convolutions for a stem; its vector is what the mean of the map attends to."""

    def __init__(
        self,
        *,
        size: int = 224,
        width: int = 64,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        heads: int = 32,
        out: int = 1024,
    ) -> None:
        super().__init__(width, depths, pool=True)
        channels = (3, width // 2, width // 2, width)
        for i in (1, 2, 3):
            stride = 2 if i == 1 else 1
            self.add_module(f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, stride, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(channels[i]))
        shrunk = 2 << len(depths)
        self.attnpool = AttentionPool(size // shrunk, width * shrunk, heads, out)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the map of the last stage, and the pooled vector."""
        x = batch.image.contiguous(memory_format=torch.channels_last)
        for i in (1, 2, 3):
            x = functional.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        patches = self.run(functional.avg_pool2d(x, 2))
        vector = self.attnpool(patches)
        return Tokens(patches, cls=vector, pooled=vector)


_vit = builder(ViTTower)


def build(*, body: Literal["vit", "resnet"] = "vit", activation: _Act = "quick_gelu", **config: Any) -> nn.Module:
    """Build a tower from a card's configuration; that of a ResNet has no GELU."""
    return ResNetTower(**config) if body == "resnet" else _vit(activation=activation, **config)
