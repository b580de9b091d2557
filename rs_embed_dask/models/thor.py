"""THOR: bands in groups, each a map at its own resolution, all in one sequence with distances on the ground."""

from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import alibi, resized, sincos
from rs_embed_dask.models.vit import TrunkConfig, resample_kernel
from rs_embed_dask.preprocess.batch import Batch, Tokens
from rs_embed_dask.preprocess.inputs import Inputs

_SWIR = {"swir16": "S2:SWIR1", "swir22": "S2:SWIR2"}
# Metres per pixel, and the bands of each group: common name, published name.
GROUPS: tuple[tuple[int, dict[str, str]], ...] = (
    (10, {"red": "S2:Red", "green": "S2:Green", "blue": "S2:Blue", "nir": "S2:NIR"}),
    (20, {**{f"rededge{i}": f"S2:RE{i}" for i in (1, 2, 3)}, "nir08": "S2:RE4", **_SWIR}),
    (60, {"coastal": "S2:CoastAerosal", "nir09": "S2:WaterVapor"}),
    (10, {"vh": "S1:VH", "vv": "S1:VV"}),
    (10, {"hv": "S1:HV", "hh": "S1:HH"}),
    *((240, {f"oa{i:02}": f"S3:Oa{i:02}_reflectance" for i in range(n, n + 7)}) for n in (1, 8, 15)),
    (480, {f"s{i}": f"S3:S{i}_reflectance_an" for i in range(1, 7)}),
    (960, {f"s{i}": f"S3:S{i}_BT_in" for i in range(7, 10)}),
)


@dataclass(frozen=True, kw_only=True)
class THORConfig(TrunkConfig):
    bands: tuple[str, ...] = ()  # those in use; the network is the same for any
    patch_px: int  # side of a token in its group's pixels
    group_dim: int  # dimensions of a code that identify the group
    over: Literal["mean", "concat"]
    ending: str
    gsd: str


class THOR(nn.Module):
    def __init__(self, config: THORConfig) -> None:
        super().__init__()
        self.over, self.ending, self.gsd = config.over, config.ending, config.gsd
        self.dims, self.heads = (config.dim - config.group_dim, config.group_dim), config.heads
        self.patch, published = config.patch_px, chain.from_iterable(bands.values() for _, bands in GROUPS)
        kernels = {name: nn.Conv2d(1, config.dim, 16, stride=16) for name in published}
        self.ind_patch_embed = nn.ModuleDict({"patch_embed": nn.ModuleDict(kernels)})
        self.blocks, self.norm = config.blocks(), config.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, S, S) of each modality: the maps of all groups, brought to the densest."""
        maps: dict[int, Tensor] = {}
        for name, inputs in batch.inputs.items():
            maps |= self._maps(batch.only_frame(name), inputs)
        maps = dict(sorted(maps.items()))
        metres = batch.read_m if self.gsd == "read" and batch.read_m is not None else batch.need("gsd_m")
        stretch = metres / next(iter(batch.inputs.values())).resolution_m  # (B,)
        coded = [tokens + self._code(group, stretch) for group, tokens in maps.items()]  # (B, s, s, D) each
        bias = alibi(_centres({group: len(tokens[0]) for group, tokens in maps.items()}, stretch.device), self.heads)
        x = torch.cat([tokens.flatten(1, 2) for tokens in coded], dim=1)  # (B, N, D)
        for block in self.blocks:
            x = block(x, bias[None].to(x.dtype))
        extra = {"tokens": x, "tokens_normed": self.norm(x)}
        x = extra["tokens_normed"] if self.ending == "norm" else x
        parts = x.split([len(tokens[0]) ** 2 for tokens in coded], dim=1)
        planes = [part.unflatten(1, tokens.shape[1:3]) for part, tokens in zip(parts, coded, strict=True)]
        side = max(plane.shape[1] for plane in planes)
        dense = [resized(plane, (side, side), kernel="bilinear") for plane in planes]  # (B, h, w, D) each
        return Tokens(torch.stack(dense, dim=3), pooled=x.mean(1), over=self.over, extra=extra)

    def _maps(self, image: Tensor, inputs: Inputs) -> dict[int, Tensor]:
        """Tokens (B, s, s, D) of each group that has a band here, at its own resolution."""
        maps = {}
        for group, (metres, bands) in enumerate(GROUPS):
            own = [band for band in inputs.bands if band in bands]
            if not own:
                continue
            side = image.shape[-1] * inputs.resolution_m / metres
            if image.shape[-1] != image.shape[-2] or side % self.patch:
                reason = f"its {metres} m bands are not a whole number of tokens"
                step = round(self.patch * metres / inputs.resolution_m)
                raise ModelInputError("image", value=image.shape, reason=reason, fix=f"use a multiple of {step} px")
            chosen = image[:, [inputs.bands.index(band) for band in own]]
            if side != image.shape[-1]:
                chosen = functional.interpolate(chosen, size=(int(side),) * 2, mode="bilinear", align_corners=False)
            maps[group] = self._embedded(chosen, [bands[band] for band in own])
        return maps

    def _embedded(self, image: Tensor, published: list[str]) -> Tensor:
        """(B, C, S, S) of these bands to the mean of their tokens: (B, s, s, D)."""
        parts = (self.ind_patch_embed["patch_embed"].get_submodule(name).parameters() for name in published)
        weights, biases = zip(*parts, strict=True)
        kernel = resample_kernel(torch.cat(weights, dim=1), self.patch) / len(published)
        return functional.conv2d(image, kernel, torch.stack(biases).mean(0), stride=self.patch).permute(0, 2, 3, 1)

    def _code(self, group: int, stretch: Tensor) -> Tensor:
        """Code a token's side on the ground, and its group: (B, 1, 1, D)."""
        ground = sincos(self.patch * GROUPS[group][0] * stretch / 40, self.dims[0])
        number = sincos(torch.full_like(stretch, group), self.dims[1])
        return torch.cat([ground, number], dim=-1)[:, None, None]


def _centres(sides: dict[int, int], device: torch.device) -> Tensor:
    """Return the centre of each token (N, 2), in sides of the largest token present."""
    unit = max(GROUPS[group][0] for group in sides)
    axes = [(torch.arange(side, device=device) + 0.5) * GROUPS[group][0] / unit for group, side in sides.items()]
    return torch.cat([torch.cartesian_prod(axis, axis) for axis in axes])


build = from_keywords(THOR, THORConfig)
