"""What CROMA, SatVision-TOA, AgriFM and THOR all promise, for each of their modalities."""

import gzip
import json

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import _arguments
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models import later_families
from tests.models.conftest import cube, grid, months
from tests.models.file_promises import FilePromises
from tests.models.image_promises import ImagePromises
from tests.models.later_families import FAMILIES, MODALITIES, pixels, small, tensors
from tests.parity.cases import NUMBERS

GRID, MEAN, MAX = OutputSpec.grid(), *(OutputSpec.pooled(name) for name in ("mean", "max"))
KEYS = {model: json.loads(gzip.decompress((NUMBERS / model / "keys.json.gz").read_bytes())) for model in FAMILIES}
PUBLISHED = {
    ("croma", "base"): "CROMA_base.pt",
    ("croma", "large"): "CROMA_large.pt",
    ("satvision", "giant"): "giant",
    ("agrifm", "base"): "AgriFM.pth:S2",
    **{("thor", name): name for name in ("tiny", "small", "base", "large")},
}


def official(model):
    """A file's content as its authors write it."""
    known = tensors(model, **({"modality": "s2+s1"} if model == "croma" else {}))
    if model == "croma":
        parts = {name.partition(".")[0] for name in known}
        return {
            part: {n.removeprefix(f"{part}."): t for n, t in known.items() if n.startswith(f"{part}.")}
            for part in parts
        }
    inside = {f"encoder.{name}": value for name, value in known.items()}
    zero = torch.zeros(2)
    if model == "satvision":
        attention = "encoder.layers.0.blocks.0.attn"
        more = {f"{attention}.relative_coords_table": zero, f"{attention}.relative_position_index": zero.long()}
        more |= {"encoder.layers.1.blocks.1.attn_mask": zero, "encoder.mask_token": zero, "decoder.0.weight": zero}
        return {"module": inside | more, "ds_version": "0.14", "global_steps": 9, "optimizer": None}
    if model == "agrifm":
        more = {"encoder.HLSL30_patch_emd.weights": zero, "encoder.Modis_patch_emd.bias": zero, "head.weight": zero}
        return inside | more | {"encoder.backbone.layers.0.blocks.0.attn.relative_position_index": zero.long()}
    more = {"encoder.encoder_slopes": zero, "encoder.band_embed.group0": zero, "encoder.ref_pos_embed": zero}
    return {"state_dict": inside | more | {"decoder.norm.weight": zero, "encoder.pos_embed": zero}}


@pytest.mark.parametrize(("model", "name"), PUBLISHED)
def test_the_names_are_the_published_ones(model, name):
    modality = "s2+s1" if model == "croma" else None
    with torch.device("meta"):
        encoder = factory(model)(**_arguments(card(model), ModelSpec(model, name, modality=modality), {}))
    given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    assert given == KEYS[model][PUBLISHED[model, name]]
    assert card(model).variant(name).params == pytest.approx(sum(map(np.prod, given.values())) / 1e6, rel=0.01)


@pytest.mark.parametrize("model", FAMILIES)
class TestFiles(FilePromises):
    family, models = later_families, tuple(FAMILIES)
    official = staticmethod(official)


@pytest.mark.parametrize(("model", "modality"), MODALITIES)
class TestEveryModality(ImagePromises):
    family = later_families

    @staticmethod
    def cell(model, loaded):
        return FAMILIES[model].cell

    def test_takes_any_image(self, model, modality):
        loaded, family = small(model, modality=modality), FAMILIES[model]
        for side in (20, 64, 150, (90, 50)):
            image = pixels(model, modality, side)
            assert loaded.embed(image, output=MEAN).shape == loaded.embed(image, output=MAX).shape == (family.dim,)
            shape = loaded.embed(image, output=GRID).shape
            assert shape == (family.dim, 4, 4 if isinstance(side, int) else 3)
            assert (
                card(model).grid_shape(loaded.spec, image[modality.split("+")[0]].shape[-2:], InputPrep()) == shape[1:]
            )

    def test_items_of_other_sizes_keep_to_themselves(self, model, modality):
        loaded = small(model, modality=modality)
        images = [pixels(model, modality, side, side) for side in (40, 56, 40)]
        metres = (10.0, 10.0, 17.0)
        samples = [Sample(image, resolution_m=size) for image, size in zip(images, metres, strict=True)]
        found = [features.values for features in loaded.embed_samples(samples, GRID)]
        for values, image, size in zip(found, images, metres, strict=True):
            alone = loaded.embed(image, output=GRID, resolution_m=size).data
            assert values == pytest.approx(alone, abs=5e-6)


@pytest.mark.parametrize("model", FAMILIES)
def test_gaps_are_filled_and_told(model):
    loaded = small(model)
    side, name = 4 * FAMILIES[model].cell, loaded.inputs[0].modality
    image = pixels(model, name, side)[name]
    full = loaded.embed({name: image}, output=GRID).data
    image[:, 0, : side // 2] = np.nan
    found = loaded.embed({name: image}, output=GRID)
    assert found.meta["filled_fraction"] == pytest.approx(0.5 / image.shape[1])
    assert "values filled" in found.meta["notes"][0]
    assert np.isfinite(found.data).all()
    assert not np.allclose(found.data, full, atol=1e-3)


@pytest.mark.parametrize("model", ["croma", "agrifm", "thor"])
def test_grids_lie_on_the_ground(model):
    loaded, cell = small(model), FAMILIES[model].cell
    side, name = 4 * cell, loaded.inputs[0].modality
    values = pixels(model, name, side)[name]
    image = cube(values, bands=loaded.inputs[0].bands, place=grid(side, side), frames=months(1))
    (features,) = loaded.embed_cubes([{name: image}], GRID)
    assert features.grid.transform == (10 * cell, 0, 600_000, 0, -10 * cell, 5_700_000)
    (part,) = loaded.embed_cubes([{name: image}], GRID, crops=[Window(cell, 0, 2 * cell, side)])
    assert part.values == pytest.approx(features.values[:, 1:3], abs=1e-5)
    assert part.grid.transform[5] == 5_700_000 - 10 * cell


@pytest.mark.parametrize("model", FAMILIES)
def test_the_size_of_the_image_is_an_option(model):
    cell = FAMILIES[model].cell
    loaded = small(model, size_px=6 * cell)
    assert loaded.embed(pixels(model, loaded.inputs[0].modality, 50), output=GRID).shape[1:] == (6, 6)
    with pytest.raises(SpecError, match="size_px = 97: not a multiple"):
        small(model, size_px=97)


@pytest.mark.parametrize("model", FAMILIES)
def test_there_is_no_class_token(model):
    with pytest.raises(SpecError, match="pooling = 'cls'"):
        small(model).embed(pixels(model, small(model).inputs[0].modality, 64), output=OutputSpec.pooled("cls"))
