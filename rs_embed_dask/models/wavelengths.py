"""Convolution kernels generated from wavelengths, so that one network takes any bands."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.vit import PatchConfig, resample_kernel

Kernels = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class WaveConfig(PatchConfig):
    """Sizes of a network whose kernels a small transformer generates from band codes; sides in pixels."""

    bands: tuple[str, ...] = ()  # those in use; the network is the same for any
    wave_dim: int = 128  # width of the small transformer
    tokens: int = 128  # its learned ones
    nhead: int = 4  # this and the next by PyTorch's names
    dim_feedforward: int = 2048


class KernelGenerator(nn.Module):
    """A small transformer that maps the codes of bands to the values of one kernel per band, and to a bias."""

    def __init__(self, config: WaveConfig, encoder: str) -> None:
        super().__init__()
        sizes = (config.wave_dim, config.nhead, config.dim_feedforward)
        layer = nn.TransformerEncoderLayer(*sizes, activation="gelu", dropout=0.0)
        self.weight_tokens = nn.Parameter(torch.zeros(config.tokens, config.wave_dim))
        self.bias_token = nn.Parameter(torch.zeros(1, config.wave_dim))
        self.add_module(encoder, nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))
        self._encoder = encoder  # its name in the checkpoint
        self.fc_weight = nn.Linear(config.wave_dim, config.patch**2 * config.dim)
        self.fc_bias = nn.Linear(config.wave_dim, config.dim)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Map codes of the bands (C, W) to kernels (C, values) and the bias (D,), both unscaled."""
        sequence = torch.cat([self.weight_tokens, codes, self.bias_token])
        encoded = self.get_submodule(self._encoder)(sequence)  # (tokens + C + 1, W)
        bands = encoded[len(self.weight_tokens) : -1] + codes
        return self.fc_weight(bands), self.fc_bias(encoded[-1])


class CachedKernels(nn.Module):
    """Kernels that are a function of a few facts about the bands, such as their wavelengths."""

    # While neither the facts nor the parameters change, the kernels of the last image are reused; only in
    # inference mode, because a gradient has to reach the parameters.

    def __init__(self) -> None:
        super().__init__()
        self._cache: tuple[object, Kernels] | None = None

    def cached(self, facts: object, make: Callable[[], Kernels]) -> Kernels:
        """Return what `make` gives, in float32 even under autocast: few values, on which all others depend."""
        key, cached = self._state(facts), self._cache
        if key is not None and cached is not None and cached[0] == key:
            return cached[1]
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            kernels = make()
        self._cache = None if key is None else (key, kernels)
        return kernels

    def _state(self, facts: object) -> object:
        """Return what the kernels depend on; None where they must not be cached."""
        parameters = tuple(self.parameters())
        if not torch.is_inference_mode_enabled() or any(p.is_inference() for p in parameters):
            return None
        return facts, [(id(p), p.data_ptr(), p.device, p.dtype, p._version) for p in parameters]  # noqa: SLF001


class Mixer(nn.ModuleDict):
    """Two layers of these names, each followed by the activation, with a residual connection."""

    def __init__(self, dim: int, names: tuple[str, str], act: Callable[[Tensor], Tensor]) -> None:
        super().__init__({name: nn.Linear(dim, dim) for name in names})
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        first, second = self.values()
        return x + self.act(second(self.act(first(x))))


class WavePatches(CachedKernels):
    """A patch embedding whose kernels are generated from band codes, and resampled for another patch size."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.kernel, self.wave_dim = (config.patch, config.patch, config.dim), config.wave_dim
        self.weight_generator = KernelGenerator(config, "transformer_encoder")
        self.fclayer = Mixer(config.wave_dim, ("w1", "w2"), functional.relu)

    def generate(self, codes: Tensor, patch: int) -> Kernels:
        """Generate kernels (D, C, k, k) and the bias (D,) from codes (C, W)."""
        numbers, bias = self.weight_generator(self.fclayer(codes))
        square = numbers.unflatten(1, self.kernel).permute(3, 0, 1, 2)  # (D, C, k, k)
        return resample_kernel((square * 0.01).contiguous(), patch), bias * 0.01

    def forward(self, x: Tensor, facts: object, codes: Callable[[], Tensor], *, patch: int = 0) -> Tensor:
        """(B, C, H, W) to (B, h, w, D); `facts` are what the codes (C, W) depend on."""
        # A border of one zero shifts each patch by one pixel, up and left: as published.
        side = patch or self.kernel[0]
        kernels, bias = self.cached((facts, side), lambda: self.generate(codes(), side))
        return functional.conv2d(x, kernels, bias, stride=side, padding=1).permute(0, 2, 3, 1)
