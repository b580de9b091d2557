"""WildSAT: torchvision's ViT-B/16, ResNet-50 or Swin-T, fine-tuned on wildlife observations; three heads."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.clip import JointBlock, feed_forward
from rs_embed_dask.models.positions import resized
from rs_embed_dask.models.resnet import ResnetStages
from rs_embed_dask.models.swin import PatchMerging, PyramidConfig, Sides, WindowBlock
from rs_embed_dask.models.vit import ChannelsLast, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

# A backbone's outputs: a map (B, h, w, D), the input (B, D) of its classifier, and the classes (B, K).
_Features = tuple[Tensor, Tensor, Tensor]


class _WildsatLayers(nn.Module):
    """Blocks between positions and a norm; positions are resampled to another grid."""

    def __init__(self, trunk: TrunkConfig, side: int) -> None:
        super().__init__()
        self.side = side
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + side**2, trunk.dim))
        blocks = {f"encoder_layer_{i}": JointBlock(trunk, torchvision=True) for i in range(trunk.depth)}
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = trunk.norm()

    def forward(self, first: Tensor, patches: Tensor) -> Tensor:
        table = self.pos_embedding[:, 1:].unflatten(1, (self.side, self.side))
        places = resized(table, (patches.shape[1], patches.shape[2]), align_corners=True)
        first = (first + self.pos_embedding[:, :1]).expand(len(patches), -1, -1)
        x: Tensor = torch.cat([first, (patches + places).flatten(1, 2)], dim=1)  # (B, 1 + N, D)
        return self.ln(self.layers(x))


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    size: int = 224  # side of the image in pixels; the ResNet and Swin are the same at every size
    classes: int = 1000
    out: int = 256
    head: str = "image"  # the one whose output is the vector, or ``"backbone"``: what they read


@dataclass(frozen=True, kw_only=True)
class ViTConfig(HeadsConfig, TrunkConfig):
    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16


class ViT(nn.Module):
    """A vision transformer in torchvision's names."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.conv_proj = nn.Conv2d(3, config.dim, config.patch, stride=config.patch)
        self.encoder = _WildsatLayers(config, config.size // config.patch)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(config.dim, config.classes)))

    def forward(self, image: Tensor) -> _Features:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the class token."""
        patches = self.conv_proj(image).permute(0, 2, 3, 1)  # (B, h, w, D)
        x = self.encoder(self.class_token, patches)
        return x[:, 1:].view(patches.shape), x[:, 0], self.heads(x[:, 0])


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(HeadsConfig):
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)


class ResNet(ResnetStages):
    """A residual network in torchvision's names."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config.width, config.depths)
        self.conv1 = nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.fc = nn.Linear(config.width << 1 + len(config.depths), config.classes)

    def forward(self, image: Tensor) -> _Features:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the map's mean."""
        image = image.contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.bn1(self.conv1(image)))
        features = self.run(functional.max_pool2d(x, 3, stride=2, padding=1))
        mean = features.mean((1, 2))
        return features, mean, self.fc(mean)


@dataclass(frozen=True, kw_only=True)
class SwinConfig(HeadsConfig, PyramidConfig):
    dim: int = 96
    depths: Sides = (2, 2, 6, 2)
    heads: Sides = (3, 6, 12, 24)
    window: int = 7


class Swin(nn.Module):
    """A Swin transformer in torchvision's names: a stem, then stages of blocks with a merging between each two."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, config.dim, 4, stride=4), ChannelsLast(), nn.LayerNorm(config.dim, eps=1e-5))
        parts: list[nn.Module] = [nn.Sequential(*stem)]
        for stage, trunk in enumerate(config.trunks()):
            mlps = (feed_forward(trunk, ("0", "3")) for _ in range(trunk.depth))
            blocks = (WindowBlock(trunk, (config.window,) * 2, mlp, shifted=i % 2 == 1) for i, mlp in enumerate(mlps))
            parts += [*([PatchMerging(trunk.dim // 2)] if stage else []), nn.Sequential(*blocks)]
        self.features = nn.Sequential(*parts)
        self.norm = trunk.norm()
        self.head = nn.Linear(trunk.dim, config.classes)

    def forward(self, image: Tensor) -> _Features:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the map's mean."""
        features = self.norm(self.features(image))  # (B, h, w, D)
        mean = features.mean((1, 2))
        return features, mean, self.head(mean)


HEADS = {"text": "backbone1", "location": "backbone2", "image": "backbone3"}


class WildSAT(nn.Module):
    def __init__(self, backbone: nn.Module, config: HeadsConfig) -> None:
        super().__init__()
        self.head, self.backbone = config.head, backbone
        heads = {name: nn.Sequential(nn.Linear(config.classes, config.out, bias=False)) for name in HEADS.values()}
        self.decoder = nn.ModuleDict(heads)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, H, W): the last map, what the classifier reads, and the chosen head's vector."""
        patches, read, classes = self.backbone(batch.image)
        heads = {f"{name}_head": self.decoder[part](classes) for name, part in HEADS.items()}
        vector = classes if self.head == "backbone" else heads[f"{self.head}_head"]
        return Tokens(patches, cls=read, pooled=vector, extra={**heads, "backbone": classes})


def build(*, body: str = "vit", **config: Any) -> WildSAT:
    """Build the network from a card's configuration."""
    backbone, sizes = {"vit": (ViT, ViTConfig), "resnet": (ResNet, ResNetConfig), "swin": (Swin, SwinConfig)}[body]
    return WildSAT(backbone(sizes(**config)), sizes(**config))
