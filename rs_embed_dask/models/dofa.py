"""DOFA: one ViT for any bands, whose patch kernels are made from the bands' wavelengths."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rs_embed_dask.models.encoder import Encoder, builder
from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.vit import Trunk
from rs_embed_dask.models.wavelengths import WavePatches
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["DOFA", "build"]


class DOFA(Encoder):
    """Attribute names are the published keys."""

    # `pool_norm` says which norm the mean of the patches goes through: ``"plain"``, without a scale, as the
    # authors' loader leaves it, or ``"file"``, the one that the checkpoint has for single tokens.

    def __init__(
        self, trunk: Trunk, *, size: int = 224, patch: int = 16, wave_dim: int = 128, pool_norm: str = "plain"
    ) -> None:
        super().__init__(trunk, side=size // patch, ending="none")
        self.pool_norm, self.eps = pool_norm, trunk.norm_eps
        self.patch_embed = WavePatches(trunk.dim, patch, wave_dim)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, S, S) with C wavelengths: the patches as the last block leaves them, the class token normed."""
        (inputs,) = batch.inputs.values()
        waves = inputs.values("wavelength_um")
        patches = self.patch_embed(batch.image, waves, partial(self._codes, waves))  # (B, h, w, D)
        tokens, norm = self.placed(patches), self.get_submodule("norm")
        plain = partial(functional.layer_norm, normalized_shape=patches.shape[-1:], eps=self.eps)
        tokens.cls, tokens.after = norm(tokens.cls), plain if self.pool_norm == "plain" else norm
        tokens.extra["patch_embed"] = patches.flatten(1, 2)
        return tokens

    def _codes(self, wavelengths_um: tuple[float, ...]) -> Tensor:
        nanometres = torch.tensor(wavelengths_um, device=self.cls_token.device) * 1000
        return sincos(nanometres, self.patch_embed.wave_dim, dtype=torch.float32)


build = builder(DOFA)
