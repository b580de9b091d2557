"""SatMAE on RGB: the ViT-L/16 encoder of a masked autoencoder trained on fMoW scenes, applied without masking."""

from dataclasses import dataclass

from rs_embed_dask.models.encoder import Encoder, Ending, from_keywords
from rs_embed_dask.models.vit import PatchConfig, PatchEmbed
from rs_embed_dask.preprocess.batch import Batch, Tokens


@dataclass(frozen=True, kw_only=True)
class SatMAEConfig(PatchConfig):
    ending: Ending = "norm"


class SatMAE(Encoder):
    def __init__(self, config: SatMAEConfig) -> None:
        super().__init__(config, side=config.size // config.patch, ending=config.ending)
        self.patch_embed = PatchEmbed(3, config.dim, config.patch)

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, 3, S, S): the class token and every patch, in raster order, after the final norm."""
        return self.placed(self.patch_embed(batch.image))


build = from_keywords(SatMAE, SatMAEConfig)
