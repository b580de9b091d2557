"""DINOv3 trained on satellite images: a plain ViT with register tokens and rotary positions."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.vit import Attention, PatchEmbed, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens


class _TurningAttention(Attention):
    """Attention whose keys never have a bias, even if the checkpoint does, with rotary positions for patches."""

    def parts(self, x: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        """Compute queries, keys and values of (B, N, D)."""
        del source
        bias: Tensor | None = self.qkv.bias
        if bias is not None:
            query, key, value = bias.chunk(3)
            bias = torch.cat([query, torch.zeros_like(key), value])
        return functional.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)

    def forward(self, x: Tensor, turns: Tensor | None = None) -> Tensor:
        """(B, N, D) to the same; `turns` as in `_turned`."""
        return self.look(x, turn=None if turns is None else (partial(_turned, turns),) * 2)


def _turned(turns: Tensor, x: Tensor) -> Tensor:
    """Rotate pairs of channels, half a head apart, of the last tokens of (B, heads, N, head)."""
    # `turns` (2, patches, head) are the cosines and sines of their angles.
    first, patches = x.split([x.shape[2] - turns.shape[1], turns.shape[1]], dim=2)
    one, two = patches.float().chunk(2, dim=-1)
    return torch.cat([first, (patches * turns[0] + torch.cat([-two, one], dim=-1) * turns[1]).to(x.dtype)], dim=2)


@dataclass(frozen=True, kw_only=True)
class DINOv3Config(TrunkConfig):
    norm_eps: float = 1e-5
    layer_scale: bool = True
    patch: int = 16
    storage: int = 4
    rope_base: float = 100.0


class DINOv3(Encoder):
    """Attribute names are the published keys, but for those of the gated layers of the largest size."""

    def __init__(self, config: DINOv3Config) -> None:
        super().__init__(config)
        self.head, self.rope_base = config.dim // config.heads, config.rope_base
        self.storage_tokens = nn.Parameter(torch.zeros(1, config.storage, config.dim))
        self.patch_embed = PatchEmbed(3, config.dim, config.patch)
        for block in self.blocks:
            block.attn = _TurningAttention(config.dim, config.heads, bias=not config.gated)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, H, W): the class token and every patch, in raster order, after the final norm."""
        patches = self.patch_embed(batch.image)  # (B, h, w, D)
        first = torch.cat([self.cls_token, self.storage_tokens], dim=1)
        return self.encode(patches, first, self._turns((patches.shape[1], patches.shape[2])))

    def _turns(self, shape: tuple[int, int]) -> Tensor:
        """Cosines and sines for a grid whose places are -1..1 along each axis: (2, h w, head) float32."""
        device = self.cls_token.device
        periods = self.rope_base ** (torch.arange(self.head // 4, device=device) * 4 / self.head)
        places = torch.cartesian_prod(*((torch.arange(side, device=device) + 0.5) / side * 2 - 1 for side in shape))
        angles = (2 * torch.pi * places[..., None] / periods).flatten(1).repeat(1, 2)  # (h w, head)
        return torch.stack([angles.cos(), angles.sin()])


build = from_keywords(DINOv3, DINOv3Config)
