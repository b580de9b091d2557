import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rs_embed_dask.cards.card import Weights
from rs_embed_dask.errors import WeightsError
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.satmae import build
from rs_embed_dask.models.weights import load_into, read
from tests.models.conftest import SMALL

NANO = {"device": "cpu", "dtype": "float32"}


def loaded(path, model="galileo", **more):
    return load_model(model, weights=path, **{**NANO, **more}).encoder.state_dict()


def same(given, wanted):
    return given.keys() == wanted.keys() and all(torch.equal(given[name], wanted[name]) for name in wanted)


def test_the_official_form_loads(tmp_path, nano):
    torch.save(nano, tmp_path / "encoder.pt")
    assert same(loaded(tmp_path / "encoder.pt"), nano)


def test_safetensors_and_half_precision_load(tmp_path, nano):
    save_file({name: value.half() for name, value in nano.items()}, tmp_path / "a.safetensors")
    given = loaded(tmp_path / "a.safetensors")
    assert given["norm.weight"].dtype == torch.float32
    assert torch.equal(given["norm.weight"], nano["norm.weight"].half().float())


def test_part_of_a_name_is_taken_out(tmp_path, nano):
    named = {name.replace("blocks.", "blocks.backbone.", 1): value for name, value in nano.items()}
    torch.save(
        {name.replace("blocks.backbone.", "blocks.backbone."): v for name, v in named.items()}, tmp_path / "a.pt"
    )
    assert same(loaded(tmp_path / "a.pt"), nano)


def test_a_training_file_loads_with_its_harmless_extras(tmp_path, small):
    extras = {"decoder_embed.weight": torch.zeros(3), "mask_token": torch.zeros(1), "decoder_pos_embed": torch.zeros(2)}
    content = {"model": {**small, **extras}, "args": argparse.Namespace(lr=1e-3), "epoch": 799}
    torch.save(content, tmp_path / "fmow_pretrain.pth")
    given = loaded(tmp_path / "fmow_pretrain.pth", "satmae", config=SMALL, accept_licence=True)
    assert same(given, small)


def test_a_file_may_change_once_it_is_loaded(tmp_path, nano):
    path = tmp_path / "encoder.pt"
    torch.save(nano, path)
    given = loaded(path)
    path.write_bytes(b"")
    assert same(given, nano)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("norm.bias"), "1 missing: norm.bias"),
        (lambda d: d.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda d: d.update({"norm.bias": torch.zeros(7)}), r"1 misshapen: norm.bias \(7,\) for \(128,\)"),
        (
            lambda d: [d.pop(name) for name in list(d) if "blocks.0" in name],
            r"16 missing: (blocks\.0\.[\w.]+, ){5}\.\.\.",
        ),
    ],
)
def test_every_name_is_accounted_for(tmp_path, nano, change, message):
    wrong = dict(nano)
    change(wrong)
    torch.save(wrong, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=message):
        loaded(tmp_path / "a.pt")


def test_another_variant_is_refused(tmp_path, nano):
    torch.save(nano, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"galileo tiny: names in the weights.*misshapen"):
        loaded(tmp_path / "a.pt", "galileo:tiny")


def test_another_model_is_refused(tmp_path, small):
    torch.save(small, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"missing.*unexpected"):
        loaded(tmp_path / "a.pt")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, new):
    proof = tmp_path / "ran"
    path = tmp_path / "a.pt"
    torch.save({"model": {"x": torch.zeros(1)}, "trap": Trap(proof)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(WeightsError, match="holds objects that would have to be executed"):
        loaded(path)
    assert not proof.exists()


def test_a_bare_pickle_is_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"trap": Trap(tmp_path / "ran")}))
    with pytest.raises(WeightsError):
        loaded(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_class_that_the_card_does_not_allow_is_refused(tmp_path, nano):
    torch.save({**nano, "args": argparse.Namespace()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="would have to be executed"):
        loaded(tmp_path / "a.pt")


@pytest.mark.parametrize("keep", [0, 1, 10, 1000, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_file_that_was_cut_off(tmp_path, nano, keep, form):
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pt")
    if form == "safetensors":
        save_file(nano, path)
    else:
        torch.save(nano, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(WeightsError, match=path.name):
        loaded(path)


def test_noise_is_no_checkpoint(tmp_path):
    for seed in range(20):
        path = tmp_path / f"{seed}.pt"
        path.write_bytes(np.random.default_rng(seed).bytes(2000))
        with pytest.raises(WeightsError):
            read(path)


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not a state dict"):
        loaded(tmp_path / "a.pt")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        loaded(tmp_path / "a.pt")


def test_names_are_brought_into_form(small):
    rules = Weights(
        keys=("state_dict", "model"), prefixes=("module.", "encoder."), rename=(("BLOCK", "blocks"),), drop=("head.",)
    )
    content = {
        "epoch": 3,
        "state_dict": {
            **{f"module.encoder.{name.replace('blocks', 'BLOCK')}": value for name, value in small.items()},
            "module.encoder.head.weight": torch.zeros(1),
            "module.decoder.weight": torch.zeros(1),
        },
    }
    encoder = build(**SMALL)
    load_into(encoder, content, rules, what="satmae")
    assert same(encoder.state_dict(), small)


def test_nested_dictionaries_are_joined(small):
    content = {"patch_embed": {"proj": {}}, **{name: v for name, v in small.items() if not name.startswith("patch")}}
    content["patch_embed"]["proj"] = {leaf: small[f"patch_embed.proj.{leaf}"] for leaf in ("weight", "bias")}
    encoder = build(**SMALL)
    load_into(encoder, content, Weights(), what="satmae")
    assert same(encoder.state_dict(), small)


def test_tensors_may_be_given(nano):
    model = load_model("galileo", weights={name: value.numpy() for name, value in nano.items()}, **NANO)
    assert model.weights_info == {"source": "given", "sha256": "", "licence": "MIT", "official": False, "random": False}
