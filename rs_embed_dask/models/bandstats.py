"""Statistics of each band over time: the simplest baseline."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.preprocess.batch import Batch, Tokens

PERCENTILES = (10, 25, 50, 75, 90)


class BandStatistics(nn.Module):
    """Each pixel's statistics over its valid frames, averaged over valid pixels; `bands` matters only by its length."""

    def __init__(self, *, bands: tuple[str, ...], patch_px: int = 8) -> None:
        super().__init__()
        self.bands, self.cell_px = bands, patch_px

    def forward(self, batch: Batch) -> Tokens:
        """Describe (B, T, C, H, W), NaN where missing: all statistics of the first band, then of the next."""
        (frames,) = batch.images.values()
        statistics = _over_time(frames.float()).flatten(1, 2)  # (B, C S, H, W)
        valid = torch.isfinite(statistics)
        filled = torch.where(valid, statistics, 0.0)
        side = self.cell_px
        cells, share = (
            functional.avg_pool2d(x, side, side, ceil_mode=True, count_include_pad=False)
            for x in (filled, valid.float())
        )
        weights = valid.float() if batch.share is None else valid * batch.share[:, None]  # (B, C S, H, W)
        pooled = (filled * weights).sum((2, 3)) / weights.sum((2, 3))
        return Tokens((cells / share).permute(0, 2, 3, 1), pooled=pooled)


def _over_time(frames: Tensor) -> Tensor:
    """(B, T, C, H, W) to (B, C, S, H, W); NaN only where a pixel has no valid frame."""
    valid = torch.isfinite(frames)
    count = valid.sum(1)  # (B, C, H, W)
    filled = torch.where(valid, frames, 0.0)
    mean = filled.sum(1) / count
    spread = torch.where(valid, frames - mean[:, None], 0.0)
    std = (spread.square().sum(1) / count).sqrt()
    ordered = torch.where(valid, frames, torch.inf).sort(dim=1).values
    last = (count - 1).clamp(min=0)
    quantiles = [_at(ordered, last, last * (p / 100)) for p in (0, 100, *PERCENTILES)]
    statistics = torch.stack([mean, std, *quantiles], dim=2)
    return torch.where((count > 0)[:, :, None], statistics, torch.nan)


def _at(ordered: Tensor, last: Tensor, place: Tensor) -> Tensor:
    """Interpolate the sorted frames linearly at a fractional index."""
    low = place.floor().long()
    high = torch.minimum(low + 1, last)
    below, above = (ordered.gather(1, index[:, None])[:, 0] for index in (low, high))
    return below + (above - below) * (place - low)


build = BandStatistics
