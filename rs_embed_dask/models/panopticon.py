"""Panopticon: one ViT for any channels, each identified by its wavelength or its kind of radar."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.vit import TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

# Transmitted and received polarisation (0 vertical, 1 horizontal) of radar channels -1 to -4, -5 to -8 and so on.
_POLARISATIONS = ((0, 0), (0, 1), (1, 1), (1, 0))


@dataclass(frozen=True, kw_only=True)
class PanopticonConfig(TrunkConfig):
    layer_scale: bool = True
    bands: tuple[str, ...] = ()  # those in use; the network is the same for any
    side: int = 37  # of the grid on which the positions were learned
    patch: int = 14
    channel_dim: int = 2304
    channel_heads: int = 16


class _ChannelPatches(nn.Module):
    """One token per patch, (B, C, H, W) to (B, h, w, D), by attention of one learned query over the channels."""

    # The query is the same for all patches, and everything before and after the softmax is linear. Pixels are
    # therefore weighted and summed per head, and only the sums pass through the matrices: equal, up to rounding, to
    # a key and a value for every channel of every patch, at a fraction of the cost.

    conv3d: Any
    chnfus: Any

    def __init__(self, config: PanopticonConfig) -> None:
        super().__init__()
        self.dim = channel_dim = config.channel_dim
        self.patch, self.heads = config.patch, config.channel_heads
        codes = {f"embed_{name}": torch.zeros(2, channel_dim // 3) for name in ("transmit", "receive", "orbit")}
        projections = {f"inproj_{name}": nn.Linear(channel_dim, channel_dim, bias=False) for name in "kv"}
        self.conv3d = nn.ModuleDict({"conv3d": nn.Conv3d(1, channel_dim, (1, self.patch, self.patch))})
        self.chnfus = nn.ModuleDict({"chnemb": nn.ParameterDict(codes), "xattn": nn.ModuleDict(projections)})
        self.chnfus.register_parameter("query", nn.Parameter(torch.zeros(1, 1, channel_dim)))
        self.proj = nn.Linear(channel_dim, config.dim)

    def forward(self, image: Tensor, ids: tuple[float, ...]) -> Tensor:
        height, width = (side // self.patch for side in image.shape[-2:])
        cut = image[..., : height * self.patch, : width * self.patch].float()
        pixels = cut.unflatten(-1, (width, -1)).unflatten(2, (height, -1)).permute(0, 2, 4, 1, 3, 5).flatten(4)
        with torch.autocast(image.device.type, enabled=False):
            tokens: Tensor = self.proj(self._by_head(pixels, ids).flatten(3))
        return tokens

    def _by_head(self, pixels: Tensor, ids: tuple[float, ...]) -> Tensor:
        """Map the channels of patches (B, h, w, C, p p) to (B, h, w, heads, head)."""
        kernels, bias = self.conv3d["conv3d"].weight.flatten(1), self.conv3d["conv3d"].bias  # (D, p p), (D,)
        codes = torch.stack([self._code(one) for one in ids]) + bias  # (C, D)
        keys, values = (layer.weight.unflatten(0, (self.heads, -1)) for layer in self.chnfus["xattn"].values())
        query = self.chnfus.get_parameter("query").view(self.heads, 1, -1) / math.sqrt(keys.shape[1])
        projected = (query @ keys).squeeze(1)  # (heads, D)
        scores = pixels @ (projected @ kernels).T + codes @ projected.T  # (B, h, w, C, heads)
        shares = scores.softmax(dim=3).transpose(3, 4)  # (B, h, w, heads, C)
        attended = torch.einsum("bhwnp,nep->bhwne", shares @ pixels, values @ kernels)
        return attended + torch.einsum("bhwnc,nec->bhwne", shares, values @ codes.T)

    def _code(self, one: float) -> Tensor:
        """Code a channel: (D,). It is a wavelength in nanometres, or, below 0, a polarisation and an orbit."""
        tables = self.chnfus["chnemb"]
        if one >= 0:
            return sincos(torch.tensor(math.floor(one)), self.dim, dtype=torch.float32).to(tables["embed_orbit"])
        kind, (transmit, receive) = (-int(one) - 1) // 4, _POLARISATIONS[(-int(one) - 1) % 4]
        orbit = tables["embed_orbit"][kind - 1] if kind else tables["embed_orbit"].mean(0)
        return torch.cat([tables["embed_transmit"][transmit], tables["embed_receive"][receive], orbit])


class Panopticon(Encoder):
    def __init__(self, config: PanopticonConfig) -> None:
        super().__init__(config, side=config.side)
        self.patch_embed = _ChannelPatches(config)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W) of each modality together: the class token and every patch after the final norm."""
        image = torch.cat([batch.only_frame(name) for name in batch.images], dim=1)
        ids = tuple(one for name in batch.images for one in batch.inputs[name].values("channel_id"))
        return self.placed(self.patch_embed(image, ids), nudge=0.1)


build = from_keywords(Panopticon, PanopticonConfig)
