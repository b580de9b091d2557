import math

import numpy as np
import pytest
import torch
import xarray as xr

from rs_embed_dask.errors import ModelInputError, SpecError, UnknownNameError
from rs_embed_dask.models import card
from rs_embed_dask.models.clay import _ground
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.families import SIDE, pixels, small

GRID, CLS, MEAN = OutputSpec.grid(), OutputSpec.pooled("cls"), OutputSpec.pooled("mean")


def batch(**given):
    image = torch.zeros(1, 1, 10, 32, 32)
    told = {"dates": torch.tensor([[[2022, 7, 17]]]), "lonlat": torch.tensor([[121.4737, 31.2304]]), **given}
    return Batch({"s2": image}, {"s2": small("clay").inputs[0]}, gsd_m=torch.tensor([10.0]), **told)


def test_versions():
    found = card("clay")
    assert found.variant(None).name == "v1.5"
    assert found.variant("v1").weights.repo == "made-with-clay/Clay-legacy"
    assert ModelSpec.of("clay:v1.5:s1").label == "clay-v1.5-s1"
    assert found.grid_shape(ModelSpec("clay"), (256, 256), InputPrep.resize()) == (32, 32)


def test_time_and_place_are_the_published_numbers():
    told = small("clay").encoder._metadata_code(batch())[1][0].tolist()
    known = [-0.23931566, -0.97094183, 0, 1, 0.51848078, 0.85508929, 0.85287991, -0.52210713]
    assert told == pytest.approx(known, abs=1e-6)
    evening = batch(dates=torch.tensor([[[2021, 1, 3, 17]]]))
    known = [0.12053668, 0.99270887, -0.96592583, -0.25881905]
    assert small("clay").encoder._metadata_code(evening)[1][0, :4].tolist() == pytest.approx(known, abs=1e-6)
    assert small("clay", hour=17).encoder._metadata_code(batch())[1][0, 2].item() == pytest.approx(known[2], abs=1e-6)


def test_positions_have_columns_first_and_metres_in_the_argument():
    code = _ground((3, 5), 16, torch.tensor([10.0, 20.0]))
    assert code.shape == (2, 3, 5, 16)
    angles = [4 * 10 * 10000 ** (-2 * (i / 3) / 16) for i in range(4)]
    assert code[0, 2, 4, :8].tolist() == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-4)
    assert torch.equal(code[0, 0, :, :8], code[0, 2, :, :8])
    assert torch.equal(code[0, :, 0, 8:], code[0, :, 4, 8:])
    assert torch.equal(code[1, 1, 1], code[0, 2, 2])


def test_the_ground_size_is_that_of_the_read_unless_chosen():
    image = pixels("clay", "s2", 64)
    read, resized = (small("clay", gsd=how).embed(image, resolution_m=10.0, **SIDE).data for how in ("read", "resized"))
    assert not np.allclose(read, resized, atol=1e-4)
    coarse = small("clay").embed(image, resolution_m=20.0, **SIDE).data
    assert coarse == pytest.approx(resized, abs=1e-5)


def test_side_inputs_matter_and_may_be_left_out():
    image = pixels("clay", "s2", 32)
    model = small("clay")
    base = model.embed(image, **SIDE).data
    for other in ({"dates": ["2022-02-17"]}, {"place": (3.0, -51.0)}, {"resolution_m": 30.0}):
        assert not np.allclose(model.embed(image, **SIDE | other).data, base, atol=1e-4)
    for absent in ("dates", "place"):
        with pytest.raises(ModelInputError, match=f"{absent}: the model needs it"):
            model.embed(image, **{name: value for name, value in SIDE.items() if name != absent})
    plain = small("clay", metadata=False)
    assert np.array_equal(plain.embed(image).data, plain.embed(image, **SIDE).data)


def test_bands_are_known_by_their_wavelengths():
    image = pixels("clay", "s2", 32)["s2"]
    picked = small("clay", bands=("red", "nir"))
    assert picked.inputs[0].values("wavelength_um") == (0.665, 0.842)
    assert picked.inputs[0].steps[0].mean == (1552, 2743)
    pair = picked.embed(image[:, [2, 6]], **SIDE).data
    turned = small("clay", bands=("nir", "red")).embed(image[:, [6, 2]], **SIDE).data
    assert pair == pytest.approx(turned, abs=1e-5)
    assert not np.allclose(pair, small("clay").embed(image, **SIDE).data, atol=1e-3)
    assert small("clay", bands=("vh",), modality="s1").inputs[0].steps[0].std == (8.017,)
    with pytest.raises(UnknownNameError, match="band of s1 = 'red'"):
        small("clay", bands=("red",), modality="s1")


def test_kernels_are_those_of_the_card():
    patches = small("clay").encoder.patch_embedding
    waves, half = (0.665, 1.61), 8
    angles = torch.tensor(waves)[:, None] * 10000 ** (-torch.arange(half) / (half - 1))
    mix = patches.fclayer
    codes = torch.cat([angles.sin(), angles.cos()], -1)
    gelu = torch.nn.functional.gelu
    codes = codes + gelu(mix.l2(gelu(mix.l1(codes))))
    generator = patches.weight_generator
    with torch.inference_mode():
        seen = generator.encoder(torch.cat([generator.weight_tokens, codes, generator.bias_token]))
        kernel = generator.fc_weight(seen[4:6] + codes).view(2, 40, 8, 8) * 0.02
        image = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        known = torch.einsum("bdij,bij->d", kernel, image[0, :, 8:, :8]) + generator.fc_bias(seen[-1])
        assert torch.allclose(patches(image, waves)[0, 1, 0], known, atol=1e-5)


def test_platforms_have_their_own_numbers():
    dn = np.full((1, 6, 32, 32), 13_705.0, np.float32)
    seen = small("clay", modality="landsat").prepare([Sample({"landsat": dn * 0.275 - 2000})]).image[0, :, 0, 0]
    assert seen[0].item() == pytest.approx(0, abs=1e-5)
    assert seen[1].item() == pytest.approx((13_705 - 13_310) / 9408, abs=1e-5)
    assert card("clay").resolved_inputs(ModelSpec("clay", modality="landsat"))[0].resolution_m == 30
    with pytest.raises(SpecError, match=r"clay: modality naip.*the provider has none of its sensors"):
        card("clay").inputs_for(ModelSpec("clay", modality="naip"), frozenset({"sentinel-2-l2a"}))


def test_bands_of_a_sensor_that_no_provider_has_go_by_their_names():
    image = pixels("clay", "naip", 32)["naip"][0]
    named = xr.DataArray(image[::-1], dims=("band", "y", "x"), coords={"band": ["nir", "blue", "green", "red"]})
    model = small("clay", modality="naip")
    assert np.array_equal(model.embed(named, **SIDE).data, model.embed(image, **SIDE).data)


def test_the_vectors_are_those_of_the_tokens():
    model = small("clay")
    image = pixels("clay", "s2", 32)
    grid = model.embed(image, output=GRID, **SIDE).data
    assert model.embed(image, output=MEAN, **SIDE).data == pytest.approx(grid.mean((1, 2)), abs=1e-6)
    own = model.embed(image, **SIDE)
    assert np.array_equal(own.data, model.embed(image, output=CLS, **SIDE).data)
    assert own.meta["output"]["pooling"] == "cls"
    assert not np.allclose(own.data, grid.mean((1, 2)), atol=1e-2)
