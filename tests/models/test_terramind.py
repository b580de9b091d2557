import numpy as np
import pytest
import torch

from rs_embed_dask.errors import SpecError, UnknownNameError, WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.terramind import NAMES
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import InputPrep, ModelSpec, OutputSpec
from tests.models.families import pixels, small, tensors

GRID, CLS = OutputSpec.grid(), OutputSpec.pooled("cls")
EVERY = "+".join(NAMES)


def test_variants_and_their_names():
    found = card("terramind")
    assert found.variant(None).name == "small"
    assert found.variant("terramind_v1_large").weights.repo == "ibm-esa-geospatial/TerraMind-1.0-large"
    assert found.grid_shape(ModelSpec("terramind"), (224, 224), InputPrep.resize()) == (14, 14)


def test_any_modalities_may_come_together():
    found = card("terramind")
    assert found.modality_names(None) == ("s2l2a",)
    assert found.modality_names("dem+s1rtc+s2l2a") == ("s2l2a", "s1rtc", "dem")
    with pytest.raises(UnknownNameError, match="modality of terramind = 's2'"):
        found.modality_names("s2")
    with pytest.raises(SpecError, match=r"terramind: modality dem.*the provider has none of its sensors"):
        found.inputs_for(ModelSpec("terramind", modality="dem"), frozenset({"sentinel-2-l2a"}))


def test_only_the_modalities_in_use_are_built():
    model = small("terramind", modality="s1rtc+s2l2a")
    assert list(model.encoder.encoder_embeddings) == ["untok_sen2l2a@224", "untok_sen1rtc@224"]


def test_other_modalities_of_a_file_are_left_out(tmp_path):
    torch.save(tensors("terramind", modality=EVERY), tmp_path / "a.pt")
    model = small("terramind", modality="dem", weights=tmp_path / "a.pt")
    known = tensors("terramind", modality="dem")
    assert all(torch.equal(value, known[name]) for name, value in model.encoder.state_dict().items())
    torch.save(tensors("terramind", modality="s2l2a"), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"missing: encoder_embeddings\.untok_dem@224\.mod_emb"):
        small("terramind", modality="dem", weights=tmp_path / "b.pt")
    torch.save(known | {"encoder_embeddings.untok_dem@224.bias": torch.zeros(2)}, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=r"1 unexpected: encoder_embeddings\.untok_dem@224\.bias"):
        small("terramind", modality="dem", weights=tmp_path / "c.pt")


def test_biases_of_norms_and_positions_may_be_left_out(tmp_path):
    known = tensors("terramind")
    lean = {name: value for name, value in known.items() if not name.endswith(("bias", "pos_emb"))}
    torch.save(lean, tmp_path / "a.pt")
    model = small("terramind", weights=tmp_path / "a.pt").encoder
    assert model.encoder[1].norm2.bias.eq(0).all()
    table = model.encoder_embeddings["untok_sen2l2a@224"].pos_emb.view(4, 4, 32)
    angle = 3 * 10000 ** (-np.arange(8) / 8)
    row, column = np.concatenate([np.sin(angle), np.cos(angle)]), [0] * 8 + [1] * 8
    assert table[3, 0].numpy() == pytest.approx(np.concatenate([row, column]), abs=1e-6)
    assert table[0, 3].numpy() == pytest.approx(np.concatenate([column, row]), abs=1e-6)


def test_a_patch_is_read_row_column_channel():
    embedding = small("terramind").encoder.encoder_embeddings["untok_sen2l2a@224"]
    image = torch.randn(2, 12, 64, 64, generator=torch.Generator().manual_seed(0))
    patch = image[1, :, 16:32, 48:64].permute(1, 2, 0).flatten()
    known = embedding.proj.weight @ patch + embedding.pos_emb[0, 1 * 4 + 3] + embedding.mod_emb[0, 0]
    assert torch.allclose(embedding(image)[1, 1, 3], known, atol=1e-5)
    assert embedding(image[..., :40, :50]).shape == (2, 2, 3, 32)


def test_the_gate_is_the_first_matrix():
    mlp = small("terramind").encoder.encoder[0].mlp
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    known = (torch.nn.functional.silu(x @ mlp.fc1.weight.T) * (x @ mlp.fc3.weight.T)) @ mlp.fc2.weight.T
    assert torch.allclose(mlp(x), known, atol=1e-5)
    assert {name for name, _ in small("terramind").encoder.encoder[0].attn.named_parameters()} == {
        "qkv.weight",
        "proj.weight",
    }


def test_modalities_meet_in_the_blocks_and_are_joined_by_place():
    made = pixels("terramind", "s2l2a+dem", 64)
    mean, most = (
        small("terramind", modality="s2l2a+dem", merge=how).embed(made, output=GRID).data for how in ("mean", "max")
    )
    assert mean.shape == (32, 4, 4)
    assert (most >= mean - 1e-6).all()
    alone = small("terramind").embed(made["s2l2a"], output=GRID).data
    assert not np.allclose(mean, alone, atol=1e-3)


def test_statistics_apply_after_the_resize_and_clipping_is_a_choice():
    image = np.full((1, 12, 64, 64), 1390.458, np.float32)
    image[0, 11] = 20_000
    seen = [
        small("terramind", clip=clip).prepare([Sample({"s2l2a": image})]).image[0, :, 0, 0] for clip in (False, True)
    ]
    assert seen[0][0].item() == pytest.approx(0, abs=1e-6)
    assert [one[11].item() for one in seen] == pytest.approx(
        [(v - 1857.648) / 1334.311 for v in (20_000, 10_000)], rel=1e-6
    )


def test_rgb_is_stretched_or_given_in_bytes():
    image = pixels("terramind", "rgb", 64, seed=2)["rgb"]
    seen = small("terramind", modality="rgb").prepare([Sample({"rgb": image})]).image.numpy()[0]
    low, high = np.percentile(image, [2, 98])
    red = (np.clip((image[0, 0] - low) / (high - low), 0, 1) * 255 - 87.271) / 58.767
    assert seen[0] == pytest.approx(red, abs=1e-4)
    given = small("terramind", modality="rgb", rgb="bytes").prepare([Sample({"rgb": image / 20})]).image.numpy()[0]
    assert given[2] == pytest.approx((image[0, 2] / 20 - 66.667) / 42.631, abs=1e-4)


def test_there_is_no_class_token():
    with pytest.raises(SpecError, match="pooling = 'cls'"):
        small("terramind").embed(pixels("terramind", "s2l2a", 64), output=CLS)


def test_every_token_counts():
    model = small("terramind")
    image = torch.randn(1, 1, 12, 32, 80, generator=torch.Generator().manual_seed(0))
    tokens = model.tokens(Batch({"s2l2a": image}))
    assert tokens.patches.shape == (1, 2, 5, 32)
    assert tokens.extra["tokens"].shape == (1, 10, 32)
