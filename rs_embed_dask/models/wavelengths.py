"""Convolution kernels generated from wavelengths, so that one network takes any bands."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.vit import resample_kernel

Kernels = tuple[Tensor, Tensor]

__all__ = ["KeptKernels", "KernelGenerator", "Mixer", "WavePatches"]


class KernelGenerator(nn.Module):
    """A small transformer from the codes of bands to the numbers of a kernel for each, and a bias."""

    # `encoder` is the attribute name of that transformer in the checkpoint, `more` its sizes by PyTorch's names;
    # `numbers` are those of a band's kernel.

    def __init__(
        self, numbers: int, dim: int, *, wave_dim: int = 128, tokens: int = 128, encoder: str = "encoder", **more: Any
    ) -> None:
        super().__init__()
        heads = more.pop("nhead", 4)
        layer = nn.TransformerEncoderLayer(wave_dim, heads, activation="gelu", dropout=0.0, **more)
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


class KeptKernels(nn.Module):
    """Kernels that follow from a few facts on the bands, their wavelengths say."""

    # As long as neither these nor the parameters change, the kernels of the last image serve again; only in
    # inference mode, for a gradient has to reach the parameters.

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[object, Kernels] | None = None

    def kept(self, facts: object, make: Callable[[], Kernels]) -> Kernels:
        """Return what `make` gives, in float32 whatever is cast elsewhere: few numbers, and all others follow."""
        key, kept = self._state(facts), self._kept
        if key is not None and kept is not None and kept[0] == key:
            return kept[1]
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            made = make()
        self._kept = None if key is None else (key, made)
        return made

    def _state(self, facts: object) -> object:
        """Say what the kernels follow from; None where they must not be kept."""
        given = tuple(self.parameters())
        if not torch.is_inference_mode_enabled() or any(p.is_inference() for p in given):
            return None
        return facts, [(id(p), p.data_ptr(), p.device, p.dtype, p._version) for p in given]  # noqa: SLF001


class Mixer(nn.ModuleDict):
    """Two layers of these names, the activation after each, beside the input itself."""

    def __init__(self, dim: int, names: tuple[str, str], act: Callable[[Tensor], Tensor]) -> None:
        super().__init__({name: nn.Linear(dim, dim) for name in names})
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        first, second = self.values()
        return x + self.act(second(self.act(first(x))))


class WavePatches(KeptKernels):
    """A patch embedding whose kernels follow from codes of the bands; for another patch they are resampled."""

    def __init__(self, dim: int, patch: int, wave_dim: int, **more: int) -> None:
        super().__init__()
        self.kernel, self.wave_dim = (patch, patch, dim), wave_dim
        self.weight_generator = KernelGenerator(
            patch * patch * dim, dim, wave_dim=wave_dim, encoder="transformer_encoder", **more
        )
        self.fclayer = Mixer(wave_dim, ("w1", "w2"), functional.relu)

    def made(self, codes: Tensor, patch: int) -> Kernels:
        """Make kernels (D, C, k, k) and the bias (D,) of codes (C, W)."""
        numbers, bias = self.weight_generator(self.fclayer(codes))
        square = numbers.unflatten(1, self.kernel).permute(3, 0, 1, 2)  # (D, C, k, k)
        return resample_kernel((square * 0.01).contiguous(), patch), bias * 0.01

    def forward(self, x: Tensor, facts: object, codes: Callable[[], Tensor], *, patch: int = 0) -> Tensor:
        """(B, C, H, W) to (B, h, w, D), by the facts that the codes (C, W) follow from."""
        # A border of one zero puts each patch a pixel up and left.
        side = patch or self.kernel[0]
        kernels, bias = self.kept((facts, side), lambda: self.made(codes(), side))
        return functional.conv2d(x, kernels, bias, stride=side, padding=1).permute(0, 2, 3, 1)
