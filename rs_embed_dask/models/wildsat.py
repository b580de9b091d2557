"""WildSAT: torchvision's ViT-B/16, ResNet-50 or Swin-T, tuned on wildlife observations; three heads on its classes."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.clip import JointBlock, feed_forward
from rs_embed_dask.models.positions import resized
from rs_embed_dask.models.resnet import ResnetStages
from rs_embed_dask.models.swin import PatchMerging, Sides, WindowBlock
from rs_embed_dask.models.vit import ChannelsLast, Trunk
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["ResNet", "Swin", "ViT", "WildSAT", "build"]

# What a backbone gives: a map (B, h, w, D), the vector (B, D) that its classifier reads, and the classes (B, K).
_Seen = tuple[Tensor, Tensor, Tensor]


class _WildsatLayers(nn.Module):
    """Blocks between positions and a norm; positions are resampled to another grid."""

    def __init__(self, trunk: Trunk, side: int) -> None:
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


class ViT(nn.Module):
    """A vision transformer in torchvision's names."""

    def __init__(self, *, size: int = 224, patch: int = 16, classes: int = 1000, **sizes: Any) -> None:
        super().__init__()
        trunk = Trunk(**{"dim": 768, "depth": 12, "heads": 12, **sizes})
        self.class_token = nn.Parameter(torch.zeros(1, 1, trunk.dim))
        self.conv_proj = nn.Conv2d(3, trunk.dim, patch, stride=patch)
        self.encoder = _WildsatLayers(trunk, size // patch)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(trunk.dim, classes)))

    def forward(self, image: Tensor) -> _Seen:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the class token."""
        patches = self.conv_proj(image).permute(0, 2, 3, 1)  # (B, h, w, D)
        x = self.encoder(self.class_token, patches)
        return x[:, 1:].view(patches.shape), x[:, 0], self.heads(x[:, 0])


class ResNet(ResnetStages):
    """A residual network in torchvision's names."""

    def __init__(self, *, width: int = 64, depths: tuple[int, ...] = (3, 4, 6, 3), classes: int = 1000) -> None:
        super().__init__(width, depths)
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width << 1 + len(depths), classes)

    def forward(self, image: Tensor) -> _Seen:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the map's mean."""
        image = image.contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.bn1(self.conv1(image)))
        seen = self.run(functional.max_pool2d(x, 3, stride=2, padding=1))
        mean = seen.mean((1, 2))
        return seen, mean, self.fc(mean)


class Swin(nn.Module):
    """A Swin transformer in torchvision's names: a stem, then stages of blocks with a merging between each two."""

    def __init__(
        self, *, dim: int = 96, depths: Sides = (2, 2, 6, 2), heads: Sides = (3, 6, 12, 24), window: int = 7, **out: int
    ) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, dim, 4, stride=4), ChannelsLast(), nn.LayerNorm(dim, eps=1e-5))
        parts: list[nn.Module] = [nn.Sequential(*stem)]
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            trunk = Trunk(dim << stage, depth, count, norm_eps=1e-5)
            mlps = (feed_forward(trunk, ("0", "3")) for _ in range(depth))
            blocks = (WindowBlock(trunk, (window,) * 2, mlp, shifted=i % 2 == 1) for i, mlp in enumerate(mlps))
            parts += [*([PatchMerging(dim << stage - 1)] if stage else []), nn.Sequential(*blocks)]
        self.features = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(trunk.dim, eps=1e-5)
        self.head = nn.Linear(trunk.dim, out.get("classes", 1000))

    def forward(self, image: Tensor) -> _Seen:
        """(B, 3, H, W) to what `WildSAT` takes; the classifier reads the map's mean."""
        seen = self.norm(self.features(image))  # (B, h, w, D)
        mean = seen.mean((1, 2))
        return seen, mean, self.head(mean)


HEADS = {"text": "backbone1", "location": "backbone2", "image": "backbone3"}


class WildSAT(nn.Module):
    """Attribute names are the published keys; `head` is the one whose output is the vector, or ``"backbone"``."""

    def __init__(self, backbone: nn.Module, *, head: str = "image", classes: int = 1000, out: int = 256) -> None:
        super().__init__()
        self.head, self.backbone = head, backbone
        heads = {name: nn.Sequential(nn.Linear(classes, out, bias=False)) for name in HEADS.values()}
        self.decoder = nn.ModuleDict(heads)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, H, W): the last map, what the classifier reads, and the chosen head's vector."""
        patches, read, classes = self.backbone(batch.image)
        heads = {f"{name}_head": self.decoder[part](classes) for name, part in HEADS.items()}
        vector = classes if self.head == "backbone" else heads[f"{self.head}_head"]
        return Tokens(patches, cls=read, pooled=vector, extra={**heads, "backbone": classes})


def build(*, body: str = "vit", head: str = "image", out: int = 256, classes: int = 1000, **config: Any) -> WildSAT:
    """Build the network from a card's configuration; all but the ViT are the same at every ``size``."""
    config = config if body == "vit" else {name: value for name, value in config.items() if name != "size"}
    backbone = {"vit": ViT, "resnet": ResNet, "swin": Swin}[body](classes=classes, **config)
    return WildSAT(backbone, head=head, classes=classes, out=out)
