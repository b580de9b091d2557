"""Scale-MAE on RGB: a ViT-L/16 whose positions are metres, by the ground resolution of what the network sees."""

import torch

from rs_embed_dask.models.encoder import Encoder, from_keywords
from rs_embed_dask.models.positions import plane
from rs_embed_dask.models.satmae import SatMAEConfig
from rs_embed_dask.models.vit import PatchEmbed
from rs_embed_dask.preprocess.batch import Batch, Tokens


class ScaleMAE(Encoder):
    """Attribute names are the published keys; the checkpoint's table of positions is not used."""

    def __init__(self, config: SatMAEConfig) -> None:
        super().__init__(config, ending=config.ending)  # it is the same at every size
        self.patch_embed = PatchEmbed(3, config.dim, config.patch)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, H, W) of any whole number of patches; the class token has no position."""
        patches = self.patch_embed(batch.image)  # (B, h, w, D)
        shape = (patches.shape[1], patches.shape[2])
        return self.encode(patches + plane(shape, patches.shape[-1], batch.need("gsd_m"), dtype=torch.float32))


build = from_keywords(ScaleMAE, SatMAEConfig)
