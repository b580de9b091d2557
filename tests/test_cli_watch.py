"""`rs-embed-dask watch`: how a run stands, from its store alone."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from rs_embed_dask.cli import watch
from rs_embed_dask.cli.app import app
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Status, Store, leased, live
from rs_embed_dask.store.live import LiveStatus, look
from tests.services.object_store import ObjectService
from tests.store.map_samples import fill_map, make_map

COUNT, CHUNK = 8, 4
REASONS = ["", "", "no scene", "HTTP 500"]
CODES = [Status.OK, Status.OK, Status.NO_DATA, Status.READ_FAILED]


def made(target):
    items = [Item(i, PointBuffer(4 + i / 10, 50, buffer_m=100), TemporalSpec.year(2021), f"p{i}") for i in range(COUNT)]
    layout = ModelLayout("rcf", dim=2)
    request = {"models": [{"label": "rcf"}]}
    return Store.create(target, items=items, models=[layout], request=request, chunk_items=CHUNK)


def store_chunk(store, chunk, codes=CODES, reasons=REASONS):
    vectors = [np.ones(2, np.float32) if code is Status.OK else None for code in codes]
    rows = np.arange(CHUNK)
    part = ChunkResult(rows=rows, status=np.array(codes, np.uint8), embedding=vectors, reason=reasons)
    store.write_chunk(chunk, "rcf", part)


@pytest.fixture
def store(tmp_path):
    """A store of eight items, of which the first four are decided."""
    one = made(tmp_path / "run.zarr")
    store_chunk(one, 0)
    return one


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    return now


def test_a_store_tells_how_its_run_stands(store, clock):
    first = look(store.target)
    assert (first.state, first.done, first.total, first.share, first.rate) == ("stopped", 4, 8, 0.5, None)
    assert first.problems == ("rcf: 1 item read failed: HTTP 500", "rcf: 1 item no data: no scene")
    with leased(store.location) as lease:
        clock[0] += 10
        store_chunk(store, 1)
        second = look(store.target, since=first)
        assert (second.state, second.done, second.rate, second.seconds_left) == ("running", 8, 0.4, 0.0)
        assert [(one.who, one.chunks) for one in second.holders] == [(lease._me.who, (0, None))]
        assert f"lease      {lease._me.who} since {lease._me.since}" in str(second)
    assert look(store.target).state == "complete"


def test_a_map_at_a_service_tells_it_too(monkeypatch):
    service, url = ObjectService(), f"s3://{ObjectService.bucket}/runs/map.zarr"
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    try:
        store = make_map(url)
        first = look(url)
        with leased(store.location):
            fill_map(store)
            second = look(url, since=first)
    finally:
        service.close()
    assert (first.state, first.unit, first.done, first.holders) == ("stopped", "block", 0, ())
    assert (second.state, second.done, len(second.holders)) == ("running", first.total, 1)
    assert first.total > 0


def test_the_line_has_all_of_it(store):
    looked = replace(look(store.target), rate=0.5, at="2026-01-01T00:00:00Z", state="running")
    assert looked.line == (
        f"2026-01-01T00:00:00Z {store.target}: running | 4 of 8 items (50%) | 0.5 items/s | 8 s left"
        " | rcf: 1 item read failed: HTTP 500"
    )
    two = LiveStatus("r", "running", "block", {"a": {Status.OK: 1}, "b": {Status.PENDING: 1}}, at="now")
    assert two.line == "now r: running | 1 of 2 blocks (50%) of 2 models"


def test_who_computes_which_part_is_said(store):
    with leased(store.location, chunks=(0, 1)), leased(store.location, chunks=(1, 4)):
        looked = look(store.target)
    assert [person.partition("Z, ")[2] for person in looked._people] == ["its chunk 0", "its chunks 1 to 3"]
    assert [one["chunks"] for one in looked.to_dict()["holders"]] == [[0, 1], [1, 4]]


def test_a_holder_that_renews_nothing_for_a_minute_is_a_problem(store, clock, monkeypatch):
    monkeypatch.setattr("rs_embed_dask.store.lease._keep", lambda lease, is_over: None)
    with leased(store.location):
        first = look(store.target)
        clock[0] += 59
        assert look(store.target, since=first).state == "running"
        clock[0] += 2
        silent = look(store.target, since=first)
    assert (silent.state, silent.holders) == ("stopped", ())
    assert re.match(r".* on .*, process \d+ was not heard of for a minute", silent.problems[0])
    monkeypatch.setattr("rs_embed_dask.store.lease._has_ended", lambda process: True)
    with leased(store.location):
        assert look(store.target).state == "stopped"


def test_many_reasons_are_cut(tmp_path):
    store = made(tmp_path / "run.zarr")
    codes = [Status.READ_FAILED] * CHUNK
    store_chunk(store, 0, codes, ["one way", "another way", "a third way", "a fourth way"])
    store_chunk(store, 1, codes, ["nothing", "something", "anything", "one way"])
    problems = look(store.target).problems
    assert len(problems) == 6
    assert problems[0] == "rcf: 2 items read failed: one way"
    assert problems[-1] == "and 2 more reasons"


def test_watch_prints_a_line_for_each_look_until_the_run_is_complete(store, capsys):
    waits = []

    def pause(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            store_chunk(store, 1)

    last = watch.show_run(str(store.target), every_s=None, is_once=False, as_json=False, pause=pause)
    lines = capsys.readouterr().out.splitlines()
    assert last.state == "complete"
    assert waits == [60.0, 60.0]
    assert [line.split(": ")[1].split(" |")[0] for line in lines] == ["stopped", "stopped", "complete"]
    assert "8 of 8 items (100%)" in lines[-1]


def test_in_a_terminal_the_page_is_redrawn_every_two_seconds(store, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    waits = []

    def pause(seconds):
        waits.append(seconds)
        store_chunk(store, 1)

    watch.show_run(str(store.target), every_s=None, is_once=False, as_json=False, pause=pause)
    assert waits == [2.0]
    out = capsys.readouterr().out
    assert "4 of 8 items (50%)" in out
    assert "8 of 8 items (100%)" in out


def test_the_command_once_as_json_and_its_exit_code(store):
    shell = CliRunner()
    once = shell.invoke(app, ["watch", str(store.target), "--once", "--json"])
    assert once.exit_code == 1
    read = json.loads(once.stdout)
    assert read["counts"] == {"rcf": {"pending": 4, "ok": 2, "no_data": 1, "read_failed": 1}}
    assert {name: read[name] for name in ("state", "unit", "done", "total", "share", "rate", "holders")} == {
        "state": "stopped",
        "unit": "item",
        "done": 4,
        "total": 8,
        "share": 0.5,
        "rate": None,
        "holders": [],
    }
    store_chunk(store, 1, [Status.OK] * CHUNK, [""] * CHUNK)
    failed = shell.invoke(app, ["watch", str(store.target)])
    assert (failed.exit_code, len(failed.stdout.splitlines())) == (1, 1)
    none = shell.invoke(app, ["watch", f"{store.target}.none", "--once"])
    assert none.exit_code == 2
    assert "error:" in none.stderr


def test_ctrl_c_ends_it(store, monkeypatch):
    def interrupted(path, since=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "look", interrupted)
    assert CliRunner().invoke(app, ["watch", str(store.target)]).exit_code == 130
