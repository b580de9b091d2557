"""What Prithvi, Clay, TerraFM and TerraMind all promise, for each of their modalities."""

import gzip
import json

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import _arguments
from rs_embed_dask.models import card, factory
from rs_embed_dask.specs import ModelSpec, OutputSpec
from tests.models import families
from tests.models.conftest import cube, grid, months
from tests.models.families import CONFIGS, MODALITIES, SIDE, pixels, small, tensors
from tests.models.file_promises import FilePromises
from tests.models.image_promises import ImagePromises
from tests.parity.cases import NUMBERS

GRID, MEAN, MAX, CLS = OutputSpec.grid(), *(OutputSpec.pooled(name) for name in ("mean", "max", "cls"))
KEYS = {model: json.loads(gzip.decompress((NUMBERS / model / "keys.json.gz").read_bytes())) for model in CONFIGS}
VARIANTS = [(model, name) for model, known in KEYS.items() for name in known]
ALL_OF_TERRAMIND = "s2l2a+s2l1c+rgb+s1grd+s1rtc+dem"
EXTRAS = {
    "prithvi": ("decoder.mask_token", "encoder.pos_embed"),
    "clay": ("model.decoder.mask_token", "model.teacher.norm.weight", "model.proj.weight"),
    "terrafm": (),
    "terramind": ("decoder.0.norm1.weight", "mask_token", "encoder_embeddings.tok_lulc@224.mod_emb"),
}
PREFIX = {"prithvi": "encoder.", "clay": "model.encoder.", "terrafm": "", "terramind": ""}
SUB = {"prithvi": "", "clay": "state_dict", "terrafm": "", "terramind": ""}


def official(model):
    """A file's content as its authors write it."""
    given = {PREFIX[model] + name: value for name, value in tensors(model).items()}
    given |= {name: torch.zeros(2) for name in EXTRAS[model]}
    return {SUB[model]: given, "epoch": 3, "hyper_parameters": {"lr": 0.1}} if SUB[model] else given


@pytest.mark.parametrize(("model", "name"), VARIANTS)
def test_the_names_are_the_published_ones(model, name):
    modality = ALL_OF_TERRAMIND if model == "terramind" else None
    found = card(model).variant(name)
    with torch.device("meta"):
        arguments = _arguments(card(model), ModelSpec(model, found.name, modality=modality), {})
        encoder = factory(model)(**arguments)
    given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    assert given == KEYS[model][name]
    assert found.params == pytest.approx(sum(np.prod(shape) for shape in given.values()) / 1e6, rel=0.01)


@pytest.mark.parametrize("model", CONFIGS)
class TestFiles(FilePromises):
    family, models = families, tuple(CONFIGS)
    official = staticmethod(official)


@pytest.mark.parametrize(("model", "modality"), MODALITIES)
class TestEveryModality(ImagePromises):
    family, side = families, SIDE

    def test_takes_any_image(self, model, modality):
        loaded = small(model, modality=modality)
        cells, dim = (4, 40) if model == "clay" else (4, CONFIGS[model]["dim"])
        for side in (20, 64, (90, 50)):
            image = pixels(model, modality, side)
            assert loaded.embed(image, output=MEAN, **SIDE).shape == loaded.embed(image, output=MAX, **SIDE).shape
            shape = loaded.embed(image, output=GRID, **SIDE).shape
            assert shape == ((dim, cells, cells) if isinstance(side, int) else (dim, cells, 3))


@pytest.mark.parametrize("model", CONFIGS)
def test_gaps_are_filled_and_told_and_grids_lie_on_the_ground(model):
    loaded = small(model)
    side = loaded.inputs[0].size_px
    cell, name = side // 4, loaded.inputs[0].modality
    values = pixels(model, name, side)[name]
    values[:, 0, : side // 2] = np.nan
    image = cube(values, bands=loaded.inputs[0].bands, place=grid(side, side), frames=months(1))
    (features,) = loaded.embed_cubes([{name: image}], GRID)
    assert features.filled_fraction == pytest.approx(0.5 / values.shape[1])
    assert "values filled" in features.notes[0]
    assert features.grid.transform == (10 * cell, 0, 600_000, 0, -10 * cell, 5_700_000)
    (part,) = loaded.embed_cubes([{name: image}], GRID, crops=[Window(cell, 0, 2 * cell, side)])
    assert part.values == pytest.approx(features.values[:, 1:3], abs=1e-5)
    assert part.grid.transform[5] == 5_700_000 - 10 * cell
    whole = loaded.embed_cubes([{name: image}], MEAN)[0].values
    assert whole == pytest.approx(features.values.mean((1, 2)), abs=1e-5)


@pytest.mark.parametrize("model", CONFIGS)
def test_the_size_of_the_image_is_an_option(model):
    loaded = small(model, size_px=96)
    image = pixels(model, loaded.inputs[0].modality, 50)
    cells = 96 // loaded.patch
    assert loaded.embed(image, output=GRID, **SIDE).shape[1:] == (cells, cells)
    with pytest.raises(SpecError, match="size_px = 97: not a multiple"):
        small(model, size_px=97)
