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
    """Sizes of a network whose kernels a small transformer generates from codes of bands; sides in pixels."""

    bands: tuple[str, ...] = ()  # those in use; the network is the same for any
    wave_dim: int = 128  # width of the small transformer
    tokens: int = 128  # its learned ones
    nhead: int = 4  # this and the next by PyTorch's names
    dim_feedforward: int = 2048


class KernelGenerator(nn.Module):
    """A small transformer from the codes of bands to the numbers of a kernel for each, and a bias."""

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

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.kernel, self.wave_dim = (config.patch, config.patch, config.dim), config.wave_dim
        self.weight_generator = KernelGenerator(config, "transformer_encoder")
        self.fclayer = Mixer(config.wave_dim, ("w1", "w2"), functional.relu)

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
