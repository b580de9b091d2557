"""Copernicus-FM: one ViT for all Sentinels and elevation, conditioned on wavelengths or on a variable's name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import WeightsError
from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.wavelengths import WaveConfig, WavePatches
from rs_embed_dask.models.weights import read
from rs_embed_dask.preprocess.batch import Batch, Tokens

# Modalities that are known by a name, of which the authors publish a language model's vector.
_GASES = {"no2": "Nitrogen Dioxide", "co": "Carbon Monoxide", "o3": "Ozone", "so2": "Sulfur Dioxide"}
NAMES = {f"s5p_{gas}": f"Sentinel 5P {name}" for gas, name in _GASES.items()}
NAMES["dem"] = "Copernicus Digital Elevation Model"


def _fourier(numbers: Tensor, dim: int, low: float, high: float) -> Tensor:
    """Code (...) as sines and cosines of waves from `low` to `high` long: (..., dim) float32."""
    waves = torch.logspace(math.log10(low), math.log10(high), dim // 2, dtype=torch.float64, device=numbers.device)
    angles = numbers.double()[..., None] * (2 * torch.pi / waves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


@dataclass(frozen=True, kw_only=True)
class CopernicusFMConfig(WaveConfig):
    modalities: tuple[str, ...] = ()
    language: str | Mapping[str, Tensor] = ""  # vectors of names, or their file
    metadata: tuple[str, ...] = ("place", "dates", "area")  # which of these it receives; the area is a patch's
    normed: bool = False  # whether the tokens of a grid go through the final norm


class CopernicusFM(Encoder):
    """Attribute names are the published keys; WeightsError where a modality is known by a name without a vector."""

    def __init__(self, config: CopernicusFMConfig) -> None:
        super().__init__(config, side=config.size // config.patch, ending="none")
        self.config, self.dim = config, config.dim
        self.language = {name: _vector(config.language, name) for name in config.modalities if name in NAMES}
        self.patch_embed_spectral, self.patch_embed_variable = WavePatches(config), WavePatches(config)
        self.patch_embed_variable.add_module("language_proj", nn.Linear(2048, config.wave_dim))
        tokens_of_none = (nn.Parameter(torch.zeros(1, 1, config.dim)) for _ in range(3))
        self.coord_token, self.time_token, self.scale_token = tokens_of_none
        self.coord_fc, self.time_fc, self.scale_fc = (nn.Linear(config.dim, config.dim) for _ in range(3))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, S, S): the patches as the last block leaves them, the class token normed."""
        ((name, inputs),) = batch.inputs.items()
        patch = inputs.patch_px or self.config.patch
        named = name in self.language
        embed = self.patch_embed_variable if named else self.patch_embed_spectral
        facts = name if named else tuple(inputs.values(f"{kind}_nm") for kind in ("wavelength", "bandwidth"))
        codes = partial(self._codes, facts, embed.wave_dim)
        patches = embed(batch.image, facts, codes, patch=patch)  # (B, h, w, D)
        tokens = self.placed(patches, self._metadata_code(batch, patch), antialias=True)
        norm = self.get_submodule("norm")
        normed, tokens.cls = norm(tokens.patches), norm(tokens.cls)
        tokens.extra["grid_normed"] = normed.permute(0, 3, 1, 2)
        tokens.after = partial(functional.layer_norm, normalized_shape=(self.dim,), eps=1e-6)
        if self.config.normed:
            tokens.pooled = tokens.after(tokens.patches.flatten(1, 2).mean(1).float())
            tokens.patches = normed
        return tokens

    def _codes(self, facts: str | tuple[tuple[float, ...], ...], dim: int) -> Tensor:
        """Code the name of a map, or bands by centre and width in nanometres: (C, W)."""
        if isinstance(facts, str):
            vector = self.language[facts].to(self.cls_token)[None]
            return self.patch_embed_variable.get_submodule("language_proj")(vector)
        waves, widths = (self.cls_token.new_tensor(numbers) for numbers in facts)
        return _fourier(waves, dim, 100, 1e9) + _fourier(widths, dim, 1, 1e9)

    def _metadata_code(self, batch: Batch, patch: int) -> Tensor:
        """Code place, day and area of a patch, with a learned token for what is unknown: (B or 1, 1, D)."""
        # In float32, as in training, degrees are rounded to more than the shortest of their waves.
        place: Tensor = self.coord_token
        days: Tensor = self.time_token
        area: Tensor = self.scale_token
        if "place" in self.config.metadata and batch.lonlat is not None:
            degrees = batch.lonlat.float() + place.new_tensor([180.0, 90.0])
            place = _fourier(degrees, self.dim // 2, 0.0001, 720).flatten(1)[:, None]
        if "dates" in self.config.metadata and batch.dates is not None:
            since_1970 = batch.calendar(lambda day: day.toordinal() - 719_163)[:, 0]
            days = _fourier(since_1970 + batch.dates[:, 0, 3:].sum(-1) / 24, self.dim, 1, 365.25)[:, None]
        metres = batch.gsd_m if batch.read_m is None else batch.read_m
        if "area" in self.config.metadata and metres is not None:
            area = _fourier(((metres.double() * patch / 1000) ** 2).float(), self.dim, 0.001, 5.1e8)[:, None]
        return self.coord_fc(place) + self.time_fc(days) + self.scale_fc(area)


def _vector(source: str | Mapping[str, Tensor], modality: str) -> Tensor:
    """Return the vector of a modality's name, from a file or a mapping."""
    vectors = source if isinstance(source, Mapping) else read(Path(source)) if source else {}
    vector = vectors.get(NAMES[modality], vectors.get(modality))
    if isinstance(vector, Tensor) and vector.numel() == 2048:
        return vector.flatten()
    reason, value = f"no vector of 2048 numbers for {NAMES[modality]!r}", source if isinstance(source, str) else ""
    fix = "pass language=PATH of varname_embed_llama3.2_1B.pt (wangyi111/Copernicus-FM on Hugging Face)"
    raise WeightsError(f"copernicusfm {modality}: language", value=value, reason=reason, fix=fix)


build = from_keywords(CopernicusFM, CopernicusFMConfig)
