"""The suite's own run of the harness, and proof that the harness notices what is wrong."""

import json
import re
from functools import partial

import numpy as np
import pytest

from rs_embed_dask.models.positions import sincos
from tests.parity import __main__ as harness, adapters, recipe
from tests.parity.cases import NUMBERS, SHARED, Folder, NotUnderstoodError, _then, read_cases
from tests.parity.compare import relative_error

FOLDER = SHARED / "models" if (SHARED / "models").is_dir() else NUMBERS
MODELS = sorted(adapters.ADAPTERS)
WEIGHT = [1.0413395166, 0.9848454595]
NORMAL = [-1.1123567820, 0.5649053454]
REFLECTANCE = [1254, 959, 1293]
BACKSCATTER = [-13.970697, -14.919627]
CASES = [(case.model, case.name) for case in read_cases(FOLDER, MODELS)]


@pytest.mark.parametrize("model", MODELS)
def test_published_numbers(model, capsys):
    code = harness.main([str(FOLDER), "--models", model])
    told = capsys.readouterr().out
    assert code == 0, told


def test_there_are_cases_of_every_model():
    assert {model for model, _ in CASES} == set(MODELS)
    assert len(CASES) >= 10


def test_real_weights_are_among_them_where_they_can_be():
    real = [name for model, name in CASES if model == "galileo" and name.startswith("real")]
    assert len(real) == (2 if FOLDER != NUMBERS else 0)


@pytest.fixture
def folder(tmp_path):
    """A copy of one case, to be spoilt."""
    content = json.loads((NUMBERS / "galileo" / "parity.json").read_text())
    content["cases"] = [case for case in content["cases"] if case["name"] == "nano_s2_p8"]
    arrays = dict(np.load(NUMBERS / "galileo" / "parity.npz"))
    place = tmp_path / "other" / "galileo"
    place.mkdir(parents=True)

    def write(change=lambda content, arrays: None):
        change(content, arrays)
        (place / "parity.json").write_text(json.dumps(content))
        np.savez(place / "parity.npz", **arrays)
        return str(place.parent)

    return write


def test_another_folder_runs(folder, capsys):
    assert harness.main([folder()]) == 0
    assert "1 cases, 3 outputs, 0 failed" in capsys.readouterr().out


def spoil(path, value):
    def change(content, _):
        inside = content["cases"][0]
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value

    return change


def shift(_, arrays):
    arrays["nano_s2_p8/pooled"] = arrays["nano_s2_p8/pooled"] * (1 + 1e-5)


def gap(_, arrays):
    arrays["nano_s2_p8/grid"][3] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shift, "FAILED"),
        (gap, "FAILED"),
        (spoil(["side", "months"], [[0, 5, 10]]), "FAILED"),
        (spoil(["weights", "seed"], 1), "FAILED"),
        (spoil(["expected", 0, "output"], "pooled_rms"), "gave no such output"),
        (spoil(["expected", 0, "shape"], [127]), r"shape \(1, 128\), not \(127,\)"),
        (spoil(["expected", 1, "indices"], "np.arange(256)"), "NotUnderstoodError: kind 'sampled'"),
        (spoil(["expected", 1, "mean"], 0.5), "mean or std off"),
        (spoil(["expected"], []), "nothing is expected"),
        (spoil(["inputs", 0, "fn"], "gamma"), "NotUnderstoodError: input function 'gamma'"),
        (spoil(["inputs", 0, "then"], "sort it"), "NotUnderstoodError: then"),
        (spoil(["weights", "shapes"], "keys.json.gz:micro"), "NotUnderstoodError: no shapes"),
        (spoil(["weights"], {"file": "shared/data/none.pt"}), "NotUnderstoodError: no file"),
        (spoil(["variant"], "micro"), "UnknownNameError"),
    ],
)
def test_the_harness_notices(folder, capsys, change, message):
    assert harness.main([folder(change)]) == 1
    told = capsys.readouterr().out
    assert re.search(message, told), told


def test_a_model_without_an_adapter_fails(folder, capsys, monkeypatch):
    monkeypatch.setattr(adapters, "ADAPTERS", {})
    monkeypatch.setattr(harness, "ADAPTERS", {})
    assert harness.main([folder()]) == 1
    assert "no adapter for galileo" in capsys.readouterr().out


def test_a_model_without_cases_fails(capsys):
    assert harness.main([str(NUMBERS), "--models", "galileo,nobody", "--cases", "nano_s2"]) == 2
    assert "no cases of nobody" in capsys.readouterr().out


def test_shrunk_configurations_with_shapes_written_out(tmp_path, capsys):
    """A case of another size, with the numbers of this package itself: what runs is the reading of the case."""
    from rs_embed_dask.inference.loading import _empty
    from rs_embed_dask.models import factory

    config = {
        "embedding_size": 32,
        "depth": 1,
        "num_heads": 2,
        "mlp_ratio": 2,
        "max_sequence_length": 6,
        "max_patch_size": 4,
    }
    ours = {"dim": 32, "depth": 1, "heads": 2, "mlp_ratio": 2, "max_frames": 6, "kernel_px": 4, "patch_px": 4}
    shapes = {n: list(t.shape) for n, t in _empty(partial(factory("galileo"), **ours)).state_dict().items()}
    case = {
        "name": "shrunk",
        "config": config,
        "weights": {"shapes": shapes, "seed": 3},
        "inputs": [{"fn": "standard_normal", "name": "x", "shape": [2, 3, 2, 8, 8], "seed": 1, "input": "s1"}],
        "side": {"months": [[0, 5, 11]], "patch_size": 4},
        "expected": [{"output": "grid", "array": "g", "shape": [2, 32, 2, 2], "kind": "whole"}],
    }
    place = tmp_path / "galileo"
    place.mkdir()
    np.savez(place / "parity.npz", g=np.zeros((2, 32, 2, 2)))
    (place / "parity.json").write_text(json.dumps({"cases": [case]}))
    (read,) = read_cases(tmp_path)
    grid = adapters.ADAPTERS["galileo"](read)["grid"]
    np.savez(place / "parity.npz", g=grid)
    assert harness.main([str(tmp_path)]) == 0
    assert "shrunk" in capsys.readouterr().out


def test_what_is_done_with_a_draw():
    x = np.array([[1.0, 2.0]], np.float32)
    assert _then(x, None) is x
    assert _then(x, "times [30, 60]").tolist() == [[30, 120]]
    assert _then(x, "divided by 4").tolist() == [[0.25, 0.5]]
    assert _then(x * 300, "clip(floor(draw/40), 0, 255) as uint8, bands red").tolist() == [[7, 15]]
    with pytest.raises(NotUnderstoodError):
        _then(x, "upside down")


def test_the_recipe_draws_known_bits():
    assert recipe.weight("norm.weight", (2,)).tolist() == pytest.approx(WEIGHT, abs=1e-7)
    assert recipe.standard_normal("x", (2,), 5).tolist() == pytest.approx(NORMAL, abs=1e-7)
    assert recipe.reflectance("x", (1, 1, 3)).tolist() == [[REFLECTANCE]]
    assert recipe.backscatter_db("x", (1, 1, 2)).ravel().tolist() == pytest.approx(BACKSCATTER, abs=1e-5)
    assert recipe.weight("bn.running_var", (50,)).min() > 1


def test_errors_are_relative_and_see_gaps():
    wanted = np.array([3.0, 4.0, np.nan])
    assert relative_error(np.array([3.0, 4.5, np.nan]), wanted) == pytest.approx(0.1)
    assert relative_error(np.array([3.0, 4.5, 0.0]), wanted) == np.inf
    assert relative_error(np.array([3.0, 4.0]), wanted) == np.inf


def test_draws_are_kept_one_at_a_time():
    folder = Folder(NUMBERS)
    one = {"shapes": {"a": [2]}, "seed": 0}
    assert folder.weights("m", one) is folder.weights("m", dict(one))
    assert folder.weights("m", {**one, "seed": 1})["a"].tolist() != folder.weights("m", one)["a"].tolist()


def test_months_are_a_circle():
    import torch

    known = np.load(NUMBERS / "galileo" / "parity.npz")["constant/month_embed.weight"]
    angle = 2 * np.pi * np.arange(12)[:, None] / 12
    assert np.allclose(known, np.concatenate([np.sin(angle).repeat(16, 1), np.cos(angle).repeat(16, 1)], 1), atol=1e-6)
    assert sincos(torch.zeros(1), 4).tolist() == [[0, 0, 1, 1]]
