import argparse
import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.errors import LicenceError, ModelInputError, SpecError, WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card, factory
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, grid, months, scene
from tests.parity.cases import NUMBERS

GRID, MAX, CLS = OutputSpec.grid(), OutputSpec.pooled("max"), OutputSpec.pooled("cls")
CONFIG = {"dim": 32, "depth": 2, "heads": 4}
EXTRAS = (
    "pos_embed",
    "decoder_embed.weight",
    "mask_token_decoder",
    "fpn.0.weight",
    "fcn_high.0.bias",
    "fcn_low.0.bias",
)
RGB = ("red", "green", "blue")


def small(**choices):
    return load_model("scalemae", **{"weights": "random", "device": "cpu", "config": CONFIG, "size_px": 64, **choices})


@pytest.fixture(scope="module")
def tensors():
    return {name: value.clone() for name, value in small().encoder.state_dict().items()}


def rgb(side, seed=0):
    return scene(1, 3, side, seed)[0]


def test_it_has_the_published_names():
    (published,) = json.loads(gzip.decompress((NUMBERS / "scalemae" / "keys.json.gz").read_bytes())).values()
    with torch.device("meta"):
        encoder = factory("scalemae_rgb")(**dict(card("scalemae").variant(None).config))
    given = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    assert given == {name: shape for name, shape in published.items() if name != "pos_embed"}


@pytest.mark.parametrize("form", ["release", "mirror", "flat", "safetensors"])
@pytest.mark.parametrize("whole", [True, False], ids=["with extras", "encoder only"])
def test_every_form_of_file_loads(tmp_path, tensors, form, whole):
    content = tensors | ({name: torch.zeros(1, 5, 32) for name in EXTRAS} if whole else {})
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    if form == "safetensors":
        save_file(content, path)
    elif form == "release":
        torch.save({"model": content, "args": argparse.Namespace(lr=1), "epoch": 799}, path)
    else:
        prefix = "model." if form == "mirror" else ""
        torch.save({prefix + name: value for name, value in content.items()}, path)
    given = small(weights=path, accept_licence=True).encoder.state_dict()
    assert given.keys() == tensors.keys()
    assert all(torch.equal(given[name], tensors[name]) for name in tensors)


def test_wrong_files_and_terms_that_were_not_accepted_are_refused(tmp_path, tensors):
    torch.save({f"encoder.{name}": value for name, value in tensors.items()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"missing: (\S+, ){5}\.\.\.; \d+ unexpected: encoder\."):
        small(weights=tmp_path / "a.pth", accept_licence=True)
    with pytest.raises(LicenceError, match=r"CC-BY-NC-4\.0"):
        small(weights=tmp_path / "a.pth")


@pytest.mark.parametrize("side", [20, 64, 150])
def test_any_image_takes_the_networks_size(side):
    model = small()
    for output, shape in ((GRID, (32, 4, 4)), (OutputSpec.pooled(), (32,)), (MAX, (32,)), (CLS, (32,))):
        assert model.embed(rgb(side), output=output).shape == shape


def test_the_networks_size_is_an_option():
    assert small(size_px=112).embed(rgb(150), output=GRID).shape == (32, 7, 7)
    with pytest.raises(SpecError, match="size_px = 100: not a multiple of 16"):
        small(size_px=100)


def test_the_resolution_is_that_of_what_the_network_sees():
    model = small()
    seen = [
        model.prepare([Sample({"rgb": rgb(side)[None]}, resolution_m=metres)], prep).gsd_m.unique().tolist()
        for side, metres, prep in (
            (64, 10.0, InputPrep.resize()),
            (96, 10.0, InputPrep.resize()),
            (32, 3.0, InputPrep.resize()),
            (128, 10.0, InputPrep.tile()),
            (128, 10.0, InputPrep.tile(tile_px=128)),
        )
    ]
    assert seen == [[10], [15], [1.5], [10], [20]]
    long = Sample({"rgb": scene(1, 3, 64)[:, :, :32]}, resolution_m=10.0)
    assert model.prepare([long]).gsd_m.tolist() == [10]
    assert small(rectangle="stretch").prepare([long]).gsd_m.tolist() == [5]


def test_positions_are_metres_column_first():
    model = small()
    images = torch.zeros(2, 1, 3, 32, 48)
    seen = {}
    model.encoder.blocks = torch.nn.ModuleList()
    model.encoder.norm = torch.nn.Identity()
    with torch.no_grad():
        seen = model.tokens(Batch({"rgb": images}, gsd_m=torch.tensor([10.0, 2.5]))).patches
    places = (seen - model.encoder.patch_embed.proj.bias).numpy()
    turns = 10_000.0 ** (-np.arange(8) / 8)
    for item, metres in enumerate((10.0, 2.5)):
        column, row = 2 * metres * turns, 1 * metres * turns
        known = np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)])
        assert places[item, 1, 2] == pytest.approx(known, abs=1e-5)


def test_items_of_a_batch_keep_their_own_resolution():
    model = small()
    samples = [Sample({"rgb": rgb(64, 1)[None]}, resolution_m=metres, lonlat=None) for metres in (10.0, 2.5, 10.0, 0.3)]
    together = [features.values for features in model.embed_samples(samples, GRID)]
    alone = [model.embed_samples([sample], GRID)[0].values for sample in samples]
    assert np.stack(together) == pytest.approx(np.stack(alone), abs=2e-6)
    assert together[0] == pytest.approx(together[2], abs=2e-6)
    assert not np.allclose(together[0], together[1], atol=1e-2)
    assert not np.allclose(together[1], together[3], atol=1e-2)
    assert model.embed(rgb(64, 1), output=GRID, resolution_m=2.5).data == pytest.approx(together[1], abs=2e-6)


def test_a_resolution_is_needed():
    with pytest.raises(ModelInputError, match="resolution_m: the model needs it"):
        small().tokens(Batch({"rgb": torch.zeros(1, 1, 3, 64, 64)}))


def test_a_batch_equals_its_items_and_tiles_their_images():
    model = small()
    images = np.stack([rgb(50, seed) for seed in range(3)])[:, None]
    alone = np.stack([model.embed(image, output=GRID).data for image in images])
    assert model.embed(images, output=GRID).data == pytest.approx(alone, abs=2e-6)
    whole = model.embed(rgb(128), output=GRID, prep=InputPrep.tile()).data
    assert whole[:, 4:, :4] == pytest.approx(model.embed(rgb(128)[:, 64:, :64], output=GRID).data, abs=2e-6)


def test_the_ending_is_an_option(tensors):
    with_norm, without = small(), small(ending="none")
    raw = without.embed(rgb(64), output=GRID).data
    with torch.inference_mode():
        normed = with_norm.encoder.norm(torch.from_numpy(raw.transpose(1, 2, 0))).permute(2, 0, 1).numpy()
    assert with_norm.embed(rgb(64), output=GRID).data == pytest.approx(normed, abs=1e-5)
    assert without.encoder.state_dict().keys() == tensors.keys()


def test_poolings_leave_the_class_token_out():
    model = small()
    tokens = model.embed(rgb(64), output=GRID).data
    assert model.embed(rgb(64)).data == pytest.approx(tokens.mean((1, 2)), abs=1e-6)
    assert model.embed(rgb(64), output=MAX).data == pytest.approx(tokens.max((1, 2)), abs=1e-6)
    assert not np.allclose(model.embed(rgb(64), output=CLS).data, tokens.mean((1, 2)), atol=1e-2)


def test_tokens_are_in_raster_order_and_on_the_ground():
    model = small()
    image = np.full((3, 64, 64), 2000.0)
    base = model.embed(image, output=GRID).data
    image[:, 16:32, 48:64] += rgb(16)
    moved = np.abs(model.embed(image, output=GRID).data - base).sum(0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (1, 3)
    values = scene(1, 3, 96)
    values[:, 0, :24] = np.nan
    (features,) = model.embed_cubes([{"rgb": cube(values, bands=RGB, place=grid(96, 96), frames=months(1))}], GRID)
    assert features.grid.transform == (240, 0, 600_000, 0, -240, 5_700_000)
    assert features.filled_fraction == pytest.approx(1 / 12)


def test_the_resize_is_an_option():
    pillow, float_ = (small(resize=how).embed(rgb(150)).data for how in ("pillow", "float"))
    assert 0 < np.linalg.norm(pillow - float_) < 0.1 * np.linalg.norm(pillow)
