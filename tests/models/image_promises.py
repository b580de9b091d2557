"""What models of images promise, for the families' tests to take over: a batch is its items, tiles and tokens a map."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from rs_embed_dask.specs import InputPrep, OutputSpec

GRID = OutputSpec.grid()
DATES = [["2022-01-03"], ["2021-07-17"], ["2020-11-30"]]
PLACES = [(3.0, 51.0), (-70.0, -33.0), (120.0, 5.0)]


class ImagePromises:
    """A subclass is parametrized by `model` and `modality` and says its `family`, a module with `small` and `pixels`.

    `side` are the side inputs of an image; images have four cells a side, one of `cell(model, loaded)` pixels.
    """

    family = None
    side: ClassVar[dict] = {}

    @staticmethod
    def cell(model, loaded):
        return loaded.inputs[0].size_px // 4

    def test_a_batch_equals_its_items(self, model, modality):
        loaded = self.family.small(model, modality=modality)
        images = [self.family.pixels(model, modality, 40, seed) for seed in range(3)]
        together = {name: np.stack([image[name] for image in images]) for name in images[0]}
        for output in (GRID, *map(OutputSpec.pooled, loaded.card.poolings)):
            told = loaded.embed(together, output=output, dates=DATES, place=PLACES).data
            alone = [
                loaded.embed(image, output=output, dates=day, place=place).data
                for image, day, place in zip(images, DATES, PLACES, strict=True)
            ]
            # rounding grows with the numbers: those of random weights reach ten
            assert told == pytest.approx(np.stack(alone), rel=2e-6, abs=5e-6)

    def test_tiles_are_a_map(self, model, modality):
        loaded = self.family.small(model, modality=modality)
        side = 4 * self.cell(model, loaded)
        image = self.family.pixels(model, modality, 2 * side)
        whole = loaded.embed(image, output=GRID, prep=InputPrep.tile(), **self.side).data
        part = {name: values[..., side:, :side] for name, values in image.items()}
        assert whole.shape[1:] == (8, 8)
        assert whole[:, 4:, :4] == pytest.approx(loaded.embed(part, output=GRID, **self.side).data, abs=5e-6)

    def test_tokens_are_in_raster_order(self, model, modality):
        loaded = self.family.small(model, modality=modality)
        cell = self.cell(model, loaded)
        image, noise = (self.family.pixels(model, modality, 4 * cell, seed) for seed in (0, 1))
        before = loaded.embed(image, output=GRID, **self.side).data
        for name, values in image.items():
            values[..., cell : 2 * cell, 3 * cell :] = noise[name][..., cell : 2 * cell, 3 * cell :]
        moved = np.abs(loaded.embed(image, output=GRID, **self.side).data - before).sum(0)
        assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)
