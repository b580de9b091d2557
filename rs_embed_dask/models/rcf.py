"""Random convolutional features, as in MOSAIKS: an untrained baseline."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import SpecError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.preprocess.batch import Batch, Tokens

_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class RandomFeaturesConfig:
    bands: tuple[str, ...]  # only their number counts
    features: int = 256  # filters; the vector is twice as long
    kernel_px: int = 3
    patch_px: int = 8  # side of a cell
    bias: float = 1.0  # in standard deviations of the response to white noise
    seed: int = 0


class RandomFeatures(nn.Module):
    """The mean over a cell of relu(r - bias) and relu(-r - bias), r the response of an untrained filter."""

    def __init__(self, config: RandomFeaturesConfig) -> None:
        super().__init__()
        shape = (config.features, len(config.bands), config.kernel_px, config.kernel_px)
        if config.kernel_px % 2 == 0 or config.features < 1:
            fix = "give an odd kernel_px and features of at least 1"
            raise SpecError("rcf", value=(shape[0], shape[-1]), reason="no filters of this size", fix=fix)
        self.cell_px, self.bias = config.patch_px, config.bias
        self.register_buffer("filters", _gaussian(shape, config.seed))

    def forward(self, batch: Batch) -> Tokens:
        """Encode (B, C, H, W): cells of a grid (the last may be partial), and the mean over all pixels."""
        filters: Tensor = self.filters  # type: ignore[assignment]  # a buffer
        half = filters.shape[-1] // 2
        images = functional.pad(batch.image, (half, half, half, half), mode="replicate")
        parts = [self._answers(images, some, batch.share) for some in filters.split(_AT_ONCE)]
        cells = [torch.cat(signs, dim=1) for signs in zip(*(part[0] for part in parts), strict=True)]
        means = [torch.cat(signs, dim=1) for signs in zip(*(part[1] for part in parts), strict=True)]
        return Tokens(torch.cat(cells, dim=1).permute(0, 2, 3, 1), pooled=torch.cat(means, dim=1))

    def _answers(self, images: Tensor, filters: Tensor, share: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """Return the means, over cells and over all pixels by their share, of the positive and negative responses."""
        # One by one: on CPUs a small image alone takes another path than a batch, and rounds otherwise.
        answers = torch.cat([functional.conv2d(image, filters) for image in images.split(1)])  # (B, K, H, W)
        both = [functional.relu(answers - self.bias), functional.relu(-answers - self.bias)]
        cells = [functional.avg_pool2d(x, self.cell_px, ceil_mode=True, count_include_pad=False) for x in both]
        weights = None if share is None else (share / share.sum((1, 2), keepdim=True))[:, None]  # (B, 1, H, W)
        return cells, [x.mean((2, 3)) if weights is None else (x * weights).sum((2, 3)) for x in both]


def _gaussian(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw filters of norm one from a counter-based generator: the same on every machine."""
    digest = hashlib.sha256(f"rcf|{seed}|{shape}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    drawn = generator.standard_normal(shape)
    return torch.from_numpy(_unit(drawn).astype(np.float32))


def _unit(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt((filters**2).sum((1, 2, 3), keepdims=True))
    return filters / np.maximum(norms, 1e-12)


def filters_from_images(
    images: NDArray[np.float32], *, features: int = 256, kernel_px: int = 3, seed: int = 0, whitening: float = 0.1
) -> dict[str, NDArray[np.float32]]:
    """Cut filters out of images and whiten them, as MOSAIKS does; the variant ``patches`` takes them as weights."""
    count, channels, height, width = images.shape
    if min(height, width) < kernel_px or not np.isfinite(images).all():
        fix = "give larger images without NaN"
        raise SpecError("filters_from_images", value=images, reason="no patch can be cut out", fix=fix)
    generator = np.random.default_rng(seed)
    which = generator.integers(0, count, features)
    rows = generator.integers(0, height - kernel_px + 1, features)
    columns = generator.integers(0, width - kernel_px + 1, features)
    cut = [images[i, :, r : r + kernel_px, c : c + kernel_px] for i, r, c in zip(which, rows, columns, strict=True)]
    flat = np.stack(cut).reshape(features, -1).astype(np.float64)
    flat -= flat.mean(0)
    values, vectors = np.linalg.eigh(flat.T @ flat / features)
    white = flat @ (vectors / np.sqrt(np.maximum(values, 0) + whitening)) @ vectors.T
    shape = (features, channels, kernel_px, kernel_px)
    return {"filters": _unit(white.reshape(shape)).astype(np.float32)}


build = from_keywords(RandomFeatures, RandomFeaturesConfig)
