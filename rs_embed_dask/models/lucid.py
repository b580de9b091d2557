"""Blocks in lucidrains' dialect: attribute names are the names in published checkpoints."""

from collections import OrderedDict

from torch import Tensor, nn

from rs_embed_dask.models.vit import TrunkConfig, attend


class LucidAttention(nn.Module):
    """Multi-head self-attention that norms its own input; no matrix has a bias, except the last with `dropout`."""

    def __init__(self, trunk: TrunkConfig, head_dim: int, *, dropout: bool) -> None:
        super().__init__()
        self.heads = trunk.heads
        self.norm = nn.LayerNorm(trunk.dim)
        self.to_qkv = nn.Linear(trunk.dim, 3 * trunk.heads * head_dim, bias=False)
        out = nn.Linear(trunk.heads * head_dim, trunk.dim, bias=dropout)
        self.to_out = nn.Sequential(out) if dropout else out

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        return self.to_out(attend(*self.to_qkv(self.norm(x)).chunk(3, dim=-1), heads=self.heads))


def _feed_forward(trunk: TrunkConfig, *, dropout: bool) -> nn.Sequential:
    """Norm, two linear layers, the exact GELU between them."""
    dim, hidden, slot = trunk.dim, trunk.mlp_hidden, (nn.Identity(),) if dropout else ()
    net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), *slot, nn.Linear(hidden, dim))
    return nn.Sequential(OrderedDict(net=net))


class _Layer(nn.ModuleList):
    """Attention and feed-forward, each with a residual connection."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self:
            x = x + part(x)
        return x


class Transformer(nn.Module):
    """A stack of such pairs and a norm; `dropout` reserves the indices of the dropout layers used in training."""

    def __init__(self, trunk: TrunkConfig, *, head_dim: int = 64, dropout: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Layer([LucidAttention(trunk, head_dim, dropout=dropout), _feed_forward(trunk, dropout=dropout)])
            for _ in range(trunk.depth)
        )
        self.norm = nn.LayerNorm(trunk.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
