"""RemoteCLIP: the visual towers of CLIP, trained on remote-sensing images and captions."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from rs_embed_dask.models.clip import AttentionPool, JointBlock, QuickGELU
from rs_embed_dask.models.resnet import ResnetStages
from rs_embed_dask.models.vit import PatchConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

_Act = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class ViTTowerConfig(PatchConfig):
    patch: int = 32
    out: int = 512
    activation: _Act = "quick_gelu"


class ViTTower(nn.Module):
    """Attribute names are the published keys after ``visual.``."""

    def __init__(self, config: ViTTowerConfig) -> None:
        super().__init__()
        dim, patch, quick = config.dim, config.patch, config.activation == "quick_gelu"
        self.class_embedding = nn.Parameter(torch.zeros(dim))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + (config.size // patch) ** 2, dim))
        self.proj = nn.Parameter(torch.zeros(dim, config.out))
        self.conv1 = nn.Conv2d(3, dim, patch, stride=patch, bias=False)
        self.ln_pre, self.ln_post = config.norm(), config.norm()
        blocks = (JointBlock(config, QuickGELU() if quick else None) for _ in range(config.depth))
        self.transformer = nn.Sequential(OrderedDict(resblocks=nn.Sequential(*blocks)))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): patches as the last block leaves them, and the class token, normed and projected."""
        patches = self.conv1(batch.image).permute(0, 2, 3, 1)  # (B, h, w, D)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([first, patches.flatten(1, 2)], dim=1) + self.positional_embedding  # (B, 1 + N, D)
        x = self.transformer(self.ln_pre(x))
        vector = self.ln_post(x[:, 0]) @ self.proj
        return Tokens(x[:, 1:].view(patches.shape), cls=vector, pooled=vector)


@dataclass(frozen=True, kw_only=True)
class ResNetTowerConfig:
    """Side of the image in pixels; `out` is the vector's length."""

    size: int = 224
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    heads: int = 32
    out: int = 1024
    activation: _Act = "quick_gelu"  # the ViTs' option; a ResNet has no GELU


class ResNetTower(ResnetStages):
    """A ResNet with three convolutions for a stem; its vector is attention-pooled from the map."""

    def __init__(self, config: ResNetTowerConfig) -> None:
        super().__init__(config.width, config.depths, pool=True)
        width, shrunk = config.width, 2 << len(config.depths)
        channels = (3, width // 2, width // 2, width)
        for i in (1, 2, 3):
            stride = 2 if i == 1 else 1
            self.add_module(f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, stride, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(channels[i]))
        self.attnpool = AttentionPool(config.size // shrunk, width * shrunk, config.heads, config.out)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the map of the last stage, and the pooled vector."""
        x = batch.image.contiguous(memory_format=torch.channels_last)
        for i in (1, 2, 3):
            x = functional.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        patches = self.run(functional.avg_pool2d(x, 2))
        vector = self.attnpool(patches)
        return Tokens(patches, cls=vector, pooled=vector)


def build(*, body: Literal["vit", "resnet"] = "vit", **config: Any) -> nn.Module:
    """Build a tower from a card's configuration."""
    return ResNetTower(ResNetTowerConfig(**config)) if body == "resnet" else ViTTower(ViTTowerConfig(**config))
