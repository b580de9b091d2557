"""Documents that could go out of date: what is made of the cards, links between pages, and the commands they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from rs_embed_dask.cli.app import app
from rs_embed_dask.models import all_cards
from tests import correctness_page, pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


MADE = pages.documents()


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_the_cards_say_is_what_is_written(path):
    assert path.exists(), f"run `{pages.COMMAND}`"
    assert path.read_text("utf-8") == MADE[path], f"run `{pages.COMMAND}`"


def test_there_is_a_page_a_model_and_no_other():
    assert {path.stem for path in pages.FOLDER.glob("*.md")} == {card.id for card in all_cards()} | {"index"}


def test_a_stale_page_is_noticed_and_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    made = {tmp_path / "rcf.md": "new", tmp_path / "dofa.md": "same", tmp_path / "clay.md": "absent"}
    for name, text in {"rcf": "old", "dofa": "same", "gone": "of no model"}.items():
        (tmp_path / f"{name}.md").write_text(text)
    assert [path.stem for path in pages.stale(made)] == ["clay", "gone", "rcf"]
    pages.write(made)
    assert pages.stale(made) == []
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["clay", "dofa", "rcf"]


def test_the_page_says_what_was_not_compared():
    page = MADE[pages.FOLDER / "clay.md"]
    assert "- Not compared (no recorded numbers): variants `v1`; inputs `landsat`, `naip`." in page
    assert "real weights among them" in MADE[pages.FOLDER / "galileo.md"]


def test_the_page_on_correctness_has_every_model_and_difference():
    page = MADE[pages.CORRECTNESS]
    for card in all_cards():
        _, _, section = page.partition(f"\n## {card.id}\n")
        section = section.partition("\n## ")[0]
        assert f"models/{card.id}.md" in section
        (row,) = (line for line in page.splitlines() if line.startswith(f"| [`{card.id}`](#{card.id}) |"))
        wanted = () if row.endswith("| has no such model |") else card.deviations
        assert [line[2:] for line in section.partition("0.3.1 differs:\n\n")[2].splitlines() if line] == list(wanted)
    assert (
        "| [`galileo`](#galileo) | 2e-6 | nasaharvest/galileo at 0f0b5b9 | real ones too | 8 | 3 of 3 | differs |"
        in page
    )
    assert "- Largest error: what the network sees bit for bit; vectors 5e-7; tokens and grids 1e-6; at most" in page


def test_a_model_without_a_record_is_said_to_have_none():
    page = correctness_page.page({}, pages.compared)
    assert "| [`clay`](#clay) | not recorded |  |  |  |  | differs |" in page
    assert (
        "- Not recorded: [parity.json](parity.json) has no run of its cases. The card states: the authors' code:"
        in page
    )
    assert "| [`gse`](#gse) | exact | samples in the published format |  |  |  | differs |" in page
    assert "| [`rcf`](#rcf) | nothing to compare |" in page
    assert pages.model_page(next(iter(all_cards())), {}).startswith(pages.MADE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def shown_commands():
    """Every ``rs-embed-dask ...`` line in a code block, with its page."""
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if (
                    line.startswith("rs-embed-dask ")
                    and "..." not in line
                    and "|" not in line
                    and "COMMAND" not in line
                ):
                    yield page.name, line.partition("#")[0].strip()


def test_there_are_commands_to_check():
    assert len(list(shown_commands())) >= 4


@pytest.mark.parametrize(("page", "line"), list(shown_commands()))
def test_shown_commands_have_options_that_exist(page, line):
    words = shlex.split(line)[1:]
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word for word in words if word.startswith("-") and not word[1:2].isdigit()}
    assert used <= known


def test_every_command_is_on_the_page_of_commands():
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    commands = get_command(app).commands
    known = "embed plan map plan-map status watch resume verify export models describe inspect weights doctor demo"
    known += " search zonal probe change classes"
    assert set(known.split()) == set(commands)
    for name in commands:
        assert f"`{name}" in text
