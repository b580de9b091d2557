"""A map made without Dask: the tiles of `Tiles` in their order, as the engine's tasks make them."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.maps.blend import divided, pasted, placed, summed, weights_of
from rs_embed_dask.maps.lattice import Rect


def pixels_of(rect, patch, bands=2):
    """Pixels that anyone can compute for any rectangle of tokens: smooth, with detail of a pixel's size."""
    y, x = np.meshgrid(
        np.arange(rect.top * patch, rect.bottom * patch),
        np.arange(rect.left * patch, rect.right * patch),
        indexing="ij",
    )
    waves = [np.sin(0.11 * (band + 1) * x) + np.cos(0.07 * y + band) + ((x * 7 + y * 13) % 5) for band in range(bands)]
    return np.stack(waves).astype(np.float32)


def encode(window, patch):
    """A model whose vectors depend on the token, its position and the mean of the whole window; (3, W, W)."""
    bands, height, width = window.shape
    side = height // patch
    cells = window.reshape(bands, side, patch, width // patch, patch).mean((2, 4))
    row, col = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    return np.stack([cells[0] + row / 10, cells[1] - col / 7, cells[0] * window.mean()]).astype(np.float32)


class Stream:
    """Counts of what was read and run, and the blocks of the map."""

    def __init__(self, tiles, *, model=encode):
        self.tiles, self.model = tiles, model
        last = 1 + max(max(tile) for tile in tiles.order)
        self.reads = np.zeros(((last + 2) * tiles.tiling.block,) * 2, int)
        self.windows, self.blocks = {}, {}

    def run(self):
        tiles, patch = self.tiles, self.tiles.tiling.patch_px
        weights = weights_of(tiles.tiling)
        strips, sums = {}, {}
        for tile in tiles.order:
            source, field = tiles.source(tile), tiles.field(tile)
            own = pixels_of(source, patch)
            self.reads[source.top : source.bottom, source.left : source.right] += 1
            near = self._near(tile, strips)
            pixels = pasted([*near, (source, own)], field, pixels=patch)
            strips[tile] = self._strips(tile, source, own, patch)
            starts = tiles.starts(tile)
            vectors = []
            for row in starts[0]:
                for col in starts[1]:
                    self.windows[row, col] = self.windows.get((row, col), 0) + 1
                    rect = Rect(row, col, row + len(weights), col + len(weights))
                    vectors.append(self.model(pixels[:, *rect.within(field, patch)], patch))
            total = summed(
                np.stack(vectors) if vectors else np.zeros((0, 3, *weights.shape), np.float32),
                starts,
                over=field,
                weights=weights,
            )
            if tile in tiles.wanted:
                size = tiles.tiling.block
                rect = Rect(tile.row * size, tile.col * size, (tile.row + 1) * size, (tile.col + 1) * size)
                self.blocks[tile] = divided(placed([*self._near(tile, sums), (field, total)], rect))
            sums[tile] = self._strips(tile, field, total, 1)
        return self

    def _near(self, tile, strips):
        corner, top, left = self.tiles.earlier(tile)
        return [strips[near][name] for near, name in ((corner, "below"), (top, "below"), (left, "right")) if near]

    def _strips(self, tile, rect, values, scale):
        parts = {"right": self.tiles.right(tile, rect), "below": self.tiles.below(tile, rect)}
        return {name: (part, values[..., *part.within(rect, scale)].copy()) for name, part in parts.items()}
