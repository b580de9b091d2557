"""What encoders share: construction from keywords, and a ViT with a class token and a final norm."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rs_embed_dask.models.positions import resized
from rs_embed_dask.models.vit import TrunkConfig
from rs_embed_dask.preprocess.batch import Tokens

# The last norm: of every token; the same, loaded but not applied; or, in a fine-tuned network, of the mean alone.
Ending = Literal["norm", "none", "fc_norm"]


def from_keywords(encoder: Callable[[Any], nn.Module], config: Callable[..., Any]) -> Callable[..., nn.Module]:
    """Return a factory that builds an encoder from a card's configuration; TypeError for an unknown keyword."""
    return lambda **values: encoder(config(**values))


class Encoder(nn.Module):
    """A class token, blocks and a final norm; with `side`, also a table of positions of `side` x `side` patches."""

    def __init__(self, config: TrunkConfig, *, side: int = 0, ending: Ending = "norm") -> None:
        super().__init__()
        self.ending = ending
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        if side:
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, config.dim))
        self.blocks = config.blocks()
        self._norm = "fc_norm" if ending == "fc_norm" else "norm"
        self.add_module(self._norm, config.norm())

    def encode(self, patches: Tensor, first: Tensor | None = None, *block_args: Tensor) -> Tokens:
        """Run the blocks on (B, ..., D) patches, positions included, preceded by the class token or by `first`."""
        # `block_args` are what each block receives besides its tokens.
        first = self.cls_token if first is None else first
        x = torch.cat([first.expand(len(patches), -1, -1), patches.flatten(1, -2)], dim=1)  # (B, 1 + N, D)
        for block in self.blocks:
            x = block(x, *block_args)
        norm = self.get_submodule(self._norm)
        x = norm(x) if self.ending == "norm" else x
        after = norm if self.ending == "fc_norm" else None
        return Tokens(x[:, first.shape[1] :].view(patches.shape), cls=x[:, 0], after=after, extra={"tokens": x})

    def placed(self, patches: Tensor, code: Tensor | None = None, **how: Any) -> Tokens:
        """Encode (B, h, w, D) with the table's positions, resampled by `resized`, and an added `code` (B, 1, D)."""
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        table = self.pos_embed[:, 1:].unflatten(1, (side, side))
        patches = patches + resized(table, (patches.shape[1], patches.shape[2]), **how)
        first = self.cls_token + self.pos_embed[:, :1]
        return self.encode(patches, first) if code is None else self.encode(patches + code[:, None], first + code)
