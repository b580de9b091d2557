"""The record of parity in docs: what is in it, that it names every model, and that no card claims more."""

import json
import re
import shutil

import pytest

from rs_embed_dask.models import all_cards, card
from tests.parity import __main__ as harness, adapters, record
from tests.parity.cases import NUMBERS, Case, Folder, read_cases
from tests.parity.compare import Row

RECORDED = json.loads(record.RECORD.read_text("utf-8"))["models"]
MODELS = sorted(adapters.ADAPTERS)
CLAIM = re.compile(r"([a-z ]+?) within (\d(?:\.\d+)?e-\d+)")
OF_PIXELS = {"tessera_encoder"}  # its authors pool nothing, so it has no vectors of images to compare
COMMAND = "run `python -m tests.parity ../shared/models --models {} --write docs/parity.json`"


@pytest.mark.parametrize("model", MODELS)
class TestEveryModel:
    def test_is_in_the_record(self, model):
        assert model in RECORDED, COMMAND.format(model)
        entry = RECORDED[model]
        assert entry["cases"] >= len(read_cases(NUMBERS, [model])) > 0
        assert entry["outputs"] >= entry["cases"]
        assert wanted(model) <= set(entry["error"])
        assert 0 < entry["of_allowance"] <= 1
        assert entry["compared_with"]

    def test_has_variants_and_inputs_that_the_card_knows(self, model):
        assert set(RECORDED[model]["variants"]) <= {*(v.name for v in card(model).variants), record.SHRUNKEN}
        known = {inputs.modality for inputs in card(model).inputs} | {record.OTHER}
        assert {part for names in RECORDED[model]["modalities"] for part in names.split("+")} <= known

    def test_is_claimed_no_better_than_recorded(self, model):
        text, error = card(model).parity, RECORDED[model]["error"]
        claims = [(words, float(figure)) for words, figure in CLAIM.findall(text)]
        told = {kind for words, _ in claims for kind in kinds(words)}
        assert told == wanted(model)
        for words, figure in claims:
            assert figure >= max(error[kind] for kind in kinds(words)), f"{text}: the record has {error}"
        assert ("bit for bit" in text) <= (error.get("input") == 0)
        assert ("real" in text) == RECORDED[model]["real_weights"]


def wanted(model):
    return {"tokens"} if model in OF_PIXELS else {"vectors", "tokens"}


def kinds(words):
    named = {"vectors": "vectors", "grids": "tokens", "tokens": "tokens"}
    return {named[word] for word in words.split() if word in named}


def test_a_network_without_an_adapter_claims_nothing():
    claiming = {found.id for found in all_cards() if found.parity and found.kind == "encoder"}
    assert claiming == set(MODELS) == set(RECORDED)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0, 0), (4.4e-7, 5e-7), (5e-7, 5e-7), (5.1e-7, 1e-6), (1.1e-6, 2e-6), (1e-6, 1e-6), (0.13, 0.2), (0.9, 1)],
)
def test_figures_are_rounded_up_to_one_digit(value, rounded):
    assert record.rounded_up(value) == rounded


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("model_input", "input"),
        ("pooled", "vectors"),
        ("rs_embed_pooled_mean", "vectors"),
        ("cls", "vectors"),
        ("text_head", "vectors"),
        ("backbone", "vectors"),
        ("grid", "tokens"),
        ("block", "tokens"),
    ],
)
def test_outputs_are_of_three_kinds(output, kind):
    assert record.kind(output) == kind


def test_an_entry_is_the_worst_of_its_rows():
    (case,) = read_cases(NUMBERS, ["galileo"], ["nano_s2_p8"])
    rows = [Row("galileo", "a", "pooled", 3e-7, 6e-6), Row("galileo", "b", "pooled", 6e-7, 6e-5)]
    entry = record.entry([case], [*rows, Row("galileo", "a", "grid", 0.0, 1e-5)], {"s2"})
    assert entry == {
        "cases": 1,
        "outputs": 3,
        "variants": ["nano"],
        "modalities": ["s2"],
        "real_weights": False,
        "error": {"vectors": 1e-6, "tokens": 0.0},
        "of_allowance": 0.05,
        "compared_with": "nasaharvest/galileo at 0f0b5b9, single_file_galileo.py: Encoder",
    }


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ("all in one line", "all in one line"),
        ({"repo": "a/b", "commit": "0123456789"}, "a/b at 0123456, net.py: Net"),
        ({"repo": "a/b"}, "a/b, net.py: Net"),
        ({"package": "mine 0.1.5"}, "mine 0.1.5, net.py: Net"),
        ({"repo": "a/b", "version": "b 2.0", "note": "the same"}, "b 2.0, net.py: Net (the same)"),
    ],
)
def test_what_numbers_were_computed_with_is_said_in_a_line(tmp_path, upstream, said):
    told = upstream if isinstance(upstream, str) else {**upstream, "file": "net.py", "class": "Net"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parity.json").write_text(json.dumps({"upstream": told}))
    assert record.compared_with(Case("mine", {}, Folder(tmp_path), None)) == said


def entry(vectors, share=0.1):
    return {"error": {"vectors": vectors}, "of_allowance": share, "cases": 1}


@pytest.mark.parametrize(
    ("before", "now", "kept"), [(5e-7, 2e-7, 5e-7), (5e-7, 1e-6, 1e-6), (5e-6, 2e-7, 2e-7), (0.0, 1e-7, 1e-7)]
)
def test_a_figure_that_holds_stays(tmp_path, before, now, kept):
    path = tmp_path / "parity.json"
    record.write(path, {"one": entry(before), "other": entry(1e-6)})
    record.write(path, {"one": entry(now)})
    written = json.loads(path.read_text())["models"]
    assert written["one"]["error"] == {"vectors": kept}
    assert written["other"] == entry(1e-6)


@pytest.fixture
def few(tmp_path):
    """A folder with two cases of the smallest Galileo alone."""
    content = json.loads((NUMBERS / "galileo" / "parity.json").read_text())
    content["cases"] = [case for case in content["cases"] if case["name"] in {"nano_s2_p8", "nano_everything_p4"}]
    place = tmp_path / "few" / "galileo"
    place.mkdir(parents=True)
    (place / "parity.json").write_text(json.dumps(content))
    shutil.copy(NUMBERS / "galileo" / "parity.npz", place)
    return str(place.parent)


def test_a_run_writes_what_it_saw_and_only_if_all_passed(few, tmp_path, capsys, monkeypatch):
    path = tmp_path / "parity.json"
    assert harness.main([few, "--write", str(path)]) == 0
    written = json.loads(path.read_text())["models"]["galileo"]
    assert written["modalities"] == ["s2", "s2+s1"]
    assert written["variants"] == ["nano"]
    assert not written["real_weights"]
    before = path.read_text()
    monkeypatch.setattr(harness, "ADAPTERS", {})
    assert harness.main([few, "--write", str(path)]) == 1
    assert path.read_text() == before
    with pytest.raises(SystemExit):
        harness.main([few, "--cases", "nano", "--write", str(path)])
    assert "leave --cases out" in capsys.readouterr().err
