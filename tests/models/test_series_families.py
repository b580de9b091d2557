"""What Presto, OlmoEarth, FoMo and AnySat all promise, for each of their modalities."""

import datetime as dt
import gzip
import json

import numpy as np
import pytest
import torch

from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import _arguments
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models import series_families
from tests.models.conftest import cube, grid, months
from tests.models.file_promises import FilePromises
from tests.models.series_families import FAMILIES, MODALITIES, SIDE, pixels, small, tensors, told
from tests.parity.cases import NUMBERS

GRID, MEAN, MAX, CLS = OutputSpec.grid(), *(OutputSpec.pooled(name) for name in ("mean", "max", "cls"))
KEYS = {model: json.loads(gzip.decompress((NUMBERS / model / "keys.json.gz").read_bytes())) for model in FAMILIES}
VARIANTS = [(model, name) for model, known in KEYS.items() for name in known]
EVERY = {"anysat": "+".join(one.modality for one in card("anysat").inputs)}
LEFT_OUT = ("projector_alos.", "projector_l7.", "projector_modis.")


def official(model):
    """A file's content as its authors write it."""
    known, zero = tensors(model), torch.zeros(2)
    if model == "presto":
        return {f"encoder.{n}": t for n, t in known.items()} | {"decoder.mask_token": zero}
    if model == "olmoearth":
        more = {f"encoder.composite_encodings.{name}": zero for name in ("pos_embed", "x.worldcereal")}
        more |= {"encoder.project_and_aggregate.p.weight": zero, "target_encoder.norm.weight": zero, "decoder.a": zero}
        return {f"encoder.{n}": t for n, t in known.items()} | more
    if model == "fomo":
        return {f"module.{n}": t for n, t in known.items()} | {"module.cls_token": zero, "module.mlp_head.1.bias": zero}
    more = {"projector_s2.pad_parameter": torch.tensor(0.0), "projector_l7.patch_embed.out_norm.weight": zero}
    return {"state_dict": known | more, "epoch": 3}


@pytest.mark.parametrize(("model", "name"), VARIANTS)
def test_the_names_are_the_published_ones(model, name):
    with torch.device("meta"):
        encoder = factory(model)(**_arguments(card(model), ModelSpec(model, name, modality=EVERY.get(model)), {}))
    given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    known = {key: shape for key, shape in KEYS[model][name].items() if not key.startswith(LEFT_OUT)}
    assert given == known
    params = sum(np.prod(shape) for shape in KEYS[model][name].values()) / 1e6
    assert card(model).variant(name).params == pytest.approx(params, rel=0.01)


@pytest.mark.parametrize("model", FAMILIES)
class TestFiles(FilePromises):
    family, models = series_families, tuple(FAMILIES)
    official = staticmethod(official)


@pytest.mark.parametrize(("model", "modality"), MODALITIES)
class TestEveryModality:
    def test_takes_any_image(self, model, modality):
        loaded, family = small(model, modality=modality), FAMILIES[model]
        image = pixels(model, modality, 3 * family.cell)
        for output in (MEAN, MAX, *([CLS] if "cls" in loaded.card.poolings else [])):
            assert loaded.embed(image, output=output, **told(image)).shape == (family.dim,)
        for side in (3 * family.cell + 1, (6 * family.cell, 4 * family.cell)):
            image = pixels(model, modality, side)
            shape = loaded.embed(image, output=GRID, **told(image)).shape
            first = image[loaded.inputs[0].modality].shape[-2:]
            assert shape == (family.dim, *loaded.card.grid_shape(loaded.spec, first, InputPrep()))
            if isinstance(side, tuple):
                assert shape[1:] == ((4, 3) if family.side else (6, 4))

    def test_a_batch_equals_its_items(self, model, modality):
        loaded = small(model, modality=modality)
        images = [pixels(model, modality, 2 * FAMILIES[model].cell, seed) for seed in range(2)]
        together = {name: np.stack([image[name] for image in images]) for name in images[0]}
        sides = [told(image, first) | {"place": (10.0 * first, 50.0)} for first, image in enumerate(images)]
        days = [side["dates"] for side in sides]
        nested = {name: [one[name] for one in days] for name in images[0]} if isinstance(days[0], dict) else days
        places = [side["place"] for side in sides]
        for output in (GRID, MEAN, MAX):
            alone = [loaded.embed(image, output=output, **side).data for image, side in zip(images, sides, strict=True)]
            found = loaded.embed(together, output=output, dates=nested, place=places).data
            assert found == pytest.approx(np.stack(alone), abs=5e-6)

    def test_tokens_are_in_raster_order(self, model, modality):
        dense = {"grid": "dense"} if model == "anysat" else {}  # its patches look like their place more than themselves
        loaded, cell = small(model, modality=modality, **dense), FAMILIES[model].cell
        image, noise = (pixels(model, modality, 4 * cell, seed) for seed in (0, 1))
        before = loaded.embed(image, output=GRID, **told(image)).data
        for name, values in image.items():
            side = values.shape[-1] // 4
            other = values[::-1].copy() if dense and len(values) > 1 else noise[name]  # its statistics stay
            values[..., side : 2 * side, 3 * side :] = other[..., side : 2 * side, 3 * side :]
        moved = np.abs(loaded.embed(image, output=GRID, **told(image)).data - before)[-64:].sum(0)
        row, column = np.unravel_index(moved.argmax(), moved.shape)
        assert (row * 4 // len(moved), column * 4 // len(moved)) == (1, 3)


@pytest.mark.parametrize("model", ["olmoearth", "fomo", "anysat"])
def test_tiles_are_a_map(model):
    limit = {"olmoearth": {"max_px": 8}, "fomo": {}, "anysat": {"max_px": 2, "scale": "demo"}}[model]
    loaded, family = small(model, **limit), FAMILIES[model]
    side = family.side or 2 * family.cell
    image = pixels(model, "s2", 2 * side)
    whole = loaded.embed(image, output=GRID, prep=InputPrep.tile(), **told(image)).data
    part = {name: values[..., side:, :side] for name, values in image.items()}
    count = side // family.cell
    assert whole.shape[1:] == (2 * count, 2 * count)
    assert whole[:, count:, :count] == pytest.approx(loaded.embed(part, output=GRID, **told(part)).data, abs=5e-6)


@pytest.mark.parametrize("model", ["olmoearth", "fomo", "anysat"])
def test_gaps_are_filled_and_told(model):
    loaded, side = small(model), 4 * FAMILIES[model].cell
    image = pixels(model, "s2", side)
    full = loaded.embed(image, output=GRID, **told(image)).data
    image["s2"][0, 0, : side // 2] = np.nan
    found = loaded.embed(image, output=GRID, **told(image))
    assert found.meta["filled_fraction"] == pytest.approx(0.5 / image["s2"][:, :, 0, 0].size)
    assert "values filled" in found.meta["notes"][0]
    assert np.isfinite(found.data).all()
    assert not np.allclose(found.data, full, atol=1e-3)


@pytest.mark.parametrize("model", FAMILIES)
def test_grids_lie_on_the_ground(model):
    loaded, cell = small(model), FAMILIES[model].cell
    side, frames = 4 * cell, FAMILIES[model].frames
    values = pixels(model, "s2", side)["s2"]
    image = cube(values, bands=loaded.inputs[0].bands, place=grid(side, side), frames=months(frames))
    (features,) = loaded.embed_cubes([{"s2": image}], GRID)
    assert features.grid.transform == (10 * cell, 0, 600_000, 0, -10 * cell, 5_700_000)
    (part,) = loaded.embed_cubes([{"s2": image}], GRID, crops=[Window(cell, 0, 2 * cell, side)])
    assert part.values == pytest.approx(features.values[:, 1:3], abs=1e-5)
    assert part.grid.transform[5] == 5_700_000 - 10 * cell
    (vector,) = loaded.embed_cubes([{"s2": image}], MEAN)
    assert vector.values == pytest.approx(features.values.mean((1, 2)), abs=1e-5)


@pytest.mark.parametrize("model", FAMILIES)
def test_items_of_other_sizes_keep_to_themselves(model):
    loaded, cell = small(model), FAMILIES[model].cell
    images = [pixels(model, "s2", side * cell, side) for side in (2, 3, 2)]
    samples = [
        Sample(image, tuple(map(dt.date.fromisoformat, told(image)["dates"])), SIDE["place"]) for image in images
    ]
    for features, image in zip(loaded.embed_samples(samples, GRID), images, strict=True):
        assert features.values == pytest.approx(loaded.embed(image, output=GRID, **told(image)).data, abs=5e-6)
