"""The suite's own run of the harness, and proof that the harness notices what is wrong."""

import json
import re
from functools import partial

import numpy as np
import pytest

from rs_embed_dask.models.positions import sincos
from tests.parity import __main__ as harness, adapters, recipe
from tests.parity.cases import NUMBERS, Folder, NotUnderstoodError, _then, read_cases
from tests.parity.compare import relative_error

MODELS = sorted(adapters.ADAPTERS)
WEIGHT = [1.0413395166, 0.9848454595]
NORMAL = [-1.1123567820, 0.5649053454]
REFLECTANCE = [1254, 959, 1293]
BACKSCATTER = [-13.970697, -14.919627]
CASES = [(case.model, case.name) for case in read_cases(NUMBERS, MODELS)]


@pytest.mark.parametrize("model", MODELS)
def test_published_numbers(model, capsys):
    code = harness.main([str(NUMBERS), "--models", model])
    told = capsys.readouterr().out
    assert code == 0, told


def test_there_are_cases_of_every_model():
    assert {model for model, _ in CASES} == set(MODELS)
    assert len(CASES) >= 10


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
    assert "1 case, 3 outputs, 0 failed\n" in capsys.readouterr().out


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
        (spoil(["expected", 1, "indices"], "np.arange(256)"), "NOT UNDERSTOOD: kind 'sampled'"),
        (spoil(["expected", 1, "mean"], 0.5), "mean or std off"),
        (spoil(["expected"], []), "nothing is expected"),
        (spoil(["inputs", 0, "fn"], "gamma"), "NOT UNDERSTOOD: input function 'gamma'"),
        (spoil(["inputs", 0, "then"], "sort it"), "NOT UNDERSTOOD: then"),
        (spoil(["weights", "shapes"], "keys.json.gz:micro"), "NOT UNDERSTOOD: no shapes"),
        (spoil(["weights"], {"file": "shared/data/none.pt"}), "NOT UNDERSTOOD: no file"),
        (spoil(["variant"], "micro"), "UnknownNameError"),
    ],
)
def test_the_harness_notices(folder, capsys, change, message):
    assert harness.main([folder(change)]) == 1
    told = capsys.readouterr().out
    assert re.search(message, told), told


EXTRA = {"fn": "standard_normal", "name": "more", "shape": [1, 3, 10, 32, 32], "input": "landsat"}


def more_input(content, _):
    content["cases"][0]["inputs"].append(EXTRA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil(["resolution"], 20), "nothing reads resolution"),
        (spoil(["side", "hide"], [1]), "nothing reads side.hide"),
        (spoil(["side", "resolution"], 20), "nothing reads side.resolution"),
        (spoil(["inputs", 0, "nodata"], -9999), r"nothing reads inputs\[0\].nodata"),
        (spoil(["weights", "prefix"], "module."), "nothing reads weights.prefix"),
        (spoil(["expected", 1, "norm"], "l2"), r"nothing reads expected\[1\].norm"),
        (more_input, r"inputs \['landsat'\]"),
    ],
)
def test_what_nobody_reads_is_not_understood(folder, capsys, change, message):
    """Whatever the outputs are: here they are right, for the field has been ignored."""
    assert harness.main([folder(change)]) == 1
    told = capsys.readouterr().out
    assert re.search(rf"NOT UNDERSTOOD: {message}\n", told), told
    assert "1 case, 0 outputs, 0 failed, 1 case not understood\n" in told


@pytest.mark.parametrize(
    "change",
    [
        spoil(["description"], "a note"),
        spoil(["rs_embed_grid_relative_error"], 0.2),
        spoil(["inputs", 0, "meaning"], "ten bands"),
        spoil(["expected", 0, "note"], "of all pixels"),
    ],
)
def test_what_only_describes_a_case_is_passed_over(folder, capsys, change):
    assert harness.main([folder(change)]) == 0, capsys.readouterr().out


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Run a made case of a made model, whose adapter is given."""

    def run(adapter, **facts):
        place = tmp_path / "made"
        place.mkdir(exist_ok=True)
        expected = [{"output": "pooled", "array": "one", "shape": [1], "kind": "whole"}]
        weights = {"shapes": {"a": [1]}}
        case = {"name": "one", "weights": weights, "inputs": [], "expected": expected, **facts}
        (place / "parity.json").write_text(json.dumps({"cases": [case]}))
        np.savez(place / "parity.npz", one=np.ones(1))
        monkeypatch.setattr(harness, "ADAPTERS", {"made": adapter})
        return harness.main([str(tmp_path)])

    return run


def read_frames(case):
    """An adapter that knows one side input alone."""
    assert case.weights
    return {"pooled": np.ones(1) * case.side["frames"]}


def test_a_field_is_understood_by_the_adapter_that_reads_it(made, capsys):
    assert made(read_frames, side={"frames": 1}) == 0
    assert made(read_frames, side={"frames": 1, "missing_frames": [0], "hide": 2}) == 1
    assert "NOT UNDERSTOOD: nothing reads side.missing_frames, side.hide\n" in capsys.readouterr().out


def test_looking_through_all_names_is_not_reading(made, capsys):
    def look(case):
        assert "hide" in case.side
        assert [name for name, _ in case.side.items()] == list(case.side)
        return read_frames(case)

    assert made(look, side={"frames": 1, "hide": 1}) == 1
    assert "NOT UNDERSTOOD: nothing reads side.hide\n" in capsys.readouterr().out


def test_an_input_that_nobody_takes_is_not_understood(made, capsys):
    def take_first(case):
        assert case.inputs[0].values.shape == (1, 3, 10, 32, 32)
        return read_frames(case)

    assert made(take_first, side={"frames": 1}, inputs=[EXTRA]) == 0
    assert made(take_first, side={"frames": 1}, inputs=[EXTRA, EXTRA]) == 1
    assert made(take_first, side={"frames": 1}, inputs={"first": EXTRA, "second": EXTRA}) == 1
    assert capsys.readouterr().out.count("NOT UNDERSTOOD: nothing reads inputs[1] landsat\n") == 2


def test_an_adapter_that_stops_shows_what_it_had_not_read(made, capsys):
    assert made(read_frames, side={"dates": [1]}) == 1
    assert "ERROR: KeyError: 'frames' (not read before: side.dates)\n" in capsys.readouterr().out


def test_a_model_without_an_adapter_is_not_understood(folder, capsys, monkeypatch):
    monkeypatch.setattr(adapters, "ADAPTERS", {})
    monkeypatch.setattr(harness, "ADAPTERS", {})
    assert harness.main([folder()]) == 1
    assert "NOT UNDERSTOOD: no adapter for galileo" in capsys.readouterr().out


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
