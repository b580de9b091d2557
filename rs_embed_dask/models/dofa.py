"""DOFA: one ViT for any bands, whose patch kernels are generated from wavelengths."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.wavelengths import WaveConfig, WavePatches
from rs_embed_dask.preprocess.batch import Batch, Tokens


@dataclass(frozen=True, kw_only=True)
class DOFAConfig(WaveConfig):
    pool_norm: str = "plain"  # the mean's norm: without a scale, as the authors' loader leaves it, or the "file"'s


class DOFA(Encoder):
    def __init__(self, config: DOFAConfig) -> None:
        super().__init__(config, side=config.size // config.patch, ending="none")
        self.pool_norm, self.eps = config.pool_norm, config.norm_eps
        self.patch_embed = WavePatches(config)

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


build = from_keywords(DOFA, DOFAConfig)
