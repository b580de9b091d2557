import argparse
import gzip
import json
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.conftest import cube, grid, scene
from tests.parity.cases import NUMBERS

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
RGB = ("red", "green", "blue")
SIZES = {
    "vitb16": {"patch": 16, "dim": 32, "depth": 2, "heads": 4},
    "resnet50": {"width": 4, "depths": (1, 1, 1, 1)},
    "swint": {"dim": 16, "depths": (2, 2, 2, 1), "heads": (1, 2, 4, 8), "window": 3},
}
# Side and width of their maps at 64 px.
MAPS = {"vitb16": (4, 32), "resnet50": (2, 128), "swint": (2, 128)}


def small(variant="vitb16", **choices):
    config = {"size": 64, "classes": 20, "out": 8, **SIZES[variant]}
    return load_model("wildsat", variant=variant, config=config, **{"weights": "random", "device": "cpu", **choices})


def tensors(variant):
    return {name: value.contiguous().clone() for name, value in small(variant).encoder.state_dict().items()}


def rgb(height, width=None, seed=0):
    return scene(1, 3, max(height, width or 0), seed)[0][:, :height, : width or height]


@pytest.mark.parametrize("found", card("wildsat").variants, ids=lambda found: found.name)
def test_the_published_names(found):
    published = json.loads(gzip.decompress((NUMBERS / "wildsat" / "keys.json.gz").read_bytes()))
    with torch.device("meta"):
        encoder = factory("wildsat")(**dict(found.config))
    given = {name: list(value.shape) for name, value in encoder.state_dict().items() if value.is_floating_point()}
    assert given == published[found.name.partition("_")[0]]


@pytest.mark.parametrize("variant", SIZES)
class TestEveryBody:
    @pytest.mark.parametrize("form", ["official", "flat", "safetensors"])
    def test_loads_every_form_of_file(self, variant, form, tmp_path):
        known = tensors(variant)
        index = {"backbone.features.1.0.attn.relative_position_index": torch.zeros(81, dtype=torch.long)}
        inside = known | (index if variant == "swint" else {})
        path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
        if form == "safetensors":
            save_file(inside, path)
        elif form == "flat":
            torch.save(inside, path)
        else:
            extras = {
                "sinr_state_dict": {"module.x": torch.zeros(1)},
                "optimizer": {"state": {}},
                "text_emb_model": None,
            }
            own = {f"module.{name}": value for name, value in inside.items()}
            torch.save({"epoch": 9, "opt": argparse.Namespace(lr=1), "satellite_state_dict": own, **extras}, path)
        given = small(variant, weights=path).encoder.state_dict()
        assert given.keys() == known.keys()
        assert all(torch.equal(given[name], known[name]) for name in known)

    def test_takes_any_image(self, variant):
        model, (side, wide) = small(variant), MAPS[variant]
        for height, width in ((20, 20), (64, 64), (150, 150), (40, 90)):
            image = rgb(height, width)
            tokens = model.embed(image, output=GRID).shape
            assert tokens[0] == wide
            assert max(tokens[1:]) == side
            assert model.embed(image).shape == (8,)
            assert model.embed(image, output=CLS).shape == model.embed(image, output=MAX).shape == (wide,)

    def test_a_batch_equals_its_items(self, variant):
        model = small(variant)
        images = np.stack([rgb(100, seed=seed) for seed in range(3)])[:, None]
        images[1, 0, 0, 5, 5] = 9000  # one bright pixel changes the stretch of its own image alone
        for output in (GRID, OutputSpec.pooled(), MAX, CLS):
            alone = np.stack([model.embed(image, output=output).data for image in images])
            assert model.embed(images, output=output).data == pytest.approx(alone, abs=1e-5)

    def test_tiles_equal_their_own_images(self, variant):
        model, image = small(variant), rgb(128)
        whole = model.embed(image, output=GRID, prep=InputPrep.tile()).data
        corner = model.embed(image[:, 64:, :64], output=GRID).data
        half = whole.shape[1] // 2
        assert whole[:, half:, :half] == pytest.approx(corner, abs=1e-5)

    def test_gaps_are_filled_and_told_and_grids_lie_on_the_ground(self, variant):
        values = scene(1, 3, 64)
        values[:, 2, :32] = np.nan
        cubes = {"rgb": cube(values, bands=RGB, place=grid(64, 64))}
        (features,) = small(variant).embed_cubes([cubes], GRID)
        assert features.notes == ("16.7% of values filled",)
        cell = 640 / MAPS[variant][0]
        assert features.grid.transform == (cell, 0, 600_000, 0, -cell, 5_700_000)

    def test_every_head_is_an_option(self, variant):
        image = rgb(64)
        model = small(variant)
        tokens = model.tokens(model.prepare([Sample({"rgb": image[None]})]))
        linear = model.encoder.decoder
        for head, part in (("text", "backbone1"), ("location", "backbone2"), ("image", "backbone3")):
            known = linear[part](tokens.extra["backbone"])[0].numpy()
            assert small(variant, head=head).embed(image).data == pytest.approx(known, abs=1e-5)
        classes = small(variant, head="backbone").embed(image).data
        assert classes == pytest.approx(tokens.extra["backbone"][0].numpy(), abs=1e-6)

    def test_takes_other_sizes(self, variant):
        model = small(variant, size_px=96)
        side = MAPS[variant][0] * 3 // 2
        assert model.embed(rgb(40), output=GRID).shape[1:] == (side, side)
        assert model.embed(rgb(40)).shape == (8,)


def test_lengths():
    found = card("wildsat")
    outputs = (OutputSpec.pooled(), CLS, MAX, GRID)
    for name, wide in (("vit_b_16", 768), ("resnet50", 2048), ("swint", 768), ("resnet50_mocov3", 2048)):
        assert [found.dim(ModelSpec("wildsat", name), output) for output in outputs] == [256, wide, wide, wide]
        classes = ModelSpec("wildsat", name, options={"head": "backbone"})
        assert [found.dim(classes, output) for output in outputs] == [1000, wide, wide, wide]
    shapes = [found.grid_shape(ModelSpec("wildsat", name), (90, 90), InputPrep()) for name in SIZES]
    assert shapes == [(14, 14), (7, 7), (7, 7)]
    large = ModelSpec("wildsat", "swint", options={"size_px": 512})
    assert found.grid_shape(large, (90, 90), InputPrep()) == (16, 16)


def test_another_bodys_file_is_refused(tmp_path):
    torch.save(tensors("resnet50"), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"vitb16: names in the weights.*missing.*unexpected"):
        small(weights=tmp_path / "a.pth")


def test_only_a_namespace_is_harmless(tmp_path):
    content = {"satellite_state_dict": tensors("vitb16"), "opt": argparse.Namespace(out=PurePosixPath("runs"))}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="would have to be executed"):
        small(weights=tmp_path / "a.pth")


def seen(image, **options):
    return small(**options).prepare([Sample({"rgb": np.asarray(image, np.float32)[None]})]).image[0]


def test_an_image_is_stretched_over_all_its_bands():
    image = np.full((3, 64, 64), 2000.0)
    image[0, 0, 0], image[2, 1, 1] = 500, 12_000
    levels = (seen(image) * 255).round()
    assert levels[0, 0, 0] == 0
    assert levels[2, 1, 1] == 255
    assert levels[1, 5, 5] == int((2000 - 500) / (10_000 - 500) * 255)
    assert not seen(np.full((3, 64, 64), 700.0)).any()


def test_the_authors_way_shifts_and_does_not_stretch():
    image = np.full((3, 64, 64), 1779.0)
    image[0, 0, 0], image[2, 1, 1] = 355.8, 12_000
    levels = (seen(image, scaling="authors") * 255).round()
    low, middle = int(0.1 * 255), int(0.5 * 255)
    assert [levels[0, 0, 0], levels[1, 5, 5], levels[2, 1, 1]] == [0, middle - low, 255 - low]


def test_resize_and_rectangle_are_options():
    pillow, floats = (small(resize=how).embed(rgb(150)).data for how in ("pillow", "float"))
    assert 1e-6 < np.linalg.norm(pillow - floats) < 0.1 * np.linalg.norm(pillow)
    image = rgb(40, 90)
    padded, stretched = (small(rectangle=how).embed(image).data for how in ("pad", "stretch"))
    assert not np.allclose(padded, stretched, atol=1e-3)


def test_positions_are_those_of_the_file_at_its_own_size():
    model = small()
    image = torch.zeros(1, 1, 3, 64, 64)
    with torch.no_grad():
        model.encoder.backbone.encoder.pos_embedding[:, 1 + 7, 0] += 5
    moved = (model.tokens(Batch({"rgb": image})).patches - small().tokens(Batch({"rgb": image})).patches).abs().sum(-1)
    assert moved[0].argmax() == 7  # row 1, column 3
