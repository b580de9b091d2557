"""Blocks in lucidrains' dialect: attribute names are the names in published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Transformer"]


class Attention(nn.Module):
    """Multi-head self-attention that norms its own input; no matrix has a bias, but the last where `dropout`."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, dropout: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        out = nn.Linear(heads * head_dim, dim, bias=dropout)
        self.to_out = nn.Sequential(out) if dropout else out

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        parts = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, N, head)
        x = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(x.transpose(1, 2).flatten(2))  # (B, N, D)
        return out


class FeedForward(nn.Module):
    """Norm, two linear layers, the exact GELU between them."""

    def __init__(self, dim: int, hidden: int, *, dropout: bool = False) -> None:
        super().__init__()
        slot = (nn.Identity(),) if dropout else ()
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), *slot, nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        out: Tensor = self.net(x)
        return out


class _Layer(nn.ModuleList):
    """Attention and feed-forward, each beside a way through."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self:
            x = x + part(x)
        return x


class Transformer(nn.Module):
    """A stack of such pairs and a norm; `dropout` leaves the places that names give to dropouts of training."""

    def __init__(
        self, dim: int, depth: int, heads: int, *, head_dim: int = 64, mlp_ratio: float = 4.0, dropout: bool = False
    ) -> None:
        super().__init__()
        hidden = round(dim * mlp_ratio)
        self.layers = nn.ModuleList(
            _Layer([Attention(dim, heads, head_dim, dropout=dropout), FeedForward(dim, hidden, dropout=dropout)])
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out
