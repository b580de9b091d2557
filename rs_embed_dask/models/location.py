"""Sines and cosines of each pixel's longitude and latitude: a baseline that sees no imagery."""

import torch
from torch import nn

from rs_embed_dask.preprocess.batch import Batch, Tokens
from rs_embed_dask.preprocess.waves import scales_of, waves


class LocationWaves(nn.Module):
    """A token per pixel, of its coordinates alone; nothing is learnt."""

    def __init__(self, *, scales: int = 16) -> None:
        super().__init__()
        self.scales = scales_of(scales)

    def forward(self, batch: Batch) -> Tokens:
        """Encode degrees east and north of the place (B, 2, H, W), in float64: float32 is no finer than 2 m."""
        offsets, centre = (values.cpu().numpy().astype(float) for values in (batch.image, batch.need("lonlat")))
        lon, lat = (offsets[:, axis] + centre[:, axis, None, None] for axis in (0, 1))  # (B, H, W)
        return Tokens(torch.from_numpy(waves(lon, lat, self.scales)).to(batch.image).permute(1, 2, 3, 0))


build = LocationWaves
