"""SatMAE on RGB: the ViT-L/16 encoder of a masked autoencoder trained on fMoW scenes; nothing is masked here."""

from typing import Any

from rs_embed_dask.models.encoder import Encoder, builder
from rs_embed_dask.models.vit import PatchEmbed, Trunk
from rs_embed_dask.preprocess.batch import Batch, Tokens

__all__ = ["SatMAE", "build"]


class SatMAE(Encoder):
    """Attribute names are the published keys; `size` and `patch` are in pixels."""

    def __init__(self, trunk: Trunk, *, size: int = 224, patch: int = 16, **ending: Any) -> None:
        super().__init__(trunk, side=size // patch, **ending)
        self.patch_embed = PatchEmbed(3, trunk.dim, patch)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the class token and every patch, in raster order, after the final norm."""
        return self.placed(self.patch_embed(batch.image))


build = builder(SatMAE)
