"""Convolution kernels generated from wavelengths, so that one network takes any bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["KernelGenerator"]


class KernelGenerator(nn.Module):
    """A small transformer from the codes of bands to the numbers of a kernel for each, and a bias.

    `encoder` is the attribute name of that transformer in the checkpoint; `numbers` are those of a band's kernel.
    """

    def __init__(
        self, numbers: int, dim: int, *, wave_dim: int = 128, tokens: int = 128, encoder: str = "encoder"
    ) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(wave_dim, 4, activation="gelu", dropout=0.0)
        self.weight_tokens = nn.Parameter(torch.zeros(tokens, wave_dim))
        self.bias_token = nn.Parameter(torch.zeros(1, wave_dim))
        self.add_module(encoder, nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))
        self._encoder = encoder
        self.fc_weight = nn.Linear(wave_dim, numbers)
        self.fc_bias = nn.Linear(wave_dim, dim)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the bands (C, W) to kernels (C, numbers) and the bias (D,), neither scaled."""
        sequence = torch.cat([self.weight_tokens, codes, self.bias_token])
        seen = self.get_submodule(self._encoder)(sequence)  # (tokens + C + 1, W)
        bands = seen[len(self.weight_tokens) : -1] + codes
        return self.fc_weight(bands), self.fc_bias(seen[-1])
