"""Clay: bands by their wavelengths, and position codes for ground size, date and place."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.lucid import Transformer
from rs_embed_dask.models.positions import joined, sincos
from rs_embed_dask.models.wavelengths import CachedKernels, KernelGenerator, Mixer, WaveConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


@dataclass(frozen=True, kw_only=True)
class ClayConfig(WaveConfig):
    size: int = 256  # of the image that is prepared; the network is the same at every size
    patch: int = 8
    head_dim: int = 64
    hour: int = 0  # of dates without one
    gsd: Literal["read", "resized"] = "read"  # the image whose ground size of a pixel it receives
    metadata: bool = True  # without, time and place are zeros and the ground size 1


class _BandPatches(CachedKernels):
    """One token per patch, (B, C, H, W) to (B, h, w, D), by kernels generated from C wavelengths in micrometres."""

    def __init__(self, config: ClayConfig) -> None:
        super().__init__()
        self.kernel, self.wave_dim = (config.dim, config.patch, config.patch), config.wave_dim
        self.weight_generator = KernelGenerator(config, "encoder")
        self.fclayer = Mixer(config.wave_dim, ("l1", "l2"), functional.gelu)

    def generate(self, wavelengths_um: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """Generate kernels (D, C, p, p) and the bias (D,) from C wavelengths."""
        waves = torch.tensor(wavelengths_um, device=self.weight_generator.bias_token.device)
        half = self.wave_dim // 2
        codes = sincos(waves, self.wave_dim, spread=half / (half - 1), dtype=torch.float32)
        numbers, bias = self.weight_generator(self.fclayer(codes))
        square = numbers.unflatten(1, self.kernel).transpose(0, 1)  # (D, C, p, p)
        return (square * 0.02).contiguous(), bias

    def forward(self, image: Tensor, wavelengths_um: tuple[float, ...]) -> Tensor:
        kernels, bias = self.cached(wavelengths_um, partial(self.generate, wavelengths_um))
        return functional.conv2d(image, kernels, bias, stride=self.kernel[1]).permute(0, 2, 3, 1)


class Clay(nn.Module):
    def __init__(self, config: ClayConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.patch_embedding = _BandPatches(config)
        self.transformer = Transformer(config, head_dim=config.head_dim)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W): the class token and every patch, in raster order, after the final norm."""
        (inputs,) = batch.inputs.values()
        patches = self.patch_embedding(batch.image, inputs.values("wavelength_um"))  # (B, h, w, D)
        count, height, width, dim = patches.shape
        unknown = batch.image.new_ones(count), patches.new_zeros(count, 8)
        metres, code = self._metadata_code(batch) if self.config.metadata else unknown
        ground = _ground((height, width), dim - 8, metres)
        patches = patches + joined(patches.shape[:3], ground, code[:, None, None])
        x = torch.cat([self.cls_token.expand(count, -1, -1), patches.flatten(1, 2)], dim=1)  # (B, 1 + N, D)
        x = self.transformer(x)
        return Tokens(x[:, 1:].unflatten(1, (height, width)), cls=x[:, 0], extra={"tokens": x})

    def _metadata_code(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Metres of a pixel (B,); week, hour, latitude and longitude, each as sine and cosine (B, 8)."""
        metres = batch.need("gsd_m") if self.config.gsd == "resized" or batch.read_m is None else batch.read_m
        week, dates = batch.calendar(lambda day: day.isocalendar().week)[:, 0].double(), batch.need("dates")
        hour = dates[:, 0, 3].double() if dates.shape[-1] > 3 else torch.full_like(week, self.config.hour)
        lon, lat = batch.need("lonlat").double().deg2rad().unbind(-1)
        angles = torch.stack([week * (2 * torch.pi / 52), hour * (2 * torch.pi / 24), lat, lon], dim=-1)  # (B, 4)
        return metres, torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def _ground(shape: tuple[int, int], dim: int, metres: Tensor) -> Tensor:
    """Code column and row, times the metres of a pixel (B,): (B, h, w, dim) float32."""
    # The exponents are divided by the width a second time, so all frequencies are close to one per pixel:
    # as published.
    steps = torch.arange(dim // 4, device=metres.device) / (dim // 4 - 1)
    turns = 1.0 / 10000 ** (2 * steps / dim) * metres.float()[:, None]  # (B, dim / 4)
    angles = (torch.arange(side, device=metres.device)[:, None] * turns[:, None] for side in shape)
    rows, columns = (torch.cat([angle.sin(), angle.cos()], dim=-1) for angle in angles)  # (B, h, dim / 2), (B, w, ...)
    return joined((len(metres), *shape), columns[:, None], rows[:, :, None])


build = from_keywords(Clay, ClayConfig)
