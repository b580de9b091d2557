"""CROMA: an optical and a radar encoder, and a third in which radar attends to the optical image."""

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rs_embed_dask.models.clip import feed_forward
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import alibi
from rs_embed_dask.models.vit import TrunkConfig, attend
from rs_embed_dask.preprocess.batch import Batch, Tokens

# By modality: the authors' name, and its channels.
NAMES = {"s2": ("optical", 12), "s1": ("SAR", 2)}


class _CromaAttention(nn.Module):
    """Attention that norms its own input; with `across`, to another image's tokens under the same norm."""

    def __init__(self, trunk: TrunkConfig, *, across: bool = False) -> None:
        super().__init__()
        dim, self.heads = trunk.dim, trunk.heads
        self.input_norm = trunk.norm()
        if across:
            self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        else:
            self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor, context: Tensor | None = None) -> Tensor:
        x = self.input_norm(x)
        if context is None:
            q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        else:
            normed = self.input_norm(context)
            q, k, v = self.to_q(x), self.to_k(normed), self.to_v(normed)
        return self.to_out(attend(q, k, v, heads=self.heads, mask=bias.to(q.dtype)[None]))


class _CromaLayers(nn.Module):
    """Layers of attention, optionally attention `across` to a context, and a feed-forward."""

    def __init__(self, trunk: TrunkConfig, *, across: bool = False) -> None:
        super().__init__()
        self.heads = trunk.heads
        kinds = (False, True) if across else (False,)
        self.layers = nn.ModuleList()
        for _ in range(trunk.depth):
            feed = nn.Sequential(OrderedDict(input_norm=trunk.norm(), net=feed_forward(trunk, ("0", "3"))))
            self.layers.append(nn.ModuleList([*(_CromaAttention(trunk, across=kind) for kind in kinds), feed]))
        self.norm_out = trunk.norm()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, h, w, D) to the same."""
        shape, sides = x.shape, (torch.arange(side, device=x.device) for side in x.shape[1:3])
        x, context = x.flatten(1, 2), None if context is None else context.flatten(1, 2)
        bias = alibi(torch.cartesian_prod(*sides), self.heads)  # (heads, N, N)
        for layer in self.layers:
            own, *across, feed = layer.children()
            x = x + own(x, bias)
            for look in across:
                x = x + look(x, bias, context)
            x = x + feed(x)
        return self.norm_out(x).view(shape)


@dataclass(frozen=True, kw_only=True)
class CROMAConfig(TrunkConfig):
    norm_eps: float = 1e-5
    modalities: tuple[str, ...]
    patch: int = 8
    s1_depth: int = 0  # this and the next are half the optical encoder's where 0
    joint_depth: int = 0


class CROMA(nn.Module):
    def __init__(self, config: CROMAConfig) -> None:
        super().__init__()
        self.patch, half = config.patch, config.depth // 2
        for name in config.modalities:
            own = config if name == "s2" else replace(config, depth=config.s1_depth or half)
            first = nn.Linear(NAMES[name][1] * config.patch**2, config.dim)
            parts = OrderedDict(linear_input=first, transformer=_CromaLayers(own))
            last = OrderedDict([("0", config.norm()), *feed_forward(config, ("1", "3")).named_children()])
            self.add_module(f"{name}_encoder", nn.Sequential(parts))
            self.add_module(f"{name}_GAP_FFN", nn.Sequential(last))
        if len(config.modalities) > 1:
            self.joint_encoder = _CromaLayers(replace(config, depth=config.joint_depth or half), across=True)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, S, S) of each modality: the tokens of one, or radar's after attending to optical."""
        maps: dict[str, Tensor] = {}
        extra: dict[str, Tensor] = {}
        for name in batch.images:
            # The published matrix takes a patch as (channel, row, column).
            cut = batch.only_frame(name).unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
            flat = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, h, w, C p p)
            maps[name] = tokens = self.get_submodule(f"{name}_encoder")(flat)
            last = self.get_submodule(f"{name}_GAP_FFN")
            extra |= {f"{NAMES[name][0]}_encodings": tokens, f"{NAMES[name][0]}_GAP": last(tokens.mean((1, 2)))}
        if len(maps) == 1:
            return Tokens(tokens, after=last, extra=extra)
        joint = self.joint_encoder(maps["s1"], maps["s2"])
        return Tokens(joint, extra=extra | {"joint_encodings": joint, "joint_GAP": joint.mean((1, 2))})


build = from_keywords(CROMA, CROMAConfig)
