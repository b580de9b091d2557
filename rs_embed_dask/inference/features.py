"""From an encoder's tokens to an item's result: tiles stitched into one lattice, cropped, then a vector or a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rs_embed_dask.errors import ModelError
from rs_embed_dask.preprocess.geometry import owned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.preprocess.batch import Tokens
    from rs_embed_dask.preprocess.geometry import Fit

__all__ = ["Features", "cells", "confined", "cut_tiles", "joined", "pooled", "stitched"]


@dataclass(frozen=True, eq=False)
class Features:
    """A model's result for one item."""

    # `values` is (D,) or (D, h, w) float32; `grid` where the tokens lie (None for a vector, or an unknown place);
    # `coverage` (h, w) is the share of each token inside the place, where a shape was given;
    # `valid_fraction` (T,) the share of valid values in each frame that was read; `filled_fraction` the share
    # that was filled of what the model saw; `notes` state what was left out, hidden or filled; `fit` says where the
    # tokens of a grid lie in the network's windows, which `windows` (tiles, D, h, w) are whole, where positions matter.

    values: NDArray[np.float32]
    grid: Grid | None
    valid_fraction: NDArray[np.float32]
    filled_fraction: float
    notes: tuple[str, ...]
    coverage: NDArray[np.float32] | None = None
    fit: Fit | None = None
    windows: NDArray[np.float32] | None = None


def cut_tiles(images: Tensor, fit: Fit) -> Tensor:
    """Cut (B, T, C, H, W) into tiles: (B tiles, T, C, h, w), the tiles of an item adjacent."""
    if fit.tile_count == 1:
        return images
    height, width = fit.tile_px
    rows, columns = fit.starts
    tiles = [images[..., row : row + height, col : col + width] for row in rows for col in columns]
    return torch.stack(tiles, dim=1).flatten(0, 1)  # (B tiles, T, C, h, w)


def stitched(patches: Tensor, fit: Fit) -> Tensor:
    """Stitch the tokens of tiles into one lattice and crop the requested part: (B, h, w, ..., D)."""
    rows, columns = fit.starts
    lattice = patches.unflatten(0, (-1, len(rows), len(columns)))  # (B, down, across, h, w, ..., D)
    down = owned(rows, fit.cell_px[0], patches.shape[1], total=fit.tokens[0])
    across = owned(columns, fit.cell_px[1], patches.shape[2], total=fit.tokens[1])
    lines = [torch.cat([lattice[:, i, j][:, a, b] for j, b in across], dim=2) for i, a in down]
    whole = torch.cat(lines, dim=1)
    row_slice, column_slice = fit.keep.slices
    return whole[:, row_slice, column_slice]


def cells(tokens: Tokens, lattice: Tensor) -> Tensor:
    """Return one token per place: (B, h, w, D), or (B, h, w, G D) where a grid shows all tokens of a place."""
    if lattice.dim() == 4:
        return lattice
    if tokens.over == "concat":
        return lattice.flatten(3)
    return lattice.amax(3) if tokens.over == "max" else lattice.mean(3)


def confined(tokens: Tokens, fit: Fit, share: Tensor, *, pooling: str, by_pixel: bool = False) -> Tensor:
    """Return one vector per item, of the tokens inside a shape, given the share of each (B, h, w): (B, D)."""
    if by_pixel and pooling == "mean" and tokens.pooled is not None:
        return tokens.pooled
    own = tokens.patches if tokens.each is None else tokens.each
    if pooling == "cls" or (pooling == "mean" and tokens.pooled is not None and tokens.each is None):
        reason = f"the encoder's vector {pooling!r} is of the whole image, which no shape can confine"
        fix = f"use within='box', or list {pooling!r} under `whole` in the model's card"
        raise ModelError("within", value="shape", reason=reason, fix=fix)
    lattice = stitched(tokens.patches if pooling == "max" else own, fit)  # (B, h, w, D) or (B, h, w, G, D)
    lattice = lattice[:, :, :, None] if lattice.dim() == 4 else lattice  # (B, h, w, G, D)
    inside = (share > 0)[..., None, None]
    if pooling == "max":
        return lattice.masked_fill(~inside, -torch.inf).flatten(1, -2).amax(1)
    weights = share[..., None, None].double()
    sums = torch.where(inside, lattice.double() * weights, 0.0).flatten(1, -2).sum(1)
    mean = (sums / (weights.sum((1, 2, 3)) * lattice.shape[3])).float()
    return mean if tokens.after is None else tokens.after(mean)


def pooled(tokens: Tokens, lattice: Tensor, fit: Fit, *, pooling: str) -> Tensor:
    """Return one vector per item: (B, D)."""
    # ``mean`` is the model's own vector where it has one, averaged over tiles, else the mean of the tokens kept;
    # ``max`` their maximum; ``cls`` the class token, averaged over tiles.
    if pooling == "max":
        return lattice.flatten(1, -2).amax(1)
    own = tokens.cls if pooling == "cls" else tokens.pooled
    if own is not None:
        vectors: Tensor = own.unflatten(0, (-1, fit.tile_count))
        return vectors.mean(1)
    if pooling == "cls":
        raise ModelError("pooling", value="cls", reason="the encoder gave no class token", fix="use pooling='mean'")
    mean = lattice.flatten(1, -2).mean(1)
    return mean if tokens.after is None else tokens.after(mean.float())


def joined(parts: list[Tokens]) -> Tokens:
    """Concatenate the tokens of several batches, without `extra`, which only tests read."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    each = [part.each for part in parts if part.each is not None]
    cls = [part.cls for part in parts if part.cls is not None]
    return type(first)(
        torch.cat([part.patches for part in parts]),
        cls=torch.cat(cls) if cls else None,
        pooled=torch.cat(pooled) if pooled else None,
        each=torch.cat(each) if each else None,
        after=first.after,
        over=first.over,
    )
