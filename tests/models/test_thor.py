import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelInputError, SpecError, UnknownNameError
from rs_embed_dask.models import card
from rs_embed_dask.models.positions import sincos
from rs_embed_dask.models.thor import GROUPS, _centres
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.later_families import pixels, small

GRID = OutputSpec.grid()
TEN = card("thor").inputs[0].bands


def plain(**choices):
    """A small one with tokens of 8 px that takes images at their own size."""
    return small("thor", **{"patch_px": 8, "size_px": 0, **choices})


def batch(bands, side, gsd=10.0, seed=0):
    image = torch.randn(1, 1, len(bands), side, side, generator=torch.Generator().manual_seed(seed))
    return Batch({"s2": image}, {"s2": Inputs("s2", (), bands)}, gsd_m=torch.tensor([gsd]))


def test_groups_have_their_own_grids():
    model = plain(bands60=True)
    tokens = model.tokens(batch(model.inputs[0].bands, 48))
    assert tokens.extra["tokens"].shape == (1, 36 + 9 + 1, 32)
    assert tokens.patches.shape == (1, 6, 6, 3, 32)
    first = tokens.extra["tokens"][:, :36].view(1, 6, 6, 32)
    assert torch.equal(tokens.patches[..., 0, :], first)
    assert torch.allclose(tokens.patches[..., 2, :], tokens.extra["tokens"][:, 45:, None].expand(1, 6, 6, 32))
    assert torch.allclose(tokens.pooled, tokens.extra["tokens"].mean(1))
    assert torch.allclose(model.encoder.norm(tokens.extra["tokens"]), tokens.extra["tokens_normed"])


def test_a_token_is_the_mean_of_its_bands_and_says_where_it_is_from():
    model = plain(patch_px=16)
    encoder = model.encoder
    given = batch(("swir16", "nir08"), 64, gsd=13.0)
    kept = []
    encoder.blocks[0].register_forward_hook(lambda _, seen, __: kept.append(seen))
    encoder(given)
    halved = torch.nn.functional.interpolate(given.image, size=(32, 32), mode="bilinear")
    kernels = encoder.ind_patch_embed["patch_embed"]
    parts = [kernels.get_submodule(name)(halved[:, [i]]) for i, name in enumerate(("S2:SWIR1", "S2:RE4"))]
    known = (sum(parts) / 2).permute(0, 2, 3, 1).flatten(1, 2)
    code = torch.cat([sincos(torch.tensor([16 * 2 * 13.0 / 40]), 24), sincos(torch.tensor([1.0]), 8)], dim=-1)
    assert torch.allclose(kept[0][0], known + code, atol=1e-5)


def test_distances_are_in_sides_of_the_largest_token_there():
    places = _centres({0: 4, 1: 2}, torch.device("cpu"))
    assert places[0].tolist() == [0.25, 0.25]
    assert places[5].tolist() == [0.75, 0.75]
    assert places[16:].tolist() == [[0.5, 0.5], [0.5, 1.5], [1.5, 0.5], [1.5, 1.5]]
    assert _centres({0: 2}, torch.device("cpu"))[0].tolist() == [0.5, 0.5]


def test_the_network_knows_the_ground():
    image = pixels("thor", "s2", 32)
    ten, twenty = (plain().embed(image, resolution_m=metres).data for metres in (10, 20))
    assert not np.allclose(ten, twenty, atol=1e-3)
    twice = pixels("thor", "s2", 64)
    resized = plain(size_px=32)
    assert resized.prepare([Sample(twice)]).gsd_m.tolist() == [20]
    told = [plain(size_px=32, gsd=which).embed(twice).data for which in ("resized", "read")]
    assert not np.allclose(*told, atol=1e-3)


def test_an_image_takes_the_nearest_size():
    found = card("thor")
    for side, cells, options in ((101, 12, {}), (20, 2, {}), (900, 48, {}), (110, 12, {"bands60": True})):
        spec = ModelSpec("thor", options=options)
        assert found.grid_shape(spec, (side, side), InputPrep.resize()) == (cells, cells)
    assert found.grid_shape(ModelSpec("thor", options={"patch_px": 16}), (100, 100), InputPrep()) == (6, 6)
    wide = {"bands60": True, "patch_px": 16, "size_px": 64}
    with pytest.raises(ModelInputError, match=r"60 m bands are not a whole number of tokens.*multiple of 96 px"):
        small("thor", **wide).embed(np.full((12, 64, 64), 900.0))


def test_the_middle_may_be_cut_out_instead():
    found = card("thor")
    image = pixels("thor", "s2", (101, 98))["s2"]
    snapped = plain(fit="snap")
    middle = image[..., 2:98, 1:97]
    assert snapped.embed(image, output=GRID).data == pytest.approx(plain().embed(middle, output=GRID).data, abs=1e-5)
    spec = ModelSpec("thor", options={"fit": "snap"})
    assert found.grid_shape(spec, (101, 98), InputPrep()) == (12, 12)
    assert found.grid_shape(spec, (500, 500), InputPrep()) == (36, 36)
    assert found.grid_shape(spec, (60, 100), InputPrep()) == (22, 36)


def test_bands_are_a_choice():
    bands = ("red", "nir", "swir22")
    model = plain(bands=bands)
    image = pixels("thor", "s2", 32)["s2"]
    chosen = image[:, [TEN.index(band) for band in bands]]
    assert model.embed(chosen).shape == (32,)
    seen = model.prepare([Sample({"s2": chosen})]).image[0, 1, 0, 0].item()
    assert seen == pytest.approx((image[0, 6, 0, 0] / 10_000 - 0.308133) / 0.226434, rel=1e-4)
    with pytest.raises(UnknownNameError, match="coastal"):
        plain(bands=("coastal",))


def test_groups_are_joined_or_side_by_side():
    image = pixels("thor", "s2+s1", 32)
    mean, concat = (plain(modality="s2+s1", over=over).embed(image, output=GRID).data for over in ("mean", "concat"))
    assert concat.shape == (96, 4, 4)
    assert concat.reshape(3, 32, 4, 4).mean(0) == pytest.approx(mean, abs=1e-5)
    found = card("thor")
    for modality, options, groups in (
        ("s2+s1", {}, 3),
        ("s2", {"bands60": True}, 3),
        ("s2", {"bands": ("red", "blue")}, 1),
        ("s1_hh_hv", {}, 1),
    ):
        spec = ModelSpec("thor", "tiny", modality=modality, options={"over": "concat", **options})
        assert found.dim(spec, GRID) == 192 * groups
        assert found.dim(spec, OutputSpec.pooled("max")) == 192


def test_radar_is_in_db_by_the_products_own_statistics():
    image = np.full((1, 2, 16, 16), -12.985, np.float32)
    for kind, mean, std in (("iw10", -12.985, 5.0062), ("ew60", -13.124, 5.5013)):
        seen = plain(modality="s1", radar=kind).prepare([Sample({"s1": image})]).image[0, 0, 0, 0].item()
        assert seen == pytest.approx((-12.985 - mean) / std, abs=1e-5)
    seen = plain(modality="s1_hh_hv").prepare([Sample({"s1_hh_hv": image})]).image[0, 1, 0, 0].item()
    assert seen == pytest.approx((-12.985 + 22.4575) / 6.9106, abs=1e-5)


def test_the_final_norm_is_a_choice():
    image = pixels("thor", "s2", 32)
    bare, normed = (plain(ending=ending).embed(image).data for ending in ("none", "norm"))
    assert not np.allclose(bare, normed, atol=1e-2)


def test_every_published_band_has_a_kernel():
    known = [name for _, bands in GROUPS for name in bands.values()]
    assert len(known) == len(set(known)) == 46
    assert {metres for metres, _ in GROUPS} == {10, 20, 60, 240, 480, 960}


@pytest.mark.parametrize("patch", card("thor").options[1].choices)
def test_every_side_of_a_token_that_the_authors_take(patch):
    model, image = plain(patch_px=patch), pixels("thor", "s2", 2 * patch)["s2"]
    assert model.embed(image, output=GRID).shape == (32, 2, 2)
    found = card("thor").grid_shape(ModelSpec("thor", options={"patch_px": patch}), (200, 200), InputPrep.resize())
    assert found[0] % 2 == 0
    assert abs(found[0] * patch - 200) <= patch


def test_sentinel_3_comes_as_arrays_each_group_on_its_own_grid():
    model = plain(modality="olci+slstr+slstr_bt", patch_px=4)
    images = {"olci": np.full((1, 21, 16, 16), 5000.0), "slstr": np.full((1, 6, 8, 8), 2500.0)}
    images["slstr_bt"] = np.full((1, 3, 4, 4), 290.0)
    batch = model.prepare([Sample({name: image.astype(np.float32) for name, image in images.items()})])
    seen = {name: image[0, 0, :, 0, 0].tolist() for name, image in batch.images.items()}
    assert seen["olci"][0] == pytest.approx((0.5 - 0.41836) / 0.271155, rel=1e-5)
    assert seen["olci"][20] == pytest.approx((0.5 - 0.380989) / 0.209298, rel=1e-5)
    assert seen["slstr"][3] == pytest.approx((0.25 - 0.010942) / 0.030842, rel=1e-5)
    assert seen["slstr_bt"][2] == pytest.approx((290 - 277.117165) / 21.526558, rel=1e-5)
    tokens = model.tokens(batch)
    assert tokens.extra["tokens"].shape == (1, 3 * 16 + 4 + 1, 32)
    assert tokens.patches.shape == (1, 4, 4, 5, 32)
    assert model.embed(images).shape == (32,)
    warmer = images | {"slstr_bt": images["slstr_bt"] + 5}
    assert not np.allclose(model.embed(warmer).data, model.embed(images).data, atol=1e-4)
    with pytest.raises(SpecError, match="no provider serves it"):
        card("thor").inputs_for(ModelSpec("thor", modality="olci"), frozenset({"sentinel-2-l2a"}))
