"""Text of a store that somebody else wrote, on its way to a terminal."""

from __future__ import annotations

import sys

import pytest

from rs_embed_dask.cli import show
from rs_embed_dask.show.tables import page_text, table_html
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.store import Item, Status, Store, status
from tests.store.samples import POOLED, REQUEST, YEAR, fill_store

HOSTILE = "gone\x1b[2J\x1b]52;c;cm0=\x07\r\x9b31m\u202e[red]x[/] [/x]\nrcf: 3 ok"
SEEN = r"gone\x1b[2J\x1b]52;c;cm0=\x07\r\x9b31m\u202e[red]x[/] [/x]"


@pytest.fixture
def hostile(tmp_path):
    items = [Item(0, PointBuffer(lon=4.0, lat=50.0, buffer_m=260), YEAR, id=HOSTILE)]
    store = Store.create(tmp_path / "run.zarr", items=items, models=(POOLED,), request=REQUEST, chunk_items=4)
    fill_store(store, status=Status.READ_FAILED, reason=HOSTILE)
    return status(tmp_path / "run.zarr")


def is_harmless(text):
    return all(character.isprintable() or character in "\n\t" for character in text)


def test_a_report_escapes_what_a_terminal_obeys(hostile):
    assert is_harmless(repr(hostile))
    assert r"gone\x1b[2J" in repr(hostile)
    assert is_harmless(hostile.table.to_string())
    assert hostile.table["reason"][0].startswith(SEEN)
    assert hostile.table["id"][0].startswith(SEEN)
    assert is_harmless(hostile._repr_html_())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_command_line_escapes_it_too(hostile, is_terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "4000")
    show.table(show.chosen_rows(hostile, []), title="items")
    printed = capsys.readouterr().out
    assert SEEN in printed
    lines = [line for line in printed.splitlines() if "rcf: 3 ok" in line]
    assert lines
    assert all("gone" in line for line in lines)  # a stored line break starts no line of its own
    if not is_terminal:
        assert is_harmless(printed)
    else:
        assert "\x1b[2J" not in printed
        assert "\u202e" not in printed


def test_messages_and_json_are_escaped(capsys):
    show.text(HOSTILE)
    show.json_text({"reason": HOSTILE})
    show.problem(HOSTILE)
    printed = capsys.readouterr()
    assert is_harmless(printed.out + printed.err)
    assert printed.err.startswith(r"error: gone\x1b[2J")


def test_pages_are_escaped():
    assert is_harmless(page_text(HOSTILE, []))
    assert is_harmless(table_html("t", ("a", "b"), [(HOSTILE, HOSTILE)]))
