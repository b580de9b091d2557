"""Blocks by the names of PyTorch's own multi-head attention, as OpenCLIP and torchvision have them."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.models.vit import TrunkConfig, attend


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), with which OpenAI trained CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) to the same."""
        return x * (1.702 * x).sigmoid()


def feed_forward(trunk: TrunkConfig, names: tuple[str, str], act: nn.Module | None = None) -> nn.Sequential:
    """Two linear layers of these names with an activation between them, by default the exact GELU."""
    first, second = nn.Linear(trunk.dim, trunk.mlp_hidden), nn.Linear(trunk.mlp_hidden, trunk.dim)
    return nn.Sequential(OrderedDict([(names[0], first), ("act", act or nn.GELU()), (names[1], second)]))


class _JointAttention(nn.Module):
    """Multi-head self-attention; q, k and v in one matrix that is not a layer of its own."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attend(q, k, v, heads=self.heads))


class JointBlock(nn.Module):
    """Pre-norm transformer block in OpenCLIP's names, or in torchvision's."""

    def __init__(self, trunk: TrunkConfig, act: nn.Module | None = None, *, torchvision: bool = False) -> None:
        super().__init__()
        self.attention = "self_attention" if torchvision else "attn"
        self.ln_1, self.ln_2 = trunk.norm(), trunk.norm()
        self.add_module(self.attention, _JointAttention(trunk.dim, trunk.heads))
        self.mlp = feed_forward(trunk, ("0", "3") if torchvision else ("c_fc", "c_proj"), act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        x = x + self.get_submodule(self.attention)(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class AttentionPool(nn.Module):
    """One vector from a map of `side` x `side`: attention pooling with the mean as the query."""

    def __init__(self, side: int, dim: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(1 + side**2, dim))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.c_proj = nn.Linear(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side, side, D) to (B, out)."""
        x = x.flatten(1, 2)  # (B, N, D)
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1) + self.positional_embedding
        attended = attend(self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x), heads=self.heads)
        return self.c_proj(attended[:, 0])
