"""DOFA: one ViT for any bands, whose patch kernels are made from the bands' wavelengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.vit import Trunk
from rs_embed_dask.models.wavelengths import KeptKernels, WavePatches
from rs_embed_dask.preprocess.batch import Tokens

if TYPE_CHECKING:
    from rs_embed_dask.preprocess.batch import Batch

__all__ = ["DOFA", "build"]


class _Patches(WavePatches, KeptKernels):
    def make(self, wavelengths_um: Tensor) -> tuple[Tensor, Tensor]:
        """Make kernels (D, C, k, k) and the bias (D,) of wavelengths (C,)."""
        return self.made(sincos(wavelengths_um * 1000, self.wave_dim, dtype=torch.float32))

    def forward(self, x: Tensor, wavelengths_um: tuple[float, ...]) -> Tensor:  # type: ignore[override]
        return self.laid(x, *self.kernels(wavelengths_um))  # (B, h, w, D)


class DOFA(nn.Module):
    """Attribute names are the published keys.

    `pool_norm` says which norm the mean of the patches goes through: ``"plain"``, without a scale, as the authors'
    loader leaves it, or ``"file"``, the one that the checkpoint has for single tokens.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        size: int = 224,
        patch: int = 16,
        wave_dim: int = 128,
        pool_norm: Literal["plain", "file"] = "plain",
    ) -> None:
        super().__init__()
        self.pool_norm = pool_norm
        self.patch_embed = _Patches(trunk.dim, patch, wave_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, trunk.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, trunk.dim))
        self.blocks = trunk.blocks()
        self.norm = trunk.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, S, S) with C wavelengths: the patches as the last block leaves them, the class token normed."""
        (inputs,) = batch.inputs.values()
        patches = self.patch_embed(batch.image, inputs.values("wavelength_um"))  # (B, h, w, D)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.flatten(1, 2)], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        extra = {"tokens": x, "patch_embed": patches.flatten(1, 2)}
        return Tokens(x[:, 1:].view(patches.shape), cls=self.norm(x[:, 0]), after=self._finish, extra=extra)

    def _finish(self, mean: Tensor) -> Tensor:
        if self.pool_norm == "plain":
            return functional.layer_norm(mean, mean.shape[-1:], eps=self.norm.eps)
        finished: Tensor = self.norm(mean)
        return finished


def build(*, bands: tuple[str, ...] = (), **config: Any) -> DOFA:
    """Build the encoder from a card's configuration; it is the same for all `bands`."""
    del bands
    trunk, rest = Trunk.split(config)
    return DOFA(trunk, **rest)
