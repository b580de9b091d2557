"""What is said of models: rows of the list, the page of each, its example, and the words for steps and sizes."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys

import pytest

import rs_embed_dask as rs
from rs_embed_dask.cards.card import vectors
from rs_embed_dask.cli import show
from rs_embed_dask.models import Card, Inputs, Option, Variant, Weights, all_cards, card
from rs_embed_dask.pages import listing, model as model_page, wording
from rs_embed_dask.pages.model import example
from rs_embed_dask.preprocess.inputs import When
from rs_embed_dask.preprocess.steps import Clip, Divide, MinMax, Percentile, Resize, Standard, Step, Stretch, ValueSpan
from rs_embed_dask.show import tables
from tests.example_run import run_example

CARDS = pytest.mark.parametrize("found", all_cards(), ids=lambda found: found.id)


def test_the_list_is_shown_as_a_table():
    models = rs.list_models()
    assert isinstance(models, list)
    lines = repr(models).splitlines()
    assert lines[0] == "Models"
    assert any(line.split(":")[0].strip() == "galileo" for line in lines)
    assert "<table" in models._repr_html_()
    assert repr(rs.describe_model("rcf")) == "ModelPage('rcf'; print it, or show it in a notebook)"


def test_the_list_has_every_modality_and_length():
    rows = {row["id"]: row for row in rs.list_models()}
    assert rows["clay"]["inputs"] == ["s2", "s1", "landsat", "naip"]
    assert rows["terramind"]["inputs"][-2:] == ["dem", "or any combination"]
    assert rows["galileo"]["inputs"] == ["s2", "s1", "s2+s1"]
    assert rows["bandstats"]["dim"] == {"default": 90}
    assert rows["satvision"]["arrays_only"] == ["modis"]
    assert rows["presto"]["arrays_only"] == ["dw"]
    assert rows["clay"]["arrays_only"] == rows["location"]["arrays_only"] == []
    assert "s2, s1, era5, srtm, dw (arrays)" in listing.inputs_text(rows["presto"])
    assert rows["rcf"]["licence"] == "none needed, your images'"
    assert rows["clay"]["dim"] == {"v1.5": 1024, "v1": 768}
    assert rows["prithvi"]["params_m"]["tiny-TL"] == 5.6
    assert json.loads(json.dumps(rows)) == rows


def test_short_rows_have_one_line_per_variant():
    rows = {row["model"]: row for row in listing.short_rows(rs.list_models())}
    assert rows["clay"]["variants"] == "v1.5\nv1"
    assert rows["clay"]["million"] == "311.4\n92.1"
    assert rows["clay"]["dim"] == "1024\n768"
    assert rows["clay"]["parity"] == "1e-6"
    assert rows["rcf"]["parity"] == "-"
    assert rows["gse"]["parity"] == "exact"
    assert (rows["gse"]["licence"], rows["gse"]["million"]) == ("CC-BY-4.0", "-")
    assert listing.largest_error("vectors within 5e-7, grids within 1e-6") == "1e-6"


@pytest.mark.parametrize("columns", [100, 120])
def test_the_list_fits_a_terminal_and_cuts_no_word(columns, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = listing.short_rows(rs.list_models())
    show.table(rows, title="models", ruled=True)
    told = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert max(map(len, told.splitlines())) <= columns
    assert "…" not in told
    for row in rows:
        assert all(word in told for word in (row["model"], *row["variants"].split("\n"), *row["inputs"].split()))


def test_describing_loads_no_torch():
    code = (
        "import sys, rs_embed_dask as rs; rs.list_models(); str(rs.describe_model('clay')); "
        "print([m for m in ('torch', 'dask', 'distributed', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@CARDS
class TestEveryPage:
    def test_says_all_that_the_card_says(self, found):
        told = rs.describe_model(found.id).to_markdown()
        facts = [found.id, found.title, *found.aliases, found.paper, found.citation, found.source, found.code_licence]
        facts += [*found.notes, *found.deviations, found.parity]
        for variant in found.variants:
            facts += [variant.name, *variant.aliases]
            if variant.weights is not None:
                weights = variant.weights
                facts += [weights.repo, weights.file, weights.sha256, weights.seen, weights.licence, weights.url]
        for inputs in found.inputs:
            facts += [inputs.modality, *inputs.bands, *inputs.sensors, *wording.steps_texts(inputs)]
        for option in found.options:
            facts += [f"`{option.name}`", option.doc]
        assert [fact for fact in facts if fact not in told] == []

    def test_is_the_same_in_a_terminal_and_a_notebook(self, found):
        page = rs.describe_model(found.id)
        words = {word for note in (*found.notes, *found.deviations) for word in note.replace("`", "").split()}
        assert words <= set(str(page).split())
        assert page._repr_html_().count("<h4>") == len(page.sections())
        assert max(len(line) for line in str(page).splitlines() if "://" not in line) <= 102

    def test_says_what_each_output_is(self, found):
        assert {name for name, _ in found.outputs} == {*found.poolings, "grid"}
        (part,) = (one for one in rs.describe_model(found.id).sections() if one.title == "Outputs")
        assert all(all(row) for row in part.rows)
        assert set(wording.lengths(found, "grid")) == {variant.name for variant in found.variants}

    def test_has_words_for_every_step(self, found):
        for inputs in found.inputs:
            changed = [dict(case.change).get("steps", ()) for case in inputs.when]
            for step in (*inputs.steps, *(step for steps in changed for step in steps)):
                known = isinstance(step, Resize) or type(step) in wording.WORDS
                assert known, f"say what {type(step).__name__} does in rs_embed_dask/pages/wording.py"

    def test_has_an_example_that_runs(self, found):
        code = example(found)
        assert max(map(len, code.splitlines())) <= 100
        wanted = re.search(r"embedding\.data\.shape  # (\(\d+,\))", code).group(1)
        assert run_example(found, code) == ast.literal_eval(wanted)


def made(**more):
    weights = Weights("me/mine", "a.pt", "0123abc", sha256="f00d", size=7, licence="MIT", restricted=True)
    inputs = Inputs("s2", ("sentinel-2-l2a",), ("red", "nir"), size_px=64, **more)
    return Card("mine", "Mine", (inputs,), (Variant("a", 8, weights),), 16, outputs=vectors(mean="a | b"))


def test_a_page_in_full():
    page = model_page.ModelPage(made(steps=(Standard((1.0, 2.0), (3.0, 4.0)),), frames=rs_frames()))
    told = page.to_markdown()
    assert told.startswith("# Mine (`mine`)\n")
    for line in (
        "| to accept it | `accept_licence=True` in ModelSpec or load_model, `--accept-licence` on the command line |",
        "| variant | from | file | revision | sha256 | bytes | licence |",
        "| `a` | me/mine | `a.pt` | 0123abc | f00d | 7 | MIT |",
        "| step 1 | resize to 64 x 64 px, bilinear |",
        "| step 2 | subtract each band's mean, divide by its std |",
        "| frames | one frame per calendar month, at most 12 |",
        "| composite | median |",
        "| band | sentinel-2-l2a | mean | std |",
        "| `nir` | B08 | 2 | 4 |",
        r"| pooled `mean` (default) | 8 | a \| b |",
        'model = rs.ModelSpec("mine", accept_licence=True)',
    ):
        assert line in told.splitlines()
    assert "| unit | reflectance x 10 000 |" in told
    assert "planetary_computer: sentinel-2-l2a" in told
    assert "Side inputs" not in told


def rs_frames():
    from rs_embed_dask.imagery.dates import Frames

    return Frames("months", cap=12)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Clip(0, 10_000), "clip to 0..10000"),
        (Divide(10_000.0), "divide by 10000"),
        (MinMax((0.0, 0.0), (3558.0, 8160.0)), "bring each band's low..high to 0..1"),
        (MinMax((0.0, 0.0), (10.0, 10.0)), "bring 0..10 to 0..1"),
        (Standard((-2000.0,) * 2, (0.275,) * 2), "subtract -2000, divide by 0.275"),
        (
            ValueSpan((1.0,), (2.0,), float64=True),
            "bring each band's mean - 2 std..mean + 2 std to 0..1, not clipped, in float64",
        ),
        (
            Percentile(98.0, 2.0),
            "bring each image's own percentile 98, over all bands together, to 1, percentile 2 to 0",
        ),
        (
            Stretch(least=1.0),
            (
                "bring each image's own minimum and maximum, over all bands together, to 0 and 1, "
                "a range under 1 counting as 1"
            ),
        ),
        (Resize("bicubic", antialias=True), "resize to 9 x 9 px, bicubic, antialiased"),
    ],
)
def test_steps_in_words(step, words):
    assert wording.step_text(step, "9 x 9 px") == words


def test_a_step_that_nobody_described_shows_its_values():
    class Odd(Step):
        def to_dict(self):
            return {"step": "Odd", "by": 3}

    assert wording.step_text(Odd()) == "Odd (by 3)"
    assert wording.step_text(Step()) == "Step"


def test_numbers_of_two_steps_of_a_kind_are_told_apart():
    first, second = Standard((1.0, 2.0), (1.0, 1.0)), Standard((3.0, 4.0), (5.0, 6.0))
    numbers = wording.per_band_numbers(made(steps=(first, second), fill=(7.0, 8.0)).inputs[0])
    assert numbers == {
        "mean": (1.0, 2.0),
        "std": (1.0, 1.0),
        "mean (step 2)": (3.0, 4.0),
        "std (step 2)": (5.0, 6.0),
        "fill": (7.0, 8.0),
    }


def test_what_options_change_is_told():
    cases = (
        When("resize", "crop", (("short_px", 80),)),
        When("scale", "whole", (("steps", (Divide(2.0), Resize())),)),
        When("wave", 5.4, (("per_band", (("wavelength_um", (5.4, 5.4)),)),)),
    )
    assert wording.when_texts(made(when=cases).inputs[0]) == [
        ("with `resize='crop'`", "resize to 80 px on the shorter side, bilinear; crop the centre, 64 x 64 px"),
        ("with `scale='whole'`", "divide by 2; resize to 64 x 64 px, bilinear"),
        ("with `wave=5.4`", "wavelength_um 5.4, 5.4"),
    ]
    known = dict(wording.when_texts(card("remoteclip").inputs[0]))
    assert known["with `rectangle='crop'`"] == "an image that is not square: its centre is cropped"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (Option("a", "x", ("x", "y")), "'x', 'y'"),
        (Option("a", 32, tuple(range(32, 1025, 32))), "32 to 1024 by 32"),
        (Option("a", 0, tuple(range(24))), "0 to 23"),
        (Option("a", 1, (1, 2, 5, 10, 20)), "1, 2, 5, 10, 20"),
        (Option("a", 224, multiple=16), "a multiple of 16"),
        (Option("a", default=True), "True, False"),
        (Option("a", 1.0), "a number"),
        (Option("bands", ()), "names of bands"),
        (Option("a", ""), "text"),
    ],
)
def test_choices_in_words(option, words):
    assert wording.choices_text(option) == words


def test_equal_lengths_are_said_once():
    assert wording.grouped({"a": 5, "b": 5}) == "5"
    assert wording.grouped({"a": 5, "b": 7, "c": 5}) == "5 (a, c), 7 (b)"


def test_a_wide_table_becomes_lines_and_a_long_cell_is_wrapped():
    narrow = tables.Section("T", (("a", "b " * 60),), ("name", "text"))
    lines = tables.page_text("Page", [narrow]).splitlines()
    assert lines[:4] == ["Page", "", "T:", "  name  text"]
    assert lines[4].startswith("  a     b b b")
    assert lines[5].startswith("        b b")
    rows = (("a", "b" * 50, "", "x"), ("c", "", "d" * 50, "y"))
    wide = tables.Section("T", rows, ("name", "second", "third", "fourth"))
    told = [f"  a: second {'b' * 50}; fourth x", f"  c: third {'d' * 50}; fourth y"]
    assert tables.page_text("Page", [wide]).splitlines()[3:] == told


def test_html_is_escaped():
    told = tables.page_html("a < b", [tables.Section("T", (("`x` < y",),)), tables.Section("C", code="1 < 2")])
    body = "<h3>a &lt; b</h3><h4>T</h4><ul><li>x &lt; y</li></ul><h4>C</h4><pre>1 &lt; 2</pre>"
    assert told.endswith(f"</style><div class='rse'>{body}</div>")
