"""AgriFM: a Swin transformer over time and space, which halves both from stage to stage."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.swin import PatchMerging, PyramidConfig, Sides, Stages, WindowBlock
from rs_embed_dask.models.vit import TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


class _Stem(nn.Module):
    """A token for each box of the film, (B, T, C, H, W) to (B, D, h, w, dim), zeros added at the ends to fill boxes."""

    def __init__(self, channels: int, dim: int, box: Sides) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(dim, channels, *box))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, film: Tensor) -> Tensor:
        film, box = film.transpose(1, 2), tuple(self.weights.shape[2:])  # (B, C, T, H, W)
        t, h, w = (-side % step for side, step in zip(film.shape[2:], box, strict=True))
        film = functional.pad(film, (0, w, 0, h, 0, t)) if t or h or w else film
        return functional.conv3d(film, self.weights, self.bias, stride=box).permute(0, 2, 3, 4, 1)


class _Halving(PatchMerging):
    """Averages pairs of frames, an odd last one with zeros, before squares are merged."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, 0, 0, 0, 0, 0, 0, x.shape[1] % 2))
        return super().forward((x[:, ::2] + x[:, 1::2]) / 2)


@dataclass(frozen=True, kw_only=True)
class AgriFMConfig(PyramidConfig):
    dim: int = 128
    depths: Sides = (2, 2, 18, 2)
    heads: Sides = (4, 8, 16, 32)
    window: Sides = (8, 7, 7)
    patch_px: int = 32  # side of a token after three mergings
    box: Sides = ()  # what it covers at first, in frames and pixels; where empty, 4 frames
    channels: int = 10


class AgriFM(nn.Module):
    """Attribute names are the published keys, less ``encoder.``; those of other sensors' stems are not used."""

    def __init__(self, config: AgriFMConfig) -> None:
        super().__init__()
        trunks, side = config.trunks(), config.patch_px // 8

        def block(trunk: TrunkConfig, i: int) -> nn.Module:
            return WindowBlock(trunk, config.window, shifted=i % 2 == 1, clamped=True)

        self.S2_patch_emd = _Stem(config.channels, config.dim, config.box or (4, side, side))
        self.backbone = Stages(trunks, block, _Halving)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, T, 10, H, W), hidden frames as zeros; the remaining time axis moves into the channels."""
        ((name, film),) = batch.images.items()
        film = film * batch.shown(name)[..., None, None, None] if name in batch.visible else film
        first = self.S2_patch_emd(film)
        *maps, last = self.backbone.maps(first)
        levels = {f"level{i}": one for i, one in enumerate([first, *maps])}
        return Tokens(folded(self.backbone.norm(last)), extra=levels)


def folded(x: Tensor) -> Tensor:
    """Move time into the channels: (B, D, h, w, C) to (B, h, w, C D), time the faster."""
    return x.permute(0, 2, 3, 4, 1).flatten(3)


build = from_keywords(AgriFM, AgriFMConfig)
